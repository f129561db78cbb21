#include "proto/stage/device_facts.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define FORM 2u

void device_facts_print(const struct device_facts *f, FILE *out)
{
    fprintf(out, DEVICE_FACTS_WORD " %u %u %u %u %d %" PRIu64 " %" PRIu64 " %s\n", FORM, f->device, f->devices,
            f->capability, f->unified, f->total_bytes, f->free_bytes, f->name);
}

int device_facts_parse(struct device_facts *f, const char *line)
{
    unsigned form = 0, unified = 0;
    int n = 0;

    *f = (struct device_facts){0};
    if (sscanf(line, DEVICE_FACTS_WORD " %u %" SCNu32 " %" SCNu32 " %" SCNu32 " %u %" SCNu64 " %" SCNu64 " %n", &form,
               &f->device, &f->devices, &f->capability, &unified, &f->total_bytes, &f->free_bytes, &n) != 7 ||
        form != FORM || unified > 1 || !n)
        return -EPROTO;
    f->unified = unified;
    if (f->device >= f->devices || f->free_bytes > f->total_bytes) return -EPROTO;
    snprintf(f->name, sizeof f->name, "%.*s", (int)strcspn(line + n, "\r\n"), line + n);
    return 0;
}

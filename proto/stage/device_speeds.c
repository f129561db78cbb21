#include "proto/stage/device_speeds.h"

#include <errno.h>
#include <inttypes.h>

#define FORM 1u

void device_speeds_print(const struct device_speeds *s, FILE *out)
{
    fprintf(out, DEVICE_SPEEDS_WORD " %u %" PRIu64 " %" PRIu64 " %u\n", FORM, s->link, s->memory, s->exclusive);
}

int device_speeds_parse(struct device_speeds *s, const char *line)
{
    unsigned form = 0;

    *s = (struct device_speeds){0};
    if (sscanf(line, DEVICE_SPEEDS_WORD " %u %" SCNu64 " %" SCNu64 " %" SCNu32, &form, &s->link, &s->memory,
               &s->exclusive) != 4 ||
        form != FORM) {
        *s = (struct device_speeds){0};
        return -EPROTO;
    }
    return 0;
}

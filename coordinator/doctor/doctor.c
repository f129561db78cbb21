#include "coordinator/doctor/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proto/base/utf8.h"

struct doctor_finding *doctor_add(struct doctor *d, const char *name, enum doctor_verdict v)
{
    static struct doctor_finding lost; /* written to and never read where memory ran out */
    struct doctor_finding *at;

    if (d->count == d->capacity) {
        size_t capacity = d->capacity ? 2 * d->capacity : 32;

        at = reallocarray(d->at, capacity, sizeof *at);
        if (!at) {
            d->failed = true;
            return &lost;
        }
        d->at = at;
        d->capacity = capacity;
    }
    at = &d->at[d->count++];
    *at = (struct doctor_finding){.verdict = v};
    snprintf(at->name, sizeof at->name, "%s", name);
    return at;
}

#define WRITE(field)                                                                                                   \
    do {                                                                                                               \
        va_list ap;                                                                                                    \
        va_start(ap, fmt);                                                                                             \
        vsnprintf(f->field, sizeof f->field, fmt, ap);                                                                 \
        va_end(ap);                                                                                                    \
        utf8_no_controls(f->field);                                                                                    \
    } while (0)

void doctor_say(struct doctor_finding *f, const char *fmt, ...)
{
    WRITE(state);
}

void doctor_cost(struct doctor_finding *f, const char *fmt, ...)
{
    WRITE(cost);
}

void doctor_mend(struct doctor_finding *f, const char *fmt, ...)
{
    WRITE(mend);
}

enum doctor_verdict doctor_worst(const struct doctor *d)
{
    enum doctor_verdict worst = DOCTOR_GOOD;

    for (size_t i = 0; i < d->count; i++)
        if (d->at[i].verdict > worst) worst = d->at[i].verdict;
    return worst;
}

const char *doctor_verdict_name(enum doctor_verdict v)
{
    return v == DOCTOR_GOOD ? "good" : v == DOCTOR_BETTER ? "could be better" : "in the way";
}

void doctor_free(struct doctor *d)
{
    free(d->at);
    d->at = NULL;
    d->count = d->capacity = 0;
}

bool doctor_line(const struct doctor *d, const char *path, char *out, size_t room)
{
    char full[1024];
    FILE *f;
    bool ok;

    out[0] = 0;
    if (snprintf(full, sizeof full, "%s%s", d->root, path) >= (int)sizeof full || !(f = fopen(full, "re")))
        return false;
    ok = fgets(out, (int)room, f) != NULL;
    fclose(f);
    out[strcspn(out, "\n")] = 0;
    return ok;
}

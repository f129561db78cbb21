#include "proto/base/faults.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    char needs; /* '@' a place, '=' a value, 0 nothing */
} kinds[FAULT_KINDS] = {
    [FAULT_EIO] = {"eio", '@'},       [FAULT_HANG] = {"hang", '@'},   [FAULT_FLIP] = {"flip", '@'},
    [FAULT_EAGAIN] = {"eagain", '='}, [FAULT_SHORT] = {"short", '='}, [FAULT_PATIENCE] = {"patience", '='},
    [FAULT_LOST] = {"lost", '@'},     [FAULT_ONCE] = {"once", 0},
};

static bool parse_item(struct fault *f, const char *item)
{
    size_t n = strcspn(item, "@x=,");
    char *end = (char *)item + n;
    bool placed = false, valued = false;

    *f = (struct fault){.kind = FAULT_KINDS, .times = UINT64_MAX};
    for (int k = 0; k < FAULT_KINDS; k++)
        if (strlen(kinds[k].name) == n && !memcmp(item, kinds[k].name, n)) f->kind = (enum fault_kind)k;
    if (f->kind == FAULT_KINDS) return false;
    while (*end && *end != ',') {
        const char *at = end + 1;

        switch (*end) {
        case '@': f->at = strtoull(at, &end, 10), placed = true; break;
        case 'x': f->times = strtoull(at, &end, 10); break;
        case '=': f->value = strtod(at, &end), valued = true; break;
        default: return false;
        }
        if (end == at) return false;
    }
    return placed == (kinds[f->kind].needs == '@') && valued == (kinds[f->kind].needs == '=');
}

int faults_parse(struct faults *f, const char *spec, uint64_t epoch, struct error *e)
{
    bool once = false;

    *f = (struct faults){0};
    for (const char *at = spec; at && *at; at += strcspn(at, ","), at += *at == ',') {
        if (f->count == FAULTS_MAX || !parse_item(&f->fault[f->count], at))
            return error_set(e, EINVAL, "--fault %s: %.*s is no fault (see proto/base/faults.h)", spec,
                             (int)strcspn(at, ","), at);
        once |= f->fault[f->count++].kind == FAULT_ONCE;
    }
    if (once && epoch > 1) f->count = 0;
    return 0;
}

const struct fault *faults_meet(struct faults *f, enum fault_kind kind, uint64_t from, uint64_t to)
{
    for (uint32_t i = 0; i < f->count; i++) {
        struct fault *x = &f->fault[i];

        if (x->kind != kind || !x->times || x->at < from || x->at >= to) continue;
        if (x->times != UINT64_MAX) x->times--;
        return x;
    }
    return NULL;
}

double faults_value(const struct faults *f, enum fault_kind kind, double otherwise)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (f->fault[i].kind == kind) return f->fault[i].value;
    return otherwise;
}

#include "coordinator/hosts/held.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/file.h"

#define BLOCK UINT64_C(65536)

static void add(struct held *s, uint32_t file, uint64_t offset, uint64_t bytes)
{
    if (bytes) s->range[s->ranges++] = (struct held_range){file, offset, bytes};
}

/* A packed table's units lie one after the other. */
static void add_table(struct held *s, const struct plan_shm *p, const struct plan_gather *g)
{
    uint64_t units = g->unit_rows ? (g->rows + g->unit_rows - 1) / g->unit_rows : 0;
    const uint64_t *unit = plan_units(p) + g->unit0;

    if (g->unit_rows)
        add(s, g->file, unit[0], unit[units] - unit[0]);
    else
        add(s, g->file, g->file_off, g->rows * g->row_bytes);
}

static int in_order(const void *a, const void *b)
{
    const struct held_range *x = a, *y = b;

    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void join(struct held *s)
{
    uint64_t n = 0;

    qsort(s->range, s->ranges, sizeof *s->range, in_order);
    for (uint64_t i = 0; i < s->ranges; i++) {
        struct held_range *last = n ? &s->range[n - 1] : NULL, x = s->range[i];

        if (!last || last->file != x.file || x.offset > last->offset + last->bytes)
            s->range[n++] = x;
        else if (x.offset + x.bytes > last->offset + last->bytes)
            last->bytes = x.offset + x.bytes - last->offset;
    }
    s->ranges = n;
    s->bytes = 0;
    for (uint64_t i = 0; i < n; i++) s->bytes += s->range[i].bytes;
}

int held_of(struct held *s, const struct plan_shm *p, struct error *e)
{
    *s = (struct held){.range = calloc(p->parts.count + p->files.count + 2, sizeof *s->range)};
    if (!s->range) return error_set(e, ENOMEM, "out of memory");
    for (uint64_t i = 0; i < p->files.count; i++) add(s, (uint32_t)i, 0, plan_files(p)[i].header_bytes);
    for (uint64_t i = 0; i < p->parts.count; i++)
        add(s, plan_parts(p)[i].file, plan_parts(p)[i].file_off, plan_parts(p)[i].bytes);
    if (plan_embeds(p)) add_table(s, p, &p->gather);
    if (plan_embeds(p) && p->beside.rows) add_table(s, p, &p->beside);
    join(s);
    return 0;
}

int held_widen(struct held *s, const struct plan_shm *p, struct error *e)
{
    struct held_range *more = reallocarray(s->range, s->ranges + p->files.count + 1, sizeof *more);

    if (!more) return error_set(e, ENOMEM, "out of memory");
    s->range = more;
    for (uint64_t i = 0; i < p->files.count; i++)
        add(s, (uint32_t)i, plan_files(p)[i].bytes - 1, plan_files(p)[i].bytes > 0);
    for (uint64_t i = 0; i < s->ranges; i++) {
        struct held_range *x = &s->range[i];
        uint64_t end = (x->offset + x->bytes + BLOCK - 1) / BLOCK * BLOCK, bytes = plan_files(p)[x->file].bytes;

        x->offset = x->offset / BLOCK * BLOCK;
        x->bytes = (end < bytes ? end : bytes) - x->offset;
    }
    join(s);
    return 0;
}

void held_free(struct held *s)
{
    free(s->range);
    *s = (struct held){0};
}

static int check_file(const struct plan_shm *p, const struct held *s, uint32_t file, struct error *e)
{
    const char *name = plan_string(p, plan_files(p)[file].name);
    struct stat st;
    int fd, rc = file_open(name, &fd, &st, e);

    if (rc) return rc;
    for (uint64_t i = 0; i < s->ranges && !rc; i++) {
        const struct held_range *x = &s->range[i];
        off_t hole;

        if (x->file != file) continue;
        hole = lseek(fd, (off_t)x->offset, SEEK_HOLE);
        if (hole >= 0 && (uint64_t)hole < x->offset + x->bytes)
            rc = error_set(e, ENODATA,
                           "%s: bytes %" PRIu64 " to %" PRIu64
                           " are not there: the folder holds another share than this "
                           "machine has now; `sluice share` with the same --hosts makes it",
                           name, (uint64_t)hole, x->offset + x->bytes);
    }
    close(fd);
    return rc;
}

bool held_is_share(const char *model)
{
    char mark[PATH_MAX];
    const char *slash = strrchr(model, '/');
    struct stat st;
    size_t n = strlen(model);

    if (!stat(model, &st) && !S_ISDIR(st.st_mode)) n = slash ? (size_t)(slash - model) : 0;
    snprintf(mark, sizeof mark, "%.*s/" HELD_MARK, n ? (int)n : 1, n ? model : ".");
    return !access(mark, F_OK);
}

int held_check(const struct plan_shm *p, const char *folder, struct error *e)
{
    struct held s;
    int rc;

    if (!held_is_share(folder)) return 0;
    rc = held_of(&s, p, e);
    for (uint64_t i = 0; i < p->files.count && !rc; i++) rc = check_file(p, &s, (uint32_t)i, e);
    held_free(&s);
    return rc;
}

#include "coordinator/verify/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/verify/published.h"
#include "proto/base/file.h"

static void write_name(FILE *f, const char *name)
{
    for (; *name; name++) {
        if (*name == '\\')
            fputs("\\\\", f);
        else if (*name == '\n')
            fputs("\\n", f);
        else if (*name == '\r')
            fputs("\\r", f);
        else
            fputc(*name, f);
    }
    fputc('\n', f);
}

static void write_item(FILE *f, const struct verify_item *x)
{
    char hex[65];

    fprintf(f, "# %llu bytes: ", (unsigned long long)x->bytes);
    write_name(f, x->name);
    fprintf(f, "%s%s  ", strpbrk(x->name, "\\\n\r") ? "\\" : "", verify_hex(hex, x->sha256, 32));
    write_name(f, x->name);
}

void manifest_write(const struct verify *v, FILE *f)
{
    size_t n = 0;

    for (size_t i = 0; i < v->items; i++) n += v->item[i].read;
    fprintf(f, "# sluice verify: %zu file%s\n", n, n == 1 ? "" : "s");
    for (size_t i = 0; i < v->items; i++)
        if (v->item[i].read) write_item(f, &v->item[i]);
}

/* ---- comparing ---- */

struct comparing {
    struct verify *v;
    const char *path;
    uint64_t bytes; /* of the comment before a line; NO_SIZE: none */
    bool *seen;     /* [items] */
    size_t lines;
};
#define NO_SIZE UINT64_MAX

static int compare_line(struct comparing *c, const char *hex, const char *name)
{
    struct verify_item *x = verify_item_named(c->v, name);
    char now[65];

    c->lines++;
    if (!x)
        return verify_find(c->v, FINDING_BASELINE, name, NULL,
                           "%s/%s is gone, or no part of the model any more: %s has it", c->v->folder, name, c->path);
    c->seen[x - c->v->item] = true;
    if (c->bytes != NO_SIZE && c->bytes != x->bytes)
        return verify_find(c->v, FINDING_BASELINE, name, NULL, "%s has %llu bytes now, %llu when %s was written",
                           x->path, (unsigned long long)x->bytes, (unsigned long long)c->bytes, c->path);
    if (!x->read || !strcmp(verify_hex(now, x->sha256, 32), hex)) return 0; /* not read: a finding of its own */
    return verify_find(c->v, FINDING_BASELINE, name, NULL,
                       "%s has changed since %s was written: its sha256 was %s and is %s", x->path, c->path, hex, now);
}

static int compare_lines(struct comparing *c, FILE *f)
{
    char *line = NULL, hex[65], *name;
    unsigned long long bytes;
    size_t room = 0;
    int rc = 0;

    c->bytes = NO_SIZE;
    while (!rc && getline(&line, &room, f) >= 0) {
        if (sscanf(line, "# %llu bytes:", &bytes) == 1) {
            c->bytes = bytes;
            continue;
        }
        if (!published_parse(line, hex, &name) || !*name) continue;
        rc = compare_line(c, hex, name);
        c->bytes = NO_SIZE;
    }
    free(line);
    return rc;
}

int manifest_compare(struct verify *v, const char *path, struct error *e)
{
    struct comparing c = {.v = v, .path = path, .seen = calloc(v->items + 1, sizeof *c.seen)};
    FILE *f = file_named_stream(path, e);
    int rc = 0;

    if (!c.seen) rc = -ENOMEM;
    if (!f) rc = error_prefix(e, "the manifest");
    if (!rc) rc = compare_lines(&c, f);
    if (!rc && ferror(f))
        rc = error_set(e, EIO, "cannot read the manifest %s", path);
    else if (!rc && !c.lines)
        rc = error_set(e, EINVAL, "%s: no manifest: it has no line with a sha256 and a file's name", path);
    for (size_t i = 0; i < v->items && !rc; i++) {
        if (c.seen[i]) continue;
        if (v->item[i].weights)
            rc = verify_find(v, FINDING_BASELINE, v->item[i].name, NULL, "%s is new: %s does not have it",
                             v->item[i].path, path);
        else
            rc = verify_note(v, "%s is new: %s does not have it", v->item[i].name, path);
    }
    if (rc == -ENOMEM) error_set(e, ENOMEM, "no memory to compare with %s", path);
    if (f) fclose(f);
    free(c.seen);
    return rc;
}

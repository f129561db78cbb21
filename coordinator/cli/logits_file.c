#include "coordinator/cli/logits_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    const struct logits_place *x = a, *y = b;

    if (x->position != y->position) return x->position < y->position ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

int logits_file_plan(struct logits_file *f, const uint32_t *wanted, size_t n, size_t tokens, struct error *e)
{
    size_t count = n ? n : tokens;

    *f = (struct logits_file){.places = count};
    f->place = calloc(count + 1, sizeof *f->place);
    f->position = calloc(count + 1, sizeof *f->position);
    if (!f->place || !f->position) return error_set(e, ENOMEM, "no memory for %zu positions", count);
    for (size_t i = 0; i < count; i++) {
        uint32_t p = n ? wanted[i] : (uint32_t)i;

        if (p >= tokens)
            return error_set(e, EINVAL, "--positions %u: there are %zu tokens, numbered from 0", p, tokens);
        f->place[i] = (struct logits_place){.position = p, .row = i};
    }
    qsort(f->place, count, sizeof *f->place, compare);
    for (size_t i = 0; i < count; i++)
        if (!i || f->place[i].position != f->place[i - 1].position) f->position[f->positions++] = f->place[i].position;
    return 0;
}

/* Can the rows be written one behind the other, as they come? */
static bool in_order(const struct logits_file *f)
{
    for (size_t i = 0; i < f->places; i++)
        if (f->place[i].row != i) return false;
    return true;
}

int logits_file_open(struct logits_file *f, const char *path, const struct output_options *keep, struct error *e)
{
    int rc = output_open(&f->out, path, keep, e);

    f->in_order = in_order(f);
    if (rc || f->in_order || output_seekable(f->out)) return rc;
    return error_set(e, EINVAL, "%s is no file in which rows could be written out of order: give --positions rising",
                     path);
}

int logits_file_row(void *arg, const float *logits, struct error *e)
{
    struct logits_file *f = arg;
    uint32_t position = f->place[f->next].position;
    int rc = 0;

    for (; f->next < f->places && f->place[f->next].position == position && !rc; f->next++) {
        off_t at = (off_t)(f->place[f->next].row * f->vocab * sizeof(float));

        if (!f->in_order) fseeko(output_file(f->out), at, SEEK_SET);
        fwrite(logits, sizeof(float), f->vocab, output_file(f->out));
        rc = output_failed(f->out, e);
    }
    return rc;
}

int logits_file_close(struct logits_file *f, bool good, struct error *e)
{
    int rc = output_close(f->out, good, e);

    free(f->place);
    free(f->position);
    *f = (struct logits_file){0};
    return rc;
}

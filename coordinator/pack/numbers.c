#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/pack/private.h"
#include "coordinator/source/tensors.h"
#include "proto/count.h"

struct numbers {
    const struct pack_options *o;
    struct tensors *t;
    const struct tensor **tensor; /* of the file that is counted, by offset */
    struct verify_span *span;
    size_t count;
    const char *file;
    struct counter counter;
};

void numbers_close(struct numbers *n)
{
    if (!n) return;
    tensors_close(n->t);
    free(n->tensor);
    free(n->span);
    free(n);
}

/* Who unpacks such a file says so. */
static void on_file_fault(void *arg, const char *file, const char *text)
{
    (void)arg;
    (void)file;
    (void)text;
}

int numbers_open(struct numbers **out, const struct source *s, const struct pack_options *o, struct error *e)
{
    struct numbers *n;
    int rc;

    *out = NULL;
    if (!o->numbers || o->out) return 0;
    n = calloc(1, sizeof *n);
    if (!n) return error_set(e, ENOMEM, "%s: no memory for its tensors", source_path(s));
    n->o = o;
    rc = source_tensors(s, &(struct tensors_options){.file_fault = on_file_fault}, &n->t, e);
    if (!rc) {
        n->tensor = calloc(n->t->count + 1, sizeof *n->tensor);
        n->span = calloc(n->t->count + 1, sizeof *n->span);
        if (!n->tensor || !n->span) rc = error_set(e, ENOMEM, "%s: no memory for its tensors", source_path(s));
    }
    if (rc)
        numbers_close(n);
    else
        *out = n;
    return rc;
}

static int by_offset(const void *a, const void *b)
{
    const struct tensor *x = *(const struct tensor *const *)a, *y = *(const struct tensor *const *)b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

void numbers_begin(struct numbers *n, const char *name)
{
    if (!n) return;
    n->count = 0;
    n->file = name;
    for (size_t i = 0; i < n->t->count; i++)
        if (n->t->at[i].bytes && !strcmp(n->t->files[n->t->at[i].file].name, name))
            n->tensor[n->count++] = &n->t->at[i];
    qsort(n->tensor, n->count, sizeof *n->tensor, by_offset);
    for (size_t i = 0; i < n->count; i++)
        n->span[i] = (struct verify_span){
            .offset = n->tensor[i]->offset, .bytes = n->tensor[i]->bytes, .form = tensor_stored_form(n->tensor[i])};
    counter_begin(&n->counter, n->span, n->count);
}

void numbers_feed(struct numbers *n, uint64_t offset, const uint8_t *bytes, uint64_t count)
{
    if (n) counter_feed(&n->counter, offset, bytes, count);
}

void numbers_tell(struct numbers *n)
{
    for (size_t i = 0; n && i < n->count; i++) {
        const struct pack_numbers x = {.file = n->file,
                                       .tensor = n->tensor[i]->name,
                                       .nan = n->span[i].nan,
                                       .inf = n->span[i].inf,
                                       .first = n->span[i].first};

        if (x.nan || x.inf) n->o->numbers(n->o->arg, &x);
    }
}

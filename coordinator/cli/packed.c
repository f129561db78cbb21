#include "coordinator/cli/packed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/engine/interrupt.h"
#include "coordinator/pack/pack.h"
#include "proto/base/clock.h"

struct reading {
    struct verify *v;
    struct view *view;
    bool no_memory;
};

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    const struct reading *r = arg;

    view_progress(r->view, "verify", done, total);
}

static void on_file(void *arg, const char *name, const char *sha256)
{
    const struct reading *r = arg;
    struct verify_item *x = verify_item_named(r->v, name);

    if (!x) return;
    for (size_t i = 0; i < sizeof x->sha256; i++) {
        unsigned byte;

        sscanf(sha256 + 2 * i, "%2x", &byte);
        x->sha256[i] = (uint8_t)byte;
    }
    x->read = true;
}

static void on_numbers(void *arg, const struct pack_numbers *n)
{
    const struct reading *r = arg;

    for (size_t i = 0; i < r->v->tensors; i++) {
        struct verify_tensor *t = &r->v->tensor[i];

        if (strcmp(t->name, n->tensor) || strcmp(r->v->item[t->item].name, n->file)) continue;
        t->nan = n->nan;
        t->inf = n->inf;
        t->first = n->first;
    }
}

/* What opening it has told of already is not told twice. */
static void on_failure(void *arg, const char *name, const char *text)
{
    struct reading *r = arg;

    for (size_t i = 0; i < r->v->findings; i++)
        if (r->v->finding[i].kind == FINDING_FILE && r->v->finding[i].file && !strcmp(r->v->finding[i].file, name))
            return;
    if (verify_find(r->v, FINDING_FILE, name, NULL, "%s", text)) r->no_memory = true;
}

int verify_packed(struct verify *v, const struct options *o, struct view *view, struct error *e)
{
    struct reading r = {.v = v, .view = view};
    const struct pack_options p = {.threads = pack_threads(o),
                                   .memory = o->host_memory,
                                   .progress = on_progress,
                                   .told = on_file,
                                   .numbers = on_numbers,
                                   .failed = on_failure,
                                   .arg = &r,
                                   .interrupted = interrupted};
    uint64_t began = clock_ns();
    struct pack_result result;
    int rc;

    if (!v->items) return 0; /* its index cannot be read: a finding already */
    rc = unpack_folder(o->source, &p, &result, e);
    view_hide(view);
    v->read_ns = clock_ns() - began;
    return r.no_memory ? error_set(e, ENOMEM, "%s: no memory for what was found", v->folder) : rc;
}

/* sluice logits: the model's numbers for given tokens, little-endian float32 [positions][vocabulary]. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/input.h"
#include "coordinator/cli/logits_file.h"
#include "coordinator/cli/values.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/batch/logits.h"
#include "coordinator/view/view.h"

struct work {
    uint32_t *tokens;
    size_t count;
    struct logits_file file;
    struct view *view;
};

static int prepare(struct work *w, const struct options *o, struct error *e)
{
    struct inputs in = input_all(o);
    struct output_options keep = inputs_options(&in);
    uint32_t *positions = NULL;
    size_t wanted = 0;
    int rc = value_numbers(o->tokens, strlen(o->tokens), &w->tokens, &w->count, e);

    if (!rc && o->positions) rc = value_numbers(o->positions, strlen(o->positions), &positions, &wanted, e);
    if (!rc && !w->count) rc = error_set(e, EINVAL, "--tokens is empty: give at least one token id");
    if (!rc) rc = logits_file_plan(&w->file, positions, wanted, w->count, e);
    free(positions);
    if (!rc && o->trace && !strcmp(o->out, o->trace))
        rc = error_set(e, EINVAL, "--out and --trace are the same file, %s", o->out);
    if (!rc) rc = logits_file_open(&w->file, o->out, &keep, e);
    return rc ? rc : view_open(&w->view, o->quiet, o->trace, &keep, e);
}

static int compute(struct work *w, const struct options *o, struct error *e)
{
    struct logits_file *f = &w->file;
    struct instance_config c = {.options = o, .prompt_tokens = (uint32_t)w->count};
    struct instance_load load = {.prompt_tokens = (uint32_t)w->count,
                                 .max_logits = (uint32_t)(f->positions < 64 ? f->positions : 64)};
    struct batch_observer observer = view_observer(w->view);
    struct instance *i = NULL;
    int rc;

    c.observer = &observer;
    rc = instance_load(&i, &c, e);
    if (!rc) rc = instance_start(i, &load, e);
    if (!rc) {
        view_total(w->view, w->count, 0);
        f->vocab = instance_plan(i)->spec.vocab;
        rc = logits_at(i, w->tokens, w->count, f->position, f->positions, logits_file_row, f, e);
    }
    instance_close(i);
    return rc;
}

int command_logits(const struct options *o, struct error *e)
{
    struct work w = {0};
    struct error second;
    int rc, rc2;

    interrupt_setup();
    rc = prepare(&w, o, e);
    if (!rc) rc = compute(&w, o, e);
    rc2 = logits_file_close(&w.file, !rc, &second);
    if (!rc && rc2) *e = second;
    if (!rc) rc = rc2;
    rc2 = view_close(w.view, &second);
    if (!rc && rc2) *e = second;
    free(w.tokens);
    return rc ? rc : rc2;
}

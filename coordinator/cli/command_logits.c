/* sluice logits: the model's numbers for given tokens, little-endian float32 [positions][vocabulary]. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/logits_file.h"
#include "coordinator/cli/values.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/batch/logits.h"
#include "coordinator/view/view.h"

static int write_all(struct instance *i, const uint32_t *tokens, size_t count, struct logits_file *f, struct error *e)
{
    int rc = logits_file_open(f, instance_options(i)->out, instance_plan(i)->spec.vocab, e);

    return rc ? rc : logits_at(i, tokens, count, f->position, f->positions, logits_file_row, f, e);
}

int command_logits(const struct options *o, struct error *e)
{
    struct instance_config c = {.options = o};
    struct instance_load load = {0};
    struct logits_file f = {0};
    struct batch_observer observer;
    struct instance *i = NULL;
    struct view *view = NULL;
    uint32_t *tokens = NULL, *positions = NULL;
    size_t n = 0, wanted = 0;
    struct error second;
    int rc = value_numbers(o->tokens, strlen(o->tokens), &tokens, &n, e), rc2;

    interrupt_setup();
    if (!rc && o->positions) rc = value_numbers(o->positions, strlen(o->positions), &positions, &wanted, e);
    if (!rc && !n) rc = error_set(e, EINVAL, "--tokens is empty: give at least one token id");
    if (!rc) rc = logits_file_plan(&f, positions, wanted, n, e);
    if (!rc) rc = view_open(&view, o->quiet, o->trace, e);
    c.prompt_tokens = load.prompt_tokens = (uint32_t)n;
    load.max_logits = (uint32_t)(f.positions < 64 ? f.positions : 64);
    if (!rc) {
        observer = view_observer(view);
        c.observer = &observer;
        rc = instance_load(&i, &c, e);
    }
    if (!rc) rc = instance_start(i, &load, e);
    if (!rc) view_total(view, n, 0);
    if (!rc) rc = write_all(i, tokens, n, &f, e);
    rc2 = logits_file_close(&f, &second);
    if (!rc && rc2) {
        *e = second;
        rc = rc2;
    }
    instance_close(i);
    rc2 = view_close(view, &second);
    if (!rc && rc2) {
        *e = second;
        rc = rc2;
    }
    free(tokens);
    free(positions);
    return rc;
}

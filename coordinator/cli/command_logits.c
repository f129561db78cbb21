/* sluice logits: the model's numbers for given tokens, little-endian float32 [positions][vocabulary]. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/values.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/batch/logits.h"
#include "coordinator/view/view.h"

struct sink {
    FILE *file;
    const char *path;
    uint32_t vocab;
};

static int write_row(void *arg, const float *logits, struct error *e)
{
    struct sink *k = arg;

    if (fwrite(logits, sizeof(float), k->vocab, k->file) == k->vocab) return 0;
    return error_set(e, errno, "cannot write %s: %s", k->path, error_name(errno));
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* All positions where none are given; else those, rising, each once and inside of the tokens. */
static int check_positions(uint32_t **p, size_t *n, size_t tokens, struct error *e)
{
    size_t kept = 0;

    if (!*n) {
        free(*p);
        *p = malloc((tokens ? tokens : 1) * sizeof **p);
        if (!*p) return error_set(e, ENOMEM, "out of memory");
        for (*n = 0; *n < tokens; ++*n) (*p)[*n] = (uint32_t)*n;
        return 0;
    }
    qsort(*p, *n, sizeof **p, compare);
    for (size_t i = 0; i < *n; i++) {
        if ((*p)[i] >= tokens)
            return error_set(e, EINVAL, "--positions %u: there are %zu tokens, numbered from 0", (*p)[i], tokens);
        if (!kept || (*p)[kept - 1] != (*p)[i]) (*p)[kept++] = (*p)[i];
    }
    *n = kept;
    return 0;
}

static int write_all(struct instance *i, const uint32_t *tokens, size_t count, const uint32_t *positions, size_t n, struct error *e)
{
    const char *out = instance_options(i)->out;
    struct sink k = {.path = out, .vocab = instance_plan(i)->spec.vocab};
    int rc;

    k.file = fopen(out, "we");
    if (!k.file) return error_set(e, errno, "cannot write %s: %s", out, error_name(errno));
    rc = logits_at(i, tokens, count, positions, n, write_row, &k, e);
    if (fclose(k.file) && !rc) rc = error_set(e, errno, "cannot write %s: %s", out, error_name(errno));
    return rc;
}

int command_logits(const struct options *o, struct error *e)
{
    struct instance_config c = {.options = o};
    struct instance_load load = {0};
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
    if (!rc) rc = check_positions(&positions, &wanted, n, e);
    if (!rc) rc = view_open(&view, o->quiet, o->trace, e);
    c.prompt_tokens = load.prompt_tokens = (uint32_t)n;
    load.max_logits = (uint32_t)(wanted < 64 ? wanted : 64);
    if (!rc) {
        observer = view_observer(view);
        c.observer = &observer;
        rc = instance_load(&i, &c, e);
    }
    if (!rc) rc = instance_start(i, &load, e);
    if (!rc) view_total(view, n, 0);
    if (!rc) rc = write_all(i, tokens, n, positions, wanted, e);
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

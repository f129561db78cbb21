#include "coordinator/batch/generate.h"

#include <errno.h>
#include <stdlib.h>

#include "coordinator/batch/completion.h"

/* One answer under way. */
struct answer {
    struct sequence *sequence;
    const struct generate_config *config;
    struct completion *completion; /* NULL: tokens only */
    bool stop;
};

static int on_token(void *arg, uint32_t token, enum sequence_end *end, struct error *e)
{
    struct answer *a = arg;
    int rc = a->config->token ? a->config->token(a->config->arg, token, e) : 0;

    /* the token that ends an answer is not part of it */
    if (rc || !a->completion || *end == SEQUENCE_TOKEN) return rc;
    rc = completion_push(a->completion, token, &a->stop, e);
    if (a->stop) *end = SEQUENCE_STOP;
    return rc;
}

static int answer_open(struct answer *a, struct instance *i, struct sequence *q, const struct generate_config *c,
                       struct error *e)
{
    struct sequence_want want = {
        .sampling = c->sampling, .max_tokens = c->max_tokens, .listener = {.token = on_token, .arg = a}};
    struct completion_config text = {.tokenizer = instance_tokenizer(i),
                                     .stop = c->stop,
                                     .stops = c->stops,
                                     .keep_special = c->keep_special,
                                     .spoken = c->spoken,
                                     .spoken_count = c->spoken_count,
                                     .text = c->text,
                                     .arg = c->arg};
    int rc = 0;

    *a = (struct answer){.sequence = q, .config = c};
    instance_end_tokens(i, &want.eos, &want.eos_count);
    sequence_ask(q, &want);
    if (c->text) rc = completion_open(&a->completion, &text, e);
    return rc ? rc : scheduler_join(instance_scheduler(i), q, e);
}

/* What was held back comes out, unless a stop text ended it. */
static int answer_finish(struct answer *a, struct generate_result *out, struct error *e)
{
    enum sequence_end end = sequence_ended(a->sequence);
    int rc = 0;

    out->prompt_tokens = sequence_prompt(a->sequence);
    out->tokens = sequence_made(a->sequence);
    if (a->completion && !a->stop) rc = completion_finish(a->completion, &a->stop, e);
    out->end = a->stop                   ? END_STOP
               : end == SEQUENCE_TOKEN   ? END_TOKEN
               : end == SEQUENCE_CONTEXT ? END_CONTEXT
                                         : END_LENGTH;
    return rc;
}

int generate(struct instance *i, struct sequence *q, const struct generate_config *c, struct generate_result *out,
             struct error *e)
{
    struct answer a;
    struct error second;
    int rc = answer_open(&a, i, q, c, e), last = 0;

    if (!rc) rc = scheduler_run(instance_scheduler(i), e);
    scheduler_leave(instance_scheduler(i), q);
    if (!rc || rc == -ECANCELED)
        last = answer_finish(&a, out, rc ? &second : e);
    else
        *out = (struct generate_result){.end = END_LENGTH};
    completion_close(a.completion);
    return rc ? rc : last;
}

const char *generate_end_name(enum generate_end end)
{
    static const char *const names[] = {"end", "stop", "length", "context"};

    return names[end];
}

/* ---- many ---- */

struct many;

struct slot {
    struct many *many;
    uint32_t number; /* of its prompt */
    struct answer answer;
    struct generate_config config;
    bool busy;
};

struct many {
    struct instance *instance;
    const struct generate_many *m;
    struct slot *slot;
    uint32_t slots, next;
};

static int on_many_text(void *arg, const char *text, size_t bytes, struct error *e)
{
    struct slot *x = arg;

    return x->many->m->text(x->many->m->arg, x->number, text, bytes, e);
}

static int on_many_token(void *arg, uint32_t token, struct error *e)
{
    struct slot *x = arg;

    return x->many->m->token(x->many->m->arg, x->number, token, e);
}

static void clear(struct slot *x)
{
    if (!x->busy) return;
    scheduler_leave(instance_scheduler(x->many->instance), x->answer.sequence);
    completion_close(x->answer.completion);
    sequence_close(x->answer.sequence);
    x->busy = false;
}

static int conclude(struct slot *x, struct error *e)
{
    const struct generate_many *m = x->many->m;
    struct generate_result r;
    int rc = answer_finish(&x->answer, &r, e);

    if (!rc) rc = m->done(m->arg, x->number, &r, e);
    clear(x);
    return rc;
}

/* Tokens that a sequence of this prompt may have. */
static uint32_t limit_of(const struct many *y, uint32_t n)
{
    uint64_t want = y->m->each.max_tokens ? y->m->prompt[n].tokens + y->m->each.max_tokens : UINT32_MAX;
    uint32_t context = instance_context(y->instance);

    return want < context ? (uint32_t)want : context;
}

/* The next prompt joins. -ENOSPC: not while the others hold the cache. */
static int begin(struct many *y, struct slot *x, struct error *e)
{
    const struct generate_prompt *p = &y->m->prompt[y->next];
    struct sequence *q = NULL;
    int rc = scheduler_sequence(instance_scheduler(y->instance), &q, limit_of(y, y->next), e);

    if (rc) return rc;
    *x = (struct slot){.many = y, .number = y->next, .config = y->m->each, .busy = true, .answer = {.sequence = q}};
    x->config.text = y->m->text ? on_many_text : NULL;
    x->config.token = y->m->token ? on_many_token : NULL;
    x->config.arg = x;
    rc = sequence_append(q, p->token, p->tokens, e);
    if (!rc) rc = answer_open(&x->answer, y->instance, q, &x->config, e);
    if (!rc)
        y->next++;
    else
        clear(x);
    return rc;
}

static int on_boundary(void *arg, struct error *e)
{
    struct many *y = arg;
    uint32_t busy = 0;
    int rc = 0;

    for (uint32_t i = 0; i < y->slots && !rc; i++) {
        if (y->slot[i].busy && sequence_ended(y->slot[i].answer.sequence) != SEQUENCE_RUNS)
            rc = conclude(&y->slot[i], e);
        busy += y->slot[i].busy;
    }
    for (uint32_t i = 0; i < y->slots && y->next < y->m->prompts && !rc; i++) {
        if (y->slot[i].busy) continue;
        rc = begin(y, &y->slot[i], e);
        if (rc == -ENOSPC && busy) return 0;
        busy++;
        /* a prompt that leaves no room for an answer has ended already */
        if (!rc && sequence_ended(y->slot[i].answer.sequence) != SEQUENCE_RUNS) {
            rc = conclude(&y->slot[i], e);
            busy--;
            i--;
        }
    }
    return rc;
}

int generate_all(struct instance *i, const struct generate_many *m, struct error *e)
{
    struct many y = {.instance = i, .m = m, .slots = instance_plan(i)->run.sequences};
    int rc;

    y.slot = calloc(y.slots, sizeof *y.slot);
    if (!y.slot) return error_set(e, ENOMEM, "out of memory");
    scheduler_boundary(instance_scheduler(i), on_boundary, &y);
    rc = scheduler_run(instance_scheduler(i), e);
    scheduler_boundary(instance_scheduler(i), NULL, NULL);
    for (uint32_t k = 0; k < y.slots; k++) clear(&y.slot[k]);
    free(y.slot);
    return rc;
}

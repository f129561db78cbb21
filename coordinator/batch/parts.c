#include "coordinator/batch/parts.h"

#include <errno.h>
#include <pthread.h>

struct tokenizer_job {
    const struct source *source;
    struct tokenizer **out;
    struct error error;
    int rc;
};

static void *open_tokenizer(void *p)
{
    struct tokenizer_job *j = p;

    j->rc = source_tokenizer(j->source, j->out, &j->error);
    return NULL;
}

/* Models round their vocabularies up, by 2 % at most of what is published, and some tokenizers have added tokens that the
 * model has no rows for (Gemma 3's for pictures; an error where a text uses one). Anything else is a folder put together
 * from two models. */
static int compare_vocabularies(const struct parts *p, const struct source *s, struct error *e)
{
    uint32_t rows = model_program(p->model)->spec.vocab;
    const struct tokenizer *t = p->tokenizer;
    size_t tokens = tokenizer_vocab_size(t);

    while (tokens > rows &&
           (!tokenizer_token_text(t, (uint32_t)tokens - 1) || tokenizer_is_added(t, (uint32_t)tokens - 1)))
        tokens--;
    if (tokens <= rows && tokens >= rows - rows / 10) return 0;
    return error_set(e, EINVAL,
                     "%s: the tokenizer has %zu tokens, and the model's vocabulary %u: they do not belong together",
                     source_path(s), tokens, rows);
}

/* 0 where it is told, and the others shall be opened. */
static int refused(const struct parts_options *o, enum parts_part part, const struct error *why, struct error *e)
{
    if (e != why) *e = *why;
    if (!o->fault || why->code == ENOMEM) return -why->code;
    o->fault(o->arg, part, why);
    e->code = 0;
    return 0;
}

int parts_open(struct parts *p, const struct source *s, const struct parts_options *o, struct error *e)
{
    struct tokenizer_job job = {.source = s, .out = &p->tokenizer};
    pthread_t thread;
    bool threaded;
    int rc;

    *p = (struct parts){0};
    threaded = o->text && !pthread_create(&thread, NULL, open_tokenizer, &job);
    rc = model_open_source(&p->model, s, &o->model, e);
    if (threaded)
        pthread_join(thread, NULL);
    else if (o->text)
        open_tokenizer(&job);
    if (rc) rc = refused(o, PARTS_MODEL, e, e);
    if (!rc && job.rc) rc = refused(o, PARTS_TOKENIZER, &job.error, e);
    if (!rc && p->model && p->tokenizer && compare_vocabularies(p, s, e)) rc = refused(o, PARTS_FIT, e, e);
    if (rc || o->template == PARTS_NO_TEMPLATE) return rc;
    rc = source_template(s, o->template_name, &p->template, e);
    if (rc == -ENOENT && o->template == PARTS_TEMPLATE_IF_ANY && !o->template_name) rc = 0;
    return rc ? refused(o, PARTS_TEMPLATE, e, e) : 0;
}

void parts_close(struct parts *p)
{
    model_close(p->model);
    tokenizer_close(p->tokenizer);
    template_close(p->template);
    *p = (struct parts){0};
}

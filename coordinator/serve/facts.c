#include "coordinator/serve/facts.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "coordinator/serve/answers.h"
#include "coordinator/serve/forms.h"
#include "coordinator/source/template.h"

#define ANSWERS_EACH 4   /* that are kept, for each that may run */
#define MAX_TOKENS   512 /* a forgotten max_tokens must not cost a day */

static void name_model(char *out, size_t room, const char *path)
{
    size_t n = strlen(path), from;

    while (n > 1 && path[n - 1] == '/') n--;
    for (from = n; from > 0 && path[from - 1] != '/'; from--) {
    }
    snprintf(out, room, "%.*s", (int)(n - from), path + from);
    if (!*out || !strcmp(out, ".") || !strcmp(out, "..")) snprintf(out, room, "model");
}

/* How calls are written, and the special tokens among their marks. */
static void find_tools(struct facts *x)
{
    const char *const *mark;
    const char *text;
    size_t bytes;

    x->spoken_with_tools = x->spoken_count;
    if (!x->template) return;
    text = template_text(x->template, true, &bytes);
    x->tools_form = tools_form_of(text, bytes);
    for (mark = tools_marks(x->tools_form); *mark && x->spoken_with_tools < FACTS_SPOKEN_MAX; mark++) {
        int64_t id = tokenizer_token_id(x->tokenizer, *mark);

        if (id >= 0) x->spoken[x->spoken_with_tools++] = (uint32_t)id;
    }
}

uint32_t facts_max_tokens(const struct options *o)
{
    return o->max_tokens > 0 ? (uint32_t)o->max_tokens : MAX_TOKENS;
}

int facts_open(struct facts *x, struct instance *i, struct error *e)
{
    const struct options *o = instance_options(i);
    const struct plan_shm *p = instance_plan(i);
    uint32_t rows;

    *x = (struct facts){.instance = i,
                        .tokenizer = instance_tokenizer(i),
                        .template = instance_template(i),
                        .sampling = instance_sampling(i),
                        .alias = o->alias,
                        .aliases = o->aliases,
                        .vocab = p->spec.vocab,
                        .parallel = p->run.sequences,
                        .max_tokens = facts_max_tokens(o),
                        .created = (int64_t)time(NULL)};
    /* the rows are one pool, of which a request takes what it needs */
    rows = p->run.kv_rows - plan_guess_rows(p->run.guesses);
    x->context = rows < p->spec.context ? rows : p->spec.context;
    instance_end_tokens(i, &x->eos, &x->ends);
    x->spoken_count = think_setup(&x->think, x->tokenizer, x->spoken);
    find_tools(x);
    name_model(x->name, sizeof x->name, o->model);
    return forms_open(&x->forms, x->tokenizer, x->vocab, e);
}

int facts_match_answers(struct facts *x, size_t bytes, struct error *e)
{
    struct answers_config c = {.tokenizer = x->tokenizer, .most = ANSWERS_EACH * x->parallel, .bytes = bytes};

    return !x->template || instance_plan(x->instance)->states.count ? 0 : answers_open(&x->answers, &c, e);
}

void facts_close(struct facts *x)
{
    answers_close(x->answers);
    x->answers = NULL;
    forms_close(x->forms);
    x->forms = NULL;
}

bool facts_serves(const struct facts *x, const char *model)
{
    bool known = !strcmp(model, x->name);

    for (size_t i = 0; i < x->aliases && !known; i++) known = !strcmp(model, x->alias[i]);
    return known;
}

#include "coordinator/serve/choice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/answers.h"
#include "coordinator/serve/forms.h"
#include "coordinator/serve/job.h"
#include "coordinator/serve/reply.h"
#include "coordinator/tokenizer/detokenizer.h"
#include "proto/base/clock.h"

void choice_init(struct choice *c, struct job *j, uint32_t index)
{
    *c = (struct choice){.job = j, .index = index};
    c->logprobs.top = j->ask->logprobs > 0 ? (uint32_t)j->ask->logprobs : 0;
}

void choice_free(struct choice *c)
{
    completion_close(c->completion);
    constraint_close(c->constraint);
    c->constraint = NULL;
    logprobs_free(&c->logprobs);
    buffer_free(&c->text);
    buffer_free(&c->thought);
    tools_close(c->tools);
    for (uint32_t i = 0; i < c->calls; i++) {
        free(c->call[i].name);
        free(c->call[i].arguments);
    }
    free(c->call);
    c->call = NULL;
    c->calls = 0;
    c->tools = NULL;
    free(c->positions);
    c->completion = NULL;
    c->positions = NULL;
}

size_t choice_bytes(const struct choice *c)
{
    size_t each = (1 + (size_t)c->logprobs.top) * sizeof *c->logprobs.entry;
    size_t n = c->text.capacity + c->thought.capacity + c->logprobs.room * each;

    for (uint32_t i = 0; i < c->calls; i++)
        n += sizeof *c->call + strlen(c->call[i].name) + strlen(c->call[i].arguments);
    if (c->positions) n += choice_prompt(c)->count * sizeof *c->positions;
    return n;
}

const struct token_ids *choice_prompt(const struct choice *c)
{
    return &c->job->ask->prompt[c->index / c->job->ask->n];
}

uint32_t choice_limit(const struct choice *c)
{
    uint64_t want = choice_prompt(c)->count + c->job->ask->max_tokens;

    return want < c->job->facts->context ? (uint32_t)want : c->job->facts->context;
}

/* ---- text ---- */

/* A piece of the answer, or of the thinking before it. */
static int on_piece(void *arg, bool thinking, const char *text, size_t bytes, struct error *e)
{
    struct choice *c = arg;
    struct buffer *kept = thinking ? &c->thought : &c->text;

    if (!bytes) return 0;
    if (c->job->ask->stream) reply_piece(c, thinking, text, bytes);
    if (!c->job->ask->stream || c->job->ask->api == ASK_RESPONSES) buffer_append(kept, text, bytes);
    return kept->failed ? error_set(e, ENOMEM, "out of memory") : 0;
}

/* What is said, thoughts and calls told apart. */
static int on_said(void *arg, bool thinking, const char *text, size_t bytes, struct error *e)
{
    struct choice *c = arg;

    if (thinking || !c->tools) return on_piece(c, thinking, text, bytes, e);
    return tools_push(c->tools, text, bytes, e);
}

static int on_content(void *arg, const char *text, size_t bytes, struct error *e)
{
    struct choice *c = arg;

    return c->before ? think_push(&c->think, text, bytes, e) : on_piece(c, false, text, bytes, e);
}

/* Some families' templates want names of nine letters and digits. */
static void name_call(const struct choice *c, char *out, size_t room)
{
    enum tools_form form = c->job->facts->tools_form;
    const char *id = strpbrk(c->job->id, "-_") + 1;

    if (form == TOOLS_MISTRAL || form == TOOLS_MISTRAL_ARGS)
        snprintf(out, room, "%.5s%02x%02x", id, c->index & 255, c->calls & 255);
    else
        snprintf(out, room, "call_%.24s%u%02u", id, c->index, c->calls);
}

static int on_call(void *arg, const char *name, const char *arguments, struct error *e)
{
    struct choice *c = arg;
    struct choice_call *more = realloc(c->call, (c->calls + 1) * sizeof *more), *x;

    if (!more) return error_set(e, ENOMEM, "out of memory");
    c->call = more;
    x = &c->call[c->calls];
    *x = (struct choice_call){.name = strdup(name), .arguments = strdup(arguments)};
    name_call(c, x->id, sizeof x->id);
    c->calls++;
    if (!x->name || !x->arguments) return error_set(e, ENOMEM, "out of memory");
    if (c->job->ask->stream) reply_call(c, c->calls - 1);
    return 0;
}

static int on_text(void *arg, const char *text, size_t bytes, struct error *e)
{
    struct choice *c = arg;

    if (c->before) return tools_push(c->tools, text, bytes, e);
    if (c->thoughts) return think_push(&c->think, text, bytes, e);
    return on_said(c, false, text, bytes, e);
}

/* ---- tokens ---- */

void choice_progress(struct choice *c, uint32_t done)
{
    struct job *j = c->job;

    if (c->index || done == atomic_load(&j->prompt_done)) return;
    atomic_store(&j->prompt_done, done);
    if (j->ask->progress && j->ask->stream) reply_progress(j);
}

/* What the token is chosen from: logits with the request's own wishes added. */
static const float *on_logits(void *arg, const float *logits)
{
    struct choice *c = arg;
    const struct ask *a = c->job->ask;
    uint32_t vocab = c->job->facts->vocab, count = sequence_count(c->sequence);
    const uint32_t *said = sequence_tokens(c->sequence) + sequence_prompt(c->sequence);
    uint32_t n = count - sequence_prompt(c->sequence);
    float *x = c->scratch->logits;

    c->raw = logits;
    if (!a->biases && a->presence == 0 && a->frequency == 0) return logits;
    memcpy(x, logits, vocab * sizeof *x);
    for (uint32_t i = 0; i < n && (a->presence != 0 || a->frequency != 0); i++) {
        x[said[i]] -= (float)(a->frequency + (c->scratch->seen[said[i]] ? 0 : a->presence));
        c->scratch->seen[said[i]] = 1;
    }
    for (uint32_t i = 0; i < n; i++) c->scratch->seen[said[i]] = 0;
    for (size_t i = 0; i < a->biases; i++) x[a->bias[i].token] += a->bias[i].bias;
    return x;
}

/* The form leaves nothing to be said: the sweep that would say so is saved. */
static bool is_complete(struct choice *c)
{
    const struct sequence *q = c->sequence;
    uint32_t prompt = sequence_prompt(q);

    return constraint_complete(c->constraint, sequence_tokens(q) + prompt, sequence_count(q) - prompt);
}

static int on_token(void *arg, uint32_t token, enum sequence_end *end, struct error *e)
{
    struct choice *c = arg;
    int rc = 0;

    c->made++;
    c->last_ns = clock_ns();
    if (!c->job->first_ns) c->job->first_ns = c->last_ns;
    /* the token that ends an answer is not part of its text; completions tell its logarithm, which those who score texts by an
       echo and one token more count on */
    if (*end == SEQUENCE_TOKEN && c->job->ask->api != ASK_COMPLETION) return 0;
    if (c->job->ask->logprobs >= 0) rc = logprobs_add(&c->logprobs, c->raw, c->job->facts->vocab, token, e);
    if (*end == SEQUENCE_TOKEN) return rc;
    if (c->made == 1) choice_progress(c, (uint32_t)choice_prompt(c)->count);
    if (!rc) rc = completion_push(c->completion, token, &c->stopped, e);
    if (c->thoughts && c->think.inside) c->job->thought_tokens++;
    if (c->stopped || (c->constraint && is_complete(c))) *end = SEQUENCE_STOP;
    return rc;
}

/* Of the prompt: the logits of a position are about the token behind it. */
static int on_score(void *arg, uint32_t position, const float *logits, struct error *e)
{
    struct choice *c = arg;

    return logprobs_add(&c->logprobs, logits, c->job->facts->vocab, choice_prompt(c)->id[position + 1], e);
}

/* ---- from one state to the next ---- */

/* A stream's first event: the prompt, once its logarithms are known where they are wanted. */
static void say_echo(struct choice *c)
{
    if (c->job->ask->echo && c->job->ask->stream && c->text.bytes) reply_piece(c, false, c->text.data, c->text.bytes);
}

static int speak(struct choice *c, struct scheduler *s, struct error *e)
{
    const struct ask *a = c->job->ask;
    const struct facts *x = c->job->facts;
    struct sequence_want want = {.sampling = a->sampling,
                                 .max_tokens = a->max_tokens,
                                 .eos = x->eos,
                                 .eos_count = a->ignore_eos ? 0 : x->ends,
                                 .listener = {.choose_from = on_logits, .token = on_token, .arg = c}};

    want.sampling.seed += c->index % a->n;
    if (c->constraint) {
        want.mask = constraint_mask;
        want.mask_arg = c->constraint;
    }
    say_echo(c);
    c->state = CHOICE_SPEAKS;
    sequence_ask(c->sequence, &want);
    return scheduler_join(s, c->sequence, e);
}

static int score(struct choice *c, struct scheduler *s, struct error *e)
{
    const struct token_ids *p = choice_prompt(c);
    struct sequence_want want = {.position_count = p->count - 1, .listener = {.logits = on_score, .arg = c}};

    if (!(c->positions = malloc(p->count * sizeof *c->positions))) return error_set(e, ENOMEM, "out of memory");
    for (size_t i = 0; i + 1 < p->count; i++) c->positions[i] = (uint32_t)i;
    want.positions = c->positions;
    c->state = CHOICE_SCORES;
    sequence_ask(c->sequence, &want);
    return scheduler_join(s, c->sequence, e);
}

int choice_begin(struct choice *c, struct scheduler *s, struct choice_scratch *scratch, struct error *e)
{
    const struct ask *a = c->job->ask;
    const struct facts *x = c->job->facts;
    struct completion_config text = {
        .tokenizer = x->tokenizer, .stop = a->stop, .stops = a->stops, .text = on_text, .arg = c};
    struct tools_listener calls = {.content = on_content, .call = on_call, .arg = c};
    int rc;

    c->scratch = scratch;
    c->thoughts = a->api != ASK_COMPLETION && !a->raw_reasoning;
    c->before = a->tools && c->thoughts && tools_before_thoughts(x->tools_form);
    text.spoken = x->spoken;
    text.spoken_count = a->tools ? x->spoken_with_tools : c->thoughts ? x->spoken_count : 0;
    c->think = x->think;
    c->think.text = c->before ? on_piece : on_said;
    c->think.arg = c;
    think_begin(&c->think, a->thinks);
    rc = completion_open(&c->completion, &text, e);
    if (!rc && a->tools) rc = tools_open(&c->tools, x->tools_form, a->tools, &calls, e);
    if (!rc && a->grammar)
        rc = constraint_open(&c->constraint, a->grammar, forms_vocabulary(x->forms), x->eos, x->ends, e);
    if (!rc && a->echo)
        rc = detokenizer_all(x->tokenizer, choice_prompt(c)->id, choice_prompt(c)->count, true, &c->text, e);
    if (!rc && a->echo && a->logprobs >= 0) {
        rc = logprobs_add(&c->logprobs, NULL, x->vocab, choice_prompt(c)->id[0], e);
        if (!rc && choice_prompt(c)->count > 1) return score(c, s, e);
    }
    if (!rc && a->max_tokens) return speak(c, s, e);
    c->state = CHOICE_SPEAKS; /* nothing is to be said: it has ended */
    return rc;
}

void choice_remember(struct choice *c)
{
    const struct ask *a = c->job->ask;
    const struct sequence *q = c->sequence;
    uint32_t prompt = (uint32_t)choice_prompt(c)->count, count = sequence_count(q);

    if (sequence_ended(q) == SEQUENCE_TOKEN) count--; /* what ended it is no part of its text */
    if (c->remembered || c->state != CHOICE_SPEAKS || !a->text || count <= prompt) return;
    c->remembered = true;
    answers_keep(c->job->facts->answers, a->text, a->text_bytes, sequence_tokens(q), prompt,
                 sequence_tokens(q) + prompt, count - prompt);
}

int choice_conclude(struct choice *c, struct scheduler *s, struct error *e)
{
    const struct ask *a = c->job->ask;
    enum sequence_end end = sequence_ended(c->sequence);
    int rc = 0;

    if (c->state == CHOICE_SCORES && a->max_tokens) return speak(c, s, e);
    choice_remember(c); /* before its end is told: a client may go on at once */
    if (!a->max_tokens) say_echo(c);
    if (!c->stopped) rc = completion_finish(c->completion, &c->stopped, e);
    if (!rc && c->before) rc = tools_finish(c->tools, e);
    if (!rc && c->thoughts) rc = think_end(&c->think, e);
    if (!rc && c->tools && !c->before) rc = tools_finish(c->tools, e);
    if (!rc && c->constraint && constraint_error(c->constraint)->code)
        rc = error_set(e, EINVAL, "the form of the answer: %.400s", constraint_error(c->constraint)->text);
    c->finish = a->max_tokens && (c->stopped || end == SEQUENCE_TOKEN || end == SEQUENCE_STOP) ? "stop" : "length";
    if (c->calls) c->finish = "tool_calls";
    c->state = CHOICE_ENDED;
    if (!rc && a->stream) reply_finish(c);
    return rc;
}

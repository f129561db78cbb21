#include "coordinator/chat/chat.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/cli/input.h"
#include "coordinator/cli/template_vars.h"
#include "coordinator/cli/values.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/view/terminal.h"

/* ---- opening ---- */

int chat_open(struct chat *c, const struct options *o, struct error *e)
{
    struct instance_config ic = {.options = o, .text = true, .template = PARTS_TEMPLATE_IF_ANY};
    struct batch_observer observer;
    struct inputs in = input_all(o);
    struct output_options keep = inputs_options(&in);
    int rc;

    *c = (struct chat){
        .options = o, .think = o->think, .max_tokens = o->max_tokens > 0 ? (uint64_t)o->max_tokens : 0, .last = '\n'};
    c->commands = isatty(STDIN_FILENO);
    c->interactive = c->commands && isatty(STDERR_FILENO);
    c->styled = terminal_color(STDOUT_FILENO);
    c->filter = (struct think){.text = chat_show, .arg = c};
    c->messages = json_array();
    if (!c->messages) return error_set(e, ENOMEM, "out of memory");
    if ((rc = view_open(&c->view, o->quiet, o->trace, &keep, e))) return rc;
    observer = view_observer(c->view);
    ic.observer = &observer;
    if ((rc = instance_load(&c->instance, &ic, e))) return rc;
    c->template = instance_template(c->instance);
    c->spoken_count = think_setup(&c->filter, instance_tokenizer(c->instance), c->spoken);
    if (o->system && (rc = chat_system(c, o->system, e))) return rc;
    if ((rc = instance_start(c->instance, &(struct instance_load){0}, e))) return rc;
    c->sampling = instance_sampling(c->instance);
    return scheduler_sequence(instance_scheduler(c->instance), &c->sequence, instance_context(c->instance), e);
}

int chat_close(struct chat *c, struct error *e)
{
    int rc;

    sequence_close(c->sequence);
    instance_close(c->instance);
    json_decref(c->messages);
    rc = view_close(c->view, e);
    buffer_free(&c->answer);
    buffer_free(&c->thought);
    buffer_free(&c->told);
    buffer_free(&c->said);
    return rc;
}

/* ---- the prompt ---- */

/* The text, and after it what closes thinking that the template leaves open and the user does not want. */
static int close_thinking(struct chat *c, char **text, size_t *bytes, struct error *e)
{
    const char *close = c->think == THINK_OFF ? think_left_open(&c->filter, *text, *bytes) : NULL;
    size_t n = close ? strlen(close) : 0;
    char *more;

    if (!close) return 0;
    more = realloc(*text, *bytes + n + 4);
    if (!more) return error_set(e, ENOMEM, "out of memory");
    *text = more; /* the old one is gone */
    more += *bytes;
    *more++ = '\n';
    memcpy(more, close, n);
    memcpy(more + n, "\n\n", 3);
    *bytes += n + 3;
    return 0;
}

static int render(struct chat *c, char **text, size_t *bytes, struct error *e)
{
    struct options o = *c->options;
    json_t *vars = NULL;
    struct tm date;
    int rc;

    o.think = c->think;
    if (o.date) value_date(o.date, &date); /* was checked */
    if ((rc = template_vars(&o, c->messages, true, &vars, e))) return rc;
    rc = template_render(c->template, vars, o.date ? &date : NULL, text, bytes, e);
    json_decref(vars);
    return rc ? rc : close_thinking(c, text, bytes, e);
}

/* Without a template: all that was said, each line of the user's on a line of its own. */
static int join(struct chat *c, char **text, size_t *bytes, struct error *e)
{
    struct buffer all = {0};
    size_t i;
    json_t *m;
    int rc = 0;

    json_array_foreach(c->messages, i, m)
    {
        json_t *s = json_object_get(m, "content");
        bool user = !strcmp(json_string_value(json_object_get(m, "role")), "user");

        if (!rc && user && all.bytes && all.data[all.bytes - 1] != '\n') rc = buffer_put(&all, "\n", 1, e);
        if (!rc) rc = buffer_put(&all, json_string_value(s), json_string_length(s), e);
    }
    if (!rc) rc = buffer_terminate(&all, e);
    if (rc) {
        buffer_free(&all);
        return rc;
    }
    *text = all.data;
    *bytes = all.bytes;
    return 0;
}

/* Tokens of a text that begins with what the sequence holds. The answer stays the tokens that the model chose: encoded
 * anew they may be others, and all after them would be computed again. Where the new text begins with a special token
 * the cut changes nothing about its own tokens. False: encode all of it. */
static bool encode_rest(struct chat *c, const char *text, size_t bytes, struct token_ids *ids, struct error *e)
{
    const struct tokenizer *t = instance_tokenizer(c->instance);
    const uint32_t *had = sequence_tokens(c->sequence);
    struct token_ids rest = {0};
    bool good = c->template && c->said.bytes && bytes > c->said.bytes && !memcmp(text, c->said.data, c->said.bytes) &&
                sequence_count(c->sequence) >= c->said_tokens;

    good = good && !tokenizer_encode(t, text + c->said.bytes, bytes - c->said.bytes, false, &rest, e);
    good = good && rest.count && tokenizer_is_special(t, rest.id[0]);
    for (size_t i = 0; i < c->said_tokens && good; i++) good = !token_ids_push(ids, had[i]);
    for (size_t i = 0; i < rest.count && good; i++) good = !token_ids_push(ids, rest.id[i]);
    if (!good) ids->count = 0;
    token_ids_free(&rest);
    return good;
}

/* What to do about a full context, put into out. */
static const char *more_room(const struct chat *c, char *out, size_t bytes)
{
    uint32_t most = model_positions(instance_model(c->instance));

    if (sequence_limit(c->sequence) < most)
        snprintf(out, bytes, "/undo, /clear, or start again with --context of up to %u", most);
    else
        snprintf(out, bytes, "/undo or /clear; the model takes no more");
    return out;
}

/* The rendered chat becomes the sequence; what is the same as before stays computed. */
static int load_sequence(struct chat *c, const char *text, size_t bytes, struct error *e)
{
    struct sequence *q = c->sequence;
    const uint32_t *had = sequence_tokens(q);
    uint32_t limit = sequence_limit(q), computed;
    struct token_ids ids = {0};
    char room[128];
    size_t same = 0;
    int rc = 0;

    if (!encode_rest(c, text, bytes, &ids, e))
        rc = tokenizer_encode(instance_tokenizer(c->instance), text, bytes, !c->template, &ids, e);
    if (!rc && !ids.count) rc = error_set(e, EINVAL, "there is nothing to answer");
    if (!rc && ids.count >= limit)
        rc = error_set(e, E2BIG, "the conversation has %zu tokens, there is room for %u: %s", ids.count, limit,
                       more_room(c, room, sizeof room));
    while (!rc && same < ids.count && same < sequence_count(q) && ids.id[same] == had[same]) same++;
    if (!rc) rc = sequence_truncate(q, (uint32_t)same, e);
    if (!rc) {
        computed = sequence_computed(q);
        c->kept = computed < ids.count ? computed : ids.count - 1; /* the last one's logits are wanted */
        c->prompt_tokens = ids.count;
        rc = sequence_append(q, ids.id + same, ids.count - same, e);
        view_total(c->view, sequence_count(q), c->max_tokens ? c->max_tokens : 256);
    }
    token_ids_free(&ids);
    return rc;
}

/* ---- turns ---- */

static int on_text(void *arg, const char *text, size_t bytes, struct error *e)
{
    struct chat *c = arg;
    int rc = buffer_put(&c->answer, text, bytes, e);

    return rc ? rc : think_push(&c->filter, text, bytes, e);
}

static int keep_answer(struct chat *c, struct error *e)
{
    struct buffer *t = think_channels(&c->filter) ? &c->told : &c->answer;
    int rc = chat_add(c, "assistant", t->data ? t->data : "", t->bytes, e);
    json_t *m = rc ? NULL : json_array_get(c->messages, json_array_size(c->messages) - 1);

    if (rc || t == &c->answer || !c->thought.bytes) return rc;
    return json_object_set_new(m, "thinking", json_stringn(c->thought.data, c->thought.bytes))
               ? error_set(e, ENOMEM, "out of memory")
               : 0;
}

/* What the sequence's tokens say, for the next turn. Half a character at the end, or a stop text that is not part of the
 * answer, and they say something else. */
static int note_said(struct chat *c, const char *prompt, size_t bytes, const struct generate_result *r, struct error *e)
{
    const struct buffer *a = &c->answer;
    bool half = a->bytes >= 3 && !memcmp(a->data + a->bytes - 3, "\xEF\xBF\xBD", 3);
    int rc;

    c->said.bytes = 0;
    if (r->end == END_STOP || half) return 0;
    c->said_tokens = sequence_count(c->sequence) - (r->end == END_TOKEN ? 1 : 0);
    rc = buffer_put(&c->said, prompt, bytes, e);
    return rc ? rc : buffer_put(&c->said, a->data ? a->data : "", a->bytes, e);
}

static void explain_end(const struct chat *c, const struct generate_result *r, bool stopped)
{
    char room[128];

    if (stopped)
        chat_remark(c, c->answer.bytes ? "(stopped)" : "(stopped before the first word)");
    else if (r->end == END_LENGTH)
        chat_remark(c, "(stopped after %llu tokens; /set max-tokens 0 lifts the limit)", (unsigned long long)r->tokens);
    else if (r->end == END_CONTEXT)
        chat_remark(c, "(the context of %u tokens is full: %s)", sequence_limit(c->sequence),
                    more_room(c, room, sizeof room));
}

static void begin_answer(struct chat *c, const char *prompt, size_t bytes)
{
    c->answer.bytes = c->thought.bytes = c->told.bytes = 0;
    c->thinking = false;
    c->last = '\n';
    think_begin(&c->filter, c->template && think_left_open(&c->filter, prompt, bytes));
    if (!c->template) c->filter.said = true; /* plain text has no thinking */
}

static int speak(struct chat *c, const char *prompt, size_t bytes, struct error *e)
{
    struct generate_config g = {.sampling = c->sampling,
                                .max_tokens = c->max_tokens,
                                .stop = c->options->stop,
                                .stops = c->options->stops,
                                .spoken = c->spoken,
                                .spoken_count = c->spoken_count,
                                .text = on_text,
                                .arg = c};
    struct generate_result r = {0};
    uint64_t had = instance_times(c->instance)->positions;
    bool stopped;
    int rc;

    begin_answer(c, prompt, bytes);
    rc = generate(c->instance, c->sequence, &g, &r, e);
    view_hide(c->view);
    c->tokens += r.tokens;
    c->computed = instance_times(c->instance)->positions - had;
    c->turns++;
    stopped = rc == -ECANCELED && interrupt_signal() == SIGINT && c->interactive;
    if (stopped) {
        interrupt_clear();
        rc = 0;
    }
    if (!rc) rc = think_end(&c->filter, e);
    if (!rc && (c->answer.bytes || !stopped)) rc = chat_show_end(c, e);
    if (!rc) rc = note_said(c, prompt, bytes, &r, e);
    if (!rc) explain_end(c, &r, stopped);
    if (!rc && stopped && !c->answer.bytes) return 0;
    return rc ? rc : keep_answer(c, e);
}

static int answer(struct chat *c, struct error *e)
{
    char *text = NULL;
    size_t bytes = 0;
    int rc = c->template ? render(c, &text, &bytes, e) : join(c, &text, &bytes, e);

    if (!rc) rc = load_sequence(c, text, bytes, e);
    if (!rc) rc = speak(c, text, bytes, e);
    free(text);
    return rc;
}

int chat_ask(struct chat *c, const char *text, size_t bytes, struct error *e)
{
    size_t had = json_array_size(c->messages);
    int rc = chat_add(c, "user", text, bytes, e);

    if (!rc) rc = answer(c, e);
    if (!rc && json_array_size(c->messages) == had + 1)
        chat_remark(c, "(the question is forgotten; the arrow up brings it back)");
    if (rc || json_array_size(c->messages) == had + 1) /* as if not asked */
        while (json_array_size(c->messages) > had) chat_drop_last(c);
    return rc;
}

int chat_continue(struct chat *c, struct error *e)
{
    return json_array_size(c->messages) ? answer(c, e) : 0;
}

int chat_retry(struct chat *c, struct error *e)
{
    size_t had = json_array_size(c->messages);
    json_t *before = chat_last_is(c, "assistant") ? json_incref(json_array_get(c->messages, had - 1)) : NULL;
    int rc;

    if (before) chat_drop_last(c);
    if (!chat_last_is(c, "user") && (c->template || !json_array_size(c->messages)))
        rc = error_set(e, EINVAL, "there is no question yet");
    else {
        c->sampling.seed++;
        if (c->sampling.temperature <= 0)
            chat_remark(c, "(at temperature 0 the answer is the same; /set temperature 0.7 lets it vary)");
        rc = answer(c, e);
    }
    if (before && json_array_size(c->messages) < had) json_array_append(c->messages, before); /* it stands */
    json_decref(before);
    return rc;
}

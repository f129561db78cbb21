/* /v1/chat/completions: messages, given to the model's chat template. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/answers.h"
#include "coordinator/serve/ask.h"
#include "coordinator/serve/body.h"
#include "coordinator/serve/forms.h"
#include "coordinator/serve/room.h"
#include "coordinator/source/template.h"

static const char *const known[] = {
    "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "n",
    "stop", "stream", "stream_options", "logprobs", "top_logprobs", "logit_bias", "presence_penalty",
    "frequency_penalty", "repeat_penalty", "response_format", "ignore_eos", "return_progress", "chat_template_kwargs",
    "reasoning_effort", "reasoning_format", "tools", "tool_choice", "parallel_tool_calls", "add_generation_prompt",
    "continue_final_message", "timeout_s", "modalities",
    /* taken and without a meaning here */
    "user", "metadata", "store", "service_tier", "prompt_cache_key", "safety_identifier", NULL};

static const char *const message_known[] = {"role",       "content",      "name",        "refusal", "reasoning_content",
                                            "tool_calls", "tool_call_id", "annotations", "audio",   "function_call",
                                            NULL};

/* ---- messages ---- */

/* A list of parts that are texts becomes one text. */
static json_t *join_parts(const json_t *parts, size_t number, struct fault *f)
{
    struct buffer text = {0};
    json_t *part, *joined = NULL;
    size_t i;

    json_array_foreach(parts, i, part)
    {
        json_t *t = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));

        if (!json_is_string(t) ||
            (type && strcmp(type, "text") && strcmp(type, "input_text") && strcmp(type, "output_text"))) {
            buffer_free(&text);
            fault_set(f, 400, "messages", NULL,
                      "message %zu: part %zu is no text (%.40s): the model is given texts only", number, i,
                      type ? type : "without a type");
            return NULL;
        }
        if (i) buffer_append_byte(&text, '\n');
        buffer_append(&text, json_string_value(t), json_string_length(t));
    }
    joined = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.bytes);
    buffer_free(&text);
    if (!joined) fault_set(f, 500, NULL, NULL, "out of memory");
    return joined;
}

static int read_role(const json_t *m, size_t number, const char **role, struct fault *f)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool", NULL};
    const char *r = json_string_value(body_field(m, "role"));

    if (!r) return fault_set(f, 400, "messages", NULL, "message %zu has no role", number);
    if (!strcmp(r, "developer")) r = "system";
    for (size_t i = 0; roles[i]; i++)
        if (!strcmp(r, roles[i])) {
            *role = roles[i];
            return 0;
        }
    return fault_set(f, 400, "messages", NULL, "message %zu: the role \"%.40s\" is not known", number, r);
}

/* Arguments come as a text; templates of models that call tools want what it spells. */
static int spell_arguments(json_t *message, size_t number, struct fault *f)
{
    json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t i;

    if (!calls) return 0;
    if (!json_is_array(calls))
        return fault_set(f, 400, "messages", NULL, "message %zu: tool_calls must be a list", number);
    json_array_foreach(calls, i, call)
    {
        json_t *function = json_object_get(call, "function"), *a = json_object_get(function, "arguments"), *v;

        if (!json_is_string(json_object_get(function, "name")))
            return fault_set(f, 400, "messages", NULL, "message %zu: tool call %zu has no function's name", number, i);
        v = json_is_string(a) ? json_loads(json_string_value(a), 0, NULL) : NULL;
        if (v && json_object_set_new(function, "arguments", v)) return fault_set(f, 500, NULL, NULL, "out of memory");
    }
    return 0;
}

static int add_message(json_t *list, const json_t *m, size_t number, struct fault *f)
{
    json_t *content = body_field(m, "content"), *copy;
    const char *role = NULL, *key;
    void *next;
    json_t *v;

    if (!json_is_object(m)) return fault_set(f, 400, "messages", NULL, "message %zu is no object", number);
    if (body_known(m, message_known, f)) {
        snprintf(f->param, sizeof f->param, "messages");
        return -1;
    }
    if (body_field(m, "audio") || body_field(m, "function_call"))
        return fault_set(f, 400, "messages", NULL, "message %zu: audio and function_call are not supported", number);
    if (read_role(m, number, &role, f)) return -1;
    if (!content && (strcmp(role, "assistant") || !body_field(m, "tool_calls")))
        return fault_set(f, 400, "messages", NULL, "message %zu has no content", number);
    if (content && !json_is_string(content) && !json_is_array(content))
        return fault_set(f, 400, "messages", NULL, "message %zu: content must be a text or a list of parts", number);
    if (!(copy = json_deep_copy(m)) || json_array_append_new(list, copy))
        return fault_set(f, 500, NULL, NULL, "out of memory");
    json_object_foreach_safe(copy, next, key, v) if (json_is_null(v)) json_object_del(copy, key);
    json_object_set_new(copy, "role", json_string(role));
    if (!content) json_object_set_new(copy, "content", json_string(""));
    if (json_is_array(content)) {
        json_t *joined = join_parts(content, number, f);

        if (!joined) return -1;
        json_object_set_new(copy, "content", joined);
    }
    return spell_arguments(copy, number, f);
}

static int read_messages(json_t *list, const json_t *body, struct fault *f)
{
    json_t *messages = body_field(body, "messages"), *m;
    size_t i;

    if (!json_is_array(messages)) return fault_set(f, 400, "messages", NULL, "messages must be a list");
    if (!json_array_size(messages)) return fault_set(f, 400, "messages", NULL, "messages is an empty list");
    json_array_foreach(messages, i, m) if (add_message(list, m, i, f)) return -1;
    return 0;
}

/* ---- the prompt ---- */

static bool stands_in(const char *text, size_t bytes, const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    size_t n = strlen(name);

    for (const char *at = text; n && (at = memmem(at, bytes - (size_t)(at - text), name, n)); at++)
        if ((at == text || !strchr(letters, at[-1])) && (at + n == text + bytes || !strchr(letters, at[n])))
            return true;
    return false;
}

/* Does the template ask for this variable? What it never looks at would be ignored. */
static bool has_variable(const struct facts *x, const char *name)
{
    size_t n, m;
    const char *usual = template_text(x->template, false, &n), *tools = template_text(x->template, true, &m);

    return stands_in(usual, n, name) || stands_in(tools, m, name);
}

/* A template that knows no thinking leaves nothing to switch off. */
static bool never_thinks(const struct facts *x)
{
    size_t n;
    const char *text = template_text(x->template, false, &n);

    return !memmem(text, n, "think", 5);
}

static int add_effort(json_t *vars, const struct facts *x, const json_t *body, struct fault *f)
{
    json_t *effort = body_field(body, "reasoning_effort");
    bool none;

    if (!effort) return 0;
    if (!json_is_string(effort)) return fault_set(f, 400, "reasoning_effort", NULL, "reasoning_effort must be a text");
    none = !strcmp(json_string_value(effort), "none");
    if (!has_variable(x, "reasoning_effort") && !(none && (has_variable(x, "enable_thinking") || never_thinks(x))))
        return fault_set(f, 400, "reasoning_effort", "unsupported_parameter",
                         "reasoning_effort: this model's chat template knows no %s",
                         none ? "way not to think" : "effort");
    json_object_set(vars, "reasoning_effort", effort);
    if (none) json_object_set_new(vars, "enable_thinking", json_false());
    return 0;
}

/* Variables of the template beside the messages. */
static int add_vars(json_t *vars, const struct facts *x, const json_t *body, struct fault *f)
{
    static const char name[] = "chat_template_kwargs";
    json_t *given = body_field(body, name), *v;
    const char *key;

    if (add_effort(vars, x, body, f)) return -1;
    if (given && !json_is_object(given)) return fault_set(f, 400, name, NULL, "%s must be an object", name);
    json_object_foreach(given, key, v)
    {
        if (!strcmp(key, "messages") || !strcmp(key, "tools") || !strcmp(key, "add_generation_prompt"))
            return fault_set(f, 400, name, NULL, "%s: %s has its own parameter", name, key);
        if (!has_variable(x, key) && !(!strcmp(key, "enable_thinking") && json_is_false(v) && never_thinks(x)))
            return fault_set(f, 400, name, "unsupported_parameter",
                             "%s: this model's chat template has no variable %.60s", name, key);
        json_object_set(vars, key, v);
    }
    return 0;
}

/* With continue_final_message the text ends where the last message's content does. */
static int cut_behind(const json_t *list, char *text, size_t *bytes, struct fault *f)
{
    json_t *c = json_object_get(json_array_get(list, json_array_size(list) - 1), "content");
    const char *s = json_string_value(c);
    size_t n = json_string_length(c);

    while (n && strchr(" \n\t\r", s[n - 1])) n--; /* templates trim */
    while (n && strchr(" \n\t\r", s[0])) {
        s++;
        n--;
    }
    for (size_t at = *bytes; n && at >= n; at--)
        if (!memcmp(text + at - n, s, n)) {
            text[at] = 0;
            *bytes = at;
            return 0;
        }
    return fault_set(f, 400, "continue_final_message", NULL,
                     "the chat template does not keep the final message as it is: it cannot be continued");
}

#define RENDER_LEAST                                                                                                   \
    ((size_t)256 << 10) /* for values and texts of a rendering, and so many times the messages' texts */
#define RENDER_TIMES 8u
#define RENDER_MORE  8u /* as much where that did not do */
#define RENDER_MOST  ((size_t)512 << 20)
#define RENDER_MS    5000 /* to wait for room */

/* Bytes of the texts in a value. */
static size_t text_bytes(const json_t *v)
{
    size_t n = json_string_length(v), i;
    const char *key;
    json_t *o;

    json_array_foreach(v, i, o) n += text_bytes(o) + 16;
    json_object_foreach((json_t *)v, key, o) n += text_bytes(o) + strlen(key) + 16;
    return n;
}

/* What a template holds is not known before it has run: it gets more where little did not do, as far as there is room. */
static int render_within(const struct facts *x, json_t *vars, char **text, size_t *bytes, struct fault *f)
{
    size_t most = room_most(x->room) / 2, held = RENDER_LEAST + RENDER_TIMES * text_bytes(vars);
    struct error e = {0};
    int rc;

    if (most > RENDER_MOST) most = RENDER_MOST;
    for (;; held *= RENDER_MORE) {
        if (held > most) held = most;
        if (!room_take(x->room, held, RENDER_MS)) {
            fault_set(f, 503, NULL, "busy", "there is no memory for more prompts now");
            f->retry_after = 5;
            return -1;
        }
        rc = template_render_within(x->template, vars, NULL, held, text, bytes, &e);
        room_give(x->room, held);
        if (rc != -E2BIG || held == most) break;
        e = (struct error){0};
    }
    if (!rc) return 0;
    return fault_set(f, rc == -ENOMEM ? 500 : 400, "messages", NULL, "the chat template: %.400s", e.text);
}

static int render(const struct facts *x, const json_t *list, const json_t *body, const json_t *tools, char **text,
                  size_t *bytes, struct fault *f)
{
    bool go_on = false, generation;
    json_t *vars;
    int rc;

    if (body_bool(body, "continue_final_message", &go_on, f)) return -1;
    generation = !go_on;
    if (body_bool(body, "add_generation_prompt", &generation, f)) return -1;
    if (go_on && generation)
        return fault_set(f, 400, "add_generation_prompt", NULL,
                         "add_generation_prompt and continue_final_message exclude each other");
    vars = json_pack("{s:O,s:b}", "messages", (json_t *)list, "add_generation_prompt", generation);
    if (!vars) return fault_set(f, 500, NULL, NULL, "out of memory");
    if (tools) json_object_set(vars, "tools", (json_t *)tools);
    rc = add_vars(vars, x, body, f);
    if (!rc) rc = render_within(x, vars, text, bytes, f);
    json_decref(vars);
    if (!rc && go_on && (rc = cut_behind(list, *text, bytes, f))) {
        free(*text);
        *text = NULL;
    }
    return rc;
}

int ask_chat_prompt(const struct facts *x, const json_t *body, const json_t *tools, struct token_ids *ids, char **text,
                    size_t *bytes, const char **close, struct fault *f)
{
    json_t *list = json_array();
    struct error e = {0};
    char *rendered = NULL;
    size_t n = 0;
    int rc;

    if (!list) return fault_set(f, 500, NULL, NULL, "out of memory");
    if (!x->template) {
        json_decref(list);
        return fault_set(f, 400, "messages", NULL, "this model has no chat template: /v1/completions continues a text");
    }
    rc = read_messages(list, body, f);
    if (!rc) rc = render(x, list, body, tools, &rendered, &n, f);
    json_decref(list);
    if (!rc && ids && tokenizer_encode(x->tokenizer, rendered, n, false, ids, &e))
        rc = fault_set(f, e.code == ENOMEM ? 500 : 400, "messages", NULL, "%.400s", e.text);
    if (!rc && ids && x->answers && answers_match(x->answers, rendered, n, ids, &e))
        rc = fault_set(f, 500, NULL, NULL, "%.400s", e.text);
    if (!rc && close) *close = think_left_open(&x->think, rendered, n);
    if (!rc && text) {
        *text = rendered;
        *bytes = n;
    } else {
        free(rendered);
    }
    return rc;
}

/* ---- the rest ---- */

static int read_logprobs(struct ask *a, const json_t *body, struct fault *f)
{
    bool wanted = false;
    int64_t top = 0;

    if (body_bool(body, "logprobs", &wanted, f)) return -1;
    if (body_field(body, "top_logprobs") && !wanted)
        return fault_set(f, 400, "top_logprobs", NULL, "top_logprobs needs logprobs: true");
    if (body_whole(body, "top_logprobs", 0, ASK_LOGPROBS_MAX, &top, f)) return -1;
    a->logprobs = wanted ? (int)top : -1;
    return 0;
}

static int read_formats(struct ask *a, const json_t *body, struct fault *f)
{
    const char *reasoning = "auto";

    if (body_text(body, "reasoning_format", &reasoning, f)) return -1;
    if (strcmp(reasoning, "auto") && strcmp(reasoning, "none") && strcmp(reasoning, "deepseek"))
        return fault_set(f, 400, "reasoning_format", NULL, "reasoning_format must be auto, deepseek or none");
    a->raw_reasoning = !strcmp(reasoning, "none");
    return 0;
}

/* Texts are all that is answered. */
static int read_modalities(const json_t *body, struct fault *f)
{
    json_t *list = body_field(body, "modalities"), *o;
    size_t i;

    if (list && (!json_is_array(list) || !json_array_size(list)))
        return fault_set(f, 400, "modalities", NULL, "modalities must be a list of texts");
    json_array_foreach(list, i, o)
    {
        if (json_is_string(o) && !strcmp(json_string_value(o), "text")) continue;
        return fault_set(f, 400, "modalities", "unsupported_parameter", "modalities: answers are texts");
    }
    return 0;
}

int ask_chat_known(const json_t *body, struct fault *f)
{
    return body_known(body, known, f);
}

int ask_chat(struct ask **out, const struct facts *x, const json_t *body, struct fault *f)
{
    struct ask *a = calloc(1, sizeof *a);
    const char *close = NULL;
    bool forced = false;
    int rc;

    if (!a || !(a->prompt = calloc(1, sizeof *a->prompt))) {
        free(a);
        return fault_set(f, 500, NULL, NULL, "out of memory");
    }
    a->api = ASK_CHAT;
    a->prompts = 1;
    rc = body_known(body, known, f);
    if (!rc) rc = ask_common(a, x, body, f);
    if (!rc) rc = read_logprobs(a, body, f);
    if (!rc) rc = read_modalities(body, f);
    if (!rc) rc = read_formats(a, body, f);
    if (!rc) rc = ask_tools(a, x, body, &forced, f);
    if (!rc)
        rc = ask_chat_prompt(x, body, a->tools, &a->prompt[0], x->answers ? &a->text : NULL, &a->text_bytes, &close, f);
    a->thinks = close != NULL;
    if (!rc) rc = forms_read(&a->grammar, x, body, close, f);
    if (!rc && a->grammar && a->tools)
        rc = fault_set(f, 400, "response_format", NULL,
                       "response_format: an answer that may call tools has no form of its own: tool_choice none");
    if (!rc && forced) rc = ask_force(a, x, body, close, f);
    a->only = NULL;
    if (!rc) rc = ask_check_length(a, x, "messages", f);
    if (rc) {
        ask_free(a);
        return -1;
    }
    *out = a;
    return 0;
}

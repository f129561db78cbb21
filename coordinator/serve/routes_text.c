/* Tokens and templates, which need no sweep. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/body.h"
#include "coordinator/serve/logprobs.h"
#include "coordinator/serve/out.h"
#include "coordinator/serve/routes.h"
#include "coordinator/tokenizer/detokenizer.h"

static json_t *read_object(struct routes *r, struct exchange *x, size_t *held)
{
    struct fault f = {0};
    json_t *body;

    if (!routes_body(r, x, &body, held, &f)) return body;
    http_fault(x, &f);
    return NULL;
}

/* The prompt that a chat of this body would have, as tokens or as text, or both. */
static int prompt_of(const struct facts *x, const json_t *body, struct token_ids *ids, char **text, size_t *bytes,
                     struct fault *f)
{
    struct ask a = {.api = ASK_CHAT};
    bool forced;
    int rc = ask_model(x, body, a.model, sizeof a.model, f);

    if (!rc) rc = ask_tools(&a, x, body, &forced, f);
    if (!rc) rc = ask_chat_prompt(x, body, a.tools, ids, text, bytes, NULL, f);
    json_decref(a.tools);
    return rc;
}

/* The answer, or why there is none; lets the body go. */
static void finish(struct routes *r, struct exchange *x, json_t *body, size_t held, struct buffer *b, int rc,
                   const struct fault *f)
{
    routes_body_done(r, body, held);
    if (!rc) {
        routes_json(x, b);
        return;
    }
    buffer_free(b);
    http_fault(x, f);
}

static void write_tokens(struct buffer *b, const struct facts *x, const struct token_ids *ids, bool pieces)
{
    struct buffer text = {0}, bytes = {0};

    buffer_append_text(b, "{\"tokens\":[");
    for (size_t i = 0; i < ids->count; i++) {
        if (!pieces) {
            out_format(b, "%s%u", i ? "," : "", ids->id[i]);
            continue;
        }
        token_text(x, ids->id[i], &text, &bytes);
        out_format(b, "%s{\"id\":%u,\"piece\":", i ? "," : "", ids->id[i]);
        out_string(b, text.data ? text.data : "", text.bytes);
        buffer_append_byte(b, '}');
    }
    out_format(b, "],\"count\":%zu,\"max_model_len\":%u}", ids->count, x->context);
    buffer_free(&text);
    buffer_free(&bytes);
}

static int tokenize(struct routes *r, const json_t *body, struct buffer *b, struct fault *f)
{
    static const char *const of_text[] = {"content", "prompt", "model", "add_special", "with_pieces", NULL};
    static const char *const known[] = {"messages",
                                        "model",
                                        "with_pieces",
                                        "tools",
                                        "tool_choice",
                                        "add_generation_prompt",
                                        "continue_final_message",
                                        "chat_template_kwargs",
                                        "reasoning_effort",
                                        NULL};
    json_t *content = body_field(body, "content");
    struct token_ids ids = {0};
    bool special = false, pieces = false;
    struct error e = {0};
    char name[8];
    int rc;

    if (!content && (content = body_field(body, "prompt"))) special = true; /* as vLLM has it */
    rc = body_known(body, content ? of_text : known, f);
    if (!rc) rc = ask_model(r->facts, body, name, sizeof name, f);
    if (!rc) rc = body_bool(body, "add_special", &special, f);
    if (!rc) rc = body_bool(body, "with_pieces", &pieces, f);
    if (!rc && !content && body_field(body, "messages"))
        rc = prompt_of(r->facts, body, &ids, NULL, NULL, f);
    else if (!rc && !json_is_string(content))
        rc = fault_set(f, 400, "content", NULL, "content must be a text");
    else if (!rc && tokenizer_encode(r->facts->tokenizer, json_string_value(content), json_string_length(content),
                                     special, &ids, &e))
        rc = fault_set(f, e.code == ENOMEM ? 500 : 400, "content", NULL, "%.400s", e.text);
    if (!rc) write_tokens(b, r->facts, &ids, pieces);
    token_ids_free(&ids);
    return rc;
}

void routes_tokenize(struct routes *r, struct exchange *x)
{
    struct buffer b = {0};
    struct fault f = {0};
    size_t held;
    json_t *body = read_object(r, x, &held);

    if (body) finish(r, x, body, held, &b, tokenize(r, body, &b, &f), &f);
}

static int decode(const struct facts *x, const json_t *list, struct buffer *out, struct fault *f)
{
    struct detokenizer *d;
    struct error e;
    const char *text;
    size_t bytes, i;
    json_t *v;
    int rc = 0;

    if (detokenizer_open(&d, x->tokenizer, false, &e)) return fault_set(f, 500, NULL, NULL, "out of memory");
    json_array_foreach(list, i, v)
    {
        json_int_t id = json_integer_value(v);

        if (!json_is_integer(v) || id < 0 || id >= (json_int_t)x->vocab) {
            rc = fault_set(f, 400, "tokens", NULL, "tokens: item %zu is no token of the vocabulary of %u", i, x->vocab);
            break;
        }
        if (!detokenizer_push(d, (uint32_t)id, &text, &bytes, &e)) buffer_append(out, text, bytes);
    }
    if (!rc && !detokenizer_finish(d, &text, &bytes)) buffer_append(out, text, bytes);
    detokenizer_close(d);
    return rc;
}

static int detokenize(struct routes *r, const json_t *body, struct buffer *b, struct fault *f)
{
    static const char *const known[] = {"tokens", "model", NULL};
    json_t *list = body_field(body, "tokens");
    struct buffer text = {0};
    char name[8];
    int rc = body_known(body, known, f);

    if (!rc) rc = ask_model(r->facts, body, name, sizeof name, f);
    if (!rc && !json_is_array(list)) rc = fault_set(f, 400, "tokens", NULL, "tokens must be a list of token ids");
    if (!rc) rc = decode(r->facts, list, &text, f);
    if (!rc) {
        buffer_append_text(b, "{\"content\":");
        out_string(b, text.data ? text.data : "", text.bytes);
        buffer_append_text(b, ",\"prompt\":");
        out_string(b, text.data ? text.data : "", text.bytes);
        buffer_append_byte(b, '}');
    }
    buffer_free(&text);
    return rc;
}

void routes_detokenize(struct routes *r, struct exchange *x)
{
    struct buffer b = {0};
    struct fault f = {0};
    size_t held;
    json_t *body = read_object(r, x, &held);

    if (body) finish(r, x, body, held, &b, detokenize(r, body, &b, &f), &f);
}

void routes_apply_template(struct routes *r, struct exchange *x)
{
    struct buffer b = {0};
    struct fault f = {0};
    size_t held;
    json_t *body = read_object(r, x, &held);
    char *text = NULL;
    size_t bytes = 0;
    int rc;

    if (!body) return;
    rc = ask_chat_known(body, &f);
    if (!rc) rc = prompt_of(r->facts, body, NULL, &text, &bytes, &f);
    if (!rc) {
        buffer_append_text(&b, "{\"prompt\":");
        out_string(&b, text, bytes);
        buffer_append_byte(&b, '}');
    }
    free(text);
    finish(r, x, body, held, &b, rc, &f);
}

void routes_input_tokens(struct routes *r, struct exchange *x)
{
    struct token_ids ids = {0};
    struct buffer b = {0};
    struct fault f = {0};
    size_t held;
    json_t *body = read_object(r, x, &held);
    int rc;

    if (!body) return;
    rc = ask_chat_known(body, &f);
    if (!rc) rc = prompt_of(r->facts, body, &ids, NULL, NULL, &f);
    if (!rc)
        out_format(&b, "{\"object\":\"response.input_tokens\",\"input_tokens\":%zu,\"n_ctx\":%u}", ids.count,
                   r->facts->context);
    token_ids_free(&ids);
    finish(r, x, body, held, &b, rc, &f);
}

void routes_count_tokens(struct routes *r, struct exchange *x)
{
    struct token_ids ids = {0};
    struct buffer b = {0};
    struct fault f = {0};
    size_t held;
    json_t *body = read_object(r, x, &held), *chat = NULL;
    int rc;

    if (!body) return;
    rc = ask_messages_chat(&chat, body, true, &f);
    if (!rc) rc = prompt_of(r->facts, chat, &ids, NULL, NULL, &f);
    json_decref(chat);
    if (!rc) out_format(&b, "{\"input_tokens\":%zu}", ids.count);
    token_ids_free(&ids);
    f.typed = true;
    finish(r, x, body, held, &b, rc, &f);
}

/* /v1/completions: texts or token ids, one or several. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/ask.h"
#include "coordinator/serve/body.h"
#include "coordinator/serve/forms.h"

static const char *const known[] = {
    "model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "n", "stop", "stream",
    "stream_options", "logprobs", "logit_bias", "presence_penalty", "frequency_penalty", "repeat_penalty", "echo",
    "response_format", "ignore_eos", "return_progress", "timeout_s",
    /* taken and without a meaning here */
    "user", "metadata", "store", "service_tier", "prompt_cache_key", "safety_identifier", NULL};

#define PROMPTS_MAX 1024

static int add_text(struct ask *a, const struct facts *x, const json_t *v, struct fault *f)
{
    struct token_ids *ids = &a->prompt[a->prompts++];
    struct error e = {0};

    if (!tokenizer_encode(x->tokenizer, json_string_value(v), json_string_length(v), true, ids, &e)) return 0;
    return fault_set(f, e.code == ENOMEM ? 500 : 400, "prompt", NULL, "prompt: %.400s", e.text);
}

static int add_ids(struct ask *a, const struct facts *x, const json_t *list, struct fault *f)
{
    struct token_ids *ids = &a->prompt[a->prompts++];
    json_t *v;
    size_t i;

    json_array_foreach(list, i, v)
    {
        json_int_t id = json_integer_value(v);

        if (!json_is_integer(v) || id < 0 || id >= (json_int_t)x->vocab)
            return fault_set(f, 400, "prompt", NULL, "prompt: item %zu is no token of the vocabulary of %u", i,
                             x->vocab);
        if (token_ids_push(ids, (uint32_t)id)) return fault_set(f, 500, NULL, NULL, "out of memory");
    }
    return 0;
}

static int read_prompts(struct ask *a, const struct facts *x, const json_t *body, struct fault *f)
{
    json_t *p = body_field(body, "prompt"), *v;
    bool one = json_is_string(p) || (json_is_array(p) && json_is_integer(json_array_get(p, 0)));
    size_t n = one ? 1 : json_array_size(p), i;

    if (!p) return fault_set(f, 400, "prompt", NULL, "prompt is missing");
    if (!one && !json_is_array(p))
        return fault_set(f, 400, "prompt", NULL, "prompt must be a text, a list of token ids, or a list of either");
    if (!n) return fault_set(f, 400, "prompt", NULL, "prompt is an empty list");
    if (n > PROMPTS_MAX)
        return fault_set(f, 400, "prompt", NULL, "prompt has %zu entries, and %d are allowed", n, PROMPTS_MAX);
    if (!(a->prompt = calloc(n, sizeof *a->prompt))) return fault_set(f, 500, NULL, NULL, "out of memory");
    if (one) return json_is_string(p) ? add_text(a, x, p, f) : add_ids(a, x, p, f);
    json_array_foreach(p, i, v)
    {
        if (!json_is_string(v) && !json_is_array(v))
            return fault_set(f, 400, "prompt", NULL, "prompt: item %zu is neither a text nor a list of token ids", i);
        if (json_is_string(v) ? add_text(a, x, v, f) : add_ids(a, x, v, f)) return -1;
    }
    return 0;
}

static int read_rest(struct ask *a, const struct facts *x, const json_t *body, struct fault *f)
{
    int64_t logprobs = -1;
    json_t *v = body_field(body, "logprobs");

    if (body_known(body, known, f) || ask_common(a, x, body, f) || body_bool(body, "echo", &a->echo, f)) return -1;
    /* some clients send what belongs to a chat */
    if (v && json_is_boolean(v)) logprobs = json_is_true(v) ? 0 : -1;
    if (v && !json_is_boolean(v) && body_whole(body, "logprobs", 0, ASK_LOGPROBS_MAX, &logprobs, f)) return -1;
    a->logprobs = (int)logprobs;
    if (!a->max_tokens && !a->echo)
        return fault_set(f, 400, "max_tokens", NULL, "max_tokens is 0, and echo is not true: nothing would be said");
    if (forms_read(&a->grammar, x, body, NULL, f)) return -1;
    return read_prompts(a, x, body, f);
}

int ask_completion(struct ask **out, const struct facts *x, const json_t *body, struct fault *f)
{
    struct ask *a = calloc(1, sizeof *a);

    if (!a) return fault_set(f, 500, NULL, NULL, "out of memory");
    a->api = ASK_COMPLETION;
    if (read_rest(a, x, body, f) || ask_check_length(a, x, "prompt", f)) {
        ask_free(a);
        return -1;
    }
    *out = a;
    return 0;
}

#include "coordinator/serve/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "coordinator/grammar/grammar.h"
#include "coordinator/serve/body.h"
#include "proto/base/clock.h"

#define STOPS_MAX   16
#define CHOICES_MAX 4096
#define SEED_MASK   ((UINT64_C(1) << 53) - 1)

void ask_free(struct ask *a)
{
    if (!a) return;
    for (uint32_t i = 0; i < a->prompts; i++) token_ids_free(&a->prompt[i]);
    for (size_t i = 0; i < a->stops; i++) free(a->stop[i]);
    grammar_close(a->grammar);
    json_decref(a->tools);
    json_decref(a->frame);
    free(a->text);
    free(a->prompt);
    free(a->stop);
    free(a->bias);
    free(a);
}

int ask_model(const struct facts *x, const json_t *body, char *name, size_t room, struct fault *f)
{
    const char *model = x->name;

    if (body_text(body, "model", &model, f)) return -1;
    snprintf(name, room, "%s", model);
    if (facts_serves(x, model)) return 0;
    return fault_set(f, 404, "model", "model_not_found", "there is no model \"%.200s\" here: \"%s\" is served", model,
                     x->name);
}

/* ---- sampling ---- */

static int read_seed(struct ask *a, const json_t *body, struct fault *f)
{
    int64_t seed;
    uint64_t random;

    if (body_field(body, "seed")) {
        if (body_whole(body, "seed", INT64_MIN, INT64_MAX, &seed, f)) return -1;
        a->sampling.seed = (uint64_t)seed;
        return 0;
    }
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random) random = clock_ns();
    a->sampling.seed = random & SEED_MASK;
    return 0;
}

static int read_sampling(struct ask *a, const json_t *body, struct fault *f)
{
    struct sampler_settings *s = &a->sampling;
    int64_t top_k = s->top_k;
    int rc = body_real(body, "temperature", 0, 5, &s->temperature, f);

    if (!rc) rc = body_real(body, "top_p", 0, 1, &s->top_p, f);
    if (!rc && s->top_p <= 0) rc = fault_set(f, 400, "top_p", NULL, "top_p must be more than 0");
    if (!rc) rc = body_real(body, "min_p", 0, 1, &s->min_p, f);
    if (!rc) rc = body_whole(body, "top_k", -1, INT32_MAX, &top_k, f);
    if (!rc) rc = body_real(body, "repeat_penalty", 0.01, 100, &s->repeat_penalty, f);
    if (!rc) rc = body_real(body, "presence_penalty", -2, 2, &a->presence, f);
    if (!rc) rc = body_real(body, "frequency_penalty", -2, 2, &a->frequency, f);
    s->top_k = top_k > 0 ? (int)top_k : 0;
    return rc ? rc : read_seed(a, body, f);
}

static int read_bias(struct ask *a, const struct facts *x, const json_t *body, struct fault *f)
{
    json_t *o = body_field(body, "logit_bias"), *v;
    const char *key;

    if (!o) return 0;
    if (!json_is_object(o)) return fault_set(f, 400, "logit_bias", NULL, "logit_bias must map token ids to numbers");
    a->bias = calloc(json_object_size(o) + 1, sizeof *a->bias);
    if (!a->bias) return fault_set(f, 500, NULL, NULL, "out of memory");
    json_object_foreach(o, key, v)
    {
        char *end;
        unsigned long long id = strtoull(key, &end, 10);
        double bias = json_is_number(v) ? json_number_value(v) : 1000;

        if (key[0] < '0' || key[0] > '9' || *end || id >= x->vocab)
            return fault_set(f, 400, "logit_bias", NULL, "logit_bias: \"%.40s\" is no token of the vocabulary of %u",
                             key, x->vocab);
        if (!(bias >= -100 && bias <= 100))
            return fault_set(f, 400, "logit_bias", NULL, "logit_bias: token %llu: must be a number from -100 to 100",
                             id);
        a->bias[a->biases++] = (struct ask_bias){(uint32_t)id, (float)bias};
    }
    return 0;
}

/* ---- where it ends ---- */

static int add_stop(struct ask *a, const json_t *v, struct fault *f)
{
    size_t n = json_string_length(v);

    if (!json_is_string(v) || !n || strlen(json_string_value(v)) != n)
        return fault_set(f, 400, "stop", NULL, "stop must be a text, or a list of up to %d texts, none of them empty",
                         STOPS_MAX);
    if (!(a->stop[a->stops] = strdup(json_string_value(v)))) return fault_set(f, 500, NULL, NULL, "out of memory");
    a->stops++;
    return 0;
}

static int read_stop(struct ask *a, const json_t *body, struct fault *f)
{
    json_t *o = body_field(body, "stop"), *v;
    size_t i;

    if (!o) return 0;
    if (json_is_array(o) && json_array_size(o) > STOPS_MAX)
        return fault_set(f, 400, "stop", NULL, "stop has %zu texts, and %d are allowed", json_array_size(o), STOPS_MAX);
    a->stop = calloc(json_array_size(o) + 1, sizeof *a->stop);
    if (!a->stop) return fault_set(f, 500, NULL, NULL, "out of memory");
    if (!json_is_array(o)) return add_stop(a, o, f);
    json_array_foreach(o, i, v) if (add_stop(a, v, f)) return -1;
    return 0;
}

int ask_max_tokens(struct ask *a, const struct facts *x, const json_t *body, struct fault *f)
{
    int64_t least = a->api == ASK_COMPLETION ? 0 : 1, n = x->max_tokens, all = INT32_MAX;

    if (body_whole(body, "max_tokens", least, INT32_MAX, &n, f)) return -1;
    if (a->api == ASK_CHAT && body_whole(body, "max_completion_tokens", least, INT32_MAX, &all, f)) return -1;
    if (body_field(body, "max_completion_tokens") && !body_field(body, "max_tokens")) n = all;
    a->max_tokens = (uint64_t)(n < all ? n : all); /* both hold */
    return 0;
}

/* ---- streaming ---- */

static int read_stream(struct ask *a, const json_t *body, struct fault *f)
{
    static const char *const known[] = {"include_usage", "include_obfuscation", NULL};
    json_t *o = body_field(body, "stream_options");
    int rc = body_bool(body, "stream", &a->stream, f);
    bool ignored;

    if (!rc) rc = body_bool(body, "return_progress", &a->progress, f);
    if (!rc) rc = body_bool(body, "ignore_eos", &a->ignore_eos, f);
    if (!rc) rc = body_real(body, "timeout_s", 0, 1e9, &a->timeout_s, f);
    if (!rc && a->progress && !a->stream)
        rc = fault_set(f, 400, "return_progress", NULL, "return_progress is for streams: stream is not true");
    if (rc || !o) return rc;
    if (!json_is_object(o)) return fault_set(f, 400, "stream_options", NULL, "stream_options must be an object");
    if (!a->stream)
        return fault_set(f, 400, "stream_options", NULL, "stream_options is for streams: stream is not true");
    rc = body_known(o, known, f);
    if (!rc) rc = body_bool(o, "include_usage", &a->usage, f);
    return rc ? rc : body_bool(o, "include_obfuscation", &ignored, f);
}

int ask_common(struct ask *a, const struct facts *x, const json_t *body, struct fault *f)
{
    int64_t n = 1;
    int rc;

    a->sampling = x->sampling;
    a->logprobs = -1;
    rc = ask_model(x, body, a->model, sizeof a->model, f);
    if (!rc) rc = body_whole(body, "n", 1, 128, &n, f);
    a->n = (uint32_t)n;
    if (!rc) rc = read_sampling(a, body, f);
    if (!rc) rc = read_bias(a, x, body, f);
    if (!rc) rc = read_stop(a, body, f);
    if (!rc) rc = read_stream(a, body, f);
    return rc ? rc : ask_max_tokens(a, x, body, f);
}

int ask_check_length(const struct ask *a, const struct facts *x, const char *param, struct fault *f)
{
    if (a->grammar && a->ignore_eos)
        return fault_set(f, 400, "ignore_eos", NULL, "ignore_eos: an answer of a given form ends where the form does");
    if ((uint64_t)a->prompts * a->n > CHOICES_MAX)
        return fault_set(f, 400, "n", NULL, "%u prompts with %u choices each: more than %d answers at once", a->prompts,
                         a->n, CHOICES_MAX);
    for (uint32_t i = 0; i < a->prompts; i++) {
        size_t n = a->prompt[i].count;

        if (!n) return fault_set(f, 400, param, NULL, "the prompt is empty: there is nothing to go on from");
        for (size_t k = 0; k < n; k++)
            if (a->prompt[i].id[k] >= x->vocab)
                return fault_set(f, 400, param, NULL, "token %u is outside of the vocabulary of %u", a->prompt[i].id[k],
                                 x->vocab);
        if (n + (a->max_tokens > 0) <= x->context) continue;
        fault_set(f, 400, param, "context_length_exceeded",
                  "the prompt has %zu tokens and the context %u, of which an answer needs one at least: shorten the "
                  "prompt, or serve with a larger --context",
                  n, x->context);
        f->prompt_tokens = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
        f->context = x->context;
        return -1;
    }
    return 0;
}

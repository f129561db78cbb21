#include "coordinator/view/summary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/batch/draft_model.h"
#include "proto/base/clock.h"

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static json_t *stage_json(const struct engine_stage_stats *t, uint64_t span_ns)
{
    double seconds = (double)span_ns / 1e9;

    return json_pack("{s:I,s:I,s:I,s:f,s:f,s:f,s:f}", "bytes", (json_int_t)t->bytes, "tiles", (json_int_t)t->tiles,
                     "calls", (json_int_t)t->calls, "bytes_per_second", seconds > 0 ? (double)t->bytes / seconds : 0.0,
                     "busy", share(t->busy_ns, span_ns), "waiting", share(t->wait_ns, span_ns), "cpu_seconds",
                     (double)t->cpu_ns / 1e9);
}

static json_t *stages_json(const struct engine_stats *t, uint64_t span_ns)
{
    json_t *o = json_object();

    for (int i = 0; i < STAGES; i++)
        json_object_set_new(o, stage_name((enum stage_id)i), stage_json(&t->stage[i], span_ns));
    return o;
}

static json_t *sweeps_json(const struct scheduler_times *t)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < t->sweeps; i++)
        json_array_append_new(list, json_pack("{s:I,s:f}", "positions", (json_int_t)t->sweep[i].positions, "seconds",
                                              (double)t->sweep[i].ns / 1e9));
    return list;
}

static void add_prompt(json_t *o, const struct instance *i, uint64_t tokens)
{
    const struct scheduler_times *t = instance_times(i);
    double predicted = instance_predicted_prompt_seconds(i);

    json_object_set_new(o, "first_sweep_seconds", json_real(t->sweeps ? (double)t->sweep[0].ns / 1e9 : 0));
    json_object_set_new(o, "predicted_from", json_string(instance_predicted_from(i)));
    if (!tokens || !(predicted > 0)) return;
    json_object_set_new(o, "predicted_prompt_seconds", json_real(predicted));
    json_object_set_new(o, "predicted_seconds_per_prompt_token", json_real(predicted / (double)tokens));
    json_object_set_new(o, "seconds_per_prompt_token", json_real((double)t->prompt_ns / 1e9 / (double)tokens));
}

static double ratio(double part, uint64_t whole)
{
    return whole ? part / (double)whole : 0;
}

/* The model of --draft. */
static json_t *small_json(const struct instance *i)
{
    const struct draft_model *m = instance_small(i);
    struct neural_stats s = neural_stats(draft_model_neural(m));

    return json_pack("{s:s%,s:b,s:I,s:I,s:I,s:f}", "model", draft_model_name(m), strlen(draft_model_name(m)), "works",
                     neural_works(draft_model_neural(m)), "bytes", (json_int_t)draft_model_bytes(m), "steps",
                     (json_int_t)s.steps, "positions", (json_int_t)s.positions, "seconds", (double)s.ns / 1e9);
}

static void add_guessing(json_t *o, const struct instance *i)
{
    const struct scheduler_times *t = instance_times(i);
    struct drafter_stats s;

    json_object_set_new(o, "tokens_per_sweep", json_real(ratio((double)t->decode_tokens, t->decode_sweeps)));
    if (!instance_guessing(i, &s)) return;
    json_object_set_new(o, "speculation",
                        json_pack("{s:I,s:I,s:I,s:f,s:f,s:f,s:{s:I,s:I,s:I}}", "most",
                                  (json_int_t)instance_plan(i)->run.guesses, "sweeps", (json_int_t)s.sweeps, "nodes",
                                  (json_int_t)s.guesses, "tokens_per_sweep", ratio((double)s.tokens, s.sweeps),
                                  "predicted_tokens_per_sweep", ratio(s.predicted, s.sweeps), "draft_seconds",
                                  (double)t->guess_ns / 1e9, "hits", "ngram", (json_int_t)s.hits_ngram, "recycled",
                                  (json_int_t)s.hits_recycled, "draft", (json_int_t)s.hits_neural));
    if (instance_small(i)) json_object_set_new(json_object_get(o, "speculation"), "draft", small_json(i));
}

static json_t *summary_json(const struct summary_input *x)
{
    const struct scheduler_times *s = instance_times(x->instance);
    const struct plan_summary *plan = instance_summary(x->instance);
    struct engine_stats t;
    double decode = (double)s->decode_ns / 1e9, by_lanes = instance_seconds_by_lanes(x->instance);
    uint64_t first;
    json_t *o;

    instance_stats(x->instance, &t);
    first = t.first_byte_ns > x->start_ns ? t.first_byte_ns - x->start_ns : 0;
    o = json_pack("{s:s%,s:s,s:I,s:I,s:f,s:f,s:f,s:I,s:I,s:o,s:f,s:f,s:o,s:s,s:s,s:I,s:I}", "text",
                  x->text ? x->text : "", x->text_bytes, "end", generate_end_name(x->result->end), "prompt_tokens",
                  (json_int_t)x->prompt_tokens, "tokens", (json_int_t)x->result->tokens, "seconds",
                  (double)(x->end_ns - x->start_ns) / 1e9, "prompt_seconds", (double)s->prompt_ns / 1e9,
                  "first_byte_seconds", (double)first / 1e9, "bytes_read", (json_int_t)t.stage[STAGE_READER].bytes,
                  "peak_host_bytes", (json_int_t)t.peak_host_bytes, "stages", stages_json(&t, clock_ns() - t.start_ns),
                  "predicted_seconds_per_token", plan->predicted_seconds_per_token, "seconds_per_token",
                  ratio(decode, s->decode_tokens), "sweeps", sweeps_json(s), "bottleneck",
                  plan->bottleneck ? plan->bottleneck : "", "compute", t.compute, "restarts",
                  (json_int_t)(t.epochs - 1), "sweep_bytes", (json_int_t)plan->sweep_bytes);
    if (o) add_prompt(o, x->instance, x->prompt_tokens);
    if (o) add_guessing(o, x->instance);
    if (o && by_lanes > 0) json_object_set_new(o, "seconds_per_token_by_lanes", json_real(by_lanes));
    if (o && instance_plan(x->instance)->experts.count) {
        json_object_set_new(o, "expert_hit_rate", json_real(share(t.hit_bytes, t.hit_bytes + t.miss_bytes)));
        json_object_set_new(o, "expert_hit_bytes", json_integer((json_int_t)t.hit_bytes));
        json_object_set_new(o, "expert_miss_bytes", json_integer((json_int_t)t.miss_bytes));
    }
    return o;
}

/* The seed has 64 bits without a sign, and jansson's integers 63: it is written behind the others by hand. */
int summary_print_json(const struct summary_input *x, struct error *e)
{
    json_t *o = summary_json(x);
    char *text = o ? json_dumps(o, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;
    size_t n = text ? strlen(text) : 0;
    int rc = 0;

    json_decref(o);
    if (!text) return error_set(e, ENOMEM, "no memory for the summary");
    errno = 0;
    n -= strlen("\n}");
    if (printf("%.*s,\n  \"seed\": %llu\n}\n", (int)n, text, (unsigned long long)instance_sampling(x->instance).seed) <
            0 ||
        fflush(stdout))
        rc = error_set(e, errno ? errno : EIO, "cannot write the summary: %s", error_name(errno ? errno : EIO));
    free(text);
    return rc;
}

void summary_print(const struct summary_input *x)
{
    const struct scheduler_times *s = instance_times(x->instance);
    double predicted = instance_predicted_prompt_seconds(x->instance);
    struct engine_stats t;

    instance_stats(x->instance, &t);
    fprintf(stderr, "sluice: %llu prompt tokens in %.2f s", (unsigned long long)x->prompt_tokens,
            (double)s->prompt_ns / 1e9);
    if (predicted > 0) fprintf(stderr, " (%.2f predicted)", predicted);
    fprintf(stderr, ", %llu tokens", (unsigned long long)x->result->tokens);
    if (s->decode_tokens)
        fprintf(stderr, ", %.3f s each (%.3f predicted%s)", (double)s->decode_ns / 1e9 / (double)s->decode_tokens,
                instance_summary(x->instance)->predicted_seconds_per_token,
                s->guessed_sweeps ? " without guesses" : "");
    if (s->guessed_sweeps)
        fprintf(stderr, ", %.2f tokens a sweep", (double)s->decode_tokens / (double)s->decode_sweeps);
    if (instance_plan(x->instance)->experts.count)
        fprintf(stderr, "; %.1f%% of experts' bytes found in the cache",
                100 * share(t.hit_bytes, t.hit_bytes + t.miss_bytes));
    fprintf(stderr, "; %.3f GB read; peak memory %.0f MB; %s\n", (double)t.stage[STAGE_READER].bytes / 1e9,
            (double)t.peak_host_bytes / 1e6, t.compute);
}

#include "coordinator/serve/metrics.h"

#include "coordinator/batch/observer.h"
#include "coordinator/serve/out.h"

static const double bounds[METRICS_BUCKETS] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,   2.5,
                                               5,    10,    25,   50,  100,  250, 500, 1000};

void metrics_observe(struct metrics_histogram *h, uint64_t ns)
{
    double seconds = (double)ns / 1e9;
    int i = 0;

    while (i < METRICS_BUCKETS && seconds > bounds[i]) i++;
    atomic_fetch_add(&h->bucket[i], 1);
    atomic_fetch_add(&h->sum_ns, ns);
}

void metrics_guessing(struct metrics *m, const struct batch_progress *p)
{
    atomic_store(&m->hits[0], p->hits_ngram);
    atomic_store(&m->hits[1], p->hits_recycled);
    atomic_store(&m->hits[2], p->hits_draft);
    atomic_store(&m->sought_sweeps, p->sought_sweeps);
    atomic_store(&m->sought_tokens, p->sought_tokens);
    atomic_store(&m->sought_expected, p->sought_expected);
}

static void describe(struct buffer *b, const char *name, const char *type, const char *help)
{
    out_format(b, "# HELP sluice:%s %s\n# TYPE sluice:%s %s\n", name, help, name, type);
}

static void number(struct buffer *b, const char *name, const char *type, const char *help, double value)
{
    describe(b, name, type, help);
    out_format(b, "sluice:%s %.17g\n", name, value);
}

static void gauge(struct buffer *b, const char *name, const char *help, double value)
{
    number(b, name, "gauge", help, value);
}

static void counter(struct buffer *b, const char *name, const char *help, const atomic_ullong *value)
{
    number(b, name, "counter", help, (double)atomic_load(value));
}

static void histogram(struct buffer *b, const char *name, const char *help, const struct metrics_histogram *h)
{
    unsigned long long count = 0;

    describe(b, name, "histogram", help);
    for (int i = 0; i < METRICS_BUCKETS; i++)
        out_format(b, "sluice:%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], count += atomic_load(&h->bucket[i]));
    count += atomic_load(&h->bucket[METRICS_BUCKETS]);
    out_format(b, "sluice:%s_bucket{le=\"+Inf\"} %llu\nsluice:%s_sum %.17g\nsluice:%s_count %llu\n", name, count, name,
               (double)atomic_load(&h->sum_ns) / 1e9, name, count);
}

static void of_stages(struct buffer *b, const char *name, const char *help, const atomic_ullong *ns)
{
    static const char *const stages[] = {"reader", "transfer", "compute"};

    describe(b, name, "counter", help);
    for (int i = 0; i < 3; i++)
        out_format(b, "sluice:%s{stage=\"%s\"} %.17g\n", name, stages[i], (double)atomic_load(&ns[i]) / 1e9);
}

static void guessing(struct buffer *b, const struct metrics *m)
{
    static const char *const from[] = {"ngram", "recycled", "draft"};

    counter(b, "guesses_total", "Of these, tokens that were guessed to follow, and checked.", &m->guesses);
    describe(b, "guess_hits_total", "counter", "Guesses that were right, by where they came from.");
    for (int i = 0; i < 3; i++)
        out_format(b, "sluice:guess_hits_total{from=\"%s\"} %llu\n", from[i],
                   (unsigned long long)atomic_load(&m->hits[i]));
    counter(b, "sought_sweeps_total", "Sweeps for which guesses were sought, with and without any.", &m->sought_sweeps);
    counter(b, "sought_tokens_total", "Tokens that came of these sweeps.", &m->sought_tokens);
    number(b, "sought_expected_tokens_total", "counter", "Tokens that were expected of them.",
           atomic_load(&m->sought_expected));
    number(b, "draft_seconds_total", "counter", "Seconds that guesses were sought for.",
           (double)atomic_load(&m->draft_ns) / 1e9);
}

void metrics_write(struct buffer *b, const struct metrics *m)
{
    static const char *const reasons[METRICS_FINISHES] = {"stop", "length", "abort", "error"};
    double seconds = atomic_load(&m->sweep_seconds);

    gauge(b, "num_requests_running", "Answers that take part in sweeps.", atomic_load(&m->running));
    gauge(b, "num_requests_waiting", "Answers that wait for room.", atomic_load(&m->waiting));
    gauge(b, "connections", "Connections that are open.", atomic_load(&m->connections));
    gauge(b, "sweep_rows", "Positions of the last sweep.", atomic_load(&m->rows));
    gauge(b, "kv_rows", "Positions that the KV cache holds.", (double)atomic_load(&m->kv_rows));
    gauge(b, "kv_rows_free", "Of them, those that nobody holds.", (double)atomic_load(&m->kv_free));
    gauge(b, "sweep_seconds", "Seconds of the last sweep.", seconds);
    gauge(b, "ceiling_ratio", "Predicted seconds of a token over those of the last sweep.",
          seconds > 0 ? m->predicted_seconds / seconds : 0);
    counter(b, "prompt_tokens_total", "Tokens of prompts.", &m->prompt_tokens);
    counter(b, "generation_tokens_total", "Tokens that were generated.", &m->generation_tokens);
    counter(b, "prefix_cache_hits_total", "Tokens of prompts that the KV cache held already.", &m->cached_tokens);
    counter(b, "sweeps_total", "Passes over the model.", &m->sweeps);
    counter(b, "sweep_positions_total", "Positions that sweeps have computed.", &m->positions);
    guessing(b, m);
    counter(b, "bytes_read_total", "Bytes of weights read from disk.", &m->bytes_read);
    counter(b, "requests_total", "Requests for answers.", &m->requests);
    counter(b, "requests_refused_total", "Requests that were refused.", &m->refused);
    of_stages(b, "stage_busy_seconds_total", "Seconds that a stage has worked.", m->busy_ns);
    of_stages(b, "stage_waiting_seconds_total", "Seconds that a stage has waited for another.", m->wait_ns);
    describe(b, "request_success_total", "counter", "Answers by the way they ended.");
    for (int i = 0; i < METRICS_FINISHES; i++)
        out_format(b, "sluice:request_success_total{finished_reason=\"%s\"} %llu\n", reasons[i],
                   (unsigned long long)atomic_load(&m->finished[i]));
    histogram(b, "time_to_first_token_seconds", "From a request to its first token.", &m->first_token);
    histogram(b, "inter_token_latency_seconds", "Between two tokens of an answer.", &m->between_tokens);
    histogram(b, "request_queue_time_seconds", "From a request to its first sweep.", &m->queued);
    histogram(b, "e2e_request_latency_seconds", "From a request to its end.", &m->whole);
}

/* Counters of a server, and their text for Prometheus (exposition format 0.0.4).
 *
 * The computing thread and the HTTP threads write, whoever scrapes reads; all words are atomic, so that nobody waits. */
#pragma once
#include <stdatomic.h>
#include <stdint.h>
#include "coordinator/text/buffer.h"

#define METRICS_BUCKETS 16

struct metrics_histogram {
    atomic_ullong bucket[METRICS_BUCKETS + 1]; /* the last one: beyond all bounds */
    atomic_ullong sum_ns;
};

enum metrics_finish { METRICS_STOP, METRICS_LENGTH, METRICS_ABORT, METRICS_ERROR, METRICS_FINISHES };

struct metrics {
    /* gauges */
    atomic_uint running, waiting, rows, connections;
    atomic_ullong kv_rows, kv_free;
    /* counters */
    atomic_ullong prompt_tokens, generation_tokens, cached_tokens, sweeps, positions, guesses, draft_ns, bytes_read,
        requests, refused;
    atomic_ullong hits[3]; /* guesses that were right: by n-grams, recycled logits, the draft model */
    atomic_ullong sought_sweeps, sought_tokens; /* sweeps for which guesses were sought, and what came of them */
    _Atomic double sought_expected;             /* of these tokens */
    atomic_ullong busy_ns[3], wait_ns[3];       /* of the stages */
    atomic_ullong finished[METRICS_FINISHES];
    struct metrics_histogram first_token, between_tokens, queued, whole;
    /* of the sweep under way */
    atomic_uint layer, layers;
    _Atomic double sweep_seconds; /* of the last one */
    double predicted_seconds;     /* of a token, by the plan */
};

struct batch_progress;

/* What came of guessing so far. */
void metrics_guessing(struct metrics *m, const struct batch_progress *p);
void metrics_observe(struct metrics_histogram *h, uint64_t ns);
void metrics_write(struct buffer *b, const struct metrics *m);

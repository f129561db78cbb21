/* A model that answers: the folder opened, a plan made, the pipeline running, and one growing sequence of tokens.
 *
 *   session_open()  -> session_append(prompt) -> session_next() ... -> session_close()
 *
 * session_next() computes what is not in the KV cache yet (in chunks, the prompt), chooses a token, and appends it. A
 * stage that dies on the way costs its epoch and nothing else: the tokens so far are computed again and the text goes on
 * as if nothing had happened. After three deaths without one new token the error is handed to the caller. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/cli/options.h"
#include "coordinator/arch/model.h"
#include "coordinator/plan/plan.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/engine/engine.h"
#include "coordinator/batch/sampling.h"
#include "coordinator/tokenizer/tokenizer.h"

struct session_config {
    const struct options *options;
    bool text;              /* a tokenizer is needed */
    uint32_t prompt_tokens; /* known length of the prompt, 0: unknown */
    uint32_t max_logits;    /* 0: 1 */
};

#define SESSION_SWEEPS 256

/* One sweep, and what the stages did meanwhile. The reader is ahead, also in the first: what it read before counts there. */
struct session_sweep {
    uint32_t positions;
    uint64_t ns, read_bytes, read_busy_ns, compute_busy_ns;
};

struct session {
    struct model *model;
    struct tokenizer *tokenizer;
    struct plan_shm *plan;
    uint64_t plan_bytes;
    struct plan_summary summary;
    struct calibration speeds;          /* that it was predicted with */
    bool predicted_by_sweep;       /* nothing was known of the disk: the first sweep told */
    double predicted_prompt_seconds; /* 0: the prompt's length was not known */
    struct engine *engine;
    struct sampler *sampler;
    struct sampler_settings sampling;
    struct token_ids tokens; /* the sequence */
    uint64_t cached;         /* of them, how many the KV cache holds */
    uint32_t *eos;           /* ends an answer */
    size_t eos_count;
    bool ignore_eos;
    uint32_t deaths;         /* since the last new token */
    uint64_t prompt_ns, decode_ns; /* time spent in sweeps; the first one, which fills the memory, is the prompt's always */
    uint64_t decode_sweeps;
    struct session_sweep sweep[SESSION_SWEEPS]; /* the first ones, as they were timed */
    uint32_t sweeps;
    uint64_t positions;      /* that were computed, again or for the first time */
    const char *folder;      /* the model's, once it was started */
    struct view *view;       /* progress; may be NULL */
};

/* Model and tokenizer only: enough to count the prompt's tokens. */
int session_load(struct session *s, const struct session_config *c, struct error *e);
/* Plans and starts the pipeline; stages are still starting when it returns. */
int session_start(struct session *s, const struct session_config *c, struct error *e);
void session_close(struct session *s);

uint32_t session_context(const struct session *s); /* tokens that the sequence may have */
int session_append(struct session *s, const uint32_t *id, size_t n, struct error *e); /* -E2BIG: longer than the context */
/* Keeps the first n tokens; what the cache holds of them stays valid where the model allows it. */
void session_truncate(struct session *s, uint64_t n);
/* Logits of the last token. */
int session_logits(struct session *s, const float **logits, struct error *e);
/* Chooses and appends the next token. *end: it ends the answer (it is appended all the same). */
int session_next(struct session *s, uint32_t *token, bool *end, struct error *e);
/* Logits of chosen positions of the sequence, rising, which must not be cached yet: calls row() for each, in order. */
int session_logits_at(struct session *s, const uint32_t *position, size_t n, int (*row)(void *arg, const float *logits, struct error *e),
                      void *arg, struct error *e);

/* One growing list of tokens, where the cache holds it, and what is wanted of it.
 *
 *   tokens     [0 .............. computed ............ count)          limit
 *              rows hold them     to be computed                        no more than so many
 *
 *   PREFILL  more than one token is to be computed     DECODE  one is, the last     DONE  nothing is wanted any more
 *
 * While DECODE, tokens that may follow can be computed in the same sweep: each of them in the row that it would have, where
 * it is the only one at its position, or the likeliest (the others go to rows that belong to nobody). Those that did follow
 * are accepted, and what was computed in rows of nobody is computed again with the next token.
 *
 * Every token has a row of the KV cache from the moment it is put into a sweep; rows for limit tokens are taken when the
 * sequence is made, so that one that was admitted never waits for room. A fork shares the rows of its first tokens.
 *
 * Where the model has recurrent states, those cannot be taken back and cannot be shared: then truncating or forking below
 * what was computed makes the whole sequence be computed again. The text is the same either way. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/batch/kv_rows.h"
#include "coordinator/batch/sampling.h"
#include "proto/base/error.h"

enum sequence_end {
    SEQUENCE_RUNS,
    SEQUENCE_TOKEN,   /* the model ended it */
    SEQUENCE_STOP,    /* who listens ended it */
    SEQUENCE_LENGTH,  /* as many tokens as were asked for */
    SEQUENCE_CONTEXT, /* limit is reached */
    SEQUENCE_LOGITS   /* all rows of logits that were wanted are there */
};

struct sequence;

/* Who wants something of a sequence. A negative result ends the scheduler's step with that error. Called from within a
 * step: sequences are opened, closed, joined and taken away at the scheduler's boundary, not here. */
struct sequence_listener {
    /* Before a token is chosen: its logits [vocab], valid until token() has returned. Gives back what it is chosen from: these,
     * or others that are valid as long. NULL: these. */
    const float *(*choose_from)(void *arg, const float *logits);
    /* The next token, already appended. *end says why it is the last one, or SEQUENCE_RUNS; it may be set to SEQUENCE_STOP. */
    int (*token)(void *arg, uint32_t token, enum sequence_end *end, struct error *e);
    /* Logits [vocab] of a position that was wanted, in order; valid during the call. */
    int (*logits)(void *arg, uint32_t position, const float *logits, struct error *e);
    void *arg;
};

struct sequence_want {
    struct sampler_settings sampling;
    const uint32_t *eos; /* tokens that end it; the caller's, must outlive the sequence's work */
    size_t eos_count;
    uint64_t max_tokens; /* 0: until it ends by itself or the limit is reached */
    /* Tokens that may follow made[0..n), the tokens since the prompt: *bits as sampler_settings.allow, valid until the next
     * call; NULL: all. A function of its arguments alone, since guesses and replays ask in any order. NULL: no mask at all. */
    int (*mask)(void *arg, const uint32_t *made, uint32_t n, const uint64_t **bits, struct error *e);
    void *mask_arg;
    const uint32_t *positions; /* or: logits of these positions, rising, instead of new tokens; the caller's */
    size_t position_count;
    struct sequence_listener listener;
};

/* -ENOSPC: the cache has no room for limit rows now; -ENOMEM. rows must outlive the sequence. */
int sequence_open(struct sequence **out, struct kv_rows *rows, uint32_t limit, uint32_t vocab, bool recurrent,
                  struct error *e);
void sequence_close(struct sequence *s);
/* A new one with the first n tokens of s, n at most its count, and room for limit; results as sequence_open(). It shares
 * the rows of those that are computed. */
int sequence_fork(struct sequence **out, struct sequence *s, uint32_t n, uint32_t limit, struct error *e);

/* -E2BIG: longer than limit; -EINVAL: a token outside of the vocabulary. Appends all or nothing. */
int sequence_append(struct sequence *s, const uint32_t *token, size_t n, struct error *e);
/* Keeps the first n tokens; what the cache holds of them stays valid where the model allows it. -ENOSPC: rows that are
 * shared must not be written again, and there are no others; the sequence is unchanged. */
int sequence_truncate(struct sequence *s, uint32_t n, struct error *e);
/* Of one that has ended and will only be forked from: keeps the tokens whose rows the cache holds, gives all other rows back. */
void sequence_trim(struct sequence *s);
/* What the next scheduler_join() works for. Its prompt is what it holds now. */
void sequence_ask(struct sequence *s, const struct sequence_want *w);

const uint32_t *sequence_tokens(const struct sequence *s);
uint32_t sequence_count(const struct sequence *s);
uint32_t sequence_limit(const struct sequence *s);
uint32_t sequence_computed(const struct sequence *s); /* tokens that the cache holds */
uint32_t sequence_prompt(const struct sequence *s);   /* tokens it had when it was asked */
uint32_t sequence_made(const struct sequence *s);     /* tokens since */
enum sequence_end sequence_ended(const struct sequence *s);
uint32_t sequence_number(const struct sequence *s); /* its name in sweeps, since it was joined */

/* ---- for sweep.c and scheduler.c ---- */

void sequence_name(struct sequence *s, uint32_t number);

struct sequence_work {
    uint32_t from, count; /* positions that can be computed now: [from, from + count) */
    bool decode;          /* tokens after its prompt: the last one, and such before it as are not in the cache */
};
/* What is left to be computed for what is wanted; count 0: nothing, or it waits for rows that another sequence computes
 * in the sweep under way. */
struct sequence_work sequence_work(struct sequence *s);
/* [from, from + count) goes into a sweep; and its end: computed where done. */
void sequence_sweep_begin(struct sequence *s, uint32_t from, uint32_t count);
void sequence_sweep_end(struct sequence *s, uint32_t from, uint32_t count, bool done);
uint32_t sequence_row(const struct sequence *s, uint32_t position); /* of the cache */
/* Are the logits of this position wanted, once its sweep is done? */
bool sequence_wants(const struct sequence *s, uint32_t position);
void sequence_forget(
    struct sequence *s); /* its recurrent state was lost (after kv_rows_forget() it notices by itself) */
/* How many tokens may follow the last one until it ends, those that are the last to come not counted: guesses beyond are of
 * no use. 0 where no tokens are wanted. */
uint32_t sequence_ahead(const struct sequence *s);
/* The row of a token that may come, at a position from count on, below the limit. */
uint32_t sequence_row_ahead(struct sequence *s, uint32_t position);
/* The token at this position, the first that was not computed, has been computed in its row as a guess. */
void sequence_accept(struct sequence *s, uint32_t position);
const struct sampler_settings *sequence_sampling(const struct sequence *s);
/* A position's logits came: hands them on, or chooses and appends the next token. */
int sequence_take(struct sequence *s, struct sampler *sampler, uint32_t position, const float *logits, struct error *e);

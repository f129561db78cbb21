/* The one loop over sweeps: sequences join, every step computes a sweep of what they have left to do, and who has what was
 * wanted leaves.
 *
 *   scheduler_join(q) ---> step: build a sweep, let the stages compute it, hand each row of logits to its sequence, which
 *                          chooses its next token or passes the row on, and tells its listener ---> ended: it has left
 *
 * With a guesser, sweeps also compute tokens that may follow the last ones of sequences that are answering. Of a row of
 * logits the sequence's next token is chosen as ever; where that is one that was guessed to follow, its row is there already
 * and the next one is chosen at once, and so on. What is chosen, and in which order, is the same without.
 *
 * A stage that dies costs its epoch and nothing else: the cache is lost, all sequences are computed again from their
 * tokens, and their texts go on as if nothing had happened. After three deaths without anything new the error is handed
 * to the caller. Logits that are not numbers make the sequence be computed once more with an eye on every weight, so that
 * the error names the tensor that is to blame. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/batch/sequence.h"
#include "coordinator/draft/guess.h"
#include "coordinator/engine/engine.h"
#include "coordinator/plan/calibrate_learn.h"

#define SCHEDULER_SWEEPS 256

struct scheduler_times {
    uint64_t prompt_ns,
        decode_ns; /* time in sweeps, and in guessing before them; the first one, which fills the memory, is a prompt's always */
    uint64_t decode_sweeps, decode_tokens;
    uint64_t guesses, guessed_sweeps;            /* that were checked; sweeps with such */
    uint64_t guessed_tokens;                     /* that came of those sweeps */
    uint64_t guess_ns;                           /* spent on guessing */
    uint64_t positions;                          /* that were computed, again or for the first time */
    struct sweep_record sweep[SCHEDULER_SWEEPS]; /* the first ones */
    uint32_t sweeps;
};

/* Of everything that was joined since there was nobody. */
struct scheduler_counts {
    uint64_t prompt_tokens, prompt_done, answered;
};

struct scheduler_config {
    struct engine *engine;
    const struct plan_shm *plan;
    struct guesser guesser; /* guess NULL: nobody guesses */
    /* At every boundary between sweeps, before the next is built: may join and leave. May be NULL. */
    int (*boundary)(void *arg, struct error *e);
    void *boundary_arg;
    void (*begins)(void *arg, uint32_t positions);
    void (*swept)(void *arg, uint64_t start_ns, const struct sweep_record *r);
    void (*guessed)(void *arg, uint64_t start_ns, uint64_t end_ns, uint32_t guesses); /* may be NULL */
    void (*note)(void *arg, const char *text);
    void *arg;
};

struct scheduler;

int scheduler_open(struct scheduler **out, const struct scheduler_config *c, struct error *e);
void scheduler_close(struct scheduler *s); /* sequences are their makers' to close, before */
void scheduler_boundary(struct scheduler *s, int (*boundary)(void *arg, struct error *e), void *arg);

/* A sequence with room for limit tokens. -ENOSPC: not now. */
int scheduler_sequence(struct scheduler *s, struct sequence **out, uint32_t limit, struct error *e);

/* q has been asked (sequence_ask()) and takes part in the next sweep on. It leaves by itself at its end. */
int scheduler_join(struct scheduler *s, struct sequence *q, struct error *e);
void scheduler_leave(struct scheduler *s, struct sequence *q); /* also of one that has left already */
uint32_t scheduler_rows_free(const struct scheduler *s);       /* of the KV cache */
uint32_t scheduler_joined(const struct scheduler *s);
struct scheduler_counts scheduler_counts(const struct scheduler *s);

/* One sweep. 0; -ECANCELED after Ctrl-C: what was computed stays, and the sequences stay joined; -EPIPE: the stages are
 * beyond help; -EBADMSG and others: why logits are no numbers; or a listener's error. */
int scheduler_step(struct scheduler *s, struct error *e);
/* Steps until all have left and the boundary's function brings no more. Then the files of the weights are looked at a last
 * time: -ESTALE where they are not what was planned, so that nothing that was computed counts. */
int scheduler_run(struct scheduler *s, struct error *e);
/* The same for about so long, for measuring: a sweep that is under way when the time is over is waited for, but no longer
 * than as long again; then it stays under way, and the next call goes on with it. */
int scheduler_run_for(struct scheduler *s, uint64_t ns, struct error *e);
bool scheduler_under_way(const struct scheduler *s);

const struct scheduler_times *scheduler_times(const struct scheduler *s);

/* The running pipeline: three stages, their segments, and sweeps.
 *
 *   engine_open()      makes the segments, starts the stages, returns while they are still starting: the reader reads its
 *                      first tiles while the coordinator loads the tokenizer
 *   engine_sweep()     positions in, logits out; waits, and meanwhile listens, watches and calls tick
 *   engine_restart()   after -EPIPE: a new epoch, empty caches; the caller sends its tokens again
 *   engine_close()     stops everything; nothing is left
 *
 * An epoch is one life of the three stages. If one dies, or hangs, the epoch is over and the others are ended. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/control.h"
#include "proto/base/error.h"
#include "proto/plan.h"
#include "proto/epoch.h"

struct engine;

/* A private MPS daemon beside the stages of the cuda backend (engine/mps.h): never, if it can be had, or not without it. */
enum engine_mps { ENGINE_MPS_OFF, ENGINE_MPS_TRY, ENGINE_MPS_MUST };

/* The other machines of a plan that is one machine's share (coordinator/remote). begin, order and look may fail with -EPIPE,
 * which ends the epoch, and with text that names the machine. */
struct engine_peers {
    void *arg;
    uint32_t rank, ranks;
    uint64_t epoch; /* number of the first one, which all machines of an epoch share; 0: 1 */
    /* A new epoch: its segments go to sluice-link, which the others' are reached through. */
    int (*begin)(void *arg, uint64_t epoch, int run_fd, int link_fd, struct error *e);
    /* A sweep's positions, which all machines are given. */
    int (*order)(void *arg, uint64_t sweep, const struct sweep_position *s, uint32_t n, struct error *e);
    /* Listens without waiting, and watches; *ready: all of them have begun the epoch. */
    int (*look)(void *arg, bool *ready, struct error *e);
    int (*fd)(void *arg);                /* readable when there is something to listen to; -1: nothing */
    void (*rest)(void *arg, bool rests); /* nobody listens for a while */
    /* Are their files still what was planned? Asked while no sweep is under way; what has changed is told by look(). */
    void (*ask_compare)(void *arg);
    bool (*compared)(void *arg);    /* all have answered */
    bool (*recoverable)(void *arg); /* of the last -EPIPE: may a new epoch mend it? */
    void (*end)(void *arg);         /* of the epoch */
};

struct engine_config {
    const struct plan_shm *plan; /* must outlive the engine */
    uint64_t plan_bytes;
    void (*tick)(void *arg); /* about ten times a second while waiting; may be NULL */
    void *tick_arg;
    void (*trace)(void *arg, enum stage_id from, const struct trace_record *r, uint32_t n); /* may be NULL */
    void *trace_arg;
    /* Lines that the stages write to standard error; NULL: they write to ours. */
    void (*log)(void *arg, const char *line, size_t bytes);
    void *log_arg;
    const char *fault; /* faults to inject, in a build that has them; else NULL */
    enum engine_mps mps;
    const struct engine_peers *peers; /* must outlive the engine; NULL: this machine has all of the model */
    uint32_t only; /* bits of enum stage_id to start; 0: all. The coordinator stands in for the others (profile). */
};

struct engine_stage_stats {
    uint64_t bytes, tiles, calls, busy_ns, wait_ns, first_ns, cpu_ns, retries;
};
struct engine_stats {
    struct engine_stage_stats stage[STAGES]; /* over all epochs */
    uint64_t start_ns;                       /* engine_open() */
    uint64_t first_byte_ns;                  /* first read completed; 0: not yet */
    uint64_t peak_host_bytes;                /* of all processes, shared memory counted once */
    uint64_t peak_stage_bytes;               /* the same without this process */
    uint64_t sweep, layer;                   /* where compute is; sweep counts from 1 */
    uint64_t hit_bytes, miss_bytes;          /* expert cache */
    uint64_t epochs;
    uint64_t io_block, io_depth, io_rate; /* of epoch_stats: what the reader found to be best; 0: it was not asked to */
    uint64_t io_ways;                     /* how it reads: EPOCH_READS_* bits */
    char compute[128];                    /* what compute runs on */
    char reader[128];                     /* how the reader reads */
    bool mps;                             /* a private MPS daemon serves this epoch */
    char about[STAGES][128];              /* what each stage says of itself; empty until it is attached */
};

int engine_open(struct engine **out, const struct engine_config *c, struct error *e);
void engine_close(struct engine *g);

/* Waits until all stages are attached. 0, -ECANCELED (Ctrl-C), -EPIPE (a stage failed; e says which, how, and its last
 * words). */
int engine_ready(struct engine *g, struct error *e);

bool engine_attached(const struct engine *g); /* engine_ready() would return at once */

/* One sweep. *logits: [*rows][vocab], valid until the next call, perhaps no numbers. Results as engine_ready(). */
int engine_sweep(struct engine *g, const struct sweep_position *s, uint32_t n, const float **logits, uint32_t *rows,
                 struct error *e);

/* No NaN and no infinity among them; a softmax over those is none. */
bool engine_are_numbers(const float *x, uint64_t n);

/* The same in two steps, for who has to look meanwhile: after start, engine_poll() until it is done. */
int engine_sweep_start(struct engine *g, const struct sweep_position *s, uint32_t n, struct error *e);
bool engine_sweep_done(struct engine *g);
/* Tokens that the sweep to be started next will have, as far as they are known (the next chunk of a prompt): the reader reads
 * their rows of the embedding while the one under way is computed. A hint: any sweep may follow, and a token that was not
 * announced is read when its sweep starts. */
void engine_announce_rows(struct engine *g, const uint32_t *token, uint32_t n);
void engine_logits(const struct engine *g, const float **logits, uint32_t *rows); /* of the sweep that was done last */

/* Did the stage of the last -EPIPE die in a way that a new epoch may mend (killed, hung, device lost), and not because of
 * the model or the machine (a file truncated, no memory)? */
bool engine_recoverable(const struct engine *g);
/* The stage of the last -EPIPE; STAGES where none is known. */
enum stage_id engine_failed_stage(const struct engine *g);
/* After an error there is no epoch; the next engine_ready() or engine_sweep() tries again to begin one. */
int engine_restart(struct engine *g, struct error *e);

/* The last look before a result is called good, when no sweep is under way: are the files of the weights still what was
 * planned (engine/weights.h)? Where only an inode has changed, the reader reads the file again and compares: that takes as
 * long as reading it. 0; -ESTALE: what was computed is not to be relied on; else as engine_ready(). */
int engine_weights_unchanged(struct engine *g, struct error *e);

/* What a stage's hardware can do at most, measured by the stage itself while no sweep is under way; a->measured. Results as
 * engine_ready(); ns 0: not to be had. */
int engine_measure(struct engine *g, enum stage_id stage, const struct control_message *ask,
                   struct control_message *answer, struct error *e);

/* Nobody will ask for anything for a while (a chat waits for its user): the stages sleep until the next call that does. */
void engine_rest(struct engine *g);

void engine_stats(struct engine *g, struct engine_stats *out);
/* For profiling: the segments of the current epoch. */
struct epoch_shm *engine_epoch(struct engine *g);
uint8_t *engine_arena(struct engine *g);
uint8_t *engine_cache(struct engine *g); /* NULL: none */
/* Listens and watches for up to timeout_ms without a sweep; results as engine_ready(). */
int engine_poll(struct engine *g, int timeout_ms, struct error *e);

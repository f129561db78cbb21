/* Planning: a program (a model as its family describes it) and what this run may use become one struct plan_shm.
 *
 *   settings   what the user asked for and what the machine has   plan_settings_from_options()
 *   tiling     ops -> tiles and parts                             plan/tiling.h
 *   placement  budgets -> slots, cache, pins                      plan/placement.h
 *   build      everything -> one image that passes plan_check()   plan_build()
 *   summary    image -> bytes per lane, predicted seconds         plan_summarize()
 *
 * All sizes are bytes, all times seconds. Nothing here maps shared memory, and but for the question to the device nothing
 * starts a process. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

struct options;
struct calibration;

#define PLAN_AUTO UINT64_MAX
#define KV_BLOCK  64u /* rows of the KV cache that are given out together (coordinator/batch/kv_rows.h) */

/* Rows of the KV cache that are there for guesses, beside those of the sequences. */
static inline uint32_t plan_guess_rows(uint32_t guesses)
{
    return (guesses + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK;
}

/* 0 in a number means: choose. Filled from the command line by plan_settings_from_options(), then changed freely by
 * whoever knows more (want_tokens, max_logits, ...) before plan_build(). */
struct plan_settings {
    /* budgets of all processes together, known numbers */
    uint64_t host_memory;   /* what the run may use; shared memory, page tables and the processes themselves included */
    uint64_t device_memory; /* cuda: of the chosen device */
    uint64_t beside;        /* of the budget, what others have: host_memory is without that */
    uint64_t whole;         /* all of the budget; 0: host_memory */
    bool host_memory_given, device_memory_given; /* by the user: messages then name the flag */
    uint64_t shm_free;                           /* room for the arena in /dev/shm; UINT64_MAX: no matter */
    uint64_t text_bytes;                         /* what tokenizer and templates take in the coordinator; 0: a guess */
    bool text_measured;                          /* it was more than the guess, and is a little different each time */
    uint64_t load_peak; /* what the coordinator took at most while it read them, before any stage was there */
    /* cutting and rings */
    uint64_t slot_bytes;
    uint32_t reader_depth, transfer_depth;
    /* reading */
    uint64_t io_block;
    uint32_t io_depth;
    uint32_t io_find;    /* enum plan_io_find */
    uint32_t io, engine; /* enum plan_io, enum plan_engine */
    /* computing */
    uint32_t backend, device, threads, kv_form;
    bool backend_auto;      /* the user left it open: a device that turns out too small gives way to the processor */
    char device_name[96];   /* cuda: what it is called */
    bool device_unified;    /* its memory is the machine's own: host_memory and device_memory are parts of one */
    uint64_t host_alone;    /* with device_unified: host_memory where the processor computes after all; 0: the same */
    uint32_t context;       /* positions of a sequence */
    uint32_t want_tokens;   /* prompt and tokens to come, if known */
    uint32_t prompt_tokens; /* if known: no chunk is longer than the prompt */
    uint32_t chunk;         /* positions of a sweep */
    uint32_t max_logits;    /* 0: 1 */
    uint32_t sequences;     /* 0: 1; each may be as long as the context */
    uint32_t branches;      /* further positions that the KV cache holds beside the sequences */
    uint32_t guesses;       /* positions of one sweep beside the others that may be guesses; each may want logits */
    bool guesses_auto;      /* fewer of them, or none, where memory is short */
    uint32_t trace, log_level;
    /* measuring (profile), whose memory belongs to the budgets too */
    bool measures;        /* transfer or compute is asked for its peak */
    bool no_pins;         /* every tile comes from the disk in every sweep */
    uint32_t cache_slots; /* with no_pins: a host cache of at least so many slots, for who fills it himself */
};

/* The options' flags; what they leave open comes from the machine: free memory less a margin, /dev/shm, cpus, a GPU.
 * Reads /proc and /sys; where there is a GPU's driver, asks the compute stage for what the device has (engine/device.h).
 * -EINVAL, -ENODEV: what and the remedy. */
int plan_settings_from_options(struct plan_settings *s, const struct options *o, struct error *e);

/* The GPU cannot be used after all: the processor computes, with what memory it would have had alone. */
void plan_settings_to_processor(struct plan_settings *s);

/* Leaves so much of the budget to others. */
void plan_settings_leave(struct plan_settings *s, uint64_t bytes);

/* The guesses that the options allow, for who generates text; without it there are none. */
void plan_settings_speculate(struct plan_settings *s, const struct options *o);

/* malloc'ed image of *bytes bytes, to be copied into a segment; passes plan_check(). program is read only, and may be
 * planned again with other settings. -EPROTO: it does not pass program_check(). -EINVAL or -ENOMEM (a budget that cannot
 * work) name the nearest settings that would do. */
int plan_build(struct plan_shm **out, uint64_t *bytes, const struct plan_shm *program, const struct plan_settings *s,
               struct error *e);

/* What the plan's settings cost and bring. */
struct plan_summary {
    uint64_t weight_bytes; /* stored bytes of everything that the plan reads, the embedding table too */
    uint64_t sweep_bytes;  /* read from disk in a one-position sweep, once the pins are filled (experts: expected) */
    uint64_t dense_bytes;  /* payload of the sweep's tiles */
    uint64_t dense_disk_bytes;                                     /* of them, read from disk in every sweep */
    uint64_t disk_bytes, host_bytes, device_bytes, resident_bytes; /* by tier; experts are counted at the disk */
    uint64_t expert_bytes, expert_used_bytes; /* of all experts; of those that one position chooses */
    uint64_t
        expert_chunk_bytes; /* of those that a chunk of max_positions chooses, choices being even and independent */
    uint64_t active_bytes;  /* weights that one position needs */
    uint64_t expert_cache_bytes;
    double expert_hits; /* expected share of expert bytes found in the host cache, choices being even */
    uint64_t kv_bytes, kv_bytes_per_position, state_bytes;
    uint64_t arena_bytes, cache_bytes, activation_bytes, scratch_bytes, logits_bytes, plan_bytes, process_bytes;
    uint64_t host_total_bytes, device_total_bytes;
    uint64_t slot_bytes, sweep_tiles, resident_tiles, expert_tiles;
    uint64_t disk_tiles, host_tiles, device_tiles;
    uint32_t context, max_positions; /* that the model may have; of a sweep */
    uint32_t kv_positions;           /* that the KV cache holds: what kv_bytes is for */
    double flops_per_position; /* of the products with weights, but those of the head: few positions want logits */
    /* seconds of a one-position sweep on each lane */
    double disk_seconds, memory_seconds, link_seconds, device_seconds, overhead_seconds;
    double expert_seconds; /* of them, reading the experts that the cache is expected to lack */
    /* of one sweep of a token whose experts are cached as expected; of each position of a sweep of max_positions */
    double predicted_seconds_per_token, predicted_seconds_per_prompt_token;
    const char *bottleneck;        /* "disk", "memory", "link", "device memory", "compute": static */
    double host_gain, device_gain; /* seconds per token saved by one more GB (1e9) of host or device memory */
};

void plan_summarize(struct plan_summary *out, const struct plan_shm *p, const struct calibration *v);

/* Floating-point operations of a sweep's products with weights: two for each weight that a position meets, those behind
 * OP_SELECT (the head's) for the positions that want logits. */
double plan_flops(const struct plan_shm *p, double positions, double logits);

/* Seconds of sweeps that are not the first, as they grow with their positions: of what is read from disk in each, of
 * compute's first position, its further ones, and its rows of logits but the first. */
struct plan_costs {
    double read, first, position, row;
};
void plan_costs(struct plan_costs *out, const struct plan_summary *z, const struct plan_shm *p,
                const struct calibration *v);
/* Seconds of reading the experts that n positions choose and the cache is expected to lack. */
double plan_expert_seconds(const struct plan_summary *z, const struct plan_shm *p, const struct calibration *v,
                           uint32_t n);

/* Seconds of a new run's prompt: sweeps of up to max_positions, of which the first finds no tile in memory. */
double plan_prompt_seconds(const struct plan_summary *z, const struct plan_shm *p, const struct calibration *v,
                           uint32_t tokens);

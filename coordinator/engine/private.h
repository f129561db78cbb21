/* Shared by engine.c, epoch.c, watch.c and stats.c; nobody else includes it. */
#pragma once
#include "coordinator/engine/engine.h"

#include "coordinator/engine/embedding.h"
#include "coordinator/engine/mps.h"
#include "coordinator/engine/stages.h"
#include "coordinator/engine/weights.h"
#include "coordinator/engine/words.h"
#include "proto/base/shm.h"

enum { SEG_PLAN, SEG_RUN, SEG_ARENA, SEG_LOGITS, SEG_CACHE, SEG_LINK, SEGS };

struct engine {
    struct engine_config config;
    struct control *control;
    struct shm shm[SEGS];
    struct epoch_shm *run;
    struct child child[STAGES];
    struct mps mps;
    struct words words;
    int fd0; /* of the segments, in the stages */
    bool started[STAGES], greeted[STAGES], attached[STAGES];
    bool peers_ready;
    bool compute_waits; /* its HELLO is answered after transfer's */
    struct control_message compute_hello;
    uint64_t epoch, epoch_ns, tick_ns, loop_ns, next_sweep;
    struct engine_stats total; /* of epochs that ended, and peaks */
    char about[STAGES][128];   /* what ATTACHED said */
    /* the failure of this epoch */
    int failed; /* stage, or -1 */
    bool recoverable, hung;
    char last_words[STAGES][ERROR_TEXT_BYTES];
    uint32_t words_code[STAGES];
    /* the sweep under way */
    struct embedding embedding;
    uint64_t waiting_for;
    bool in_flight, done;
    uint32_t done_rows;
    bool resting;
    bool answered;
    struct control_message answer; /* MEASURED or COMPARED */
    struct weights weights;
};

/* stats.c: what the processes have in memory now, for the peak; and what the running epoch has counted, added to *to. */
void engine_sample_memory(struct engine *g);
void engine_add_stats(struct engine_stats *to, const struct engine *g);

/* watch.c: messages that are there, without waiting; signs of life; what the user is told of an epoch that failed, for
 * which last words are waited for. */
void engine_drain(struct engine *g);
bool engine_all_attached(const struct engine *g);
void engine_watch(struct engine *g, uint64_t now_ns);
int engine_failure(struct engine *g, struct error *e);

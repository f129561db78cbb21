/* The reader's stream in a thread, with the test at the other end of its rings. */
#pragma once
#include <pthread.h>
#include <stdint.h>
#include "proto/ring.h"
#include "reader/engine.h"
#include "reader/stream.h"
#include "tests/support_files.h"

/* A stream at work, and the consumer's side of its rings. */
struct play {
    struct plan_shm *plan;
    struct run_shm *run;
    uint8_t *arena, *cache;
    struct stream *stream;
    struct io_engine *engine;
    struct ring ring[LANES];
    pthread_t thread;
    struct error error;
    int rc;
    uint64_t freed[LANES]; /* entries that the stream told of */
};

/* Opens everything and starts nothing. Takes plan over, and the engine (NULL: the plan's own). */
int play_open(struct play *p, struct plan_shm *plan, struct io_engine *engine);
void play_free(struct play *p);
void play_start(struct play *p, struct plan_shm *plan, struct io_engine *engine);
void play_start_patient(struct play *p, struct plan_shm *plan, struct io_engine *engine, uint64_t hang_ns); /* fetch_options */
void play_stop(struct play *p); /* it must end at once, and well */
/* The stream must end by itself with this errno and these words. */
void play_expect_failure(struct play *p, int code, const char *words);

uint8_t *play_payload(const struct play *p, const struct ring_entry *x);
/* The next entry of a lane; NULL when the stream failed instead. */
struct ring_entry *play_next(struct play *p, enum run_lane lane);
void play_check_tile(const struct play *p, const struct ring_entry *x, uint32_t tile);

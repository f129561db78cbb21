/* The reader's stream in a thread, with the test at the other end of its rings. */
#pragma once
#include <pthread.h>
#include <stdint.h>
#include "proto/ring.h"
#include "reader/engine.h"
#include "reader/stream.h"
#include "tests/support_files.h"

/* A stream at work, and the consumer's side of its rings. */
struct stub {
    struct plan_shm *plan;
    struct epoch_shm *run;
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
int stub_open(struct stub *p, struct plan_shm *plan, struct io_engine *engine);
void stub_free(struct stub *p);
void stub_start(struct stub *p, struct plan_shm *plan, struct io_engine *engine);
void stub_start_patient(struct stub *p, struct plan_shm *plan, struct io_engine *engine,
                        uint64_t hang_ns); /* fetch_options */
void stub_stop(struct stub *p);            /* it must end at once, and well */
/* The stream must end by itself with this errno and these words. */
void stub_expect_failure(struct stub *p, int code, const char *words);

uint8_t *stub_payload(const struct stub *p, const struct ring_entry *x);
/* The next entry of a lane; NULL when the stream failed instead. */
struct ring_entry *stub_next(struct stub *p, enum lane_id lane);
void stub_check_tile(const struct stub *p, const struct ring_entry *x, uint32_t tile);

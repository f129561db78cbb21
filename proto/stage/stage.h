/* What every stage's main does the same way: connect, say hello, map the segments, run, say how it ended.
 *
 *   int main(argc, argv) { struct stage s; ... stage_open(); <allocate>; stage_attached(); stage_serve(work) or an own loop;
 *                          return stage_close(&s, rc, &e); }
 *
 * A stage is started as:  sluice-reader --control ADDRESS --parent PID [--log N]  It ends with the coordinator (parent-death signal). */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "proto/control.h"
#include "proto/link.h"
#include "proto/plan.h"
#include "proto/ring.h"
#include "proto/epoch.h"
#include "proto/base/shm.h"

struct stage {
    enum stage_id me;
    struct control *control;     /* used by the thread that opened it only */
    const struct plan_shm *plan; /* checked */
    struct epoch_shm *run;       /* checked */
    uint8_t *arena, *cache;      /* cache NULL where it is empty */
    float *logits;
    struct link_shm *link; /* compute, where other machines have other shares of the model; else NULL */
    uint64_t arena_bytes, cache_bytes;
    struct shm shm[6];
    const char *fault;          /* faults to inject (proto/base/faults.h); NULL but in a build with SLUICE_FAULTS */
    struct stage_trace *traces; /* filled by the working thread, sent by the thread that has the control */
    bool serving;               /* these are two: stage_serve() */
    pthread_t heartbeat;        /* gives signs of life from stage_open() on */
    bool has_heartbeat;
    _Atomic bool ending;
    /* Answers MEASURE: fills measured (zeroed before); NULL: this stage measures nothing. Called by the thread that listens
     * to the coordinator. */
    int (*measure)(void *arg, const struct control_message *ask, struct control_message *answer, struct error *e);
    void *measure_arg;
    /* Answers COMPARE: 0, or -errno and e; NULL: not this stage's business. Called as measure is. */
    int (*compare)(void *arg, uint32_t file, struct error *e);
    void *compare_arg;
};

/* Connects, receives SETUP, maps and checks. reader and transfer get the arena and cache writable as they need. */
int stage_open(struct stage *s, enum stage_id me, int argc, char **argv, struct error *e);
/* The next message, as control_receive(); STOP and a dead run are -ECANCELED or -EPIPE. */
int stage_receive(struct stage *s, struct control_message *m, int timeout_ms, struct error *e);
int stage_send(struct stage *s, const struct control_message *m, struct error *e);
/* Answers a MEASURE message; what could not be measured is logged and answered by ns 0. -errno: not sent. */
int stage_measure(struct stage *s, const struct control_message *ask, struct error *e);
uint64_t stage_cpu_ns(void); /* processor time of this process, all threads, user and system */
/* Everything is open and allocated: from here on the process is sandboxed (proto/base/sandbox.h), may start threads, and gives
 * signs of life. */
int stage_attached(struct stage *s, const char *description, struct error *e);

/* Keep slots and host cache, or memory of one's own (whole pages, what is not touched takes none for it), out of swap, as
 * far as the limit on locked memory allows; say so where it does not: as a warning where this system has swap, else when
 * asked for details. what: "the KV cache". */
void stage_lock_slots(struct stage *s);
void stage_lock(struct stage *s, const char *what, void *base, uint64_t bytes);

/* Runs work(arg) in a second thread while this one listens to the coordinator, sends traces, and gives signs of life.
 * Returns what work returned (it must end when epoch_wait() says so). */
int stage_serve(struct stage *s, int (*work)(void *arg, struct error *e), void *arg, struct error *e);

/* From the working thread: hands a record over. Under stage_serve() it is dropped (and counted) when the other thread is
 * far behind with sending; a stage with a loop of its own loses none, and should call stage_send_traces() now and then. */
void stage_trace(struct stage *s, const struct trace_record *r);
void stage_trace_entry(struct stage *s, int ring, enum lane_id lane, const struct ring_entry *x); /* a freed entry */

void stage_send_traces(struct stage *s); /* from the thread that has the control */

/* Sends ERROR and marks the run as failed (rc other than 0, -ECANCELED, -EPIPE); releases everything. Returns the exit
 * status: 0 after an orderly stop, else 1. */
int stage_close(struct stage *s, int rc, const struct error *e);

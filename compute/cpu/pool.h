/* A few threads that share out the tasks of one job at a time.
 *
 * pool_run() publishes a job of n tasks, each thread's share of them in a row: what a thread reads ahead in memory is then
 * what it comes to next. The caller and whoever of the workers is awake take them one by one, first their own, then what
 * is left of the others', and the caller returns when all are done. A worker that sleeps or was pushed aside by another
 * process simply takes fewer, and nobody waits for it: on a machine whose cores also serve the reader this matters more
 * than equal shares.
 *
 *   ticket   [job number : 32][tasks not taken : 32]   one for each share; the caller sets it to (job, tasks), all count
 *            down by compare-and-swap, which fails for a job that is over
 *   done     tasks of the job that are finished; the caller alone waits for it
 *
 * A job's fields are written before its number is published, and not again before all of its tasks are done; a worker
 * reads them between seeing the number and taking a task with it, so a task that was taken belongs to the fields read.
 * Waiting is a spin of some 15 microseconds, then a futex: idle threads cost nothing. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"

struct pool;

/* One call for each task in [0, tasks), worker in [0, threads) tells whose scratch may be used. */
typedef void pool_fn(void *arg, uint32_t worker, uint32_t task);

/* threads: the caller included. Each is pinned to a processor of its own if there are exactly as many processors as
 * threads; the caller's own placement is put back by pool_close(). */
int pool_open(struct pool **out, uint32_t threads, struct error *e);
void pool_close(struct pool *p);
uint32_t pool_threads(const struct pool *p);

/* Only from the thread that opened the pool. */
void pool_run(struct pool *p, pool_fn *fn, void *arg, uint32_t tasks);

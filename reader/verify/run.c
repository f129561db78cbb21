#include "reader/verify/run.h"

#include <errno.h>
#include <pthread.h>

#include "reader/verify/lane.h"
#include "reader/verify/blocks.h"

#define BLOCK_BYTES (UINT64_C(4) << 20)
#define BLOCK_MOST  (UINT64_C(64) << 20)
#define DEPTH       16u /* reads under way, all lanes together */
#define LANES_MOST  16u

struct worker {
    pthread_t thread;
    struct verify_shm *job;
    const struct lane_options *options;
    struct error error;
    int rc;
};

static void *run(void *arg)
{
    struct worker *w = arg;

    w->rc = lane_run(w->job, w->options, &w->error);
    return NULL;
}

static uint32_t choose_lanes(const struct verify_shm *job)
{
    uint64_t lanes = job->threads ? job->threads : 1;

    if (lanes > job->file_count) lanes = job->file_count;
    if (lanes > LANES_MOST) lanes = LANES_MOST;
    return lanes ? (uint32_t)lanes : 1;
}

int verify_run(struct verify_shm *job, struct error *e)
{
    struct worker w[LANES_MOST] = {0};
    struct lane_options o = {.block_bytes = job->block_bytes ? job->block_bytes : BLOCK_BYTES};
    uint32_t lanes = choose_lanes(job), depth = job->depth ? job->depth : DEPTH, started = 0;
    int rc = 0;

    if (o.block_bytes > BLOCK_MOST) o.block_bytes = BLOCK_MOST;
    o.block_bytes = (o.block_bytes + BLOCKS_ALIGN - 1) / BLOCKS_ALIGN * BLOCKS_ALIGN;
    if (depth > LANE_READERS_MOST) depth = LANE_READERS_MOST;
    o.readers = (depth + lanes - 1) / lanes;
    if (!job->depth && o.readers < 2) o.readers = 2;
    for (; started + 1 < lanes; started++) { /* this thread is a lane too */
        w[started] = (struct worker){.job = job, .options = &o};
        if (pthread_create(&w[started].thread, NULL, run, &w[started])) break;
    }
    rc = lane_run(job, &o, e);
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(w[i].thread, NULL);
        if (!w[i].rc || rc) continue;
        *e = w[i].error;
        rc = w[i].rc;
    }
    return rc;
}

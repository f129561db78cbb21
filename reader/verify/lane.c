#include "reader/verify/lane.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proto/count.h"
#include "reader/verify/digest.h"
#include "reader/verify/blocks.h"

#define TRIES     3u                   /* to read a file while nobody touches it */
#define GIT_BYTES (UINT64_C(64) << 20) /* what is larger is published by its SHA-256 */

struct lane {
    struct verify_shm *job;
    struct verify_file *file;
    struct blocks file_blocks;
    uint64_t block_bytes, blocks; /* blocks: of this file */
    uint32_t slots, readers, started;
    pthread_t reader[LANE_READERS_MOST];
    uint8_t *memory;
    uint64_t *full; /* [slots] 1 + the block that lies there */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    uint64_t next, hashed, counted; /* blocks taken by a reader, hashed, counted */
    uint64_t failed_at;
    int failed; /* a positive errno: every thread ends */
};

static uint64_t block_length(const struct lane *l, uint64_t block)
{
    uint64_t left = l->file->bytes - block * l->block_bytes;

    return left < l->block_bytes ? left : l->block_bytes;
}

static uint8_t *block_memory(const struct lane *l, uint64_t block)
{
    return l->memory + block % l->slots * l->block_bytes;
}

/* The first failure in the file's order counts. Under the lock. */
static void fail(struct lane *l, int code, uint64_t offset)
{
    if (!l->failed || offset < l->failed_at) {
        l->failed = code;
        l->failed_at = offset;
    }
    pthread_cond_broadcast(&l->moved);
}

static uint64_t consumed(const struct lane *l)
{
    return l->hashed < l->counted ? l->hashed : l->counted;
}

/* ---- readers ---- */

static void *read_blocks(void *arg)
{
    struct lane *l = arg;

    pthread_mutex_lock(&l->lock);
    for (;;) {
        uint64_t block;
        int rc;

        while (!l->failed && l->next < l->blocks && l->next - consumed(l) >= l->slots)
            pthread_cond_wait(&l->moved, &l->lock);
        if (l->failed || l->next == l->blocks) break;
        block = l->next++;
        pthread_mutex_unlock(&l->lock);
        rc = blocks_load(&l->file_blocks, block * l->block_bytes, block_memory(l, block), block_length(l, block));
        pthread_mutex_lock(&l->lock);
        if (rc)
            fail(l, rc, block * l->block_bytes);
        else
            l->full[block % l->slots] = block + 1;
        pthread_cond_broadcast(&l->moved);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- consumers ---- */

static bool wait_for(struct lane *l, uint64_t block)
{
    bool there;

    pthread_mutex_lock(&l->lock);
    while (!l->failed && l->full[block % l->slots] != block + 1) pthread_cond_wait(&l->moved, &l->lock);
    there = !l->failed;
    pthread_mutex_unlock(&l->lock);
    return there;
}

static void step(struct lane *l, uint64_t *done)
{
    pthread_mutex_lock(&l->lock);
    ++*done;
    pthread_cond_broadcast(&l->moved);
    pthread_mutex_unlock(&l->lock);
}

static void *count_blocks(void *arg)
{
    struct lane *l = arg;
    struct counter c;

    counter_begin(&c, verify_spans(l->job) + l->file->span0, l->file->spans);
    for (uint64_t b = 0; b < l->blocks && wait_for(l, b); b++) {
        counter_feed(&c, b * l->block_bytes, block_memory(l, b), block_length(l, b));
        step(l, &l->counted);
    }
    return NULL;
}

static int hash_blocks(struct lane *l)
{
    struct digest d;
    int rc = digest_begin(&d, l->file->bytes, l->file->bytes <= GIT_BYTES);

    for (uint64_t b = 0; !rc && b < l->blocks && wait_for(l, b); b++) {
        rc = digest_feed(&d, block_memory(l, b), block_length(l, b));
        atomic_fetch_add_explicit(&l->job->done_bytes, block_length(l, b), memory_order_relaxed);
        step(l, &l->hashed);
    }
    if (!rc && !l->failed) rc = digest_end(&d, l->file);
    digest_free(&d);
    return rc;
}

/* ---- a file ---- */

static void start_readers(struct lane *l)
{
    int rc = 0;

    l->started = 0;
    while (!rc && l->started < l->readers && l->started < l->blocks) {
        rc = pthread_create(&l->reader[l->started], NULL, read_blocks, l);
        if (!rc) l->started++;
    }
    if (rc && !l->started) fail(l, rc, 0);
}

/* 0 or a positive errno. */
static int work(struct lane *l)
{
    pthread_t counting;
    bool counts;
    int rc;

    start_readers(l);
    rc = pthread_create(&counting, NULL, count_blocks, l);
    counts = !rc;
    if (!rc) rc = -hash_blocks(l);
    if (rc) {
        pthread_mutex_lock(&l->lock);
        fail(l, rc, l->hashed * l->block_bytes);
        pthread_mutex_unlock(&l->lock);
    }
    if (counts) pthread_join(counting, NULL);
    for (uint32_t i = 0; i < l->started; i++) pthread_join(l->reader[i], NULL);
    return l->failed;
}

static int read_file(struct lane *l, const char *path)
{
    struct verify_file *f = l->file;
    int rc = blocks_open(&l->file_blocks, path, f, (enum verify_io)l->job->io);

    l->blocks = (f->bytes + l->block_bytes - 1) / l->block_bytes;
    l->next = l->hashed = l->counted = l->failed_at = 0;
    l->failed = 0;
    memset(l->full, 0, l->slots * sizeof *l->full);
    if (!rc) rc = work(l);
    if (!rc) rc = blocks_unchanged(&l->file_blocks, f);
    blocks_close(&l->file_blocks);
    return rc;
}

static void check_file(struct lane *l, const char *path)
{
    struct verify_file *f = l->file;
    int rc = EAGAIN;

    l->failed = 0;
    for (unsigned tries = 0; tries < TRIES && rc == EAGAIN && !l->failed; tries++) {
        /* what is read again was not done */
        if (tries) atomic_fetch_sub_explicit(&l->job->done_bytes, f->bytes, memory_order_relaxed);
        rc = read_file(l, path);
    }
    if (rc == EAGAIN && !l->failed) rc = ESTALE;
    f->code = rc;
    f->offset = l->failed_at;
    /* release: everything about the file is written before its state */
    atomic_store_explicit(&f->state, rc ? VERIFY_FAILED : VERIFY_DONE, memory_order_release);
}

static struct verify_file *take(struct verify_shm *job)
{
    struct verify_file *f = verify_files(job), *best;

    for (;;) {
        uint32_t waiting = VERIFY_WAITING;

        best = NULL;
        for (uint64_t i = 0; i < job->file_count; i++)
            if (atomic_load_explicit(&f[i].state, memory_order_relaxed) == VERIFY_WAITING &&
                (!best || f[i].bytes > best->bytes))
                best = f + i;
        if (!best || atomic_compare_exchange_strong(&best->state, &waiting, VERIFY_READING)) return best;
    }
}

static int lane_open(struct lane *l, struct verify_shm *job, const struct lane_options *o)
{
    *l = (struct lane){.job = job, .block_bytes = o->block_bytes, .readers = o->readers, .slots = o->readers + 3};
    l->memory = aligned_alloc(BLOCKS_ALIGN, l->slots * l->block_bytes);
    l->full = calloc(l->slots, sizeof *l->full);
    if (!l->memory || !l->full) {
        free(l->memory);
        free(l->full);
        return -ENOMEM;
    }
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->moved, NULL);
    return 0;
}

int lane_run(struct verify_shm *job, const struct lane_options *o, struct error *e)
{
    struct lane l;

    if (lane_open(&l, job, o))
        return error_set(e, ENOMEM, "no memory for %u blocks of %llu bytes", o->readers + 3,
                         (unsigned long long)o->block_bytes);
    while ((l.file = take(job))) check_file(&l, (const char *)job + l.file->path);
    pthread_mutex_destroy(&l.lock);
    pthread_cond_destroy(&l.moved);
    free(l.memory);
    free(l.full);
    return 0;
}

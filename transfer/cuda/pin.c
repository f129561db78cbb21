#include "transfer/cuda/pin.h"

#include <cuda_runtime.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/plan.h"
#include "transfer/cuda/device.h"

#define CHUNK_LEAST   (UINT64_C(64) << 10)
#define CHUNK_MOST    (UINT64_C(512) << 20) /* some 0.1 s of pinning */
#define LARGE_PAGE    (UINT64_C(2) << 20)
#define REFUSALS_MOST 3u

enum chunk_state { FREE, FULL, PINNING, PINNED, REFUSED };

struct chunk {
    uint64_t copied;
    enum chunk_state state;
};

struct pins {
    struct pins_of of;
    uint64_t each;
    size_t count, next; /* next: before it no chunk is FULL */
    struct chunk *chunk;
    bool read_only;
    unsigned refusals;
    _Atomic bool refused;
    pthread_mutex_t mutex; /* of the chunks' states; held while copies are begun */
    pthread_cond_t full;
    pthread_t thread;
    bool has_thread, ending;
};

static uint64_t chunk_bytes(uint64_t bytes, unsigned pieces)
{
    uint64_t each = (bytes + pieces - 1) / pieces, unit = each >= LARGE_PAGE ? LARGE_PAGE : CHUNK_LEAST;

    if (each > CHUNK_MOST) each = CHUNK_MOST;
    return each ? (each + unit - 1) / unit * unit : unit;
}

static uint64_t length(const struct pins *p, size_t i)
{
    uint64_t left = p->of.bytes - i * p->each;

    return left < p->each ? left : p->each;
}

int pins_open(struct pins **out, const struct pins_of *of, struct error *e)
{
    struct pins *p = calloc(1, sizeof *p);
    int read_only = 0;

    *out = NULL;
    if (!p) return error_set(e, ENOMEM, "no memory to pin %s", of->what);
    p->of = *of;
    p->each = chunk_bytes(of->bytes, of->pieces);
    p->count = (size_t)((p->of.bytes + p->each - 1) / p->each);
    p->chunk = calloc(p->count + 1, sizeof *p->chunk);
    if (!p->chunk) {
        free(p);
        return error_set(e, ENOMEM, "no memory to pin %s", of->what);
    }
    cudaDeviceGetAttribute(&read_only, cudaDevAttrHostRegisterReadOnlySupported, (int)of->stage->plan->run.device);
    p->read_only = read_only;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->full, NULL);
    *out = p;
    return 0;
}

void pins_close(struct pins *p)
{
    if (!p) return;
    if (p->has_thread) {
        pthread_mutex_lock(&p->mutex);
        p->ending = true;
        pthread_cond_signal(&p->full);
        pthread_mutex_unlock(&p->mutex);
        pthread_join(p->thread, NULL);
    }
    for (size_t i = 0; i < p->count; i++)
        if (p->chunk[i].state == PINNED) cudaHostUnregister(p->of.base + i * p->each);
    pthread_cond_destroy(&p->full);
    pthread_mutex_destroy(&p->mutex);
    free(p->chunk);
    free(p);
}

/* The driver pins by itself, so that limits on locked memory do not count: what it refuses is what the machine has not got. */
static void refuse(struct pins *p, size_t i, cudaError_t rc)
{
    atomic_store(&p->refused, true);
    if (p->refusals++) return;
    log_warn("%s: %llu MiB of %llu MiB from %llu MiB on cannot be pinned: %s (%s). They reach the device through a "
             "staging buffer, several times slower; lower --host-memory",
             p->of.what, (unsigned long long)(length(p, i) >> 20), (unsigned long long)(p->of.bytes >> 20),
             (unsigned long long)(i * p->each >> 20), cudaGetErrorString(rc), cudaGetErrorName(rc));
}

static enum chunk_state take(struct pins *p, size_t i)
{
    uint8_t *at = p->of.base + i * p->each;
    uint64_t bytes = length(p, i), start = clock_ns();
    cudaError_t rc;

    if (p->refusals >= REFUSALS_MOST) return REFUSED;
    rc = cudaHostRegister(at, bytes, cudaHostRegisterPortable | (p->read_only ? cudaHostRegisterReadOnly : 0));
    if (rc != cudaSuccess && p->read_only) {
        cudaGetLastError();
        rc = cudaHostRegister(at, bytes, cudaHostRegisterPortable);
    }
    if (rc != cudaSuccess) {
        cudaGetLastError(); /* no lasting error */
        refuse(p, i, rc);
        return REFUSED;
    }
    log_debug("pinned %llu MiB of %s in %llu ms", (unsigned long long)(bytes >> 20), p->of.what,
              (unsigned long long)((clock_ns() - start) / 1000000));
    return PINNED;
}

void pins_now(struct pins *p)
{
    for (size_t i = 0; i < p->count; i++) p->chunk[i].state = take(p, i);
}

/* The next chunk that is full; count: none is. */
static size_t next_full(struct pins *p)
{
    size_t i = p->next;

    while (i < p->count && p->chunk[i].state != FULL) i++;
    return i;
}

static void *run(void *arg)
{
    struct pins *p = arg;
    struct error e;
    size_t i;

    if (device_enter(p->of.stage, &e)) {
        log_warn("%s is not pinned: %s", p->of.what, e.text);
        return NULL;
    }
    pthread_mutex_lock(&p->mutex);
    while (!p->ending) {
        enum chunk_state now;

        if ((i = next_full(p)) == p->count) {
            p->next = p->count;
            pthread_cond_wait(&p->full, &p->mutex);
            continue;
        }
        p->chunk[i].state = PINNING;
        p->next = i;
        pthread_mutex_unlock(&p->mutex);
        now = take(p, i);
        pthread_mutex_lock(&p->mutex);
        p->chunk[i].state = now;
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

int pins_start(struct pins *p, struct error *e)
{
    int rc;

    if (!p->count) return 0;
    if ((rc = pthread_create(&p->thread, NULL, run, p))) return error_set(e, rc, "no thread to pin %s", p->of.what);
    p->has_thread = true;
    return 0;
}

int pins_enter(struct pins *p, uint64_t at, uint64_t bytes)
{
    pthread_mutex_lock(&p->mutex);
    for (size_t i = at / p->each; i < p->count && i * p->each < at + bytes; i++) {
        if (p->chunk[i].state != PINNING) continue;
        pthread_mutex_unlock(&p->mutex);
        return -EAGAIN;
    }
    return 0;
}

void pins_leave(struct pins *p)
{
    pthread_mutex_unlock(&p->mutex);
}

uint64_t pins_together(const struct pins *p, uint64_t at, uint64_t bytes)
{
    uint64_t left = p->each - at % p->each;

    return bytes < left ? bytes : left;
}

void pins_copied(struct pins *p, uint64_t at, uint64_t bytes)
{
    for (uint64_t end = at + bytes, n; at < end; at += n) {
        size_t i = at / p->each;

        n = pins_together(p, at, end - at);
        if (i >= p->count || p->chunk[i].state != FREE) continue;
        p->chunk[i].copied += n;
        if (p->chunk[i].copied < length(p, i)) continue;
        p->chunk[i].state = FULL;
        if (i < p->next) p->next = i;
        pthread_cond_signal(&p->full);
    }
}

bool pins_refused(const struct pins *p)
{
    return atomic_load(&p->refused);
}

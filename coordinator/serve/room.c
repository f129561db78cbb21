#include "coordinator/serve/room.h"
#include "proto/base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define CONNECTIONS_MOST  512u
#define CONNECTIONS_LEAST 24u
#define ANSWERS_MOST      (UINT64_C(8) << 20)

struct room {
    pthread_mutex_t lock;
    pthread_cond_t given;
    size_t used, most;
    bool (*reclaim)(void *arg);
    void *arg;
};

struct room_share room_share(uint64_t bytes)
{
    uint64_t n = bytes / 2 / ROOM_CONNECTION_BYTES;
    struct room_share s;

    n = n > CONNECTIONS_LEAST + ROOM_SPARE ? n - ROOM_SPARE : CONNECTIONS_LEAST;
    s.connections = n < CONNECTIONS_MOST ? (uint32_t)n : CONNECTIONS_MOST;
    s.account = bytes - (s.connections + ROOM_SPARE) * ROOM_CONNECTION_BYTES;
    s.answers = s.account / 8 < ANSWERS_MOST ? s.account / 8 : ANSWERS_MOST;
    s.account -= s.answers;
    return s;
}

struct room *room_open(size_t most, bool (*reclaim)(void *arg), void *arg)
{
    struct room *r = calloc(1, sizeof *r);
    pthread_condattr_t attr;

    if (!r) return NULL;
    r->most = most;
    r->reclaim = reclaim;
    r->arg = arg;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->given, &attr);
    pthread_condattr_destroy(&attr);
    return r;
}

void room_close(struct room *r)
{
    if (!r) return;
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->given);
    free(r);
}

size_t room_most(const struct room *r)
{
    return r ? r->most : SIZE_MAX;
}

size_t room_used(struct room *r)
{
    size_t used = 0;

    if (!r) return 0;
    pthread_mutex_lock(&r->lock);
    used = r->used;
    pthread_mutex_unlock(&r->lock);
    return used;
}

/* With the lock; without it while something is given back. */
static bool fits(struct room *r, size_t bytes)
{
    while (r->used > r->most || bytes > r->most - r->used) {
        bool more;

        if (!r->reclaim || bytes > r->most) return false;
        pthread_mutex_unlock(&r->lock);
        more = r->reclaim(r->arg);
        pthread_mutex_lock(&r->lock);
        if (!more) return r->used <= r->most && bytes <= r->most - r->used;
    }
    return true;
}

bool room_take(struct room *r, size_t bytes, unsigned ms)
{
    const struct timespec until = clock_time(clock_ns() + (uint64_t)ms * 1000000u);
    bool good;

    if (!r) return true;
    pthread_mutex_lock(&r->lock);
    while (!(good = fits(r, bytes)) && ms && bytes <= r->most)
        if (pthread_cond_timedwait(&r->given, &r->lock, &until)) ms = 0;
    if (good) r->used += bytes;
    pthread_mutex_unlock(&r->lock);
    return good;
}

void room_give(struct room *r, size_t bytes)
{
    if (!r || !bytes) return;
    pthread_mutex_lock(&r->lock);
    r->used -= bytes;
    pthread_cond_broadcast(&r->given);
    pthread_mutex_unlock(&r->lock);
}

bool room_hold(struct room *r, size_t *held, size_t want)
{
    if (want > *held && !room_take(r, want - *held, 0)) return false;
    if (want < *held) room_give(r, *held - want);
    *held = want;
    return true;
}

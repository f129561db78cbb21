#include "coordinator/serve/peers.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "proto/base/clock.h"

#define SECONDS_CROWD 5 /* for a request, while connections are scarce */
#define SECOND        UINT64_C(1000000000)
#define OVER_NS       2000000L /* for each connection that is too many */
#define OVER_MOST     20u

struct peer {
    struct peer *next;
    int fd;
    uint64_t since_ns; /* when it began to be silent */
    bool busy, answered, surplus, closed;
};

struct peers {
    pthread_mutex_t lock;
    pthread_cond_t stop;
    struct peer *first;
    unsigned count, most;
    bool stopping;
    pthread_t guard;
    bool guarded;
};

static void shut(struct peer *x)
{
    shutdown(x->fd, SHUT_RDWR);
    x->closed = true;
}

static void *watch(void *arg)
{
    struct peers *p = arg;

    pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        uint64_t now = clock_ns(), most = (p->count > p->most / 4 * 3 ? SECONDS_CROWD : PEERS_SECONDS) * SECOND;
        struct timespec until;

        for (struct peer *x = p->first; x; x = x->next)
            if (!x->busy && now - x->since_ns > most) shut(x);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&p->stop, &p->lock, &until);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int peers_open(struct peers **out, unsigned most, struct error *e)
{
    struct peers *p = calloc(1, sizeof *p);
    pthread_condattr_t attr;

    if (!p) return error_set(e, ENOMEM, "out of memory");
    p->most = most;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->stop, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&p->guard, NULL, watch, p)) {
        peers_close(p);
        return error_set(e, EAGAIN, "cannot start a thread");
    }
    p->guarded = true;
    *out = p;
    return 0;
}

void peers_close(struct peers *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_signal(&p->stop);
    pthread_mutex_unlock(&p->lock);
    if (p->guarded) pthread_join(p->guard, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->stop);
    free(p);
}

/* Its client has hung up, and its thread has not noticed yet. */
static bool is_leaving(const struct peer *x)
{
    struct pollfd p = {.fd = x->fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* Those that are leaving make room, then the one that is silent the longest: one that was answered, else any. false: there is
 * none. */
static bool make_room(struct peers *p)
{
    struct peer *oldest = NULL;
    unsigned closed = 0;

    if (p->count <= p->most) return true;
    for (struct peer *x = p->first; x; x = x->next) {
        if (!x->closed && !x->busy && is_leaving(x)) shut(x);
        closed += x->closed;
        if (x->busy || x->closed) continue;
        if (!oldest || x->answered > oldest->answered ||
            (x->answered == oldest->answered && x->since_ns < oldest->since_ns))
            oldest = x;
    }
    if (p->count - closed <= p->most) return true;
    if (oldest) shut(oldest);
    return oldest != NULL;
}

struct peer *peers_add(struct peers *p, int fd)
{
    struct peer *x = calloc(1, sizeof *x);
    unsigned over;

    if (!x) return NULL;
    x->fd = fd;
    x->since_ns = clock_ns();
    pthread_mutex_lock(&p->lock);
    p->count++;
    x->surplus = !make_room(p);
    over = p->count > p->most ? p->count - p->most : 0;
    x->next = p->first;
    p->first = x;
    pthread_mutex_unlock(&p->lock);
    /* the thread that takes connections in also clears them away: those that were closed get time to end */
    if (over) nanosleep(&(struct timespec){.tv_nsec = (over < OVER_MOST ? over : OVER_MOST) * OVER_NS}, NULL);
    return x;
}

void peers_remove(struct peers *p, struct peer *x)
{
    struct peer **at;

    pthread_mutex_lock(&p->lock);
    for (at = &p->first; *at && *at != x; at = &(*at)->next) {
    }
    if (*at) *at = x->next;
    p->count--;
    pthread_mutex_unlock(&p->lock);
    free(x);
}

void peers_set_busy(struct peers *p, struct peer *x, bool busy)
{
    pthread_mutex_lock(&p->lock);
    x->busy = busy;
    x->answered |= !busy;
    x->since_ns = clock_ns();
    pthread_mutex_unlock(&p->lock);
}

bool peers_answering(struct peers *p)
{
    bool busy = false;

    pthread_mutex_lock(&p->lock);
    for (struct peer *x = p->first; x; x = x->next) busy |= x->busy;
    pthread_mutex_unlock(&p->lock);
    return busy;
}

bool peer_surplus(const struct peer *x)
{
    return x->surplus;
}

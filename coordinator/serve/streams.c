#include "coordinator/serve/streams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/room.h"
#include "proto/base/clock.h"

struct stream {
    char name[65];
    char *key;
    struct job *job;  /* NULL: free */
    uint64_t over_ns; /* when it was first seen to be done; 0: not yet */
};

struct streams {
    pthread_mutex_t lock;
    struct stream stream[STREAMS_MAX];
};

struct streams *streams_open(void)
{
    struct streams *s = calloc(1, sizeof *s);

    if (s) pthread_mutex_init(&s->lock, NULL);
    return s;
}

static void drop(struct stream *x)
{
    job_release(x->job);
    free(x->key);
    *x = (struct stream){0};
}

void streams_close(struct streams *s)
{
    if (!s) return;
    for (int i = 0; i < STREAMS_MAX; i++) drop(&s->stream[i]);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

bool streams_name_good(const char *name)
{
    size_t n = strlen(name);

    return n >= 1 && n <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == n;
}

static bool is_done(struct job *j)
{
    bool done;

    pthread_mutex_lock(&j->lock);
    done = j->done;
    pthread_mutex_unlock(&j->lock);
    return done;
}

/* What is over for long goes. */
static void tidy(struct streams *s)
{
    uint64_t now = clock_ns();

    for (int i = 0; i < STREAMS_MAX; i++) {
        struct stream *x = &s->stream[i];

        if (!x->job) continue;
        if (!x->over_ns && is_done(x->job)) x->over_ns = now;
        if (x->over_ns && now - x->over_ns > STREAMS_SECONDS * UINT64_C(1000000000)) drop(x);
    }
}

static struct stream *find(struct streams *s, const char *name, const char *key)
{
    for (int i = 0; i < STREAMS_MAX; i++)
        if (s->stream[i].job && !strcmp(s->stream[i].name, name) && !strcmp(s->stream[i].key, key))
            return &s->stream[i];
    return NULL;
}

/* Bytes that a job keeps. */
static size_t weight(struct job *j)
{
    size_t n;

    pthread_mutex_lock(&j->lock);
    n = j->out.capacity;
    pthread_mutex_unlock(&j->lock);
    return n;
}

static struct stream *oldest(struct streams *s)
{
    struct stream *best = NULL;

    for (int i = 0; i < STREAMS_MAX; i++)
        if (s->stream[i].over_ns && (!best || s->stream[i].over_ns < best->over_ns)) best = &s->stream[i];
    return best;
}

/* What is over gives way; false: what runs is too much already. */
static bool make_room(struct streams *s, const struct room *room, size_t more)
{
    size_t most = room_most(room) / 4 < STREAMS_BYTES ? room_most(room) / 4 : STREAMS_BYTES;

    for (;;) {
        size_t n = more;
        struct stream *x;

        for (int i = 0; i < STREAMS_MAX; i++)
            if (s->stream[i].job) n += weight(s->stream[i].job);
        if (n <= most) return true;
        if (!(x = oldest(s))) return false;
        drop(x);
    }
}

/* A free place, or that of the one that is over for the longest. */
static struct stream *place(struct streams *s)
{
    for (int i = 0; i < STREAMS_MAX; i++)
        if (!s->stream[i].job) return &s->stream[i];
    return oldest(s);
}

bool streams_add(struct streams *s, const char *name, const char *key, struct job *j)
{
    struct stream *x;
    char *own = strdup(key);

    if (!own) return false;
    pthread_mutex_lock(&s->lock);
    tidy(s);
    x = find(s, name, key);
    if (x) drop(x); /* the newest of a name is meant */
    x = make_room(s, j->facts->room, weight(j)) ? place(s) : NULL;
    if (x) {
        drop(x);
        snprintf(x->name, sizeof x->name, "%s", name);
        x->key = own;
        x->job = job_hold(j);
    }
    pthread_mutex_unlock(&s->lock);
    if (!x) free(own);
    return x != NULL;
}

bool streams_reclaim(void *arg)
{
    struct streams *s = arg;
    struct stream *x;

    pthread_mutex_lock(&s->lock);
    tidy(s);
    if ((x = oldest(s))) drop(x);
    pthread_mutex_unlock(&s->lock);
    return x != NULL;
}

struct job *streams_find(struct streams *s, const char *name, const char *key)
{
    struct stream *x;
    struct job *j = NULL;

    pthread_mutex_lock(&s->lock);
    tidy(s);
    x = find(s, name, key);
    if (x) j = job_hold(x->job);
    pthread_mutex_unlock(&s->lock);
    return j;
}

/* The one thread that computes: requests join at the boundaries of sweeps, and leave at their end.
 *
 *   HTTP threads --work_submit()--> queue --room for its tokens--> scheduler (batch/) --tokens--> job --> HTTP threads
 *
 * Answers begin in the order in which they came. What an answer says does not depend on who shares its sweeps. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/serve/facts.h"
#include "coordinator/serve/job.h"
#include "coordinator/serve/metrics.h"

struct work;

struct work_config {
    const struct facts *facts;
    struct metrics *metrics;
    uint32_t queue; /* requests that may wait; 0: any number */
    /* Called by the computing thread at every boundary and while nothing is to be done: may submit more. false: no more will
     * come, and work_run() ends when all is done. NULL: requests come from elsewhere until work_stop(). */
    bool (*more)(void *arg);
    void *arg;
};

int work_open(struct work **out, const struct work_config *c, struct error *e);
void work_end(
    struct work *w); /* nobody computes any more: all that was under way is told so, and nothing new is taken */
void work_close(struct work *w);

/* From any thread. 0: the job is held and will be done. -1 and why not: 429 where too many wait, 503 while it ends. */
int work_submit(struct work *w, struct job *j, struct fault *f);
/* kept: all of its answer is to stay. A request that waits, whose client is gone, and that is the same as this one: it goes on with the new client, which holds
 * it now. NULL: there is none. */
struct job *work_attach(struct work *w, const char *path, const struct buffer *body, const char *key, bool kept);
/* Seconds until somebody who waits may expect to begin; at least 1. */
uint32_t work_eta(struct work *w);

/* Computes until it was told to stop; -errno where it cannot go on. -ECANCELED: interrupted. */
int work_run(struct work *w, struct error *e);
/* From any thread: nothing new is taken; what runs gets so many seconds. */
void work_drain(struct work *w, double seconds);

/* [{...}, ...]: what each answer does that is under way. From any thread. */
void work_slots(struct work *w, struct buffer *out);
/* Is it computing, or able to? false: the last attempt has failed; then why. */
bool work_healthy(struct work *w, char *why, size_t room);

#include <stdatomic.h>

#include "proto/base/clock.h"
#include "proto/stage/private.h"

#define BEAT_NS UINT64_C(50000000)

/* Signs of life of the process as a whole: a thread of its own, so that neither a long kernel nor a slow disk looks like
 * a process that was stopped. */
static void *heartbeat_main(void *p)
{
    struct stage *s = p;

    while (!atomic_load(&s->ending)) {
        uint32_t seen = eventcount_read(&s->run->pulse);

        atomic_store_explicit(&s->run->stats[s->me].heartbeat_ns, clock_ns(), memory_order_relaxed);
        if (!atomic_load(&s->ending))
            eventcount_wait(&s->run->pulse, seen, epoch_rests(s->run) ? EVENTCOUNT_FOREVER : BEAT_NS);
    }
    return NULL;
}

int stage_heartbeat_start(struct stage *s, struct error *e)
{
    int rc = pthread_create(&s->heartbeat, NULL, heartbeat_main, s);

    if (rc)
        return error_set(e, rc, "cannot start a thread: %s; raise the limit on processes (ulimit -u)", error_name(rc));
    s->has_heartbeat = true;
    return 0;
}

void stage_heartbeat_stop(struct stage *s)
{
    atomic_store(&s->ending, true);
    if (s->has_heartbeat) eventcount_notify(&s->run->pulse);
    if (s->has_heartbeat) pthread_join(s->heartbeat, NULL);
}

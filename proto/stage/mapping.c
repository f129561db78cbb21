#include <errno.h>

#include "proto/stage/private.h"

enum { SHM_PLAN, SHM_RUN, SHM_ARENA, SHM_LOGITS, SHM_CACHE, SHM_LINK };

int stage_map(struct stage *s, const struct control_message *m, struct error *e)
{
    const struct plan_run *run;
    int rc;

    if ((rc = shm_attach(&s->shm[SHM_PLAN], m->setup.plan, 0, false, e))) return rc;
    s->plan = s->shm[SHM_PLAN].base;
    if ((rc = plan_check(s->plan, s->shm[SHM_PLAN].bytes, e))) return rc;
    if ((rc = shm_attach(&s->shm[SHM_RUN], m->setup.run, 0, true, e))) return rc;
    s->run = s->shm[SHM_RUN].base;
    if ((rc = epoch_check(s->run, s->shm[SHM_RUN].bytes, e))) return rc;
    shm_populate(&s->shm[SHM_RUN]); /* a queue that is walked page by page for the first time looks like a leak */

    run = &s->plan->run;
    if ((rc = shm_attach(&s->shm[SHM_ARENA], m->setup.arena, 0, true, e))) return rc;
    s->arena = s->shm[SHM_ARENA].base;
    s->arena_bytes = s->shm[SHM_ARENA].bytes;
    if (s->arena_bytes < plan_arena_bytes(run)) return error_set(e, EPROTO, "the arena is smaller than its slots");
    if (s->me == STAGE_COMPUTE) {
        if ((rc = shm_attach(&s->shm[SHM_LOGITS], m->setup.logits, 0, true, e))) return rc;
        s->logits = s->shm[SHM_LOGITS].base;
        if (s->shm[SHM_LOGITS].bytes < (uint64_t)run->max_logits * s->plan->spec.vocab * sizeof(float))
            return error_set(e, EPROTO, "the logits' segment is too small");
    }
    if (s->me == STAGE_COMPUTE && s->plan->spec.share) {
        if ((rc = shm_attach(&s->shm[SHM_LINK], m->setup.link, 0, true, e))) return rc;
        s->link = s->shm[SHM_LINK].base;
        if ((rc = link_check(s->link, s->shm[SHM_LINK].bytes, link_slot_bytes(s->plan, run), e))) return rc;
    }
    if (run->host_cache_bytes) {
        rc = shm_attach(&s->shm[SHM_CACHE], m->setup.cache, run->host_cache_bytes, true, e);
        if (rc) return rc;
        s->cache = s->shm[SHM_CACHE].base;
        s->cache_bytes = run->host_cache_bytes;
    }
    return 0;
}

void stage_unmap(struct stage *s)
{
    for (size_t i = 0; i < sizeof s->shm / sizeof *s->shm; i++) shm_close(&s->shm[i]);
}

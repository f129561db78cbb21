#include "proto/base/log.h"
#include "proto/stage/stage.h"

static void tell_unlocked(const struct stage *s, const char *what, uint64_t bytes, int rc)
{
    enum log_level level = shm_swap_exists() ? LOG_WARN : LOG_INFO;

    if (!rc || s->run->epoch > 1) return; /* told once */
    log_at(level, "%.1f MB of %s cannot be locked in memory (%s)%s: raise ulimit -l (docker run --ulimit memlock=-1)",
           (double)bytes / 1e6, what, error_name(-rc),
           level == LOG_WARN ? ", so the system may move it to swap, where it is slow" : "; there is no swap here");
}

void stage_lock_slots(struct stage *s)
{
    int rc = shm_lock(s->arena, s->arena_bytes);

    if (!rc) rc = shm_lock(s->cache, s->cache_bytes);
    tell_unlocked(s, "slots and cached weights", s->arena_bytes + s->cache_bytes, rc);
}

void stage_lock(struct stage *s, const char *what, void *base, uint64_t bytes)
{
    tell_unlocked(s, what, bytes, shm_lock(base, bytes));
}

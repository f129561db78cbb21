#include "coordinator/run/experience.h"

#include <string.h>

#include "coordinator/plan/machine.h"
#include "coordinator/plan/speeds.h"
#include "proto/log.h"

#define DISK_BYTES   1e9 /* read at least, */
#define DISK_BUSY    0.8 /* and with reads under way for this share of the time */
#define TOKENS_LEAST 3
#define TOKEN_LEAST  0.02 /* seconds: below it hand-overs count as much as bytes */

/* Direct reads alone say what the disk gives: others may come from the page cache. */
static void keep_disk(const struct session *s, const struct engine_stats *t, const char *path)
{
    const struct engine_stage_stats *r = &t->stage[STAGE_READER];
    double seconds = (double)(s->prompt_ns + s->decode_ns) / 1e9, busy = (double)r->busy_ns / 1e9;

    if (s->plan->run.engine == ENGINE_NULL || strstr(t->reader, "buffered") || !strstr(t->reader, "direct")) return;
    if ((double)r->bytes < DISK_BYTES || busy < DISK_BUSY * seconds) return;
    speeds_remember_disk(path, (double)r->bytes / busy);
    log_debug("the disk gave %.2f GB/s", (double)r->bytes / busy / 1e9);
}

/* Where every token comes from memory, with all processors, tokens go as fast as memory does. */
static void keep_memory(const struct session *s)
{
    const struct plan_summary *z = &s->summary;
    double token = s->decode_sweeps ? (double)s->decode_ns / 1e9 / (double)s->decode_sweeps : 0;
    struct machine m;

    if (s->plan->run.backend != BACKEND_CPU || z->sweep_bytes || z->expert_bytes) return;
    if (s->decode_sweeps < TOKENS_LEAST || token < TOKEN_LEAST) return;
    machine_look(&m);
    if (s->plan->run.threads < m.cpus) return;
    speeds_remember_memory((double)z->dense_bytes / token);
    log_debug("the memory gave %.2f GB/s", (double)z->dense_bytes / token / 1e9);
}

void experience_keep(const struct session *s, const char *path)
{
    struct engine_stats t;

    if (!s->engine || !s->plan) return;
    engine_stats(s->engine, &t);
    keep_disk(s, &t, path);
    keep_memory(s);
}

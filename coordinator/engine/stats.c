/* What an engine has counted. */
#include "coordinator/engine/private.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t own_memory(pid_t pid)
{
    char path[64], line[128];
    unsigned long kb, sum = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    f = fopen(path, "re");
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %lu kB", &kb) == 1 || sscanf(line, "RssFile: %lu kB", &kb) == 1) sum += kb;
    fclose(f);
    return (uint64_t)sum * 1024;
}

void engine_sample_memory(struct engine *g)
{
    uint64_t own = own_memory(getpid()), sum = 0;
    struct stat st;

    for (int i = 0; i < STAGES; i++)
        if (!g->child[i].ended) sum += own_memory(g->child[i].pid);
    for (int i = 0; i < SEGS; i++)
        if (g->shm[i].fd >= 0 && !fstat(g->shm[i].fd, &st)) sum += (uint64_t)st.st_blocks * 512;
    if (sum > g->total.peak_stage_bytes) g->total.peak_stage_bytes = sum;
    if (own + sum > g->total.peak_host_bytes) g->total.peak_host_bytes = own + sum;
}

void engine_add_stats(struct engine_stats *to, const struct engine *g)
{
    for (int i = 0; g->run && i < STAGES; i++) {
        const struct epoch_stats *s = &g->run->stats[i];
        struct engine_stage_stats *t = &to->stage[i];
        uint64_t first = atomic_load(&s->first_ns);

        t->bytes += atomic_load(&s->bytes);
        t->tiles += atomic_load(&s->tiles);
        t->calls += atomic_load(&s->calls);
        t->busy_ns += atomic_load(&s->busy_ns);
        t->wait_ns += atomic_load(&s->wait_ns);
        t->retries += atomic_load(&s->retries);
        if (!t->first_ns) t->first_ns = first;
        t->cpu_ns += child_cpu_ns(&g->child[i]);
    }
    if (!g->run) return;
    to->hit_bytes += atomic_load(&g->run->stats[STAGE_READER].hit_bytes);
    to->miss_bytes += atomic_load(&g->run->stats[STAGE_READER].miss_bytes);
    to->sweep = atomic_load(&g->run->stats[STAGE_COMPUTE].sweep);
    to->layer = atomic_load(&g->run->stats[STAGE_COMPUTE].layer);
    if (atomic_load(&g->run->stats[STAGE_READER].io_block)) {
        to->io_block = atomic_load(&g->run->stats[STAGE_READER].io_block);
        to->io_depth = atomic_load(&g->run->stats[STAGE_READER].io_depth);
        to->io_rate = atomic_load(&g->run->stats[STAGE_READER].io_rate);
    }
    if (atomic_load(&g->run->stats[STAGE_READER].io_ways))
        to->io_ways = atomic_load(&g->run->stats[STAGE_READER].io_ways);
    if (!to->first_byte_ns) to->first_byte_ns = to->stage[STAGE_READER].first_ns;
}

void engine_stats(struct engine *g, struct engine_stats *out)
{
    *out = g->total;
    engine_add_stats(out, g);
    out->epochs = g->epoch;
    out->mps = g->mps.control > 0;
    memcpy(out->about, g->about, sizeof out->about);
    snprintf(out->compute, sizeof out->compute, "%s", g->about[STAGE_COMPUTE]);
    snprintf(out->reader, sizeof out->reader, "%s", g->about[STAGE_READER]);
}

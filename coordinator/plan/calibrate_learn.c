#include "coordinator/plan/calibrate_learn.h"

#include "coordinator/plan/calibrate_median.h"
#include "coordinator/plan/calibrate.h"
#include "proto/base/log.h"
#include "proto/epoch.h"

#define DISK_BYTES    UINT64_C(1000000000) /* read at least, */
#define DISK_BUSY     0.8                  /* in sweeps with reads under way for this share of the time */
#define FILL_LEAST    UINT64_C(250000000)
#define WEIGHTS_LEAST UINT64_C(100000000) /* a sweep's: what fits the processor's caches is no measure of memory */
#define TOKENS_LEAST  3
#define TOKEN_LEAST   0.02 /* seconds: below it hand-overs count as much as bytes */
#define CHUNK_LEAST   32   /* positions from which on the units that multiply matter, not the memory */
#define CPU_LEAST     0.75 /* of the processor time that compute's threads could have had: below it others had it */
#define CHUNK_BUSY    UINT64_C(50000000)
#define LINK_BYTES    UINT64_C(1000000000) /* copied at least, with copies under way for this share of the time */
#define LINK_BUSY     0.8

/* Of one sweep; 0: it says nothing of this lane. */
typedef double sweep_rate(const struct calibration_run *s, uint32_t i);

static double per_second(double amount, uint64_t ns)
{
    return amount / ((double)ns / 1e9);
}

/* Weights that a token meets. */
static double token_bytes(const struct calibration_run *s)
{
    return (double)(s->summary->dense_bytes + s->summary->expert_used_bytes);
}

/* The median of the sweeps' rates. Fewer than least: 0. */
static double usual(const struct calibration_run *s, sweep_rate *rate, uint32_t least)
{
    double x[MEDIAN_MOST];
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->sweeps && n < MEDIAN_MOST; i++)
        if ((x[n] = rate(s, i)) > 0) n++;
    return n < least ? 0 : median(x, n);
}

/* A first sweep that fills the host cache waits for the system's pages, not for the disk. */
static bool disk_decides(const struct calibration_run *s, uint32_t i)
{
    const struct sweep_record *w = &s->sweep[i];

    if (!i && s->plan->run.host_cache_bytes) return false;
    return w->read_bytes && (double)w->read_busy_ns >= DISK_BUSY * (double)w->ns;
}

static double disk_rate(const struct calibration_run *s, uint32_t i)
{
    const struct sweep_record *w = &s->sweep[i];

    return disk_decides(s, i) ? per_second((double)w->read_bytes, w->read_busy_ns) : 0;
}

/* Direct reads say what the disk gives, the others what the page cache does where it holds all. */
static void keep_disk(const struct calibration_run *s, const char *path)
{
    bool direct = s->io_ways == EPOCH_READS_DIRECT;
    double rate = usual(s, disk_rate, 1);
    uint64_t bytes = 0;

    if (s->plan->run.engine == ENGINE_NULL || direct == s->speeds->page_cache) return;
    if (s->io_ways != EPOCH_READS_DIRECT && s->io_ways != EPOCH_READS_BUFFERED)
        return; /* some of the one, some of the other */
    for (uint32_t i = 0; i < s->sweeps; i++)
        if (disk_decides(s, i)) bytes += s->sweep[i].read_bytes;
    if (bytes < DISK_BYTES || !(rate > 0)) return;
    calibration_keep(direct ? SPEEDS_DISK : SPEEDS_PAGE_CACHE, path, NULL, rate);
    log_debug("the %s gave %.2f GB/s", direct ? "disk" : "page cache", rate / 1e9);
}

/* Experts that are met for the first time are read, wherever they stay afterwards: such a token says nothing of the memory. */
static double memory_rate(const struct calibration_run *s, uint32_t i)
{
    const struct sweep_record *w = &s->sweep[i];
    double bytes = token_bytes(s);

    if (!i || w->positions != 1 || (double)w->ns < TOKEN_LEAST * 1e9 || (double)w->read_bytes > bytes / 100) return 0;
    return bytes >= (double)WEIGHTS_LEAST ? per_second(bytes, w->ns) : 0;
}

/* A first sweep of which most is to be pinned, and whose reader never rested: no faster than the disk, and often slower. */
static double fill_rate(const struct calibration_run *s, uint32_t i)
{
    const struct sweep_record *w = &s->sweep[i];
    uint64_t pins = s->summary->host_bytes;

    if (i || s->summary->expert_bytes || pins < FILL_LEAST || pins < s->summary->dense_bytes / 4 * 3 ||
        w->read_bytes < pins)
        return 0;
    return (double)w->read_busy_ns >= DISK_BUSY * (double)w->ns ? per_second((double)pins, w->ns) : 0;
}

static void keep_fill(const struct calibration_run *s)
{
    double rate = usual(s, fill_rate, 1);

    if (rate > 0) calibration_keep(SPEEDS_FILL, NULL, NULL, rate);
}

/* Where every token comes from memory, tokens go as fast as memory does. */
static void keep_memory(const struct calibration_run *s)
{
    double rate = usual(s, memory_rate, TOKENS_LEAST);

    if (s->summary->sweep_bytes || !(rate > 0)) return;
    calibration_keep(SPEEDS_MEMORY, NULL, s->plan, rate);
    log_debug("the memory gave %.2f GB/s", rate / 1e9);
}

static double flops_rate(const struct calibration_run *s, uint32_t i)
{
    const struct sweep_record *w = &s->sweep[i];

    if (w->positions < CHUNK_LEAST || w->compute_busy_ns < CHUNK_BUSY || s->summary->dense_bytes < WEIGHTS_LEAST)
        return 0;
    return per_second(w->positions * s->summary->flops_per_position, w->compute_busy_ns);
}

/* While compute works and waits for nothing, many positions go as fast as the units that multiply. */
static void keep_flops(const struct calibration_run *s)
{
    double rate = usual(s, flops_rate, 1);

    if (s->summary->expert_bytes || !(rate > 0))
        return; /* few positions for each expert: half memory, half arithmetic */
    calibration_keep(SPEEDS_FLOPS, NULL, s->plan, rate);
    log_debug("prompts went at %.1f GFLOP/s", rate / 1e9);
}

/* What a crowded machine did in a minute is no speed of the machine. */
static bool crowded(const struct calibration_run *s)
{
    double most = (double)s->compute_busy_ns * s->plan->run.threads;

    if (!s->compute_cpu_ns || (double)s->compute_cpu_ns >= CPU_LEAST * most) return false;
    log_debug("other programs had the processor for %.0f %% of the time: nothing is learnt of memory and arithmetic",
              100 - 100 * (double)s->compute_cpu_ns / most);
    return true;
}

/* Where copies are under way nearly all the time, they go as fast as the link. */
static void keep_link(const struct calibration_run *s)
{
    if (s->copy_bytes < LINK_BYTES || (double)s->copy_busy_ns < LINK_BUSY * (double)s->sweeps_ns) return;
    calibration_keep(s->mps ? SPEEDS_LINK_MPS : SPEEDS_LINK, NULL, s->plan,
                     per_second((double)s->copy_bytes, s->copy_busy_ns));
    log_debug("the link gave %.2f GB/s", per_second((double)s->copy_bytes, s->copy_busy_ns) / 1e9);
}

/* Tokens for which nothing crosses the link go as fast as the device's memory; many positions, as its units that multiply. */
static void keep_device(const struct calibration_run *s)
{
    const struct plan_summary *z = s->summary;
    double memory = usual(s, memory_rate, TOKENS_LEAST), flops = usual(s, flops_rate, 1);

    if (memory > 0 && !z->sweep_bytes && !z->host_bytes && !z->expert_bytes)
        calibration_keep(SPEEDS_DEVICE_MEMORY, NULL, s->plan, memory);
    if (flops > 0 && !z->expert_bytes) calibration_keep(SPEEDS_DEVICE_FLOPS, NULL, s->plan, flops);
}

void calibration_learn(const struct calibration_run *s, const char *path)
{
    keep_disk(s, path);
    keep_fill(s);
    if (s->plan->run.backend == BACKEND_CUDA) {
        keep_link(s);
        keep_device(s);
    }
    if (s->plan->run.backend != BACKEND_CPU || crowded(s)) return;
    keep_memory(s);
    keep_flops(s);
}

/* Bytes of weights while compute waits for none. */
static double work_rate(const struct calibration_run *s, uint32_t i)
{
    const struct sweep_record *w = &s->sweep[i];

    if (!i || w->positions != 1 || !w->compute_busy_ns) return 0;
    return per_second(token_bytes(s), w->compute_busy_ns);
}

static double read_rate(const struct calibration_run *s, uint32_t i)
{
    const struct sweep_record *w = &s->sweep[i];

    if (!i || w->positions != 1 || !w->read_busy_ns || !s->summary->sweep_bytes) return 0;
    return per_second((double)w->read_bytes, w->read_busy_ns);
}

void calibration_lanes(const struct calibration_run *s, struct calibration *out)
{
    double disk = usual(s, read_rate, 1), memory = usual(s, work_rate, 1);

    *out = *s->speeds;
    if (disk > 0) out->disk = disk;
    if (memory > 0) out->memory = memory;
}

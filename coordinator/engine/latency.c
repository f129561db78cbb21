#include "coordinator/engine/latency.h"

/* Below LATENCY_STEPS each ns has its own bucket; from there on each doubling has LATENCY_STEPS of them. */
static uint32_t bucket_of(uint64_t ns)
{
    uint32_t high, shift;

    if (ns < LATENCY_STEPS) return (uint32_t)ns;
    high = 63u - (uint32_t)__builtin_clzll(ns);
    shift = high - 5; /* 2^5 steps */
    return (shift + 1) * LATENCY_STEPS + (uint32_t)((ns >> shift) - LATENCY_STEPS);
}

static uint64_t bucket_end(uint32_t b)
{
    uint32_t shift = b / LATENCY_STEPS;

    if (!shift) return b;
    return ((uint64_t)(b % LATENCY_STEPS + LATENCY_STEPS + 1) << (shift - 1)) - 1;
}

void latency_add(struct latency *l, uint64_t ns)
{
    l->bucket[bucket_of(ns)]++;
    l->count++;
    if (ns > l->max_ns) l->max_ns = ns;
}

void latency_merge(struct latency *to, const struct latency *from)
{
    for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) to->bucket[i] += from->bucket[i];
    to->count += from->count;
    if (from->max_ns > to->max_ns) to->max_ns = from->max_ns;
}

uint64_t latency_at(const struct latency *l, double share)
{
    uint64_t want = (uint64_t)((double)l->count * share + 0.5), seen = 0, end;

    if (want < 1) want = 1;
    for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
        seen += l->bucket[i];
        if (seen < want) continue;
        end = bucket_end(i);
        return end < l->max_ns ? end : l->max_ns;
    }
    return l->max_ns;
}

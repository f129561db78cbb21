/* Times of many tiles, kept as counts: percentiles to within 3 percent, in no more memory for a million than for one. */
#pragma once
#include <stdint.h>

#define LATENCY_STEPS   32u /* of each doubling */
#define LATENCY_BUCKETS (64u * LATENCY_STEPS)

struct latency {
    uint64_t count, max_ns;
    uint64_t bucket[LATENCY_BUCKETS];
};

void latency_add(struct latency *l, uint64_t ns);
void latency_merge(struct latency *to, const struct latency *from);
/* The time that this share of all (0 to 1) did not exceed; 0 where there were none. */
uint64_t latency_at(const struct latency *l, double share);

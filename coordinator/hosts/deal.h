/* Which machine computes which layer, and what a token then takes. Arithmetic only: nothing is looked at or
 * started.
 *
 * A layer lies whole on one machine, so that the wire moves bytes and never adds: the bits are those of one
 * machine. Layers are dealt in turn, not in ranges: with ranges all machines but one wait, and what they could
 * read meanwhile is bounded by the same memory that would have kept it anyway; in turn, each reads its next layer
 * while the others compute theirs, and all disks work all the time. Shares are in proportion to what each machine
 * reads in the time of a sweep and keeps:
 *
 *     bytes of machine k = T disk_k + kept_k, with the least T for which these add up to the model
 *
 * The table's rows and the head are the first machine's. Layers that attend over the same cache, use the same
 * recurrent state or the same list of an index stay together. A machine that does not make a token faster gets
 * nothing. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/plan/plan.h"

#define DEAL_NONE UINT32_MAX

/* What a program streams, layer by layer: stored bytes. */
struct deal_work {
    uint32_t layers, hidden;
    uint64_t *dense, *experts,
        *chosen;    /* [layers]: of every sweep; of all experts; of those that one position chooses */
    uint32_t *unit; /* [layers]: the first layer of those that it stays together with */
    uint64_t ends;  /* of every sweep, the first machine's: the head and what stands before it */
};
int deal_work_open(struct deal_work *w, const struct plan_shm *program, struct error *e);
void deal_work_close(struct deal_work *w);

struct deal_node {
    double disk, compute; /* bytes per second */
    double memory;        /* bytes that are free for weights */
    double share;         /* 0: by its speeds; all or none have one */
};

struct deal_share {
    uint32_t layers;      /* 0, and not the first machine: it is left out */
    uint64_t bytes, read; /* of the layers; of them and the head, what a sweep reads from its disk */
};

struct deal {
    uint32_t nodes;
    uint32_t *owner;          /* [layers] */
    struct deal_share *share; /* [nodes] */
    /* seconds of a token: on the first machine alone, in ranges over the same machines and shares, as dealt */
    double one, contiguous, cyclic;
};

/* hop: seconds from one machine to the next. */
int deal_make(struct deal *d, const struct deal_work *w, const struct deal_node *node, uint32_t n, double hop,
              struct error *e);
void deal_close(struct deal *d);

/* Seconds that a position's hidden vector takes over 1 Gbit Ethernet. */
double deal_hop(const struct deal_work *w);

#include "coordinator/hosts/deal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HOP_SECONDS 100e-6  /* of a message of no length, with the waits of both ends */
#define HOP_RATE    0.117e9 /* bytes per second */
#define PAYS        0.995   /* of a token's time without it */
#define HALVINGS    100

double deal_hop(const struct deal_work *w)
{
    return HOP_SECONDS + w->hidden * 4.0 / HOP_RATE;
}

void deal_close(struct deal *d)
{
    free(d->owner);
    free(d->share);
    *d = (struct deal){0};
}

/* ---- what a deal takes ---- */

/* What one machine has of a deal, as sums. */
struct load {
    double dense, experts, chosen; /* bytes */
    double largest;                /* layer */
    double unbridged;              /* bytes of its layers beyond its memory: all wait while they are read */
};

static struct load load_of(const struct deal_work *w, const struct deal_node *x, const uint32_t *owner, uint32_t k)
{
    struct load s = {.dense = k ? 0 : (double)w->ends};

    for (uint32_t l = 0; l < w->layers; l++) {
        if (owner[l] != k) continue;
        s.dense += (double)w->dense[l];
        s.experts += (double)w->experts[l];
        s.chosen += (double)w->chosen[l];
        if ((double)w->dense[l] > s.largest) s.largest = (double)w->dense[l];
        if ((double)w->dense[l] > x->memory) s.unbridged += (double)w->dense[l] - x->memory;
    }
    return s;
}

/* Bytes that stay: in turn, room for the largest layer is what it is read into. */
static double kept(const struct load *s, const struct deal_node *x, bool turns)
{
    double memory = x->memory;

    if (turns && s->dense > memory) memory -= s->largest < memory ? s->largest : memory;
    return s->dense < memory ? s->dense : memory;
}

/* Seconds of reading the experts that a position chooses and that are not kept beside everything else. */
static double expert_seconds(const struct load *s, const struct deal_node *x)
{
    double room = x->memory > s->dense ? x->memory - s->dense : 0;

    return s->experts > room ? s->chosen * (1 - room / s->experts) / x->disk : 0;
}

static uint32_t hops(const struct deal_work *w, const uint32_t *owner)
{
    uint32_t n = 0, at = 0;

    for (uint32_t l = 0; l < w->layers; l++) {
        n += owner[l] != at;
        at = owner[l];
    }
    return n + (at != 0);
}

static double seconds_in_turn(const struct deal_work *w, const struct deal_node *node, uint32_t n,
                              const uint32_t *owner, double hop)
{
    uint32_t crossed = hops(w, owner);
    double slowest = 0, serial = crossed * hop, stalled = 0;
    bool turns = crossed > 0;

    for (uint32_t k = 0; k < n; k++) {
        struct load s = load_of(w, &node[k], owner, k);
        double disk = (s.dense - kept(&s, &node[k], turns)) / node[k].disk;

        if (disk > slowest) slowest = disk;
        serial += (s.dense + s.chosen) / node[k].compute + expert_seconds(&s, &node[k]);
        if (turns) stalled += s.unbridged / node[k].disk;
    }
    return (serial > slowest ? serial : slowest) + stalled;
}

/* One range after the other: only one machine works at a time, and the others have read what their memory holds. */
static double seconds_in_ranges(const struct deal_work *w, const struct deal_node *node, uint32_t n,
                                const uint32_t *owner, double hop)
{
    double sum = 0;
    uint32_t used = 0;

    for (uint32_t k = 0; k < n; k++) {
        struct load s = load_of(w, &node[k], owner, k);
        double disk = (s.dense - kept(&s, &node[k], false)) / node[k].disk;
        double compute = (s.dense + s.chosen) / node[k].compute + expert_seconds(&s, &node[k]);

        used += s.dense > 0;
        sum += disk > compute ? disk : compute;
    }
    return used > 1 ? sum + used * hop : sum;
}

/* ---- the deal ---- */

static double layers_bytes(const struct deal_work *w)
{
    double sum = 0;

    for (uint32_t l = 0; l < w->layers; l++) sum += (double)w->dense[l] + (double)w->experts[l];
    return sum;
}

struct trial {
    const struct deal_work *w;
    const struct deal_node *node;
    uint32_t n;
    double hop;
    bool *used;
    double *part;
    uint32_t *owner;
};

/* What machine k takes of the layers if a sweep has t seconds. */
static double capacity(const struct deal_work *w, const struct deal_node *node, uint32_t k, double t, double largest)
{
    double ring = largest < node[k].memory ? largest : node[k].memory;
    double most = t * node[k].disk + node[k].memory - ring - (k ? 0 : (double)w->ends);

    return most > 0 ? most : 0;
}

static double largest_layer(const struct deal_work *w)
{
    double most = 0;

    for (uint32_t l = 0; l < w->layers; l++)
        if ((double)w->dense[l] > most) most = (double)w->dense[l];
    return most;
}

static double capacities(double *each, const struct trial *t, double seconds)
{
    double largest = largest_layer(t->w), sum = 0;

    for (uint32_t k = 0; k < t->n; k++) {
        each[k] = t->used[k] ? capacity(t->w, t->node, k, seconds, largest) : 0;
        sum += each[k];
    }
    return sum;
}

/* Parts of the layers' bytes, which add up to 1: those of the least time in which all of them are taken. */
static void find_parts(const struct trial *t)
{
    double all = layers_bytes(t->w), low = 0, high = 1e-6, sum = 0;

    while (high < 1e18 && capacities(t->part, t, high) < all) high *= 2;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;

        if (capacities(t->part, t, middle) < all)
            low = middle;
        else
            high = middle;
    }
    capacities(t->part, t, high);
    for (uint32_t k = 0; k < t->n; k++) {
        if (t->used[k] && t->node[k].share > 0) t->part[k] = t->node[k].share;
        sum += t->part[k];
    }
    for (uint32_t k = 0; k < t->n; k++) t->part[k] = sum > 0 ? t->part[k] / sum : k == 0;
}

static double unit_bytes(const struct deal_work *w, uint32_t unit)
{
    double sum = 0;

    for (uint32_t l = unit; l < w->layers; l++)
        if (w->unit[l] == unit) sum += (double)w->dense[l] + (double)w->experts[l];
    return sum;
}

/* In turn: whoever is furthest behind its part takes the next layer. In ranges: one machine after the other. */
static int deal_out(uint32_t *owner, const struct deal_work *w, const double *part, uint32_t n, bool turns)
{
    double *behind = calloc(n, sizeof *behind), all = layers_bytes(w), before = 0, end = part[0];
    uint32_t at = 0;

    if (!behind) return -ENOMEM;
    for (uint32_t l = 0; l < w->layers; l++) {
        double bytes;

        if (w->unit[l] != l) {
            owner[l] = owner[w->unit[l]];
            continue;
        }
        bytes = unit_bytes(w, l);
        if (turns) {
            uint32_t best = 0;

            for (uint32_t k = 0; k < n; k++) {
                behind[k] += part[k] * bytes;
                if (part[k] > 0 && behind[k] > behind[best] + 1e-9 * bytes) best = k;
            }
            behind[best] -= bytes;
            owner[l] = best;
        } else {
            while (at + 1 < n && all > 0 && (before + bytes / 2) / all > end) end += part[++at];
            before += bytes;
            owner[l] = at;
        }
    }
    free(behind);
    return 0;
}

static int try_used(const struct trial *t, double *seconds)
{
    int rc;

    find_parts(t);
    if ((rc = deal_out(t->owner, t->w, t->part, t->n, true))) return rc;
    *seconds = seconds_in_turn(t->w, t->node, t->n, t->owner, t->hop);
    return 0;
}

/* Leaves out, one after the other, whoever makes a token slower or no faster. */
static int leave_out(const struct trial *t, double *seconds)
{
    uint32_t worst;
    int rc = try_used(t, seconds);

    do {
        double best = *seconds, now = 0;

        worst = DEAL_NONE;
        for (uint32_t k = 1; k < t->n && !rc; k++) {
            if (!t->used[k]) continue;
            t->used[k] = false;
            rc = try_used(t, &now);
            t->used[k] = true;
            if (!rc && now * PAYS <= best) best = now * PAYS, worst = k;
        }
        if (!rc && worst != DEAL_NONE) t->used[worst] = false;
        if (!rc) rc = try_used(t, seconds);
    } while (!rc && worst != DEAL_NONE);
    return rc;
}

static void tell_shares(struct deal *d, const struct deal_work *w, const struct deal_node *node)
{
    bool turns = hops(w, d->owner) > 0;

    for (uint32_t k = 0; k < d->nodes; k++) {
        struct load s = load_of(w, &node[k], d->owner, k);

        d->share[k].read = (uint64_t)(s.dense - kept(&s, &node[k], turns));
    }
    for (uint32_t l = 0; l < w->layers; l++) {
        d->share[d->owner[l]].layers++;
        d->share[d->owner[l]].bytes += w->dense[l] + w->experts[l];
    }
}

int deal_make(struct deal *d, const struct deal_work *w, const struct deal_node *node, uint32_t n, double hop,
              struct error *e)
{
    struct trial t = {.w = w,
                      .node = node,
                      .n = n,
                      .hop = hop,
                      .used = calloc(n, sizeof *t.used),
                      .part = calloc(n, sizeof *t.part),
                      .owner = calloc(w->layers + UINT64_C(1), sizeof *t.owner)};
    int rc = 0;

    *d = (struct deal){
        .nodes = n, .owner = calloc(w->layers + UINT64_C(1), sizeof *d->owner), .share = calloc(n, sizeof *d->share)};
    if (!t.used || !t.part || !t.owner || !d->owner || !d->share) rc = -ENOMEM;
    if (!rc) d->one = seconds_in_turn(w, node, 1, d->owner, hop);
    for (uint32_t k = 0; !rc && k < n; k++) t.used[k] = true;
    if (!rc) rc = node[0].share > 0 ? try_used(&t, &d->cyclic) : leave_out(&t, &d->cyclic);
    if (!rc) memcpy(d->owner, t.owner, w->layers * sizeof *d->owner);
    if (!rc) rc = deal_out(t.owner, w, t.part, n, false);
    if (!rc) {
        d->contiguous = seconds_in_ranges(w, node, n, t.owner, hop);
        tell_shares(d, w, node);
    }
    free(t.used);
    free(t.part);
    free(t.owner);
    if (!rc) return 0;
    deal_close(d);
    return error_set(e, ENOMEM, "out of memory");
}

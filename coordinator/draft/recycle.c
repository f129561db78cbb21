#include "coordinator/draft/recycle.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

struct place {
    uint64_t key; /* 0: empty */
    struct recycled kept;
};

struct recycle {
    uint32_t places;
    struct place place[]; /* [RECYCLE_ORDERS][places] */
};

uint64_t recycle_bytes(uint32_t places)
{
    return sizeof(struct recycle) + (uint64_t)RECYCLE_ORDERS * places * sizeof(struct place);
}

int recycle_open(struct recycle **out, uint32_t places, struct error *e)
{
    struct recycle *r = calloc(1, recycle_bytes(places));

    if (!r) return error_set(e, ENOMEM, "no memory to keep logits in %u places", places);
    r->places = places;
    *out = r;
    return 0;
}

void recycle_close(struct recycle *r)
{
    free(r);
}

static uint64_t next_key(uint64_t key, uint32_t token)
{
    key = (key ^ (token + UINT64_C(1))) * UINT64_C(0xD6E8FEB86659FD93);
    return key ^ key >> 32;
}

static uint64_t place_of(const struct recycle *r, uint32_t order, uint64_t key)
{
    return (uint64_t)order * r->places + (key >> 20 & (r->places - 1));
}

/* Blocks whose largest is not among the best are passed over. */
#define BLOCK 64u

static void insert(struct recycled *x, uint32_t token, float logit)
{
    uint32_t i = RECYCLE_TOKENS - 1;

    for (; i && logit > x->logit[i - 1]; i--) {
        x->logit[i] = x->logit[i - 1];
        x->token[i] = x->token[i - 1];
    }
    x->logit[i] = logit;
    x->token[i] = token;
}

static struct recycled best(const float *logits, uint32_t vocab)
{
    struct recycled x;
    float most[16];

    for (uint32_t i = 0; i < RECYCLE_TOKENS; i++) {
        x.logit[i] = -INFINITY;
        x.token[i] = i;
    }
    for (uint32_t at = 0, end; at < vocab; at = end) {
        end = vocab - at < BLOCK ? vocab : at + BLOCK;
        if (end - at == BLOCK) {
            bool any = false;

            for (uint32_t j = 0; j < 16; j++) most[j] = logits[at + j];
            for (uint32_t i = 16; i < BLOCK; i += 16)
                for (uint32_t j = 0; j < 16; j++) most[j] = logits[at + i + j] > most[j] ? logits[at + i + j] : most[j];
            for (uint32_t j = 0; j < 16; j++) any |= most[j] > x.logit[RECYCLE_TOKENS - 1];
            if (!any) continue;
        }
        for (uint32_t i = at; i < end; i++)
            if (logits[i] > x.logit[RECYCLE_TOKENS - 1]) insert(&x, i, logits[i]);
    }
    return x;
}

void recycle_keep(struct recycle *r, const uint32_t *end, uint32_t known, const float *logits, uint32_t vocab)
{
    struct recycled x = best(logits, vocab);
    uint64_t key = 1;

    for (uint32_t i = 0; i < RECYCLE_ORDERS && i < known; i++) {
        key = next_key(key, *(end - 1 - i));
        r->place[place_of(r, i, key)] = (struct place){key, x};
    }
}

const struct recycled *recycle_find(const struct recycle *r, const uint32_t *end, uint32_t known, uint32_t *order)
{
    const struct recycled *found = NULL;
    uint64_t key = 1;

    for (uint32_t i = 0; i < RECYCLE_ORDERS && i < known; i++) {
        const struct place *p;

        key = next_key(key, *(end - 1 - i));
        p = &r->place[place_of(r, i, key)];
        if (p->key != key) continue;
        found = &p->kept;
        *order = i + 1;
    }
    return found;
}

#include "reader/cache.h"

#include <errno.h>
#include <stdlib.h>

#define NONE     UINT32_MAX
#define SAMPLE   16u
#define COUNT    16u   /* of one request; halving keeps fractions */
#define MARGIN   COUNT /* a tile must be asked for more than once more: who goes round all of them changes nothing */
#define AGE_EACH 8u    /* requests for each tile, on average, after which counts are halved */

struct place {
    uint32_t tile;  /* or NONE */
    uint64_t shown; /* 1 + seq of the last entry that showed it */
};

struct cache {
    uint64_t base, place_bytes, requests, age_at;
    uint32_t tiles, places, used;
    uint32_t random;
    uint32_t *place_of; /* [tiles] */
    uint32_t *count;    /* [tiles] */
    struct place *place;
};

int cache_open(struct cache **out, uint32_t tiles, uint64_t place_bytes, uint64_t base, uint64_t bytes, struct error *e)
{
    struct cache *c = calloc(1, sizeof *c);
    uint64_t places = place_bytes ? bytes / place_bytes : 0;

    if (places > tiles) places = tiles;
    if (c) {
        c->place_of = calloc(tiles + 1u, sizeof *c->place_of);
        c->count = calloc(tiles + 1u, sizeof *c->count);
        c->place = calloc(places + 1, sizeof *c->place);
    }
    if (!c || !c->place_of || !c->count || !c->place) {
        cache_close(c);
        return error_set(e, ENOMEM, "no memory for the cache's %llu places", (unsigned long long)places);
    }
    c->base = base;
    c->place_bytes = place_bytes;
    c->tiles = tiles;
    c->places = (uint32_t)places;
    c->random = 1;
    c->age_at = AGE_EACH * ((uint64_t)tiles + 1);
    for (uint32_t i = 0; i < tiles; i++) c->place_of[i] = NONE;
    *out = c;
    return 0;
}

void cache_close(struct cache *c)
{
    if (!c) return;
    free(c->place_of);
    free(c->count);
    free(c->place);
    free(c);
}

uint32_t cache_places(const struct cache *c)
{
    return c->places;
}

void cache_count(struct cache *c, uint32_t tile)
{
    c->count[tile] += COUNT;
    if (++c->requests < c->age_at) return;
    c->requests = 0;
    for (uint32_t i = 0; i < c->tiles; i++) c->count[i] /= 2;
}

static uint32_t next_random(struct cache *c)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 17;
    c->random ^= c->random << 5;
    return c->random;
}

/* The rarest of a sample of the places that no entry shows; NONE: all of them are shown. */
static uint32_t victim(struct cache *c, uint64_t released)
{
    uint32_t n = c->places < SAMPLE ? c->places : SAMPLE, best = NONE;
    uint32_t at = c->places <= SAMPLE ? 0 : next_random(c) % c->places;

    for (uint32_t i = 0; i < n; i++) {
        if (c->place[at].shown <= released &&
            (best == NONE || c->count[c->place[at].tile] < c->count[c->place[best].tile]))
            best = at;
        at = c->places <= SAMPLE ? at + 1 : next_random(c) % c->places;
    }
    return best;
}

static uint64_t offset_of(const struct cache *c, uint32_t place)
{
    return c->base + place * c->place_bytes;
}

enum cache_answer cache_find(struct cache *c, uint32_t tile, uint64_t released, uint64_t *offset)
{
    uint32_t at = c->place_of[tile];

    if (at != NONE) {
        *offset = offset_of(c, at);
        return CACHE_HIT;
    }
    if (c->used < c->places) {
        at = c->used++;
    } else {
        at = c->places ? victim(c, released) : NONE;
        if (at == NONE || c->count[tile] <= c->count[c->place[at].tile] + MARGIN) return CACHE_PASS;
        c->place_of[c->place[at].tile] = NONE;
    }
    c->place[at].tile = tile;
    c->place_of[tile] = at;
    *offset = offset_of(c, at);
    return CACHE_FILL;
}

void cache_show(struct cache *c, uint32_t tile, uint64_t seq)
{
    c->place[c->place_of[tile]].shown = seq + 1;
}

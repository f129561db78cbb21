/* Which tiles on demand stay in the host cache: least frequently used, with ageing.
 *
 * The cache's area is cut into places of one size. A tile that is asked for and not there takes a free place, or the
 * place of a tile that was asked for less often, of a sample; a rarer tile is not let in, so that one pass over all
 * of them does not wash out the hot ones. Counts are halved now and then, so that old fame fades. A place whose tile an
 * unreleased entry still shows is never given away.
 *
 * Only places are kept here, no bytes. Single-threaded. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"

struct cache;

enum cache_answer {
    CACHE_HIT,  /* the tile lies, or is just landing, at *offset */
    CACHE_FILL, /* not there, but *offset is now its place: read it to there */
    CACHE_PASS  /* not there and not let in: read it elsewhere */
};

/* tiles: they are numbered from 0; place_bytes: of the largest; bytes: of the area, which begins at base. An area of
 * less than one place holds nothing. */
int cache_open(struct cache **out, uint32_t tiles, uint64_t place_bytes, uint64_t base, uint64_t bytes,
               struct error *e);
void cache_close(struct cache *c); /* NULL is allowed */

void cache_count(struct cache *c, uint32_t tile); /* it was asked for: once for each request */
/* released: entries of the lane with a seq below it are free. After HIT and FILL, cache_show() says which entry shows it. */
enum cache_answer cache_find(struct cache *c, uint32_t tile, uint64_t released, uint64_t *offset);
void cache_show(struct cache *c, uint32_t tile, uint64_t seq);
uint32_t cache_places(const struct cache *c);

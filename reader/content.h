/* What the reader has read so far, kept as checksums, so that a file can be looked at again: does it still hold that?
 *
 *   content_tile(), content_row()   the reading thread, when all bytes are there and before anybody is told of them. What was
 *                                   noted once stays, however often a tile is read: the first reading counts
 *   content_compare()               another thread, at any time: reads again what was noted so far
 *
 * Tiles that stay in the host cache are not summed, they are compared byte by byte. What this cannot see: bytes that were
 * written, read, and written back to what they were at first before the comparison. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/epoch.h"
#include "proto/plan.h"
#include "reader/files.h"

struct content;

struct content_options {
    const struct plan_shm *plan; /* checked; all of these outlive the content */
    const struct epoch_shm *run; /* a comparison ends when it stops */
    const uint8_t *cache;        /* NULL where the plan has none */
    struct files *files;
};

int content_open(struct content **out, const struct content_options *o, struct error *e);
void content_close(struct content *c); /* NULL is allowed */

/* base: the tile's first byte (slot_off 0), or of the row. */
void content_tile(struct content *c, uint32_t tile, const uint8_t *base);
void content_row(struct content *c, uint32_t row, const uint8_t *base);

/* The header that was planned from, and all that was noted of this file. 0: it holds the same bytes; -ESTALE: others;
 * -ECANCELED: the run stops; -errno: it cannot be read. */
int content_compare(struct content *c, uint32_t file, struct error *e);

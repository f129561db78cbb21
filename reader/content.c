#include "reader/content.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/checksum.h"
#include "proto/unit/unit.h"
#include "reader/table.h"

#define BLOCK (UINT64_C(256) << 10) /* read and compared at once */

enum { NOT_READ, PINNED, FIRST_SUM }; /* a sum is never one of the first two */

struct content {
    struct content_options o;
    uint32_t tiles;
    const struct plan_gather *table, *beside;
    _Atomic uint64_t *tile; /* [tiles] NOT_READ, PINNED or the sum of its payload */
    _Atomic uint64_t *row;  /* [table->rows] NOT_READ or a sum */
    uint8_t *block;         /* [BLOCK], of content_compare() */
    uint8_t *scratch, *out; /* of content_compare() too, where a table is packed: to unpack a row of it */
};

static int open_scratch(struct content *c)
{
    uint64_t scratch = table_scratch_bytes(c->o.plan);
    uint64_t row = c->table->row_bytes > c->beside->row_bytes ? c->table->row_bytes : c->beside->row_bytes;

    if (!scratch) return 0;
    c->scratch = aligned_alloc(UNIT_ALIGN, scratch);
    c->out = malloc(row);
    return c->scratch && c->out ? 0 : -ENOMEM;
}

int content_open(struct content **out, const struct content_options *o, struct error *e)
{
    const struct plan_shm *p = o->plan;
    struct content *c = calloc(1, sizeof *c);

    if (!c) return error_set(e, ENOMEM, "no memory for the reader");
    c->o = *o;
    c->tiles = (uint32_t)p->tiles.count;
    c->table = &p->gather;
    c->beside = &p->beside;
    c->tile = calloc(c->tiles + 1u, sizeof *c->tile);
    c->row = calloc(c->table->rows + 1, sizeof *c->row);
    c->block = aligned_alloc(PLAN_PAGE, BLOCK);
    if (!c->tile || !c->row || !c->block || open_scratch(c)) {
        content_close(c);
        return error_set(e, ENOMEM, "no memory for the checksums of %u tiles", (uint32_t)p->tiles.count);
    }
    *out = c;
    return 0;
}

void content_close(struct content *c)
{
    if (!c) return;
    free((void *)c->tile);
    free((void *)c->row);
    free(c->block);
    free(c->scratch);
    free(c->out);
    free(c);
}

/* ---- noting ---- */

static uint64_t as_noted(uint64_t sum)
{
    return sum < FIRST_SUM ? FIRST_SUM : sum;
}

static uint64_t sum_of(struct checksum *sum)
{
    return as_noted(checksum_end(sum));
}

static uint64_t tile_sum(const struct content *c, const struct plan_tile *t, const uint8_t *base)
{
    const struct plan_part *part = plan_parts(c->o.plan) + t->part0;
    struct checksum sum;

    checksum_begin(&sum);
    for (uint32_t i = 0; i < t->parts; i++) checksum_feed(&sum, base + part[i].slot_off, part[i].bytes);
    return sum_of(&sum);
}

void content_tile(struct content *c, uint32_t tile, const uint8_t *base)
{
    const struct plan_tile *t = &plan_tiles(c->o.plan)[tile];

    if (atomic_load_explicit(&c->tile[tile], memory_order_relaxed) != NOT_READ) return;
    atomic_store_explicit(&c->tile[tile], t->tier == TIER_HOST ? PINNED : tile_sum(c, t, base), memory_order_release);
}

void content_row(struct content *c, uint32_t row, const uint8_t *base)
{
    struct checksum sum;

    if (atomic_load_explicit(&c->row[row], memory_order_relaxed) != NOT_READ) return;
    checksum_begin(&sum);
    checksum_feed(&sum, base, c->table->row_bytes);
    if (c->beside->rows) checksum_feed(&sum, base + plan_row_aligned(c->table->row_bytes), c->beside->row_bytes);
    atomic_store_explicit(&c->row[row], sum_of(&sum), memory_order_release);
}

/* ---- comparing ---- */

/* [offset, offset + bytes) of a file, a block at a time: added to a sum, or compared with memory (then *same is cleared
 * where it differs). */
static int walk(struct content *c, uint32_t file, uint64_t offset, uint64_t bytes, struct checksum *sum,
                const uint8_t *memory, bool *same, struct error *e)
{
    while (bytes) {
        uint64_t skip = offset % PLAN_PAGE, n = BLOCK - skip < bytes ? BLOCK - skip : bytes;
        int rc =
            epoch_state(c->o.run) ? -ECANCELED : files_read(c->o.files, file, c->block, offset - skip, skip + n, e);

        if (rc) return rc;
        if (sum) checksum_feed(sum, c->block + skip, n);
        if (memory && memcmp(memory, c->block + skip, n)) *same = false;
        if (memory) memory += n;
        offset += n;
        bytes -= n;
    }
    return 0;
}

static int compare_range(struct content *c, uint32_t file, uint64_t offset, uint64_t bytes, uint64_t expected,
                         bool *same, struct error *e)
{
    struct checksum sum;
    int rc;

    checksum_begin(&sum);
    rc = walk(c, file, offset, bytes, &sum, NULL, NULL, e);
    *same = sum_of(&sum) == as_noted(expected);
    return rc;
}

static int compare_tile(struct content *c, uint32_t tile, bool *same, struct error *e)
{
    const struct plan_tile *t = &plan_tiles(c->o.plan)[tile];
    const struct plan_part *part = plan_parts(c->o.plan) + t->part0;
    uint64_t noted = atomic_load_explicit(&c->tile[tile], memory_order_acquire);
    struct checksum sum;
    int rc = 0;

    checksum_begin(&sum);
    for (uint32_t i = 0; i < t->parts && !rc; i++) {
        const uint8_t *memory = noted == PINNED ? c->o.cache + t->tier_off + part[i].slot_off : NULL;

        rc = walk(c, part[i].file, part[i].file_off, part[i].bytes, memory ? NULL : &sum, memory, same, e);
    }
    if (noted != PINNED && sum_of(&sum) != noted) *same = false;
    return rc;
}

static bool tile_lies_in(const struct content *c, uint32_t tile, uint32_t file)
{
    const struct plan_tile *t = &plan_tiles(c->o.plan)[tile];
    const struct plan_part *part = plan_parts(c->o.plan) + t->part0;

    for (uint32_t i = 0; i < t->parts; i++)
        if (part[i].file == file) return true;
    return false;
}

/* A row as it is read from the file now, added to a sum. A unit that is none any more is another content, too. */
static int feed_row(struct content *c, const struct plan_gather *t, uint64_t row, struct checksum *sum, bool *same,
                    struct error *e)
{
    struct table_place p = table_row(c->o.plan, t, row);
    uint64_t skip = p.offset % PLAN_PAGE;
    int rc;

    if (!p.rows) return walk(c, t->file, p.offset, p.bytes, sum, NULL, NULL, e);
    static_assert(PLAN_PAGE + PLAN_GATHER_UNIT + UNIT_HEADER + UNIT_ALIGN <= BLOCK, "a block holds a unit");
    rc = epoch_state(c->o.run) ? -ECANCELED
                               : files_read(c->o.files, t->file, c->block, p.offset - skip, skip + p.bytes, e);
    if (rc) return rc;
    if (table_unpack(c->o.plan, t, &p, c->block + skip, c->scratch, c->out, NULL))
        *same = false;
    else
        checksum_feed(sum, c->out, t->row_bytes);
    return 0;
}

/* A row's sum is that of both tables' parts, wherever these lie. */
static int compare_row(struct content *c, uint64_t i, uint64_t noted, bool *same, struct error *e)
{
    const struct plan_gather *b = c->beside;
    struct checksum sum;
    bool whole = true;
    int rc;

    checksum_begin(&sum);
    rc = feed_row(c, c->table, i, &sum, &whole, e);
    if (!rc && b->rows) rc = feed_row(c, b, i < b->rows ? i : 0, &sum, &whole, e);
    *same = sum_of(&sum) == as_noted(noted) && whole;
    return rc;
}

static int compare_rows(struct content *c, uint32_t file, bool *same, struct error *e)
{
    bool here = c->table->file == file || (c->beside->rows && c->beside->file == file);
    int rc = 0;

    for (uint64_t i = 0; here && i < c->table->rows && *same && !rc; i++) {
        uint64_t noted = atomic_load_explicit(&c->row[i], memory_order_acquire);

        if (noted != NOT_READ) rc = compare_row(c, i, noted, same, e);
    }
    return rc;
}

int content_compare(struct content *c, uint32_t file, struct error *e)
{
    const struct plan_file *p;
    bool same = true;
    int rc = 0;

    if (file >= c->o.plan->files.count) return error_set(e, EPROTO, "there is no file %u in the plan", file);
    p = &plan_files(c->o.plan)[file];
    if (p->header_bytes) rc = compare_range(c, file, 0, p->header_bytes, p->header_sum, &same, e);
    for (uint32_t i = 0; i < c->tiles && same && !rc; i++) {
        if (atomic_load_explicit(&c->tile[i], memory_order_acquire) == NOT_READ || !tile_lies_in(c, i, file)) continue;
        rc = compare_tile(c, i, &same, e);
    }
    if (!rc) rc = compare_rows(c, file, &same, e);
    return rc || same ? rc : files_written_to(c->o.files, file, e);
}

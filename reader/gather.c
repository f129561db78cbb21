#include "reader/gather.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rows.h"

struct gather_held {
    uint64_t file_off, bytes, cache_off;
    uint64_t tile; /* that brings it */
};

static uint64_t table_bytes(const struct plan_gather *t)
{
    return t->rows * t->row_bytes;
}

/* Is this part of a tile a piece of the table that stays in the cache? */
static bool holds(const struct plan_gather *t, const struct plan_tile *tile, const struct plan_part *x)
{
    return tile->tier == TIER_HOST && x->file == t->file && x->file_off < t->file_off + table_bytes(t) &&
           x->file_off + x->bytes > t->file_off;
}

static int by_place(const void *a, const void *b)
{
    uint64_t x = ((const struct gather_held *)a)->file_off, y = ((const struct gather_held *)b)->file_off;

    return (x > y) - (x < y);
}

/* out NULL: counts only. */
static uint32_t list_held(const struct gather *g, const struct plan_shm *p, struct gather_held *out)
{
    uint32_t n = 0;

    for (uint64_t i = 0; i < p->spec.sweep_tiles; i++) {
        const struct plan_tile *tile = &plan_tiles(p)[i];

        for (uint32_t k = 0; k < tile->parts; k++) {
            const struct plan_part *x = &plan_parts(p)[tile->part0 + k];

            if (!holds(g->table, tile, x)) continue;
            if (out) out[n] = (struct gather_held){x->file_off, x->bytes, tile->tier_off + x->slot_off, i};
            n++;
        }
    }
    return n;
}

int gather_open(struct gather *g, const struct gather_options *o, struct error *e)
{
    const struct plan_shm *p = o->plan;
    uint32_t n;
    int rc;

    *g = (struct gather){.run = o->run,
                         .table = &p->gather,
                         .beside = &p->beside,
                         .stride = plan_row_stride(p),
                         .fetch = o->fetch,
                         .arena = o->arena,
                         .cache = o->cache};
    if ((rc = lane_open(&g->lane, o->run, &p->run, LANE_ROWS, e))) return rc;
    if (!g->table->rows) return 0;
    g->rows_each = (uint32_t)(plan_slot_bytes(&p->run, LANE_ROWS) / g->stride);
    if (!g->rows_each) return error_set(e, EPROTO, "plan: a slot is shorter than a row of the table");
    n = o->cache ? list_held(g, p, NULL) : 0;
    if (!n) return 0;
    if (!(g->held = calloc(n, sizeof *g->held))) return error_set(e, ENOMEM, "no memory for %u pieces of a table", n);
    g->held_count = list_held(g, p, g->held);
    qsort(g->held, n, sizeof *g->held, by_place);
    return 0;
}

void gather_close(struct gather *g)
{
    lane_close(&g->lane);
    free(g->held);
    g->held = NULL;
}

/* The row's bytes in the cache; NULL: they are not there, or not yet. */
static const uint8_t *find_held(const struct gather *g, uint64_t offset, uint64_t tiles)
{
    uint32_t low = 0, high = g->held_count;
    const struct gather_held *h;

    while (low < high) { /* the last one that does not begin behind the row */
        uint32_t mid = low + (high - low) / 2;

        if (g->held[mid].file_off <= offset)
            low = mid + 1;
        else
            high = mid;
    }
    if (!low) return NULL;
    h = &g->held[low - 1];
    if (h->tile >= tiles || offset + g->table->row_bytes > h->file_off + h->bytes) return NULL;
    return g->cache + h->cache_off + (offset - h->file_off);
}

static void close_entry(struct gather *g)
{
    lane_job(&g->lane, g->open->seq)->open = false;
    g->open = NULL;
}

/* The row's part of the first table, to its place; results as begin_row(). */
static int begin_first(struct gather *g, struct ring_entry *x, uint8_t *dest, uint64_t tiles, struct error *e)
{
    const struct plan_gather *t = g->table;
    uint64_t offset = t->file_off + g->row * t->row_bytes;
    const uint8_t *held = find_held(g, offset, tiles);

    if (!held) return fetch_row(g->fetch, lane_job(&g->lane, x->seq), t->file, offset, (uint32_t)t->row_bytes, dest, e);
    memcpy(dest, held, t->row_bytes);
    return 1;
}

static int begin_beside(struct gather *g, struct ring_entry *x, uint8_t *dest, struct error *e)
{
    const struct plan_gather *t = g->beside;
    uint64_t row = g->row < t->rows ? g->row : 0;

    if (!t->rows) return 1;
    return fetch_row(g->fetch, lane_job(&g->lane, x->seq), t->file, t->file_off + row * t->row_bytes,
                     (uint32_t)t->row_bytes, dest + plan_row_aligned(g->table->row_bytes), e);
}

/* 1: begun, 0: there is no room for it now, -errno. */
static int begin_row(struct gather *g, uint64_t tiles, struct error *e)
{
    struct ring_entry *x = g->open;
    uint8_t *dest;
    int rc;

    if (!x) {
        if (!lane_room(&g->lane) || !lane_slot_free(&g->lane)) return 0;
        g->open = x = lane_reserve(&g->lane, g->number, RING_GATHER, 0);
        lane_use_slot(&g->lane, x);
        fetch_rows(lane_job(&g->lane, x->seq));
    }
    dest = g->arena + x->offset + x->rows * g->stride;
    if (!g->half && (rc = begin_first(g, x, dest, tiles, e)) != 1) return rc;
    g->half = true;
    if ((rc = begin_beside(g, x, dest, e)) != 1) return rc;
    g->half = false;
    x->rows++;
    x->bytes += g->stride;
    g->number++;
    if (g->last || x->rows == g->rows_each) close_entry(g);
    return 1;
}

int gather_fill(struct gather *g, uint64_t tiles, struct error *e)
{
    int rc;

    for (;;) {
        if (!g->pending && !rows_next(g->run, &g->row, &g->last)) return 0;
        g->pending = true;
        if (g->row >= g->table->rows)
            return error_set(e, EPROTO, "the coordinator asked for row %u of a table of %llu", g->row,
                             (unsigned long long)g->table->rows);
        if ((rc = begin_row(g, tiles, e)) != 1) return rc;
        g->pending = false;
    }
}

#include "reader/gather.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rows.h"
#include "proto/unit/unit.h"
#include "reader/table.h"

#define UNITS_MOST 8u /* read at a time */

struct gather_held {
    uint64_t file_off, bytes, cache_off;
    uint64_t tile; /* that brings it */
};

struct gather_unit {
    const struct plan_gather *table; /* NULL: free */
    struct table_place place;
    uint8_t *stored, *dest;
};

/* Is this part of a tile a piece of the table that stays in the cache? */
static bool holds(const struct gather *g, const struct plan_tile *tile, const struct plan_part *x)
{
    const struct plan_gather *t = g->table;

    return tile->tier == TIER_HOST && x->file == t->file && x->file_off < table_end(g->plan, t) &&
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

            if (!holds(g, tile, x)) continue;
            if (out) out[n] = (struct gather_held){x->file_off, x->bytes, tile->tier_off + x->slot_off, i};
            n++;
        }
    }
    return n;
}

/* Memory for units that are read: as many as reads can be in flight, but a few are enough. */
static int open_units(struct gather *g, struct error *e)
{
    uint64_t each = table_unit_bytes(g->plan), scratch = table_scratch_bytes(g->plan);
    uint32_t n = fetch_depth(&g->plan->run);

    if (!each) return 0;
    if (n > UNITS_MOST) n = UNITS_MOST;
    g->unit = calloc(n, sizeof *g->unit);
    g->units_memory = aligned_alloc(UNIT_ALIGN, n * each + scratch); /* both are multiples of it */
    if (!g->unit || !g->units_memory) return error_set(e, ENOMEM, "no memory for %u units of the embedding", n);
    for (uint32_t i = 0; i < n; i++) g->unit[i].stored = g->units_memory + i * each;
    g->scratch = g->units_memory + n * each;
    g->units = n;
    return 0;
}

int gather_open(struct gather *g, const struct gather_options *o, struct error *e)
{
    const struct plan_shm *p = o->plan;
    uint32_t n;
    int rc;

    *g = (struct gather){.plan = p,
                         .run = o->run,
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
    if ((rc = open_units(g, e))) return rc;
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
    free(g->unit);
    free(g->units_memory);
    g->held = NULL;
    g->unit = NULL;
    g->units_memory = NULL;
}

/* These bytes of the file in the cache; NULL: they are not there, or not yet. */
static const uint8_t *find_held(const struct gather *g, uint64_t offset, uint64_t bytes, uint64_t tiles)
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
    if (h->tile >= tiles || offset + bytes > h->file_off + h->bytes) return NULL;
    return g->cache + h->cache_off + (offset - h->file_off);
}

static void close_entry(struct gather *g)
{
    lane_job(&g->lane, g->open->seq)->open = false;
    g->open = NULL;
}

/* All bytes of a unit are there: the row goes to its place. */
static int unit_came(void *arg, uint32_t number, struct error *e)
{
    struct gather *g = arg;
    struct gather_unit *u = &g->unit[number];
    const struct plan_gather *t = u->table;

    u->table = NULL;
    return table_unpack(g->plan, t, &u->place, u->stored, g->scratch, u->dest, e);
}

/* A row of one of the tables is read to its place; results as begin_row(). */
static int read_row(struct gather *g, struct ring_entry *x, const struct plan_gather *t, const struct table_place *p,
                    uint8_t *dest, struct error *e)
{
    struct fetch_then then = {0};
    uint32_t i = 0;
    int rc;

    if (!p->rows) return fetch_row(g->fetch, lane_job(&g->lane, x->seq), t->file, p->offset, p->bytes, dest, then, e);
    while (i < g->units && g->unit[i].table) i++;
    if (i == g->units) return 0; /* reads that are under way end, and give theirs back */
    then = (struct fetch_then){unit_came, g, i};
    rc = fetch_row(g->fetch, lane_job(&g->lane, x->seq), t->file, p->offset, p->bytes, g->unit[i].stored, then, e);
    if (rc != 1) return rc;
    g->unit[i].table = t;
    g->unit[i].place = *p;
    g->unit[i].dest = dest;
    return 1;
}

/* The row's part of the first table, to its place; results as begin_row(). */
static int begin_first(struct gather *g, struct ring_entry *x, uint8_t *dest, uint64_t tiles, struct error *e)
{
    const struct plan_gather *t = g->table;
    struct table_place p = table_row(g->plan, t, g->row);
    const uint8_t *held = find_held(g, p.offset, p.bytes, tiles);
    int rc;

    if (!held) return read_row(g, x, t, &p, dest, e);
    if (p.rows) {
        rc = table_unpack(g->plan, t, &p, held, g->scratch, dest, e);
        return rc ? rc : 1;
    }
    memcpy(dest, held, t->row_bytes);
    return 1;
}

static int begin_beside(struct gather *g, struct ring_entry *x, uint8_t *dest, struct error *e)
{
    const struct plan_gather *t = g->beside;
    struct table_place p;

    if (!t->rows) return 1;
    p = table_row(g->plan, t, g->row < t->rows ? g->row : 0);
    return read_row(g, x, t, &p, dest + plan_row_aligned(g->table->row_bytes), e);
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

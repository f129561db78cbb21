#include "coordinator/profile/stub_source.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/profile/stub_units.h"
#include "proto/ring.h"
#include "proto/rows.h"
#include "proto/epoch.h"

/* Places of slot_bytes each: those of the sweep's tiles, of experts' tiles, and a few for everything else. */
#define OTHER_PLACES 4u
#define PLACES_LEAST 2u
_Static_assert(OTHER_PLACES + PLACES_LEAST == STUB_SOURCE_SLOTS, "what a plan has room for");
#define CACHE_MOST (UINT64_C(512) << 20) /* more than caches hold, and filled in a moment */

struct stub_source {
    struct epoch_shm *run;
    const struct plan_shm *plan;
    struct ring ring[LANES];
    uint32_t segment;
    /* Packed tiles for who computes: every place holds the headers of one tile's units, or none (PLAN_NONE). */
    uint8_t *bytes;
    uint32_t *held; /* [sweep, then other]; NULL: nothing is packed, or nobody unpacks it */
    bool recycles;  /* a place is a slot that transfer still reads: it is not used again before its entry is released */
    uint64_t base[4], places[4]; /* of the segment: sweep, experts, other, rows */
    uint64_t sweep, tile;
    uint64_t freed[LANES]; /* entries that came back and were looked at */
    struct latency latency[LANES];
    /* requests */
    uint32_t resident;
    bool pending;
    _Atomic bool stuck;
    uint32_t asked; /* tile */
    uint64_t turn;
    /* rows of the embedding */
    uint32_t rows, rows_each; /* that were listed and not yet sent; most of an entry */
    uint64_t number;          /* of the first of them */
    bool rows_end;            /* they end a batch */
};

enum { SWEEP, EXPERTS, OTHER, ROWS };

/* ---- what lies in the places ---- */

static uint8_t filler(uint32_t form)
{
    const struct form_info *f = form_info(form);

    return f ? f->filler : 0; /* plan_check() knows the form */
}

static void fill_tile(uint8_t *place, const struct plan_shm *p, const struct plan_tile *t)
{
    for (uint32_t i = 0; i < t->parts; i++) {
        const struct plan_part *x = &plan_parts(p)[t->part0 + i];

        memset(place + x->slot_off, filler(x->form), x->bytes);
    }
}

static void fill(const struct stub_source *s, uint8_t *segment)
{
    const struct plan_shm *p = s->plan;
    const struct plan_tile *t = plan_tiles(p);
    uint64_t slot = p->run.slot_bytes;
    int usual = s->held ? 0 : filler(plan_matrices(p)[p->spec.embed_matrix].form);

    memset(segment + s->base[OTHER], usual, s->places[OTHER] * slot);
    memset(segment + s->base[ROWS], usual, s->places[ROWS] * p->run.row_slot_bytes);
    memset(segment + s->base[SWEEP], usual, s->places[SWEEP] * slot);
    if (s->held) return;
    for (uint64_t i = 0; i < s->places[SWEEP] && i < p->spec.sweep_tiles; i++)
        fill_tile(segment + s->base[SWEEP] + i * slot, p, t + i);
    for (uint64_t i = 0; i < s->places[EXPERTS]; i++)
        fill_tile(segment + s->base[EXPERTS] + i * slot, p,
                  t + plan_expert_tiles(p)->tile0 + i % plan_expert_tiles(p)->each);
}

/* ---- places ---- */

/* A place for an expert's tile holds what such a tile has at that place of its expert. */
static uint64_t expert_place(struct stub_source *s, uint32_t tile)
{
    const struct plan_expert_tiles *x = plan_expert_tiles(s->plan);
    uint64_t i = 0, groups;

    while (i + 1 < s->plan->expert_tiles.count && tile >= x[i + 1].tile0) i++;
    groups = s->places[EXPERTS] / x->each;
    return groups ? (s->turn++ % groups) * x->each + (tile - x[i].tile0) % x[i].each % x->each : 0;
}

static void lay_out(struct stub_source *s, int device)
{
    const struct plan_run *r = &s->plan->run;
    uint64_t slots = device ? r->host_cache_bytes / r->slot_bytes : r->reader_slots[LANE_SWEEP];

    s->recycles = !device || s->held;
    s->segment = device ? SEGMENT_CACHE : SEGMENT_ARENA;
    if (device) {
        s->places[OTHER] = OTHER_PLACES;
        slots -= OTHER_PLACES;
        s->places[EXPERTS] = s->plan->spec.demand_tiles && !s->held ? slots / 2 : 0;
        if (s->places[EXPERTS]) s->places[EXPERTS] -= s->places[EXPERTS] % plan_expert_tiles(s->plan)->each;
        s->places[SWEEP] = slots - s->places[EXPERTS];
    } else {
        s->places[SWEEP] = slots;
        s->places[OTHER] = r->reader_slots[LANE_REQUEST]; /* experts too: one slot after the other */
    }
    s->base[EXPERTS] = s->places[SWEEP] * r->slot_bytes;
    s->base[OTHER] = s->base[EXPERTS] + s->places[EXPERTS] * r->slot_bytes;
    s->base[ROWS] = device ? s->base[OTHER] : plan_slots_before(r, r->reader_slots, LANE_ROWS);
    s->places[ROWS] = device ? OTHER_PLACES : r->reader_slots[LANE_ROWS];
    if (!s->held) return;
    s->places[OTHER]--; /* rows are numbers, which headers are not: they have the last place for themselves */
    s->base[ROWS] += s->places[OTHER] * r->slot_bytes;
    s->places[ROWS] = 1;
}

void stub_source_plan(struct plan_shm *plan)
{
    uint64_t slot = plan->run.slot_bytes, each = plan->spec.demand_tiles ? plan_expert_tiles(plan)->each : 0;
    uint64_t places = plan->run.host_cache_bytes / slot;
    uint64_t most = plan->spec.sweep_tiles + plan->spec.demand_tiles + OTHER_PLACES + 2 * (each + PLACES_LEAST);

    if (places > CACHE_MOST / slot) places = CACHE_MOST / slot;
    if (places > most) places = most;
    if (places < STUB_SOURCE_SLOTS) places = STUB_SOURCE_SLOTS;
    plan->run.host_cache_bytes = places * slot;
}

int stub_source_open(struct stub_source **out, struct engine *engine, const struct plan_shm *plan, int device,
                     struct error *e)
{
    struct stub_source *s = calloc(1, sizeof *s);

    *out = s;
    if (!s) return error_set(e, ENOMEM, "out of memory");
    s->run = engine_epoch(engine);
    s->plan = plan;
    for (int i = 0; i < LANES; i++)
        ring_attach(&s->ring[i], s->run, device, (enum lane_id)i, device ? STAGE_COMPUTE : STAGE_TRANSFER);
    s->rows_each = (uint32_t)(plan->run.row_slot_bytes / plan_row_stride(plan));
    if (device && stub_units_any(plan)) { /* as many as there can be */
        uint64_t most = plan->run.host_cache_bytes / plan->run.slot_bytes + OTHER_PLACES;

        s->bytes = engine_cache(engine);
        s->held = calloc(most, sizeof *s->held);
        if (!s->held) return error_set(e, ENOMEM, "out of memory");
        memset(s->held, 0xff, most * sizeof *s->held);
    }
    lay_out(s, device);
    fill(s, device ? engine_cache(engine) : engine_arena(engine));
    return 0;
}

void stub_source_close(struct stub_source *s)
{
    if (s) free(s->held);
    free(s);
}

/* ---- sending ---- */

static bool room(const struct stub_source *s, enum lane_id lane, uint64_t places)
{
    const struct ring *r = &s->ring[lane];
    uint64_t out = ring_published(r) - ring_released(r);

    return out <= r->mask && (!s->recycles || out < places);
}

/* Looks at the entries that came back, before they are written over. */
static void look_at_freed(struct stub_source *s, enum lane_id lane)
{
    uint64_t released = ring_released(&s->ring[lane]);

    for (; s->freed[lane] < released; s->freed[lane]++) {
        const struct ring_entry *x = ring_at(&s->ring[lane], s->freed[lane]);

        latency_add(&s->latency[lane], x->free_ns - x->take_ns);
    }
}

void stub_source_latency(struct stub_source *s, struct latency *to)
{
    for (int i = 0; i < LANES; i++) {
        latency_merge(to, &s->latency[i]);
        memset(&s->latency[i], 0, sizeof s->latency[i]);
    }
}

static void send(struct stub_source *s, enum lane_id lane, uint64_t place, uint32_t tile, uint32_t rows, uint64_t bytes)
{
    struct ring_entry *x;

    look_at_freed(s, lane);
    x = ring_reserve(&s->ring[lane]);
    x->sweep = lane == LANE_SWEEP ? s->sweep : lane == LANE_ROWS ? s->number : 0;
    x->tile = tile;
    x->rows = rows;
    x->bytes = bytes;
    x->segment = s->segment;
    x->offset = place;
    ring_publish(&s->ring[lane]);
}

/* The place is free: what it held is forgotten, and it becomes this tile's. i: its number among all. */
static void hold(struct stub_source *s, uint64_t i, uint64_t place, uint32_t tile)
{
    if (!s->held || s->held[i] == tile) return;
    if (s->held[i] != PLAN_NONE) stub_units_put(s->plan, s->bytes + place, s->held[i], true);
    stub_units_put(s->plan, s->bytes + place, tile, false);
    s->held[i] = tile;
}

bool stub_source_sweep(struct stub_source *s)
{
    const struct plan_shm *p = s->plan;
    bool did = false;

    while (p->spec.sweep_tiles && room(s, LANE_SWEEP, s->places[SWEEP])) {
        uint64_t i = ring_published(&s->ring[LANE_SWEEP]) % s->places[SWEEP],
                 place = s->base[SWEEP] + i * p->run.slot_bytes;

        hold(s, i, place, (uint32_t)s->tile);
        send(s, LANE_SWEEP, place, (uint32_t)s->tile, 0, plan_tiles(p)[s->tile].bytes);
        if (++s->tile == p->spec.sweep_tiles) {
            s->tile = 0;
            s->sweep++;
        }
        did = true;
    }
    return did;
}

static uint64_t other_place(struct stub_source *s, uint32_t tile)
{
    uint64_t i = ring_published(&s->ring[LANE_REQUEST]) % s->places[OTHER],
             place = s->base[OTHER] + i * s->plan->run.slot_bytes;

    hold(s, s->places[SWEEP] + i, place, tile);
    return place;
}

static void answer(struct stub_source *s)
{
    uint64_t place = s->places[EXPERTS] ? s->base[EXPERTS] + expert_place(s, s->asked) * s->plan->run.slot_bytes
                                        : other_place(s, s->asked);

    send(s, LANE_REQUEST, place, s->asked, 0, plan_tiles(s->plan)[s->asked].bytes);
}

/* Every row is like the others. True when something was sent; *stuck where there was no room. */
static bool send_rows(struct stub_source *s, bool *stuck)
{
    const struct plan_shm *p = s->plan;
    bool did = false;
    uint32_t row;

    for (;;) {
        while (!s->rows_end && s->rows < s->rows_each && rows_next(s->run, &row, &s->rows_end)) s->rows++;
        if (!s->rows_end && s->rows < s->rows_each) return did;
        if (!room(s, LANE_ROWS, s->places[ROWS])) {
            *stuck = true;
            return did;
        }
        send(s, LANE_ROWS,
             s->base[ROWS] + ring_published(&s->ring[LANE_ROWS]) % s->places[ROWS] * p->run.row_slot_bytes, RING_GATHER,
             s->rows, s->rows * plan_row_stride(p));
        s->number += s->rows;
        s->rows = 0;
        s->rows_end = false;
        did = true;
    }
}

bool stub_source_requests(struct stub_source *s)
{
    const struct plan_shm *p = s->plan;
    bool stuck = false, did = send_rows(s, &stuck);

    for (;;) {
        bool free_place = room(s, LANE_REQUEST, s->places[OTHER]);

        if (s->resident < p->spec.resident_tiles && free_place) {
            uint32_t tile = (uint32_t)(p->spec.sweep_tiles + s->resident++);

            send(s, LANE_REQUEST, other_place(s, tile), tile, 0, plan_tiles(p)[tile].bytes);
        } else if (s->resident == p->spec.resident_tiles && (s->pending || request_pop(s->run, &s->asked))) {
            s->pending = !free_place;
            if (!free_place) break;
            /* compute is another process, but one that this program started and checked: still no index is believed */
            if (s->asked >= p->tiles.count) continue;
            answer(s);
        } else {
            break;
        }
        did = true;
    }
    stuck |= s->pending || s->resident < p->spec.resident_tiles;
    atomic_store_explicit(&s->stuck, stuck, memory_order_relaxed);
    return did;
}

bool stub_source_stuck(const struct stub_source *s)
{
    return atomic_load_explicit(&s->stuck, memory_order_relaxed);
}

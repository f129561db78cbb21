#include "reader/stream.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/shm.h"
#include "reader/cache.h"
#include "reader/content.h"
#include "reader/fetch.h"
#include "reader/files.h"
#include "reader/lane.h"
#include "reader/tune.h"

#define NAP_NS    100000000u
#define FINISH_NS 300000000u /* less than the coordinator gives a stage to end in */

struct stream {
    struct stream_options o;
    const struct plan_tile *tiles;
    struct epoch_stats *stats;
    struct files *files;
    struct fetch *fetch;
    struct cache *cache;
    struct content *content;
    struct probe probe; /* open where block and depth are to be found */
    struct lane sweep, request;

    /* lane 0: what comes next */
    uint64_t sweep_number, tile;
    uint64_t large[LANES]; /* of the cache, pins and experts: as far as large pages were asked for */
    bool any_moves; /* a tile that is sent in every sweep */

    /* lane 1 */
    uint32_t resident; /* tiles sent so far */
    bool pending;      /* asked, taken from the queue, and not yet begun */
    struct epoch_request asked;
    struct ring_entry *gather; /* the entry that rows are added to; NULL: none */
    uint32_t rows_each;        /* rows that a slot holds */
    uint32_t *row_of;          /* [slots of lane 1][rows_each] which rows they hold */
    const struct plan_matrix *embedding;
    char text[128];
};

/* ---- opening ---- */

struct io_options stream_engine_options(const struct plan_shm *p, uint8_t *arena)
{
    const struct plan_run *r = &p->run;

    return (struct io_options){.depth = fetch_depth(r),
                               .files = files_number((uint32_t)p->files.count, 0),
                               .arena = arena,
                               .arena_bytes = ((uint64_t)r->reader_slots[0] + r->reader_slots[1]) * r->slot_bytes,
                               .slot_bytes = r->slot_bytes};
}

static uint32_t first_expert(const struct plan_shm *p)
{
    return (uint32_t)(p->spec.sweep_tiles + p->spec.resident_tiles);
}

static int open_cache(struct stream *s, struct error *e)
{
    const struct plan_shm *p = s->o.plan;
    const struct plan_tile *t = s->tiles + first_expert(p);
    uint32_t n = p->spec.expert_tiles;
    uint64_t bytes = s->o.cache ? p->run.expert_cache_bytes : 0, largest = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (t[i].span > largest) largest = t[i].span;
    }
    return cache_open(&s->cache, n, largest, p->run.host_cache_bytes - bytes, bytes, e);
}

static bool moves(const struct plan_shm *p)
{
    for (uint64_t i = 0; i < p->spec.sweep_tiles; i++) {
        if (!(plan_tiles(p)[i].flags & TILE_STAYS)) return true;
    }
    return false;
}

static void note_content(void *arg, enum lane_id lane, const struct ring_entry *x);

static int open_content(struct stream *s, struct error *e)
{
    struct content_options o = {.plan = s->o.plan, .run = s->o.run, .cache = s->o.cache, .files = s->files};
    uint64_t rows = (uint64_t)s->o.plan->run.reader_slots[LANE_REQUEST] * s->rows_each;

    s->row_of = calloc(rows + 1, sizeof *s->row_of);
    if (!s->row_of) return error_set(e, ENOMEM, "no memory for %llu rows of the embedding", (unsigned long long)rows);
    s->sweep.filled = s->request.filled = note_content;
    s->sweep.filled_arg = s->request.filled_arg = s;
    return content_open(&s->content, &o, e);
}

static int open_parts(struct stream *s, struct error *e)
{
    const struct plan_shm *p = s->o.plan;
    struct fetch_options f = {.plan = p, .stats = s->stats, .engine = s->o.engine, .hang_ns = s->o.hang_ns};
    int rc;

    if ((rc = lane_open(&s->sweep, s->o.run, &p->run, LANE_SWEEP, 0, e))) return rc;
    if ((rc = lane_open(&s->request, s->o.run, &p->run, LANE_REQUEST, p->run.reader_slots[0], e))) return rc;
    s->sweep.told = s->request.told = s->o.freed;
    s->sweep.told_arg = s->request.told_arg = s->o.freed_arg;
    if ((rc = open_cache(s, e))) return rc;
    if ((rc = files_open(&s->files, p, s->o.engine, e))) return rc;
    if ((rc = open_content(s, e))) return rc;
    f.files = s->files;
    rc = fetch_open(&s->fetch, &f, e);
    if (!rc && p->run.io_find == IO_FIND_FIRST && files_worth_tuning(s->files)) rc = probe_open(&s->probe, p, e);
    return rc;
}

int stream_open(struct stream **out, const struct stream_options *o, struct error *e)
{
    struct stream *s = calloc(1, sizeof *s);
    const struct plan_shm *p = o->plan;
    int rc;

    if (!s) return error_set(e, ENOMEM, "no memory for the reader");
    s->o = *o;
    s->tiles = plan_tiles(p);
    s->stats = &o->run->stats[STAGE_READER];
    s->any_moves = moves(p);
    if (p->spec.embed_matrix != PLAN_NONE) {
        s->embedding = &plan_matrices(p)[p->spec.embed_matrix];
        s->rows_each = (uint32_t)(p->run.slot_bytes / s->embedding->row_bytes);
        if (!s->rows_each) {
            free(s);
            return error_set(e, EPROTO, "plan: a slot is shorter than a row of the embedding");
        }
    }
    rc = open_parts(s, e);
    if (rc)
        stream_close(s);
    else
        *out = s;
    return rc;
}

void stream_close(struct stream *s)
{
    if (!s) return;
    probe_close(&s->probe);
    fetch_close(s->fetch);
    content_close(s->content);
    free(s->row_of);
    files_close(s->files);
    cache_close(s->cache);
    lane_close(&s->sweep);
    lane_close(&s->request);
    free(s);
}

const char *stream_describe(struct stream *s)
{
    uint64_t block = s->o.plan->run.io_block_bytes ? s->o.plan->run.io_block_bytes : FETCH_BLOCK_AUTO;

    atomic_store_explicit(&s->o.run->stats[STAGE_READER].io_ways, files_ways(s->files), memory_order_relaxed);
    snprintf(s->text, sizeof s->text, "%s, %u reads of %llu KiB, %s", io_engine_describe(s->o.engine),
             fetch_depth(&s->o.plan->run), (unsigned long long)block >> 10, files_describe(s->files));
    return s->text;
}

/* ---- lane 0 ---- */

static void begin_job(struct stream *s, struct lane *l, const struct ring_entry *x, const struct plan_tile *t,
                      uint8_t *dest)
{
    fetch_tile(lane_job(l, x->seq), dest, plan_parts(s->o.plan) + t->part0, dest ? t->parts : 0);
}

static void begin_in_cache(struct stream *s, struct lane *l, struct ring_entry *x, const struct plan_tile *t,
                           uint64_t offset, bool read)
{
    if (read && offset + t->span > s->large[l->id]) { /* only places that were never written: once */
        uint64_t from = offset > s->large[l->id] ? offset : s->large[l->id];

        shm_large_pages(s->o.cache, s->o.plan->run.host_cache_bytes, from, offset + t->span - from);
        s->large[l->id] = offset + t->span;
    }
    x->segment = SEGMENT_CACHE;
    x->offset = offset;
    begin_job(s, l, x, t, read ? s->o.cache + offset : NULL);
}

static void begin_in_slot(struct stream *s, struct lane *l, struct ring_entry *x, const struct plan_tile *t)
{
    uint64_t offset = lane_use_slot(l, x);

    begin_job(s, l, x, t, s->o.arena + offset);
}

/* Moves on to the tile after this one; at the end of a sweep to the next one's first. */
static void step(struct stream *s)
{
    if (++s->tile < s->o.plan->spec.sweep_tiles) return;
    s->tile = 0;
    s->sweep_number++;
}

static void fill_sweep(struct stream *s)
{
    struct lane *l = &s->sweep;

    if (!s->o.plan->spec.sweep_tiles) return;
    while ((!s->sweep_number || s->any_moves)) {
        const struct plan_tile *t = &s->tiles[s->tile];
        bool in_cache = t->tier == TIER_HOST;

        if (s->sweep_number && (t->flags & TILE_STAYS)) {
            step(s);
            continue;
        }
        if (!lane_room(l) || (!in_cache && !lane_slot_free(l))) return;
        struct ring_entry *x = lane_reserve(l, s->sweep_number, (uint32_t)s->tile, t->bytes);
        if (in_cache)
            begin_in_cache(s, l, x, t, t->tier_off, !s->sweep_number);
        else
            begin_in_slot(s, l, x, t);
        step(s);
    }
}

/* ---- lane 1 ---- */

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Each returns 1 when it is begun, 0 when there is no room for it now, -errno. */
static int begin_resident(struct stream *s)
{
    uint32_t tile = (uint32_t)s->o.plan->spec.sweep_tiles + s->resident;
    const struct plan_tile *t = &s->tiles[tile];

    if (!lane_room(&s->request) || !lane_slot_free(&s->request)) return 0;
    begin_in_slot(s, &s->request, lane_reserve(&s->request, 0, tile, t->bytes), t);
    s->resident++;
    return 1;
}

static int begin_expert(struct stream *s, uint32_t tile)
{
    struct lane *l = &s->request;
    uint32_t number = tile - first_expert(s->o.plan);
    const struct plan_tile *t = &s->tiles[tile];
    struct ring_entry *x;
    enum cache_answer a;
    uint64_t offset;

    if (!lane_room(l)) return 0;
    a = cache_find(s->cache, number, ring_released(&l->ring), &offset);
    if (a == CACHE_PASS && !lane_slot_free(l)) return 0;
    x = lane_reserve(l, 0, tile, t->bytes);
    if (a == CACHE_PASS) {
        begin_in_slot(s, l, x, t);
    } else {
        cache_show(s->cache, number, x->seq);
        begin_in_cache(s, l, x, t, offset, a == CACHE_FILL);
    }
    add(a == CACHE_HIT ? &s->stats->hit_bytes : &s->stats->miss_bytes, t->bytes);
    return 1;
}

static uint32_t *rows_of(const struct stream *s, const struct ring_entry *x)
{
    return s->row_of + (x->offset / s->o.plan->run.slot_bytes - s->request.slot0) * s->rows_each;
}

/* All bytes of an entry are there. What is read again is not noted again. */
static void note_content(void *arg, enum lane_id lane, const struct ring_entry *x)
{
    struct stream *s = arg;
    const uint8_t *base = x->segment == SEGMENT_CACHE ? s->o.cache : s->o.arena;

    if (x->tile != RING_GATHER) {
        if (lane != LANE_SWEEP || !x->sweep) content_tile(s->content, x->tile, base + x->offset);
        return;
    }
    for (uint32_t i = 0; i < x->rows; i++)
        content_row(s->content, rows_of(s, x)[i], base + x->offset + i * s->embedding->row_bytes);
}

static void close_gather(struct stream *s)
{
    lane_job(&s->request, s->gather->seq)->open = false;
    s->gather = NULL;
}

static int begin_row(struct stream *s, const struct epoch_request *q, struct error *e)
{
    const struct plan_matrix *m = s->embedding;
    struct ring_entry *x = s->gather;
    uint8_t *dest;
    int rc;

    if (!x) {
        if (!lane_room(&s->request) || !lane_slot_free(&s->request)) return 0;
        s->gather = x = lane_reserve(&s->request, 0, RING_GATHER, 0);
        lane_use_slot(&s->request, x);
        fetch_rows(lane_job(&s->request, x->seq));
    }
    dest = s->o.arena + x->offset + x->rows * m->row_bytes;
    rc = fetch_row(s->fetch, lane_job(&s->request, x->seq), m->file, m->file_off + q->index * m->row_bytes,
                   (uint32_t)m->row_bytes, dest, e);
    if (rc != 1) return rc;
    rows_of(s, x)[x->rows] = q->index;
    x->rows++;
    x->bytes += m->row_bytes;
    if (q->last || x->rows == s->rows_each) close_gather(s);
    return 1;
}

/* A request is believed only after this. */
static int check_request(struct stream *s, const struct epoch_request *q, struct error *e)
{
    uint32_t first = first_expert(s->o.plan);

    if (q->kind == REQUEST_TILE) {
        if (q->index < first || q->index - first >= s->o.plan->spec.expert_tiles)
            return error_set(e, EPROTO, "compute asked for tile %u, which is not an expert's", q->index);
        if (s->gather) return error_set(e, EPROTO, "compute asked for a tile amid a batch of embedding rows");
        return 0;
    }
    if (q->kind != REQUEST_GATHER) return error_set(e, EPROTO, "compute sent an unknown request (%u)", q->kind);
    if (!s->embedding || q->index >= s->embedding->rows)
        return error_set(e, EPROTO, "compute asked for row %u of the embedding, which has %llu", q->index,
                         (unsigned long long)(s->embedding ? s->embedding->rows : 0));
    return 0;
}

static int next_request(struct stream *s, struct error *e)
{
    int rc;

    if (s->pending) return 1;
    if (!request_pop(s->o.run, &s->asked)) return 0;
    if ((rc = check_request(s, &s->asked, e))) return rc;
    if (s->asked.kind == REQUEST_TILE) cache_count(s->cache, s->asked.index - first_expert(s->o.plan));
    s->pending = true;
    return 1;
}

static int fill_requests(struct stream *s, struct error *e)
{
    int rc = 1;

    while (s->resident < s->o.plan->spec.resident_tiles) {
        if (!begin_resident(s)) return 0;
    }
    while ((rc = next_request(s, e)) == 1) {
        rc = s->asked.kind == REQUEST_TILE ? begin_expert(s, s->asked.index) : begin_row(s, &s->asked, e);
        if (rc != 1) return rc;
        s->pending = false;
    }
    return rc;
}

/* ---- the loop ---- */

/* Everything that can be done without waiting: afterwards only a read that ends or a eventcount makes more of it. */
static int work(struct stream *s, struct error *e)
{
    uint32_t n;
    int rc;

    /* Not by sweeps: one may take a minute, and where all tiles are pinned none is streamed any more. */
    if ((rc = files_review(s->files, clock_ns(), e))) return rc;
    lane_tell_freed(&s->sweep);
    lane_tell_freed(&s->request);
    if ((rc = fill_requests(s, e)) < 0) return rc;
    if ((rc = lane_issue(&s->request, s->fetch, e)) < 0) return rc;
    fill_sweep(s);
    if ((rc = lane_issue(&s->sweep, s->fetch, e)) < 0) return rc;
    n = lane_publish(&s->request) + lane_publish(&s->sweep);
    if (n) add(&s->stats->tiles, n);
    return 0;
}

/* While the queue is deep and nobody waits for one read in particular, a few are waited for at once: fewer wake-ups. */
static uint32_t wait_for(const struct stream *s)
{
    uint32_t n = fetch_in_flight(s->fetch);

    if (s->request.published < s->request.reserved || s->sweep.issue == s->sweep.reserved) return 1;
    return n >= 16 ? n / 8 : 1;
}

int stream_compare(struct stream *s, uint32_t file, struct error *e)
{
    return content_compare(s->content, file, e);
}

int stream_find(struct stream *s, struct error *e)
{
    struct tune_result r;
    int rc;

    if (!s->probe.plan) return 0;
    rc = tune(&s->probe, &r, e);
    probe_close(&s->probe);
    if (rc || !r.depth) return rc;
    fetch_set(s->fetch, r.block_bytes, r.depth);
    atomic_store(&s->stats->io_rate, r.bytes_per_second);
    atomic_store(&s->stats->io_depth, r.depth);
    atomic_store(&s->stats->io_block, r.block_bytes); /* the last one: who sees it sees the others */
    return 0;
}

int stream_run(struct stream *s, struct error *e)
{
    struct epoch_shm *r = s->o.run;
    uint64_t retry_ns;
    int rc;

    while (!(rc = epoch_state(r))) {
        uint32_t seen = eventcount_read(&r->eventcount[STAGE_READER]);

        if ((rc = work(s, e)) < 0 || (rc = fetch_retry(s->fetch, &retry_ns, e)) < 0) break;
        if (fetch_in_flight(s->fetch)) {
            /* The eventcount is not heard here; the next read to end comes soon enough. */
            rc = fetch_reap(s->fetch, wait_for(s), retry_ns < NAP_NS ? retry_ns : NAP_NS, e);
        } else if (retry_ns < NAP_NS) {
            eventcount_wait(&r->eventcount[STAGE_READER], seen, retry_ns);
        } else {
            rc = epoch_wait(r, STAGE_READER, seen);
        }
        if (rc < 0) break;
    }
    io_engine_finish(s->o.engine, FINISH_NS);
    return rc;
}

#include "reader/stream.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/page.h"
#include "proto/base/shm.h"
#include "proto/rows.h"
#include "reader/cache.h"
#include "reader/content.h"
#include "reader/fetch.h"
#include "reader/files.h"
#include "reader/gather.h"
#include "reader/lane.h"
#include "reader/tune.h"

#define NAP_NS    100000000u
#define FINISH_NS 300000000u /* less than the coordinator gives a stage to end in */

#define LARGE_PAGE_NS 1000000u /* what a large page may take: five times what giving and clearing a free one does */

#define FEWEST_WITHOUT (UINT64_C(32) << 20)
#define MOST_WITHOUT   (UINT64_C(512) << 20)

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
    struct gather gather;

    /* lane 0: what comes next */
    uint64_t sweep_number, tile;
    uint64_t cache_end[2]; /* of the cache: where pins end, where tiles on demand do */
    uint64_t large[2];     /* and as far as large pages were asked for */
    uint64_t at_once;      /* bytes of them in a call */
    uint64_t without; /* bytes that still go without, because they were slow to come; and after the next slow call */
    uint64_t penalty;
    bool any_moves; /* a tile that is sent in every sweep */

    /* lane 1 */
    uint32_t resident; /* tiles sent so far */
    bool pending;      /* asked, taken from the queue, and not yet begun */
    uint32_t asked;    /* tile */
    char text[128];
};

/* ---- opening ---- */

struct io_options stream_engine_options(const struct plan_shm *p, uint8_t *arena)
{
    const struct plan_run *r = &p->run;

    return (struct io_options){.depth = fetch_depth(r),
                               .files = files_number((uint32_t)p->files.count, 0),
                               .arena = arena,
                               .arena_bytes =
                                   plan_slots_before(r, r->reader_slots, LANE_ROWS), /* rows may cross a slot's end */
                               .slot_bytes = r->slot_bytes};
}

/* Tiles that are sent on demand. */
static uint32_t first_demand(const struct plan_shm *p)
{
    return (uint32_t)(p->spec.sweep_tiles + p->spec.resident_tiles);
}

static int open_cache(struct stream *s, struct error *e)
{
    const struct plan_shm *p = s->o.plan;
    const struct plan_tile *t = s->tiles + first_demand(p);
    uint32_t n = p->spec.demand_tiles;
    uint64_t bytes = s->o.cache ? p->run.expert_cache_bytes : 0, largest = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (t[i].span > largest) largest = t[i].span;
    }
    s->cache_end[LANE_REQUEST] = p->run.host_cache_bytes;
    s->cache_end[LANE_SWEEP] = p->run.host_cache_bytes - bytes;
    return cache_open(&s->cache, n, largest, s->cache_end[LANE_SWEEP], bytes, e);
}

static bool moves(const struct plan_shm *p)
{
    for (uint64_t i = 0; i < p->spec.sweep_tiles; i++) {
        if (!(plan_tiles(p)[i].flags & TILE_STAYS)) return true;
    }
    return false;
}

static int open_content(struct stream *s, struct error *e)
{
    struct content_options o = {.plan = s->o.plan, .run = s->o.run, .cache = s->o.cache, .files = s->files};

    return content_open(&s->content, &o, e);
}

/* All bytes of an entry are there. What is read again is not noted again. */
static void note_content(void *arg, enum lane_id lane, const struct ring_entry *x)
{
    struct stream *s = arg;
    const uint8_t *base = (x->segment == SEGMENT_CACHE ? s->o.cache : s->o.arena) + x->offset;
    uint32_t row;

    if (lane == LANE_ROWS) {
        for (uint32_t i = 0; i < x->rows; i++)
            if (rows_at(s->o.run, x->sweep + i, &row))
                content_row(s->content, row, base + i * plan_row_stride(s->o.plan));
    } else if (lane == LANE_REQUEST || !x->sweep) {
        content_tile(s->content, x->tile, base);
    }
}

/* Who wants to know of a lane's entries. */
static void watch(struct stream *s, struct lane *l)
{
    l->filled = note_content;
    l->filled_arg = s;
    l->told = s->o.freed;
    l->told_arg = s->o.freed_arg;
}

static int open_parts(struct stream *s, struct error *e)
{
    const struct plan_shm *p = s->o.plan;
    struct fetch_options f = {.plan = p, .stats = s->stats, .engine = s->o.engine, .hang_ns = s->o.hang_ns};
    struct gather_options g = {.plan = p, .run = s->o.run, .arena = s->o.arena, .cache = s->o.cache};
    int rc;

    if ((rc = lane_open(&s->sweep, s->o.run, &p->run, LANE_SWEEP, e))) return rc;
    if ((rc = lane_open(&s->request, s->o.run, &p->run, LANE_REQUEST, e))) return rc;
    if ((rc = open_cache(s, e))) return rc;
    if ((rc = files_open(&s->files, p, s->o.engine, e))) return rc;
    if ((rc = open_content(s, e))) return rc;
    f.files = s->files;
    if ((rc = fetch_open(&s->fetch, &f, e))) return rc;
    g.fetch = s->fetch;
    if ((rc = gather_open(&s->gather, &g, e))) return rc;
    watch(s, &s->sweep);
    watch(s, &s->request);
    watch(s, &s->gather.lane);
    if (p->run.io_find == IO_FIND_FIRST && files_worth_tuning(s->files)) rc = probe_open(&s->probe, p, e);
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
    s->at_once = page_large_bytes();
    s->penalty = FEWEST_WITHOUT;
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
    files_close(s->files);
    cache_close(s->cache);
    lane_close(&s->sweep);
    lane_close(&s->request);
    gather_close(&s->gather);
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

static uint64_t doubled(uint64_t n, uint64_t most)
{
    return 2 * n < most ? 2 * n : most;
}

/* Large pages under these bytes of the cache; what comes next follows from how long they took. */
static void ask_for_large_pages(struct stream *s, uint64_t offset, uint64_t bytes, uint64_t large)
{
    uint64_t began = clock_ns();

    shm_large_pages(s->o.cache, s->o.plan->run.host_cache_bytes, offset, bytes);
    if (clock_ns() - began <= (bytes / large + 1) * LARGE_PAGE_NS) {
        s->at_once = doubled(s->at_once, STREAM_LARGE_AHEAD);
        s->penalty = FEWEST_WITHOUT;
    } else {
        s->at_once = large;
        s->without = s->penalty;
        s->penalty = doubled(s->penalty, MOST_WITHOUT);
    }
}

/* Large pages under a part of the cache, few at first. Where memory is in pieces the kernel moves what lies there to make one,
 * and under some hypervisors a free one is no memory yet: each then takes many times what reading into it takes. So what comes
 * next goes without, twice as much each time. A tile lies here for good, and small pages cost a sweep a few percent; a first
 * answer that waits for seconds costs more. */
static void use_large_pages(struct stream *s, uint64_t offset, uint64_t bytes)
{
    const uint64_t large = page_large_bytes();
    uint64_t n;

    for (; large && bytes; offset += n, bytes -= n) {
        n = s->without ? s->without : s->at_once;
        if (n > bytes) n = bytes;
        if (s->without)
            s->without -= n;
        else
            ask_for_large_pages(s, offset, n, large);
    }
}

static void begin_in_cache(struct stream *s, struct lane *l, struct ring_entry *x, const struct plan_tile *t,
                           uint64_t offset, bool read)
{
    if (read && offset + t->span > s->large[l->id]) { /* only places that were never written: once, and some ahead */
        uint64_t from = offset > s->large[l->id] ? offset : s->large[l->id];
        uint64_t bytes = offset + t->span - from, room = s->cache_end[l->id] - from;

        if (bytes < STREAM_LARGE_AHEAD) bytes = STREAM_LARGE_AHEAD < room ? STREAM_LARGE_AHEAD : room;
        use_large_pages(s, from, bytes);
        s->large[l->id] = from + bytes;
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

/* Each returns 1 when it is begun, 0 when there is no room for it now. */
static int begin_resident(struct stream *s)
{
    uint32_t tile = (uint32_t)s->o.plan->spec.sweep_tiles + s->resident;
    const struct plan_tile *t = &s->tiles[tile];

    if (!lane_room(&s->request) || !lane_slot_free(&s->request)) return 0;
    begin_in_slot(s, &s->request, lane_reserve(&s->request, 0, tile, t->bytes), t);
    s->resident++;
    return 1;
}

static int begin_demand(struct stream *s, uint32_t tile)
{
    struct lane *l = &s->request;
    uint32_t number = tile - first_demand(s->o.plan);
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

/* 1: there is one to be begun, and it is one that may be asked for; 0: there is none; -EPROTO. */
static int next_request(struct stream *s, struct error *e)
{
    uint32_t first = first_demand(s->o.plan);

    if (s->pending) return 1;
    if (!request_pop(s->o.run, &s->asked)) return 0;
    if (s->asked < first || s->asked - first >= s->o.plan->spec.demand_tiles)
        return error_set(e, EPROTO, "compute asked for tile %u, which is not sent on demand", s->asked);
    cache_count(s->cache, s->asked - first);
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
        if (!begin_demand(s, s->asked)) return 0;
        s->pending = false;
    }
    return rc;
}

/* ---- the loop ---- */

/* Everything that can be done without waiting: afterwards only a read that ends or a eventcount makes more of it. */
static int work(struct stream *s, struct error *e)
{
    struct lane *rows = &s->gather.lane;
    uint32_t n;
    int rc;

    /* Not by sweeps: one may take a minute, and where all tiles are pinned none is streamed any more. */
    if ((rc = files_review(s->files, clock_ns(), e))) return rc;
    lane_tell_freed(&s->sweep);
    lane_tell_freed(&s->request);
    lane_tell_freed(rows);
    /* In its first sweep lane 0 sends all tiles, one after the other. */
    if ((rc = gather_fill(&s->gather, s->sweep.published, e)) < 0) return rc;
    if ((rc = lane_issue(rows, s->fetch, e)) < 0) return rc;
    if ((rc = fill_requests(s, e)) < 0) return rc;
    if ((rc = lane_issue(&s->request, s->fetch, e)) < 0) return rc;
    fill_sweep(s);
    if ((rc = lane_issue(&s->sweep, s->fetch, e)) < 0) return rc;
    n = lane_publish(rows) + lane_publish(&s->request) + lane_publish(&s->sweep);
    if (n) add(&s->stats->tiles, n);
    return 0;
}

/* While the queue is deep and nobody waits for one read in particular, a few are waited for at once: fewer wake-ups. */
static uint32_t wait_for(const struct stream *s)
{
    uint32_t n = fetch_in_flight(s->fetch);

    if (s->request.published < s->request.reserved || s->gather.lane.published < s->gather.lane.reserved) return 1;
    if (s->sweep.issue == s->sweep.reserved) return 1;
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

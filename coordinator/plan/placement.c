#include "coordinator/plan/placement.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MIB            (UINT64_C(1) << 20)
#define SLOT_TARGET    (8 * MIB)             /* large enough for the disk, small enough to be many */
#define SLOT_SMALLEST  (UINT64_C(128) << 10) /* automatic ones: below it the work for each tile shows */
#define EXPERT_SLOT    (16 * MIB)            /* an expert up to this size travels in one piece */
#define FLIGHT_BYTES   (32 * MIB)            /* the host ring holds this much, and twice what is in flight, if it can */
#define MEASURE_BYTES  (4 * MIB)             /* what is measured is a little different each time */
#define DEPTH_MOST     65536u
#define KV_ROWS_MOST   (1u << 26) /* numbers of rows that plan_check() lets pass */
#define ROW_SLOT       MIB        /* a slot for rows of the embedding is no larger where several of them do */
#define PROBE_LEAST    (8 * MIB)  /* for plain reads: eight of one MiB */
#define PROBE_FIRST    (16 * MIB) /* less is not worth trying (reader/tune.h) */
#define PEAK_LEAST     (4 * MIB)  /* what a peak can be measured with, if not well */
#define ROW_SLOTS      4u         /* of these, at most: a sweep's rows come while the one before is computed */
#define GUESSES_SHARE  24u        /* guesses take no more of the memory than this part of it */
#define GUESSES_FEWEST 4u

/* A run that is being settled. */
struct draft {
    struct plan_run *r;
    const struct plan_shm *p;
    const struct plan_settings *s;
    struct error *e;
    struct cost cost;
    uint64_t slot_least, plan_bytes, context, context_least;
    uint64_t streamed; /* bytes of the sweep's and the experts' rows */
    uint64_t pieces;   /* parts that there are, however large a slot is */
    bool experts;
};

static uint64_t pages(uint64_t bytes)
{
    return (bytes + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
}

static uint64_t least_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static const char *mib(uint64_t bytes, char out[32])
{
    snprintf(out, 32, "%llu MiB", (unsigned long long)((bytes + MIB - 1) / MIB));
    return out;
}

/* Slots for the rows of a sweep: one that is being looked at, and those that come meanwhile. */
static void set_row_slots(struct draft *d)
{
    struct plan_run *r = d->r;
    uint32_t beside = plan_beside_matrix(d->p);
    uint64_t row = plan_rows_stride(plan_matrices(d->p)[d->p->spec.embed_matrix].row_bytes,
                                    beside == PLAN_NONE ? 0 : plan_matrices(d->p)[beside].row_bytes);
    uint64_t all = r->max_positions * row, slot = least_of(least_of(all, ROW_SLOT), r->slot_bytes), each;

    r->row_slot_bytes = pages(most_of(slot / row * row, row));
    each = r->row_slot_bytes / row;
    r->reader_slots[LANE_ROWS] = (uint32_t)least_of(most_of((r->max_positions + each - 1) / each + 1, 2), ROW_SLOTS);
    r->transfer_slots[LANE_ROWS] = r->backend == BACKEND_CUDA ? r->reader_slots[LANE_ROWS] : 0;
}

static void set_guesses(struct draft *d, uint32_t guesses)
{
    d->r->guesses = guesses;
    d->r->max_logits = (d->s->max_logits ? d->s->max_logits : 1) + guesses;
}

/* Rows that all sequences need for so many positions each: more than one of them get whole blocks. */
static uint64_t kv_rows(const struct plan_settings *s, uint64_t context)
{
    uint64_t rows = s->sequences > 1 ? (context + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK : context;

    return rows * most_of(s->sequences, 1) + s->branches;
}

static void set_context(struct draft *d, uint64_t context)
{
    d->context = context;
    d->r->kv_rows = (uint32_t)kv_rows(d->s, context) + plan_guess_rows(d->r->guesses);
    if (d->r->max_positions > d->r->kv_rows) d->r->max_positions = d->r->kv_rows;
}

static void price(struct draft *d)
{
    struct plan_run *r = d->r;
    uint64_t tiles = d->streamed / (r->slot_bytes / 2 + 1) + 64;
    bool zeros = false;
    uint32_t entries;

    set_row_slots(d);

    /* an upper bound; placement_pin() knows the true size */
    for (uint64_t i = 0; i < d->p->matrices.count && !zeros; i++) zeros = plan_matrices(d->p)[i].zero_rows != 0;
    d->plan_bytes = d->p->bytes + (zeros ? (tiles + d->pieces) * sizeof(struct plan_part) : 0) +
                    tiles * (sizeof(struct plan_tile) + 2 * sizeof(struct plan_part)) +
                    d->pieces * (sizeof(struct plan_tile) / 2 + sizeof(struct plan_part));
    for (int lane = 0; lane < LANES; lane++) {
        for (entries = 16; entries < 2 * most_of(r->reader_slots[lane], r->transfer_slots[lane]);) entries *= 2;
        r->entries[lane] = entries;
    }
    if (r->guesses >= r->max_positions) {
        set_guesses(d, r->max_positions - 1);
        set_context(d, d->context);
    }
    if (r->max_logits > r->max_positions) r->max_logits = r->max_positions;
    r->host_cache_bytes = d->s->cache_slots * r->slot_bytes;
    cost_count(&d->cost, d->p, r, d->plan_bytes, d->s->text_bytes);
}

static bool over_shm(const struct draft *d)
{
    return d->cost.shm > d->s->shm_free;
}

static bool over_host(const struct draft *d)
{
    return most_of(d->cost.host, d->s->load_peak) > d->s->host_memory;
}

static bool over_device(const struct draft *d)
{
    return d->cost.device > d->s->device_memory;
}

/* ---- where it starts ---- */

/* A slot for whole experts where they are small, so that one request brings one. */
static uint64_t expert_slot(const struct plan_shm *p)
{
    uint64_t most = 0;

    for (size_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *x = &plan_experts(p)[i];
        uint32_t each = plan_expert_matrices(x);
        uint64_t whole = 0, widest = 0;

        for (uint32_t k = 0; k < each; k++) {
            const struct plan_matrix *m = &plan_matrices(p)[x->matrix0 + k];
            uint64_t bytes = pages(tiling_rows_most(m, m->rows)) + PLAN_PAGE;

            if (m->scale_file != PLAN_NONE)
                bytes += pages((m->rows / m->block_rows + 2) * m->scale_row_bytes) + PLAN_PAGE;
            if (m->zero_rows) bytes += pages((m->rows / m->zero_rows + 2) * m->zero_row_bytes) + PLAN_PAGE;
            if (x->biased) bytes += pages(4 * most_of(m->rows, m->cols)) + PLAN_PAGE;
            whole += bytes;
            widest = most_of(widest, bytes);
        }
        if (whole <= EXPERT_SLOT)
            most = most_of(most, whole);
        else if (widest <= EXPERT_SLOT)
            most = most_of(most, widest);
        else
            most = most_of(most, SLOT_TARGET);
    }
    return most;
}

/* Parts that are there before anything is cut: matrices, heads, vectors, experts' matrices; scales count as parts. */
static uint64_t count_pieces(const struct plan_shm *p)
{
    uint64_t n = p->vectors.count;

    for (size_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *o = &plan_ops(p)[i];

        if (o->kind == OP_MATMUL) n += 2;
        if (o->kind == OP_HEADMM) n += 2ull * o->headmm.heads;
    }
    for (size_t i = 0; i < p->experts.count; i++) n += 2 * plan_experts_matrices(&plan_experts(p)[i]);
    return n;
}

static uint64_t automatic_slot(const struct draft *d)
{
    uint64_t bytes = tiling_sweep_bytes(d->p) / 32 / (64 << 10) * (64 << 10);

    bytes = least_of(most_of(bytes, SLOT_SMALLEST), SLOT_TARGET);
    if (d->experts) bytes = most_of(expert_slot(d->p), least_of(bytes, MIB));
    return least_of(most_of(bytes, d->slot_least), SLOT_BYTES_MAX);
}

static void start_rings(struct draft *d)
{
    struct plan_run *r = d->r;
    const struct plan_settings *s = d->s;
    bool cuda = s->backend == BACKEND_CUDA;
    uint64_t in_flight;

    r->slot_bytes = s->slot_bytes ? pages(s->slot_bytes) : automatic_slot(d);
    r->reader_slots[0] = s->reader_depth;
    /* Reads end out of order and tiles are handed on in order: while an old one is waited for, newer ones must have room. */
    in_flight = least_of(2 * r->io_depth * r->io_block_bytes, 3 * FLIGHT_BYTES);
    if (!s->reader_depth)
        r->reader_slots[0] = (uint32_t)least_of(most_of(most_of(FLIGHT_BYTES, in_flight) / r->slot_bytes, 8), 32);
    r->reader_slots[1] = d->experts ? 8 : 2;
    r->transfer_slots[0] = !cuda ? 0 : s->transfer_depth ? s->transfer_depth : 4;
    r->transfer_slots[1] = !cuda ? 0 : d->experts ? 4 : 2;
}

/* A stage that dies costs a replay of the tokens so far: in a sweep for each of these, whatever the prompt's length. */
#define REPLAY_POSITIONS 128

/* The most positions of a sweep that are worth their memory: beyond it a sweep is bound by arithmetic anyway. */
static uint32_t useful_positions(const struct draft *d)
{
    uint64_t most = d->s->backend == BACKEND_CUDA ? 8192 : d->experts ? 2048 : 1024;

    if (d->s->prompt_tokens)
        most = least_of(most, most_of(d->s->prompt_tokens, least_of(REPLAY_POSITIONS, d->s->want_tokens)));
    most = most_of(most, d->r->sequences + UINT64_C(1) * d->r->guesses); /* a token of each */
    most = least_of(most, d->r->kv_rows);
    return (uint32_t)most_of(most, 1);
}

/* Positions of each sequence that the KV cache can number. */
static uint64_t context_most(const struct plan_settings *s)
{
    uint64_t each = (KV_ROWS_MOST - s->branches - plan_guess_rows(s->guesses)) / most_of(s->sequences, 1);

    return s->sequences > 1 ? each / KV_BLOCK * KV_BLOCK : each;
}

static void start(struct draft *d)
{
    const struct plan_settings *s = d->s;
    struct plan_run *r = d->r;
    uint64_t model = most_of(d->p->spec.context, 1);

    *r = (struct plan_run){
        .io_block_bytes = s->io_block ? pages(s->io_block) : 4 * MIB,
        .io_depth = s->io_depth ? s->io_depth : 16,
        .io_find = s->io_find,
        .probe_bytes = s->io_find == IO_FIND_ON_WISH ? PROBE_LEAST : 0, /* of IO_FIND_FIRST: set_first_reads() */
        .peak_bytes = s->measures ? PEAK_LEAST : 0,
        .threads = s->threads ? s->threads : 1,
        .device = s->device,
        .backend = s->backend,
        .io = s->io,
        .engine = s->engine,
        .kv_form = s->kv_form,
        .guesses = s->guesses,
        .sequences = s->sequences ? s->sequences : 1,
        .trace = s->trace,
        .log_level = s->log_level,
    };
    model = least_of(model, context_most(s));
    set_guesses(d, r->guesses);
    set_context(d, s->context ? s->context : least_of(model, most_of(4096, s->want_tokens)));
    d->context_least = s->context ? s->context : least_of(model, most_of(128, s->want_tokens));
    d->experts = d->p->experts.count > 0;
    d->streamed = tiling_sweep_bytes(d->p) + tiling_expert_bytes(d->p);
    d->pieces = count_pieces(d->p);
    r->max_positions = s->chunk ? (uint32_t)least_of(s->chunk, r->kv_rows) : useful_positions(d);
    start_rings(d);
}

/* ---- what cannot work ---- */

static int check_slot(const struct draft *d)
{
    char a[32], b[32];
    uint64_t thousandths;

    if (d->slot_least > SLOT_BYTES_MAX)
        return error_set(d->e, EINVAL, "one row of this model's widest tensor takes %s; slots hold at most %s",
                         mib(d->slot_least, a), mib(SLOT_BYTES_MAX, b));
    if (!d->s->slot_bytes || (d->s->slot_bytes >= d->slot_least && d->s->slot_bytes <= SLOT_BYTES_MAX)) return 0;
    if (d->s->slot_bytes > SLOT_BYTES_MAX)
        return error_set(d->e, EINVAL, "slots of %s are larger than any can be: --slot-mib %llu would do",
                         mib(d->s->slot_bytes, a), (unsigned long long)(SLOT_BYTES_MAX / MIB));
    thousandths = (d->slot_least * 1000 + MIB - 1) / MIB; /* rounded up */
    return error_set(d->e, EINVAL, "slots of %llu KiB do not hold this model's widest row: --slot-mib %.3f would do",
                     (unsigned long long)(d->s->slot_bytes >> 10), (double)thousandths / 1000);
}

static int check_given(const struct draft *d)
{
    const struct plan_settings *s = d->s;
    struct error *e = d->e;

    if (s->context > d->p->spec.context)
        return error_set(e, EINVAL, "the model was made for %u positions: --context %u would do", d->p->spec.context,
                         d->p->spec.context);
    if (s->reader_depth > DEPTH_MOST)
        return error_set(e, EINVAL, "--reader-depth %u: %u would do", s->reader_depth, DEPTH_MOST);
    if (s->transfer_depth > DEPTH_MOST)
        return error_set(e, EINVAL, "--transfer-depth %u: %u would do", s->transfer_depth, DEPTH_MOST);
    if (s->io_depth > 4096) return error_set(e, EINVAL, "--io-depth %u: 4096 would do", s->io_depth);
    if (s->io_block > SLOT_BYTES_MAX)
        return error_set(e, EINVAL, "--io-block %llu: 1GiB would do", (unsigned long long)s->io_block);
    if (s->threads > 4096) return error_set(e, EINVAL, "--threads %u: 4096 would do", s->threads);
    if (s->backend > BACKEND_CUDA || !form_can_be(s->kv_form, FORM_CACHE))
        return error_set(e, EINVAL, "unknown backend, or form of the KV cache");
    if (kv_rows(s, most_of(s->context, 1)) > KV_ROWS_MOST)
        return error_set(e, EINVAL, "%u sequences of %u positions are more than the KV cache can number", s->sequences,
                         s->context ? s->context : 1);
    return check_slot(d);
}

/* ---- giving way ---- */

static bool halve32(uint32_t *x, uint64_t least)
{
    if (*x <= least) return false;
    *x = (uint32_t)most_of(*x / 2, least);
    return true;
}

static bool shrink_chunk(struct draft *d, uint64_t least)
{
    return !d->s->chunk && halve32(&d->r->max_positions, least);
}

static bool shrink_slots(struct draft *d, uint64_t lane0, uint64_t lane1)
{
    if (!d->s->reader_depth && halve32(&d->r->reader_slots[0], lane0)) return true;
    return d->experts && halve32(&d->r->reader_slots[1], lane1);
}

static bool shrink_slot_bytes(struct draft *d, uint64_t least)
{
    uint64_t slot = d->r->slot_bytes, shm = d->cost.shm;

    least = most_of(least, d->slot_least);
    if (d->s->slot_bytes || d->r->slot_bytes <= least) return false;
    d->r->slot_bytes = most_of(pages(slot / 2), least);
    price(d);
    if (d->cost.shm < shm) return true;
    d->r->slot_bytes = slot; /* more tiles make a larger plan */
    price(d);
    return false;
}

static bool shrink_guesses(struct draft *d)
{
    if (!d->r->guesses || !d->s->guesses_auto) return false;
    set_guesses(d, d->r->guesses > GUESSES_FEWEST ? d->r->guesses / 2 : 0);
    set_context(d, d->context);
    return true;
}

static bool shrink_context(struct draft *d, uint64_t least)
{
    least = most_of(least, d->context_least);
    if (d->context <= least) return false;
    set_context(d, most_of(d->context / 2, least));
    return true;
}

static bool shrink_transfer(struct draft *d)
{
    if (d->r->backend != BACKEND_CUDA) return false;
    if (!d->s->transfer_depth && halve32(&d->r->transfer_slots[0], 2)) return true;
    return halve32(&d->r->transfer_slots[1], 2);
}

static bool shrink_arena(struct draft *d)
{
    return shrink_slots(d, 8, 4) || shrink_slot_bytes(d, MIB) || shrink_slots(d, 3, 2) || shrink_slot_bytes(d, 0) ||
           shrink_slots(d, 2, 2);
}

/* One step, least harm first. */
static bool shrink(struct draft *d)
{
    bool model_on_host = d->r->backend == BACKEND_CPU, host = over_host(d), device = over_device(d);

    if (shrink_guesses(d)) return true;
    if (over_shm(d) && !host && !device) return shrink_arena(d) || shrink_chunk(d, 1);
    if (device || model_on_host) {
        if (shrink_chunk(d, 64)) return true;
        if (shrink_context(d, 2048)) return true;
    }
    if (device) {
        if (shrink_transfer(d)) return true;
        return shrink_slot_bytes(d, MIB) || shrink_chunk(d, 8) || shrink_context(d, 0) || shrink_slot_bytes(d, 0) ||
               shrink_chunk(d, 1);
    }
    if (shrink_slots(d, 8, 4) || shrink_slot_bytes(d, MIB)) return true;
    if (model_on_host && (shrink_chunk(d, 8) || shrink_context(d, 512))) return true;
    if (shrink_arena(d)) return true;
    return model_on_host && (shrink_context(d, 0) || shrink_chunk(d, 1));
}

static int refuse_shm(const struct draft *d)
{
    char need[32], have[32];

    return error_set(
        d->e, ENOMEM,
        "/dev/shm has %s free, the smallest ring of this model and these settings takes %s: enlarge it (docker run "
        "--shm-size=%lluM, or mount -o remount,size=... /dev/shm)%s",
        mib(d->s->shm_free, have), mib(d->cost.shm, need), (unsigned long long)(d->cost.shm / MIB + 1),
        d->s->reader_depth || d->s->slot_bytes ? ", or lower --reader-depth or --slot-mib" : "");
}

static int refuse_host(const struct draft *d)
{
    const struct cost *c = &d->cost;
    bool on_host = d->r->backend == BACKEND_CPU;
    uint64_t least = most_of(c->host, d->s->load_peak), kv = on_host ? c->compute.kv : 0,
             sweep = on_host ? cost_of_sweep(c) : 0;
    char a[32], r1[32], r2[32], r3[32], r4[32];
    const char *what = d->s->host_memory_given ? "--host-memory is" : "free host memory is";

    if (d->s->text_measured || least > c->host) least += MEASURE_BYTES;
    least += d->s->beside;
    return error_set(
        d->e, ENOMEM,
        "%s %s; the smallest that would do is %lluM (ring %s, KV cache of %u positions %s, activations of %u "
        "positions %s, processes and the rest %s)",
        what, mib(d->s->whole ? d->s->whole : d->s->host_memory, a), (unsigned long long)(least / 1000000 + 1),
        mib(c->arena, r1), d->r->kv_rows, mib(kv, r2), d->r->max_positions, mib(sweep, r3),
        mib(c->host - c->arena - kv - sweep + d->s->beside, r4));
}

static int refuse_device(const struct draft *d)
{
    const struct footprint *f = &d->cost.compute;
    uint64_t sweep = f->activations + f->positions + f->experts + f->scratch, all = d->cost.device;
    char a[32], r1[32], r2[32], r3[32], r4[32];
    const char *what = d->s->device_memory_given ? "--device-memory is" : "free device memory is";

    return error_set(
        d->e, ENOMEM,
        "%s %s; the smallest that would do is %lluM (slots %s, KV cache of %u positions %s, activations of %u "
        "positions %s, driver and the rest %s); --backend cpu needs none",
        what, mib(d->s->device_memory, a), (unsigned long long)(all / 1000000 + 1), mib(f->tiles, r1), d->r->kv_rows,
        mib(f->kv, r2), d->r->max_positions, mib(sweep, r3), mib(all - f->tiles - f->kv - sweep, r4));
}

/* What guesses take of the host's memory. */
static uint64_t guessing(const struct draft *d)
{
    const struct plan_run *r = d->r;
    uint64_t cache = r->backend == BACKEND_CPU ? footprint_kv_position(d->p, r->kv_form) : 0, states = 0;

    for (uint64_t i = 0; i < d->p->states.count && r->guesses && r->backend == BACKEND_CPU; i++)
        states += plan_states(d->p)[i].floats * sizeof(float) * r->sequences;
    return states + cost_of_guessing(r->guesses, r->sequences, r->kv_rows) + plan_guess_rows(r->guesses) * cache +
           r->guesses * (uint64_t)d->p->spec.vocab * sizeof(float) * (r->backend == BACKEND_CPU ? 2 : 1);
}

/* No part of a small budget shall eat it up: the rest pins tiles, and that is what makes a sweep fast. */
static void stay_modest(struct draft *d)
{
    bool cuda = d->r->backend == BACKEND_CUDA;
    uint64_t budget = cuda ? d->s->device_memory : d->s->host_memory;

    price(d);
    while (guessing(d) > d->s->host_memory / GUESSES_SHARE && shrink_guesses(d)) price(d);
    while (cost_of_sweep(&d->cost) > budget / 8 && shrink_chunk(d, 64)) price(d);
    while (d->cost.arena > d->s->host_memory / 4 && (shrink_slots(d, 8, 4) || shrink_slot_bytes(d, MIB))) price(d);
    while (cuda && d->cost.compute.tiles > budget / 4 && (shrink_transfer(d) || shrink_slot_bytes(d, MIB))) price(d);
    while (d->cost.compute.kv > budget / 2 && shrink_context(d, 1024)) price(d);
}

int placement_settle(struct plan_run *r, const struct plan_shm *p, const struct plan_settings *s, struct error *e)
{
    struct draft d = {.r = r, .p = p, .s = s, .e = e, .slot_least = tiling_slot_least(p)};
    int rc = check_given(&d);

    if (rc) return rc;
    start(&d);
    stay_modest(&d);
    while ((over_host(&d) || over_device(&d) || over_shm(&d)) && shrink(&d)) price(&d);
    if (over_host(&d)) return refuse_host(&d);
    if (over_device(&d)) return refuse_device(&d);
    if (over_shm(&d)) return refuse_shm(&d);
    return 0;
}

/* ---- pins ---- */

uint64_t placement_spread(struct plan_tile *tiles, uint64_t n, uint64_t bytes, uint16_t tier, uint16_t flags)
{
    uint64_t total = 0, passed = 0, used = 0;

    for (uint64_t i = 0; i < n; i++)
        if (tiles[i].tier == TIER_DISK) total += tiles[i].span;
    if (bytes > total) bytes = total;
    for (uint64_t i = 0; i < n; i++) {
        struct plan_tile *t = tiles + i;

        if (t->tier != TIER_DISK) continue;
        passed += t->span;
        /* pinned bytes follow the share of the budget in what has passed (Bresenham), and never run ahead of it */
        if ((unsigned __int128)(used + t->span) * total > (unsigned __int128)passed * bytes) continue;
        t->tier = tier;
        t->flags = flags;
        t->tier_off = used;
        used += t->span;
    }
    return used;
}

static uint64_t pageable(uint64_t left, const struct plan_run *r)
{
    return left / (PLAN_PAGE + cost_of_page(r)) * PLAN_PAGE; /* cost_count() */
}

static void clear_tiers(struct tiling *c)
{
    for (size_t i = 0; i < c->tiles.count; i++) {
        struct plan_tile *t = PROGRAM_AT(c, tiles, struct plan_tile, i);

        t->tier = TIER_DISK;
        t->flags = 0;
        t->tier_off = 0;
    }
}

/* What is left of the budgets. */
struct left {
    uint64_t host, device;
};

/* More memory for measuring than the least: what no pin can use, else an eighth of what is left. */
static void widen_measuring(const struct draft *d, struct left *left, uint64_t useful)
{
    struct plan_run *r = d->r;
    uint64_t probe = r->io_find == IO_FIND_ON_WISH ? PLAN_PROBE_MOST - r->probe_bytes : 0,
             peak = d->s->measures ? PLAN_PEAK_MOST - r->peak_bytes : 0,
             surplus = left->host > useful ? left->host - useful : 0,
             most = most_of(surplus, left->host / (d->s->no_pins ? 2 : 8)) / PLAN_PAGE * PLAN_PAGE;

    probe = least_of(probe, most / 4 / PLAN_PAGE * PLAN_PAGE);
    r->probe_bytes += probe;
    left->host -= probe;
    if (r->backend == BACKEND_CUDA) {
        peak = least_of(peak, left->device / 8 / PLAN_PAGE * PLAN_PAGE);
        left->device -= peak;
    } else {
        peak = least_of(peak, most - probe);
        left->host -= peak;
    }
    r->peak_bytes += peak;
}

/* Reads that are tried before the first sweep may take what the cache will take later. */
static void set_first_reads(struct draft *d, uint64_t plan_bytes)
{
    struct plan_run *r = d->r;
    uint64_t room;

    if (r->io_find != IO_FIND_FIRST) return;
    cost_count(&d->cost, d->p, r, plan_bytes, d->s->text_bytes);
    room = (d->s->host_memory - (d->cost.host - d->cost.cache)) / PLAN_PAGE * PLAN_PAGE;
    r->probe_bytes = least_of(room, PLAN_PROBE_MOST);
    if (r->probe_bytes >= PROBE_FIRST) return;
    r->probe_bytes = 0;
    r->io_find = IO_FIND_NOTHING;
}

static uint64_t span_of(const struct tiling *c, uint64_t first, uint64_t n)
{
    uint64_t bytes = 0;

    for (uint64_t i = first; i < first + n; i++) bytes += ((const struct plan_tile *)c->tiles.data)[i].span;
    return bytes;
}

/* The reader's cache has places of one size: with one for each tile, every expert finds room. */
static uint64_t expert_places(const struct tiling *c)
{
    const struct plan_tile *tiles = c->tiles.data;
    uint64_t most = 0;

    for (size_t i = c->tiles.count - c->expert_count; i < c->tiles.count; i++)
        most = most_of(most, pages(tiles[i].span));
    return most * c->expert_count;
}

int placement_pin(struct tiling *c, struct plan_run *r, const struct plan_shm *p, const struct plan_settings *s,
                  uint64_t plan_bytes, struct error *e)
{
    struct draft d = {.r = r, .p = p, .s = s, .e = e};
    struct plan_tile *tiles = c->tiles.data;
    uint64_t experts = expert_places(c), room;
    struct left left;

    clear_tiers(c);
    r->device_pin_bytes = r->expert_cache_bytes = 0;
    r->host_cache_bytes = s->cache_slots * r->slot_bytes;
    cost_count(&d.cost, p, r, plan_bytes, s->text_bytes);
    if (over_host(&d)) return refuse_host(&d);
    if (over_device(&d)) return refuse_device(&d);
    left = (struct left){.host = s->host_memory - d.cost.host, .device = s->device_memory - d.cost.device};
    widen_measuring(&d, &left, span_of(c, 0, c->sweep_count) + experts);
    room = pageable(left.host, r);
    if (s->no_pins) {
        if (s->cache_slots) r->host_cache_bytes += room;
        set_first_reads(&d, plan_bytes);
        return 0;
    }
    if (r->backend == BACKEND_CUDA)
        r->device_pin_bytes =
            placement_spread(tiles, c->sweep_count, left.device / PLAN_PAGE * PLAN_PAGE, TIER_DEVICE, TILE_STAYS);
    r->host_cache_bytes =
        placement_spread(tiles, c->sweep_count, room, TIER_HOST, r->backend == BACKEND_CPU ? TILE_STAYS : 0);
    r->expert_cache_bytes = least_of(experts, room - r->host_cache_bytes);
    r->host_cache_bytes += r->expert_cache_bytes;
    set_first_reads(&d, plan_bytes);
    return 0;
}

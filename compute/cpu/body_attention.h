/* Attention of a few positions that share their cached rows, one block of 64 positions after the other:
 *
 *      s_j = alibi(cap(scale * q.k_j))                      q.k as in a product: one vector of sums over the columns
 *      m'  = max(m, s_j)      c = exp(m - m')      p_j = exp(s_j - m')
 *      l   = l c + sum p_j    acc = acc c, then + p_j v_j, j in order
 *      dst = acc / l
 *
 * Blocks are cut at multiples of 64 positions of the sequence and a position takes part in a block with the positions that it
 * sees and no others, so its result is the same in whatever company it is computed. A sink starts m at itself and l at 1.
 * Of a position that looks at chosen ancestors only, these are numbered anew, and blocks are cut at multiples of 64 of them. */
#pragma once
#include "compute/cpu/body_rows.h"
#include "compute/cpu/body_sums.h"
#include "compute/cpu/body_gemm.h"

/* One pass of a task: positions [i0, i1), each seeing what the one before it sees, and itself. */
struct attend {
    const struct cpu_attention *a;
    uint32_t i0, i1, h0, heads; /* of each group the heads [h0, h0 + heads) */
    uint32_t group;             /* query heads of a kv head */
    size_t dk, dv, dk16, dv16;
    uint32_t queries;     /* of one kv head: (i1 - i0) * heads, position by position */
    float *q, *k, *v, *s; /* packed queries, packed block of k, block of v [64][dv16], scores [queries][64] */
    float *acc, *m, *l;   /* [queries][dv16], [queries] */
    uint32_t chosen;      /* ancestors that are looked at; 0: by position */
};

INLINE uint32_t first_seen(const struct op_attention *p, uint32_t position)
{
    uint32_t lo = p->window && position >= p->window ? position - p->window + 1 : 0;
    uint32_t chunk = p->chunk ? position - position % p->chunk : 0;
    return lo > chunk ? lo : chunk;
}

/* Whether position b's ancestors begin with position a's, given one position more. */
INLINE bool extends(const struct ops_rows *r, uint32_t a, uint32_t b)
{
    if (r->position[b] != r->position[a] + 1) return false;
    const struct ops_run *ra = r->runs + r->first[a], *rb = r->runs + r->first[b];
    uint32_t na = r->first[a + 1] - r->first[a], nb = r->first[b + 1] - r->first[b];
    if (na == 0 || nb < na) return false;
    for (uint32_t i = 0; i + 1 < na; i++)
        if (ra[i].row != rb[i].row || ra[i].length != rb[i].length) return false;
    return ra[na - 1].row == rb[na - 1].row && ra[na - 1].length <= rb[na - 1].length;
}

/* Walks a position's runs forward: the cached row of each position. */
struct row_walk {
    const struct ops_run *run, *end;
    uint32_t before; /* positions before this run */
};

INLINE uint32_t row_of(struct row_walk *w, uint32_t position)
{
    while (position - w->before >= w->run->length && w->run + 1 < w->end) {
        w->before += w->run->length;
        w->run++;
    }
    return w->run->row + (position - w->before);
}

/* Cached rows of the positions of a block from position on, before end; returns how many positions of the block those reach to. */
static uint32_t rows_of_block(struct row_walk *w, uint32_t position, uint32_t end, uint32_t *row)
{
    uint32_t j = position % ATTENTION_BLOCK;
    for (; j < ATTENTION_BLOCK && position < end; j++, position++) row[j] = row_of(w, position);
    return j;
}

/* Cached rows of the last positions of the sequence's blocks [from, end) of each positions, 64 at most; returns how many. */
static uint32_t rows_of_ends(struct row_walk *w, uint32_t each, uint32_t from, uint32_t end, uint32_t *row)
{
    const uint32_t n = end - from < ATTENTION_BLOCK ? end - from : ATTENTION_BLOCK;
    for (uint32_t j = 0; j < n; j++) row[j] = row_of(w, (from + j) * each + each - 1);
    return n;
}

INLINE void fetch_head(const unsigned char *p, size_t bytes)
{
    for (size_t b = 0; b < bytes; b += 64) prefetch_far(p + b);
}

/* k and v of the positions [j0, j1) of a block, at their positions in the block; those of the next block are sent for. */
static void load_block(const struct attend *t, uint32_t g, const uint32_t *row, uint32_t j0, uint32_t j1,
                       const uint32_t *next)
{
    const struct cpu_attention *a = t->a;
    dequantize_fn *const dequantize = dequantize_of[a->kv_form];
    const struct cpu_product k = {.form = a->kv_form, .data = a->k + g * a->k_head_bytes, .row_bytes = a->k_row_bytes};
    const struct cpu_product v = {.form = a->kv_form, .data = a->v + g * a->v_head_bytes, .row_bytes = a->v_row_bytes};
    for (uint32_t j = j0; j < j1; j++) {
        dequantize(&k, row[j], 0, t->dk, t->k + j / TILE_ROWS * TILE_ROWS * t->dk16 + j % TILE_ROWS * STEP,
                   TILE_ROWS * STEP);
        dequantize(&v, row[j], 0, t->dv, t->v + j * t->dv16, STEP);
        if (next) {
            fetch_head(a->k + next[j] * a->k_row_bytes + g * a->k_head_bytes, a->k_head_bytes);
            if (!(a->p->flags & ATTN_V_IN_K))
                fetch_head(a->v + next[j] * a->v_row_bytes + g * a->v_head_bytes, a->v_head_bytes);
        }
    }
}

INLINE const float *query_at(const struct attend *t, uint32_t g, uint32_t query)
{
    return t->a->q + (t->i0 + query / t->heads) * t->a->ldq + (g * t->group + t->h0 + query % t->heads) * t->dk;
}

/* Queries of kv head g in groups of TILE_TOKENS, as tiles want them: [group][step][query][16]. */
static void pack_queries(const struct attend *t, uint32_t g, float *dst)
{
    const uint32_t groups = kernel_groups(t->queries);
    for (uint32_t i = 0; i < groups; i++) {
        const uint32_t q0 = group_first(t->queries, groups, i), T = group_first(t->queries, groups, i + 1) - q0;
        for (uint32_t q = 0; q < T; q++)
            for (size_t k = 0; k < t->dk; k += STEP)
                vf_store(dst + q0 * t->dk16 + k * T + q * STEP,
                         load_some(query_at(t, g, q0 + q) + k, t->dk - k < STEP ? t->dk - k : STEP));
    }
}

/* s[query][j] = q . k_j for the rows of tiles [j0 / TILE_ROWS, ...) up to j1. */
static void score_block(const struct attend *t, const float *q, uint32_t j0, uint32_t j1)
{
    const uint32_t groups = kernel_groups(t->queries);
    for (uint32_t i = 0; i < groups; i++) {
        const uint32_t q0 = group_first(t->queries, groups, i), T = group_first(t->queries, groups, i + 1) - q0;
        for (uint32_t j = j0 / TILE_ROWS * TILE_ROWS; j < j1; j += TILE_ROWS) {
            const struct tile c = {.w = t->k + j * t->dk16,
                                   .x = q + q0 * t->dk16,
                                   .steps = t->dk16 / STEP,
                                   .first = true,
                                   .last = true,
                                   .y = t->s + q0 * ATTENTION_BLOCK + j,
                                   .ldy = ATTENTION_BLOCK,
                                   .rows = TILE_ROWS};
            tile_of[T - 1](&c);
        }
    }
}

INLINE float first_lane(vf x)
{
    float f[16];
    vf_store(f, x);
    return f[0];
}

/* Scores of one query's visible positions [j0, j1) to weights exp(s - m), the others 0; m and l go on; returns exp(m - m'). */
static float soften(const struct attend *t, uint32_t head, float *s, uint32_t j0, uint32_t j1, uint32_t block,
                    uint32_t position, float *m, float *l)
{
    const struct op_attention *p = t->a->p;
    const vf scale = vf_set1(p->scale), cap = vf_set1(p->cap);
    for (uint32_t j = 0; j < ATTENTION_BLOCK; j += STEP) {
        vf x = vf_mul(vf_load(s + j), scale);
        if (p->cap != 0.0f) x = soft_cap(x, cap);
        vf_store(s + j, x);
    }
    if (t->a->alibi)
        for (uint32_t j = j0; j < j1; j++)
            s[j] += t->a->alibi[head] * -(float)(position - (block * ATTENTION_BLOCK + j));
    for (uint32_t j = 0; j < j0; j++) s[j] = -__builtin_inff();
    for (uint32_t j = j1; j < ATTENTION_BLOCK; j++) s[j] = -__builtin_inff();
    vf top = vf_set1(*m);
    for (uint32_t j = 0; j < ATTENTION_BLOCK; j += STEP) top = vf_max(top, vf_load(s + j));
    const float now = vf_top(top);
    const vf shift = vf_set1(now);
    vf sum = vf_zero();
    for (uint32_t j = 0; j < ATTENTION_BLOCK; j += STEP) {
        vf e = vf_exp(vf_sub(vf_load(s + j), shift));
        vf_store(s + j, e);
        sum = vf_add(sum, e);
    }
    const float keep = first_lane(vf_exp(vf_set1(*m - now)));
    *l = *l * keep + vf_sum(sum);
    *m = now;
    return keep;
}

struct seen {
    uint32_t j0, j1; /* positions of a block that a query sees; j0 >= j1: none */
};

INLINE struct seen seen_of(const struct attend *t, uint32_t i, uint32_t block)
{
    const uint32_t base = block * ATTENTION_BLOCK, position = t->a->rows->position[i],
                   lo = first_seen(t->a->p, position);
    struct seen r = {lo > base ? lo - base : 0, position < base ? 0 : position - base + 1};
    if (t->chosen) r = (struct seen){0, t->chosen - base};
    if (r.j1 > ATTENTION_BLOCK) r.j1 = ATTENTION_BLOCK;
    return r;
}

/* Adds the block to the sums of all queries; those of a kind go together. */
static void add_block(const struct attend *t, uint32_t g, uint32_t block, float *acc, float *m, float *l)
{
    for (uint32_t q = 0; q < t->queries;) {
        const struct seen see = seen_of(t, t->i0 + q / t->heads, block);
        uint32_t T = 0;
        for (; T < TILE_TOKENS && q + T < t->queries; T++) {
            const uint32_t i = t->i0 + (q + T) / t->heads, head = g * t->group + t->h0 + (q + T) % t->heads;
            const struct seen other = seen_of(t, i, block);
            if (other.j0 != see.j0 || other.j1 != see.j1) break;
            if (see.j0 >= see.j1) continue;
            const vf keep = vf_set1(soften(t, head, t->s + (q + T) * ATTENTION_BLOCK, see.j0, see.j1, block,
                                           t->a->rows->position[i], &m[q + T], &l[q + T]));
            for (size_t c = 0; c < t->dv16; c += STEP)
                vf_store(acc + (q + T) * t->dv16 + c, vf_mul(vf_load(acc + (q + T) * t->dv16 + c), keep));
        }
        if (see.j0 < see.j1)
            sum_group((int)T, acc + q * t->dv16, t->dv16, t->s + q * ATTENTION_BLOCK + see.j0, ATTENTION_BLOCK,
                      t->v + see.j0 * t->dv16, t->dv16, see.j1 - see.j0, t->dv16);
        q += T;
    }
}

static void write_out(const struct attend *t, uint32_t g, const float *acc, const float *l)
{
    for (uint32_t q = 0; q < t->queries; q++) {
        float *dst = t->a->dst + (t->i0 + q / t->heads) * t->a->ldd + (g * t->group + t->h0 + q % t->heads) * t->dv;
        const vf sum = vf_set1(l[q]);
        FOR_VECS(c, n, t->dv)
        store_some(dst + c, vf_div(load_some(acc + q * t->dv16 + c, n), sum), n);
    }
}

/* Sums of the kv heads [g0, g1) at their beginning. */
static void begin_sums_of_heads(const struct attend *t, uint32_t g0, uint32_t g1)
{
    const size_t q_floats = t->queries * t->dk16, acc_floats = t->queries * t->dv16;
    for (uint32_t g = g0; g < g1; g++) {
        pack_queries(t, g, t->q + (g - g0) * q_floats);
        memset(t->acc + (g - g0) * acc_floats, 0, acc_floats * sizeof(float));
        for (uint32_t q = 0; q < t->queries; q++) {
            const uint32_t head = g * t->group + t->h0 + q % t->heads;
            t->m[(g - g0) * t->queries + q] = t->a->sinks ? t->a->sinks[head] : -__builtin_inff();
            t->l[(g - g0) * t->queries + q] = t->a->sinks ? 1.0f : 0.0f;
        }
    }
}

/* kv heads [g0, g1): the block outside, so that whole cached rows are read while they are at hand. */
static void attend_run(const struct attend *t, uint32_t g0, uint32_t g1)
{
    const struct ops_rows *r = t->a->rows;
    const uint32_t last = t->i1 - 1, end = r->position[last] + 1, begin = first_seen(t->a->p, r->position[t->i0]);
    const size_t q_floats = t->queries * t->dk16, acc_floats = t->queries * t->dv16;
    begin_sums_of_heads(t, g0, g1);
    struct row_walk walk = {r->runs + r->first[last], r->runs + r->first[last + 1], 0};
    uint32_t row[2][ATTENTION_BLOCK]; /* of this block and the next */
    uint32_t block = begin / ATTENTION_BLOCK, j0 = begin % ATTENTION_BLOCK,
             j1 = rows_of_block(&walk, begin, end, row[block % 2]);
    for (; j1 > 0; block++, j0 = 0) {
        const uint32_t *now = row[block % 2], next = (block + 1) * ATTENTION_BLOCK;
        const uint32_t next_j1 = next < end ? rows_of_block(&walk, next, end, row[(block + 1) % 2]) : 0;
        for (uint32_t g = g0; g < g1; g++) {
            load_block(t, g, now, j0, j1, next_j1 == ATTENTION_BLOCK ? row[(block + 1) % 2] : NULL);
            score_block(t, t->q + (g - g0) * q_floats, j0, j1);
            add_block(t, g, block, t->acc + (g - g0) * acc_floats, t->m + (g - g0) * t->queries,
                      t->l + (g - g0) * t->queries);
        }
        j1 = next_j1;
    }
    for (uint32_t g = g0; g < g1; g++) write_out(t, g, t->acc + (g - g0) * acc_floats, t->l + (g - g0) * t->queries);
}

/* The list of chosen blocks of position t->i0 for kv head g: how many, then their numbers. */
INLINE const uint32_t *list_of(const struct attend *t, uint32_t g)
{
    const struct op_attention *p = t->a->p;
    return t->a->rows->chosen + (size_t)t->i0 * t->a->rows->ld_chosen +
           g / (p->kv_heads / p->chosen_groups) * (size_t)(1 + p->chosen_top);
}

/* Cached rows of the chosen ancestors [from, end), of a block at most; returns how many. */
static uint32_t rows_of_list(struct row_walk *w, const uint32_t *list, uint32_t each, uint32_t from, uint32_t end,
                             uint32_t *row)
{
    uint32_t n = end - from < ATTENTION_BLOCK ? end - from : ATTENTION_BLOCK;
    for (uint32_t j = 0; j < n; j++) row[j] = row_of(w, list[1 + (from + j) / each] * each + (from + j) % each);
    return n;
}

/* One position and one kv head over what was chosen for it. */
static void attend_chosen(struct attend *t, uint32_t g)
{
    const struct ops_rows *r = t->a->rows;
    const uint32_t *list = list_of(t, g), each = t->a->p->chosen_block, position = r->position[t->i0];
    const uint32_t last = list[list[0]] * each,
                   rest = position + 1 - last; /* the last block may end behind the position */
    const uint32_t end = t->chosen = (list[0] - 1) * each + (rest < each ? rest : each);
    struct row_walk walk = {r->runs + r->first[t->i0], r->runs + r->first[t->i0 + 1], 0};
    uint32_t row[2][ATTENTION_BLOCK], block = 0, n = rows_of_list(&walk, list, each, 0, end, row[0]);
    begin_sums_of_heads(t, g, g + 1);
    for (; n > 0; block++) {
        const uint32_t next = (block + 1) * ATTENTION_BLOCK;
        const uint32_t more = next < end ? rows_of_list(&walk, list, each, next, end, row[(block + 1) % 2]) : 0;
        load_block(t, g, row[block % 2], 0, n, more == ATTENTION_BLOCK ? row[(block + 1) % 2] : NULL);
        score_block(t, t->q, 0, n);
        add_block(t, g, block, t->acc, t->m, t->l);
        n = more;
    }
    write_out(t, g, t->acc, t->l);
}

/* What a position looks at that has two keys a row: pooled blocks, then the window. Rows are numbered by key. */
struct two_keys {
    struct row_walk blocks, window;
    const uint32_t *list;              /* NULL: all blocks */
    uint32_t each, pooled, first, end; /* blocks; the window's first position; how many there are together */
};

static uint32_t rows_of_two(struct two_keys *k, uint32_t from, uint32_t *row)
{
    const uint32_t n = k->end - from < ATTENTION_BLOCK ? k->end - from : ATTENTION_BLOCK;
    for (uint32_t j = 0; j < n; j++) {
        const uint32_t v = from + j;
        if (v < k->pooled)
            row[j] = 2 * row_of(&k->blocks, (k->list ? k->list[1 + v] : v) * k->each + k->each - 1) + 1;
        else
            row[j] = 2 * row_of(&k->window, k->first + (v - k->pooled));
    }
    return n;
}

/* One position over pooled blocks and its window, these numbered anew. */
static void attend_pooled(struct attend *t)
{
    const struct op_attention *p = t->a->p;
    const struct ops_rows *r = t->a->rows;
    const uint32_t position = r->position[t->i0];
    const struct row_walk walk = {r->runs + r->first[t->i0], r->runs + r->first[t->i0 + 1], 0};
    struct two_keys k = {.blocks = walk, .window = walk, .each = p->pooled, .first = first_seen(p, position)};
    uint32_t row[2][ATTENTION_BLOCK], block = 0, n;
    k.list = p->chosen_top ? list_of(t, 0) : NULL;
    k.pooled = k.list ? k.list[0] : (position + 1) / p->pooled;
    t->chosen = k.end = k.pooled + position + 1 - k.first;
    begin_sums_of_heads(t, 0, 1);
    for (n = rows_of_two(&k, 0, row[0]); n > 0; block++) {
        const uint32_t next = (block + 1) * ATTENTION_BLOCK;
        const uint32_t more = next < k.end ? rows_of_two(&k, next, row[(block + 1) % 2]) : 0;
        load_block(t, 0, row[block % 2], 0, n, more == ATTENTION_BLOCK ? row[(block + 1) % 2] : NULL);
        score_block(t, t->q, 0, n);
        add_block(t, 0, block, t->acc, t->m, t->l);
        n = more;
    }
    write_out(t, 0, t->acc, t->l);
}

/* work: cpu_attention_floats(), which this must agree with. */
static void kernel_attention(const struct cpu_attention *a, const struct cpu_attention_task *task, float *work)
{
    const struct op_attention *p = a->p;
    struct attend t = {.a = a,
                       .h0 = task->h0,
                       .heads = task->h1 - task->h0,
                       .group = p->heads / p->kv_heads,
                       .dk = p->dk,
                       .dv = p->dv,
                       .dk16 = cpu_round_up(p->dk, STEP),
                       .dv16 = cpu_round_up(p->dv, STEP)};
    t.k = work;
    t.v = t.k + ATTENTION_BLOCK * t.dk16;
    t.q = t.v + ATTENTION_BLOCK * t.dv16;
    t.acc = t.q + ATTENTION_QUERIES * t.dk16;
    t.s = t.acc + ATTENTION_QUERIES * t.dv16;
    t.m = t.s + (size_t)ATTENTION_QUERIES * ATTENTION_BLOCK;
    t.l = t.m + ATTENTION_QUERIES;
    for (t.i0 = task->i0; t.i0 < task->i1; t.i0 = t.i1) {
        t.i1 = t.i0 + 1;
        const bool alone = p->chosen_top || p->pooled; /* each position looks at ancestors of its own */
        while (!alone && t.i1 < task->i1 && extends(a->rows, t.i1 - 1, t.i1)) t.i1++;
        t.queries = (t.i1 - t.i0) * t.heads;
        if (p->pooled) attend_pooled(&t);
        if (!alone) attend_run(&t, task->g0, task->g1);
        for (uint32_t g = task->g0; p->chosen_top && !p->pooled && g < task->g1; g++) attend_chosen(&t, g);
    }
}

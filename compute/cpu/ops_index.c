/* An index: scores of the ancestors, cut into tasks of positions x ancestors; then of each position and group the best blocks,
 * found by their scores' bits, so that the list is the same however it was cut. */
#include <errno.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/scalar.h"

#define POSITIONS_EACH 8u /* of a task of scores */
#define BLOCKS_LEAST   8u /* of 64 ancestors, of such a task */

struct index_job {
    struct ops *o;
    struct cpu_index x;
    uint32_t *dst;
    size_t ldd;
    uint32_t n, positions, blocks, by_blocks; /* n: positions of this turn, from x.first on */
    uint64_t bytes_each;
};

static uint32_t parts(uint32_t whole, uint32_t each)
{
    return (whole + each - 1) / each;
}

static void score_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct index_job *j = arg;
    const uint32_t i = j->x.first + task / j->by_blocks * j->positions, end = j->x.first + j->n,
                   b = task % j->by_blocks * j->blocks;
    const struct cpu_index_task t = {i, end - i < j->positions ? end : i + j->positions, b, b + j->blocks};
    j->o->kernels->index(&j->x, &t, cpu_worker_scratch(j->o, worker, j->bytes_each));
}

/* ---- choosing ---- */

#define FIRST      UINT32_MAX  /* before every score */
#define NOT_NUMBER (FIRST - 1) /* must not just be passed over */

/* In the order of the numbers; both zeros are one. */
static uint32_t order_of(float x)
{
    const uint32_t u = bits_of_float(x + 0.0f);
    if (x != x) return NOT_NUMBER;
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/* The best score of each block, as its order, in the place of the scores. */
static void order_blocks(const struct op_index *p, uint32_t position, float *scores)
{
    const uint32_t blocks = cpu_index_blocks(p, position);
    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t best = p->flags & INDEX_POOLED ? order_of(scores[b]) : 0;
        for (uint32_t j = b * p->block; !(p->flags & INDEX_POOLED) && j <= position && j < (b + 1) * p->block; j++) {
            const uint32_t x = order_of(scores[j]);
            best = x > best ? x : best;
        }
        if (blocks - b <= p->local) best = FIRST;
        memcpy(&scores[b], &best, sizeof best);
    }
}

static uint32_t order_at(const float *orders, uint32_t i)
{
    uint32_t x;
    memcpy(&x, orders + i, sizeof x);
    return x;
}

/* The top-th largest of n orders, top < n; *above: how many are larger. One byte of it after the other. */
static uint32_t threshold(const float *orders, uint32_t n, uint32_t top, uint32_t *above)
{
    uint32_t found = 0, known = 0;
    *above = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        uint32_t count[256] = {0}, digit = 255;
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t x = order_at(orders, i);
            if ((x & known) == found) count[x >> shift & 255]++;
        }
        while (*above + count[digit] < top) *above += count[digit--];
        found |= digit << shift;
        known |= UINT32_C(255) << shift;
    }
    return found;
}

static void choose(const struct op_index *p, uint32_t position, float *scores, uint32_t *list)
{
    const uint32_t blocks = cpu_index_blocks(p, position);
    uint32_t above, least, equal;
    list[0] = blocks < p->top ? blocks : p->top;
    if (blocks <= p->top) {
        for (uint32_t b = 0; b < blocks; b++) list[1 + b] = b;
        return;
    }
    order_blocks(p, position, scores);
    least = threshold(scores, blocks, p->top, &above);
    equal = p->top - above;
    for (uint32_t b = 0, n = 1; b < blocks; b++) {
        const uint32_t x = order_at(scores, b);
        if (x > least || (x == least && equal && equal--)) list[n++] = b;
    }
}

static void choose_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct index_job *j = arg;
    const struct op_index *p = j->x.p;
    const uint32_t i = j->x.first + task;
    (void)worker;
    for (uint32_t g = 0; g < p->groups; g++)
        choose(p, j->x.rows->position[i], j->x.scores + ((size_t)task * p->groups + g) * j->x.ld,
               j->dst + i * j->ldd + g * (size_t)(1 + p->top));
}

/* ---- a call ---- */

/* Positions [first, first + n). */
static void one_turn(struct index_job *j)
{
    const struct op_index *p = j->x.p;
    const struct ops_rows *r = j->x.rows;
    const uint32_t all = (uint32_t)(j->x.ld / ATTENTION_BLOCK), wanted = 4 * j->o->threads;
    j->positions = j->n < POSITIONS_EACH ? j->n : POSITIONS_EACH;
    const uint32_t by_positions = parts(j->n, j->positions);
    j->blocks = by_positions < wanted ? parts(all, parts(wanted, by_positions)) : all;
    if (j->blocks < BLOCKS_LEAST) j->blocks = BLOCKS_LEAST;
    j->by_blocks = parts(all, j->blocks);
    if (cpu_index_blocks(p, r->max_position) > p->top)
        cpu_run(j->o, score_task, j, by_positions * j->by_blocks, (uint64_t)j->n * j->x.ld * p->heads * p->dim);
    cpu_run(j->o, choose_task, j, j->n, (uint64_t)j->n * p->groups * j->x.ld);
}

void ops_index(struct ops *o, const struct op_index *p, uint32_t *dst, uint32_t ldd, const float *q, uint32_t ldq,
               const float *w, uint32_t ldw, const void *cache, uint32_t kv_form, const struct ops_rows *r)
{
    struct index_job j = {.o = o,
                          .dst = dst,
                          .ldd = ldd,
                          .bytes_each = footprint_cpu_index(p->heads, p->dim) * sizeof(float),
                          .x = {.p = p,
                                .q = q,
                                .w = w,
                                .ldq = ldq,
                                .ldw = ldw,
                                .ld = cpu_round_up((size_t)r->max_position + 1, ATTENTION_BLOCK),
                                .k = cache,
                                .kv_form = kv_form,
                                .rows = r}};
    const uint64_t one = p->groups * j.x.ld * sizeof(float);
    uint64_t left;

    if (!r->n) return;
    if (!form_can_be(kv_form, FORM_CACHE)) {
        error_set(&o->error, ENOTSUP, "no index is kept in form %u (%s)", kv_form, form_name(kv_form));
        return;
    }
    j.x.scores = cpu_shared_scratch(o, j.bytes_each, &left);
    if (left < one) {
        error_set(&o->error, ENOMEM, "scratch of %llu bytes is too small for an index of %u heads over %u positions",
                  (unsigned long long)o->scratch_bytes, p->heads, r->max_position + 1);
        return;
    }
    for (j.n = 0; j.x.first < r->n; j.x.first += j.n) {
        const uint64_t fit = left / one;
        j.n = r->n - j.x.first < fit ? r->n - j.x.first : (uint32_t)fit;
        one_turn(&j);
    }
}

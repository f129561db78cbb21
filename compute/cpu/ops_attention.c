/* Attention: the cache is written position by position; the rest is cut into tasks of positions x kv heads (x query heads
 * where a kv head has very many of them). */
#include <errno.h>

#include "compute/cpu/cpu.h"

#define WHOLE_ROW_BYTES 2048u /* kv heads of a task lie side by side; beyond this the memory gains nothing */

/* An error of the backend where no cache is kept so. */
static bool known(struct ops *o, uint32_t kv_form)
{
    if (form_can_be(kv_form, FORM_CACHE)) return true;
    error_set(&o->error, ENOTSUP, "no KV cache is kept in form %u (%s)", kv_form, form_name(kv_form));
    return false;
}

struct store_job {
    struct ops *o;
    unsigned char *cache;
    const float *src;
    const struct ops_rows *rows;
    size_t width, ld;
    uint32_t kv_form, each;
};

static void store_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct store_job *j = arg;
    (void)worker;
    for (uint32_t i = task * j->each; i < j->rows->n && i < (task + 1) * j->each; i++)
        j->o->kernels->narrow(j->cache + j->rows->row[i] * j->width * form_bytes(j->kv_form), j->src + i * j->ld,
                              j->kv_form, j->width);
}

void ops_kv_store(struct ops *o, uint32_t kv_form, void *cache, uint32_t width, const float *src, uint32_t ld,
                  const struct ops_rows *r)
{
    struct store_job j = {o, cache, src, r, width, ld, kv_form, (r->n + 4 * o->threads - 1) / (4 * o->threads)};
    if (r->n && known(o, kv_form)) cpu_run(o, store_task, &j, (r->n + j.each - 1) / j.each, (uint64_t)r->n * width);
}

struct attention_job {
    struct ops *o;
    struct cpu_attention a;
    uint64_t bytes_each;
    uint32_t positions, kv_heads, heads; /* of one task; heads: of the queries of one kv head */
    uint32_t by_kv, by_head;             /* tasks for the same positions: by_kv * by_head */
};

static uint32_t parts(uint32_t whole, uint32_t each)
{
    return (whole + each - 1) / each;
}

static void attention_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct attention_job *j = arg;
    const struct op_attention *p = j->a.p;
    const uint32_t group = p->heads / p->kv_heads, n = j->a.rows->n;
    const uint32_t h = task % j->by_head, g = task / j->by_head % j->by_kv, i = task / j->by_head / j->by_kv;
    struct cpu_attention_task t = {.i0 = i * j->positions, .g0 = g * j->kv_heads, .h0 = h * j->heads};
    t.i1 = n - t.i0 < j->positions ? n : t.i0 + j->positions;
    t.g1 = p->kv_heads - t.g0 < j->kv_heads ? p->kv_heads : t.g0 + j->kv_heads;
    t.h1 = group - t.h0 < j->heads ? group : t.h0 + j->heads;
    j->o->kernels->attention(&j->a, &t, cpu_worker_scratch(j->o, worker, j->bytes_each));
}

/* As many queries to a task as fit, but tasks enough for all threads. Few positions: neighbouring kv heads together, so that
 * cached rows are read in long pieces. */
static void cut(struct attention_job *j)
{
    const struct op_attention *p = j->a.p;
    const uint32_t group = p->heads / p->kv_heads, n = j->a.rows->n, wanted = 2 * j->o->threads;
    j->heads = parts(group, parts(group, ATTENTION_QUERIES));
    j->by_head = parts(group, j->heads);
    j->positions = ATTENTION_QUERIES / j->heads < n ? ATTENTION_QUERIES / j->heads : n;
    j->kv_heads = 1;
    if (j->positions == n && j->by_head == 1) {
        while (2 * j->kv_heads * j->heads * n <= ATTENTION_QUERIES && 2 * j->kv_heads * wanted <= p->kv_heads &&
               j->kv_heads * j->a.k_head_bytes < WHOLE_ROW_BYTES)
            j->kv_heads *= 2;
    }
    while (j->by_head * p->kv_heads * parts(n, j->positions) < wanted && j->positions > 8)
        j->positions = parts(j->positions, 2);
    while (j->by_head * p->kv_heads * parts(n, j->positions) < j->o->threads && j->heads > 4) {
        j->heads = parts(j->heads, 2);
        j->by_head = parts(group, j->heads);
    }
    j->by_kv = parts(p->kv_heads, j->kv_heads);
}

void ops_attention(struct ops *o, const struct op_attention *p, float *dst, uint32_t ldd, const float *q, uint32_t ldq,
                   const void *k_cache, const void *v_cache, uint32_t kv_form, const float *sinks, const float *alibi,
                   const struct ops_rows *r)
{
    const size_t bytes = form_bytes(kv_form);
    struct attention_job j = {.o = o, .bytes_each = footprint_cpu_attention(p->dk, p->dv) * sizeof(float)};
    if (r->n == 0 || !known(o, kv_form)) return;
    if (o->threads * cpu_round_up(j.bytes_each, 64) > o->scratch_bytes) {
        error_set(&o->error, ENOMEM, "scratch of %llu bytes is too small for attention heads of %u and %u columns",
                  (unsigned long long)o->scratch_bytes, p->dk, p->dv);
        return;
    }
    j.a = (struct cpu_attention){.p = p,
                                 .dst = dst,
                                 .q = q,
                                 .ldd = ldd,
                                 .ldq = ldq,
                                 .k = k_cache,
                                 .v = v_cache,
                                 .kv_form = kv_form,
                                 .sinks = sinks,
                                 .alibi = alibi,
                                 .rows = r,
                                 .k_head_bytes = p->dk * bytes,
                                 .v_head_bytes = p->dv * bytes,
                                 .k_row_bytes = (size_t)p->kv_heads * p->dk * bytes,
                                 .v_row_bytes = (size_t)p->kv_heads * p->dv * bytes};
    if (p->flags & ATTN_V_IN_K) {
        j.a.v = k_cache;
        j.a.v_head_bytes = j.a.k_head_bytes;
        j.a.v_row_bytes = j.a.k_row_bytes;
    }
    cut(&j);
    const uint64_t seen = p->window && p->window < r->max_position ? p->window : (uint64_t)r->max_position + 1;
    const uint64_t chosen = (uint64_t)p->chosen_top * p->chosen_block;
    cpu_run(o, attention_task, &j, j.by_head * j.by_kv * parts(r->n, j.positions),
            (chosen && chosen < seen ? chosen : seen) * r->n * p->heads * (p->dk + p->dv));
}

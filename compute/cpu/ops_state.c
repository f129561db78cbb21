/* Recurrent operations: positions go one after the other, channels and heads beside each other. */
#include <errno.h>

#include "compute/cpu/cpu.h"

#define CONV_CHANNELS 64u /* of a task */

struct conv_job {
    struct ops *o;
    const struct op_conv *p;
    float *dst, *states;
    const float *src, *weight, *bias;
    size_t ldd, lds, state_floats;
    const struct ops_chain *chain;
};

static void conv_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct conv_job *j = arg;
    (void)worker;
    const size_t c0 = (size_t)task * CONV_CHANNELS,
                 c1 = j->p->width - c0 < CONV_CHANNELS ? j->p->width : c0 + CONV_CHANNELS;
    j->o->kernels->conv(j->p, j->dst, j->ldd, j->src, j->lds, j->weight, j->bias, j->states, j->state_floats, j->chain,
                        c0, c1);
}

void ops_conv(struct ops *o, const struct op_conv *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
              const float *weight, const float *bias, float *states, uint64_t state_floats, const struct ops_chain *c)
{
    struct conv_job j = {o, p, dst, states, src, weight, bias, ldd, lds, state_floats, c};
    cpu_run(o, conv_task, &j, (p->width + CONV_CHANNELS - 1) / CONV_CHANNELS, (uint64_t)p->width * p->taps * c->n);
}

struct scan_job {
    struct ops *o;
    const struct op_scan *p;
    float *dst, *states;
    const struct ops_scan_args *x;
    size_t ldd, state_floats;
    const struct ops_chain *chain;
    uint64_t bytes_each;
    uint32_t parts; /* tasks of a head */
};

static void scan_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct scan_job *j = arg;
    const size_t c0 = (size_t)(task % j->parts) * SCAN_COLUMNS,
                 c1 = j->p->width - c0 < SCAN_COLUMNS ? j->p->width : c0 + SCAN_COLUMNS;

    j->o->kernels->scan(j->p, j->dst, j->ldd, j->x, j->states, j->state_floats, j->chain, task / j->parts, c0, c1,
                        cpu_worker_scratch(j->o, worker, j->bytes_each));
}

void ops_scan(struct ops *o, const struct op_scan *p, float *dst, uint32_t ldd, const struct ops_scan_args *x,
              float *states, uint64_t state_floats, const struct ops_chain *c)
{
    struct scan_job j = {.o = o,
                         .p = p,
                         .dst = dst,
                         .states = states,
                         .x = x,
                         .ldd = ldd,
                         .state_floats = state_floats,
                         .chain = c,
                         .bytes_each = footprint_cpu_scan(p->states) * sizeof(float),
                         .parts = (p->width + SCAN_COLUMNS - 1) / SCAN_COLUMNS};
    if (o->threads * cpu_round_up(j.bytes_each, 64) > o->scratch_bytes) {
        error_set(&o->error, ENOMEM, "scratch of %llu bytes is too small for a scan of %u states",
                  (unsigned long long)o->scratch_bytes, p->states);
        return;
    }
    cpu_run(o, scan_task, &j, p->heads * j.parts, (uint64_t)p->heads * p->width * p->states * 3 * c->n);
}

struct delta_job {
    struct ops *o;
    const struct op_delta *p;
    float *dst, *states;
    const struct ops_delta_args *x;
    size_t ldd, state_floats;
    const struct ops_chain *chain;
    uint64_t bytes_each;
};

static void delta_task(void *arg, uint32_t worker, uint32_t head)
{
    const struct delta_job *j = arg;
    j->o->kernels->delta(j->p, j->dst, j->ldd, j->x, j->states, j->state_floats, j->chain, head,
                         cpu_worker_scratch(j->o, worker, j->bytes_each));
}

void ops_delta(struct ops *o, const struct op_delta *p, float *dst, uint32_t ldd, const struct ops_delta_args *x,
               float *states, uint64_t state_floats, const struct ops_chain *c)
{
    struct delta_job j = {o, p, dst, states, x, ldd, state_floats, c, footprint_cpu_delta(p->dk) * sizeof(float)};
    if (o->threads * cpu_round_up(j.bytes_each, 64) > o->scratch_bytes) {
        error_set(&o->error, ENOMEM, "scratch of %llu bytes is too small for a state with %u keys",
                  (unsigned long long)o->scratch_bytes, p->dk);
        return;
    }
    cpu_run(o, delta_task, &j, p->heads, (uint64_t)p->heads * p->dk * p->dv * 4 * c->n);
}

struct pool_job {
    struct ops *o;
    const struct op_pool *p;
    float *dst, *states;
    const struct ops_pool_args *x;
    size_t ldd, state_floats;
    const struct ops_chain *chain;
};

static void pool_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct pool_job *j = arg;
    (void)worker;
    const size_t c0 = (size_t)task * CONV_CHANNELS,
                 c1 = j->p->width - c0 < CONV_CHANNELS ? j->p->width : c0 + CONV_CHANNELS;
    j->o->kernels->pool(j->p, j->dst, j->ldd, j->x, j->states, j->state_floats, j->chain, c0, c1);
}

void ops_pool(struct ops *o, const struct op_pool *p, float *dst, uint32_t ldd, const struct ops_pool_args *x,
              float *states, uint64_t state_floats, const struct ops_chain *c)
{
    struct pool_job j = {o, p, dst, states, x, ldd, state_floats, c};
    cpu_run(o, pool_task, &j, (p->width + CONV_CHANNELS - 1) / CONV_CHANNELS,
            (uint64_t)p->width * p->parts * 16 * c->n);
}

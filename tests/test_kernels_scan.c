/* Selective scans on the processor: against the scalar reference, and the same bytes from every variant, thread count and cut of
 * the positions into calls. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "tests/support_kernels.h"

/* Sequences that begin, fork and go on; then one long prompt in one slot, which two others interrupt. */
enum { SHORT = 9, LONG = 150, CHAIN = SHORT + LONG, SLOTS = 5 };
static uint32_t from[CHAIN] = {UINT32_MAX, 0, UINT32_MAX, 0, 1, 3, 0, 3, 2}, to[CHAIN] = {0, 0, 1, 3, 1, 3, 0, 2, 4};

static void make_chain(void)
{
    for (uint32_t i = SHORT; i < CHAIN; i++) from[i] = to[i] = i == 77 ? 1 : i == 120 ? 3 : 4;
    from[90] = UINT32_MAX;
}

struct data {
    struct op_scan p;
    size_t out, groups, each, rates, state; /* columns of x, of b and c, of dt; elements of a_log; floats of a slot */
    float *x, *dt, *b, *c, *a_log, *dt_bias, *skip, *start;
    struct ops_scan_args args;
};

static float *copy_of(const float *p, size_t n)
{
    float *c = malloc(n * sizeof *c);

    assert_non_null(c);
    memcpy(c, p, n * sizeof *c);
    return c;
}

static struct data make(struct op_scan p, bool skips)
{
    uint64_t seed = p.heads + p.width * UINT64_C(7) + p.flags;
    bool channels = p.flags & SCAN_CHANNELS;
    struct data d = {.p = p, .out = (size_t)p.heads * p.width, .groups = (size_t)p.groups * p.states};

    d.each = channels ? d.out : p.heads;
    d.rates = channels ? d.out * p.states : p.heads;
    d.state = d.out * p.states + 3;
    d.x = kernels_floats(&seed, CHAIN * d.out);
    d.dt = kernels_floats(&seed, CHAIN * d.each);
    d.b = kernels_floats(&seed, CHAIN * d.groups);
    d.c = kernels_floats(&seed, CHAIN * d.groups);
    d.a_log = kernels_floats(&seed, d.rates);
    d.dt_bias = kernels_floats(&seed, d.each);
    d.skip = kernels_floats(&seed, d.each);
    d.start = kernels_floats(&seed, SLOTS * d.state);
    d.dt[0] = 30.0f;
    d.dt[d.each] = -60.0f;
    d.dt[CHAIN * d.each - 1] = -9.0f;
    for (size_t i = 0; i < d.rates && p.flags & SCAN_RATES; i++) d.a_log[i] = -fabsf(d.a_log[i]);
    d.args = (struct ops_scan_args){d.x,
                                    d.dt,
                                    d.b,
                                    d.c,
                                    (uint32_t)d.out,
                                    (uint32_t)d.each,
                                    (uint32_t)d.groups,
                                    (uint32_t)d.groups,
                                    d.a_log,
                                    d.dt_bias,
                                    skips ? d.skip : NULL};
    return d;
}

static void drop(struct data *d)
{
    free(d->x), free(d->dt), free(d->b), free(d->c), free(d->a_log), free(d->dt_bias), free(d->skip), free(d->start);
}

/* Positions [i, i + n) of the chain. */
static void scan(struct ops *o, const struct data *d, float *y, float *states, uint32_t i, uint32_t n)
{
    const struct ops_chain c = {from + i, to + i, n};
    struct ops_scan_args x = d->args;

    x.x += i * d->out;
    x.dt += i * d->each;
    x.b += i * d->groups;
    x.c += i * d->groups;
    ops_scan(o, &d->p, y + i * d->out, (uint32_t)d->out, &x, states, d->state, &c);
}

static void check_scan(struct op_scan p, bool skips)
{
    static const uint32_t cuts[] = {1, 5, 64, 70};
    struct data d = make(p, skips);
    float *states = copy_of(d.start, SLOTS * d.state), *want = calloc(CHAIN * d.out, 4), *base = NULL,
          *base_states = NULL;
    const struct ops_chain chain = {from, to, CHAIN};

    reference_scan(&d.p, want, (uint32_t)d.out, &d.args, states, d.state, &chain);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        float *y = calloc(CHAIN * d.out, 4), *got = copy_of(d.start, SLOTS * d.state);

        scan(o, &d, y, got, 0, CHAIN);
        kernels_assert_near(y, want, CHAIN * d.out, 5e-6, NULL, 1, "scan");
        kernels_assert_near(got, states, SLOTS * d.state, 5e-6, NULL, 1, "states of the scan");
        base = base ? base : copy_of(y, CHAIN * d.out);
        base_states = base_states ? base_states : copy_of(got, SLOTS * d.state);
        kernels_assert_same(y, base, CHAIN * d.out, kernels_way_name(way));
        kernels_assert_same(got, base_states, SLOTS * d.state, kernels_way_name(way));
        for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
            memcpy(got, d.start, SLOTS * d.state * 4);
            memset(y, 0, CHAIN * d.out * 4);
            for (uint32_t i = 0; i < CHAIN; i += cuts[k])
                scan(o, &d, y, got, i, CHAIN - i < cuts[k] ? CHAIN - i : cuts[k]);
            kernels_assert_same(y, base, CHAIN * d.out, "scan in parts");
            kernels_assert_same(got, base_states, SLOTS * d.state, "states of the scan in parts");
        }
        free(y), free(got);
        ops_close(o);
    }
    free(states), free(want), free(base), free(base_states);
    drop(&d);
}

static void of_heads(void **state)
{
    (void)state;
    check_scan((struct op_scan){.heads = 4, .width = 64, .groups = 2, .states = 128, .dt_most = INFINITY}, true);
    check_scan((struct op_scan){.heads = 3, .width = 16, .groups = 3, .states = 16, .dt_most = INFINITY}, false);
    check_scan((struct op_scan){.heads = 5, .width = 21, .groups = 1, .states = 7, .dt_most = INFINITY}, true);
    check_scan(
        (struct op_scan){.heads = 2, .width = 100, .groups = 2, .states = 9, .flags = SCAN_RATES, .dt_most = INFINITY},
        true);
}

static void of_channels(void **state)
{
    (void)state;
    check_scan(
        (struct op_scan){
            .heads = 1, .width = 160, .groups = 1, .states = 8, .flags = SCAN_CHANNELS, .dt_most = INFINITY},
        true);
    check_scan(
        (struct op_scan){
            .heads = 2, .width = 37, .groups = 2, .states = 5, .flags = SCAN_CHANNELS, .dt_most = INFINITY},
        false);
    check_scan((struct op_scan){.heads = 1,
                                .width = 64,
                                .groups = 1,
                                .states = 16,
                                .flags = SCAN_CHANNELS | SCAN_RATES,
                                .dt_most = INFINITY},
               true);
}

static void steps_in_bounds(void **state)
{
    (void)state;
    check_scan((struct op_scan){.heads = 3, .width = 32, .groups = 1, .states = 16, .dt_least = 0.6f, .dt_most = 0.8f},
               true);
    check_scan((struct op_scan){.heads = 1,
                                .width = 48,
                                .groups = 1,
                                .states = 4,
                                .flags = SCAN_CHANNELS,
                                .dt_least = 0.6f,
                                .dt_most = 0.8f},
               true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_heads),
        cmocka_unit_test(of_channels),
        cmocka_unit_test(steps_in_bounds),
    };

    make_chain();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Selective scans of the cuda backend, held against the reference in double precision. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "tests/gpu/gpu.h"

/* Two sequences that begin, one that goes on, and a branch. */
enum { CHAIN = 7, SLOTS = 4 };
static const uint32_t chain_from[CHAIN] = {UINT32_MAX, 0, 0, UINT32_MAX, 2, 1, 3},
                      chain_to[CHAIN] = {0, 0, 2, 1, 2, 3, 3};

static void check_scan(struct ops *o, struct op_scan p, bool skips)
{
    uint64_t seed = p.width + p.flags;
    bool channels = p.flags & SCAN_CHANNELS;
    uint32_t out = p.heads * p.width, each = channels ? out : p.heads, groups = p.groups * p.states;
    size_t rates = channels ? (size_t)out * p.states : p.heads, floats = (size_t)out * p.states + 1;
    struct ops_chain c = {chain_from, chain_to, CHAIN};
    float *x = gpu_floats(&seed, CHAIN * out), *dt = gpu_floats(&seed, CHAIN * each),
          *b = gpu_floats(&seed, CHAIN * groups), *z = gpu_floats(&seed, CHAIN * groups),
          *a_log = gpu_floats(&seed, rates), *bias = gpu_floats(&seed, each), *skip = gpu_floats(&seed, each),
          *s = gpu_floats(&seed, SLOTS * floats), *dst = calloc(CHAIN * (out + 1), 4), *got;
    float *ds, *dd;
    struct ops_scan_args h, d;

    for (size_t i = 0; i < rates && p.flags & SCAN_RATES; i++) a_log[i] = -fabsf(a_log[i]);
    ds = gpu_put(o, s, SLOTS * floats * 4);
    dd = gpu_put(o, dst, CHAIN * (out + 1) * 4ull);
    h = (struct ops_scan_args){x, dt, b, z, out, each, groups, groups, a_log, bias, skips ? skip : NULL};
    d = (struct ops_scan_args){gpu_put(o, x, CHAIN * out * 4ull),
                               gpu_put(o, dt, CHAIN * each * 4ull),
                               gpu_put(o, b, CHAIN * groups * 4ull),
                               gpu_put(o, z, CHAIN * groups * 4ull),
                               out,
                               each,
                               groups,
                               groups,
                               gpu_put(o, a_log, rates * 4),
                               gpu_put(o, bias, each * 4ull),
                               gpu_put(o, h.skip, each * 4ull)};
    ops_scan(o, &p, dd, out + 1, &d, ds, floats, &c);
    reference_scan(&p, dst, out + 1, &h, s, floats, &c);
    got = gpu_get(o, dd, CHAIN * (out + 1));
    gpu_assert_near(got, dst, CHAIN * (out + 1), 4e-6, NULL, 1, "scan");
    free(got);
    got = gpu_get(o, ds, SLOTS * floats);
    gpu_assert_near(got, s, SLOTS * floats, 4e-6, NULL, 1, "states of the scan");
    free(got), free(x), free(dt), free(b), free(z), free(a_log), free(bias), free(skip), free(s), free(dst);
    gpu_forget(o);
}

static void scans(void **state)
{
    static const struct op_scan ways[] = {
        {.heads = 4, .width = 40, .groups = 2, .states = 16, .dt_most = INFINITY},
        {.heads = 3, .width = 16, .groups = 1, .states = 33, .flags = SCAN_RATES, .dt_least = 0.5f, .dt_most = 0.9f},
        {.heads = 1, .width = 70, .groups = 1, .states = 8, .flags = SCAN_CHANNELS, .dt_most = INFINITY},
        {.heads = 2, .width = 20, .groups = 2, .states = 5, .flags = SCAN_CHANNELS | SCAN_RATES, .dt_most = INFINITY}};
    struct ops *o = gpu_open(1u << 20);

    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) check_scan(o, ways[i], i % 2 == 0);
    gpu_close(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scans)};

    return gpu_present() ? cmocka_run_group_tests_name("cuda scans", tests, NULL, NULL) : 0;
}

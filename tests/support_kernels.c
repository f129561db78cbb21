#include "tests/support_kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

uint32_t kernels_random(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = *seed;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ z >> 31) >> 32);
}

float kernels_uniform(uint64_t *seed)
{
    return (float)(kernels_random(seed) >> 8) * 0x1p-23f - 1.0f;
}

float *kernels_floats(uint64_t *seed, size_t n)
{
    float *p = malloc((n ? n : 1) * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) p[i] = kernels_uniform(seed);
    return p;
}

/* The variants of this machine, the best one first. Looked for once: where the processor is asked by way of a hypervisor,
 * that takes long. */
static enum cpu_variant variant(size_t i)
{
    static enum cpu_variant found[CPU_VARIANTS];
    static size_t n;
    if (n == 0)
        for (int v = CPU_VARIANTS - 1; v >= CPU_PLAIN; v--)
            if (cpu_variant_kernels((enum cpu_variant)v)) found[n++] = (enum cpu_variant)v;
    return i < n ? found[i] : CPU_VARIANTS;
}

size_t kernels_ways(void)
{
    size_t n = 0;
    while (variant(n) != CPU_VARIANTS) n++;
    return 3 * n;
}

struct ops *kernels_open(size_t way)
{
    struct error e = {0};
    struct ops *o = NULL;
    const struct ops_options options = {.threads = (uint32_t)(way % 3 + 1), .scratch_bytes = 8u << 20};
    if (ops_open(&o, &options, &e)) fail_msg("%s", e.text);
    assert_int_equal(ops_cpu_force(o, variant(way / 3)), 0);
    return o;
}

const char *kernels_way_name(size_t way)
{
    static char name[3 * CPU_VARIANTS][64];
    if (way >= 3 * CPU_VARIANTS || variant(way / 3) == CPU_VARIANTS) return "no way";
    if (!*name[way])
        snprintf(name[way], sizeof *name, "%s, %zu threads", cpu_variant_kernels(variant(way / 3))->name, way % 3 + 1);
    return name[way];
}

void kernels_assert_same(const float *a, const float *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a))
            fail_msg("%s: element %zu of %zu is %.9g, not %.9g", what, i, n, (double)a[i], (double)b[i]);
}

void kernels_assert_near(const float *a, const float *b, size_t n, double relative, const float *size, double size0,
                         const char *what)
{
    for (size_t i = 0; i < n; i++) {
        const double most = relative * (fabs((double)b[i]) + (size ? (double)size[i] : size0));
        if (isnan(a[i]) && isnan(b[i])) continue;
        if (!(fabs((double)a[i] - (double)b[i]) <= most))
            fail_msg("%s: element %zu of %zu is %.9g, not within %.3g of %.9g", what, i, n, (double)a[i], most,
                     (double)b[i]);
    }
}

#include "tests/gpu/gpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MOST 64

static struct {
    void *p;
    uint64_t bytes;
} taken[MOST];
static unsigned count;

bool gpu_present(void)
{
    const struct ops_options options = {.scratch_bytes = 1 << 20};
    struct error e = {0};
    struct ops *o;

    if (ops_open(&o, &options, &e)) {
        print_message("skipped: %s\n", e.text);
        return false;
    }
    print_message("device: %s\n", ops_describe(o));
    ops_close(o);
    return true;
}

struct ops *gpu_open(uint64_t scratch_bytes)
{
    const struct ops_options options = {.scratch_bytes = scratch_bytes};
    struct error e = {0};
    struct ops *o;

    if (ops_open(&o, &options, &e)) fail_msg("%s", e.text);
    return o;
}

static void free_all(struct ops *o)
{
    while (count) {
        count--;
        ops_free(o, taken[count].p, taken[count].bytes);
    }
}

void gpu_forget(struct ops *o)
{
    struct error e = {0};

    if (ops_sync(o, &e)) fail_msg("%s", e.text);
    free_all(o);
}

void gpu_abandon(struct ops *o)
{
    free_all(o);
    ops_close(o);
}

void gpu_close(struct ops *o)
{
    gpu_forget(o);
    ops_close(o);
}

void *gpu_new(struct ops *o, uint64_t bytes)
{
    struct error e = {0};
    void *p = ops_alloc(o, bytes, &e);

    if (!p) fail_msg("%s", e.text);
    assert_true(count < MOST);
    taken[count].p = p;
    taken[count++].bytes = bytes;
    return p;
}

void *gpu_put(struct ops *o, const void *host, uint64_t bytes)
{
    void *p;

    if (!host) return NULL;
    p = gpu_new(o, bytes ? bytes : 1);
    ops_upload(o, p, host, bytes);
    return p;
}

float *gpu_get(struct ops *o, const float *device, size_t n)
{
    float *p = malloc((n ? n : 1) * sizeof *p);

    assert_non_null(p);
    ops_download(o, p, device, n * sizeof *p);
    return p;
}

uint32_t gpu_random(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ z >> 31) >> 32);
}

float gpu_uniform(uint64_t *seed)
{
    return (float)(gpu_random(seed) >> 8) * 0x1p-23f - 1.0f;
}

float *gpu_floats(uint64_t *seed, size_t n)
{
    float *p = malloc((n ? n : 1) * sizeof *p);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++) p[i] = gpu_uniform(seed);
    return p;
}

void gpu_assert_same(const float *a, const float *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a))
            fail_msg("%s: element %zu of %zu is %.9g, not %.9g", what, i, n, (double)a[i], (double)b[i]);
}

void gpu_assert_near(const float *a, const float *b, size_t n, double relative, const float *size, double size0,
                     const char *what)
{
    for (size_t i = 0; i < n; i++) {
        double most = relative * (fabs((double)b[i]) + (size ? (double)size[i] : size0));

        if (!(fabs((double)a[i] - (double)b[i]) <= most))
            fail_msg("%s: element %zu of %zu is %.9g, not within %.3g of %.9g", what, i, n, (double)a[i], most,
                     (double)b[i]);
    }
}

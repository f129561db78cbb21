/* Uploads return before they are made: the caller's memory and the pinned memory that they pass through are used again
 * meanwhile. More of them than the staging area holds, while the stream is kept busy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/footprint.h"
#include "tests/gpu/gpu.h"

enum { UPLOADS = 160, FLOATS = FOOTPRINT_CUDA_STAGING / 5 / 4 };

static void many(void **state)
{
    struct ops *o = gpu_open(1u << 20);
    float *to = gpu_new(o, UPLOADS * FLOATS * sizeof *to), *from = malloc(FLOATS * sizeof *from), *got;

    (void)state;
    for (uint32_t i = 0; i < UPLOADS; i++) {
        for (uint32_t k = 0; k < FLOATS; k++) from[k] = (float)(i * 1000 + k % 997);
        ops_upload(o, to + (size_t)i * FLOATS, from, FLOATS * sizeof *from);
        memset(from, 0xff, FLOATS * sizeof *from);
    }
    got = gpu_get(o, to, UPLOADS * FLOATS);
    for (uint32_t i = 0; i < UPLOADS; i++)
        for (uint32_t k = 0; k < FLOATS; k++)
            if (got[(size_t)i * FLOATS + k] != (float)(i * 1000 + k % 997))
                fail_msg("upload %u: element %u is %g", i, k, (double)got[(size_t)i * FLOATS + k]);
    free(got);
    free(from);
    gpu_close(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(many)};

    return gpu_present() ? cmocka_run_group_tests_name("cuda uploads", tests, NULL, NULL) : 0;
}

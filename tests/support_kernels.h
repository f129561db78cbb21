/* What the tests of the cpu kernels share: numbers that look random and are the same every time, and the ways in which one
 * operation can be computed, which must all give the same bytes. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "compute/cpu/cpu.h"
#include "compute/ops.h"

uint32_t kernels_random(uint64_t *seed);
float kernels_uniform(uint64_t *seed);           /* in [-1, 1) */
float *kernels_floats(uint64_t *seed, size_t n); /* malloced, uniform */

/* Every way: variant by variant, with 1, 2 and 3 threads. kernels_ways() of them; the first is the one to compare with. */
size_t kernels_ways(void);
struct ops *kernels_open(size_t way); /* fails the test where it cannot */
const char *kernels_way_name(size_t way);

/* Fails the test at the first element that differs. */
void kernels_assert_same(const float *a, const float *b, size_t n, const char *what);
/* |a - b| <= relative * (|b| + size[i], or size0 where size is NULL). */
void kernels_assert_near(const float *a, const float *b, size_t n, double relative, const float *size, double size0,
                         const char *what);

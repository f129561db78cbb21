/* What the tests of the cuda backend share. The same programs run on a GPU (make test-gpu) and, thread by thread, on the
 * emulated device (make test-emulated). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "compute/ops.h"

struct ops *gpu_open(uint64_t scratch_bytes); /* fails the test where it cannot */
void gpu_close(struct ops *o);
bool gpu_present(void); /* else prints why not */

/* Device memory that gpu_close() and gpu_forget() free. */
void *gpu_new(struct ops *o, uint64_t bytes);
void *gpu_put(struct ops *o, const void *host, uint64_t bytes); /* NULL stays NULL */
float *gpu_get(struct ops *o, const float *device, size_t n);   /* malloced */
void gpu_forget(struct ops *o);
void gpu_abandon(struct ops *o); /* closes one that has failed */

uint32_t gpu_random(uint64_t *seed);
float gpu_uniform(uint64_t *seed); /* in [-1, 1) */
float *gpu_floats(uint64_t *seed, size_t n);

void gpu_assert_same(const float *a, const float *b, size_t n, const char *what);
/* |a - b| <= relative * (|b| + size[i], or size0 where size is NULL) */
void gpu_assert_near(const float *a, const float *b, size_t n, double relative, const float *size, double size0,
                     const char *what);

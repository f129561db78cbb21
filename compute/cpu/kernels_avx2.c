/* The kernels for AVX2 with FMA and F16C. */
#include "compute/cpu/cpu.h"

#if defined(__x86_64__) /* the Makefile compiles this file for them */
#include "compute/cpu/vec_avx2.h"
#include "compute/cpu/vec_math.h"

#include "compute/cpu/body.h"

const struct cpu_kernels cpu_kernels_avx2 = KERNEL_TABLE("avx2");
#endif

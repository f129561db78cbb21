/* The kernels for AVX-512 (F, BW, DQ, VL). */
#include "compute/cpu/cpu.h"

#if defined(__x86_64__) /* the Makefile compiles this file for them */
#include "compute/cpu/vec_avx512.h"
#include "compute/cpu/vec_math.h"

#include "compute/cpu/body.h"

const struct cpu_kernels cpu_kernels_avx512 = KERNEL_TABLE("avx512");
#endif

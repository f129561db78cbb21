/* The kernels for AVX-512 with VBMI: FP8 is dequantized by looking its bytes up, 64 at once. */
#include "compute/cpu/cpu.h"

#if defined(__x86_64__) /* the Makefile compiles this file for them */
#define VEC_VBMI 1
#include "compute/cpu/vec_avx512.h"
#include "compute/cpu/vec_math.h"

#include "compute/cpu/body.h"

const struct cpu_kernels cpu_kernels_avx512_vbmi = KERNEL_TABLE("avx512 vbmi");
#endif

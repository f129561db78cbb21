/* The kernels of forms with their scales inside, for AVX2 with FMA and F16C. */
#include "compute/cpu/cpu.h"

#if defined(__x86_64__) /* the Makefile compiles this file for them */
#include "compute/cpu/vec_avx2.h"

#include "compute/cpu/body_blocks_all.h"
#include "compute/cpu/body_widened.h"
#endif

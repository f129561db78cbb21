/* The kernels for NEON, which every 64-bit ARM processor has. */
#include "compute/cpu/neon.h"

#if defined(__aarch64__)
#include "compute/cpu/vec_neon.h"
#include "compute/cpu/vec_math.h"

#include "compute/cpu/body.h"

const struct cpu_kernels cpu_kernels_neon = KERNEL_TABLE("neon");
#endif

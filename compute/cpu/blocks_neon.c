/* The kernels of forms with their scales inside, for NEON, which every 64-bit ARM processor has. */
#include "compute/cpu/cpu.h"

#if defined(__aarch64__)
#include "compute/cpu/vec_neon.h"

#include "compute/cpu/body_blocks_all.h"
#include "compute/cpu/body_widened.h"
#endif

/* The kernels of 64-bit ARM. Each architecture numbers its variants from CPU_PLAIN on: no machine has those of two. */
#pragma once
#include "compute/cpu/cpu.h"

#define CPU_NEON ((enum cpu_variant)(CPU_PLAIN + 1))

extern const struct cpu_kernels cpu_kernels_neon;

/* The kernels for plain C. */
#include "compute/cpu/cpu.h"

#include "compute/cpu/vec_plain.h"
#include "compute/cpu/vec_math.h"

#include "compute/cpu/body.h"

const struct cpu_kernels cpu_kernels_plain = KERNEL_TABLE("plain");

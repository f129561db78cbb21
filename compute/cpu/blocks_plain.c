/* The kernels of forms with their scales inside, for plain C. */
#include "compute/cpu/cpu.h"

#include "compute/cpu/vec_plain.h"

#include "compute/cpu/body_blocks_all.h"
#include "compute/cpu/body_widened.h"

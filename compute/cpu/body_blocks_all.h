/* The kernels of blocks.h for every form of FORM_BLOCKS. One that is missing here is missed when the program is linked. */
#pragma once
#include "compute/cpu/body_blocks.h"

#define BLOCK Q4_0
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q4_1
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q5_0
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q5_1
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q8_0
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q4_K
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q5_K
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q6_K
#include "compute/cpu/body_block_kernels.h"

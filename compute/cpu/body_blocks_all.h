/* The kernels of blocks.h for every form of FORM_BLOCKS. One that is missing here is missed when the program is linked. */
#pragma once
#include "compute/cpu/body_blocks.h"

#define BLOCK_FEW 1
#define BLOCK     Q4_0
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q4_1
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q5_0
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q5_1
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q8_0
#include "compute/cpu/body_block_kernels.h"
#define BLOCK IQ4_NL
#include "compute/cpu/body_block_kernels.h"
#define BLOCK MXFP4_BLOCK
#include "compute/cpu/body_block_kernels.h"
#define BLOCK NVFP4
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q2_K
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q3_K
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q4_K
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q5_K
#include "compute/cpu/body_block_kernels.h"
#define BLOCK Q6_K
#include "compute/cpu/body_block_kernels.h"
#define BLOCK IQ4_XS
#include "compute/cpu/body_block_kernels.h"
#undef BLOCK_FEW
#define BLOCK_FEW 0
#define BLOCK     IQ1_S
#include "compute/cpu/body_block_kernels.h"
#define BLOCK IQ1_M
#include "compute/cpu/body_block_kernels.h"
#define BLOCK IQ2_XXS
#include "compute/cpu/body_block_kernels.h"
#define BLOCK IQ2_XS
#include "compute/cpu/body_block_kernels.h"
#define BLOCK IQ2_S
#include "compute/cpu/body_block_kernels.h"
#define BLOCK IQ3_XXS
#include "compute/cpu/body_block_kernels.h"
#define BLOCK IQ3_S
#include "compute/cpu/body_block_kernels.h"
#define BLOCK TQ1_0
#include "compute/cpu/body_block_kernels.h"
#define BLOCK TQ2_0
#include "compute/cpu/body_block_kernels.h"

/* All kernels, on the vector type that the including file chose, and their table. */
#pragma once
#include "compute/cpu/body_attention.h"
#include "compute/cpu/body_gemv.h"
#include "compute/cpu/body_index.h"
#include "compute/cpu/body_rows.h"
#include "compute/cpu/body_scan.h"
#include "compute/cpu/body_state.h"
#include "compute/cpu/body_sums.h"
#include "compute/cpu/body_turned.h"
#include "compute/cpu/body_gemm.h"
#include "compute/cpu/body_weights.h"

#define KERNEL_GEMV(form, ...)  [FORM_##form] = gemv_##form,
#define KERNEL_BLOCK(form, ...) [FORM_##form] = VARIANT(gemv_##form),
#define KERNEL_TABLE(variant)                                                                                          \
    {                                                                                                                  \
        .name = variant, .gemv_tokens = GEMV_TOKENS, .block_tokens = TILE_TOKENS, .dequantize = kernel_dequantize,     \
        .gemv = {FORM_PLAIN(KERNEL_GEMV) FORM_BLOCKS(KERNEL_BLOCK)}, .pack = kernel_pack, .gemm = kernel_gemm,         \
        .groups = kernel_groups, .row_squares = kernel_row_squares, .matmul_t = kernel_matmul_t,                       \
        .turned = kernel_turned, .norm = kernel_norm, .rope = kernel_rope, .add = kernel_add, .act = kernel_act,       \
        .scale = kernel_scale, .softcap = kernel_softcap, .clamp = kernel_clamp, .xielu = kernel_xielu,                \
        .add_scaled = kernel_add_scaled, .narrow = kernel_narrow, .attention = kernel_attention, .conv = kernel_conv,  \
        .delta = kernel_delta, .scan = kernel_scan, .index = kernel_index, .pool = kernel_pool                         \
    }

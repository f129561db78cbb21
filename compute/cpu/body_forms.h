/* What each stored form looks like to vectors. A form of FORM_PLAIN, whose scales lie nowhere or in a grid, needs two
 * functions here, on the leaves of vec_*.h; whoever adds one writes them, and everything else (products of few and of many
 * tokens, sums over rows, single rows) follows. Those of FORM_BLOCKS are in body_blocks.h.
 *
 *   NAME_open(s)      once for the columns that share their scales: what the steps want to know of these. s is the scale in
 *                     every lane; where the matrix chooses the grid's columns, each lane may have another one. No scales:
 *                     there is nothing to open, and it is not called.
 *   NAME_step(p, v)   the 16 columns that begin at p as float32, the stored number times its scale, rounded once.
 *
 * Any first byte. All instruction sets give the same bits. */
#pragma once
#include <math.h>
#include "compute/cpu/cpu.h"
#include "compute/cpu/scalar.h"

#define STEP 16u /* columns of one step of a sum */

#define FORM_OPEN(name) INLINE vf name##_open(vf s)
#define FORM_STEP(name) INLINE vf name##_step(const unsigned char *p, vf v)
#define UNUSED(x)       (void)(x)

FORM_OPEN(F32)
{
    return s;
}
FORM_STEP(F32)
{
    UNUSED(v);
    return vf_load((const float *)(const void *)p);
}

FORM_OPEN(F16)
{
    return s;
}
FORM_STEP(F16)
{
    UNUSED(v);
    return vf_load_f16(p);
}

FORM_OPEN(BF16)
{
    return s;
}
FORM_STEP(BF16)
{
    UNUSED(v);
    return vf_load_bf16(p);
}

/* The codes are taken for halves, which leaves out a factor of 256 (exact below 2^120). */
FORM_OPEN(F8_E4M3)
{
    return vf_mul(s, vf_set1(256.0f));
}
FORM_STEP(F8_E4M3)
{
    return vf_mul(vf_load_e4m3_256th(p), v);
}

FORM_OPEN(MXFP4)
{
    return vf_e2m1_table(s);
}
FORM_STEP(MXFP4)
{
    return vf_load_e2m1(p, v);
}

/* ---- the form as an argument, a constant wherever these are called ---- */

INLINE vf form_open(const uint32_t form, vf s)
{
    switch (form) {
#define FORM_CASE(name, ...)                                                                                           \
    case FORM_##name: return name##_open(s);
        FORM_PLAIN(FORM_CASE)
#undef FORM_CASE
    }
    return vf_set1(NAN);
}

INLINE vf form_step(const uint32_t form, const unsigned char *p, vf v)
{
    switch (form) {
#define FORM_CASE(name, ...)                                                                                           \
    case FORM_##name: return name##_step(p, v);
        FORM_PLAIN(FORM_CASE)
#undef FORM_CASE
    }
    return vf_set1(NAN);
}

/* Where 64 columns of a form are dequantized faster at once than in four steps. */
INLINE bool form_by_four(const uint32_t form)
{
    return WIDE_F8 && form == FORM_F8_E4M3;
}

INLINE void form_four_steps(const unsigned char *p, vf v, vf out[4])
{
    vf_load4_e4m3_256th(p, out);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) out[i] = vf_mul(out[i], v);
}

/* ---- where things lie ---- */

/* Where the 16 columns from k on (a multiple of 16) begin in their row. */
INLINE size_t form_at(const uint32_t form, size_t k)
{
    return k * form_bytes(form) / form_elements(form);
}

/* Columns that share what form_open() leaves. */
INLINE size_t form_span(const struct cpu_product *a, const uint32_t form)
{
    return form_grid_cols(form) ? form_grid_cols(form) : a->block_cols;
}

INLINE const unsigned char *grid_row(const struct cpu_product *a, size_t r)
{
    return a->scale + ((a->row0 + r) / a->block_rows - a->scale_row0) * a->scale_row_bytes;
}

/* Scale i of a row of them. */
INLINE float grid_scale(const struct cpu_product *a, const unsigned char *row, size_t i)
{
    float s = NAN; /* ops_matmul() knows the form */
    uint16_t h;
    switch (a->scale_form) {
    case FORM_F8_E8M0: return e8m0_value(row[i]);
    case FORM_F32: memcpy(&s, row + 4 * i, sizeof s); return s;
    case FORM_BF16: memcpy(&h, row + 2 * i, sizeof h); return float_of_bits((uint32_t)h << 16);
    case FORM_F16: memcpy(&h, row + 2 * i, sizeof h); return float_of_half(h);
    }
    return s;
}

/* Opens columns [k, ...) of a row, k where a span begins; scales: its row of the grid. */
INLINE vf open_span(const struct cpu_product *a, const uint32_t form, const unsigned char *scales, size_t k)
{
    if (form_scales(form) == FORM_SCALES_NONE) return vf_zero();
    return form_open(form, vf_set1(grid_scale(a, scales, k / form_span(a, form))));
}

/* The last n < 16 columns of a row, from k on: what lies behind them is not touched, and lanes behind them are zero. Only
 * forms of short blocks have such ends. */
INLINE vf form_rest(const struct cpu_product *a, const uint32_t form, const unsigned char *row,
                    const unsigned char *scales, size_t k, unsigned n)
{
    unsigned char bytes[STEP * sizeof(float)] = {0};
    float s[STEP] = {0};
    vf v = vf_zero();
    memcpy(bytes, row + form_at(form, k), (size_t)n * form_bytes(form) / form_elements(form));
    if (form_scales(form) == FORM_SCALES_GRID) {
        for (unsigned i = 0; i < n; i++) s[i] = grid_scale(a, scales, (k + i) / form_span(a, form));
        v = form_open(form, vf_load(s));
    }
    return vf_sel(vm_first(n), form_step(form, bytes, v), vf_zero());
}

/* What each stored form looks like to vectors. A form of FORM_WEIGHTS needs two functions here, on the leaves of vec_*.h;
 * whoever adds one writes them, and everything else (products of few and of many tokens, sums over rows, single rows)
 * follows:
 *
 *   NAME_open(p, s, v, f)   once for the columns that share their scales. Leaves in v, or in f (FORM_FLOATS of them), what
 *                           the steps want to know of these. Scales in a grid: s is the scale in every lane; where the
 *                           matrix chooses the grid's columns, each lane may have another one. Scales inside: p is the
 *                           block. No scales: there is nothing to open, and it is not called.
 *   NAME_step(p, j, v, f)   16 columns as float32, the stored number times its scale, rounded once. Scales inside: columns
 *                           16 j to 16 j + 15 of the block at p. All others: the 16 columns that begin at p, and j is 0.
 *
 * Any first byte. All instruction sets give the same bits. */
#pragma once
#include <math.h>
#include "compute/cpu/cpu.h"
#include "compute/cpu/scalar.h"

#define STEP        16u /* columns of one step of a sum */
#define FORM_FLOATS 32  /* of scales that a block has at most */

#define FORM_OPEN(name) INLINE void name##_open(const unsigned char *p, vf s, vf *v, float *f)
#define FORM_STEP(name) INLINE vf name##_step(const unsigned char *p, unsigned j, vf v, const float *f)
#define UNUSED(x)       (void)(x)

FORM_OPEN(F32)
{
    UNUSED(p), UNUSED(s), UNUSED(v), UNUSED(f);
}
FORM_STEP(F32)
{
    UNUSED(j), UNUSED(v), UNUSED(f);
    return vf_load((const float *)(const void *)p);
}

FORM_OPEN(F16)
{
    UNUSED(p), UNUSED(s), UNUSED(v), UNUSED(f);
}
FORM_STEP(F16)
{
    UNUSED(j), UNUSED(v), UNUSED(f);
    return vf_load_f16(p);
}

FORM_OPEN(BF16)
{
    UNUSED(p), UNUSED(s), UNUSED(v), UNUSED(f);
}
FORM_STEP(BF16)
{
    UNUSED(j), UNUSED(v), UNUSED(f);
    return vf_load_bf16(p);
}

/* The codes are taken for halves, which leaves out a factor of 256 (exact below 2^120). */
FORM_OPEN(F8_E4M3)
{
    UNUSED(p), UNUSED(f);
    *v = vf_mul(s, vf_set1(256.0f));
}
FORM_STEP(F8_E4M3)
{
    UNUSED(j), UNUSED(f);
    return vf_mul(vf_load_e4m3_256th(p), v);
}

FORM_OPEN(MXFP4)
{
    UNUSED(p), UNUSED(f);
    *v = vf_e2m1_table(s);
}
FORM_STEP(MXFP4)
{
    UNUSED(j), UNUSED(f);
    return vf_load_e2m1(p, v);
}

/* ---- the form as an argument, a constant wherever these are called ---- */

INLINE void form_open(const uint32_t form, const unsigned char *p, vf s, vf *v, float *f)
{
    switch (form) {
#define FORM_CASE(name, ...)                                                                                           \
    case FORM_##name: name##_open(p, s, v, f); return;
        FORM_WEIGHTS(FORM_CASE)
#undef FORM_CASE
    }
}

INLINE vf form_step(const uint32_t form, const unsigned char *p, unsigned j, vf v, const float *f)
{
    switch (form) {
#define FORM_CASE(name, ...)                                                                                           \
    case FORM_##name: return name##_step(p, j, v, f);
        FORM_WEIGHTS(FORM_CASE)
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

/* Where the 16 columns from k on (a multiple of 16) begin in their row; of a form with scales inside, their block. */
INLINE size_t form_at(const uint32_t form, size_t k)
{
    if (form_scales(form) == FORM_SCALES_INSIDE) return k / form_elements(form) * form_bytes(form);
    return k * form_bytes(form) / form_elements(form);
}

/* Which step of its block that is. */
INLINE unsigned form_step_of(const uint32_t form, size_t k)
{
    return form_scales(form) == FORM_SCALES_INSIDE ? (unsigned)(k % form_elements(form) / STEP) : 0;
}

/* Columns that share what form_open() leaves. */
INLINE size_t form_span(const struct cpu_product *a, const uint32_t form)
{
    return form_scales(form) == FORM_SCALES_INSIDE ? form_elements(form)
           : form_grid_cols(form)                  ? form_grid_cols(form)
                                                   : a->block_cols;
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
    }
    return s;
}

/* Opens columns [k, ...) of a row, k where a span begins; scales: its row of the grid. */
INLINE void open_span(const struct cpu_product *a, const uint32_t form, const unsigned char *row,
                      const unsigned char *scales, size_t k, vf *v, float *f)
{
    if (form_scales(form) == FORM_SCALES_NONE) return;
    const bool grid = form_scales(form) == FORM_SCALES_GRID;
    form_open(form, row + form_at(form, k), grid ? vf_set1(grid_scale(a, scales, k / form_span(a, form))) : vf_zero(),
              v, f);
}

/* The last n < 16 columns of a row, from k on: what lies behind them is not touched, and lanes behind them are zero. Only
 * forms of short blocks have such ends. */
INLINE vf form_rest(const struct cpu_product *a, const uint32_t form, const unsigned char *row,
                    const unsigned char *scales, size_t k, unsigned n)
{
    unsigned char bytes[STEP * sizeof(float)] = {0};
    float f[FORM_FLOATS], s[STEP] = {0};
    vf v = vf_zero();
    memcpy(bytes, row + form_at(form, k), (size_t)n * form_bytes(form) / form_elements(form));
    if (form_scales(form) == FORM_SCALES_GRID) {
        for (unsigned i = 0; i < n; i++) s[i] = grid_scale(a, scales, (k + i) / form_span(a, form));
        form_open(form, bytes, vf_load(s), &v, f);
    }
    return vf_sel(vm_first(n), form_step(form, bytes, 0, v, f), vf_zero());
}

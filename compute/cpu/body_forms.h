/* What each stored form looks like to vectors. A form of FORM_PLAIN, whose scales lie nowhere or in a grid, needs two
 * functions here, on the leaves of vec_*.h; whoever adds one writes them, and everything else (products of few and of many
 * tokens, sums over rows, single rows) follows. Those of FORM_BLOCKS are in body_blocks.h.
 *
 *   NAME_open(s, z)   once for the columns that share their scales: what the steps want to know of these. s is the scale in
 *                     every lane, z the zero point less the form's own; where the matrix chooses the grid's columns, each lane
 *                     may have another one, but in forms that form_by_table() names. No scales: there is nothing to open,
 *                     and it is not called.
 *   NAME_step(p, v)   the 16 columns that begin at p as float32, the stored number times its scale, rounded once.
 *
 * Any first byte. All instruction sets give the same bits. */
#pragma once
#include <math.h>
#include "compute/cpu/cpu.h"
#include "compute/cpu/scalar.h"

#define STEP 16u /* columns of one step of a sum */

struct span {
    vf s, z;
};

#define FORM_OPEN(name) INLINE struct span name##_open(vf s, vf z)
#define FORM_STEP(name) INLINE vf name##_step(const unsigned char *p, struct span v)
#define UNUSED(x)       (void)(x)

FORM_OPEN(F32)
{
    return (struct span){s, z};
}
FORM_STEP(F32)
{
    UNUSED(v);
    return vf_load((const float *)(const void *)p);
}

FORM_OPEN(F16)
{
    return (struct span){s, z};
}
FORM_STEP(F16)
{
    UNUSED(v);
    return vf_load_f16(p);
}

FORM_OPEN(BF16)
{
    return (struct span){s, z};
}
FORM_STEP(BF16)
{
    UNUSED(v);
    return vf_load_bf16(p);
}

/* The codes are taken for halves, which leaves out a factor of 256 (exact below 2^120). */
FORM_OPEN(F8_E4M3)
{
    return (struct span){vf_mul(s, vf_set1(256.0f)), z};
}
FORM_STEP(F8_E4M3)
{
    return vf_mul(vf_load_e4m3_256th(p), v.s);
}

FORM_OPEN(MXFP4)
{
    return (struct span){vf_e2m1_table(s), z};
}
FORM_STEP(MXFP4)
{
    return vf_load_e2m1(p, v.s);
}

FORM_OPEN(NVFP4_GRID)
{
    return (struct span){vf_e2m1_table(s), z};
}
FORM_STEP(NVFP4_GRID)
{
    return vf_load_e2m1(p, v.s);
}

FORM_OPEN(I8)
{
    return (struct span){s, z};
}
FORM_STEP(I8)
{
    return vf_mul(vf_sub(vf_of_i8(vb_load(p)), v.z), v.s);
}

FORM_OPEN(I8_PACKED)
{
    return (struct span){s, z};
}
FORM_STEP(I8_PACKED)
{
    return vf_mul(vf_sub(vf_of_i8(vb_xor(vb_load(p), vb_set1(128))), v.z), v.s);
}

static const float i4_levels[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
static const float nf4_levels[16] = {FORM_NF4_LEVELS}, fp4_levels[16] = {FORM_FP4_LEVELS};

FORM_OPEN(I4_PACKED)
{
    return (struct span){vf_mul(vf_sub(vf_load(i4_levels), z), s), z};
}
FORM_STEP(I4_PACKED)
{
    return vf_pick(v.s, vb_nibbles(p));
}

FORM_OPEN(NF4)
{
    return (struct span){vf_mul(vf_load(nf4_levels), s), z};
}
FORM_STEP(NF4)
{
    return vf_pick(v.s, vb_nibbles_high(p));
}

FORM_OPEN(FP4)
{
    return (struct span){vf_mul(vf_load(fp4_levels), s), z};
}
FORM_STEP(FP4)
{
    return vf_pick(v.s, vb_nibbles_high(p));
}

/* Forms whose steps look up 16 products, so that all lanes have to share a scale. */
INLINE bool form_by_table(const uint32_t form)
{
    return form == FORM_I4_PACKED || form == FORM_NF4 || form == FORM_FP4 || form == FORM_MXFP4 ||
           form == FORM_NVFP4_GRID;
}

/* ---- the form as an argument, a constant wherever these are called ---- */

INLINE struct span form_open(const uint32_t form, vf s, vf z)
{
    switch (form) {
#define FORM_CASE(name, ...)                                                                                           \
    case FORM_##name: return name##_open(s, z);
        FORM_PLAIN(FORM_CASE)
#undef FORM_CASE
    }
    return (struct span){vf_set1(NAN), z};
}

INLINE vf form_step(const uint32_t form, const unsigned char *p, struct span v)
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

INLINE void form_four_steps(const unsigned char *p, struct span v, vf out[4])
{
    vf_load4_e4m3_256th(p, out);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) out[i] = vf_mul(out[i], v.s);
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

/* Scales and zero points of one row. */
struct grid_row {
    const unsigned char *scales, *zeros;
    uint64_t number; /* of the row of scales */
    uint32_t sub;    /* of the row, in the words of its zero points */
};

INLINE struct grid_row grid_row(const struct cpu_product *a, const uint32_t form, size_t r)
{
    struct grid_row g = {NULL, NULL, (a->row0 + r) / a->block_rows, 0};
    g.scales = a->scale + (g.number - a->scale_row0) * a->scale_row_bytes;
    if (form_zero_pack(form) && a->zero) {
        g.zeros = a->zero + ((a->row0 + r) / a->zero_rows - a->zero_row0) * a->zero_row_bytes;
        g.sub = (uint32_t)((a->row0 + r) % a->zero_rows);
    }
    return g;
}

#define OUTLINE static __attribute__((noinline, unused)) /* rarely run, and of every form: compiled once */

INLINE float e4m3_value(unsigned code)
{
    const float x = 256.0f * vb_half((code & 0x80) << 8 | (code & 0x7f) << 7);
    return (code & 0x7f) == 0x7f ? NAN : x;
}

/* Number i of a row of scales. */
OUTLINE float any_scale(const struct cpu_product *a, const struct grid_row *g, size_t i)
{
    const unsigned char *row = g->scales;
    float s = NAN; /* ops_matmul() knows the form */
    uint16_t h;
    switch (a->scale_form) {
    case FORM_F8_E8M0: s = e8m0_value(row[i]); break;
    case FORM_F8_E4M3: s = e4m3_value(row[i]); break;
    case FORM_F32: memcpy(&s, row + 4 * i, sizeof s); break;
    case FORM_BF16: memcpy(&h, row + 2 * i, sizeof h); return float_of_bits((uint32_t)h << 16);
    case FORM_F16: memcpy(&h, row + 2 * i, sizeof h); return float_of_half(h);
    case FORM_BYTES:
        s = a->vector[0][row[i]] * a->vector[1][(g->number * a->scale_row_bytes + i) / MATRIX_NESTING];
        return s + a->offset;
    }
    if (!(a->flags & MATRIX_WHOLE)) return s;
    return a->flags & MATRIX_DIVIDED ? s / *a->vector[0] : s * *a->vector[0];
}

/* The same, with those that a form has for few columns at hand. */
INLINE float grid_scale(const struct cpu_product *a, const uint32_t form, const struct grid_row *g, size_t i)
{
    uint16_t h;
    if (form == FORM_MXFP4) return e8m0_value(g->scales[i]);
    if (form == FORM_NVFP4_GRID && a->flags == MATRIX_WHOLE) return e4m3_value(g->scales[i]) * *a->vector[0];
    if (form == FORM_I4_PACKED && a->scale_form == FORM_BF16 && !a->flags) {
        memcpy(&h, g->scales + 2 * i, sizeof h);
        return float_of_bits((uint32_t)h << 16);
    }
    return any_scale(a, g, i);
}

OUTLINE float any_zero(const uint32_t form, const struct grid_row *g, size_t i)
{
    const uint32_t bits = 32 / form_zero_pack(form);
    uint32_t w;
    if (bits == 32) return (float)(int8_t)g->zeros[i];
    memcpy(&w, g->zeros + 4 * i, sizeof w);
    return (float)(int32_t)(w >> bits * g->sub & ((1u << bits) - 1)) - (float)(1u << (bits - 1));
}

/* The zero point beside it, less the form's own. */
INLINE float grid_zero(const uint32_t form, const struct grid_row *g, size_t i)
{
    return form_zero_pack(form) && g->zeros ? any_zero(form, g, i) : 0;
}

/* Opens columns [k, ...) of a row, k where a span begins. */
INLINE struct span open_span(const struct cpu_product *a, const uint32_t form, const struct grid_row *g, size_t k)
{
    const size_t i = k / form_span(a, form);
    if (form_scales(form) == FORM_SCALES_NONE) return (struct span){vf_zero(), vf_zero()};
    return form_open(form, vf_set1(grid_scale(a, form, g, i)), vf_set1(grid_zero(form, g, i)));
}

/* 16 columns whose bytes are these and of which n <= 16 exist, from column k on, wherever scales of the grid change. */
OUTLINE vf lane_by_lane(const struct cpu_product *a, const uint32_t form, const unsigned char *bytes,
                        const struct grid_row *g, size_t k, unsigned n)
{
    float s[STEP] = {0}, z[STEP] = {0}, out[STEP] = {0};
    for (unsigned i = 0; i < n; i++) {
        s[i] = any_scale(a, g, (k + i) / form_span(a, form));
        z[i] = grid_zero(form, g, (k + i) / form_span(a, form));
    }
    if (!form_by_table(form)) return form_step(form, bytes, form_open(form, vf_load(s), vf_load(z)));
    for (unsigned i = 0; i < n; i++) {
        float one[STEP];
        vf_store(one, form_step(form, bytes, form_open(form, vf_set1(s[i]), vf_set1(z[i]))));
        out[i] = one[i];
    }
    return vf_load(out);
}

/* The last n < 16 columns of a row, from k on: what lies behind them is not touched, and lanes behind them are zero. Only
 * forms of short blocks have such ends. */
INLINE vf form_rest(const struct cpu_product *a, const uint32_t form, const unsigned char *row,
                    const struct grid_row *g, size_t k, unsigned n)
{
    unsigned char bytes[STEP * sizeof(float)] = {0};
    const struct span none = {vf_zero(), vf_zero()};
    memcpy(bytes, row + form_at(form, k), (size_t)n * form_bytes(form) / form_elements(form));
    return vf_sel(vm_first(n),
                  form_scales(form) == FORM_SCALES_GRID ? lane_by_lane(a, form, bytes, g, k, n)
                                                        : form_step(form, bytes, none),
                  vf_zero());
}

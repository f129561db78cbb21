/* Stored weights to float32: exactly, and where they have scales, value times scale rounded once. Any block of a scale, any
 * first byte. */
#pragma once
#include "compute/cpu/cpu.h"
#include "compute/cpu/scalar.h"

#define STEP 16u /* columns of one step of a sum */

/* Groups of tokens are as even as can be: 13 tokens in groups of up to 6 are 5 + 4 + 4. */
static uint32_t kernel_groups(uint32_t n)
{
    return (n + TILE_TOKENS - 1) / TILE_TOKENS;
}

INLINE uint32_t group_first(uint32_t n, uint32_t groups, uint32_t g) /* its first token */
{
    uint32_t more = n % groups;
    return g * (n / groups) + (g < more ? g : more);
}

/* 16 elements from p on, without their scale. */
INLINE vf stored_vec(uint32_t form, const unsigned char *p)
{
    switch (form) {
    case FORM_F32:
        return vf_load((const float *)(const void *)p);
    case FORM_F16:
        return vf_load_f16(p);
    case FORM_BF16:
        return vf_load_bf16(p);
    case FORM_F8_E4M3:
        return vf_load_e4m3_256th(p);
    default:
        return vf_load_e2m1(p, vf_e2m1_table(1.0f));
    }
}

/* What scaled_vec() wants to know of a scale. */
INLINE vf scale_vec(uint32_t form, float s)
{
    return form == FORM_MXFP4 ? vf_e2m1_table(s) : vf_set1(s);
}

/* 16 elements times their scale, for forms that have one. */
INLINE vf scaled_vec(uint32_t form, const unsigned char *p, vf s)
{
    return form == FORM_MXFP4 ? vf_load_e2m1(p, s) : vf_mul(stored_vec(form, p), s);
}

/* The first n < 16 elements, the others zero. */
INLINE vf stored_vec_n(uint32_t form, const unsigned char *p, unsigned n)
{
    unsigned char bytes[64] = {0};
    memcpy(bytes, p, cpu_stored_bytes(form, n));
    return vf_sel(vm_first(n), stored_vec(form, bytes), vf_zero());
}

INLINE int form_scaled(uint32_t form)
{
    return form == FORM_F8_E4M3 || form == FORM_MXFP4;
}

INLINE const unsigned char *scale_row(const struct cpu_product *a, size_t r)
{
    return a->scale ? a->scale + ((a->row0 + r) / a->block_rows - a->scale_row0) * a->scale_row_bytes : NULL;
}

/* The factor of a block of columns, with the 256 that stored_vec() leaves out of e4m3 (exact below 2^120). */
INLINE float block_scale(const struct cpu_product *a, uint32_t form, const unsigned char *row, size_t block)
{
    float s = 1.0f;
    if (row && a->scale_form == FORM_F8_E8M0) {
        s = e8m0_value(row[block]);
    } else if (row && a->scale_form == FORM_F32) {
        memcpy(&s, row + 4 * block, sizeof s);
    } else if (row) {
        uint16_t h;
        memcpy(&h, row + 2 * block, sizeof h);
        s = float_of_bits((uint32_t)h << 16);
    }
    return form == FORM_F8_E4M3 ? s * 256.0f : s;
}

/* Up to 16 scaled elements of a row at column k: any block size, any number. */
INLINE vf weight_vec(const struct cpu_product *a, uint32_t form, const unsigned char *row, const unsigned char *scales, size_t k,
                     unsigned n)
{
    const unsigned char *p = row + cpu_stored_bytes(form, k);
    vf w = n < STEP ? stored_vec_n(form, p, n) : stored_vec(form, p);
    if (!form_scaled(form))
        return w;
    float s[STEP];
    for (unsigned i = 0; i < STEP; i++)
        s[i] = i < n ? block_scale(a, form, scales, (k + i) / a->block_cols) : 0.0f;
    return vf_sel(vm_first(n), vf_mul(w, vf_load(s)), vf_zero());
}

/* Elements [k0, k1) of a row to float32 at dst, dst + stride, ... in steps of 16; the last filled up with zeros. */
INLINE void dequantize_typed(const struct cpu_product *a, uint32_t form, size_t r, size_t k0, size_t k1, float *dst, size_t stride)
{
    const unsigned char *row = a->data + r * a->row_bytes, *scales = scale_row(a, r);
    const int by_lane = form_scaled(form) && (a->block_cols % STEP != 0 || k0 % STEP != 0);
    size_t k = k0;
    while (!by_lane && k + STEP <= k1) {
        size_t end = k1, block = 0;
        if (form_scaled(form)) {
            block = k / a->block_cols;
            end = (block + 1) * a->block_cols < k1 ? (block + 1) * a->block_cols : k1;
        }
        vf s = scale_vec(form, form_scaled(form) ? block_scale(a, form, scales, block) : 1.0f);
        for (; WIDE_F8 && form == FORM_F8_E4M3 && k + 4 * STEP <= end; k += 4 * STEP) {
            vf w[4];
            vf_load4_e4m3_256th(row + k, w);
            for (int i = 0; i < 4; i++, dst += stride)
                vf_store(dst, vf_mul(w[i], s));
        }
        for (; k + STEP <= end; k += STEP, dst += stride) {
            const unsigned char *p = row + cpu_stored_bytes(form, k);
            vf_store(dst, form_scaled(form) ? scaled_vec(form, p, s) : stored_vec(form, p));
        }
    }
    for (; k < k1; k += STEP, dst += stride)
        vf_store(dst, weight_vec(a, form, row, scales, k, k1 - k < STEP ? (unsigned)(k1 - k) : STEP));
}

static void dequantize_row(const struct cpu_product *a, size_t r, size_t k0, size_t k1, float *dst, size_t stride)
{
    switch (a->form) {
    case FORM_F32:
        dequantize_typed(a, FORM_F32, r, k0, k1, dst, stride);
        break;
    case FORM_F16:
        dequantize_typed(a, FORM_F16, r, k0, k1, dst, stride);
        break;
    case FORM_BF16:
        dequantize_typed(a, FORM_BF16, r, k0, k1, dst, stride);
        break;
    case FORM_F8_E4M3:
        dequantize_typed(a, FORM_F8_E4M3, r, k0, k1, dst, stride);
        break;
    default:
        dequantize_typed(a, FORM_MXFP4, r, k0, k1, dst, stride);
        break;
    }
}

static void kernel_dequantize(float *dst, const void *src, uint32_t form, size_t elements, float scale)
{
    const struct cpu_product a = {.form = form, .data = src, .cols = elements, .block_rows = 1, .block_cols = 32};
    const vf s = vf_set1(scale);
    size_t k = 0;
    for (; k + STEP <= elements; k += STEP) {
        float tmp[STEP];
        dequantize_row(&a, 0, k, k + STEP, tmp, STEP);
        vf_store(dst + k, vf_mul(vf_load(tmp), s));
    }
    if (k < elements) {
        float tmp[STEP];
        dequantize_row(&a, 0, k, elements, tmp, STEP);
        vf_store_n(dst + k, vf_mul(vf_load(tmp), s), (unsigned)(elements - k));
    }
}

static void kernel_row_squares(const struct cpu_product *a, size_t r0, size_t r1, float *sums)
{
    for (size_t r = r0; r < r1; r++) {
        vf acc = vf_zero();
        for (size_t k = 0; k < a->cols; k += BLOCK_COLS) {
            float w[BLOCK_COLS];
            size_t end = k + BLOCK_COLS < a->cols ? k + BLOCK_COLS : a->cols;
            dequantize_row(a, r, k, end, w, STEP);
            for (size_t i = 0; i < end - k; i += STEP)
                acc = vf_fma(vf_load(w + i), vf_load(w + i), acc);
        }
        sums[r - r0] = vf_sum(acc);
    }
}

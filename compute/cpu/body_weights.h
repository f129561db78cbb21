/* Stored weights to float32 in memory: exactly, and where they have scales, value times scale rounded once. */
#pragma once
#include "compute/cpu/body_forms.h"
#include "compute/cpu/blocks.h"

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

/* A dequantize_fn of a form of FORM_PLAIN. */
INLINE void dequantize_form(const struct cpu_product *a, const uint32_t form, size_t r, size_t k0, size_t k1,
                            float *dst, size_t stride)
{
    const bool grid = form_scales(form) == FORM_SCALES_GRID, scaled = form_scales(form) != FORM_SCALES_NONE;
    const unsigned char *row = a->data + r * a->row_bytes;
    const struct grid_row g = grid ? grid_row(a, form, r) : (struct grid_row){0};
    const size_t span = form_span(a, form);
    const bool by_lane = grid && !form_grid_cols(form) && span % STEP != 0;
    size_t k = k0;
    while (!by_lane && k + STEP <= k1) {
        size_t end = k1;
        struct span v = {vf_zero(), vf_zero()};
        if (scaled) {
            const size_t first = k / span * span;
            end = first + span < k1 ? first + span : k1;
            v = open_span(a, form, &g, first);
        }
        for (; form_by_four(form) && k + 4 * STEP <= end; k += 4 * STEP) {
            vf w[4];
            form_four_steps(row + form_at(form, k), v, w);
            for (int i = 0; i < 4; i++, dst += stride) vf_store(dst, w[i]);
        }
        for (; k + STEP <= end; k += STEP, dst += stride) vf_store(dst, form_step(form, row + form_at(form, k), v));
    }
    for (; by_lane && k + STEP <= k1; k += STEP, dst += stride)
        vf_store(dst, lane_by_lane(a, form, row + form_at(form, k), &g, k, STEP));
    if (k < k1) vf_store(dst, form_rest(a, form, row, &g, k, (unsigned)(k1 - k)));
}

#define DEQUANTIZE(name, ...)                                                                                          \
    static void dequantize_##name(const struct cpu_product *a, size_t r, size_t k0, size_t k1, float *dst,             \
                                  size_t stride)                                                                       \
    {                                                                                                                  \
        dequantize_form(a, FORM_##name, r, k0, k1, dst, stride);                                                       \
    }
FORM_PLAIN(DEQUANTIZE)
#undef DEQUANTIZE

/* By form; NULL where it is none of weights. */
static dequantize_fn *const dequantize_of[FORMS] = {
#define DEQUANTIZE(name, ...) [FORM_##name] = dequantize_##name,
    FORM_PLAIN(DEQUANTIZE)
#undef DEQUANTIZE
#define DEQUANTIZE(name, ...) [FORM_##name] = VARIANT(dequantize_##name),
        FORM_BLOCKS(DEQUANTIZE)
#undef DEQUANTIZE
};

/* Without scales of a grid: rows of an embedding, vectors. */
static void kernel_dequantize(float *dst, const void *src, uint32_t form, size_t elements, float scale)
{
    const struct cpu_product a = {.form = form, .data = src, .cols = elements, .block_rows = 1};
    dequantize_fn *const dequantize = dequantize_of[form];
    const vf s = vf_set1(scale);
    for (size_t k = 0; k < elements; k += BLOCK_COLS) {
        const size_t n = elements - k < BLOCK_COLS ? elements - k : BLOCK_COLS;
        float w[BLOCK_COLS];
        dequantize(&a, 0, k, k + n, w, STEP);
        for (size_t i = 0; i < n; i += STEP) {
            if (n - i < STEP)
                vf_store_n(dst + k + i, vf_mul(vf_load(w + i), s), (unsigned)(n - i));
            else
                vf_store(dst + k + i, vf_mul(vf_load(w + i), s));
        }
    }
}

static void kernel_row_squares(const struct cpu_product *a, size_t r0, size_t r1, float mul, float *sums)
{
    dequantize_fn *const dequantize = dequantize_of[a->form];
    const vf m = vf_set1(mul);
    for (size_t r = r0; r < r1; r++) {
        vf acc = vf_zero();
        for (size_t k = 0; k < a->cols; k += BLOCK_COLS) {
            float w[BLOCK_COLS];
            size_t end = k + BLOCK_COLS < a->cols ? k + BLOCK_COLS : a->cols;
            dequantize(a, r, k, end, w, STEP);
            for (size_t i = 0; i < end - k; i += STEP) {
                const vf x = vf_mul(vf_load(w + i), m);
                acc = vf_fma(x, x, acc);
            }
        }
        sums[r - r0] = vf_sum(acc);
    }
}

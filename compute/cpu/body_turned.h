/* Products with matrices of which the file's rows are inputs (FORM_TURNED): sums over rows as in body_sums.h, each column one
 * chain over the inputs in order, from words that hold several inputs, or several outputs.
 *
 * A number is (stored - zero) * scale. Scales have at most 11 bits and the difference at most 9, so that s * stored - s * zero
 * in one fused multiply-add is that product exactly. The pairs s and -s * zero of a group of inputs are made once for a strip of
 * columns and lie in a table: [group][s, -s * zero][columns of the strip]. */
#pragma once
#include "compute/cpu/body_sums.h"
#ifndef VEC_WORDS
#include "compute/cpu/vec_words.h"
#endif

#define TURNED_ROWS  16u /* stored rows that are walked together: sums are loaded and stored once for them */
#define TURNED_AHEAD 1024u

struct turned {
    const float *table;
    size_t padded; /* columns of the table */
    size_t c0, c1;
    uint32_t groups;               /* in the table, behind which one of what is not a number follows */
    const unsigned char *group_of; /* of the first input of the call; NULL: the table has one group, that of all */
};

/* Sixteen numbers that one word, or half a word, of each column holds. */
INLINE vf turned_numbers(const uint32_t form, const unsigned char *p, vw words, unsigned i, unsigned n)
{
    uint32_t a, b = 0;
    if (form == FORM_GPTQ_4) return vf_of_nibbles(words, i);
    if (form == FORM_GPTQ_8) return vf_of_bytes(words, i);
    memcpy(&a, p, sizeof a);
    if (n > 8) memcpy(&b, p + sizeof a, sizeof b);
    return vf_of_awq(a, b);
}

/* The pair of input k. */
INLINE const float *turned_pair(const struct turned *s, const bool grouped, size_t k)
{
    uint32_t g;
    if (!grouped) return s->table;
    memcpy(&g, s->group_of + k * sizeof g, sizeof g);
    return s->table + (g < s->groups ? g : s->groups) * 2 * s->padded;
}

/* V vectors of columns from c on, n < 16 of them where they are the last, of T tokens, over rows stored rows from r on. */
INLINE void turned_columns(const struct cpu_product *a, const struct turned *s, const int T, const int V,
                           const uint32_t form, const bool grouped, size_t r, size_t rows, size_t c, const unsigned n)
{
    const unsigned deep = form_deep(form);
    const size_t place = c - s->c0;
    const float *x = a->x + r * deep;
    float *y = a->y + c;
    vf acc[TILE_TOKENS][TILE_VECS], scale[TILE_VECS], zero[TILE_VECS];
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) {
            const float *from = y + (size_t)t * a->ldy + v * (int)STEP;
            acc[t][v] = n == STEP ? vf_load(from) : vf_load_n(from, n);
        }
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) {
        scale[v] = vf_load(s->table + place + v * (int)STEP);
        zero[v] = vf_load(s->table + s->padded + place + v * (int)STEP);
    }
    for (size_t i = 0; i < rows; i++) {
        const unsigned char *p = a->data + (r + i) * a->row_bytes + form_at(form, c);
        vw words[TILE_VECS] = {0};
        for (unsigned b = 0; b < V * form_at(form, STEP); b += 64) prefetch_far(p + b + TURNED_AHEAD);
#pragma GCC unroll 8
        for (int v = 0; v < V && deep > 1; v++) words[v] = n == STEP ? vw_load(p + v * 64) : vw_load_n(p + v * 64, n);
#pragma GCC unroll 8
        for (unsigned j = 0; j < deep; j++) {
            const size_t k = i * deep + j;
            const float *pair = turned_pair(s, grouped, r * deep + k) + place;
            vf w[TILE_VECS];
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) {
                const vf q = turned_numbers(form, p + v * (int)form_at(form, STEP), words[v], j, n);
                w[v] = grouped ? vf_fma(q, vf_load(pair + v * (int)STEP), vf_load(pair + s->padded + v * (int)STEP))
                               : vf_fma(q, scale[v], zero[v]);
            }
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                const vf xv = vf_set1(x[(size_t)t * a->ldx + k]);
#pragma GCC unroll 8
                for (int v = 0; v < V; v++) acc[t][v] = vf_fma(xv, w[v], acc[t][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) {
            float *to = y + (size_t)t * a->ldy + v * (int)STEP;
            if (n == STEP)
                vf_store(to, acc[t][v]);
            else
                vf_store_n(to, acc[t][v], n);
        }
}

/* The strip, over rows stored rows from r on that share what the table has. */
INLINE void turned_strip(const struct cpu_product *a, const struct turned *s, const int T, const uint32_t form,
                         const bool grouped, size_t r, size_t rows)
{
    const int V = T > 2 && TILE_VECS > 1 ? TILE_VECS / 2 : TILE_VECS;
    for (size_t end = r + rows, n; r < end; r += n) {
        size_t c = s->c0;
        n = end - r < TURNED_ROWS ? end - r : TURNED_ROWS;
        for (; c + (size_t)V * STEP <= s->c1; c += (size_t)V * STEP)
            turned_columns(a, s, T, V, form, grouped, r, n, c, STEP);
        for (; c + STEP <= s->c1; c += STEP) turned_columns(a, s, T, 1, form, grouped, r, n, c, STEP);
        if (c < s->c1) turned_columns(a, s, T, 1, form, grouped, r, n, c, (unsigned)(s->c1 - c));
    }
}

/* Rows [r, r + rows) dequantized, one for each input, of the strip's columns. */
INLINE void turned_dequantize(const struct cpu_product *a, const struct turned *s, const uint32_t form,
                              const bool grouped, size_t r, size_t rows, float *w)
{
    const unsigned deep = form_deep(form);
    for (size_t i = 0; i < rows; i++) {
        const unsigned char *row = a->data + (r + i) * a->row_bytes;
        for (size_t c = s->c0; c < s->c1; c += STEP) {
            const unsigned n = (unsigned)(s->c1 - c < STEP ? s->c1 - c : STEP);
            const unsigned char *p = row + form_at(form, c);
            vw words = {0};
            if (deep > 1) words = n == STEP ? vw_load(p) : vw_load_n(p, n);
            if (c % (4 * STEP) == 0) prefetch_near(p + 8 * a->row_bytes);
            for (unsigned j = 0; j < deep; j++) {
                const float *pair = turned_pair(s, grouped, (r + i) * deep + j) + (c - s->c0);
                const vf q = turned_numbers(form, p, words, j, n);
                vf_store(w + (i * deep + j) * s->padded + (c - s->c0),
                         vf_fma(q, vf_load(pair), vf_load(pair + s->padded)));
            }
        }
    }
}

/* By form: few tokens straight from the stored words, with groups out of order one; more of them from dequantized rows. */
typedef void turned_fn(const struct cpu_product *a, const struct turned *s, size_t r, size_t rows, float *work);

INLINE void turned_form(const struct cpu_product *a, const struct turned *s, const uint32_t form, size_t r, size_t rows,
                        float *work)
{
    const size_t most = SUM_ROWS / form_deep(form);
    float *edge = work + SUM_ROWS * s->padded;
    if (s->group_of && a->n == 1) {
        turned_strip(a, s, 1, form, true, r, rows);
        return;
    }
    switch (s->group_of ? 0 : a->n) {
    case 1: turned_strip(a, s, 1, form, false, r, rows); return;
    case 2: turned_strip(a, s, 2, form, false, r, rows); return;
#if TILE_TOKENS > 2
    case 3: turned_strip(a, s, 3, form, false, r, rows); return;
#endif
#if TILE_TOKENS > 3
    case 4: turned_strip(a, s, 4, form, false, r, rows); return;
    case 5: turned_strip(a, s, 5, form, false, r, rows); return;
    case 6: turned_strip(a, s, 6, form, false, r, rows); return;
#endif
    default: break;
    }
    for (size_t end = r + rows, n; r < end; r += n) {
        n = end - r < most ? end - r : most;
        if (s->group_of)
            turned_dequantize(a, s, form, true, r, n, work);
        else
            turned_dequantize(a, s, form, false, r, n, work);
        sum_tokens(a, work, r * form_deep(form), n * form_deep(form), s->c0, s->c1 - s->c0, edge);
    }
}

#define TURNED(name, ...)                                                                                              \
    static void turned_##name(const struct cpu_product *a, const struct turned *s, size_t r, size_t rows, float *work) \
    {                                                                                                                  \
        turned_form(a, s, FORM_##name, r, rows, work);                                                                 \
    }
FORM_TURNEDS(TURNED)
#undef TURNED
static turned_fn *const turned_of[FORMS] = {
#define TURNED(name, ...) [FORM_##name] = turned_##name,
    FORM_TURNEDS(TURNED)
#undef TURNED
};

/* ---- the table ---- */

/* Columns [c, c + n), n <= 16, of one row of scales and one of zero points. */
static void turned_open(const struct cpu_product *a, size_t group, size_t c, unsigned n, float *scale, float *zero)
{
    const unsigned pack = form_turned_pack(a->form);
    unsigned char bytes[32] = {0}, words[16] = {0};
    vf s, z = vf_set1(a->flags & MATRIX_ZEROS_LESS ? 1.0f : 0.0f), stored;
    memcpy(bytes, a->scale + (group - a->scale_row0) * a->scale_row_bytes + 2 * c, 2 * (size_t)n);
    s = a->scale_form == FORM_F16 ? vf_load_f16(bytes) : vf_load_bf16(bytes);
    if (a->zero) {
        memcpy(words, a->zero + (group - a->zero_row0) * a->zero_row_bytes + c / pack * 4, (n + pack - 1) / pack * 4);
        stored = a->form == FORM_GPTQ_8   ? vf_of_u8(vb_load(words))
                 : a->form == FORM_GPTQ_4 ? vf_of_u8(vb_and(vb_nibbles(words), vb_set1(15)))
                                          : turned_numbers(FORM_AWQ_4, words, (vw){0}, 0, STEP);
        z = vf_add(z, stored);
    }
    vf_store(scale, s);
    vf_store(zero, vf_mul(vf_sub(vf_zero(), z), s));
}

static void turned_group(const struct cpu_product *a, const struct turned *s, size_t group, float *to)
{
    for (size_t c = s->c0; c < s->c1; c += STEP)
        turned_open(a, group, c, (unsigned)(s->c1 - c < STEP ? s->c1 - c : STEP), to + (c - s->c0),
                    to + s->padded + (c - s->c0));
}

/* Columns [c0, c1) of a strip; work holds its table, and behind it dequantized rows and an edge. */
static void turned_block(const struct cpu_product *a, size_t rows, size_t c0, size_t c1, float *work)
{
    const bool grouped = a->flags & MATRIX_GROUPED;
    struct turned s = {.table = work, .padded = cpu_round_up(c1 - c0, STEP), .c0 = c0, .c1 = c1};
    const size_t pair = 2 * s.padded;
    s.groups = grouped ? a->groups : 1;
    for (uint32_t g = 0; grouped && g < a->groups; g++) turned_group(a, &s, g, work + g * pair);
    for (size_t i = 0; grouped && i < pair; i += STEP) vf_store(work + a->groups * pair + i, vf_set1(NAN));
    if (grouped) {
        s.group_of = (const unsigned char *)(const void *)(a->vector[0] + a->row0 * form_deep(a->form));
        turned_of[a->form](a, &s, 0, rows, work + (a->groups + 1) * pair);
        return;
    }
    for (size_t r = 0, n; r < rows; r += n) {
        const uint64_t row = a->row0 + r;
        n = a->block_rows - row % a->block_rows;
        if (n > rows - r) n = rows - r;
        turned_group(a, &s, row / a->block_rows, work);
        turned_of[a->form](a, &s, r, n, work + pair);
    }
}

static void kernel_turned(const struct cpu_product *a, size_t rows, size_t c0, size_t c1, float *work)
{
    const size_t tables = a->flags & MATRIX_GROUPED ? a->groups + 1u : 1;
    size_t strip = (MATMUL_WORK_FLOATS - TILE_TOKENS * SUM_COLS) / (2 * tables + SUM_ROWS) / STEP * STEP;
    if (strip > SUM_COLS) strip = SUM_COLS;
    if (a->init) begin_sums(a, c0, c1);
    for (; c0 < c1; c0 += strip) turned_block(a, rows, c0, c1 - c0 < strip ? c1 : c0 + strip, work);
}

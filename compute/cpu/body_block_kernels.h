/* The functions of blocks.h for one form of FORM_BLOCKS, BLOCK: included once for each, so without a guard. Written this way,
 * and not with the form as a constant argument, the compiler has to look at no other form's code on the way. BLOCK_FEW: also
 * several tokens in registers. Where dequantizing is slow, widening first loses nothing. */
#define NAMED_(x, y) x##y
#define NAMED(x, y)  NAMED_(x, y)
#define FORM         NAMED(FORM_, BLOCK)
#define OPEN         NAMED(BLOCK, _open)
#define WIDE_STEP    NAMED(BLOCK, _step)
#define GROUP        NAMED(BLOCK, _GROUP)

void VARIANT(NAMED(dequantize_, BLOCK))(const struct cpu_product *a, size_t r, size_t k0, size_t k1, float *dst,
                                        size_t stride)
{
    const unsigned char *p = a->data + r * a->row_bytes + k0 / form_elements(FORM) * form_bytes(FORM);
    for (size_t k = k0; k < k1; k += form_elements(FORM), p += form_bytes(FORM)) {
        struct opened o;
        OPEN(p, &o);
        for (unsigned g = 0; g < form_elements(FORM) / GROUP; g++)
#pragma GCC unroll 8
            for (unsigned s = 0; s < GROUP / STEP; s++, dst += stride) vf_store(dst, WIDE_STEP(p, g, s, &o));
    }
}

#if INSIDE_ROWS
/* Rows [r, r + R) times T tokens, both constants wherever it is called, dequantized in registers on the way. */
INLINE void NAMED(gemv_rows_, BLOCK)(const struct cpu_product *a, const int R, const int T, size_t r)
{
    const unsigned char *row[INSIDE_ROWS];
    struct opened o[INSIDE_ROWS];
    vf acc[INSIDE_ROWS][TILE_TOKENS];
    const size_t group = (size_t)R * a->row_bytes, ahead = group <= 256u << 10 ? group : 4096;
    const unsigned groups = form_elements(FORM) / GROUP, group_bytes = (form_bytes(FORM) + groups - 1) / groups;
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) {
        row[i] = a->data + (r + (size_t)i) * a->row_bytes;
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) acc[i][t] = vf_zero();
    }
    for (size_t k = 0, at = 0; k < a->cols; k += form_elements(FORM), at += form_bytes(FORM)) {
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) OPEN(row[i] + at, &o[i]);
        for (unsigned g = 0; g < groups; g++) {
            const float *x = a->x + k + g * GROUP;
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) {
                for (unsigned line = 0; line < group_bytes; line += 64)
                    prefetch_far(row[i] + at + g * group_bytes + line + ahead);
#pragma GCC unroll 8
                for (unsigned s = 0; s < GROUP / STEP; s++) {
                    const vf w = WIDE_STEP(row[i] + at, g, s, &o[i]);
#pragma GCC unroll 8
                    for (int t = 0; t < T; t++)
                        acc[i][t] = vf_fma(w, vf_load(x + (size_t)t * a->ldx + s * STEP), acc[i][t]);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) {
            const float sum = vf_sum(acc[i][t]);
            a->y[(size_t)t * a->ldy + r + (size_t)i] = a->bias ? sum + a->bias[r + (size_t)i] : sum;
        }
}

/* As many of rows [r0, r1) as go by R. Returns how many. */
INLINE size_t NAMED(gemv_tokens_, BLOCK)(const struct cpu_product *a, const int R, const int T, size_t r0, size_t r1)
{
    size_t r = r0;
    for (; r + (size_t)R <= r1; r += (size_t)R) NAMED(gemv_rows_, BLOCK)(a, R, T, r);
    return r - r0;
}
#endif

void VARIANT(NAMED(gemv_, BLOCK))(const struct cpu_product *a, size_t r0, size_t r1)
{
#if INSIDE_ROWS
    switch (a->n) {
    case 1: r0 += NAMED(gemv_tokens_, BLOCK)(a, INSIDE_ROWS, 1, r0, r1); break;
#if BLOCK_FEW
    case 2: r0 += NAMED(gemv_tokens_, BLOCK)(a, INSIDE_FEW_ROWS, 2, r0, r1); break;
    case 3: r0 += NAMED(gemv_tokens_, BLOCK)(a, INSIDE_FEW_ROWS, 3, r0, r1); break;
#if TILE_TOKENS > 3
    case 4: r0 += NAMED(gemv_tokens_, BLOCK)(a, INSIDE_FEW_ROWS, 4, r0, r1); break;
#endif
#endif
    default: break;
    }
#endif
    VARIANT(gemv_widened)(a, VARIANT(NAMED(dequantize_, BLOCK)), r0, r1);
}

#undef NAMED_
#undef NAMED
#undef FORM
#undef OPEN
#undef WIDE_STEP
#undef GROUP
#undef BLOCK

/* The functions of blocks.h for one form of FORM_BLOCKS, BLOCK: included once for each, so without a guard. Written this way,
 * and not with the form as a constant argument, the compiler has to look at no other form's code on the way. */
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
/* Rows [r, r + INSIDE_ROWS) times one token, dequantized in registers on the way. */
INLINE void NAMED(gemv_rows_, BLOCK)(const struct cpu_product *a, size_t r)
{
    const unsigned char *row[INSIDE_ROWS];
    struct opened o[INSIDE_ROWS];
    vf acc[INSIDE_ROWS];
    const size_t ahead = INSIDE_ROWS * a->row_bytes <= 256u << 10 ? INSIDE_ROWS * a->row_bytes : 4096;
    const unsigned groups = form_elements(FORM) / GROUP, group_bytes = (form_bytes(FORM) + groups - 1) / groups;
#pragma GCC unroll 8
    for (int i = 0; i < INSIDE_ROWS; i++) {
        row[i] = a->data + (r + (size_t)i) * a->row_bytes;
        acc[i] = vf_zero();
    }
    for (size_t k = 0, at = 0; k < a->cols; k += form_elements(FORM), at += form_bytes(FORM)) {
#pragma GCC unroll 8
        for (int i = 0; i < INSIDE_ROWS; i++) OPEN(row[i] + at, &o[i]);
        for (unsigned g = 0; g < groups; g++) {
            const float *x = a->x + k + g * GROUP;
#pragma GCC unroll 8
            for (int i = 0; i < INSIDE_ROWS; i++) {
                for (unsigned line = 0; line < group_bytes; line += 64)
                    prefetch_far(row[i] + at + g * group_bytes + line + ahead);
#pragma GCC unroll 8
                for (unsigned s = 0; s < GROUP / STEP; s++)
                    acc[i] = vf_fma(WIDE_STEP(row[i] + at, g, s, &o[i]), vf_load(x + s * STEP), acc[i]);
            }
        }
    }
    float sum[INSIDE_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < INSIDE_ROWS; i += 4) vf_sum4(sum + i, acc[i], acc[i + 1], acc[i + 2], acc[i + 3]);
    for (int i = 0; i < INSIDE_ROWS; i++) a->y[r + (size_t)i] = a->bias ? sum[i] + a->bias[r + (size_t)i] : sum[i];
}
#endif

void VARIANT(NAMED(gemv_, BLOCK))(const struct cpu_product *a, size_t r0, size_t r1)
{
#if INSIDE_ROWS
    for (; a->n == 1 && r0 + INSIDE_ROWS <= r1; r0 += INSIDE_ROWS) NAMED(gemv_rows_, BLOCK)(a, r0);
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

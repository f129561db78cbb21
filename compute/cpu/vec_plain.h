/* Sixteen float32 lanes in plain C: the vector type of the kernel bodies where the machine has no better one, and the
 * definition of what the other two (vec_avx512.h, vec_avx2.h) compute. fmaf() rounds once, as their instructions do.
 *
 *   vf  sixteen floats          vm  a yes or no for each of them
 *   vf_max(a, b) is a > b ? a : b and vf_min(a, b) is a < b ? a : b: where one is not a number, it is b.
 *   vf_load_n, vf_store_n touch n lanes only, 0 <= n <= 16; the others load as zeros. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "compute/cpu/scalar.h"

#define VEC    static inline __attribute__((always_inline))
#define INLINE static inline __attribute__((unused)) /* bodies: as the compiler likes, or it would be long about it */

#define VARIANT_(name) name##_plain
#define VARIANT(name)  VARIANT_(name)

#define TILE_ROWS   1
#define TILE_TOKENS 2
#define GEMV_ROWS   1
#define FEW_ROWS_2  1
#define ROW_BY_ROW  0
#define GEMV_TOKENS 4
#define TILE_VECS   1
#define SCAN_VECS   1
#define SCAN_ROWS   1
#define INSIDE_ROWS 0 /* blocks of rows are always widened */

typedef struct {
    float v[16];
} vf;
typedef struct {
    uint16_t bits;
} vm;

#define VF_EACH(expr)                                                                                                  \
    vf r;                                                                                                              \
    for (int i = 0; i < 16; i++) r.v[i] = (expr);                                                                      \
    return r

VEC vm vm_first(unsigned n)
{
    vm m = {(uint16_t)((1u << n) - 1u)};
    return m;
}
VEC vf vf_set1(float x)
{
    VF_EACH(x);
}
VEC vf vf_zero(void)
{
    return vf_set1(0.0f);
}
VEC vf vf_load(const float *p)
{
    vf r;
    memcpy(&r, p, sizeof r);
    return r;
}
VEC vf vf_load_n(const float *p, unsigned n)
{
    vf r = vf_zero();
    memcpy(&r, p, n * sizeof *p);
    return r;
}
VEC void vf_store(float *p, vf x)
{
    memcpy(p, &x, sizeof x);
}
VEC void vf_store_n(float *p, vf x, unsigned n)
{
    memcpy(p, &x, n * sizeof *p);
}
VEC vf vf_add(vf a, vf b)
{
    VF_EACH(a.v[i] + b.v[i]);
}
VEC vf vf_sub(vf a, vf b)
{
    VF_EACH(a.v[i] - b.v[i]);
}
VEC vf vf_mul(vf a, vf b)
{
    VF_EACH(a.v[i] * b.v[i]);
}
VEC vf vf_div(vf a, vf b)
{
    VF_EACH(a.v[i] / b.v[i]);
}
VEC vf vf_fma(vf a, vf b, vf c) /* a * b + c, rounded once */
{
    VF_EACH(fmaf(a.v[i], b.v[i], c.v[i]));
}
VEC vf vf_max(vf a, vf b)
{
    VF_EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
VEC vf vf_min(vf a, vf b)
{
    VF_EACH(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
VEC vf vf_and_bits(vf a, uint32_t bits)
{
    VF_EACH(float_of_bits(bits_of_float(a.v[i]) & bits));
}
VEC vf vf_or(vf a, vf b)
{
    VF_EACH(float_of_bits(bits_of_float(a.v[i]) | bits_of_float(b.v[i])));
}
VEC vm vf_lt(vf a, vf b)
{
    vm m = {0};
    for (int i = 0; i < 16; i++) m.bits = (uint16_t)(m.bits | (a.v[i] < b.v[i]) << i);
    return m;
}
VEC vf vf_sel(vm m, vf yes, vf no)
{
    VF_EACH(m.bits >> i & 1 ? yes.v[i] : no.v[i]);
}
/* 2^n from t = n + 1.5 * 2^23, whose low bits are n. */
VEC vf vf_pow2_magic(vf t)
{
    VF_EACH(float_of_bits((bits_of_float(t.v[i]) << 23) + 0x3f800000u));
}

/* ---- lanes to one number: 8 + 8, 4 + 4, 2 + 2, 1 + 1 ---- */

VEC float vf_sum(vf a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a.v[i] = a.v[i] + a.v[i + half];
    return a.v[0];
}
VEC void vf_sum4(float out[4], vf a, vf b, vf c, vf d)
{
    out[0] = vf_sum(a);
    out[1] = vf_sum(b);
    out[2] = vf_sum(c);
    out[3] = vf_sum(d);
}
VEC float vf_top(vf a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
    return a.v[0];
}

/* ---- stored forms: 16 elements from any byte ---- */

VEC vf vf_load_bf16(const void *p)
{
    uint16_t h[16];
    memcpy(h, p, sizeof h);
    VF_EACH(float_of_bits((uint32_t)h[i] << 16));
}
VEC vf vf_load_f16(const void *p)
{
    uint16_t h[16];
    memcpy(h, p, sizeof h);
    VF_EACH(float_of_half(h[i]));
}
VEC vf vf_load_e4m3_256th(const void *p) /* the value / 256 */
{
    uint8_t b[16];
    memcpy(b, p, sizeof b);
    VF_EACH(e4m3_256th(b[i]));
}
#define WIDE_F8 0 /* is it faster to take 64 at once? */
VEC void vf_load4_e4m3_256th(const void *p, vf out[4])
{
    for (int i = 0; i < 4; i++) out[i] = vf_load_e4m3_256th((const char *)p + 16 * i);
}
VEC vf vf_e2m1_table(vf s) /* what vf_load_e2m1 wants to know of a scale, which is the same in all lanes */
{
    return s;
}
VEC vf vf_load_e2m1(const void *p, vf table) /* 8 bytes, low nibble first, times the table's scale */
{
    uint8_t b[8];
    memcpy(b, p, sizeof b);
    VF_EACH(e2m1_value(i & 1 ? b[i / 2] >> 4 : b[i / 2] & 15) * table.v[i]);
}
VEC void vf_store_bf16(void *p, vf x) /* to the nearest, ties to even */
{
    uint16_t h[16];
    for (int i = 0; i < 16; i++) h[i] = bf16_of_float(x.v[i]);
    memcpy(p, h, sizeof h);
}
VEC void vf_store_f16(void *p, vf x) /* to the nearest, ties to even */
{
    uint16_t h[16];
    for (int i = 0; i < 16; i++) h[i] = half_of_float(x.v[i]);
    memcpy(p, h, sizeof h);
}

/* ---- what blocks are made of: sixteen bytes ---- */

typedef struct {
    uint8_t v[16];
} vb;

#define VB_EACH(expr)                                                                                                  \
    vb r;                                                                                                              \
    for (unsigned i = 0; i < 16; i++) r.v[i] = (uint8_t)(expr);                                                        \
    return r

VEC vb vb_load(const void *p)
{
    vb r;
    memcpy(&r, p, sizeof r);
    return r;
}
VEC vb vb_nibbles(const void *p) /* 8 bytes as 16 nibbles, the low ones first; the upper four bits are anything */
{
    const uint8_t *q = p;
    VB_EACH(i & 1 ? q[i / 2] >> 4 : q[i / 2]);
}
VEC vb vb_nibbles_high(const void *p) /* the high ones first */
{
    const uint8_t *q = p;
    VB_EACH(i & 1 ? q[i / 2] : q[i / 2] >> 4);
}
VEC vb vb_set1(unsigned x)
{
    VB_EACH(x);
}
VEC vb vb_words(uint32_t a, uint32_t b, uint32_t c, uint32_t d) /* little-endian */
{
    const uint32_t w[4] = {a, b, c, d};
    VB_EACH(w[i / 4] >> i % 4 * 8);
}
VEC vb vb_quads(uint64_t a, uint64_t b)
{
    VB_EACH((i < 8 ? a : b) >> i % 8 * 8);
}
VEC vb vb_and(vb a, vb b)
{
    VB_EACH(a.v[i] & b.v[i]);
}
VEC vb vb_or(vb a, vb b)
{
    VB_EACH(a.v[i] | b.v[i]);
}
VEC vb vb_xor(vb a, vb b)
{
    VB_EACH(a.v[i] ^ b.v[i]);
}
VEC vb vb_add(vb a, vb b)
{
    VB_EACH(a.v[i] + b.v[i]);
}
VEC vb vb_sub(vb a, vb b)
{
    VB_EACH(a.v[i] - b.v[i]);
}
/* Shifted by less than 8 bits. What comes into a byte may be a neighbour's bits: whoever shifts takes the rest alone. */
VEC vb vb_shr(vb a, unsigned n)
{
    VB_EACH(a.v[i] >> n);
}
VEC vb vb_shl(vb a, unsigned n)
{
    VB_EACH(a.v[i] << n);
}
VEC vb vb_add_where(vb b, unsigned bits, unsigned x) /* where bit i of 16 is one */
{
    VB_EACH(b.v[i] + (bits >> i & 1 ? x : 0));
}
VEC vb vb_add_where_has(vb b, vb a, unsigned bit, unsigned x) /* where a has this one bit */
{
    VB_EACH(b.v[i] + (a.v[i] & bit ? x : 0));
}
VEC vb vb_least(vb a, unsigned x) /* 255 where a byte is x at least, else 0 */
{
    VB_EACH(a.v[i] >= x ? 255 : 0);
}
VEC float vb_half(unsigned bits) /* IEEE half to float */
{
    return float_of_half((uint16_t)bits);
}
VEC vf vf_two(float a, float b) /* eight lanes each */
{
    VF_EACH(i < 8 ? a : b);
}
VEC vf vf_of_u8(vb b)
{
    VF_EACH((float)b.v[i]);
}
VEC vf vf_pick(vf table, vb nibbles) /* table's lanes that the lower four bits name */
{
    VF_EACH(table.v[nibbles.v[i] & 15]);
}
VEC vf vf_of_i8(vb b)
{
    VF_EACH((float)(int8_t)b.v[i]);
}
VEC vf vf_signed(vb b, unsigned bits, float d) /* b as int8_t times d, negative where bit i is one */
{
    VF_EACH((float)(int8_t)b.v[i] * (bits >> i & 1 ? -d : d));
}
/* Tables of sixteen values, looked up by the low four bits of each byte, whatever its upper ones are: lines a x + b rounded
 * once, and curves of struct curve times d. */
typedef struct {
    float a, b;
} vl;
VEC vl vl_line(float a, float b)
{
    vl t = {a, b};
    return t;
}
VEC vf vl_look(vl t, vb nibbles)
{
    VF_EACH(fmaf((float)(nibbles.v[i] & 15), t.a, t.b));
}
typedef float vc;
VEC vc vc_scaled(const struct curve *c, float d)
{
    (void)c;
    return d;
}
VEC vf vc_look(const struct curve *c, vc t, vb nibbles)
{
    VF_EACH(c->f[nibbles.v[i] & 15] * t);
}

VEC void prefetch_near(const void *p)
{
    __builtin_prefetch(p, 0, 3);
}
VEC void prefetch_far(const void *p)
{
    __builtin_prefetch(p, 0, 2);
}

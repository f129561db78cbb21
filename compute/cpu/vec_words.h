/* Sixteen words of 32 bits, from each of which several small numbers are taken: what each function does, and how vector types
 * without instructions of their own for it do it. Those that have them say so with VEC_WORDS. */
#pragma once
#include <stdint.h>
#include <string.h>

typedef struct {
    uint32_t v[16];
} vw;
INLINE vw vw_load_n(const void *p, unsigned n) /* the others are zero */
{
    vw w = {{0}};
    memcpy(&w, p, n * sizeof w.v[0]);
    return w;
}
INLINE vw vw_load(const void *p)
{
    return vw_load_n(p, 16);
}
INLINE vf vf_of_nibbles(vw w, unsigned n) /* number n of the eight in each word, the first in the lowest bits */
{
    float x[16];
    for (int i = 0; i < 16; i++) x[i] = (float)(w.v[i] >> 4 * n & 15);
    return vf_load(x);
}
INLINE vf vf_of_bytes(vw w, unsigned n)
{
    float x[16];
    for (int i = 0; i < 16; i++) x[i] = (float)(w.v[i] >> 8 * n & 255);
    return vf_load(x);
}
INLINE vf vf_of_awq(uint32_t a, uint32_t b) /* eight numbers of each, in the order of FORM_AWQ_4 */
{
    static const uint8_t shifts[8] = {0, 16, 4, 20, 8, 24, 12, 28};
    float x[16];
    for (int i = 0; i < 16; i++) x[i] = (float)((i < 8 ? a : b) >> shifts[i % 8] & 15);
    return vf_load(x);
}

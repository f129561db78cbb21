#include "coordinator/pack/blocks.h"

#include <math.h>
#include <string.h>
#include "coordinator/pack/fit.h"
#include "proto/base/half.h"

#define SMALL 32u  /* elements of a small block */
#define LARGE 256u /* of a super-block */

/* ---- numbers of 16 bits ---- */

static void put16(uint8_t *p, uint16_t x)
{
    memcpy(p, &x, sizeof x);
}

static uint16_t get16(const uint8_t *p)
{
    uint16_t x;

    memcpy(&x, p, sizeof x);
    return x;
}

/* To the nearest, ties to even. */
static uint16_t brain_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float brain_value(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float x;

    memcpy(&x, &wide, sizeof x);
    return x;
}

static int level(float x, int least, int most)
{
    float r = rintf(x);

    return r < (float)least ? least : r > (float)most ? most : (int)r;
}

/* ---- Q8_0: one scale, 8 bits: the largest element is 127 ---- */

static bool make_q8_0(uint8_t *out, const float *x)
{
    float most = 0, d;
    uint16_t bits;

    for (unsigned i = 0; i < SMALL; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]);
    bits = half_of_float(most / 127);
    d = float_of_half(bits);
    put16(out, bits);
    for (unsigned i = 0; i < SMALL; i++) out[2 + i] = (uint8_t)(int8_t)(d > 0 ? level(x[i] / d, -127, 127) : 0);
    return isfinite(d);
}

static void read_q8_0(float *x, const uint8_t *in)
{
    float d = float_of_half(get16(in));

    for (unsigned i = 0; i < SMALL; i++) x[i] = d * (float)(int8_t)in[2 + i];
}

/* ---- Q5_0 and Q5_1: low bits of elements i and i + 16 in a byte, the fifth ones in a word before them ---- */

static void put_5_bits(uint8_t *high, uint8_t *low, const uint8_t q[SMALL])
{
    uint32_t fifth = 0;

    for (unsigned i = 0; i < SMALL; i++) fifth |= (uint32_t)(q[i] >> 4) << i;
    memcpy(high, &fifth, sizeof fifth);
    for (unsigned i = 0; i < SMALL / 2; i++) low[i] = (uint8_t)((q[i] & 15) | (q[i + SMALL / 2] & 15) << 4);
}

static void get_5_bits(uint8_t q[SMALL], const uint8_t *high, const uint8_t *low)
{
    uint32_t fifth;

    memcpy(&fifth, high, sizeof fifth);
    for (unsigned i = 0; i < SMALL; i++)
        q[i] = (uint8_t)((i < SMALL / 2 ? low[i] & 15 : low[i - SMALL / 2] >> 4) | (fifth >> i & 1) << 4);
}

static bool make_q5_0(uint8_t *out, const float *x)
{
    float w[SMALL], d;
    uint8_t q[SMALL];
    uint16_t bits;

    fit_weigh_squares(w, x, SMALL);
    bits = half_of_float(fit_scale(x, w, SMALL, 16));
    d = float_of_half(bits);
    put16(out, bits);
    for (unsigned i = 0; i < SMALL; i++) q[i] = (uint8_t)((d != 0 ? level(x[i] / d, -16, 15) : 0) + 16);
    put_5_bits(out + 2, out + 6, q);
    return isfinite(d);
}

static void read_q5_0(float *x, const uint8_t *in)
{
    float d = float_of_half(get16(in));
    uint8_t q[SMALL];

    get_5_bits(q, in + 2, in + 6);
    for (unsigned i = 0; i < SMALL; i++) x[i] = d * (float)((int)q[i] - 16);
}

static bool make_q5_1(uint8_t *out, const float *x)
{
    float w[SMALL], least, d, m;
    uint8_t q[SMALL];

    fit_weigh(w, x, SMALL);
    d = fit_affine(x, w, SMALL, 31, false, &least);
    put16(out, half_of_float(d));
    put16(out + 2, half_of_float(least));
    d = float_of_half(get16(out));
    m = float_of_half(get16(out + 2));
    for (unsigned i = 0; i < SMALL; i++) q[i] = (uint8_t)(d > 0 ? level((x[i] - m) / d, 0, 31) : 0);
    put_5_bits(out + 4, out + 8, q);
    return isfinite(d) && isfinite(m);
}

static void read_q5_1(float *x, const uint8_t *in)
{
    float d = float_of_half(get16(in)), m = float_of_half(get16(in + 2));
    uint8_t q[SMALL];

    get_5_bits(q, in + 4, in + 8);
    for (unsigned i = 0; i < SMALL; i++) x[i] = d * (float)q[i] + m;
}

/* ---- Q4_K and Q5_K: eight groups of 32, each with a scale and a minimum of 6 bits ---- */

static void put_6_bits(uint8_t b[12], const uint8_t s[8], const uint8_t m[8])
{
    for (unsigned i = 0; i < 4; i++) {
        b[i] = (uint8_t)(s[i] | (s[i + 4] >> 4) << 6);
        b[i + 4] = (uint8_t)(m[i] | (m[i + 4] >> 4) << 6);
        b[i + 8] = (uint8_t)((s[i + 4] & 15) | (m[i + 4] & 15) << 4);
    }
}

static void get_6_bits(uint8_t s[8], uint8_t m[8], const uint8_t b[12])
{
    for (unsigned i = 0; i < 4; i++) {
        s[i] = b[i] & 63;
        m[i] = b[i + 4] & 63;
        s[i + 4] = (uint8_t)((b[i + 8] & 15) | (b[i] >> 6) << 4);
        m[i + 4] = (uint8_t)(b[i + 8] >> 4 | (b[i + 4] >> 6) << 4);
    }
}

/* d, dmin, scales and the elements' levels of a super-block. */
static bool fit_groups(uint8_t *out, uint8_t q[LARGE], const float *x, int most)
{
    float scale[8], least[8], w[SMALL], top_scale = 0, top_least = 0, d, dmin;
    uint8_t s[8], m[8];

    for (unsigned g = 0; g < 8; g++) {
        fit_weigh(w, x + g * SMALL, SMALL);
        scale[g] = fit_affine(x + g * SMALL, w, SMALL, most, true, &least[g]);
        if (scale[g] > top_scale) top_scale = scale[g];
        if (-least[g] > top_least) top_least = -least[g];
    }
    put16(out, half_of_float(top_scale / 63));
    put16(out + 2, half_of_float(top_least / 63));
    d = float_of_half(get16(out));
    dmin = float_of_half(get16(out + 2));
    for (unsigned g = 0; g < 8; g++) {
        float step, min;

        s[g] = (uint8_t)(d > 0 ? level(scale[g] / d, 0, 63) : 0);
        m[g] = (uint8_t)(dmin > 0 ? level(-least[g] / dmin, 0, 63) : 0);
        step = d * (float)s[g];
        min = dmin * (float)m[g];
        for (unsigned i = 0; i < SMALL; i++)
            q[g * SMALL + i] = (uint8_t)(step > 0 ? level((x[g * SMALL + i] + min) / step, 0, most) : 0);
    }
    put_6_bits(out + 4, s, m);
    return isfinite(d) && isfinite(dmin);
}

/* Nibbles of elements 64 j + i and 64 j + 32 + i in a byte. */
static void put_nibbles(uint8_t *low, const uint8_t q[LARGE])
{
    for (unsigned j = 0; j < LARGE / 64; j++)
        for (unsigned i = 0; i < 32; i++)
            low[32 * j + i] = (uint8_t)((q[64 * j + i] & 15) | (q[64 * j + 32 + i] & 15) << 4);
}

static bool make_q4_k(uint8_t *out, const float *x)
{
    uint8_t q[LARGE];
    bool ok = fit_groups(out, q, x, 15);

    put_nibbles(out + 16, q);
    return ok;
}

static bool make_q5_k(uint8_t *out, const float *x)
{
    uint8_t q[LARGE];
    bool ok = fit_groups(out, q, x, 31);

    put_nibbles(out + 48, q);
    for (unsigned i = 0; i < 32; i++) {
        unsigned fifth = 0;

        for (unsigned g = 0; g < 8; g++) fifth |= (unsigned)(q[32 * g + i] >> 4) << g;
        out[16 + i] = (uint8_t)fifth;
    }
    return ok;
}

/* high: NULL, or where the fifth bits are. */
static void read_groups(float *x, const uint8_t *in, const uint8_t *high, const uint8_t *low)
{
    float d = float_of_half(get16(in)), dmin = float_of_half(get16(in + 2));
    uint8_t s[8], m[8];

    get_6_bits(s, m, in + 4);
    for (unsigned g = 0; g < 8; g++)
        for (unsigned i = 0; i < 32; i++) {
            unsigned q = g % 2 ? low[g / 2 * 32 + i] >> 4 : low[g / 2 * 32 + i] & 15;

            if (high) q |= (high[i] >> g & 1u) << 4;
            x[32 * g + i] = d * (float)s[g] * (float)q - dmin * (float)m[g];
        }
}

/* ---- Q6_K: sixteen groups of 16, each with a scale of 8 bits ---- */

static bool make_q6_k(uint8_t *out, const float *x)
{
    float scale[16], w[16], top = 0, d;
    uint8_t q[LARGE];

    for (unsigned g = 0; g < 16; g++) {
        fit_weigh_squares(w, x + 16 * g, 16);
        scale[g] = fit_scale(x + 16 * g, w, 16, 32);
        if (fabsf(scale[g]) > fabsf(top)) top = scale[g];
    }
    put16(out + 208, half_of_float(top / -128));
    d = float_of_half(get16(out + 208));
    for (unsigned g = 0; g < 16; g++) {
        int s = d != 0 ? level(scale[g] / d, -128, 127) : 0;
        float step = d * (float)s;

        out[192 + g] = (uint8_t)(int8_t)s;
        for (unsigned i = 0; i < 16; i++)
            q[16 * g + i] = (uint8_t)((step != 0 ? level(x[16 * g + i] / step, -32, 31) : 0) + 32);
    }
    for (unsigned h = 0; h < 2; h++)
        for (unsigned i = 0; i < 32; i++) {
            const uint8_t *e = q + 128 * h + i;

            out[64 * h + i] = (uint8_t)((e[0] & 15) | (e[64] & 15) << 4);
            out[64 * h + 32 + i] = (uint8_t)((e[32] & 15) | (e[96] & 15) << 4);
            out[128 + 32 * h + i] = (uint8_t)(e[0] >> 4 | e[32] >> 4 << 2 | e[64] >> 4 << 4 | e[96] >> 4 << 6);
        }
    return isfinite(d);
}

static void read_q6_k(float *x, const uint8_t *in)
{
    float d = float_of_half(get16(in + 208));

    for (unsigned h = 0; h < 2; h++)
        for (unsigned i = 0; i < 128; i++) {
            unsigned l = i % 32, part = i / 32; /* which 32 of the 128 */
            unsigned low = in[64 * h + 32 * (part % 2) + l] >> (part / 2 * 4) & 15;
            unsigned high = in[128 + 32 * h + l] >> (2 * part) & 3;
            int q = (int)(low | high << 4) - 32;

            x[128 * h + i] = d * (float)(int8_t)in[192 + 8 * h + i / 16] * (float)q;
        }
}

/* ---- MXFP4 ---- */

void blocks_mxfp4(uint8_t *out, const uint8_t *in, uint8_t scale)
{
    out[0] = scale;
    for (unsigned i = 0; i < 16; i++) {
        unsigned a = in[i / 2] >> (i % 2 * 4) & 15, b = in[8 + i / 2] >> (i % 2 * 4) & 15;

        out[1 + i] = (uint8_t)(a | b << 4);
    }
}

static void read_mxfp4(float *x, const uint8_t *in)
{
    static const float value[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, 0, -.5f, -1, -1.5f, -2, -3, -4, -6};
    float d = ldexpf(1, (int)in[0] - 127);

    for (unsigned i = 0; i < 16; i++) {
        x[i] = d * value[in[1 + i] & 15];
        x[i + 16] = d * value[in[1 + i] >> 4];
    }
}

/* ---- rows ---- */

static bool make_plain(enum block_type type, uint8_t *out, const float *x, uint64_t n)
{
    bool ok = true;

    for (uint64_t i = 0; i < n; i++) {
        uint16_t bits = type == BLOCK_F16 ? half_of_float(x[i]) : brain_bits(x[i]);

        put16(out + 2 * i, bits);
        ok &= isfinite(type == BLOCK_F16 ? float_of_half(bits) : brain_value(bits)) != 0;
    }
    return ok;
}

bool blocks_make(enum block_type type, uint8_t *out, const float *x, uint64_t n)
{
    bool ok = true;

    for (uint64_t i = 0; i < n; i++) ok &= isfinite(x[i]) != 0;
    if (!ok) return false;
    if (type == BLOCK_F32) {
        memcpy(out, x, n * sizeof *x);
        return true;
    }
    if (type == BLOCK_F16 || type == BLOCK_BF16) return make_plain(type, out, x, n);
    for (uint64_t i = 0; ok && i < n;) {
        switch (type) {
        case BLOCK_Q8_0: ok = make_q8_0(out + i / SMALL * 34, x + i); break;
        case BLOCK_Q5_0: ok = make_q5_0(out + i / SMALL * 22, x + i); break;
        case BLOCK_Q5_1: ok = make_q5_1(out + i / SMALL * 24, x + i); break;
        case BLOCK_Q4_K: ok = make_q4_k(out + i / LARGE * 144, x + i); break;
        case BLOCK_Q5_K: ok = make_q5_k(out + i / LARGE * 176, x + i); break;
        case BLOCK_Q6_K: ok = make_q6_k(out + i / LARGE * 210, x + i); break;
        default: return false;
        }
        i += type == BLOCK_Q8_0 || type == BLOCK_Q5_0 || type == BLOCK_Q5_1 ? SMALL : LARGE;
    }
    return ok;
}

void blocks_read(enum block_type type, float *x, const uint8_t *in, uint64_t n)
{
    switch (type) {
    case BLOCK_F32: memcpy(x, in, n * sizeof *x); break;
    case BLOCK_F16:
        for (uint64_t i = 0; i < n; i++) x[i] = float_of_half(get16(in + 2 * i));
        break;
    case BLOCK_BF16:
        for (uint64_t i = 0; i < n; i++) x[i] = brain_value(get16(in + 2 * i));
        break;
    case BLOCK_Q8_0:
        for (uint64_t i = 0; i < n; i += SMALL) read_q8_0(x + i, in + i / SMALL * 34);
        break;
    case BLOCK_Q5_0:
        for (uint64_t i = 0; i < n; i += SMALL) read_q5_0(x + i, in + i / SMALL * 22);
        break;
    case BLOCK_Q5_1:
        for (uint64_t i = 0; i < n; i += SMALL) read_q5_1(x + i, in + i / SMALL * 24);
        break;
    case BLOCK_MXFP4:
        for (uint64_t i = 0; i < n; i += SMALL) read_mxfp4(x + i, in + i / SMALL * 17);
        break;
    case BLOCK_Q4_K:
        for (uint64_t i = 0; i < n; i += LARGE)
            read_groups(x + i, in + i / LARGE * 144, NULL, in + i / LARGE * 144 + 16);
        break;
    case BLOCK_Q5_K:
        for (uint64_t i = 0; i < n; i += LARGE)
            read_groups(x + i, in + i / LARGE * 176, in + i / LARGE * 176 + 16, in + i / LARGE * 176 + 48);
        break;
    case BLOCK_Q6_K:
        for (uint64_t i = 0; i < n; i += LARGE) read_q6_k(x + i, in + i / LARGE * 210);
        break;
    }
}

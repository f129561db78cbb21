/* Weights in every stored form, of reference.h: bit by bit, as the formats say them. */
#include "compute/cpu/reference.h"
#include "compute/grids.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static float bf16(const unsigned char *p)
{
    uint32_t u = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static float f32(const unsigned char *p)
{
    float x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* sign, bits of exponent, bits of mantissa; the largest exponent is an ordinary one. */
static double small_float(unsigned code, int exponent_bits, int mantissa_bits, int bias)
{
    const unsigned mantissa = code & ((1u << mantissa_bits) - 1),
                   exponent = code >> mantissa_bits & ((1u << exponent_bits) - 1);
    const double sign = code >> (exponent_bits + mantissa_bits) & 1 ? -1 : 1;
    if (exponent == 0) return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp(1 + ldexp(mantissa, -mantissa_bits), (int)exponent - bias);
}

static float f16(const unsigned char *p)
{
    const unsigned code = p[0] | (unsigned)p[1] << 8;
    if ((code & 0x7c00) == 0x7c00) return code & 0x3ff ? NAN : code & 0x8000 ? -INFINITY : INFINITY;
    return (float)small_float(code, 5, 10, 15);
}

/* Element i of a block of each form, without its scale where that lies in a grid. */
static double F32_element(const unsigned char *block, uint64_t i)
{
    return f32(block + 4 * i);
}

static double F16_element(const unsigned char *block, uint64_t i)
{
    return f16(block + 2 * i);
}

static double BF16_element(const unsigned char *block, uint64_t i)
{
    return bf16(block + 2 * i);
}

static double F8_E4M3_element(const unsigned char *block, uint64_t i)
{
    return (block[i] & 0x7f) == 0x7f ? NAN : small_float(block[i], 4, 3, 7);
}

static double MXFP4_element(const unsigned char *block, uint64_t i)
{
    return small_float(block[i / 2] >> (i % 2 ? 4 : 0) & 15, 2, 1, 1);
}

static double NVFP4_GRID_element(const unsigned char *block, uint64_t i)
{
    return MXFP4_element(block, i);
}

static double I8_element(const unsigned char *block, uint64_t i)
{
    return (signed char)block[i];
}

static double I8_PACKED_element(const unsigned char *block, uint64_t i)
{
    return block[i] - 128;
}

static double I4_PACKED_element(const unsigned char *block, uint64_t i)
{
    return (block[i / 2] >> (i % 2 ? 4 : 0) & 15) - 8;
}

static double NF4_element(const unsigned char *block, uint64_t i)
{
    static const float levels[16] = {FORM_NF4_LEVELS};
    return levels[block[i / 2] >> (i % 2 ? 0 : 4) & 15];
}

static double FP4_element(const unsigned char *block, uint64_t i)
{
    static const float levels[16] = {FORM_FP4_LEVELS};
    return levels[block[i / 2] >> (i % 2 ? 0 : 4) & 15];
}

/* Of words of inputs, the one below the other, i counts these; of words of outputs, these. */
static double GPTQ_4_element(const unsigned char *word, uint64_t i)
{
    return word[i / 2] >> (i % 2 ? 4 : 0) & 15;
}

static double GPTQ_8_element(const unsigned char *word, uint64_t i)
{
    return word[i];
}

static double AWQ_4_element(const unsigned char *word, uint64_t i)
{
    static const unsigned place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    return GPTQ_4_element(word, place[i]);
}

/* Blocks with their scales inside, bit by bit as their layouts are written down. Exact in double precision: rounded once,
 * by whoever makes a float of them. */
static unsigned nibble(const unsigned char *p, uint64_t i) /* i of 32 in 16 bytes: low ones first */
{
    return p[i % 16] >> (i < 16 ? 0 : 4) & 15;
}

static unsigned bit(const unsigned char *p, uint64_t i)
{
    return p[i / 8] >> i % 8 & 1;
}

static double Q4_0_element(const unsigned char *b, uint64_t i)
{
    return (double)f16(b) * ((int)nibble(b + 2, i) - 8);
}

static double Q4_1_element(const unsigned char *b, uint64_t i)
{
    return (double)f16(b) * nibble(b + 4, i) + f16(b + 2);
}

static double Q5_0_element(const unsigned char *b, uint64_t i)
{
    return (double)f16(b) * ((int)(nibble(b + 6, i) | bit(b + 2, i) << 4) - 16);
}

static double Q5_1_element(const unsigned char *b, uint64_t i)
{
    return (double)f16(b) * (nibble(b + 8, i) | bit(b + 4, i) << 4) + f16(b + 2);
}

static double Q8_0_element(const unsigned char *b, uint64_t i)
{
    return (double)f16(b) * (signed char)b[2 + i];
}

/* Scale and minimum of columns [32 i, 32 i + 32), of 6 bits each in 12 bytes. */
static unsigned k_scale(const unsigned char *b, uint64_t i)
{
    return i < 4 ? b[i] & 63u : (b[i + 4] & 15u) | (unsigned)b[i - 4] >> 6 << 4;
}

static unsigned k_minimum(const unsigned char *b, uint64_t i)
{
    return i < 4 ? b[i + 4] & 63u : (unsigned)b[i + 4] >> 4 | (unsigned)b[i] >> 6 << 4;
}

static double Q4_K_element(const unsigned char *b, uint64_t i)
{
    const unsigned q = b[16 + i / 64 * 32 + i % 32] >> (i % 64 < 32 ? 0 : 4) & 15;
    return (double)f16(b) * k_scale(b + 4, i / 32) * q - (double)f16(b + 2) * k_minimum(b + 4, i / 32);
}

static double Q5_K_element(const unsigned char *b, uint64_t i)
{
    const unsigned low = b[48 + i / 64 * 32 + i % 32] >> (i % 64 < 32 ? 0 : 4) & 15,
                   high = b[16 + i % 32] >> i / 32 & 1;
    return (double)f16(b) * k_scale(b + 4, i / 32) * (low | high << 4) - (double)f16(b + 2) * k_minimum(b + 4, i / 32);
}

static double Q6_K_element(const unsigned char *b, uint64_t i)
{
    const uint64_t half = i / 128, quarter = i % 128 / 32, l = i % 32;
    const unsigned low = b[64 * half + (quarter % 2) * 32 + l] >> (quarter < 2 ? 0 : 4) & 15;
    const unsigned high = b[128 + 32 * half + l] >> 2 * quarter & 3;
    return (double)f16(b + 208) * (signed char)b[192 + i / 16] * ((int)(low | high << 4) - 32);
}

static const signed char iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static double IQ4_NL_element(const unsigned char *b, uint64_t i)
{
    return (double)f16(b) * iq4_values[nibble(b + 2, i)];
}

static double IQ4_XS_element(const unsigned char *b, uint64_t i)
{
    const uint64_t j = i / 32;
    const unsigned low = b[4 + j / 2] >> 4 * (j % 2) & 15, high = (b[2 + j / 4] >> 2 * (j % 4) & 3u) << 4;
    return (double)f16(b) * ((int)(low | high) - 32) * iq4_values[nibble(b + 8 + 16 * j, i % 32)];
}

/* Their zero has no sign. */
static double e2m1(unsigned code)
{
    const double x = small_float(code & 7, 2, 1, 1);
    return code & 8 && x != 0 ? -x : x;
}

static double MXFP4_BLOCK_element(const unsigned char *b, uint64_t i)
{
    return b[0] == 255 ? NAN : ldexp(e2m1(nibble(b + 1, i)), b[0] - 127);
}

static double NVFP4_element(const unsigned char *b, uint64_t i)
{
    const uint64_t j = i / 16;
    const double scale = b[j] == 0x7f ? 0 : small_float(b[j] & 0x7f, 4, 3, 7);
    return scale * e2m1(b[4 + 8 * j + i % 8] >> (i % 16 < 8 ? 0 : 4) & 15);
}

static unsigned two_bits(const unsigned char *p,
                         uint64_t i) /* of 256 in 64 bytes: by 128, four times 32 share 32 bytes */
{
    return p[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

static double Q2_K_element(const unsigned char *b, uint64_t i)
{
    const unsigned scale = b[i / 16];
    return (double)f16(b + 80) * (scale & 15) * two_bits(b + 16, i) - (double)f16(b + 82) * (scale >> 4);
}

static double Q3_K_element(const unsigned char *b, uint64_t i)
{
    const uint64_t j = i / 16;
    const unsigned low = b[96 + j % 8] >> j / 8 * 4 & 15, high = (b[104 + j % 4] >> j / 4 * 2 & 3u) << 4;
    const int q = (int)two_bits(b + 32, i) - (b[i % 32] >> i / 32 & 1 ? 0 : 4);
    return (double)f16(b + 108) * ((int)(low | high) - 32) * q;
}

static double TQ2_0_element(const unsigned char *b, uint64_t i)
{
    return (double)f16(b + 64) * ((int)two_bits(b, i) - 1);
}

static double TQ1_0_element(const unsigned char *b, uint64_t i)
{
    static const unsigned powers[5] = {1, 3, 9, 27, 81};
    const unsigned byte = i < 160 ? b[i % 32] : i < 240 ? b[32 + i % 16] : b[48 + i % 4];
    const unsigned digit = byte * powers[i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4] & 255;
    return (double)f16(b + 52) * ((int)(digit * 3 >> 8) - 1);
}

/* ---- grids ---- */

#define ENTRY(x) x,
static const uint16_t iq1[] = {GRID_IQ1(ENTRY)}, iq2_xxs[] = {GRID_IQ2_XXS(ENTRY)}, iq2_xs[] = {GRID_IQ2_XS(ENTRY)},
                      iq2_s[] = {GRID_IQ2_S(ENTRY)}, iq3_xxs[] = {GRID_IQ3_XXS(ENTRY)}, iq3_s[] = {GRID_IQ3_S(ENTRY)};
#undef ENTRY

static int iq2_value(unsigned entry, uint64_t i)
{
    static const int values[4] = {8, 25, 43};
    return values[entry >> 2 * i & 3];
}

static int iq3_value(unsigned entry, uint64_t i)
{
    return entry >> 4 * i & 7;
}

static uint32_t word(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Signs of 8 numbers: 7 bits, and their parity. */
static int sign(unsigned bits, uint64_t i)
{
    if (i < 7) return bits >> i & 1 ? -1 : 1;
    return __builtin_popcount(bits & 127) % 2 ? -1 : 1;
}

static double IQ2_XXS_element(const unsigned char *b, uint64_t i)
{
    const unsigned char *q = b + 2 + i / 32 * 8;
    const double scale = f16(b) * (0.5 + (word(q + 4) >> 28)) / 4;
    return scale * iq2_value(iq2_xxs[q[i % 32 / 8]], i % 8) * sign(word(q + 4) >> 7 * (i % 32 / 8), i % 8);
}

static double IQ2_XS_element(const unsigned char *b, uint64_t i)
{
    const unsigned q = b[2 + i / 8 * 2] | (unsigned)b[3 + i / 8 * 2] << 8;
    const double scale = f16(b) * (0.5 + (b[66 + i / 32] >> i / 16 % 2 * 4 & 15)) / 4;
    return scale * iq2_value(iq2_xs[q & 511], i % 8) * sign(q >> 9, i % 8);
}

static double IQ2_S_element(const unsigned char *b, uint64_t i)
{
    const uint64_t j = i / 8;
    const unsigned q = b[2 + j] | (b[66 + j / 4] >> 2 * (j % 4) & 3u) << 8;
    const double scale = f16(b) * (0.5 + (b[74 + i / 32] >> i / 16 % 2 * 4 & 15)) / 4;
    return scale * iq2_value(iq2_s[q], i % 8) * (bit(b + 34, i) ? -1 : 1);
}

static double IQ3_XXS_element(const unsigned char *b, uint64_t i)
{
    const uint32_t w = word(b + 66 + i / 32 * 4);
    const int g = iq3_value(iq3_xxs[b[2 + i / 4]], i % 4);
    return f16(b) * (0.5 + (w >> 28)) / 2 * (g == 7 ? 62 : 4 + 8 * g) * sign(w >> 7 * (i % 32 / 8), i % 8);
}

static double IQ3_S_element(const unsigned char *b, uint64_t i)
{
    const unsigned q = b[2 + i / 4] | bit(b + 66, i / 4) << 8;
    const int scale = 1 + 2 * (b[106 + i / 64] >> i / 32 % 2 * 4 & 15);
    return (double)f16(b) * scale * (1 + 2 * iq3_value(iq3_s[q], i % 4)) * (bit(b + 74, i) ? -1 : 1);
}

static double iq1_value(unsigned entry, uint64_t i, bool less)
{
    return (int)(entry >> 2 * i & 3) - 1 + (less ? -0.125 : 0.125);
}

static double IQ1_S_element(const unsigned char *b, uint64_t i)
{
    const unsigned high = b[34 + i / 32 * 2] | (unsigned)b[35 + i / 32 * 2] << 8;
    const unsigned q = b[2 + i / 8] | (high >> 3 * (i / 8 % 4) & 7) << 8;
    return (double)f16(b) * (2 * (high >> 12 & 7) + 1) * iq1_value(iq1[q], i % 8, high >> 15);
}

static double IQ1_M_element(const unsigned char *b, uint64_t i)
{
    const unsigned high = b[32 + i / 16] >> i / 8 % 2 * 4, q = b[i / 8] | (high & 7) << 8;
    const unsigned scales = b[48 + i / 64 * 2] | (unsigned)b[49 + i / 64 * 2] << 8;
    const unsigned char d[2] = {(unsigned char)(b[49] >> 4 | (b[51] & 0xf0)),
                                (unsigned char)(b[53] >> 4 | (b[55] & 0xf0))};
    return (double)f16(d) * (2 * (scales >> i / 16 % 4 * 3 & 7) + 1) * iq1_value(iq1[q], i % 8, high >> 3 & 1);
}

double reference_stored(uint32_t form, const void *row, uint64_t k)
{
    static double (*const element[FORMS])(const unsigned char *, uint64_t) = {
#define ELEMENT(name, ...) [FORM_##name] = name##_element,
        FORM_WEIGHTS(ELEMENT) FORM_TURNEDS(ELEMENT)
#undef ELEMENT
    };
    if (form >= FORMS || !element[form]) return NAN;
    return element[form]((const unsigned char *)row + k / form_elements(form) * form_bytes(form),
                         k % form_elements(form));
}

static double scale_of(uint32_t form, const unsigned char *row, uint64_t k)
{
    if (form == FORM_F8_E8M0) return row[k] == 255 ? NAN : ldexp(1, row[k] - 127);
    return reference_stored(form, row, k);
}

/* A scale that is made of several numbers is rounded after each. */
static double whole_scale(const struct ops_weight *w, uint64_t r, uint64_t k)
{
    const struct plan_matrix *m = w->matrix;
    const uint64_t row = (w->row0 + r) / m->block_rows, i = k / m->block_cols;
    const unsigned char *at = (const unsigned char *)w->scale + (row - w->scale_row0) * m->scale_row_bytes;
    double scale;
    if (m->flags & MATRIX_NESTED) {
        scale = (float)((double)w->vector[0][at[i]] * w->vector[1][(row * m->scale_row_bytes + i) / MATRIX_NESTING]);
        return (float)(scale + m->offset);
    }
    scale = scale_of(m->scale_form, at, i);
    if (!(m->flags & MATRIX_WHOLE)) return scale;
    return (float)(m->flags & MATRIX_DIVIDED ? scale / *w->vector[0] : scale * *w->vector[0]);
}

/* Less what the form takes off by itself. */
static double zero_point(const struct ops_weight *w, uint64_t r, uint64_t k)
{
    const struct plan_matrix *m = w->matrix;
    const uint64_t row = w->row0 + r, i = k / m->block_cols;
    const unsigned char *at = (const unsigned char *)w->zero + (row / m->zero_rows - w->zero_row0) * m->zero_row_bytes;
    if (m->form == FORM_I8) return (signed char)at[i];
    if (m->form == FORM_I8_PACKED) return at[4 * i + row % 4] - 128;
    return (at[4 * i + row % 8 / 2] >> row % 2 * 4 & 15) - 8;
}

/* Number i of a word of a form of FORM_TURNED. */
static double turned_number(uint32_t form, const unsigned char *word, uint64_t i)
{
    return form == FORM_GPTQ_4   ? GPTQ_4_element(word, i)
           : form == FORM_GPTQ_8 ? GPTQ_8_element(word, i)
                                 : AWQ_4_element(word, i);
}

/* Input r of the call, output k. */
static float turned_weight(const struct ops_weight *w, uint64_t r, uint64_t k)
{
    const struct plan_matrix *m = w->matrix;
    const uint64_t deep = form_deep(m->form), pack = form_turned_pack(m->form), last = (m->rows - 1) / m->block_rows;
    const unsigned char *row = (const unsigned char *)w->data + r / deep * m->row_bytes;
    uint64_t group = (w->row0 + r / deep) / m->block_rows;
    if (m->flags & MATRIX_GROUPED) {
        uint32_t given;
        memcpy(&given, w->vector[0] + w->row0 * deep + r, sizeof given);
        if (given > last) return NAN;
        group = given;
    }
    const unsigned char *scales = (const unsigned char *)w->scale + (group - w->scale_row0) * m->scale_row_bytes;
    const unsigned char *zeros =
        m->zero_rows ? (const unsigned char *)w->zero + (group - w->zero_row0) * m->zero_row_bytes : NULL;
    double value =
        deep > 1 ? turned_number(m->form, row + 4 * k, r % deep) : turned_number(m->form, row + k / pack * 4, k % pack);
    if (m->flags & MATRIX_ZEROS_LESS) value -= 1;
    if (zeros) value -= turned_number(m->form, zeros + k / pack * 4, k % pack);
    return (float)(value * scale_of(m->scale_form, scales, k));
}

float reference_weight(const struct ops_weight *w, uint64_t r, uint64_t k)
{
    const struct plan_matrix *m = w->matrix;
    if (form_turned_pack(m->form)) return turned_weight(w, r, k);
    double value = reference_stored(m->form, (const unsigned char *)w->data + r * m->row_bytes, k), scale = 1;
    if (w->scale) scale = whole_scale(w, r, k);
    if (m->zero_rows) value -= zero_point(w, r, k);
    return (float)(value * scale); /* exact in double precision before */
}

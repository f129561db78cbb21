#include "reader/verify/count.h"

#include <stdbool.h>
#include <string.h>

#define CHUNK 4096 /* bytes that are looked at as a whole first; almost all of them hold nothing */

/* Loops of a fixed length, which the compiler turns into vector code. */
#define DEFINE_ANY(bits, type)                                                                                         \
    static bool any##bits(const uint8_t *p, type mask)                                                                 \
    {                                                                                                                  \
        type hit = 0;                                                                                                  \
                                                                                                                       \
        for (int i = 0; i < CHUNK / (int)sizeof(type); i++) {                                                          \
            type x;                                                                                                    \
            memcpy(&x, p + (size_t)i * sizeof x, sizeof x);                                                            \
            hit |= (type)((x & mask) == mask);                                                                         \
        }                                                                                                              \
        return hit != 0;                                                                                               \
    }
DEFINE_ANY(8, uint8_t)
DEFINE_ANY(16, uint16_t)
DEFINE_ANY(32, uint32_t)
DEFINE_ANY(64, uint64_t)

/* May this chunk hold a NaN or an infinity? The masks are exponents of ones alone, and the whole code where only that
 * means NaN. */
static bool suspicious(uint32_t form, const uint8_t *p)
{
    switch (form) {
    case VERIFY_F16: return any16(p, 0x7c00);
    case VERIFY_BF16: return any16(p, 0x7f80);
    case VERIFY_F32: return any32(p, 0x7f800000);
    case VERIFY_F64: return any64(p, UINT64_C(0x7ff0000000000000));
    case VERIFY_F8_E4M3: return any8(p, 0x7f);
    case VERIFY_F8_E5M2: return any8(p, 0x7c);
    case VERIFY_F8_E8M0: return any8(p, 0xff);
    default: return false;
    }
}

enum kind { FINITE, INFINITE, NOT_A_NUMBER };

static enum kind by_mantissa(bool special, uint64_t mantissa)
{
    return !special ? FINITE : mantissa ? NOT_A_NUMBER : INFINITE;
}

static enum kind classify(uint32_t form, const uint8_t *p)
{
    uint16_t h;
    uint32_t w;
    uint64_t d;

    switch (form) {
    case VERIFY_F16: memcpy(&h, p, 2); return by_mantissa((h & 0x7c00) == 0x7c00, h & 0x3ff);
    case VERIFY_BF16: memcpy(&h, p, 2); return by_mantissa((h & 0x7f80) == 0x7f80, h & 0x7f);
    case VERIFY_F32: memcpy(&w, p, 4); return by_mantissa((w & 0x7f800000) == 0x7f800000, w & 0x7fffff);
    case VERIFY_F64: memcpy(&d, p, 8); return by_mantissa((d >> 52 & 0x7ff) == 0x7ff, d << 12);
    case VERIFY_F8_E4M3: return (*p & 0x7f) == 0x7f ? NOT_A_NUMBER : FINITE;
    case VERIFY_F8_E5M2: return by_mantissa((*p & 0x7c) == 0x7c, *p & 3);
    case VERIFY_F8_E8M0: return *p == 0xff ? NOT_A_NUMBER : FINITE;
    default: return FINITE;
    }
}

static void count_one(struct verify_span *s, uint64_t at, const uint8_t *p)
{
    enum kind k = classify(s->form, p);

    if (k == FINITE) return;
    if (k == NOT_A_NUMBER)
        s->nan++;
    else
        s->inf++;
    if (s->first == VERIFY_NONE) s->first = at;
}

/* Whole elements. */
static void count_elements(struct verify_span *s, uint64_t at, const uint8_t *p, uint64_t bytes)
{
    uint32_t width = verify_form_bytes(s->form);

    while (bytes) {
        uint64_t n = bytes < CHUNK ? bytes : CHUNK;

        if (n < CHUNK || suspicious(s->form, p))
            for (uint64_t i = 0; i < n; i += width) count_one(s, at + i, p + i);
        at += n;
        p += n;
        bytes -= n;
    }
}

/* A piece of the current span; what is left of a cut element waits for the next piece. */
static void count_piece(struct counter *c, struct verify_span *s, uint64_t at, const uint8_t *p, uint64_t bytes)
{
    uint32_t width = verify_form_bytes(s->form), rest;

    if (s->form == VERIFY_PLAIN) return;
    while (c->carried && bytes) {
        c->carry[c->carried++] = *p++;
        at++;
        bytes--;
        if (c->carried < width) continue;
        count_one(s, at - width, c->carry);
        c->carried = 0;
    }
    rest = (uint32_t)(bytes % width);
    count_elements(s, at, p, bytes - rest);
    if (rest) memcpy(c->carry, p + bytes - rest, rest);
    if (bytes) c->carried = rest;
}

void counter_begin(struct counter *c, struct verify_span *span, uint64_t spans)
{
    *c = (struct counter){.span = span, .spans = spans};
    for (uint64_t i = 0; i < spans; i++) {
        span[i].nan = span[i].inf = 0;
        span[i].first = VERIFY_NONE;
    }
}

void counter_feed(struct counter *c, uint64_t offset, const uint8_t *p, uint64_t bytes)
{
    uint64_t end = offset + bytes;

    for (; c->current < c->spans; c->current++) {
        struct verify_span *s = &c->span[c->current];
        uint64_t from = s->offset > offset ? s->offset : offset,
                 to = s->offset + s->bytes < end ? s->offset + s->bytes : end;

        if (from < to) count_piece(c, s, from, p + (from - offset), to - from);
        if (s->offset + s->bytes > end) return; /* goes on in the next block */
        c->carried = 0;
    }
}

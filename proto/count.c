#include "proto/count.h"

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

/* May these CHUNK bytes hold a NaN or an infinity? Where a block is one code, a loop over all of them tells. */
static bool suspicious(const struct form_info *f, const uint8_t *p)
{
    if (f->bytes != f->code_bytes) return true;
    switch (f->code_bytes) {
    case 1: return any8(p, (uint8_t)f->special);
    case 2: return any16(p, (uint16_t)f->special);
    case 4: return any32(p, (uint32_t)f->special);
    case 8: return any64(p, f->special);
    }
    return true;
}

static void count_block(struct verify_span *s, const struct form_info *f, uint64_t at, const uint8_t *block)
{
    for (uint32_t i = 0; i < f->codes; i++) {
        enum form_kind k = form_kind(f, form_code(f, block, i));

        if (k == FORM_FINITE) continue;
        if (k == FORM_NOT_A_NUMBER)
            s->nan++;
        else
            s->inf++;
        if (s->first == VERIFY_NONE) s->first = at + f->code_off + i * f->code_bytes;
    }
}

/* Whole blocks. */
static void count_blocks(struct verify_span *s, const struct form_info *f, uint64_t at, const uint8_t *p,
                         uint64_t bytes)
{
    while (bytes) {
        uint64_t chunk = CHUNK / f->bytes * f->bytes, n = bytes < chunk ? bytes : chunk;

        if (n < CHUNK || suspicious(f, p))
            for (uint64_t i = 0; i < n; i += f->bytes) count_block(s, f, at + i, p + i);
        at += n;
        p += n;
        bytes -= n;
    }
}

/* A piece of the current span; what is left of a cut block waits for the next piece. */
static void count_piece(struct counter *c, struct verify_span *s, uint64_t at, const uint8_t *p, uint64_t bytes)
{
    const struct form_info *f = form_info(s->form);
    uint32_t rest;

    if (!f || !f->codes) return; /* verify_check() knows the form */
    while (c->carried && bytes) {
        c->carry[c->carried++] = *p++;
        at++;
        bytes--;
        if (c->carried < f->bytes) continue;
        count_block(s, f, at - f->bytes, c->carry);
        c->carried = 0;
    }
    rest = (uint32_t)(bytes % f->bytes);
    count_blocks(s, f, at, p, bytes - rest);
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

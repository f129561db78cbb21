#include "tests/support_units.h"

#include <math.h>
#include <string.h>

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static double uniform(uint64_t *x)
{
    return ((double)(next(x) >> 11) + 1) / 0x1p53;
}

static double gaussian(uint64_t *x)
{
    double r = sqrt(-2 * log(uniform(x)));

    return r * cos(6.283185307179586 * uniform(x));
}

/* Of a row, or a column: a log-normal scale that depends on its number only. */
static double scale_of(uint64_t number, double deviation)
{
    uint64_t x = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);

    next(&x);
    return exp(deviation * gaussian(&x));
}

static uint16_t rounded(double v)
{
    float f = (float)v;
    uint32_t bits;

    memcpy(&bits, &f, 4);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint16_t one(enum weights_kind kind, size_t i, size_t cols, uint64_t *x)
{
    static const uint16_t odd[] = {0, 0x8000, 0x7f80, 0xff80, 0x7fc1, 0x0001, 0x807f, 0xffff};

    switch (kind) {
    case WEIGHTS_SCALED: return rounded(0.022 * gaussian(x) * scale_of(i / cols, 0.4) * scale_of(~(i % cols), 0.3));
    case WEIGHTS_RANDOM: return (uint16_t)(next(x) >> 20);
    case WEIGHTS_EQUAL: return 0x3c3c;
    case WEIGHTS_ODD:
        if (next(x) % 100 == 0) return odd[next(x) % (sizeof odd / sizeof *odd)];
        return rounded(0.022 * gaussian(x));
    case WEIGHTS_PATTERNS: return (uint16_t)i;
    default: return rounded(0.022 * gaussian(x));
    }
}

void weights_fill(uint8_t *to, size_t count, size_t cols, enum weights_kind kind, uint64_t seed)
{
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 88172645463325252u;

    for (size_t i = 0; i < count; i++) {
        uint16_t w = one(kind, i, cols, &x);

        memcpy(to + 2 * i, &w, 2);
    }
}

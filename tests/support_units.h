/* BF16 weights of several kinds, for tests of units. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum weights_kind {
    WEIGHTS_GAUSSIAN, /* of deviation 0.022 */
    WEIGHTS_SCALED,   /* Gaussian, times a scale of the row and one of the column */
    WEIGHTS_RANDOM,   /* any bits */
    WEIGHTS_EQUAL,    /* one pattern */
    WEIGHTS_ODD,      /* Gaussian, of a hundred one zero, subnormal, infinite or no number */
    WEIGHTS_PATTERNS, /* 0, 1, 2, ... */
    WEIGHTS_KINDS
};

/* count weights, 2 bytes each, in rows of cols; the same for the same seed. */
void weights_fill(uint8_t *to, size_t count, size_t cols, enum weights_kind kind, uint64_t seed);

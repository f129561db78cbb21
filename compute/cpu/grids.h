/* The grids of IQ1 to IQ3 as kernels look them up: the bytes of 8 values (4 of IQ3) in a word, the first the lowest; and the
 * signs of 8 values of which 7 bits are stored, the eighth being their parity. */
#pragma once
#include <stdint.h>
#include "compute/grids.h"

extern const uint64_t grid_iq1[GRID_IQ1_ENTRIES]; /* eight times the values */
extern const uint64_t grid_iq2_xxs[GRID_IQ2_XXS_ENTRIES], grid_iq2_xs[GRID_IQ2_XS_ENTRIES],
    grid_iq2_s[GRID_IQ2_S_ENTRIES];
extern const uint32_t grid_iq3_xxs[GRID_IQ3_XXS_ENTRIES], grid_iq3_s[GRID_IQ3_S_ENTRIES];
extern const uint8_t grid_signs[128];

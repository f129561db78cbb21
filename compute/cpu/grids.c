#include "compute/cpu/grids.h"

#define EACH(x) GRID_IQ1_BYTES(x),
const uint64_t grid_iq1[GRID_IQ1_ENTRIES] = {GRID_IQ1(EACH)};
#undef EACH
#define EACH(x) GRID_IQ2_BYTES(x),
const uint64_t grid_iq2_xxs[GRID_IQ2_XXS_ENTRIES] = {GRID_IQ2_XXS(EACH)};
const uint64_t grid_iq2_xs[GRID_IQ2_XS_ENTRIES] = {GRID_IQ2_XS(EACH)};
const uint64_t grid_iq2_s[GRID_IQ2_S_ENTRIES] = {GRID_IQ2_S(EACH)};
#undef EACH
#define EACH(x) GRID_IQ3_XXS_BYTES(x),
const uint32_t grid_iq3_xxs[GRID_IQ3_XXS_ENTRIES] = {GRID_IQ3_XXS(EACH)};
#undef EACH
#define EACH(x) GRID_IQ3_S_BYTES(x),
const uint32_t grid_iq3_s[GRID_IQ3_S_ENTRIES] = {GRID_IQ3_S(EACH)};
#undef EACH

#define ODD(x)      (((x) ^ (x) >> 1 ^ (x) >> 2 ^ (x) >> 3 ^ (x) >> 4 ^ (x) >> 5 ^ (x) >> 6) & 1)
#define SIGNS(x)    ((x) | ODD(x) << 7)
#define SIGNS_4(x)  SIGNS(x), SIGNS((x) + 1), SIGNS((x) + 2), SIGNS((x) + 3)
#define SIGNS_16(x) SIGNS_4(x), SIGNS_4((x) + 4), SIGNS_4((x) + 8), SIGNS_4((x) + 12)
#define SIGNS_64(x) SIGNS_16(x), SIGNS_16((x) + 16), SIGNS_16((x) + 32), SIGNS_16((x) + 48)
const uint8_t grid_signs[128] = {SIGNS_64(0), SIGNS_64(64)};

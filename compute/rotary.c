#include "compute/rotary.h"

/* pi/2 in three parts of 33 bits each: products with a quotient below 2^20 are exact for the first two. */
#define PIO2_A      0x1.921fb544p+0
#define PIO2_B      0x1.0b4611a6p-34
#define PIO2_C      0x1.3198a2e037073p-69
#define TWO_OVER_PI 0x1.45f306dc9c883p-1

/* Taylor series on [-pi/4, pi/4]; the terms left out are below 1e-19. */
static double sine_series(double r)
{
    double z = r * r, p = 1.0 / 355687428096000.0; /* 1/17! */

    p = p * z - 1.0 / 1307674368000.0;
    p = p * z + 1.0 / 6227020800.0;
    p = p * z - 1.0 / 39916800.0;
    p = p * z + 1.0 / 362880.0;
    p = p * z - 1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z - 1.0 / 6.0;
    return r + r * z * p;
}

static double cosine_series(double r)
{
    double z = r * r, p = 1.0 / 20922789888000.0; /* 1/16! */

    p = p * z - 1.0 / 87178291200.0;
    p = p * z + 1.0 / 479001600.0;
    p = p * z - 1.0 / 3628800.0;
    p = p * z + 1.0 / 40320.0;
    p = p * z - 1.0 / 720.0;
    p = p * z + 1.0 / 24.0;
    return 1.0 - 0.5 * z + z * z * p;
}

void rotary_sincos(double x, double *sine, double *cosine)
{
    double q = x * TWO_OVER_PI, s, c, r;
    int64_t k = (int64_t)(q < 0 ? q - 0.5 : q + 0.5);

    r = x - (double)k * PIO2_A;
    r = r - (double)k * PIO2_B;
    r = r - (double)k * PIO2_C;
    s = sine_series(r);
    c = cosine_series(r);
    switch (k & 3) {
    case 0:
        *sine = s;
        *cosine = c;
        return;
    case 1:
        *sine = c;
        *cosine = -s;
        return;
    case 2:
        *sine = -s;
        *cosine = -c;
        return;
    default:
        *sine = -c;
        *cosine = s;
        return;
    }
}

void rotary_table(float *cs, const uint32_t *position, uint32_t n, const float *inv_freq, uint32_t dim, float scale,
                  uint32_t each)
{
    uint32_t half = dim / 2;

    for (uint32_t i = 0; i < n; i++) {
        float *row = cs + (uint64_t)i * dim;
        float at = (float)(each > 1 ? position[i] / each * each : position[i]);

        for (uint32_t j = 0; j < half; j++) {
            float angle = at * inv_freq[j];
            double s, c;

            rotary_sincos(angle, &s, &c);
            row[j] = (float)c * scale;
            row[half + j] = (float)s * scale;
        }
    }
}

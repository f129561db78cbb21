/* Scales for few levels: the search behind blocks.h. Weighted least squares, sums in one fixed order. n is a multiple of 4, up to
 * FIT_MOST. */
#pragma once
#include <stdbool.h>

#define FIT_MOST 32u

/* Weights of the error: x^2, or |x| and its root mean square. */
void fit_weigh_squares(float *w, const float *x, unsigned n);
void fit_weigh(float *w, const float *x, unsigned n);

/* d so that x is about d q, q whole from -levels to levels - 1. Either sign; 0 where all are 0. */
float fit_scale(const float *x, const float *w, unsigned n, int levels);
/* d >= 0 and *least so that x is about d q + *least, q whole from 0 to most; *least <= 0 where not_above. */
float fit_affine(const float *x, const float *w, unsigned n, int most, bool not_above, float *least);

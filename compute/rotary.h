/* Rotary tables: cosines and sines of a sweep's positions, on the host, in one fixed order of operations, so that they
 * are the same bits on every machine. Source: RoFormer (arXiv 2104.09864); angles as Hugging Face transformers forms
 * them: float32 product of position and inverse frequency. */
#pragma once
#include <stdint.h>

/* sin and cos of x, absolute error below 1e-15 for |x| < 2^30. */
void rotary_sincos(double x, double *sine, double *cosine);

/* cs [n][dim]: dim/2 cosines, then dim/2 sines of position[i] * inv_freq[j], times scale; each above 1: of the position
 * rounded down to a multiple of it. */
void rotary_table(float *cs, const uint32_t *position, uint32_t n, const float *inv_freq, uint32_t dim, float scale,
                  uint32_t each);

/* The middle of measurements: one that was disturbed moves it little. */
#pragma once
#include <stdint.h>

#define MEDIAN_MOST 256u

/* Of an even number the mean of the two in the middle; of none 0. n: up to MEDIAN_MOST. */
double median(const double *x, uint32_t n);

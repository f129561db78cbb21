#include "tests/support_gguf_arrays.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "coordinator/source/tensors.h"
#include "proto/base/half.h"

float array_widened(const uint8_t *p, uint32_t dtype)
{
    uint32_t bits = 0;
    uint16_t half;
    float x;

    if (dtype == TENSOR_F16) {
        memcpy(&half, p, 2);
        return float_of_half(half);
    }
    memcpy(dtype == TENSOR_BF16 ? (uint8_t *)&bits + 2 : (uint8_t *)&bits, p, dtype == TENSOR_BF16 ? 2 : 4);
    memcpy(&x, &bits, 4);
    return x;
}

uint64_t array_count(const struct array *a)
{
    return a->shape[0] * a->shape[1] * a->shape[2];
}

struct array array_make(uint64_t a, uint64_t b, uint64_t c, uint32_t dims)
{
    struct array r = {.shape = {a, b, c}, .dims = dims};

    r.x = calloc(array_count(&r) + 1, sizeof *r.x);
    assert_non_null(r.x);
    return r;
}

/* Within each head's rows: i of the first half and i of the second become 2i and 2i + 1. */
void array_permute(struct array *a, uint64_t heads)
{
    uint64_t rows = a->dims == 1 ? a->shape[2] : a->shape[1], cols = a->dims == 1 ? 1 : a->shape[2];
    uint64_t half = rows / heads / 2;
    float *to = calloc(array_count(a), sizeof *to);

    assert_non_null(to);
    for (uint64_t h = 0; h < heads; h++)
        for (uint64_t i = 0; i < half; i++)
            for (uint64_t j = 0; j < 2; j++)
                memcpy(to + (2 * h * half + 2 * i + j) * cols, a->x + (2 * h * half + j * half + i) * cols,
                       cols * sizeof *to);
    free(a->x);
    a->x = to;
}

/* Columns [b][c] of each a become [c][b]. */
void array_transpose(struct array *a)
{
    struct array r = array_make(a->shape[0], a->shape[2], a->shape[1], a->dims);

    for (uint64_t k = 0; k < a->shape[0]; k++)
        for (uint64_t i = 0; i < a->shape[1]; i++)
            for (uint64_t j = 0; j < a->shape[2]; j++)
                r.x[(k * a->shape[2] + j) * a->shape[1] + i] = a->x[(k * a->shape[1] + i) * a->shape[2] + j];
    free(a->x);
    *a = r;
}

/* Rows first, first + step, ... (rows of them) of each of the a; of a vector's or a matrix's, its last dimension but one. */
struct array array_rows(const struct array *a, uint64_t first, uint64_t step, uint64_t rows)
{
    struct array r = array_make(a->shape[0], rows, a->shape[2], a->dims);

    for (uint64_t k = 0; k < a->shape[0]; k++)
        for (uint64_t i = 0; i < rows; i++)
            memcpy(r.x + (k * rows + i) * a->shape[2], a->x + (k * a->shape[1] + first + i * step) * a->shape[2],
                   a->shape[2] * sizeof *r.x);
    return r;
}

/* Rows in groups [outer][inner][width] become [inner][outer][width]: value heads from grouped to tiled. */
void array_tile(struct array *a, uint64_t first, uint64_t outer, uint64_t inner, uint64_t width)
{
    uint64_t cols = a->dims == 1 ? 1 : a->shape[2];
    float *from = a->x + first * cols, *to = calloc(outer * inner * width * cols, sizeof *to);

    assert_non_null(to);
    for (uint64_t o = 0; o < outer; o++)
        for (uint64_t i = 0; i < inner; i++)
            memcpy(to + (i * outer + o) * width * cols, from + (o * inner + i) * width * cols,
                   width * cols * sizeof *to);
    memcpy(from, to, outer * inner * width * cols * sizeof *to);
    free(to);
}

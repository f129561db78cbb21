/* Products with rows that lie at equal distances, which a device computes in one launch: latent attention has a hundred heads a
 * layer, each with some rows of its own; a matrix that is kept on the device lies there in tiles. */
#pragma once
#include "compute/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* From one head to the next. */
struct ops_heads {
    uint32_t heads;
    uint64_t y, x;           /* floats */
    uint64_t data, scale;    /* bytes */
    uint64_t row, scale_row; /* numbers of rows in the matrix */
};

/* ops_matmul() without bias and flags, and ops_matmul_t() with init and no bias, of each head; first: the first one's rows. The
 * bits are those of heads that are computed one by one. */
void ops_matmul_heads(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx,
                      const struct ops_weight *first, const struct ops_heads *h, uint32_t n);
void ops_matmul_t_heads(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx,
                        const struct ops_weight *first, const struct ops_heads *h, uint32_t n);

/* The weights of head number i, counted from the first. */
static inline struct ops_weight ops_head(const struct ops_weight *first, const struct ops_heads *h, uint32_t i)
{
    struct ops_weight w = *first;

    w.data = (const uint8_t *)w.data + i * h->data;
    if (w.scale) w.scale = (const uint8_t *)w.scale + i * h->scale;
    w.row0 += i * h->row;
    w.scale_row0 += i * h->scale_row;
    return w;
}

#ifdef __cplusplus
}
#endif

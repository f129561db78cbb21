#include "compute/heads.h"

void ops_matmul_heads(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx,
                      const struct ops_weight *first, const struct ops_heads *h, uint32_t n)
{
    for (uint32_t i = 0; i < h->heads; i++) {
        const struct ops_weight w = ops_head(first, h, i);

        ops_matmul(o, y + i * h->y, ldy, x + i * h->x, ldx, &w, NULL, 0, n);
    }
}

void ops_matmul_t_heads(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx,
                        const struct ops_weight *first, const struct ops_heads *h, uint32_t n)
{
    for (uint32_t i = 0; i < h->heads; i++) {
        const struct ops_weight w = ops_head(first, h, i);

        ops_matmul_t(o, y + i * h->y, ldy, x + i * h->x, ldx, &w, NULL, true, n);
    }
}

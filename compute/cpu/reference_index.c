#include <math.h>
#include <stdlib.h>

#include "compute/cpu/reference.h"

static uint32_t row_of_place(const struct ops_rows *r, uint32_t i, uint32_t position)
{
    const struct ops_run *run = r->runs + r->first[i];
    for (; position >= run->length; run++) position -= run->length;
    return run->row + position;
}

/* Of one position and group: the scores of its ancestors' blocks. */
static void score_blocks(const struct op_index *p, double *score, const float *q, const float *w, const void *cache,
                         uint32_t kv_form, const struct ops_rows *r, uint32_t i, uint32_t group)
{
    const uint32_t position = r->position[i], heads = p->heads / p->groups;
    const bool pooled = p->flags & INDEX_POOLED;
    for (uint32_t j = 0; j <= position; j++) {
        if (pooled && (j + 1) % p->block) continue;
        const uint64_t row = row_of_place(r, i, j);
        double sum = 0;
        for (uint32_t h = group * heads; h < (group + 1) * heads; h++) {
            double s = 0;
            for (uint32_t c = 0; c < p->dim; c++)
                s += q[(uint64_t)h * p->dim + c] * reference_stored(kv_form, cache, row * p->dim + c);
            s *= p->scale;
            if (p->flags & INDEX_RELU) s = fmax(s, 0);
            sum += w ? w[h] * s : s;
        }
        if (pooled || j % p->block == 0 || sum > score[j / p->block]) score[j / p->block] = sum;
    }
    for (uint32_t k = 0; k < p->local && k <= position / p->block; k++) score[position / p->block - k] = INFINITY;
}

void reference_index(const struct op_index *p, uint32_t *dst, uint32_t ldd, const float *q, uint32_t ldq,
                     const float *w, uint32_t ldw, const void *cache, uint32_t kv_form, const struct ops_rows *r)
{
    double *score = calloc((size_t)r->max_position / p->block + 1, sizeof *score);
    for (uint32_t i = 0; i < r->n && score; i++)
        for (uint32_t g = 0; g < p->groups; g++) {
            uint32_t *list = dst + (uint64_t)i * ldd + g * (1ull + p->top),
                     blocks = (r->position[i] + (p->flags & INDEX_POOLED ? 1 : p->block)) / p->block;
            score_blocks(p, score, q + (uint64_t)i * ldq, w ? w + (uint64_t)i * ldw : NULL, cache, kv_form, r, i, g);
            *list = 0;
            for (uint32_t b = 0; b < blocks; b++) {
                uint32_t before = 0;
                for (uint32_t c = 0; c < blocks; c++) before += score[c] > score[b] || (score[c] == score[b] && c < b);
                if (before < p->top) list[1 + (*list)++] = b;
            }
        }
    free(score);
}

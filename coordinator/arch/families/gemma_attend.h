/* Attention of Gemma 3n and 4: a scale of 1, q and k normed head by head, v normed without weights; layers that have no keys
 * of their own attend over the cache of an earlier layer. Reference: transformers, modeling_gemma4.py, modeling_gemma3n.py. */
#pragma once
#include "coordinator/arch/stack.h"

struct gemma_attend {
    const struct attention *attention;
    uint32_t *
        cache; /* of the last layer of this kind that has keys of its own: set by one that has, read by one that has not */
    bool reuses;
    bool k_is_v; /* one projection, normed in two ways */
};

/* With the build's heads, kv_heads and head_dim. */
void gemma_attend(struct build *b, const struct gemma_attend *a, struct plan_view dst, struct plan_view src);

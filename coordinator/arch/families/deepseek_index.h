/* The index of DeepSeek V3.2 and GLM-5: of its ancestors a position attends to those that a small product of its own scores
 * best. GLM-5 may let some layers look at what the layer before has chosen. Reference: transformers, modeling_deepseek_v32.py,
 * modeling_glm_moe_dsa.py. (The Hadamard rotation of the published kernels changes no product, and is left out as there.) */
#pragma once
#include "coordinator/arch/families/latent.h"

struct deepseek_index {
    uint32_t style; /* of its rotation, as the family has it: enum plan_rope_style */
    bool can_share; /* so has the family */
    uint32_t heads, dim, top;
};

/* index_n_heads, index_head_dim, index_topk; l chooses by x from here on, which must live as long. */
void deepseek_index_use(struct build *b, struct deepseek_index *x, struct latent *l);

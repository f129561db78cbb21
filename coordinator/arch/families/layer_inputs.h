/* Embeddings of each layer (Gemma 3n, Gemma 4): a second table has width columns for each layer in a token's row. What a
 * projection of the embedding says of each layer is normed and added to them; at a layer's end its columns are multiplied
 * with a gate of the residual, and projected. Reference: transformers, modeling_gemma4.py, modeling_gemma3n.py,
 * project_per_layer_inputs(). */
#pragma once
#include "coordinator/arch/stack.h"

/* The table becomes the stack's second one: vocab_size_per_layer_input rows. */
void layer_inputs_table(struct build *b, struct stack *s, uint32_t width);
/* After the embedding: BUF_BESIDE [layers][width] becomes what the layers take. */
void layer_inputs_make(struct build *b, uint32_t width);
/* dst = norm(project(act(gate(src)) * layer i's columns)). */
void layer_inputs_gate(struct build *b, uint32_t width, uint32_t i, uint32_t act, struct plan_view dst,
                       struct plan_view src);

/* A sweep that looks for what is not a number (POSITION_CHECK): slow, asked for after logits came out wrong, to name the
 * tensor that is to blame. An ordinary sweep does none of this.
 *
 *   check_begin()    clears the activations; the tensors that stay (norms, biases) are looked at
 *   check_weight()   each tile's rows, scales and bias before they are used: elements as stored
 *   check_result()   what an operation has written
 *
 * Each returns 0, or -EBADMSG with file, tensor, place and code. */
#pragma once
#include "compute/decoder.h"

int check_begin(struct decoder *d, struct error *e);
int check_weight(struct decoder *d, const struct weight_part *w, struct error *e);
int check_result(struct decoder *d, const struct plan_op *op, struct error *e);

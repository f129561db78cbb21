/* How a folder calls the tensors of its language model: what stands before their names. A conversion may double a prefix
 * or drop it, and a multimodal folder adds one of its own; the embedding, which every decoder has once, tells. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "coordinator/source/tensors.h"

/* What stands before EMBED.weight, into out: usual, or one of the prefixes that published folders have, or else the
 * shortest there is before both an embedding and LAYERS.0. False where there is none, and out is not touched. */
bool names_prefix(const struct tensors *t, const char *usual, const char *embed, const char *layers, char *out,
                  size_t bytes);
/* Whether any tensor's name begins so. */
bool names_any_begins(const struct tensors *t, const char *start);
/* What stands before HEAD.weight: prefix cut short at some dot ("a.b.": "", "a.", "a.b."), or a usual one. False where no
 * such tensor is, and out is not touched. */
bool names_head(const struct tensors *t, const char *prefix, const char *head, char *out, size_t bytes);

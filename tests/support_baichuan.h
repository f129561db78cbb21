/* Baichuan 2 13B (ALiBi, W_pack, a head whose rows have length 1), which no library computes any more: a small model of it,
 * and its logits by the published formulas in plain float64 code. */
#pragma once
#include "tests/support_model.h"

/* Writes the model into folder. The caller calls golden_free(). */
struct golden baichuan_make(const char *folder);

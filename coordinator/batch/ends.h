/* The tokens that end an answer: those of generation_config.json, of config.json, the tokenizer's end of text, and of a GGUF
 * file those that it names and those whose text is known for it. Merged and
 * re-saved folders have them apart (the base model's in one file, the end of a turn in another), and an answer that misses
 * its end never stops; vLLM and mlx-lm stop at all of them too. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "coordinator/source/generation.h"
#include "coordinator/tokenizer/tokenizer.h"

struct ends {
    uint32_t *id;
    size_t count;
};

/* vocab: the model's; a number beyond it can never be chosen and is left out. t may be NULL. Says with -v which there are and
 * where each stands. 0 or -ENOMEM; free it with ends_free(), after an error too. */
int ends_find(struct ends *x, const struct model_generation *g, const struct tokenizer *t, uint32_t vocab,
              struct error *e);
void ends_free(struct ends *x);

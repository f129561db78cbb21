/* The forms of GGUF files that a model can be written in: which type each tensor gets, by the rules of llama-quantize, so that a
 * file is what anybody would have made. */
#pragma once
#include <stdint.h>
#include "coordinator/arch/gguf_make.h"
#include "coordinator/pack/blocks.h"

enum pack_form { PACK_AS_Q8, PACK_AS_Q6, PACK_AS_Q5, PACK_AS_Q4, PACK_AS_BF16, PACK_AS_F16, PACK_AS_F32, PACK_FORMS };

struct pack_form_info {
    const char *name, *label; /* "q4", "Q4_K_M" */
    uint32_t file_type;       /* general.file_type */
    enum block_type type;     /* of most matrices */
    double divergence; /* of the next token's probabilities from the original's, mean; 0: nothing is known, or lost */
};

/* Where the divergences were published, and of what model. */
#define PACK_DIVERGENCE_FROM "Llama 3 8B, llama.cpp tools/perplexity/README.md"

const struct pack_form_info *pack_form_info(enum pack_form form);

/* The type of each tensor, into type[x->count]: what is in few bits already stays as it is, or is refused. -EINVAL, -ENOTSUP. */
int pack_form_types(uint32_t *type, const struct gguf_made *x, enum pack_form form, struct error *e);

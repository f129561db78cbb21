/* The tokens of a vocabulary as a tree of their bytes, so that one walk finds all that may follow. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "coordinator/tokenizer/tokenizer.h"

/* Nodes in the order of a walk that goes down first. */
struct vocabulary_node {
    uint8_t byte;
    uint8_t depth;  /* bytes before it: tokens of more than 256 bytes are left out */
    bool more;      /* several tokens end here */
    uint32_t end;   /* the node behind all that begin with this one */
    uint32_t token; /* the first token that ends here, GRAMMAR_NONE: none */
};

struct grammar_vocabulary {
    uint32_t vocab; /* of the model: bits of a mask */
    struct vocabulary_node *node;
    size_t nodes;
    uint32_t *next; /* [vocab]: another token with the same bytes */
    size_t *text;   /* [vocab + 1]: where a token's bytes are in the text, special ones behind a GRAMMAR_SPECIAL */
    char *bytes;
};

/* Read once for a model, which has `vocab` rows of logits; never changes afterwards: threads may share it. -ENOMEM. */
int grammar_vocabulary_open(struct grammar_vocabulary **out, const struct tokenizer *t, uint32_t vocab,
                            struct error *e);
/* The same of a list of texts. */
int grammar_vocabulary_list(struct grammar_vocabulary **out, const char *const *list, const size_t *bytes, uint32_t n,
                            struct error *e);
void grammar_vocabulary_close(struct grammar_vocabulary *v);

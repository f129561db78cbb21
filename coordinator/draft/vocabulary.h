/* Do two models speak of the same tokens? Each id that both have must stand for the same bytes, special tokens too. One may have
 * some more than the other, as vocabularies have that are padded. */
#pragma once
#include "coordinator/tokenizer/tokenizer.h"

struct vocabulary {
    const struct tokenizer *tokenizer;
    const char *name; /* of its model, for people */
};

/* -EINVAL names the first token that differs; -ENOMEM. */
int vocabulary_compare(const struct vocabulary *model, const struct vocabulary *draft, struct error *e);

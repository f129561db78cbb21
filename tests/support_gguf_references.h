/* Reference models whose folders have the same logits as a GGUF file in F32, whoever makes the file of the folder. */
#pragma once
#include <stddef.h>

struct gguf_reference {
    const char *name;
    const char
        *patch;  /* of config.json: what files of the architecture do not say and every reader knows, which the small
                          model has not; NULL: none */
    double most; /* how far logits may be off where sums go in another order */
};
extern const struct gguf_reference gguf_references[];
extern const size_t gguf_reference_count;

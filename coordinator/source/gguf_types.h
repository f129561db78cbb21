/* The types that a GGUF file stores tensors in: number, name, size of a block, and the form of it (proto/form.h). */
#pragma once
#include <stdint.h>

struct gguf_type {
    const char *name;         /* as llama.cpp and its tools write it; NULL: the number means nothing */
    uint32_t elements, bytes; /* of a block; rows are whole blocks. 0: of a type that is no longer written */
    int form;                 /* enum form, of the same elements and bytes; -1: no kernel knows it */
};

/* What a type is; NULL where there is none of that number. */
const struct gguf_type *gguf_type(uint32_t type);
/* Its name, "unknown" where it has none. */
const char *gguf_type_name(uint32_t type);
/* The form of a type; -1 where it is none or unknown. Integers are FORM_BYTES, each byte an element. */
int form_of_ggml_type(uint32_t type);

/* Vocabularies for tests, and the GGUF files that hold them. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "coordinator/source/gguf.h"
#include "tests/support_gguf.h"

enum { U8 = 0, I32 = 5, F32 = 6, ARRAY = 9 };              /* types of values */
enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE }; /* types of tokens */

struct vocabulary {
    const char *text[512];
    int32_t type[512];
    float score[512];
    size_t n;
};

void vocabulary_add(struct vocabulary *v, const char *text, int32_t type, float score);
/* tokenizer.ggml.model, tokens, scores and token_type. */
void vocabulary_write(struct gguf_writer *w, const struct vocabulary *v, const char *model);
void gguf_write_numbers(struct gguf_writer *w, const char *key, uint32_t type, const void *x, size_t n);
/* A file "a.gguf" of it; w is let go. Fails the test where it cannot be opened. */
struct gguf *gguf_open_written(struct gguf_writer *w);

/* Text to ids and back with whatever tokenizer a folder gave. */
#pragma once
#include <stddef.h>
#include "coordinator/tokenizer/tokenizer.h"
#include "tests/fuzz/folder.h"

/* Encodes the text, decodes what came out, and every id near the ends of the vocabulary; the second opens the folder's tokenizer
 * for it. */
void fuzz_text_of(const struct tokenizer *t, const char *text, size_t bytes);
void fuzz_text(const char *folder, const char *text, size_t bytes);
/* The folder's first file, a NUL, and the text; the usual one where there is no NUL. */
void fuzz_text_behind(struct fuzz_folder *f, const uint8_t *data, size_t bytes, const char *usual);

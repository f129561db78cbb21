/* Text to ids and back with whatever tokenizer a folder gave. */
#pragma once
#include <stddef.h>

/* Opens the folder's tokenizer; encodes the text, decodes what came out, and every id near the ends of the vocabulary. */
void fuzz_text(const char *folder, const char *text, size_t bytes);

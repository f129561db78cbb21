/* What one token adds to a text that has begun: its bytes, which need not be whole characters. */
#pragma once
#include "coordinator/text/buffer.h"
#include "coordinator/tokenizer/tokenizer.h"

/* Appends the bytes of a token in the middle of a text, as the tokenizer's decoder makes them; joined over the tokens of a
 * text they are what detokenizer.h gives before it looks at UTF-8, but for what a decoder does at the beginning of a text, and for
 * what it replaces across tokens (as WordPiece's does around punctuation).
 * Special tokens give the text that they are spelled with. false: no such token. Out of memory is left in *out. */
bool tokenizer_token_bytes(const struct tokenizer *t, uint32_t id, struct buffer *out);

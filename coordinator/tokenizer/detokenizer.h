/* Token ids to text, one id at a time.
 *
 * What comes out of the pushes and of finish, joined, is byte for byte what decoding all ids at once would give (the
 * decoders of tokenizer.json as Hugging Face runs them, U+FFFD for bytes that are no UTF-8). A push gives out the text
 * that no later id can change: whole characters only. */
#pragma once
#include "coordinator/text/buffer.h"
#include "coordinator/tokenizer/tokenizer.h"

struct detokenizer;

/* The tokenizer must outlive the detokenizer. With skip_special, special tokens leave no text. */
int detokenizer_open(struct detokenizer **out, const struct tokenizer *t, bool skip_special, struct error *e);
void detokenizer_close(struct detokenizer *d);
/* Special tokens that leave text all the same. The list is the caller's and must outlive the detokenizer. */
void detokenizer_speak(struct detokenizer *d, const uint32_t *id, size_t n);

/* *text: bytes of valid UTF-8 that became certain, perhaps none; the detokenizer's, valid until the next call.
 * An id without a token leaves no text, as in Hugging Face's decode. -ENOMEM is the only error. */
int detokenizer_push(struct detokenizer *d, uint32_t id, const char **text, size_t *bytes, struct error *e);

/* What was held back. The detokenizer is as new after it. */
int detokenizer_finish(struct detokenizer *d, const char **text, size_t *bytes);

/* All of a list at once, appended to out, whose `failed` the caller asks for. 0 or -ENOMEM. */
int detokenizer_all(const struct tokenizer *t, const uint32_t *id, size_t count, bool skip_special, struct buffer *out,
                    struct error *e);

/* Forgets everything: the next id is the first of a new text. */
void detokenizer_reset(struct detokenizer *d);

/* Tokens that answers of chats were made of, for prompts that bring their text back.
 *
 *   an answer ends --answers_keep()--> kept --answers_match()--> the tokens of a prompt whose text goes on from it
 *                                       \-- least recently used first --> forgotten, where there are too many
 *
 * A text can be written in several ways as tokens, and a model need not have said the way that the tokenizer takes: the rows
 * of the KV cache hold what was said. A prompt whose rendered text begins, byte for byte, with that of an earlier prompt and
 * of what was answered to it takes over the tokens of both. Behind them it is tokenized as always, and all of it decodes to
 * the same text as the tokenizer's own tokens do, or these are kept. Special tokens of an answer are never taken over: they
 * come from the template's text alone. Threads may share it. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "coordinator/tokenizer/tokenizer.h"

struct answers;

struct answers_config {
    const struct tokenizer *tokenizer; /* must outlive them */
    size_t most, bytes;                /* that are kept, and the memory that they take at most */
};

int answers_open(struct answers **out, const struct answers_config *c, struct error *e);
void answers_close(struct answers *a);

/* The prompt's text and tokens, and the tokens that were answered; all are copied. Nothing is kept where there is no memory for
 * it. */
void answers_keep(struct answers *a, const char *text, size_t bytes, const uint32_t *prompt, size_t prompts,
                  const uint32_t *made, size_t count);
/* ids: the tokenizer's own of the text; replaced where an answer's are to be used. 0 or -ENOMEM. */
int answers_match(struct answers *a, const char *text, size_t bytes, struct token_ids *ids, struct error *e);

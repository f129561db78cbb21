/* Text to token ids, as Hugging Face tokenizers does it.
 *
 * A folder's tokenizer.json is read first; without it tokenizer.model (SentencePiece), then a tiktoken file, tekken.json,
 * vocab.json with merges.txt:
 *
 *   text -> added tokens cut out -> normalizer -> pre-tokenizer -> model (BPE, Unigram, WordPiece) -> post-processor -> ids
 *
 * Every element of tokenizer.json is either done as Hugging Face does it or refused by name when the file is opened.
 * The way back, ids to text, is detokenizer.h. A tokenizer never changes once it is open: threads may share it. */
#pragma once
#include "proto/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* A growing list of ids, the caller's: start with {0}, end with token_ids_free(). */
struct token_ids {
    uint32_t *id;
    size_t count, capacity;
};

int token_ids_push(struct token_ids *ids, uint32_t id); /* 0 or -ENOMEM */
void token_ids_free(struct token_ids *ids);

/* Reads the tokenizer of a model folder, which may hold nothing but tokenizer.json. Close it with tokenizer_close.
 * -ENOENT: no tokenizer there; -EINVAL: damaged; -ENOTSUP: it asks for something that is not known, which is named. */
int tokenizer_open(struct tokenizer **out, const char *folder, struct error *e);
void tokenizer_close(struct tokenizer *t);

/* Appends the ids of text[0..bytes) to *out. With add_special the post-processor's tokens (beginning of text and the
 * like) are put around it. Special tokens that are spelled out in the text become their ids either way. Text may hold
 * NULs. -EILSEQ: not UTF-8, the message gives the offset; *out then keeps what it had before. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t bytes, bool add_special, struct token_ids *out,
                     struct error *e);

size_t tokenizer_vocab_size(const struct tokenizer *t); /* highest id + 1, added tokens included */
/* Bytes of text that one token stands for at most, roughly: what n tokens can hold is no more than n times as many. White
 * space that an added token swallows and characters that no token has are not counted. */
size_t tokenizer_longest(const struct tokenizer *t);
int64_t tokenizer_token_id(const struct tokenizer *t, const char *content); /* id, or -1 */
bool tokenizer_is_added(const struct tokenizer *t, uint32_t id);            /* stands beside the model's vocabulary */
bool tokenizer_is_special(const struct tokenizer *t, uint32_t id);          /* marked special: not part of the text */
/* What ends a text, by the folder's files: the id, -1 where they name none or it is not in the vocabulary. *file (or NULL):
 * the one that says so, NULL: none does. */
int64_t tokenizer_end(const struct tokenizer *t, const char **file);
const char *tokenizer_token_text(const struct tokenizer *t, uint32_t id); /* as stored ("Ġthe"); NULL: no such id */

/* libsentencepiece, a C++ library, in C's words. A model is read-only once open; threads may share it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "proto/base/error.h"

struct token_ids;

struct piece_model;

enum sentencepiece_kind {
    SENTENCEPIECE_NORMAL,
    SENTENCEPIECE_UNKNOWN,
    SENTENCEPIECE_CONTROL,
    SENTENCEPIECE_BYTE,
    SENTENCEPIECE_UNUSED
};

int sentencepiece_open(struct piece_model **out, const char *path, struct error *e);
void sentencepiece_close(struct piece_model *s); /* NULL: nothing to do */

uint32_t sentencepiece_size(const struct piece_model *s);
/* The piece of an id < size: its bytes, NUL behind them, valid while it is open. */
const char *sentencepiece_piece(const struct piece_model *s, uint32_t id, size_t *bytes, enum sentencepiece_kind *kind);
float sentencepiece_score(const struct piece_model *s, uint32_t id);
/* Does it join pairs (else it is Unigram, or cuts at words or characters)? */
bool sentencepiece_is_bpe(const struct piece_model *s);
int64_t sentencepiece_bos(const struct piece_model *s); /* id, or -1 */
int64_t sentencepiece_eos(const struct piece_model *s);
/* How many spaces decoding takes off the front of a text: 0, 1, or SIZE_MAX for all. */
size_t sentencepiece_strips(const struct piece_model *s);

/* Whether the words of a text may be encoded one by one, and how each gets the mark of the space before it. Only where that
 * is sure: BPE (Unigram's sums over a whole text round differently), and provided that no piece reaches over a space. */
enum sentencepiece_words {
    SENTENCEPIECE_WHOLE,      /* they may not */
    SENTENCEPIECE_DROP_SPACE, /* the model puts a mark before whatever it is given: the space is left out */
    SENTENCEPIECE_KEEP_SPACE, /* " word" is given */
};
enum sentencepiece_words sentencepiece_word_style(const struct piece_model *s);

/* Appends the ids of a text, valid UTF-8. */
int sentencepiece_encode(const struct piece_model *s, const char *text, size_t bytes, struct token_ids *out,
                         struct error *e);

#ifdef __cplusplus
}
#endif

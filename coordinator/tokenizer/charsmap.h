/* SentencePiece's precompiled character map: a double array of byte strings to replacements.
 *
 * Layout (sentencepiece, src/normalizer.cc): u32 bytes of the array, the array's little-endian u32 units (darts-clone),
 * then the replacements, each ended by a NUL. */
#pragma once
#include "coordinator/text/buffer.h"
#include "proto/base/error.h"

struct charsmap {
    uint32_t *unit;
    size_t units;
    struct buffer texts;
};

/* From the bytes that the base64 of "precompiled_charsmap" stands for. */
int charsmap_read(struct charsmap *m, const char *data, size_t bytes, struct error *e);
void charsmap_free(struct charsmap *m);

/* Appends the mapped form of text[0..bytes), as Hugging Face's Precompiled normalizer does: grapheme by grapheme where a
 * short one has an entry, else character by character. */
void charsmap_apply(const struct charsmap *m, const char *text, size_t bytes, struct buffer *out);

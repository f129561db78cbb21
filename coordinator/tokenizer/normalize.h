/* The normalizers of tokenizer.json: text to text, before it is cut into words. */
#pragma once
#include "coordinator/tokenizer/charsmap.h"
#include "coordinator/tokenizer/pattern.h"

#include <jansson.h>

enum normalizer_kind {
    NORMALIZER_NFC,
    NORMALIZER_NFD,
    NORMALIZER_NFKC,
    NORMALIZER_NFKD,
    NORMALIZER_LOWERCASE,
    NORMALIZER_STRIP,         /* white space at the ends */
    NORMALIZER_STRIP_ACCENTS, /* marks */
    NORMALIZER_PREPEND,
    NORMALIZER_REPLACE,
    NORMALIZER_NMT,
    NORMALIZER_BYTE_LEVEL,
    NORMALIZER_CHARSMAP,
    NORMALIZER_BERT_CLEAN,   /* BertNormalizer is up to four steps: this one */
    NORMALIZER_BERT_CHINESE, /* spaces around ideographs */
    NORMALIZER_STRIP_NONSPACING,
};

struct normalizer_step {
    enum normalizer_kind kind;
    bool left, right;        /* STRIP */
    struct pattern *pattern; /* REPLACE */
    struct buffer content;   /* PREPEND, REPLACE */
    struct charsmap charsmap;
};

/* Sequences are laid out flat: steps one after the other. */
struct normalizer {
    struct normalizer_step *step;
    size_t count, capacity;
};

/* o: the JSON of a normalizer, NULL or null for none. */
int normalizer_read(struct normalizer *n, const json_t *o, struct error *e);
int normalizer_add(struct normalizer *n, enum normalizer_kind kind, struct normalizer_step **step, struct error *e);
void normalizer_free(struct normalizer *n);

/* Changes *text, valid UTF-8, in place with *spare's help. *cut becomes true where its beginning was stripped off. */
int normalizer_apply(const struct normalizer *n, struct pattern_match *m, struct buffer *text, struct buffer *spare,
                     bool *cut, struct error *e);

/* GPT-2's visible stand-ins for bytes, as UTF-8. [byte] is a NUL-terminated string. */
extern const char byte_level_text[256][3];
/* The byte that a code point stands for, -1 if none. */
int byte_level_byte(uint32_t c);
void byte_level_append(struct buffer *out, const char *bytes_, size_t bytes);

/* {"String": ...} or {"Regex": ...} under the key "pattern". */
int pattern_read(struct pattern **out, const json_t *o, struct error *e);

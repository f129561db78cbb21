/* The pre-tokenizers of tokenizer.json: cut normalized text into the words that the model sees one by one. */
#pragma once
#include "coordinator/tokenizer/normalize.h"

/* Words as ranges of one text. Never empty ones. */
struct piece {
    size_t start, bytes;
    bool first; /* begins where the whole text begins, before anything was cut out of it */
};

struct pieces {
    struct buffer text;
    struct piece *piece;
    size_t count, capacity;
    bool failed; /* no memory: pieces are missing */
};

void pieces_push(struct pieces *p, size_t start, size_t end, bool first); /* an empty range is left out */
void pieces_free(struct pieces *p);

enum split_behavior {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS
};

enum pretokenizer_kind {
    PRETOKENIZER_SPLIT,  /* at matches of a pattern */
    PRETOKENIZER_DIGITS, /* at classes of characters: these four */
    PRETOKENIZER_PUNCTUATION,
    PRETOKENIZER_SPACES,
    PRETOKENIZER_WHITESPACE, /* runs of word characters and of others, white space dropped */
    PRETOKENIZER_METASPACE,
    PRETOKENIZER_BYTE_LEVEL,
    PRETOKENIZER_FIXED_LENGTH,
};

enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct pretokenizer_step {
    enum pretokenizer_kind kind;
    enum split_behavior behavior;
    bool invert;
    struct pattern *pattern; /* SPLIT, and BYTE_LEVEL where it uses its expression */
    bool prefix_space;       /* BYTE_LEVEL */
    char replacement[5];     /* METASPACE, and its bytes */
    size_t replacement_bytes;
    enum prepend_scheme prepend; /* METASPACE */
    bool split;                  /* METASPACE */
    size_t length;               /* FIXED_LENGTH, in characters */
};

struct pretokenizer {
    struct pretokenizer_step *step;
    size_t count, capacity;
    bool keep_bytes; /* a last ByteLevel does not write its visible characters: the model takes the bytes themselves */
};

extern const char pretokenizer_gpt2_regex[]; /* what ByteLevel splits by */

/* o: the JSON of a pre-tokenizer, NULL or null for none. */
int pretokenizer_read(struct pretokenizer *p, const json_t *o, struct error *e);
int pretokenizer_add(struct pretokenizer *p, enum pretokenizer_kind kind, struct pretokenizer_step **step,
                     struct error *e);
int pretokenizer_metaspace_read(struct pretokenizer_step *s, const json_t *o,
                                struct error *e); /* a decoder has the same members */
void pretokenizer_free(struct pretokenizer *p);

/* Replaces the pieces by finer ones, with *spare's help. */
int pretokenizer_apply(const struct pretokenizer *p, struct pattern_match *m, struct pieces *pieces,
                       struct pieces *spare, struct error *e);

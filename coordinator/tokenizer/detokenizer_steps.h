/* The decoders of tokenizer.json, as read: what detokenizer.c runs. */
#pragma once
#include "coordinator/tokenizer/pattern.h"
#include "coordinator/tokenizer/pretokenize.h"

enum decoder_kind {
    DECODER_BYTE_LEVEL,    /* visible characters to bytes, all tokens to one text */
    DECODER_BYTE_FALLBACK, /* runs of "<0xNN>" to text */
    DECODER_FUSE,          /* all tokens to one */
    DECODER_STRIP,         /* up to so many of one character at a token's ends */
    DECODER_REPLACE,
    DECODER_METASPACE,
    DECODER_WORDPIECE,
    DECODER_BPE, /* end-of-word suffixes to spaces */
};

struct decoder_step {
    enum decoder_kind kind;
    struct buffer content;   /* STRIP: the character; REPLACE: what comes instead; WORDPIECE: prefix; BPE: suffix */
    struct pattern *pattern; /* REPLACE */
    struct buffer literal;   /* REPLACE of a string: that string */
    size_t start, stop;      /* STRIP */
    bool cleanup;            /* WORDPIECE */
    struct pretokenizer_step space; /* METASPACE */
};

struct decoder {
    struct decoder_step *step;
    size_t count, capacity;
    bool present; /* without a decoder, tokens are joined by spaces */
};

/* o: the JSON of a decoder, NULL or null for none. */
int decoder_read(struct decoder *d, const json_t *o, struct error *e);
int decoder_add(struct decoder *d, enum decoder_kind kind, struct decoder_step **step, struct error *e);
void decoder_free(struct decoder *d);

/* A tokenizer out of the tables that a GGUF file holds of it (tokenizer.ggml.*), as llama.cpp reads them:
 *
 *   gpt2     byte-level BPE: tokens in visible characters, merges; how a text is split is only named (ggml_split.h)
 *   llama    SentencePiece's BPE: no merges but scores, "▁" for a space, "<0xNN>" for bytes without a token
 *   gemma4   the same with merges, split at line ends only
 *   t5       SentencePiece's Unigram: scores, a character map
 *
 * Control and unknown tokens and user-defined ones are found in a text before anything else; "[PAD7]" and its like, which only
 * fill a vocabulary up, are no tokens at all. */
#pragma once
#include "coordinator/tokenizer/tokenizer.h"

/* A list of texts that is the caller's, each with a NUL behind it. */
struct ggml_texts {
    const void *of;
    uint64_t count;
    const char *(*at)(const void *of, uint64_t i, size_t *bytes);
};

enum ggml_token_type { /* tokenizer.ggml.token_type */
                       GGML_TOKEN_UNDEFINED,
                       GGML_TOKEN_NORMAL,
                       GGML_TOKEN_UNKNOWN,
                       GGML_TOKEN_CONTROL,
                       GGML_TOKEN_USER_DEFINED,
                       GGML_TOKEN_UNUSED,
                       GGML_TOKEN_BYTE,
                       GGML_TOKEN_TYPES
};

enum ggml_choice { GGML_UNSAID = -1, GGML_NO, GGML_YES };

struct ggml_tables {
    const char *file;         /* for messages */
    const char *model;        /* tokenizer.ggml.model */
    const char *pre;          /* tokenizer.ggml.pre, or what the user says it is; NULL: nobody says */
    bool pre_asked;           /* the user says */
    struct ggml_texts tokens; /* id to text */
    struct ggml_texts merges; /* count 0: none */
    const float *score;       /* [tokens.count]; NULL: none */
    const uint8_t *type;      /* [tokens.count], enum ggml_token_type; NULL: all are normal */
    const char *charsmap;     /* NULL: none */
    size_t charsmap_bytes;
    int64_t bos, eos, unknown;                                  /* ids; -1: not said */
    enum ggml_choice add_bos, add_eos, add_space, merge_spaces; /* add_space_prefix, remove_extra_whitespaces */
    bool strips_right; /* special tokens swallow the white space behind them (Phi-3's do, and no key says so) */
};

/* Nothing of t is needed afterwards. -EINVAL: something of it cannot be; -ENOTSUP: a model or a split that is not known: the
 * message says which are. */
int tokenizer_from_ggml(struct tokenizer **out, const struct ggml_tables *t, struct error *e);
/* The text of a tokenizer.json that lies within another file, name says where. */
int tokenizer_from_text(struct tokenizer **out, const char *text, size_t bytes, const char *name, struct error *e);

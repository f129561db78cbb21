/* The inside of a tokenizer, for the files that fill it from one format or another. */
#pragma once
#include "coordinator/tokenizer/detokenizer_steps.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "coordinator/tokenizer/added.h"
#include "coordinator/tokenizer/model.h"
#include "coordinator/tokenizer/normalize.h"
#include "coordinator/tokenizer/post.h"
#include "coordinator/tokenizer/pretokenize.h"
#include "coordinator/tokenizer/special.h"

struct tokenizer {
    struct added_tokens added;
    struct normalizer normalizer;
    struct pretokenizer pretokenizer;
    struct model model;
    struct postprocessor post;
    struct decoder decoder;
    size_t ids;           /* how many there are at least, with those that no text has */
    int64_t eos;          /* what ends a text, as the folder's files have it; -1: none, or not in the vocabulary */
    const char *eos_file; /* which of them says so; NULL: none */
};

/* Each fills an empty tokenizer from its file; what was filled when it fails is freed by tokenizer_close. */
int tokenizer_read_json(struct tokenizer *t, const char *path, const struct special_tokens *s, struct error *e);
int tokenizer_read_sentencepiece(struct tokenizer *t, const char *path, const struct special_tokens *s,
                                 struct error *e);
/* FOLDER/vocab.json and merges.txt; s gets what the class says where the files do not. */
int tokenizer_read_merges(struct tokenizer *t, const char *folder, struct special_tokens *s, struct error *e);
int tokenizer_read_tekken(struct tokenizer *t, const char *path, const struct special_tokens *s, struct error *e);
/* Tokens whose ids keep the order of their ranks, as characters of bytes: the merges that they imply. -EINVAL: a byte is missing. */
int tokenizer_finish_ranks(struct tokenizer *t, const char *path, struct error *e);
int tokenizer_read_tiktoken(struct tokenizer *t, const char *path, const struct special_tokens *s, struct error *e);

/* The flags of an added token: special, single_word, lstrip, rstrip, normalized. */
int tokenizer_read_flags(struct added_token *a, const json_t *o, struct error *e);
/* The id that Hugging Face gives: the content's own where it has one, else the next free one. */
uint32_t tokenizer_next_id(const struct tokenizer *t, const char *content, size_t bytes);
/* One added token; -EINVAL names content and id where they clash with what is there. */
int tokenizer_add_token(struct tokenizer *t, struct added_token token, const char *content, size_t bytes,
                        struct error *e);
/* The text of a token and its length in bytes, NULL: no such id. */
const char *tokenizer_token(const struct tokenizer *t, uint32_t id, size_t *bytes);

/* The inside of a tokenizer, for the files that fill it from one format or another. */
#pragma once
#include "coordinator/tokenizer/detokenizer_steps.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "coordinator/tokenizer/added.h"
#include "coordinator/tokenizer/model.h"
#include "coordinator/tokenizer/normalize.h"
#include "coordinator/tokenizer/post.h"
#include "coordinator/tokenizer/pretokenize.h"

struct tokenizer {
    struct added_tokens added;
    struct normalizer normalizer;
    struct pretokenizer pretokenizer;
    struct model model;
    struct postprocessor post;
    struct decoder decoder;
};

/* Each fills an empty tokenizer from its file; what was filled when it fails is freed by tokenizer_close. */
int tokenizer_read_json(struct tokenizer *t, const char *path, struct error *e);
/* config: tokenizer_config.json's object, NULL where there is none. */
int tokenizer_read_sentencepiece(struct tokenizer *t, const char *path, const json_t *config, struct error *e);
int tokenizer_read_tiktoken(struct tokenizer *t, const char *path, const json_t *config, struct error *e);

/* Adds a token that both kinds of files bring along in tokenizer_config.json's "added_tokens_decoder", with its id. */
int tokenizer_read_config_tokens(struct tokenizer *t, const json_t *config, struct error *e);
/* One added token; -EINVAL names content and id where they clash with what is there. */
int tokenizer_add_token(struct tokenizer *t, struct added_token token, const char *content, size_t bytes, struct error *e);
/* The content of tokenizer_config.json's member "bos_token" and the like, a string or an object; NULL: none. */
const char *tokenizer_config_content(const json_t *config, const char *key);

/* The text of a token and its length in bytes, NULL: no such id. */
const char *tokenizer_token(const struct tokenizer *t, uint32_t id, size_t *bytes);

/* The tokens that stand beside a tokenizer's own file, read as transformers 5 does (tokenization_utils_base.py,
 * tokenization_utils_tokenizers.py):
 *
 *   tokenizer_config.json     added_tokens_decoder: ids, contents and flags; bos_token and its like; lists of further ones
 *                             (extra_special_tokens, else additional_special_tokens)
 *                             split_special_tokens: special tokens in a text are text (open.c)
 *   special_tokens_map.json   the same but for added_tokens_decoder, and goes before it: of older folders, and read only
 *   added_tokens.json         contents and ids: where tokenizer_config.json has no added_tokens_decoder */
#pragma once
#include "coordinator/text/json.h"

struct tokenizer;

struct special_tokens {
    json_t *config, *map, *added; /* NULL: not there, or not asked */
};

/* Reads a folder's files. Close it, after an error too. */
int special_tokens_open(struct special_tokens *s, const char *folder, struct error *e);
void special_tokens_close(struct special_tokens *s);

/* A member, null counts as absent; *file (or NULL): where it stands. */
const json_t *special_tokens_member(const struct special_tokens *s, const char *key, const char **file);
/* The content of a token, "eos_token" for one: a string, or an object with one. NULL: none, or an empty one. */
const json_t *special_tokens_content(const struct special_tokens *s, const char *key, const char **file);

enum special_ids {
    SPECIAL_NEXT_IDS, /* as Hugging Face tokenizers: the model's own id, else the next free one, in the order of the ids given */
    SPECIAL_GIVEN_IDS, /* the ids given, where one is; one without goes behind all others */
    SPECIAL_GIVEN_ONLY, /* the same, and those without are left for a second call: a format has tokens of its own to add first */
};

/* Adds the tokens that t does not have with these flags, and sets its end of text. own: the list that tokenizer.json has of
 * added tokens, which are in t already; else NULL. The index of added tokens is still to be made. */
int special_tokens_add(struct tokenizer *t, const struct special_tokens *s, const json_t *own, enum special_ids ids,
                       struct error *e);

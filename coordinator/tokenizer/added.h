/* Added tokens: strings that become one id wherever they stand in a text, before the model sees it.
 *
 * Those not marked "normalized" are cut out of the raw text, the others out of what the normalizer made of the rest. At
 * each place the longest wins; flags as Hugging Face reads them:
 *   single_word     only where no word character touches it
 *   lstrip, rstrip  it swallows the white space before it, behind it
 *   special         no part of the text: left out by a decoder that skips special tokens */
#pragma once
#include "coordinator/tokenizer/map.h"
#include "coordinator/tokenizer/normalize.h"

struct added_token {
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    size_t shown, shown_bytes; /* what decoding gives, in added_tokens.shown; no bytes: the content */
};

/* What is searched for in one go: the raw contents, or the normalized ones. */
struct added_set {
    struct map trie; /* node << 8 | byte -> node << 32 | token index + 1 (0: no token ends here) */
    uint32_t nodes;
    bool starts[256]; /* first bytes of contents */
};

struct added_tokens {
    struct added_token *token;
    size_t count, capacity;
    struct vocab vocab;  /* contents */
    struct map special;  /* ids; one that was special stays it, whatever is added with it later (as Hugging Face) */
    struct map by_id;    /* id -> index of its token */
    struct buffer shown; /* normalized contents, where they differ; NUL behind each */
    struct added_set raw, normalized;
    bool split_special; /* special ones are not cut out: a text that spells one is text */
};

/* Adds a token with this id, in place of one with the same id; its content is found in texts once added_tokens_index has run. */
int added_tokens_add(struct added_tokens *a, struct added_token token, const char *content, size_t bytes);
/* Builds what finds them; the normalizer is applied to the contents of those marked normalized. */
int added_tokens_index(struct added_tokens *a, const struct normalizer *n, struct error *e);
void added_tokens_free(struct added_tokens *a);
/* Makes decoding give this text for the id, which must be there. 0 or -ENOMEM. */
int added_tokens_show(struct added_tokens *a, uint32_t id, const char *text, size_t bytes);
/* What a decoder takes the token for: its content, normalized if it is a normalized one (as Hugging Face since 0.22).
 * NULL: no such id. */
const char *added_tokens_text(const struct added_tokens *a, uint32_t id, size_t *bytes);

struct added_match {
    size_t start, end; /* with the white space that it swallows */
    uint32_t id;
};

/* Goes over the matches in text[0..bytes). Start with a zeroed walk. */
struct added_walk {
    size_t from;    /* where the next search starts */
    size_t covered; /* the end of the last match, white space included */
};

bool added_tokens_next(const struct added_tokens *a, const struct added_set *set, const char *text, size_t bytes,
                       struct added_walk *w, struct added_match *match);

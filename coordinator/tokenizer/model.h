/* The models of tokenizer.json: one word of text to token ids. Read-only once read. */
#pragma once
#include "coordinator/tokenizer/sentencepiece_bridge.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "coordinator/tokenizer/json.h"
#include "coordinator/tokenizer/map.h"

enum model_kind { MODEL_BPE, MODEL_UNIGRAM, MODEL_WORDPIECE, MODEL_WORDLEVEL, MODEL_SENTENCEPIECE };

/* Byte pair encoding: the characters of a word are joined pair by pair, the pair with the lowest rank first, the
 * leftmost of equals first. */
struct bpe {
    struct map merge;             /* left id << 32 | right id -> rank << 32 | joined id */
    struct map chars;             /* code point -> id, where there is neither prefix nor suffix */
    int64_t byte_id[256];         /* of the visible character of a byte (ByteLevel); -1: none */
    int64_t fallback_id[256];     /* of "<0xNN>" where byte_fallback is on; -1: none */
    struct buffer prefix, suffix; /* continuing_subword_prefix, end_of_word_suffix */
    bool fuse_unk, byte_fallback, ignore_merges, raw_bytes;
    bool tiling_words;     /* no merge reaches over the border before a "▁" ... */
    struct map joins_mark; /* ... unless this code point stands before it */
};

#define UNIGRAM_UNK_PENALTY 10.0 /* an unknown character scores this much less than the worst piece */

struct unigram {
    double *score; /* [vocab.size] */
    double unk_score;
    struct map trie; /* node << 8 | byte -> node << 32 | id + 1 (0: no piece ends here) */
    uint32_t nodes;
    bool byte_fallback;
    int64_t fallback_id[256];
};

struct wordpiece {
    struct buffer prefix;
    size_t max_chars;
};

struct model {
    enum model_kind kind;
    struct vocab vocab;
    int64_t unk; /* -1: none */
    struct bpe bpe;
    struct unigram unigram;
    struct wordpiece wordpiece;
    struct piece_model *sentencepiece;
    enum sentencepiece_words words;
};

/* Scratch of one encoding. Words seen before are answered from the ids that they gave then. */
struct model_symbol {
    uint32_t id, prev, next, bytes;
};

struct model_heap_entry {
    uint64_t order; /* rank << 32 | position */
    uint32_t id;
};

struct model_cache_slot {
    uint64_t hash;     /* 0: free */
    size_t key, bytes; /* in keys */
    size_t ids, count; /* in the ids that were given out */
};

struct model_work {
    struct model_symbol *symbol;
    size_t symbol_capacity;
    struct model_heap_entry *heap;
    size_t heap_count, heap_capacity, queue_first, queue_end;
    void *lattice; /* unigram's best paths */
    size_t lattice_capacity;
    struct buffer text;
    struct model_cache_slot *cache;
    size_t cache_mask, cache_used;
    struct buffer keys;
};

/* The "model" member. raw_bytes: words come as bytes that ByteLevel has not written out (BPE only). */
int model_read(struct model *m, const struct json_document *d, struct error *e);
void model_free(struct model *m);

/* Tells BPE that its words come as bytes instead of their visible characters. */
void model_take_bytes(struct model *m);

/* Appends the ids of a word, valid UTF-8 (any bytes where raw), not empty. */
int model_encode(const struct model *m, struct model_work *work, const char *word, size_t bytes, struct token_ids *out,
                 struct error *e);

void model_work_start(struct model_work *work, size_t text_bytes); /* sizes the cache for a text; may do without */
void model_work_free(struct model_work *work);

/* Per model; model_encode chooses. */
int bpe_read(struct model *m, const struct json_document *d, const json_t *o, struct error *e);
int bpe_finish(struct model *m, struct error *e); /* tables from the vocabulary, after it and the merges are there */
int bpe_add_merge(struct model *m, const char *left, size_t left_bytes, const char *right, size_t right_bytes,
                  uint32_t rank, struct buffer *joined, struct error *e);
int bpe_encode(const struct model *m, struct model_work *work, const char *word, size_t bytes, struct token_ids *out,
               struct error *e);
int unigram_read(struct model *m, const struct json_document *d, const json_t *o, struct error *e);
/* A piece for the trie; 0 or -ENOMEM. */
int unigram_add(struct unigram *u, const char *piece, size_t bytes, uint32_t id);
int unigram_encode(const struct model *m, struct model_work *work, const char *word, size_t bytes,
                   struct token_ids *out, struct error *e);
int wordpiece_read(struct model *m, const struct json_document *d, const json_t *o, struct error *e);
int wordpiece_encode(const struct model *m, struct model_work *work, const char *word, size_t bytes,
                     struct token_ids *out, struct error *e);

/* {"token": id, ...} into m->vocab. */
int model_read_vocab(struct model *m, const struct json_document *d, struct error *e);
/* A string member into a buffer; missing or null leaves it empty. */
int model_read_text(struct buffer *out, const json_t *o, const char *key, struct error *e);
/* Ids of "<0x00>" to "<0xFF>" in the vocabulary. */
void model_find_fallback(const struct model *m, int64_t id[256]);

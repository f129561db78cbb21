/* Two hash tables made for tokenizers: open addressing, linear probing, built once and then only read.
 *
 *   map     64-bit key to 64-bit value: pairs of ids to merges, (trie node, byte) to the next node
 *   vocab   strings to ids and back; the strings lie in one arena, each with a NUL behind it */
#pragma once
#include "coordinator/text/buffer.h"

#define MAP_NONE UINT64_MAX /* never a key, and the value of a key that is not there */

struct map_slot {
    uint64_t key, value;
};

struct map {
    struct map_slot *slot;
    size_t mask, count; /* mask + 1 slots, at most half of them used; no slots while empty */
};

int map_reserve(struct map *m, size_t count);             /* room for so many keys; 0 or -ENOMEM */
int map_put(struct map *m, uint64_t key, uint64_t value); /* adds or replaces; 0 or -ENOMEM */
void map_free(struct map *m);

static inline uint64_t map_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0x9E3779B97F4A7C15u;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    return x ^ x >> 32;
}

static inline uint64_t map_get(const struct map *m, uint64_t key)
{
    if (!m->slot) return MAP_NONE;
    for (size_t i = (size_t)map_mix(key) & m->mask;; i = (i + 1) & m->mask) {
        if (m->slot[i].key == key) return m->slot[i].value;
        if (m->slot[i].key == MAP_NONE) return MAP_NONE;
    }
}

uint64_t bytes_hash(const char *s, size_t bytes);

#define VOCAB_ID_LIMIT (1u << 24) /* ids reach no further; real vocabularies stay under 1 << 19 */

struct vocab_string {
    size_t offset;  /* into text */
    uint32_t bytes; /* without the NUL behind it */
    uint32_t id;
};

struct vocab_slot {
    uint32_t hash, index_plus_1; /* of the string; 0: free */
};

struct vocab {
    struct buffer text;
    struct vocab_string *string; /* [count], as they came */
    size_t count, string_capacity;
    uint32_t *by_id;          /* [size], index of the string + 1; 0: no such id */
    size_t size, id_capacity; /* size: highest id + 1 */
    struct vocab_slot *slot;
    size_t mask;
};

/* Adds s with this id; a string that is there gets the new id, an id that is there the new string.
 * 0, -ENOMEM, -ERANGE for an id beyond the limit. */
int vocab_put(struct vocab *v, const char *s, size_t bytes, uint32_t id);
int64_t vocab_find(const struct vocab *v, const char *s, size_t bytes);    /* id or -1 */
const char *vocab_text(const struct vocab *v, uint32_t id, size_t *bytes); /* NULL: no such id */
void vocab_free(struct vocab *v);

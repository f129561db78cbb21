#include "coordinator/tokenizer/map.h"

#include <errno.h>

static int map_resize(struct map *m, size_t slots)
{
    struct map_slot *fresh = malloc(slots * sizeof *fresh);
    if (!fresh) return -ENOMEM;
    memset(fresh, 0xFF, slots * sizeof *fresh);
    size_t old = m->slot ? m->mask + 1 : 0;
    for (size_t i = 0; i < old; i++) {
        if (m->slot[i].key == MAP_NONE) continue;
        size_t at = (size_t)map_mix(m->slot[i].key) & (slots - 1);
        while (fresh[at].key != MAP_NONE) at = (at + 1) & (slots - 1);
        fresh[at] = m->slot[i];
    }
    free(m->slot);
    m->slot = fresh;
    m->mask = slots - 1;
    return 0;
}

int map_reserve(struct map *m, size_t count)
{
    size_t slots = m->slot ? m->mask + 1 : 16;
    while (slots / 2 < count) {
        if (slots > SIZE_MAX / 2 / sizeof *m->slot) return -ENOMEM;
        slots *= 2;
    }
    return m->slot && slots == m->mask + 1 ? 0 : map_resize(m, slots);
}

int map_put(struct map *m, uint64_t key, uint64_t value)
{
    if (map_reserve(m, m->count + 1) != 0) return -ENOMEM;
    size_t i = (size_t)map_mix(key) & m->mask;
    while (m->slot[i].key != MAP_NONE && m->slot[i].key != key) i = (i + 1) & m->mask;
    m->count += m->slot[i].key == MAP_NONE;
    m->slot[i] = (struct map_slot){key, value};
    return 0;
}

void map_free(struct map *m)
{
    free(m->slot);
    *m = (struct map){0};
}

uint64_t bytes_hash(const char *s, size_t bytes)
{
    uint64_t h = 0x243F6A8885A308D3u ^ bytes, part;
    while (bytes >= 8) {
        memcpy(&part, s, 8);
        h = (h ^ part) * 0x9E3779B97F4A7C15u;
        h ^= h >> 32;
        s += 8;
        bytes -= 8;
    }
    part = 0;
    memcpy(&part, s, bytes);
    return map_mix(h ^ part * 0xD6E8FEB86659FD93u);
}

/* The slot that holds this string, or the free one where it would go. */
static size_t vocab_locate(const struct vocab *v, const char *s, size_t bytes, uint32_t hash)
{
    size_t i = hash & v->mask;
    for (; v->slot[i].index_plus_1; i = (i + 1) & v->mask) {
        if (v->slot[i].hash != hash) continue;
        const struct vocab_string *x = &v->string[v->slot[i].index_plus_1 - 1];
        if (x->bytes == bytes && memcmp(v->text.data + x->offset, s, bytes) == 0) break;
    }
    return i;
}

static int vocab_grow_slots(struct vocab *v)
{
    size_t old = v->slot ? v->mask + 1 : 0, slots = old ? old * 2 : 64;
    struct vocab_slot *fresh = calloc(slots, sizeof *fresh);
    if (!fresh) return -ENOMEM;
    for (size_t i = 0; i < old; i++) {
        if (!v->slot[i].index_plus_1) continue;
        size_t at = v->slot[i].hash & (slots - 1);
        while (fresh[at].index_plus_1) at = (at + 1) & (slots - 1);
        fresh[at] = v->slot[i];
    }
    free(v->slot);
    v->slot = fresh;
    v->mask = slots - 1;
    return 0;
}

static int vocab_add_string(struct vocab *v, const char *s, size_t bytes)
{
    struct vocab_string *strings = array_grow(v->string, sizeof *strings, &v->string_capacity, v->count + 1);
    if (!strings) return -ENOMEM;
    v->string = strings;
    v->string[v->count] = (struct vocab_string){v->text.bytes, (uint32_t)bytes, UINT32_MAX};
    buffer_append(&v->text, s, bytes);
    buffer_append_byte(&v->text, 0);
    if (v->text.failed) return -ENOMEM;
    v->count++;
    return 0;
}

int vocab_put(struct vocab *v, const char *s, size_t bytes, uint32_t id)
{
    if (id >= VOCAB_ID_LIMIT || bytes >= UINT32_MAX || v->count >= UINT32_MAX - 1) return -ERANGE;
    if ((!v->slot || v->count + 1 > (v->mask + 1) / 2) && vocab_grow_slots(v) != 0) return -ENOMEM;
    uint32_t *by_id = array_grow(v->by_id, sizeof *by_id, &v->id_capacity, (size_t)id + 1);
    if (!by_id) return -ENOMEM;
    v->by_id = by_id;
    for (; v->size <= id; v->size++) v->by_id[v->size] = 0;
    uint32_t hash = (uint32_t)bytes_hash(s, bytes);
    size_t at = vocab_locate(v, s, bytes, hash);
    if (!v->slot[at].index_plus_1) {
        if (vocab_add_string(v, s, bytes) != 0) return -ENOMEM;
        v->slot[at] = (struct vocab_slot){hash, (uint32_t)v->count};
    }
    uint32_t index_plus_1 = v->slot[at].index_plus_1;
    struct vocab_string *string = &v->string[index_plus_1 - 1];
    if (string->id != UINT32_MAX && v->by_id[string->id] == index_plus_1) v->by_id[string->id] = 0;
    string->id = id;
    v->by_id[id] = index_plus_1;
    return 0;
}

int64_t vocab_find(const struct vocab *v, const char *s, size_t bytes)
{
    if (!v->slot) return -1;
    uint32_t index_plus_1 = v->slot[vocab_locate(v, s, bytes, (uint32_t)bytes_hash(s, bytes))].index_plus_1;
    return index_plus_1 ? (int64_t)v->string[index_plus_1 - 1].id : -1;
}

const char *vocab_text(const struct vocab *v, uint32_t id, size_t *bytes)
{
    if (id >= v->size || !v->by_id[id]) return NULL;
    const struct vocab_string *x = &v->string[v->by_id[id] - 1];
    if (bytes) *bytes = x->bytes;
    return v->text.data + x->offset;
}

void vocab_free(struct vocab *v)
{
    buffer_free(&v->text);
    free(v->string);
    free(v->by_id);
    free(v->slot);
    *v = (struct vocab){0};
}

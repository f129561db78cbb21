#include "coordinator/tokenizer/special.h"

#include "coordinator/text/json.h"
#include "coordinator/tokenizer/parts.h"
#include "proto/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define CONFIG_FILE    "tokenizer_config.json"
#define MAP_FILE       "special_tokens_map.json"
#define ADDED_FILE     "added_tokens.json"
#define FILE_BYTES_MAX (UINT64_C(64) << 20)

static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};
#define NAMES (sizeof names / sizeof *names)

/* ---- the files ---- */

static int load(json_t **out, const char *folder, const char *name, struct error *e)
{
    char path[4096];
    struct stat st;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path || lstat(path, &st) != 0) return 0;
    return json_read_file(out, path, FILE_BYTES_MAX, e);
}

int special_tokens_open(struct special_tokens *s, const char *folder, struct error *e)
{
    *s = (struct special_tokens){0};
    int rc = load(&s->config, folder, CONFIG_FILE, e);
    if (rc != 0 || json_object_get(s->config, "added_tokens_decoder")) return rc;
    rc = load(&s->map, folder, MAP_FILE, e);
    return rc != 0 ? rc : load(&s->added, folder, ADDED_FILE, e);
}

void special_tokens_close(struct special_tokens *s)
{
    json_decref(s->config);
    json_decref(s->map);
    json_decref(s->added);
    *s = (struct special_tokens){0};
}

const json_t *special_tokens_member(const struct special_tokens *s, const char *key, const char **file)
{
    const json_t *v = json_object_get(s->map, key);
    if (file) *file = v ? MAP_FILE : CONFIG_FILE;
    if (!v) v = json_object_get(s->config, key);
    return json_is_null(v) ? NULL : v;
}

/* A token is a string, or an object with its content and flags. */
static const json_t *content_of(const json_t *v)
{
    const json_t *content = json_is_object(v) ? json_object_get(v, "content") : v;
    return json_string_length(content) ? content : NULL;
}

const json_t *special_tokens_content(const struct special_tokens *s, const char *key, const char **file)
{
    return content_of(special_tokens_member(s, key, file));
}

/* ---- what there is to add ---- */

struct wanted {
    const char *content;
    size_t bytes, order; /* order: as they came */
    int64_t id;          /* given, -1: none */
    struct added_token flags;
};

struct wanted_list {
    struct tokenizer *t;
    struct wanted *token;
    size_t count, capacity;
    json_t *specific;    /* names beside the standard ones, to tokens */
    struct vocab seen;   /* contents of those with ids */
    struct vocab once;   /* contents and flags of those without */
    struct vocab named;  /* contents of bos_token and its like, and of the specific ones */
    struct vocab listed; /* contents that added_tokens.json is special with */
    struct map own;      /* ids that tokenizer.json gives to its own added tokens */
    struct error *e;
    int rc;
};

static int no_memory(struct error *e)
{
    return error_set(e, ENOMEM, "no memory for the added tokens");
}

static struct wanted *want(struct wanted_list *l, const char *content, size_t bytes, int64_t id)
{
    struct wanted *grown = array_grow(l->token, sizeof *grown, &l->capacity, l->count + 1);
    if (!grown || (id >= 0 && vocab_put(&l->seen, content, bytes, 0) != 0)) {
        l->rc = no_memory(l->e);
        return NULL;
    }
    l->token = grown;
    grown[l->count] = (struct wanted){.content = content, .bytes = bytes, .id = id, .order = l->count};
    return &grown[l->count++];
}

/* ---- names and lists ---- */

static bool is_standard(const char *key)
{
    for (size_t i = 0; i < NAMES; i++) {
        if (!strcmp(key, names[i])) return true;
    }
    return false;
}

/* The further tokens, but for those of the map's extra_special_tokens. Which list counts is what transformers comes to when
 * it renames additional_special_tokens to extra_special_tokens, first in the config (early), then in what the map adds to it. */
static const json_t *further(const struct special_tokens *s, bool early)
{
    const json_t *extra = json_object_get(s->config, "extra_special_tokens"),
                 *map = json_object_get(s->map, "extra_special_tokens");
    const json_t *additional = json_object_get(s->config, "additional_special_tokens");
    bool some = json_array_size(extra) || json_object_size(extra), renamed = additional && !some;
    const json_t *list = json_array_size(extra) ? extra : renamed ? additional : NULL;
    bool asked = renamed || json_is_array(map) || (extra && !json_is_members(extra));
    if (json_is_members(map)) /* in its place */
        asked = false;
    else if (json_is_array(list) || early)
        return json_is_array(list) ? list : NULL;
    list = json_object_get(s->map, "additional_special_tokens");
    if (!list && !renamed) list = additional;
    return !asked && !early && json_is_array(list) ? list : NULL;
}

typedef void visit_token(struct wanted_list *l, const json_t *v);

/* Names that a model adds to the standard ones, image_token for one, in the order of transformers, which is the order of the
 * ids that they get: members of that ending, with strings of the config and the two files' extra_special_tokens, where these
 * are objects, going before. */
static int find_specific(struct wanted_list *l, const struct special_tokens *s)
{
    const json_t *from[] = {s->config, s->map, s->config}, *extra[] = {s->config, s->map};
    int rc = (l->specific = json_object()) ? 0 : -1;
    for (int i = 0; i < 3; i++) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)from[i], key, v)
        {
            size_t n = strlen(key);
            bool takes = i == 1 || json_is_string(v) == (i == 2);
            if (n > 6 && !strcmp(key + n - 6, "_token") && !is_standard(key) && takes && content_of(v))
                rc |= json_object_set_nocheck(l->specific, key, v);
        }
    }
    for (int i = 0; i < 2; i++) {
        json_t *o = json_object_get(extra[i], "extra_special_tokens");
        if (json_is_members(o)) rc |= json_object_update(l->specific, o);
    }
    return rc ? no_memory(l->e) : 0;
}

static void visit_members(struct wanted_list *l, const json_t *o, visit_token *visit)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(json_is_members(o) ? o : NULL), key, v) visit(l, v);
}

static void visit_list(struct wanted_list *l, const json_t *list, visit_token *visit)
{
    const json_t *v;
    size_t i;
    json_array_foreach(list, i, v) visit(l, v);
}

static void visit_standard(struct wanted_list *l, const struct special_tokens *s, visit_token *visit)
{
    for (size_t i = 0; i < NAMES; i++) visit(l, special_tokens_member(s, names[i], NULL));
}

static void put(struct wanted_list *l, struct vocab *in, const json_t *v)
{
    const json_t *content = content_of(v);
    if (content && l->rc == 0 && vocab_put(in, json_string_value(content), json_string_length(content), 0) != 0)
        l->rc = no_memory(l->e);
}

static void note_named(struct wanted_list *l, const json_t *v)
{
    put(l, &l->named, v);
}

static void note_listed(struct wanted_list *l, const json_t *v)
{
    if (json_is_string(v)) put(l, &l->listed, v);
}

/* Tokens that are special in added_tokens.json. transformers looks for them before it has made tokens of the config's
 * objects, so that these are not among them. */
static void note_listed_names(struct wanted_list *l, const struct special_tokens *s)
{
    for (size_t i = 0; i < NAMES; i++) {
        const json_t *map = json_object_get(s->map, names[i]);
        if (map)
            put(l, &l->listed, map);
        else
            note_listed(l, json_object_get(s->config, names[i]));
    }
    visit_list(l, further(s, true), note_listed);
    for (size_t i = 0; i < json_array_size(json_object_get(s->map, "extra_special_tokens")); i++)
        put(l, &l->listed, json_array_get(json_object_get(s->map, "extra_special_tokens"), i));
}

static bool has(const struct vocab *v, const char *content, size_t bytes)
{
    return vocab_find(v, content, bytes) >= 0;
}

/* ---- tokens with ids ---- */

static void want_decoder(struct wanted_list *l, const json_t *decoder)
{
    for (void *i = json_object_iter((json_t *)decoder); i && l->rc == 0;
         i = json_object_iter_next((json_t *)decoder, i)) {
        const json_t *o = json_object_iter_value(i);
        const char *key = json_object_iter_key(i), *content;
        char *end;
        size_t bytes;
        struct added_token flags = {0};
        unsigned long id = strtoul(key, &end, 10);
        l->rc = json_need_text(o, "content", &content, &bytes, l->e);
        if (l->rc == 0) l->rc = tokenizer_read_flags(&flags, o, l->e);
        if (l->rc == 0 && (*end || end == key || id >= VOCAB_ID_LIMIT))
            l->rc = error_set(l->e, EINVAL, "not a token id");
        if (l->rc != 0) {
            error_prefix(l->e, CONFIG_FILE ": added_tokens_decoder: \"%s\"", key);
            return;
        }
        struct wanted *w = bytes ? want(l, content, bytes, (int64_t)id) : NULL;
        if (w) w->flags = flags;
    }
}

static void want_added(struct wanted_list *l, const json_t *added)
{
    const char *content;
    json_t *v;
    json_object_foreach((json_t *)added, content, v)
    {
        int64_t id;
        if (!json_whole(v, &id) || id < 0 || id >= VOCAB_ID_LIMIT) {
            l->rc = error_set(l->e, EINVAL, ADDED_FILE ": \"%.80s\": not a token id", content);
            return;
        }
        if (!*content || map_get(&l->own, (uint64_t)id) != MAP_NONE) continue;
        struct wanted *w = want(l, content, strlen(content), id);
        if (!w) return;
        w->flags.special = has(&l->listed, content, w->bytes);
        w->flags.normalized = !w->flags.special;
    }
}

static int find_own_ids(struct wanted_list *l, const json_t *own)
{
    const json_t *o;
    int64_t id;
    size_t i;
    json_array_foreach(own, i, o)
    {
        if (json_whole(json_object_get(o, "id"), &id) && id >= 0 && map_put(&l->own, (uint64_t)id, 1) != 0)
            return no_memory(l->e);
    }
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    return x->id != y->id ? (x->id < y->id ? -1 : 1) : x->order < y->order ? -1 : x->order > y->order;
}

/* Is it the first one of this content and these flags? Of several with different flags the last one counts. */
static bool is_first(struct wanted_list *l, const char *content, size_t bytes, const struct added_token *a, bool string)
{
    char flags[] = {a->special, a->single_word, a->lstrip, a->rstrip, a->normalized, string};
    struct buffer key = {0};
    buffer_append(&key, flags, sizeof flags);
    buffer_append(&key, content, bytes);
    bool first = !key.failed && vocab_find(&l->once, key.data, key.bytes) < 0;
    if (key.failed || (first && vocab_put(&l->once, key.data, key.bytes, 0) != 0)) l->rc = no_memory(l->e);
    buffer_free(&key);
    return first && l->rc == 0;
}

/* One without an id, where no file has given its content one. A string is a special token. */
static void want_special(struct wanted_list *l, const json_t *v)
{
    const json_t *content = content_of(v);
    const char *text = json_string_value(content);
    size_t bytes = json_string_length(content);
    struct added_token flags = {.special = true};
    if (l->rc != 0 || !content || has(&l->seen, text, bytes) || has(&l->t->added.vocab, text, bytes)) return;
    if (json_is_object(v) && (l->rc = tokenizer_read_flags(&flags, v, l->e)) != 0) {
        error_prefix(l->e, "special token \"%.80s\"", text);
        return;
    }
    struct wanted *w = is_first(l, text, bytes, &flags, json_is_string(v)) ? want(l, text, bytes, -1) : NULL;
    if (!w) return;
    w->flags = flags;
    w->flags.special |= has(&l->named, text, bytes);
}

/* ---- adding ---- */

static bool same_flags(const struct added_token *a, const struct added_token *b)
{
    return a->special == b->special && a->normalized == b->normalized && a->lstrip == b->lstrip &&
           a->rstrip == b->rstrip && a->single_word == b->single_word;
}

static int add(struct tokenizer *t, struct wanted *w, enum special_ids ids, struct error *e)
{
    int64_t old = vocab_find(&t->added.vocab, w->content, w->bytes);
    uint64_t index = old < 0 ? MAP_NONE : map_get(&t->added.by_id, (uint64_t)old);
    bool given = ids != SPECIAL_NEXT_IDS && w->id >= 0;
    w->flags.id = given ? (uint32_t)w->id : tokenizer_next_id(t, w->content, w->bytes);
    if (w->id >= 0 && w->id != w->flags.id)
        log_info(
            "the added token \"%.80s\" has the number %u, as transformers counts, and not %lld, as the folder says",
            w->content, w->flags.id, (long long)w->id);
    if (index != MAP_NONE && t->added.token[index].id == w->flags.id && same_flags(&t->added.token[index], &w->flags))
        return 0;
    return tokenizer_add_token(t, w->flags, w->content, w->bytes, e);
}

static void set_end(struct tokenizer *t, const struct special_tokens *s)
{
    const char *file;
    const json_t *content = special_tokens_content(s, "eos_token", &file);
    if (!content) return;
    const char *text = json_string_value(content);
    size_t bytes = json_string_length(content);
    int64_t id = vocab_find(&t->added.vocab, text, bytes);
    t->eos = id >= 0 ? id : vocab_find(&t->model.vocab, text, bytes);
    t->eos_file = file;
}

static void want_all(struct wanted_list *l, const struct special_tokens *s, const json_t *own, bool given_only)
{
    l->rc = find_specific(l, s);
    visit_standard(l, s, note_named);
    visit_members(l, l->specific, note_named);
    note_listed_names(l, s);
    if (l->rc == 0) l->rc = find_own_ids(l, own);
    if (l->rc == 0) want_decoder(l, json_object_get(s->config, "added_tokens_decoder"));
    if (l->rc == 0) want_added(l, s->added);
    if (l->count) qsort(l->token, l->count, sizeof *l->token, by_id);
    for (size_t i = 0; i < l->count; i++)
        l->token[i].flags.special |= has(&l->named, l->token[i].content, l->token[i].bytes);
    if (given_only) return;
    visit_standard(l, s, want_special);
    visit_members(l, l->specific, want_special);
    visit_list(l, further(s, false), want_special);
    visit_list(l, json_object_get(s->map, "extra_special_tokens"), want_special);
}

int special_tokens_add(struct tokenizer *t, const struct special_tokens *s, const json_t *own, enum special_ids ids,
                       struct error *e)
{
    const json_t *decoder = json_object_get(s->config, "added_tokens_decoder");
    struct wanted_list l = {.t = t, .e = e};
    if (decoder && !json_is_members(decoder))
        return error_set(e, EINVAL, CONFIG_FILE ": added_tokens_decoder is not an object");
    want_all(&l, s, own, ids == SPECIAL_GIVEN_ONLY);
    for (size_t i = 0; i < l.count && l.rc == 0; i++) l.rc = add(t, &l.token[i], ids, e);
    if (l.rc == 0) set_end(t, s);
    free(l.token);
    json_decref(l.specific);
    vocab_free(&l.seen);
    vocab_free(&l.once);
    vocab_free(&l.named);
    vocab_free(&l.listed);
    map_free(&l.own);
    return l.rc;
}

/* tekken.json, Mistral's own file: byte sequences in the order of their ranks, a pattern, and special tokens, which have the
 * first numbers. As mistral-common and transformers 5 (integrations/mistral/tokenizer.py) read it. */
#include "coordinator/tokenizer/base64.h"
#include "coordinator/tokenizer/parts.h"

#include <errno.h>
#include <stdio.h>

#define FILE_BYTES_MAX (UINT64_C(256) << 20)

static int fault(struct error *e, const char *path, const char *what)
{
    return error_set(e, EINVAL, "%s: %s: download the file again", path, what);
}

/* A number of the config; otherwise where it is absent. */
static int read_count(int64_t *out, const json_t *config, const char *key, int64_t otherwise, const char *path,
                      struct error *e)
{
    const json_t *v = json_object_get(config, key);

    *out = otherwise;
    if (!v || json_is_null(v)) return 0;
    if (json_whole(v, out) && *out >= 0 && *out < VOCAB_ID_LIMIT) return 0;
    return error_set(e, EINVAL, "%s: config: %s is no number of tokens", path, key);
}

/* Named ones by their ranks, and fillers up to count. */
static int add_specials(struct tokenizer *t, const json_t *list, int64_t count, const char *path, struct error *e)
{
    const json_t *o;
    size_t i;
    int rc = 0;

    json_array_foreach(list, i, o)
    {
        const char *text = json_string_value(json_object_get(o, "token_str"));
        struct added_token a = {.special = true};
        int64_t rank;

        if (!text || !*text || !json_whole(json_object_get(o, "rank"), &rank) || rank < 0 || rank >= count)
            return fault(e, path, "special_tokens: an entry without a text or a rank");
        a.id = (uint32_t)rank;
        rc = tokenizer_add_token(t, a, text, strlen(text), e);
        if (rc) return rc;
    }
    for (int64_t id = 0; id < count && !rc; id++) {
        struct added_token a = {.id = (uint32_t)id, .special = true};
        char name[32];

        snprintf(name, sizeof name, "<SPECIAL_%u>", a.id);
        if (!vocab_text(&t->added.vocab, a.id, NULL)) rc = tokenizer_add_token(t, a, name, strlen(name), e);
    }
    return rc;
}

static int read_tokens(struct tokenizer *t, const json_t *list, int64_t first, size_t most, const char *path,
                       struct error *e)
{
    struct buffer raw = {0}, visible = {0};
    const json_t *o;
    size_t i;
    int rc = 0;

    json_array_foreach(list, i, o)
    {
        const json_t *text = json_object_get(o, "token_bytes");

        if (rc || i == most) break;
        raw.bytes = visible.bytes = 0;
        if (!json_is_string(text) || !base64_decode(&raw, json_string_value(text), json_string_length(text)) ||
            !raw.bytes) {
            rc = fault(e, path, "vocab: an entry without token_bytes in base64");
            break;
        }
        byte_level_append(&visible, raw.data, raw.bytes);
        if (visible.failed || vocab_put(&t->model.vocab, visible.data, visible.bytes, (uint32_t)(first + (int64_t)i)))
            rc = error_set(e, ENOMEM, "%s: no memory for its tokens", path);
    }
    buffer_free(&raw);
    buffer_free(&visible);
    return rc;
}

static int read_file(struct tokenizer *t, const json_t *root, const char *path, struct error *e)
{
    const json_t *config = json_object_get(root, "config"), *list = json_object_get(root, "vocab"),
                 *special = json_object_get(root, "special_tokens"), *pattern = json_object_get(config, "pattern");
    struct pretokenizer_step *p;
    struct decoder_step *d;
    int64_t first, all;
    int rc = read_count(&first, config, "default_num_special_tokens", (int64_t)json_array_size(special), path, e);

    if (!rc) rc = read_count(&all, config, "default_vocab_size", VOCAB_ID_LIMIT - 1, path, e);
    if (rc) return rc;
    if (!json_array_size(list) || !json_is_string(pattern)) return fault(e, path, "no vocab, or no pattern");
    if (!json_is_array(special))
        return error_set(e, ENOTSUP,
                         "%s: no special_tokens: a file of the first version, which does not name them; fetch the "
                         "model's tokenizer.json",
                         path);
    rc = add_specials(t, special, first, path, e);
    if (!rc) rc = read_tokens(t, list, first, all > first ? (size_t)(all - first) : 0, path, e);
    if (!rc) rc = tokenizer_finish_ranks(t, path, e);
    if (!rc) rc = pretokenizer_add(&t->pretokenizer, PRETOKENIZER_SPLIT, &p, e);
    if (!rc)
        rc = pattern_compile(&p->pattern, json_string_value(pattern), json_string_length(pattern), PATTERN_TIKTOKEN, e);
    return rc ? rc : decoder_add(&t->decoder, DECODER_BYTE_LEVEL, &d, e);
}

int tokenizer_read_tekken(struct tokenizer *t, const char *path, const struct special_tokens *s, struct error *e)
{
    json_t *root = NULL;
    bool begin = true;
    int64_t bos;
    int rc = json_read_file(&root, path, FILE_BYTES_MAX, e);

    if (!rc) rc = read_file(t, root, path, e);
    json_decref(root);
    if (!rc) rc = special_tokens_add(t, s, NULL, SPECIAL_NEXT_IDS, e);
    if (!rc && !t->eos_file && (t->eos = tokenizer_token_id(t, "</s>")) >= 0) t->eos_file = "tekken.json";
    if (!rc) rc = json_get_bool(s->config, "add_bos_token", true, &begin, e);
    bos = rc || !begin ? -1 : tokenizer_token_id(t, "<s>");
    if (bos >= 0 && token_ids_push(&t->post.prefix, (uint32_t)bos))
        rc = error_set(e, ENOMEM, "no memory for the tokenizer");
    return rc ? rc : added_tokens_index(&t->added, &t->normalizer, e);
}

/* Which file of a folder is its tokenizer, and what tokenizer.json and tokenizer_config.json say around the model. */
#include "coordinator/text/mistaken.h"
#include "coordinator/tokenizer/ggml.h"
#include "coordinator/tokenizer/parts.h"
#include "proto/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

/* ---- added tokens ---- */

int tokenizer_add_token(struct tokenizer *t, struct added_token token, const char *content, size_t bytes,
                        struct error *e)
{
    int rc = added_tokens_add(&t->added, token, content, bytes);
    if (rc == -ERANGE)
        return error_set(e, ERANGE, "the added token \"%s\" has the id %u, beyond %u", content, token.id,
                         VOCAB_ID_LIMIT);
    return rc != 0 ? error_set(e, ENOMEM, "no memory for the added tokens") : 0;
}

int tokenizer_read_flags(struct added_token *a, const json_t *o, struct error *e)
{
    int rc = json_get_bool(o, "special", false, &a->special, e);
    rc = rc != 0 ? rc : json_get_bool(o, "single_word", false, &a->single_word, e);
    rc = rc != 0 ? rc : json_get_bool(o, "lstrip", false, &a->lstrip, e);
    rc = rc != 0 ? rc : json_get_bool(o, "rstrip", false, &a->rstrip, e);
    return rc != 0 ? rc : json_get_bool(o, "normalized", !a->special, &a->normalized, e);
}

/* The id that Hugging Face gives: the model's own, else the next free one; what the file says is not asked. */
uint32_t tokenizer_next_id(const struct tokenizer *t, const char *content, size_t bytes)
{
    int64_t id = vocab_find(&t->added.vocab, content, bytes);
    if (id < 0) id = vocab_find(&t->model.vocab, content, bytes);
    if (id >= 0) return (uint32_t)id;
    size_t model = t->model.vocab.count, added = t->added.vocab.size;
    return (uint32_t)(added > model ? added : model);
}

static int read_added(struct tokenizer *t, const json_t *list, struct error *e)
{
    const json_t *o;
    size_t i;
    if (list && !json_is_null(list) && !json_is_array(list))
        return error_set(e, EINVAL, "\"added_tokens\" is not a list");
    json_array_foreach(list, i, o)
    {
        struct added_token a = {0};
        const char *content;
        size_t bytes;
        int rc = json_need_text(o, "content", &content, &bytes, e);
        rc = rc != 0 ? rc : tokenizer_read_flags(&a, o, e);
        if (rc != 0) return error_prefix(e, "added token %zu", i);
        if (bytes == 0) continue;
        a.id = tokenizer_next_id(t, content, bytes);
        rc = tokenizer_add_token(t, a, content, bytes, e);
        if (rc != 0) return rc;
    }
    return 0;
}

/* ---- tokenizer.json ---- */

static int read_parts(struct tokenizer *t, const struct json_document *d, struct error *e)
{
    const json_t *root = d->root;
    if (normalizer_read(&t->normalizer, json_object_get(root, "normalizer"), e) != 0)
        return error_prefix(e, "normalizer");
    if (pretokenizer_read(&t->pretokenizer, json_object_get(root, "pre_tokenizer"), e) != 0)
        return error_prefix(e, "pre_tokenizer");
    if (postprocessor_read(&t->post, json_object_get(root, "post_processor"), e) != 0)
        return error_prefix(e, "post_processor");
    if (decoder_read(&t->decoder, json_object_get(root, "decoder"), e) != 0) return error_prefix(e, "decoder");
    if (model_read(&t->model, d, e) != 0) return error_prefix(e, "model");
    const struct pretokenizer *p = &t->pretokenizer;
    bool plain = t->model.kind == MODEL_BPE && !t->model.bpe.prefix.bytes && !t->model.bpe.suffix.bytes;
    if (plain && p->count && p->step[p->count - 1].kind == PRETOKENIZER_BYTE_LEVEL) {
        t->pretokenizer.keep_bytes = true;
        model_take_bytes(&t->model);
    }
    return read_added(t, json_object_get(root, "added_tokens"), e);
}

static int read_document(struct tokenizer *t, struct json_document *d, const char *path, const struct special_tokens *s,
                         struct error *e)
{
    int rc = read_parts(t, d, e);
    if (rc != 0)
        rc = error_prefix(e, "%s", path);
    else
        rc = special_tokens_add(t, s, json_object_get(d->root, "added_tokens"), SPECIAL_NEXT_IDS, e);
    json_document_free(d);
    return rc != 0 ? rc : added_tokens_index(&t->added, &t->normalizer, e);
}

int tokenizer_read_json(struct tokenizer *t, const char *path, const struct special_tokens *s, struct error *e)
{
    struct json_document d;
    int rc = json_document_read(&d, path, e);
    return rc != 0 ? rc : read_document(t, &d, path, s, e);
}

int tokenizer_from_text(struct tokenizer **out, const char *text, size_t bytes, const char *name, struct error *e)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    struct special_tokens none = {0};
    struct json_document d;
    *out = NULL;
    if (!t) return error_set(e, ENOMEM, "no memory for the tokenizer");
    t->eos = -1;
    int rc = json_document_text(&d, text, bytes, name, e);
    if (rc == 0) rc = read_document(t, &d, name, &none, e);
    if (rc != 0)
        tokenizer_close(t);
    else
        *out = t;
    return rc;
}

/* ---- folders ---- */

static bool there(char *path, size_t path_bytes, const char *folder, const char *name)
{
    struct stat st; /* a link that leads nowhere is there: somebody meant a file */
    return snprintf(path, path_bytes, "%s/%s", folder, name) < (int)path_bytes && lstat(path, &st) == 0;
}

/* The folder's first *.tiktoken, or tiktoken.model. */
static bool find_tiktoken(char *path, size_t path_bytes, const char *folder)
{
    if (there(path, path_bytes, folder, "tiktoken.model")) return true;
    DIR *dir = opendir(folder);
    bool found = false;
    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        size_t n = strlen(entry->d_name);
        found = n > 9 && !strcmp(entry->d_name + n - 9, ".tiktoken") && there(path, path_bytes, folder, entry->d_name);
    }
    if (dir) closedir(dir);
    return found;
}

/* tokenizer.model is SentencePiece's protocol buffer, or, of GLM-4 for one, a tiktoken file: base64, a space, a number. */
static bool is_tiktoken(const char *path)
{
    char head[64];
    struct error unread;
    FILE *f = file_stream(path, &unread);
    size_t n = f ? fread(head, 1, sizeof head - 1, f) : 0, i = 0;
    if (f) fclose(f);
    head[n] = 0;
    while (head[i] && (strchr("+/=", head[i]) || (head[i] >= '0' && head[i] <= '9') ||
                       ((head[i] | 32) >= 'a' && (head[i] | 32) <= 'z')))
        i++;
    return i > 0 && head[i] == ' ' && head[i + 1] >= '0' && head[i + 1] <= '9';
}

/* Files of other tokenizers are named: what is there is half of an answer. */
static int no_tokenizer(const char *folder, struct error *e)
{
    static const char *const others[] = {"vocab.txt", "vocab.json", "merges.txt", "spiece.model"};
    char path[4096];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (there(path, sizeof path, folder, others[i]))
            return error_set(e, ENOENT, "%s: no tokenizer: %s is there, which %s; fetch the model's tokenizer.json",
                             folder, others[i],
                             others[i][0] == 'v' && others[i][6] == 'j' ? "needs merges.txt beside it"
                             : others[i][0] == 'm'                      ? "needs vocab.json beside it"
                             : others[i][0] == 'v'
                                 ? "is a vocabulary of BERT's kind, which no model that sluice runs has"
                                 : "is not read by itself");
    }
    return error_set(e, ENOENT,
                     "%s: no tokenizer: neither tokenizer.json, tokenizer.model, a *.tiktoken file, tekken.json, nor "
                     "vocab.json with "
                     "merges.txt; fetch the model's tokenizer.json",
                     folder);
}

static int open_files(struct tokenizer *t, const char *folder, struct special_tokens *s, struct error *e)
{
    char path[4096];
    bool json = there(path, sizeof path, folder, "tokenizer.json"),
         model = !json && there(path, sizeof path, folder, "tokenizer.model");
    bool tiktoken = !json && !model && find_tiktoken(path, sizeof path, folder);
    if (!json && !model && !tiktoken && there(path, sizeof path, folder, "tekken.json"))
        return tokenizer_read_tekken(t, path, s, e);
    if (!json && !model && !tiktoken && there(path, sizeof path, folder, "vocab.json") &&
        there(path, sizeof path, folder, "merges.txt"))
        return tokenizer_read_merges(t, folder, s, e);
    if (!json && !model && !tiktoken) return no_tokenizer(folder, e);
    int rc = mistaken_file(path, e);
    if (rc != 0) return rc;
    if (json) return tokenizer_read_json(t, path, s, e);
    return model && !is_tiktoken(path) ? tokenizer_read_sentencepiece(t, path, s, e)
                                       : tokenizer_read_tiktoken(t, path, s, e);
}

int tokenizer_open(struct tokenizer **out, const char *folder, struct error *e)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    struct special_tokens s;
    if (!t) return error_set(e, ENOMEM, "no memory for the tokenizer");
    t->eos = -1;
    int rc = special_tokens_open(&s, folder, e);
    rc = rc != 0 ? rc : open_files(t, folder, &s, e);
    if (rc == 0 && (rc = json_get_bool(s.config, "split_special_tokens", false, &t->added.split_special, e)) != 0)
        error_prefix(e, "%s/tokenizer_config.json", folder);
    special_tokens_close(&s);
    if (rc != 0) {
        tokenizer_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

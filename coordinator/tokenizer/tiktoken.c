/* tiktoken files: a line for each token, its bytes in base64 and its rank, which is its id.
 *
 * tiktoken joins the two neighbours whose joined bytes have the lowest rank. As a table of pairs: every way to cut a token
 * into two tokens is a merge with that token's rank. The files hold neither pattern nor special tokens: both are in the
 * program that came with the model, so they are known here for each tokenizer_class. */
#include "coordinator/tokenizer/base64.h"
#include "coordinator/tokenizer/parts.h"
#include "coordinator/text/utf8.h"
#include "proto/base/file.h"

#include <errno.h>
#include <stdio.h>

#define CL100K(digits)                                                                                                 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                                         \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define KIMI_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI_TAIL  "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
#define KIMI                                                                                                           \
    "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "*" KIMI_LOWER "+" KIMI_TAIL "[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER   \
    "+" KIMI_LOWER "*" KIMI_TAIL "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Special tokens that follow the ranks without a gap; a %u is counted up from 0, or is the id itself. */
struct special_range {
    const char *format;
    unsigned count;
    bool numbered_by_id;
};

struct tiktoken_style {
    const char *class, *file; /* tokenizer_class, or the file's name where there is no tokenizer_config.json */
    const char *pattern;
    bool nfc;
    struct special_range special[4];
    const char *prefix[2]; /* begin each text */
};

static const struct tiktoken_style styles[] = {
    {.class = "QWenTokenizer",
     .file = "qwen.tiktoken",
     .pattern = CL100K(""),
     .nfc = true,
     .special = {{"<|endoftext|>", 1, false},
                 {"<|im_start|>", 1, false},
                 {"<|im_end|>", 1, false},
                 {"<|extra_%u|>", 205, false}}},
    {.class = "TikTokenTokenizer",
     .file = "tiktoken.model",
     .pattern = KIMI,
     .special = {{"<|reserved_token_%u|>", 256, true}}},
    {.class = "ChatGLM4Tokenizer",
     .file = "tokenizer.model",
     .pattern = CL100K("{1,3}"),
     .prefix = {"[gMASK]", "<sop>"}},
};

static const struct tiktoken_style *style_of(const char *path, const struct special_tokens *s, struct error *e)
{
    const char *class = json_string_value(json_object_get(s->config, "tokenizer_class")), *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++) {
        if (!strcmp(class ? class : file, class ? styles[i].class : styles[i].file)) return &styles[i];
    }
    error_set(e, ENOTSUP,
              "%s: tiktoken files carry no pattern, and the tokenizer_class \"%s\" is not known (QWenTokenizer, "
              "TikTokenTokenizer and ChatGLM4Tokenizer are); put the model's tokenizer.json beside it",
              path, class ? class : "");
    return NULL;
}

/* ---- the ranks ---- */

static int read_line(struct tokenizer *t, const char *path, unsigned number, const char *line, size_t bytes,
                     struct buffer *raw, struct buffer *visible, struct error *e)
{
    const char *gap = memchr(line, ' ', bytes);
    char *end;
    raw->bytes = visible->bytes = 0;
    unsigned long rank = gap ? strtoul(gap + 1, &end, 10) : 0;
    if (!gap || end == gap + 1 || (*end != '\n' && *end != '\r' && *end) || rank >= VOCAB_ID_LIMIT ||
        !base64_decode(raw, line, (size_t)(gap - line)) || !raw->bytes)
        return error_set(e, EINVAL, "%s: line %u is not base64, a space and a rank; fetch the file again", path,
                         number);
    byte_level_append(visible, raw->data, raw->bytes);
    if (visible->failed || vocab_put(&t->model.vocab, visible->data, visible->bytes, (uint32_t)rank) != 0)
        return error_set(e, ENOMEM, "%s: no memory for its tokens", path);
    return 0;
}

static int read_ranks(struct tokenizer *t, const char *path, struct error *e)
{
    struct error failed;
    FILE *f = file_stream(path, e ? e : &failed);
    if (!f) return e ? -e->code : -failed.code;
    struct buffer raw = {0}, visible = {0};
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int rc = 0;
    for (unsigned number = 1; rc == 0 && (n = getline(&line, &room, f)) >= 0; number++) {
        if (n > 0 && line[0] != '\n' && line[0] != '\r')
            rc = read_line(t, path, number, line, (size_t)n, &raw, &visible, e);
    }
    if (rc == 0 && t->model.vocab.count == 0) rc = error_set(e, EINVAL, "%s: no tokens in it", path);
    free(line);
    buffer_free(&raw);
    buffer_free(&visible);
    fclose(f);
    return rc;
}

/* All cuts of one token that give two tokens. */
static int add_cuts(struct tokenizer *t, uint32_t id)
{
    size_t bytes = 0;
    const char *text = vocab_text(&t->model.vocab, id, &bytes);
    for (size_t at = bytes ? utf8_char_bytes(text[0]) : 0; at < bytes; at += utf8_char_bytes(text[at])) {
        int64_t left = vocab_find(&t->model.vocab, text, at);
        int64_t right = left < 0 ? -1 : vocab_find(&t->model.vocab, text + at, bytes - at);
        if (right >= 0 &&
            map_put(&t->model.bpe.merge, (uint64_t)left << 32 | (uint64_t)right, (uint64_t)id << 32 | id) != 0)
            return -ENOMEM;
    }
    return 0;
}

int tokenizer_finish_ranks(struct tokenizer *t, const char *path, struct error *e)
{
    int rc = 0;
    t->model.kind = MODEL_BPE;
    t->model.unk = -1;
    for (uint32_t id = 0; id < t->model.vocab.size && rc == 0; id++) rc = add_cuts(t, id);
    if (rc != 0) return error_set(e, ENOMEM, "%s: no memory for its merges", path);
    t->model.bpe.ignore_merges = true; /* tiktoken looks a whole word up first */
    rc = bpe_finish(&t->model, e);
    model_take_bytes(&t->model);
    for (unsigned b = 0; b < 256 && rc == 0; b++) {
        if (t->model.bpe.byte_id[b] < 0) rc = error_set(e, EINVAL, "%s: no token for the byte 0x%02x", path, b);
    }
    return rc;
}

/* ---- around them ---- */

static int make_splits(struct tokenizer *t, const struct tiktoken_style *style, struct error *e)
{
    struct normalizer_step *n;
    struct pretokenizer_step *p;
    struct decoder_step *d;
    int rc = style->nfc ? normalizer_add(&t->normalizer, NORMALIZER_NFC, &n, e) : 0;
    rc = rc != 0 ? rc : pretokenizer_add(&t->pretokenizer, PRETOKENIZER_SPLIT, &p, e);
    rc = rc != 0 ? rc : pattern_compile(&p->pattern, style->pattern, strlen(style->pattern), PATTERN_TIKTOKEN, e);
    return rc != 0 ? rc : decoder_add(&t->decoder, DECODER_BYTE_LEVEL, &d, e);
}

/* Named by tokenizer_config.json first; the rest of a range has its numbers. */
static int add_range(struct tokenizer *t, const struct special_range *range, uint32_t *id, struct error *e)
{
    for (unsigned i = 0; i < range->count; i++, ++*id) {
        char name[64];
        unsigned number = range->numbered_by_id ? *id : i;
        const char *percent = strchr(range->format, '%');
        if (percent)
            snprintf(name, sizeof name, "%.*s%u%s", (int)(percent - range->format), range->format, number, percent + 2);
        else
            snprintf(name, sizeof name, "%s", range->format);
        struct added_token a = {.id = *id, .special = true};
        int rc = vocab_text(&t->added.vocab, *id, NULL) ? 0 : tokenizer_add_token(t, a, name, strlen(name), e);
        if (rc != 0) return rc;
    }
    return 0;
}

static int add_specials(struct tokenizer *t, const struct tiktoken_style *style, const struct special_tokens *s,
                        const char *path, struct error *e)
{
    uint32_t id = (uint32_t)t->model.vocab.size;
    int rc = special_tokens_add(t, s, NULL, SPECIAL_GIVEN_ONLY, e);
    for (size_t i = 0; i < 4 && style->special[i].format && rc == 0; i++) rc = add_range(t, &style->special[i], &id, e);
    rc = rc != 0 ? rc : special_tokens_add(t, s, NULL, SPECIAL_GIVEN_IDS, e);
    for (size_t i = 0; i < 2 && style->prefix[i] && rc == 0; i++) {
        int64_t token = tokenizer_token_id(t, style->prefix[i]);
        if (token < 0)
            rc =
                error_set(e, EINVAL,
                          "%s: its tokenizer begins texts with %s, which tokenizer_config.json beside it does not list",
                          path, style->prefix[i]);
        else if (token_ids_push(&t->post.prefix, (uint32_t)token) != 0)
            rc = error_set(e, ENOMEM, "no memory for the tokenizer");
    }
    return rc != 0 ? rc : added_tokens_index(&t->added, &t->normalizer, e);
}

int tokenizer_read_tiktoken(struct tokenizer *t, const char *path, const struct special_tokens *s, struct error *e)
{
    const struct tiktoken_style *style = style_of(path, s, e);
    if (!style) return -ENOTSUP;
    int rc = read_ranks(t, path, e);
    rc = rc != 0 ? rc : tokenizer_finish_ranks(t, path, e);
    rc = rc != 0 ? rc : make_splits(t, style, e);
    return rc != 0 ? rc : add_specials(t, style, s, path, e);
}

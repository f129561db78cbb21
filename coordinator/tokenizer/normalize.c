#include "coordinator/tokenizer/normalize.h"

#include "coordinator/tokenizer/base64.h"
#include "coordinator/tokenizer/json.h"
#include "coordinator/text/utf8.h"

#include <errno.h>
#include <utf8proc.h>

#define MAX_DEPTH 16

/* ---- reading ---- */

int pattern_read(struct pattern **out, const json_t *o, struct error *e)
{
    const json_t *pattern = json_object_get(o, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex"), *literal = json_object_get(pattern, "String");
    if (json_is_string(regex))
        return pattern_compile(out, json_string_value(regex), json_string_length(regex), PATTERN_ONIGURUMA, e);
    if (json_is_string(literal))
        return pattern_literal(out, json_string_value(literal), json_string_length(literal), e);
    return error_set(e, EINVAL, "\"pattern\" is neither {\"String\": ...} nor {\"Regex\": ...}");
}

int normalizer_add(struct normalizer *n, enum normalizer_kind kind, struct normalizer_step **step, struct error *e)
{
    struct normalizer_step *steps = array_grow(n->step, sizeof *steps, &n->capacity, n->count + 1);
    if (!steps) return error_set(e, ENOMEM, "no memory for a normalizer");
    n->step = steps;
    *step = &n->step[n->count++];
    **step = (struct normalizer_step){.kind = kind};
    return 0;
}

static int read_strip(struct normalizer_step *s, const json_t *o, struct error *e)
{
    int rc = json_get_bool(o, "strip_left", true, &s->left, e);
    return rc != 0 ? rc : json_get_bool(o, "strip_right", true, &s->right, e);
}

static int read_content(struct normalizer_step *s, const json_t *o, const char *key, struct error *e)
{
    const char *text;
    size_t bytes;
    int rc = json_need_text(o, key, &text, &bytes, e);
    if (rc != 0) return rc;
    buffer_append(&s->content, text, bytes);
    return s->content.failed ? error_set(e, ENOMEM, "no memory for a normalizer") : 0;
}

static int read_replace(struct normalizer_step *s, const json_t *o, struct error *e)
{
    int rc = read_content(s, o, "content", e);
    return rc != 0 ? rc : pattern_read(&s->pattern, o, e);
}

static int read_charsmap(struct normalizer_step *s, const json_t *o, struct error *e)
{
    const char *text;
    size_t bytes;
    struct buffer data = {0};
    int rc = json_need_text(o, "precompiled_charsmap", &text, &bytes, e);
    if (rc != 0) return rc;
    if (base64_decode(&data, text, bytes))
        rc = charsmap_read(&s->charsmap, data.data, data.bytes, e);
    else
        rc = error_set(e, EINVAL, "\"precompiled_charsmap\" is not base64");
    buffer_free(&data);
    return rc;
}

static int read_bert(struct normalizer *n, const json_t *o, struct error *e)
{
    bool clean, chinese, lower, accents;
    struct normalizer_step *s;
    int rc = json_get_bool(o, "clean_text", true, &clean, e);
    rc = rc != 0 ? rc : json_get_bool(o, "handle_chinese_chars", true, &chinese, e);
    rc = rc != 0 ? rc : json_get_bool(o, "lowercase", true, &lower, e);
    rc = rc != 0 ? rc : json_get_bool(o, "strip_accents", lower, &accents, e);
    if (rc == 0 && clean) rc = normalizer_add(n, NORMALIZER_BERT_CLEAN, &s, e);
    if (rc == 0 && chinese) rc = normalizer_add(n, NORMALIZER_BERT_CHINESE, &s, e);
    if (rc == 0 && accents) rc = normalizer_add(n, NORMALIZER_NFD, &s, e);
    if (rc == 0 && accents) rc = normalizer_add(n, NORMALIZER_STRIP_NONSPACING, &s, e);
    if (rc == 0 && lower) rc = normalizer_add(n, NORMALIZER_LOWERCASE, &s, e);
    return rc;
}

static int read_step(struct normalizer *n, const json_t *o, const char *type, struct error *e)
{
    static const struct {
        const char *name;
        enum normalizer_kind kind;
    } kinds[] = {
        {"NFC", NORMALIZER_NFC},
        {"NFD", NORMALIZER_NFD},
        {"NFKC", NORMALIZER_NFKC},
        {"NFKD", NORMALIZER_NFKD},
        {"Lowercase", NORMALIZER_LOWERCASE},
        {"Strip", NORMALIZER_STRIP},
        {"StripAccents", NORMALIZER_STRIP_ACCENTS},
        {"Prepend", NORMALIZER_PREPEND},
        {"Replace", NORMALIZER_REPLACE},
        {"Nmt", NORMALIZER_NMT},
        {"ByteLevel", NORMALIZER_BYTE_LEVEL},
        {"Precompiled", NORMALIZER_CHARSMAP},
    };
    size_t i = 0, count = sizeof kinds / sizeof *kinds;
    while (i < count && strcmp(kinds[i].name, type)) i++;
    if (i == count) return error_set(e, ENOTSUP, "the normalizer \"%s\" is not known", type);
    struct normalizer_step *s;
    int rc = normalizer_add(n, kinds[i].kind, &s, e);
    if (rc != 0) return rc;
    switch (s->kind) {
    case NORMALIZER_STRIP: return read_strip(s, o, e);
    case NORMALIZER_PREPEND: return read_content(s, o, "prepend", e);
    case NORMALIZER_REPLACE: return read_replace(s, o, e);
    case NORMALIZER_CHARSMAP: return read_charsmap(s, o, e);
    default: return 0;
    }
}

static int read_any(struct normalizer *n, const json_t *o, int depth, struct error *e)
{
    if (!o || json_is_null(o)) return 0;
    const char *type = json_type_name(o);
    if (!strcmp(type, "BertNormalizer")) return read_bert(n, o, e);
    if (strcmp(type, "Sequence")) return read_step(n, o, type, e);
    const json_t *list = json_object_get(o, "normalizers"), *part;
    if (!json_is_array(list) || depth == MAX_DEPTH)
        return error_set(e, EINVAL, "a sequence of normalizers without its \"normalizers\", or nested too deeply");
    size_t i;
    json_array_foreach(list, i, part)
    {
        int rc = read_any(n, part, depth + 1, e);
        if (rc != 0) return rc;
    }
    return 0;
}

int normalizer_read(struct normalizer *n, const json_t *o, struct error *e)
{
    return read_any(n, o, 0, e);
}

void normalizer_free(struct normalizer *n)
{
    for (size_t i = 0; i < n->count; i++) {
        pattern_free(n->step[i].pattern);
        buffer_free(&n->step[i].content);
        charsmap_free(&n->step[i].charsmap);
    }
    free(n->step);
    *n = (struct normalizer){0};
}

/* ---- applying ---- */

/* Everything below this code point is in all four normal forms (below U+0080) or in NFC (below U+0300) already. */
static bool all_below(const char *s, size_t bytes, uint32_t limit)
{
    unsigned char lead = limit == 0x80 ? 0x80 : 0xCC; /* 0xCC 0x80 is U+0300 */
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)s[i] >= lead) return false;
    }
    return true;
}

static int normal_form(const struct normalizer_step *s, struct buffer *text, struct error *e)
{
    if (all_below(text->data, text->bytes, s->kind == NORMALIZER_NFC ? 0x300 : 0x80)) return 0;
    int options = UTF8PROC_STABLE;
    options |= s->kind == NORMALIZER_NFC || s->kind == NORMALIZER_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    options |= s->kind == NORMALIZER_NFKC || s->kind == NORMALIZER_NFKD ? UTF8PROC_COMPAT : 0;
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text->data, (utf8proc_ssize_t)text->bytes, &mapped,
                                      (utf8proc_option_t)options);
    if (n < 0) return error_set(e, ENOMEM, "the normal form fails: %s", utf8proc_errmsg(n));
    text->bytes = 0;
    buffer_append(text, (const char *)mapped, (size_t)n);
    free(mapped);
    return 0;
}

static void append_char(struct buffer *out, uint32_t c)
{
    char utf8[4];
    buffer_append(out, utf8, utf8_encode(c, utf8));
}

static void strip(const struct normalizer_step *s, struct buffer *text, bool *cut)
{
    size_t start = 0, end = text->bytes, n;
    while (s->left && start < end && utf8_is_space(utf8_decode(text->data + start, &n))) start += n;
    while (s->right && end > start && utf8_is_space(utf8_decode(text->data + utf8_previous(text->data, end), &n)))
        end -= n;
    *cut |= start > 0;
    text->bytes = end;
    buffer_drop(text, start);
}

static int replace(const struct normalizer_step *s, struct pattern_match *m, const struct buffer *text,
                   struct buffer *out, struct error *e)
{
    struct pattern_walk w = {0};
    size_t from = 0;
    int rc;
    while ((rc = pattern_next(s->pattern, m, text->data, text->bytes, &w, e)) > 0) {
        buffer_append(out, text->data + from, w.start - from);
        buffer_append(out, s->content.data, s->content.bytes);
        from = w.end;
    }
    buffer_append(out, text->data + from, text->bytes - from);
    return rc;
}

/* NFKC's companion in SentencePiece's "nmt" rules: controls go, odd spaces become spaces. */
static void nmt(uint32_t c, struct buffer *out)
{
    if ((c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) return;
    bool space = c == 9 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                 c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
    append_char(out, space ? ' ' : c);
}

static void bert_clean(uint32_t c, struct buffer *out)
{
    bool kept_control = c == '\t' || c == '\n' || c == '\r';
    if (c == 0 || c == 0xFFFD || (!kept_control && utf8_is_other(c))) return;
    append_char(out, utf8_is_space(c) ? ' ' : c);
}

static void bert_chinese(uint32_t c, struct buffer *out)
{
    bool ideograph = (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
                     (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) ||
                     (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
    if (ideograph) buffer_append_byte(out, ' ');
    append_char(out, c);
    if (ideograph) buffer_append_byte(out, ' ');
}

/* Rust's char::to_lowercase: the one letter that becomes two is İ. */
static void lowercase(uint32_t c, struct buffer *out)
{
    append_char(out, c == 0x130 ? 'i' : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
    if (c == 0x130) append_char(out, 0x307);
}

static void each_char(enum normalizer_kind kind, const struct buffer *text, struct buffer *out)
{
    for (size_t at = 0, n; at < text->bytes; at += n) {
        uint32_t c = utf8_decode(text->data + at, &n);
        switch (kind) {
        case NORMALIZER_LOWERCASE: lowercase(c, out); break;
        case NORMALIZER_NMT: nmt(c, out); break;
        case NORMALIZER_BERT_CLEAN: bert_clean(c, out); break;
        case NORMALIZER_BERT_CHINESE: bert_chinese(c, out); break;
        case NORMALIZER_STRIP_ACCENTS:
            if (!utf8_is_mark(c)) append_char(out, c);
            break;
        default:
            if (!utf8_is_nonspacing(c)) append_char(out, c);
        }
    }
}

static int apply_step(const struct normalizer_step *s, struct pattern_match *m, struct buffer *text,
                      struct buffer *spare, bool *cut, struct error *e)
{
    int rc = 0;
    spare->bytes = 0;
    switch (s->kind) {
    case NORMALIZER_NFC:
    case NORMALIZER_NFD:
    case NORMALIZER_NFKC:
    case NORMALIZER_NFKD: return normal_form(s, text, e);
    case NORMALIZER_STRIP: strip(s, text, cut); return 0;
    case NORMALIZER_PREPEND: buffer_insert(text, 0, s->content.data, text->bytes ? s->content.bytes : 0); return 0;
    case NORMALIZER_REPLACE: rc = replace(s, m, text, spare, e); break;
    case NORMALIZER_BYTE_LEVEL: byte_level_append(spare, text->data, text->bytes); break;
    case NORMALIZER_CHARSMAP: charsmap_apply(&s->charsmap, text->data, text->bytes, spare); break;
    default: each_char(s->kind, text, spare);
    }
    buffer_swap(text, spare);
    return rc;
}

int normalizer_apply(const struct normalizer *n, struct pattern_match *m, struct buffer *text, struct buffer *spare,
                     bool *cut, struct error *e)
{
    for (size_t i = 0; i < n->count && text->bytes; i++) {
        int rc = apply_step(&n->step[i], m, text, spare, cut, e);
        if (rc != 0) return rc;
    }
    return text->failed || spare->failed ? error_set(e, ENOMEM, "no memory to normalize the text") : 0;
}

/* Pre-tokenizers as tokenizer.json writes them. */
#include "coordinator/tokenizer/json.h"
#include "coordinator/tokenizer/pretokenize.h"
#include "coordinator/text/utf8.h"

#include <errno.h>

#define MAX_DEPTH 16

/* GPT-2's (encoder.py), which ByteLevel brings along. */
const char pretokenizer_gpt2_regex[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

int pretokenizer_add(struct pretokenizer *p, enum pretokenizer_kind kind, struct pretokenizer_step **step,
                     struct error *e)
{
    struct pretokenizer_step *steps = array_grow(p->step, sizeof *steps, &p->capacity, p->count + 1);
    if (!steps) return error_set(e, ENOMEM, "no memory for a pre-tokenizer");
    p->step = steps;
    *step = &p->step[p->count++];
    **step = (struct pretokenizer_step){.kind = kind, .behavior = SPLIT_ISOLATED};
    return 0;
}

static int read_behavior(struct pretokenizer_step *s, const json_t *o, struct error *e)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name;
    size_t bytes;
    int rc = json_get_text(o, "behavior", &name, &bytes, e);
    if (rc != 0 || !name) return rc;
    for (size_t i = 0; i < 5; i++) {
        if (!strcmp(name, names[i])) {
            s->behavior = (enum split_behavior)i;
            return 0;
        }
    }
    return error_set(e, ENOTSUP, "the split behavior \"%s\" is not known", name);
}

static int read_split(struct pretokenizer_step *s, const json_t *o, struct error *e)
{
    int rc = read_behavior(s, o, e);
    rc = rc != 0 ? rc : json_get_bool(o, "invert", false, &s->invert, e);
    return rc != 0 ? rc : pattern_read(&s->pattern, o, e);
}

static int read_digits(struct pretokenizer_step *s, const json_t *o, struct error *e)
{
    bool individual;
    int rc = json_get_bool(o, "individual_digits", false, &individual, e);
    s->behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    return rc;
}

static int read_byte_level(struct pretokenizer_step *s, const json_t *o, struct error *e)
{
    bool regex;
    int rc = json_get_bool(o, "add_prefix_space", true, &s->prefix_space, e);
    rc = rc != 0 ? rc : json_get_bool(o, "use_regex", true, &regex, e);
    return rc != 0 || !regex ? rc
                             : pattern_compile(&s->pattern, pretokenizer_gpt2_regex, sizeof pretokenizer_gpt2_regex - 1,
                                               PATTERN_ONIGURUMA, e);
}

static int read_delimiter(struct pretokenizer_step *s, const json_t *o, struct error *e)
{
    const char *text;
    size_t bytes;
    int rc = json_need_text(o, "delimiter", &text, &bytes, e);
    if (rc != 0) return rc;
    if (bytes == 0 || utf8_char_bytes(text[0]) != bytes)
        return error_set(e, EINVAL, "\"delimiter\" is not one character");
    s->behavior = SPLIT_REMOVED;
    return pattern_literal(&s->pattern, text, bytes, e);
}

int pretokenizer_metaspace_read(struct pretokenizer_step *s, const json_t *o, struct error *e)
{
    const char *mark, *scheme;
    size_t bytes, scheme_bytes;
    bool prefix;
    int rc = json_need_text(o, "replacement", &mark, &bytes, e);
    rc = rc != 0 ? rc : json_get_text(o, "prepend_scheme", &scheme, &scheme_bytes, e);
    rc = rc != 0 ? rc : json_get_bool(o, "add_prefix_space", true, &prefix, e);
    rc = rc != 0 ? rc : json_get_bool(o, "split", true, &s->split, e);
    if (rc != 0) return rc;
    if (bytes == 0 || utf8_char_bytes(mark[0]) != bytes)
        return error_set(e, EINVAL, "\"replacement\" is not one character");
    memcpy(s->replacement, mark, bytes);
    s->replacement_bytes = bytes;
    if (!scheme) /* files from before there were schemes */
        s->prepend = prefix ? PREPEND_ALWAYS : PREPEND_NEVER;
    else if (!strcmp(scheme, "always"))
        s->prepend = PREPEND_ALWAYS;
    else if (!strcmp(scheme, "first"))
        s->prepend = PREPEND_FIRST;
    else if (!strcmp(scheme, "never"))
        s->prepend = PREPEND_NEVER;
    else
        return error_set(e, ENOTSUP, "the prepend_scheme \"%s\" is not known", scheme);
    if (scheme && !prefix && s->prepend != PREPEND_NEVER)
        return error_set(e, EINVAL, "add_prefix_space is false, but prepend_scheme is \"%s\"", scheme);
    return 0;
}

static int read_length(struct pretokenizer_step *s, const json_t *o, struct error *e)
{
    const json_t *length = json_object_get(o, "length");
    s->length = length ? (size_t)json_integer_value(length) : 5;
    return json_integer_value(length) > 0 || !length ? 0 : error_set(e, EINVAL, "\"length\" is not a positive number");
}

static int read_bert(struct pretokenizer *p, struct error *e)
{
    struct pretokenizer_step *s;
    int rc = pretokenizer_add(p, PRETOKENIZER_SPACES, &s, e);
    if (rc != 0) return rc;
    s->behavior = SPLIT_REMOVED;
    return pretokenizer_add(p, PRETOKENIZER_PUNCTUATION, &s, e);
}

static int read_step(struct pretokenizer *p, const json_t *o, const char *type, struct error *e)
{
    static const struct {
        const char *name;
        enum pretokenizer_kind kind;
        int (*read)(struct pretokenizer_step *, const json_t *, struct error *);
    } kinds[] = {
        {"Split", PRETOKENIZER_SPLIT, read_split},
        {"ByteLevel", PRETOKENIZER_BYTE_LEVEL, read_byte_level},
        {"Metaspace", PRETOKENIZER_METASPACE, pretokenizer_metaspace_read},
        {"Digits", PRETOKENIZER_DIGITS, read_digits},
        {"Punctuation", PRETOKENIZER_PUNCTUATION, read_behavior},
        {"WhitespaceSplit", PRETOKENIZER_SPACES, NULL},
        {"Whitespace", PRETOKENIZER_WHITESPACE, NULL},
        {"CharDelimiterSplit", PRETOKENIZER_SPLIT, read_delimiter},
        {"FixedLength", PRETOKENIZER_FIXED_LENGTH, read_length},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(type, kinds[i].name)) continue;
        struct pretokenizer_step *s;
        int rc = pretokenizer_add(p, kinds[i].kind, &s, e);
        if (rc != 0) return rc;
        if (s->kind == PRETOKENIZER_SPACES) s->behavior = SPLIT_REMOVED;
        return kinds[i].read ? kinds[i].read(s, o, e) : 0;
    }
    return error_set(e, ENOTSUP, "the pre-tokenizer \"%s\" is not known", type);
}

static int read_any(struct pretokenizer *p, const json_t *o, int depth, struct error *e)
{
    if (!o || json_is_null(o)) return 0;
    const char *type = json_type_name(o);
    if (!strcmp(type, "BertPreTokenizer")) return read_bert(p, e);
    if (strcmp(type, "Sequence")) return read_step(p, o, type, e);
    const json_t *list = json_object_get(o, "pretokenizers"), *part;
    if (!json_is_array(list) || depth == MAX_DEPTH)
        return error_set(e, EINVAL, "a sequence of pre-tokenizers without its \"pretokenizers\", or nested too deeply");
    size_t i;
    json_array_foreach(list, i, part)
    {
        int rc = read_any(p, part, depth + 1, e);
        if (rc != 0) return rc;
    }
    return 0;
}

int pretokenizer_read(struct pretokenizer *p, const json_t *o, struct error *e)
{
    return read_any(p, o, 0, e);
}

void pretokenizer_free(struct pretokenizer *p)
{
    for (size_t i = 0; i < p->count; i++) pattern_free(p->step[i].pattern);
    free(p->step);
    *p = (struct pretokenizer){0};
}

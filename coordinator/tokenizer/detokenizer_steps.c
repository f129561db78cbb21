#include "coordinator/tokenizer/detokenizer_steps.h"

#include "coordinator/tokenizer/json.h"
#include "coordinator/text/utf8.h"

#include <errno.h>

#define MAX_DEPTH 16

int decoder_add(struct decoder *d, enum decoder_kind kind, struct decoder_step **step, struct error *e)
{
    struct decoder_step *steps = array_grow(d->step, sizeof *steps, &d->capacity, d->count + 1);
    if (!steps) return error_set(e, ENOMEM, "no memory for a decoder");
    d->step = steps;
    *step = &d->step[d->count++];
    **step = (struct decoder_step){.kind = kind};
    d->present = true;
    return 0;
}

static int read_text(struct buffer *out, const json_t *o, const char *key, const char *otherwise, struct error *e)
{
    const char *text = NULL;
    size_t bytes = 0;
    int rc = otherwise ? json_get_text(o, key, &text, &bytes, e) : json_need_text(o, key, &text, &bytes, e);
    if (rc != 0) return rc;
    if (!text) {
        text = otherwise ? otherwise : "";
        bytes = strlen(text);
    }
    buffer_append(out, text, bytes);
    return out->failed ? error_set(e, ENOMEM, "no memory for a decoder") : 0;
}

static int read_strip(struct decoder_step *s, const json_t *o, struct error *e)
{
    const json_t *start = json_object_get(o, "start"), *stop = json_object_get(o, "stop");
    int rc = read_text(&s->content, o, "content", NULL, e);
    if (rc != 0) return rc;
    if (s->content.bytes == 0 || utf8_char_bytes(s->content.data[0]) != s->content.bytes)
        return error_set(e, EINVAL, "\"content\" of Strip is not one character");
    if (!json_is_integer(start) || !json_is_integer(stop) || json_integer_value(start) < 0 ||
        json_integer_value(stop) < 0)
        return error_set(e, EINVAL, "\"start\" or \"stop\" of Strip is not a number of characters");
    s->start = (size_t)json_integer_value(start);
    s->stop = (size_t)json_integer_value(stop);
    return 0;
}

static int read_replace(struct decoder_step *s, const json_t *o, struct error *e)
{
    const json_t *literal = json_object_get(json_object_get(o, "pattern"), "String");
    int rc = read_text(&s->content, o, "content", NULL, e);
    if (rc == 0 && json_is_string(literal))
        buffer_append(&s->literal, json_string_value(literal), json_string_length(literal));
    return rc != 0 ? rc : pattern_read(&s->pattern, o, e);
}

static int read_wordpiece(struct decoder_step *s, const json_t *o, struct error *e)
{
    int rc = read_text(&s->content, o, "prefix", "##", e);
    return rc != 0 ? rc : json_get_bool(o, "cleanup", true, &s->cleanup, e);
}

static int read_bpe(struct decoder_step *s, const json_t *o, struct error *e)
{
    return read_text(&s->content, o, "suffix", "</w>", e);
}

static int read_metaspace(struct decoder_step *s, const json_t *o, struct error *e)
{
    return pretokenizer_metaspace_read(&s->space, o, e);
}

static int read_step(struct decoder *d, const json_t *o, const char *type, struct error *e)
{
    static const struct {
        const char *name;
        enum decoder_kind kind;
        int (*read)(struct decoder_step *, const json_t *, struct error *);
    } kinds[] = {
        {"ByteLevel", DECODER_BYTE_LEVEL, NULL},
        {"ByteFallback", DECODER_BYTE_FALLBACK, NULL},
        {"Fuse", DECODER_FUSE, NULL},
        {"Strip", DECODER_STRIP, read_strip},
        {"Replace", DECODER_REPLACE, read_replace},
        {"Metaspace", DECODER_METASPACE, read_metaspace},
        {"WordPiece", DECODER_WORDPIECE, read_wordpiece},
        {"BPEDecoder", DECODER_BPE, read_bpe},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(type, kinds[i].name)) continue;
        struct decoder_step *s = NULL;
        int rc = decoder_add(d, kinds[i].kind, &s, e);
        return rc != 0 || !kinds[i].read ? rc : kinds[i].read(s, o, e);
    }
    return error_set(e, ENOTSUP, "the decoder \"%s\" is not known", type);
}

static int read_any(struct decoder *d, const json_t *o, int depth, struct error *e)
{
    if (!o || json_is_null(o)) return 0;
    const char *type = json_type_name(o);
    if (strcmp(type, "Sequence")) return read_step(d, o, type, e);
    const json_t *list = json_object_get(o, "decoders"), *part;
    if (!json_is_array(list) || depth == MAX_DEPTH)
        return error_set(e, EINVAL, "a sequence of decoders without its \"decoders\", or nested too deeply");
    d->present = true;
    size_t i;
    json_array_foreach(list, i, part)
    {
        int rc = read_any(d, part, depth + 1, e);
        if (rc != 0) return rc;
    }
    return 0;
}

int decoder_read(struct decoder *d, const json_t *o, struct error *e)
{
    return read_any(d, o, 0, e);
}

void decoder_free(struct decoder *d)
{
    for (size_t i = 0; i < d->count; i++) {
        buffer_free(&d->step[i].content);
        buffer_free(&d->step[i].literal);
        pattern_free(d->step[i].pattern);
    }
    free(d->step);
    *d = (struct decoder){0};
}

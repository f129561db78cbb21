/* The decoders run as a chain of stages. Up to the first that makes one text of all tokens (ByteLevel, Fuse), stages pass
 * whole tokens on; behind it, parts of that one endless token. A stage holds back what a later part may still change. */
#include "coordinator/tokenizer/detokenizer.h"

#include "coordinator/tokenizer/parts.h"
#include "coordinator/text/utf8.h"

#include <errno.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

struct stage {
    const struct decoder_step *step; /* NULL: the last stage, which gathers the output */
    bool whole;                      /* takes parts of one endless token */
    struct buffer held;              /* what waits */
    struct buffer made;              /* a token in the making */
    size_t tokens;                   /* so many came so far */
    size_t cut;                      /* STRIP: so many characters are off the start */
    bool started;                    /* STRIP: the start is passed */
};

struct detokenizer {
    const struct tokenizer *t;
    bool skip_special;
    const uint32_t *spoken; /* special tokens that are text all the same */
    size_t spoken_count;
    struct stage *stage;
    size_t stages;
    struct buffer out, spare;
    struct pattern_match *match;
    int failed; /* -errno of a pattern that gave up */
};

static void pass(struct detokenizer *d, struct stage *s, const char *text, size_t bytes);

/* ---- single tokens ---- */

static void replace_all(struct buffer *text, struct buffer *spare, const char *what, const char *with)
{
    size_t bytes = strlen(what), from = 0;
    const char *hit;
    spare->bytes = 0;
    while (text->bytes - from >= bytes && (hit = memmem(text->data + from, text->bytes - from, what, bytes)) != NULL) {
        buffer_append(spare, text->data + from, (size_t)(hit - text->data) - from);
        buffer_append_text(spare, with);
        from = (size_t)(hit - text->data) + bytes;
    }
    if (from == 0) return;
    buffer_append(spare, text->data + from, text->bytes - from);
    buffer_swap(text, spare);
}

/* transformers' clean_up_tokenization: the spaces that BERT's words leave before punctuation. */
static void clean_up(struct buffer *text, struct buffer *spare)
{
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) replace_all(text, spare, pairs[i][0], pairs[i][1]);
}

static void wordpiece(struct detokenizer *d, struct stage *s, const char *text, size_t bytes)
{
    const struct buffer *prefix = &s->step->content;
    bool continues = bytes >= prefix->bytes && memcmp(text, prefix->data ? prefix->data : "", prefix->bytes) == 0;
    s->made.bytes = 0;
    if (s->tokens > 0 && continues) {
        text += prefix->bytes;
        bytes -= prefix->bytes;
    } else if (s->tokens > 0) {
        buffer_append_byte(&s->made, ' ');
    }
    buffer_append(&s->made, text, bytes);
    if (s->step->cleanup) clean_up(&s->made, &d->spare);
}

static void metaspace(struct stage *s, const char *text, size_t bytes)
{
    const struct pretokenizer_step *space = &s->step->space;
    bool first = s->whole || s->tokens == 0;
    s->made.bytes = 0;
    for (size_t at = 0, n; at < bytes; at += n) {
        n = utf8_char_bytes(text[at]);
        if (n != space->replacement_bytes || memcmp(text + at, space->replacement, n) != 0)
            buffer_append(&s->made, text + at, n);
        else if (!first || space->prepend == PREPEND_NEVER)
            buffer_append_byte(&s->made, ' ');
    }
}

static void replace_pattern(struct detokenizer *d, struct stage *s, const char *text, size_t bytes)
{
    struct pattern_walk w = {0};
    size_t from = 0;
    int rc;
    s->made.bytes = 0;
    while ((rc = pattern_next(s->step->pattern, d->match, text, bytes, &w, NULL)) > 0) {
        buffer_append(&s->made, text + from, w.start - from);
        buffer_append(&s->made, s->step->content.data, s->step->content.bytes);
        from = w.end;
    }
    buffer_append(&s->made, text + from, bytes - from);
    if (rc < 0) d->failed = rc;
}

static bool is_content(const struct stage *s, const char *text)
{
    return utf8_char_bytes(text[0]) == s->step->content.bytes &&
           memcmp(text, s->step->content.data, s->step->content.bytes) == 0;
}

/* Up to `start` characters at the front: returns where the rest begins. */
static size_t strip_start(const struct stage *s, const char *text, size_t bytes, size_t most)
{
    size_t at = 0;
    for (size_t i = 0; i < most && at < bytes && is_content(s, text + at); i++) at += s->step->content.bytes;
    return at;
}

static size_t strip_stop(const struct stage *s, const char *text, size_t start, size_t bytes)
{
    for (size_t i = 0; i < s->step->stop && bytes > start; i++) {
        size_t last = utf8_previous(text, bytes);
        if (!is_content(s, text + last)) break;
        bytes = last;
    }
    return bytes;
}

/* The byte that "<0xNN>" names, or -1. A sign before one digit counts too, as in Rust's from_str_radix. */
static int named_byte(const char *text, size_t bytes)
{
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int v = 0;
    for (int i = 3; i < 5; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0 && !(i == 3 && c == '+')) return -1;
        v = v * 16 + (digit < 0 ? 0 : digit);
    }
    return v;
}

/* A run of named bytes is over: one token if it is UTF-8, else a U+FFFD for each byte. */
static void pass_bytes(struct detokenizer *d, struct stage *s)
{
    size_t n = s->held.bytes;
    if (n == 0) return;
    s->held.bytes = 0;
    if (utf8_valid_bytes(s->held.data, n) == n) {
        pass(d, s, s->held.data, n);
        return;
    }
    for (size_t i = 0; i < n; i++) pass(d, s, replacement, 3);
}

/* BPEDecoder: all tokens but the last get a space for their suffix. */
static void pass_suffixed(struct detokenizer *d, struct stage *s, const char *with)
{
    struct buffer text = s->held;
    s->held = (struct buffer){0};
    s->made.bytes = 0;
    size_t bytes = s->step->content.bytes, from = 0;
    const char *what = s->step->content.data, *hit;
    while (bytes && text.bytes - from >= bytes &&
           (hit = memmem(text.data + from, text.bytes - from, what, bytes)) != NULL) {
        buffer_append(&s->made, text.data + from, (size_t)(hit - text.data) - from);
        buffer_append_text(&s->made, with);
        from = (size_t)(hit - text.data) + bytes;
    }
    if (text.bytes > from) buffer_append(&s->made, text.data + from, text.bytes - from);
    buffer_free(&text);
    pass(d, s, s->made.data, s->made.bytes);
}

/* ---- ByteLevel ---- */

/* The bytes of a token, or the token itself if one of its characters stands for no byte. */
static void append_bytes(struct buffer *to, const char *text, size_t bytes)
{
    size_t before = to->bytes;
    for (size_t at = 0, n; at < bytes; at += n) {
        int byte = byte_level_byte(utf8_decode(text + at, &n));
        if (byte < 0) {
            to->bytes = before;
            buffer_append(to, text, bytes);
            return;
        }
        buffer_append_byte(to, (char)byte);
    }
}

/* Gives out what is held, U+FFFD for what is no UTF-8; unless it is the end, a character cut off at the end stays. */
static void pass_lossy(struct detokenizer *d, struct stage *s, bool end)
{
    size_t from = 0;
    s->made.bytes = 0;
    while (from < s->held.bytes) {
        bool incomplete;
        size_t valid = utf8_valid_bytes(s->held.data + from, s->held.bytes - from);
        buffer_append(&s->made, s->held.data + from, valid);
        from += valid;
        if (from == s->held.bytes) break;
        size_t broken = utf8_broken_bytes(s->held.data + from, s->held.bytes - from, &incomplete);
        if (incomplete && !end) break;
        buffer_append(&s->made, replacement, 3);
        from += broken;
    }
    buffer_drop(&s->held, from);
    pass(d, s, s->made.data, s->made.bytes);
}

/* ---- stages ---- */

static void take_token(struct detokenizer *d, struct stage *s, const char *text, size_t bytes)
{
    size_t start;
    int byte;
    switch (s->step->kind) {
    case DECODER_BYTE_LEVEL:
        append_bytes(&s->held, text, bytes);
        if (s->held.bytes) pass_lossy(d, s, false);
        break;
    case DECODER_BYTE_FALLBACK:
        byte = named_byte(text, bytes);
        if (byte >= 0) {
            buffer_append_byte(&s->held, (char)byte);
        } else {
            pass_bytes(d, s);
            pass(d, s, text, bytes);
        }
        break;
    case DECODER_FUSE: pass(d, s, text, bytes); break;
    case DECODER_STRIP:
        start = strip_start(s, text, bytes, s->step->start);
        pass(d, s, text + start, strip_stop(s, text, start, bytes) - start);
        break;
    case DECODER_REPLACE:
        replace_pattern(d, s, text, bytes);
        pass(d, s, s->made.data, s->made.bytes);
        break;
    case DECODER_METASPACE:
        metaspace(s, text, bytes);
        pass(d, s, s->made.data, s->made.bytes);
        break;
    case DECODER_WORDPIECE:
        wordpiece(d, s, text, bytes);
        pass(d, s, s->made.data, s->made.bytes);
        break;
    case DECODER_BPE:
        if (s->tokens) pass_suffixed(d, s, " ");
        buffer_append(&s->held, text, bytes);
        break;
    }
    s->tokens++;
}

/* STRIP of an endless token: the start once, and always as many characters held back as may be the end. */
static void strip_part(struct detokenizer *d, struct stage *s, const char *text, size_t bytes)
{
    size_t skip = 0;
    if (!s->started) {
        skip = strip_start(s, text, bytes, s->step->start - s->cut);
        s->cut += skip / s->step->content.bytes;
        s->started = skip < bytes || s->cut == s->step->start;
    }
    buffer_append(&s->held, text + skip, bytes - skip);
    size_t keep = s->held.bytes;
    for (size_t i = 0; i < s->step->stop && keep > 0; i++) keep = utf8_previous(s->held.data, keep);
    s->made.bytes = 0;
    buffer_append(&s->made, s->held.data, keep);
    buffer_drop(&s->held, keep);
    pass(d, s, s->made.data, s->made.bytes);
}

/* REPLACE of a string in an endless token: what may be the beginning of that string waits. */
static void replace_part(struct detokenizer *d, struct stage *s, const char *text, size_t bytes, bool end)
{
    const struct buffer *what = &s->step->literal;
    size_t from = 0;
    const char *hit;
    buffer_append(&s->held, text, bytes);
    s->made.bytes = 0;
    while (s->held.bytes - from >= what->bytes &&
           (hit = memmem(s->held.data + from, s->held.bytes - from, what->data, what->bytes))) {
        buffer_append(&s->made, s->held.data + from, (size_t)(hit - s->held.data) - from);
        buffer_append(&s->made, s->step->content.data, s->step->content.bytes);
        from = (size_t)(hit - s->held.data) + what->bytes;
    }
    size_t wait = end ? 0 : what->bytes - 1, rest = s->held.bytes - from;
    wait = wait < rest ? wait : rest;
    while (wait > 0 && memcmp(s->held.data + s->held.bytes - wait, what->data, wait) != 0) wait--;
    if (rest > wait) buffer_append(&s->made, s->held.data + from, rest - wait);
    buffer_drop(&s->held, s->held.bytes - wait);
    pass(d, s, s->made.data, s->made.bytes);
}

static void take_part(struct detokenizer *d, struct stage *s, const char *text, size_t bytes)
{
    switch (s->step->kind) {
    case DECODER_FUSE: pass(d, s, text, bytes); break;
    case DECODER_STRIP: strip_part(d, s, text, bytes); break;
    case DECODER_METASPACE:
        metaspace(s, text, bytes);
        pass(d, s, s->made.data, s->made.bytes);
        break;
    case DECODER_REPLACE:
        if (s->step->literal.bytes) {
            replace_part(d, s, text, bytes, false);
            break;
        }
        __attribute__((fallthrough));
    default: /* these look at the token as a whole: it waits for its end */ buffer_append(&s->held, text, bytes);
    }
}

/* What a stage makes goes to the next one. */
static void pass(struct detokenizer *d, struct stage *s, const char *text, size_t bytes)
{
    struct stage *next = s + 1;
    if (!next->step) {
        if (!d->t->decoder.present && next->tokens++ > 0) buffer_append_byte(&d->out, ' ');
        buffer_append(&d->out, text, bytes);
    } else if (!next->whole) {
        take_token(d, next, text ? text : "", bytes);
    } else if (bytes) {
        take_part(d, next, text, bytes);
    }
}

static void finish_whole(struct detokenizer *d, struct stage *s)
{
    struct buffer text = s->held;
    s->held = (struct buffer){0};
    switch (s->step->kind) {
    case DECODER_STRIP: pass(d, s, text.data, strip_stop(s, text.data, 0, text.bytes)); break;
    case DECODER_REPLACE:
        if (s->step->literal.bytes) {
            replace_part(d, s, text.data, text.bytes, true);
            break;
        }
        __attribute__((fallthrough));
    default:
        if (text.bytes) {
            take_token(d, s, text.data, text.bytes);
            if (s->step->kind == DECODER_BYTE_LEVEL) pass_lossy(d, s, true);
            if (s->step->kind == DECODER_BYTE_FALLBACK) pass_bytes(d, s);
            if (s->step->kind == DECODER_BPE) pass_suffixed(d, s, "");
        }
    }
    buffer_free(&text);
}

static void finish_stage(struct detokenizer *d, struct stage *s)
{
    if (s->whole)
        finish_whole(d, s);
    else if (s->step->kind == DECODER_BYTE_LEVEL && s->held.bytes)
        pass_lossy(d, s, true);
    else if (s->step->kind == DECODER_BYTE_FALLBACK)
        pass_bytes(d, s);
    else if (s->step->kind == DECODER_BPE && s->tokens)
        pass_suffixed(d, s, "");
}

/* ---- from outside ---- */

int detokenizer_open(struct detokenizer **out, const struct tokenizer *t, bool skip_special, struct error *e)
{
    struct detokenizer *d = calloc(1, sizeof *d);
    size_t count = t->decoder.count;
    if (d) {
        *d = (struct detokenizer){.t = t, .skip_special = skip_special, .stages = count + 2};
        d->stage = calloc(d->stages, sizeof *d->stage); /* [0] is where tokens come from, the last gathers */
        d->match = pattern_match_new();
    }
    if (!d || !d->stage || !d->match) {
        detokenizer_close(d);
        return error_set(e, ENOMEM, "no memory to decode tokens");
    }
    bool whole = false;
    for (size_t i = 0; i < count; i++) {
        d->stage[i + 1].step = &t->decoder.step[i];
        d->stage[i + 1].whole = whole;
        whole |= t->decoder.step[i].kind == DECODER_BYTE_LEVEL || t->decoder.step[i].kind == DECODER_FUSE;
    }
    *out = d;
    return 0;
}

void detokenizer_close(struct detokenizer *d)
{
    if (!d) return;
    for (size_t i = 0; d->stage && i < d->stages; i++) {
        buffer_free(&d->stage[i].held);
        buffer_free(&d->stage[i].made);
    }
    free(d->stage);
    buffer_free(&d->out);
    buffer_free(&d->spare);
    pattern_match_free(d->match);
    free(d);
}

static bool out_of_memory(const struct detokenizer *d)
{
    bool failed = d->out.failed || d->spare.failed;
    for (size_t i = 0; i < d->stages; i++) failed |= d->stage[i].held.failed || d->stage[i].made.failed;
    return failed;
}

static int give_out(struct detokenizer *d, const char **text, size_t *bytes, struct error *e)
{
    *text = d->out.data ? d->out.data : "";
    *bytes = d->out.bytes;
    if (out_of_memory(d)) return error_set(e, ENOMEM, "no memory to decode tokens");
    return d->failed ? error_set(e, -d->failed, "a pattern of the decoder gives up on this text") : 0;
}

void detokenizer_speak(struct detokenizer *d, const uint32_t *id, size_t n)
{
    d->spoken = id;
    d->spoken_count = n;
}

static bool leaves_text(const struct detokenizer *d, uint32_t id)
{
    bool text = !d->skip_special || !tokenizer_is_special(d->t, id);
    for (size_t i = 0; i < d->spoken_count && !text; i++) text = d->spoken[i] == id;
    return text;
}

int detokenizer_push(struct detokenizer *d, uint32_t id, const char **text, size_t *bytes, struct error *e)
{
    size_t token_bytes;
    const char *token = tokenizer_token(d->t, id, &token_bytes);
    d->out.bytes = 0;
    if (token && leaves_text(d, id)) pass(d, &d->stage[0], token, token_bytes);
    return give_out(d, text, bytes, e);
}

int detokenizer_finish(struct detokenizer *d, const char **text, size_t *bytes)
{
    d->out.bytes = 0;
    for (size_t i = 1; i + 1 < d->stages; i++) finish_stage(d, &d->stage[i]);
    int rc = give_out(d, text, bytes, NULL);
    struct buffer keep = d->out; /* what was just given out stays */
    detokenizer_reset(d);
    d->out = keep;
    return rc;
}

void detokenizer_reset(struct detokenizer *d)
{
    for (size_t i = 0; i < d->stages; i++) {
        struct stage *s = &d->stage[i];
        s->held.bytes = s->made.bytes = s->tokens = s->cut = 0;
        s->started = false;
    }
    d->out.bytes = 0;
    d->failed = 0;
}

int detokenizer_all(const struct tokenizer *t, const uint32_t *id, size_t count, bool skip_special, struct buffer *out,
                    struct error *e)
{
    struct detokenizer *d;
    const char *text;
    size_t bytes;
    int rc = detokenizer_open(&d, t, skip_special, e);

    if (rc) return rc;
    for (size_t i = 0; i < count && !rc; i++)
        if (!(rc = detokenizer_push(d, id[i], &text, &bytes, e))) buffer_append(out, text, bytes);
    if (!rc && !(rc = detokenizer_finish(d, &text, &bytes))) buffer_append(out, text, bytes);
    detokenizer_close(d);
    return rc;
}

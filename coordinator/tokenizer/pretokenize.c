#include "coordinator/tokenizer/pretokenize.h"

#include "coordinator/tokenizer/json.h"
#include "coordinator/text/utf8.h"

#include <errno.h>

void pieces_push(struct pieces *p, size_t start, size_t end, bool first)
{
    if (start >= end) return;
    struct piece *grown = array_grow(p->piece, sizeof *grown, &p->capacity, p->count + 1);
    if (!grown) {
        p->failed = true;
        return;
    }
    p->piece = grown;
    p->piece[p->count++] = (struct piece){start, end - start, first};
}

void pieces_free(struct pieces *p)
{
    buffer_free(&p->text);
    free(p->piece);
    *p = (struct pieces){0};
}

/* ---- splitting by delimiters: matches and what lies between them come in order, whole ---- */

struct splitter {
    struct pieces *out;
    const struct piece *source;
    enum split_behavior behavior;
    bool held, previous_match; /* a range that may still grow */
    size_t start, end;
};

static void emit(struct splitter *s, size_t start, size_t end)
{
    pieces_push(s->out, s->source->start + start, s->source->start + end, s->source->first && start == 0);
}

static void hold(struct splitter *s, size_t start, size_t end)
{
    if (s->held) emit(s, s->start, s->end);
    s->start = start;
    s->end = end;
    s->held = true;
}

static void split_range(struct splitter *s, size_t start, size_t end, bool match)
{
    bool joins = false;
    switch (s->behavior) {
    case SPLIT_REMOVED:
        if (!match) emit(s, start, end);
        return;
    case SPLIT_ISOLATED: emit(s, start, end); return;
    case SPLIT_CONTIGUOUS: joins = match == s->previous_match; break;
    case SPLIT_MERGED_WITH_PREVIOUS: joins = match && !s->previous_match; break;
    case SPLIT_MERGED_WITH_NEXT: joins = !match && s->previous_match; break;
    }
    if (joins && s->held)
        s->end = end;
    else
        hold(s, start, end);
    s->previous_match = match;
}

static void split_end(struct splitter *s)
{
    if (s->held) emit(s, s->start, s->end);
}

static int split_by_pattern(const struct pattern *pattern, bool invert, enum split_behavior behavior,
                            struct pattern_match *m, const struct pieces *in, const struct piece *piece,
                            struct pieces *out, struct error *e)
{
    struct splitter s = {.out = out, .source = piece, .behavior = behavior};
    const char *text = in->text.data + piece->start;
    struct pattern_walk w = {0};
    size_t from = 0;
    int rc;
    while ((rc = pattern_next(pattern, m, text, piece->bytes, &w, e)) > 0) {
        if (w.start > from) split_range(&s, from, w.start, invert);
        split_range(&s, w.start, w.end, !invert);
        from = w.end;
    }
    if (from < piece->bytes) split_range(&s, from, piece->bytes, invert);
    split_end(&s);
    return rc;
}

static bool is_delimiter(enum pretokenizer_kind kind, uint32_t c)
{
    return kind == PRETOKENIZER_DIGITS   ? utf8_is_numeric(c)
           : kind == PRETOKENIZER_SPACES ? utf8_is_space(c)
                                         : utf8_is_punctuation(c);
}

static void split_by_class(const struct pretokenizer_step *step, const struct pieces *in, const struct piece *piece,
                           struct pieces *out)
{
    struct splitter s = {.out = out, .source = piece, .behavior = step->behavior};
    const char *text = in->text.data + piece->start;
    size_t from = 0;
    for (size_t at = 0, n; at < piece->bytes; at += n) {
        if (!is_delimiter(step->kind, utf8_decode(text + at, &n))) continue;
        if (at > from) split_range(&s, from, at, false);
        split_range(&s, at, at + n, true);
        from = at + n;
    }
    if (from < piece->bytes) split_range(&s, from, piece->bytes, false);
    split_end(&s);
}

/* \w+|[^\w\s]+ */
static void split_words(const struct pieces *in, const struct piece *piece, struct pieces *out)
{
    const char *text = in->text.data + piece->start;
    enum { SPACE, WORD, OTHER } kind = SPACE, now;
    size_t from = 0, at, n;
    for (at = 0; at < piece->bytes; at += n) {
        uint32_t c = utf8_decode(text + at, &n);
        now = utf8_is_word(c) ? WORD : utf8_is_space(c) ? SPACE : OTHER;
        if (now == kind) continue;
        if (kind != SPACE) pieces_push(out, piece->start + from, piece->start + at, piece->first && from == 0);
        from = at;
        kind = now;
    }
    if (kind != SPACE) pieces_push(out, piece->start + from, piece->start + at, piece->first && from == 0);
}

static void split_lengths(size_t length, const struct pieces *in, const struct piece *piece, struct pieces *out)
{
    const char *text = in->text.data + piece->start;
    size_t from = 0, chars = 0;
    for (size_t at = 0; at < piece->bytes;) {
        at += utf8_char_bytes(text[at]);
        if (++chars == length || at == piece->bytes) {
            pieces_push(out, piece->start + from, piece->start + at, piece->first && from == 0);
            from = at;
            chars = 0;
        }
    }
}

/* ---- steps that write new text ---- */

static void metaspace(const struct pretokenizer_step *step, const struct pieces *in, const struct piece *piece,
                      struct pieces *out)
{
    const char *text = in->text.data + piece->start, *mark = step->replacement;
    size_t mark_bytes = step->replacement_bytes, start = out->text.bytes;
    bool marked = text[0] == ' ' || (piece->bytes >= mark_bytes && memcmp(text, mark, mark_bytes) == 0);
    if (!marked && (step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && piece->first)))
        buffer_append(&out->text, mark, mark_bytes);
    for (size_t at = 0; at < piece->bytes;) {
        const char *space = memchr(text + at, ' ', piece->bytes - at);
        size_t end = space ? (size_t)(space - text) : piece->bytes;
        buffer_append(&out->text, text + at, end - at);
        if (space) buffer_append(&out->text, mark, mark_bytes);
        at = end + (space ? 1 : 0);
    }
    if (out->text.failed) return;
    if (!step->split) {
        pieces_push(out, start, out->text.bytes, piece->first);
        return;
    }
    /* each mark begins a piece, which ends before the next mark */
    size_t from = start;
    const char *end = out->text.data + out->text.bytes, *hit = out->text.data + start;
    while (hit < end && (hit = memmem(hit, (size_t)(end - hit), mark, mark_bytes)) != NULL) {
        size_t at = (size_t)(hit - out->text.data);
        pieces_push(out, from, at, piece->first && from == start);
        from = at;
        hit += mark_bytes;
    }
    pieces_push(out, from, out->text.bytes, piece->first && from == start);
}

static void prefix_space(const struct pieces *in, const struct piece *piece, struct pieces *out)
{
    size_t start = out->text.bytes;
    if (in->text.data[piece->start] != ' ') buffer_append_byte(&out->text, ' ');
    buffer_append(&out->text, in->text.data + piece->start, piece->bytes);
    pieces_push(out, start, out->text.bytes, piece->first);
}

static void write_bytes(const struct pieces *in, const struct piece *piece, struct pieces *out)
{
    size_t start = out->text.bytes;
    byte_level_append(&out->text, in->text.data + piece->start, piece->bytes);
    pieces_push(out, start, out->text.bytes, piece->first);
}

/* ---- applying ---- */

static void swap(struct pieces *a, struct pieces *b)
{
    struct pieces keep = *a;
    *a = *b;
    *b = keep;
}

/* One pass over all pieces with a function that keeps the text (texts stays where it is) or writes a new one. */
static int each_piece(const struct pretokenizer_step *s, struct pattern_match *m, struct pieces *p,
                      struct pieces *spare,
                      void (*writes)(const struct pieces *, const struct piece *, struct pieces *), struct error *e)
{
    bool new_text = writes || s->kind == PRETOKENIZER_METASPACE;
    int rc = 0;
    spare->count = spare->text.bytes = 0;
    for (size_t i = 0; i < p->count && rc == 0; i++) {
        const struct piece *piece = &p->piece[i];
        if (writes)
            writes(p, piece, spare);
        else if (s->kind == PRETOKENIZER_METASPACE)
            metaspace(s, p, piece, spare);
        else if (s->pattern)
            rc = split_by_pattern(s->pattern, s->invert, s->behavior, m, p, piece, spare, e);
        else if (s->kind == PRETOKENIZER_WHITESPACE)
            split_words(p, piece, spare);
        else if (s->kind == PRETOKENIZER_FIXED_LENGTH)
            split_lengths(s->length, p, piece, spare);
        else
            split_by_class(s, p, piece, spare);
    }
    swap(p, spare);
    if (!new_text) buffer_swap(&p->text, &spare->text);
    return rc;
}

static int byte_level(const struct pretokenizer_step *s, struct pattern_match *m, struct pieces *p,
                      struct pieces *spare, bool keep_bytes, struct error *e)
{
    int rc = s->prefix_space ? each_piece(s, m, p, spare, prefix_space, e) : 0;
    if (rc == 0 && s->pattern) rc = each_piece(s, m, p, spare, NULL, e);
    if (rc == 0 && !keep_bytes) rc = each_piece(s, m, p, spare, write_bytes, e);
    return rc;
}

int pretokenizer_apply(const struct pretokenizer *p, struct pattern_match *m, struct pieces *pieces,
                       struct pieces *spare, struct error *e)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct pretokenizer_step *s = &p->step[i];
        int rc = s->kind == PRETOKENIZER_BYTE_LEVEL
                     ? byte_level(s, m, pieces, spare, p->keep_bytes && i + 1 == p->count, e)
                     : each_piece(s, m, pieces, spare, NULL, e);
        if (rc != 0) return rc;
    }
    bool failed = pieces->failed || spare->failed || pieces->text.failed || spare->text.failed;
    return failed ? error_set(e, ENOMEM, "no memory to split the text") : 0;
}

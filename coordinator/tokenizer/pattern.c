#include "coordinator/tokenizer/pattern.h"

#include "coordinator/text/utf8.h"

#include <errno.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Backtracking costs stack in JIT code: far more than the usual 32 KiB where one word is a megabyte long. */
#define JIT_STACK_FIRST_BYTES (64 * 1024)
#define JIT_STACK_LIMIT_BYTES (512 * 1024 * 1024)
#define HEAP_LIMIT_KIB        (1024 * 1024)
/* Steps that one search may take, beside so many for each byte: ends expressions that would run for hours. */
#define STEPS_AT_LEAST 50000000u
#define STEPS_PER_BYTE 200u

struct pattern {
    pcre2_code *code; /* NULL: the literal below */
    char *literal;
    size_t literal_bytes;
};

struct pattern_match {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack; /* made when the first search outgrows the machine's stack */
};

static int refuse(int code, PCRE2_SIZE offset, const char *regex, size_t bytes, struct error *e)
{
    char why[160] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    return error_set(e, EINVAL, "the pattern \"%.*s\" is no regular expression: %s (at byte %zu of its PCRE2 form)",
                     bytes > 300 ? 300 : (int)bytes, regex, why, (size_t)offset);
}

static int compile_translated(struct pattern *p, const struct buffer *text, enum pattern_dialect dialect,
                              const char *regex, size_t bytes, struct error *e)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return error_set(e, ENOMEM, "no memory for a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int code = 0;
    PCRE2_SIZE offset = 0;
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C |
                       (dialect == PATTERN_ONIGURUMA ? PCRE2_MULTILINE : PCRE2_DOLLAR_ENDONLY);
    p->code = pcre2_compile((PCRE2_SPTR)text->data, text->bytes, options, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!p->code) return refuse(code, offset, regex, bytes, e);
    pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* without it pcre2_match interprets: slower, the same result */
    return 0;
}

int pattern_compile(struct pattern **out, const char *regex, size_t bytes, enum pattern_dialect dialect,
                    struct error *e)
{
    struct pattern *p = calloc(1, sizeof *p);
    struct buffer text = {0};
    if (!p) return error_set(e, ENOMEM, "no memory for a pattern");
    int rc = pattern_translate(&text, regex, bytes, dialect, e);
    buffer_append_byte(&text, 0); /* never an empty pointer for PCRE2 */
    text.bytes -= text.failed ? 0 : 1;
    if (rc == 0) rc = compile_translated(p, &text, dialect, regex, bytes, e);
    buffer_free(&text);
    if (rc != 0) {
        pattern_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

int pattern_literal(struct pattern **out, const char *text, size_t bytes, struct error *e)
{
    struct pattern *p = calloc(1, sizeof *p);
    char *copy = malloc(bytes + 1);
    if (!p || !copy) {
        free(p);
        free(copy);
        return error_set(e, ENOMEM, "no memory for a pattern");
    }
    memcpy(copy, text, bytes);
    p->literal = copy;
    p->literal_bytes = bytes;
    *out = p;
    return 0;
}

void pattern_free(struct pattern *p)
{
    if (!p) return;
    pcre2_code_free(p->code);
    free(p->literal);
    free(p);
}

struct pattern_match *pattern_match_new(void)
{
    struct pattern_match *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_create(NULL);
    if (!m->data || !m->context) {
        pattern_match_free(m);
        return NULL;
    }
    pcre2_set_heap_limit(m->context, HEAP_LIMIT_KIB);
    return m;
}

void pattern_match_free(struct pattern_match *m)
{
    if (!m) return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    free(m);
}

/* One search from `from`; PCRE2's result. The text is checked where it enters the program, so not here again. */
static int search(const struct pattern *p, struct pattern_match *m, const char *text, size_t bytes, size_t from)
{
    uint64_t steps = STEPS_AT_LEAST + (uint64_t)STEPS_PER_BYTE * bytes;
    pcre2_set_match_limit(m->context, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc = pcre2_match(p->code, (PCRE2_SPTR)text, bytes, from, options, m->data, m->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !m->stack) {
        m->stack = pcre2_jit_stack_create(JIT_STACK_FIRST_BYTES, JIT_STACK_LIMIT_BYTES, NULL);
        if (!m->stack) return PCRE2_ERROR_NOMEMORY;
        pcre2_jit_stack_assign(m->context, NULL, m->stack);
        rc = pcre2_match(p->code, (PCRE2_SPTR)text, bytes, from, options, m->data, m->context);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(p->code, (PCRE2_SPTR)text, bytes, from, options | PCRE2_NO_JIT, m->data, m->context);
    return rc;
}

static int search_failed(int code, size_t bytes, struct error *e)
{
    char why[160] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    return error_set(e, code == PCRE2_ERROR_NOMEMORY ? ENOMEM : ELOOP,
                     "a pattern of the tokenizer gives up on a text of %zu bytes: %s", bytes, why);
}

static int next_literal(const struct pattern *p, const char *text, size_t bytes, struct pattern_walk *w)
{
    const char *hit = p->literal_bytes && w->from < bytes
                          ? memmem(text + w->from, bytes - w->from, p->literal, p->literal_bytes)
                          : NULL;
    if (!hit) return 0;
    w->start = (size_t)(hit - text);
    w->end = w->from = w->start + p->literal_bytes;
    return 1;
}

int pattern_next(const struct pattern *p, struct pattern_match *m, const char *text, size_t bytes,
                 struct pattern_walk *w, struct error *e)
{
    if (!p->code) return next_literal(p, text, bytes, w);
    while (!w->done) {
        int rc = search(p, m, text, bytes, w->from);
        if (rc == PCRE2_ERROR_NOMATCH) {
            w->done = true;
            return 0;
        }
        if (rc < 0) return search_failed(rc, bytes, e);
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->data);
        size_t start = at[0], end = at[1];
        bool empty = end <= start;
        if (empty && w->found_one && end == w->end) {
            w->done = w->from >= bytes;
            if (!w->done) w->from += utf8_char_bytes(text[w->from]);
            continue;
        }
        w->start = start;
        w->end = w->from = end;
        w->found_one = true;
        return 1;
    }
    return 0;
}

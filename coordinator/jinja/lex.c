/* The lexer: text, tags and what stands in them, with Jinja's control of white space (trim_blocks and
 * lstrip_blocks are on).  Source: jinja2/lexer.py. */
#include "coordinator/jinja/str.h"
#include "coordinator/jinja/node.h"

#include <errno.h>
#include <stdlib.h>

enum { BALANCE_MAX = 1000 };

struct lexer {
    struct jinja_run *r;
    const char *s;
    size_t n, pos;
    size_t counted;     /* up to here the lines are counted */
    unsigned line;      /* of counted */
    bool line_starting; /* what was read last ended with a line end, or nothing was read yet */
    struct jtoken *tokens;
    size_t count, cap;
    char balance[BALANCE_MAX]; /* closing brackets still due */
    size_t open;
};

static unsigned line_at(struct lexer *l, size_t pos)
{
    for (; l->counted < pos; l->counted++) l->line += l->s[l->counted] == '\n';
    return l->line;
}

static struct jtoken *emit(struct lexer *l, enum jtoken_type type, size_t from, size_t to)
{
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        struct jtoken *grown = jrun_array(l->r, cap, sizeof *grown);
        if (l->count) memcpy(grown, l->tokens, l->count * sizeof *grown);
        l->tokens = grown;
        l->cap = cap;
    }
    struct jtoken *t = &l->tokens[l->count++];
    *t = (struct jtoken){.type = (uint8_t)type, .line = line_at(l, from), .s = l->s + from, .n = to - from};
    return t;
}

static _Noreturn void fail_at(struct lexer *l, size_t pos, const char *what)
{
    l->r->line = line_at(l, pos);
    jrun_fail(l->r, "%s", what);
}

static bool at(const struct lexer *l, size_t pos, const char *what)
{
    size_t n = strlen(what);
    return l->n - pos >= n && !memcmp(l->s + pos, what, n);
}

static size_t skip_space(const struct lexer *l, size_t pos)
{
    for (size_t next = pos; pos < l->n && jchar_space(jutf8_next(l->s, l->n, &next)); pos = next)
        ;
    return pos;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* -- text between tags -- */

/* What is left of text[from, to) before a tag with this sign: '-' takes all white space away, none takes the
 * blanks of the tag's own line if there is nothing else before it. */
static size_t text_end(struct lexer *l, size_t from, size_t to, char sign, bool variable)
{
    struct jval text = jval_str(l->r, l->s + from, to - from);
    if (sign == '-') return from + jstr_strip(l->r, text, NULL, false, true).s->n;
    if (sign == '+' || variable) return to;
    const char *newline = memrchr(l->s + from, '\n', to - from);
    if (!newline && !l->line_starting) return to;
    size_t line = newline ? (size_t)(newline - l->s) + 1 : from;
    return skip_space(l, line) >= to ? line : to;
}

/* Past the end of a block tag at pos: "%}" and a line end, "+%}", or "-%}" and white space.  0: there is none. */
static size_t block_end(const struct lexer *l, size_t pos, const char *close)
{
    if (pos < l->n && l->s[pos] == '-' && at(l, pos + 1, close)) return skip_space(l, pos + 3);
    if (pos < l->n && l->s[pos] == '+' && at(l, pos + 1, close)) return pos + 3;
    if (!at(l, pos, close)) return 0;
    return pos + 2 + (pos + 2 < l->n && l->s[pos + 2] == '\n');
}

static void consume(struct lexer *l, size_t end)
{
    l->line_starting = end > 0 && l->s[end - 1] == '\n';
    l->pos = end;
}

static void lex_comment(struct lexer *l)
{
    for (size_t p = l->pos; p < l->n; p++) {
        size_t end = block_end(l, p, "#}");
        if (end) {
            consume(l, end);
            return;
        }
    }
    fail_at(l, l->pos, "Missing end of comment tag");
}

/* Past "{% WORD %}" at pos with its sign in *sign, or 0. */
static size_t word_tag(const struct lexer *l, size_t pos, const char *word, char *sign)
{
    if (!at(l, pos, "{%")) return 0;
    pos += 2;
    *sign = pos < l->n && (l->s[pos] == '-' || l->s[pos] == '+') ? l->s[pos++] : 0;
    pos = skip_space(l, pos);
    if (!at(l, pos, word)) return 0;
    return skip_space(l, pos + strlen(word));
}

/* Past "{% raw %}" at pos, or 0.  Here a line end after the tag stays. */
static size_t raw_begin(const struct lexer *l, size_t pos, char *sign)
{
    size_t p = word_tag(l, pos, "raw", sign);
    if (p && at(l, p, "-%}")) return skip_space(l, p + 3);
    return p && at(l, p, "%}") ? p + 2 : 0;
}

static void lex_raw(struct lexer *l, size_t start)
{
    for (size_t p = start; p < l->n; p++) {
        char sign;
        size_t after = word_tag(l, p, "endraw", &sign), end = after ? block_end(l, after, "%}") : 0;
        if (!end) continue;
        size_t text = text_end(l, start, p, sign, false);
        if (text > start) emit(l, T_DATA, start, text);
        consume(l, end);
        return;
    }
    fail_at(l, start, "Missing end of raw directive");
}

/* -- literals -- */

/* Past digits with single underscores between them; pos where there are none. */
static size_t digits_end(const struct lexer *l, size_t pos, const char *set)
{
    size_t p = pos;
    while (p < l->n) {
        size_t next = p > pos && l->s[p] == '_' ? p + 1 : p;
        if (next >= l->n || !l->s[next] || !strchr(set, l->s[next])) break;
        p = next + 1;
    }
    return p;
}

static size_t float_end(const struct lexer *l, size_t pos)
{
    static const char digits[] = "0123456789";
    if (pos > 0 && l->s[pos - 1] == '.') return 0;
    size_t p = digits_end(l, pos, digits), fraction = 0;
    if (p == pos) return 0;
    if (p < l->n && l->s[p] == '.' && (fraction = digits_end(l, p + 1, digits)) > p + 1)
        p = fraction;
    else
        fraction = 0;
    if (p < l->n && (l->s[p] | 32) == 'e') {
        size_t e = p + 1 + (p + 1 < l->n && (l->s[p + 1] == '+' || l->s[p + 1] == '-')), end = digits_end(l, e, digits);
        if (end > e) return end;
    }
    return fraction ? p : 0;
}

/* Past an integer, its base in *base. */
static size_t integer_end(const struct lexer *l, size_t pos, int *base)
{
    static const struct {
        char letter;
        int base;
        const char *digits;
    } prefixes[] = {{'b', 2, "01"}, {'o', 8, "01234567"}, {'x', 16, "0123456789abcdefABCDEF"}};
    *base = 10;
    if (l->s[pos] != '0') return digits_end(l, pos, "0123456789");
    for (size_t i = 0; i < 3; i++) {
        if (pos + 1 >= l->n || (l->s[pos + 1] | 32) != prefixes[i].letter) continue;
        size_t start = pos + 2 + (pos + 2 < l->n && l->s[pos + 2] == '_');
        size_t end = digits_end(l, start, prefixes[i].digits);
        if (end > start) {
            *base = prefixes[i].base;
            return end;
        }
    }
    return digits_end(l, pos, "0");
}

static char *without_underscores(struct lexer *l, size_t from, size_t to)
{
    char *s = jrun_bytes(l->r, to - from + 1), *p = s;
    for (size_t i = from; i < to; i++)
        if (l->s[i] != '_') *p++ = l->s[i];
    *p = 0;
    return s;
}

static bool lex_number(struct lexer *l)
{
    size_t end = float_end(l, l->pos);
    int base;
    if (end) {
        double f = strtod(without_underscores(l, l->pos, end), NULL);
        emit(l, T_CONST, l->pos, end)->value = jval_float(f);
        consume(l, end);
        return true;
    }
    if (!is_digit(l->s[l->pos])) return false;
    end = integer_end(l, l->pos, &base);
    errno = 0;
    const char *text = without_underscores(l, l->pos + (base != 10) * 2, end);
    long long i = strtoll(text, NULL, base);
    if (errno && base != 10) fail_at(l, l->pos, "an integer does not fit into 64 bits");
    emit(l, T_CONST, l->pos, end)->value = errno ? jval_integer_text(l->r, text, strlen(text)) : jval_int(i);
    consume(l, end);
    return true;
}

static bool lex_name(struct lexer *l)
{
    size_t end = l->pos;
    for (size_t next = end; end < l->n && jchar_word(jutf8_next(l->s, l->n, &next)); end = next)
        ;
    if (end == l->pos) return false;
    struct jval name = jval_str(l->r, l->s + l->pos, end - l->pos);
    if (!jstr_isidentifier(l->r, name, NULL).b) fail_at(l, l->pos, "Invalid character in identifier");
    emit(l, T_NAME, l->pos, end);
    consume(l, end);
    return true;
}

/* One escape after the backslash at *p. */
static void unescape(struct lexer *l, struct jbuf *b, size_t *p, size_t end)
{
    static const char named[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    struct jinja_run *r = l->r;
    char c = l->s[*p + 1];
    *p += 2;
    for (const char *e = named; *e; e += 2)
        if (c == e[0]) {
            jbuf_char(r, b, e[1]);
            return;
        }
    if (c == '\n') return;
    size_t most = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : c >= '0' && c <= '7' ? 3 : 0;
    unsigned base = most == 3 ? 8 : 16;
    if (!most) {
        if (c == 'N') fail_at(l, *p, "characters by name (\\N{...}) are not supported");
        jbuf_char(r, b, '\\');
        *p -= 1;
        return;
    }
    *p -= base == 8;
    uint32_t code = 0;
    size_t n = 0;
    for (; n < most && *p < end; n++, (*p)++) {
        char d = l->s[*p];
        unsigned digit = is_digit(d)                          ? (unsigned)(d - '0')
                         : (d | 32) >= 'a' && (d | 32) <= 'f' ? (unsigned)((d | 32) - 'a' + 10)
                                                              : 99;
        if (digit >= base) break;
        code = code * base + digit;
    }
    if (base == 16 && n < most) fail_at(l, *p, "truncated escape in a string");
    l->r->line = line_at(l, *p);
    jbuf_code(r, b, code);
}

static bool lex_string(struct lexer *l)
{
    char quote = l->s[l->pos];
    size_t p = l->pos + 1;
    if (quote != '"' && quote != '\'') return false;
    while (p < l->n && l->s[p] != quote) p += l->s[p] == '\\' ? 2 : 1;
    if (p >= l->n) return false;
    struct jbuf b = {0};
    size_t end = p;
    for (p = l->pos + 1; p < end;) {
        const char *escape = memchr(l->s + p, '\\', end - p);
        size_t plain = escape ? (size_t)(escape - l->s) : end;
        jbuf_put(l->r, &b, l->s + p, plain - p);
        p = plain;
        if (escape) unescape(l, &b, &p, end);
    }
    emit(l, T_CONST, l->pos, end + 1)->value = jbuf_value(l->r, &b);
    consume(l, end + 1);
    return true;
}

/* -- tags -- */

static void balance(struct lexer *l, char c)
{
    const char *pairs = "(){}[]", *p = strchr(pairs, c);
    if (!p) return;
    if ((p - pairs) % 2 == 0) {
        if (l->open == BALANCE_MAX) fail_at(l, l->pos, "brackets are nested too deep");
        l->balance[l->open++] = p[1];
        return;
    }
    char text[] = "unexpected ' '";
    text[12] = c;
    if (!l->open || l->balance[--l->open] != c) fail_at(l, l->pos, text);
}

static bool lex_operator(struct lexer *l)
{
    static const struct {
        const char *text;
        uint16_t op;
    } two[] = {{"**", OP_POW}, {"//", OP_FLOORDIV}, {"==", OP_EQ}, {"!=", OP_NE}, {">=", OP_GE}, {"<=", OP_LE}};
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (at(l, l->pos, two[i].text)) {
            emit(l, T_OP, l->pos, l->pos + 2)->op = two[i].op;
            consume(l, l->pos + 2);
            return true;
        }
    char c = l->s[l->pos];
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c)) return false;
    balance(l, c);
    emit(l, T_OP, l->pos, l->pos + 1)->op = (uint8_t)c;
    consume(l, l->pos + 1);
    return true;
}

/* Past the end of the tag if it is here, else 0. */
static size_t tag_end(const struct lexer *l, bool variable)
{
    if (l->open) return 0;
    if (!variable) return block_end(l, l->pos, "%}");
    if (at(l, l->pos, "-}}")) return skip_space(l, l->pos + 3);
    return at(l, l->pos, "}}") ? l->pos + 2 : 0;
}

static _Noreturn void fail_character(struct lexer *l)
{
    struct jbuf c = {0};
    size_t end = l->pos;
    jutf8_next(l->s, l->n, &end);
    jbuf_repr(l->r, &c, jval_str(l->r, l->s + l->pos, end - l->pos));
    l->r->line = line_at(l, l->pos);
    jrun_fail(l->r, "unexpected char %.*s%s", (int)c.n, c.s,
              strchr("'\"", l->s[l->pos]) ? " (a string without its end)" : "");
}

static void lex_tag(struct lexer *l, bool variable)
{
    l->open = 0;
    while (l->pos < l->n) {
        size_t end = tag_end(l, variable), space;
        jrun_charge(l->r, 1);
        if (end) {
            emit(l, variable ? T_VARIABLE_END : T_BLOCK_END, l->pos, end);
            consume(l, end);
            return;
        }
        if ((space = skip_space(l, l->pos)) > l->pos)
            consume(l, space);
        else if (!lex_number(l) && !lex_name(l) && !lex_string(l) && !lex_operator(l))
            fail_character(l);
    }
}

/* The next tag's place: "{{", "{%" or "{#". */
static size_t next_tag(const struct lexer *l)
{
    for (size_t p = l->pos; p + 1 < l->n; p++) {
        const char *brace = memchr(l->s + p, '{', l->n - 1 - p);
        if (!brace) break;
        p = (size_t)(brace - l->s);
        if (strchr("{%#", l->s[p + 1]) && l->s[p + 1]) return p;
    }
    return l->n;
}

static void lex_root(struct lexer *l)
{
    size_t tag = next_tag(l), raw;
    char sign = 0, kind = tag < l->n ? l->s[tag + 1] : 0;
    if (tag == l->n) {
        emit(l, T_DATA, l->pos, l->n);
        l->pos = l->n;
        return;
    }
    raw = kind == '%' ? raw_begin(l, tag, &sign) : 0;
    if (!raw) sign = tag + 2 < l->n && (l->s[tag + 2] == '-' || l->s[tag + 2] == '+') ? l->s[tag + 2] : 0;
    size_t end = text_end(l, l->pos, tag, sign, kind == '{');
    if (end > l->pos) emit(l, T_DATA, l->pos, end);
    size_t after = raw ? raw : tag + 2 + (sign != 0);
    consume(l, after);
    if (raw) {
        lex_raw(l, raw);
    } else if (kind == '#') {
        lex_comment(l);
    } else {
        emit(l, kind == '{' ? T_VARIABLE_BEGIN : T_BLOCK_BEGIN, tag, after);
        lex_tag(l, kind == '{');
    }
}

struct jtoken *jlex(struct jinja_run *r, const char *source, size_t bytes)
{
    struct lexer *l = jrun_alloc(r, sizeof *l);
    *l = (struct lexer){.r = r, .s = source, .n = bytes, .line = 1, .line_starting = true};
    while (l->pos < l->n) {
        jrun_charge(r, 1);
        lex_root(l);
    }
    emit(l, T_EOF, l->n, l->n);
    return l->tokens;
}

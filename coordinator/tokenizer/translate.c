/* Oniguruma's and fancy-regex's expressions in PCRE2's words; tokenizer_pattern.h says what differs. */
#include "coordinator/tokenizer/pattern.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MAX_DEPTH 64 /* groups and nested classes; real patterns stay under 5 */

/* Inside of a class. White_Space: Oniguruma's \s knows U+0085 and not U+180E, PCRE2's the other way round. */
static const char space_set[] =
    "\\x09-\\x0d \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
static const char word_set[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
/* \w by itself has Latin-1's numbers too, within brackets it does not: so does Oniguruma. */
static const char word_set_alone[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
static const char word_set_rust[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}";
static const char hex_set[] = "0-9a-fA-F";

struct translation {
    const char *s;
    size_t bytes, at;
    struct buffer *out;
    enum pattern_dialect dialect;
    struct error *e;
    size_t group_start[MAX_DEPTH]; /* where each open group begins in out */
    int depth;
    size_t atom_start; /* where the last atom begins in out: what a quantifier repeats */
};

static int translate_class(struct translation *t, struct buffer *out, int depth);

static int damaged(struct translation *t, const char *what)
{
    return error_set(t->e, EINVAL, "the pattern \"%.*s\" is damaged: %s", t->bytes > 300 ? 300 : (int)t->bytes, t->s,
                     what);
}

static bool more(const struct translation *t)
{
    return t->at < t->bytes;
}

static bool starts(const struct translation *t, const char *text)
{
    size_t n = strlen(text);
    return t->bytes - t->at >= n && memcmp(t->s + t->at, text, n) == 0;
}

static const char *words(const struct translation *t, bool in_class)
{
    return t->dialect != PATTERN_ONIGURUMA ? word_set_rust : in_class ? word_set : word_set_alone;
}

/* General categories by their long names, which PCRE2 does not know, and the names that both mean differently. */
static const char *known_property(const char *name)
{
    static const char *const names[][2] = {
        {"letter", "\\p{L}"},
        {"uppercaseletter", "\\p{Lu}"},
        {"lowercaseletter", "\\p{Ll}"},
        {"titlecaseletter", "\\p{Lt}"},
        {"casedletter", "\\p{L&}"},
        {"lc", "\\p{L&}"},
        {"modifierletter", "\\p{Lm}"},
        {"otherletter", "\\p{Lo}"},
        {"mark", "\\p{M}"},
        {"combiningmark", "\\p{M}"},
        {"nonspacingmark", "\\p{Mn}"},
        {"spacingmark", "\\p{Mc}"},
        {"enclosingmark", "\\p{Me}"},
        {"number", "\\p{N}"},
        {"decimalnumber", "\\p{Nd}"},
        {"letternumber", "\\p{Nl}"},
        {"othernumber", "\\p{No}"},
        {"punctuation", "\\p{P}"},
        {"connectorpunctuation", "\\p{Pc}"},
        {"dashpunctuation", "\\p{Pd}"},
        {"openpunctuation", "\\p{Ps}"},
        {"closepunctuation", "\\p{Pe}"},
        {"initialpunctuation", "\\p{Pi}"},
        {"finalpunctuation", "\\p{Pf}"},
        {"otherpunctuation", "\\p{Po}"},
        {"symbol", "\\p{S}"},
        {"mathsymbol", "\\p{Sm}"},
        {"currencysymbol", "\\p{Sc}"},
        {"modifiersymbol", "\\p{Sk}"},
        {"othersymbol", "\\p{So}"},
        {"separator", "\\p{Z}"},
        {"spaceseparator", "\\p{Zs}"},
        {"lineseparator", "\\p{Zl}"},
        {"paragraphseparator", "\\p{Zp}"},
        {"other", "\\p{C}"},
        {"control", "\\p{Cc}"},
        {"format", "\\p{Cf}"},
        {"surrogate", "\\p{Cs}"},
        {"privateuse", "\\p{Co}"},
        {"unassigned", "\\p{Cn}"},
        {"alnum", "\\p{Alphabetic}\\p{Nd}"},
        {"alpha", "\\p{Alphabetic}"},
        {"blank", "\\p{Zs}\\x09"},
        {"cntrl", "\\p{Cc}"},
        {"digit", "\\p{Nd}"},
        {"lower", "\\p{Lowercase}"},
        {"upper", "\\p{Uppercase}"},
        {"punct", "\\p{P}"},
        {"xdigit", hex_set},
        {"ascii", "\\x00-\\x7f"},
        {"any", "\\x00-\\x{10ffff}"},
    };
    if (!strcmp(name, "space") || !strcmp(name, "whitespace")) return space_set;
    if (!strcmp(name, "word")) return word_set;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(name, names[i][0])) return names[i][1];
    }
    return NULL;
}

static bool pcre2_knows(const char *text)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    pcre2_code_free(c);
    return c != NULL;
}

/* The body of a class for \p{name}, \P{name}, \p{^name} at t->at (behind the p); *negated tells how it is meant. */
static int read_property(struct translation *t, char *set, size_t set_bytes, bool *negated)
{
    char name[64], lower[64];
    size_t n = 0, k = 0, end;
    if (!more(t)) return damaged(t, "it ends within a property");
    if (t->s[t->at] != '{') {
        name[n++] = t->s[t->at++];
    } else {
        for (end = ++t->at; end < t->bytes && t->s[end] != '}'; end++)
            ;
        if (end == t->bytes || end - t->at >= sizeof name) return damaged(t, "a property without its }");
        if (t->at < end && t->s[t->at] == '^') {
            *negated = !*negated;
            t->at++;
        }
        for (; t->at < end; t->at++) name[n++] = t->s[t->at];
        t->at = end + 1;
    }
    name[n] = 0;
    for (size_t i = 0; i < n; i++) {
        if (name[i] != ' ' && name[i] != '_' && name[i] != '-') lower[k++] = (char)tolower((unsigned char)name[i]);
    }
    lower[k] = 0;
    const char *known = known_property(lower);
    if (known) {
        snprintf(set, set_bytes, "%s", known);
        return 0;
    }
    /* a script by itself means its own characters, not those that it shares with others */
    snprintf(set, set_bytes, "\\p{sc:%s}", lower);
    if (!strchr(name, '=') && !strchr(name, ':') && k > 2 && pcre2_knows(set)) return 0;
    snprintf(set, set_bytes, "\\p{%s}", strchr(name, '=') || k <= 2 ? name : lower);
    if (!pcre2_knows(set))
        return error_set(t->e, ENOTSUP, "the pattern \"%.*s\" asks for the unknown property %s",
                         t->bytes > 300 ? 300 : (int)t->bytes, t->s, name);
    return 0;
}

/* A class escape (\s \w \h \d \p and their opposites): its set. 1 with t->at behind it, 0 if it is another escape. */
static int read_set_escape(struct translation *t, bool in_class, char *set, size_t set_bytes, bool *negated)
{
    char c = t->s[t->at];
    bool onig = t->dialect == PATTERN_ONIGURUMA;
    const char *known = NULL;
    *negated = isupper((unsigned char)c) != 0;
    switch (c) {
    case 's':
    case 'S': known = space_set; break;
    case 'w':
    case 'W': known = words(t, in_class); break;
    case 'h':
    case 'H': known = onig ? hex_set : "\\x09\\x20"; break;
    case 'd':
    case 'D': known = "\\p{Nd}"; break;
    case 'p':
    case 'P': {
        t->at++;
        int rc = read_property(t, set, set_bytes, negated);
        return rc < 0 ? rc : 1;
    }
    default: return 0;
    }
    snprintf(set, set_bytes, "%s", known);
    t->at++;
    return 1;
}

/* An escape of one character, t->at behind the backslash, with its backslash to out. */
static int copy_escape(struct translation *t, struct buffer *out)
{
    char c = t->s[t->at];
    if (c == 'u' && t->bytes - t->at >= 5) { /* \uHHHH */
        buffer_append_text(out, "\\x{");
        buffer_append(out, t->s + t->at + 1, 4);
        buffer_append_text(out, "}");
        t->at += 5;
        return 0;
    }
    buffer_append_byte(out, '\\');
    buffer_append_byte(out, c);
    t->at++;
    if (c == 'x' && more(t) && t->s[t->at] == '{') {
        const char *end = memchr(t->s + t->at, '}', t->bytes - t->at);
        if (!end) return damaged(t, "\\x{ without its }");
        size_t n = (size_t)(end - (t->s + t->at)) + 1;
        buffer_append(out, t->s + t->at, n);
        t->at += n;
    }
    return 0;
}

/* One operand of && in a class: what may stand in one bracket, and alternatives that may not. */
struct operand {
    struct buffer plain, others; /* others: "|expr|expr" */
};

static void operand_free(struct operand *o)
{
    buffer_free(&o->plain);
    buffer_free(&o->others);
}

static void operand_emit(const struct operand *o, struct buffer *out)
{
    if (o->others.bytes == 0 && o->plain.bytes == 0) {
        buffer_append_text(out, "(?!)");
    } else if (o->others.bytes == 0) {
        buffer_append_text(out, "[");
        buffer_append(out, o->plain.data, o->plain.bytes);
        buffer_append_text(out, "]");
    } else {
        buffer_append_text(out, "(?:");
        if (o->plain.bytes) {
            buffer_append_text(out, "[");
            buffer_append(out, o->plain.data, o->plain.bytes);
            buffer_append_text(out, "]");
        }
        size_t skip = o->plain.bytes ? 0 : 1; /* the first bar */
        buffer_append(out, o->others.data + skip, o->others.bytes - skip);
        buffer_append_text(out, ")");
    }
}

static void operand_set(struct operand *o, const char *set, bool negated)
{
    if (!negated) {
        buffer_append_text(&o->plain, set);
        return;
    }
    buffer_append_text(&o->others, "|[^");
    buffer_append_text(&o->others, set);
    buffer_append_text(&o->others, "]");
}

/* [:name:] and [:^name:] at t->at; 1 if it was one. */
static int class_posix(struct translation *t, struct operand *o)
{
    const char *end =
        t->bytes - t->at > 4 && t->s[t->at + 1] == ':' ? memmem(t->s + t->at + 2, t->bytes - t->at - 2, ":]", 2) : NULL;
    if (!end || end - (t->s + t->at) > 24) return 0;
    char name[32] = "";
    const char *from = t->s + t->at + 2;
    bool negated = *from == '^';
    from += negated;
    memcpy(name, from, (size_t)(end - from));
    const char *set = !strcmp(name, "punct") ? "\\p{P}\\p{S}" : known_property(name); /* \p{Punct} is without symbols */
    if (!set)
        return error_set(t->e, ENOTSUP, "the pattern \"%.*s\" asks for the unknown class [:%s:]",
                         t->bytes > 300 ? 300 : (int)t->bytes, t->s, name);
    operand_set(o, set, negated);
    t->at = (size_t)(end - t->s) + 2;
    return 1;
}

static int class_escape(struct translation *t, struct operand *o)
{
    char set[256];
    bool negated;
    t->at++;
    if (!more(t)) return damaged(t, "it ends with a backslash");
    int rc = read_set_escape(t, true, set, sizeof set, &negated);
    if (rc == 0) return copy_escape(t, &o->plain);
    if (rc > 0) operand_set(o, set, negated);
    return rc < 0 ? rc : 0;
}

static int class_item(struct translation *t, struct operand *o, int depth)
{
    char c = t->s[t->at];
    if (c == '\\') return class_escape(t, o);
    if (c == '[') {
        int rc = class_posix(t, o);
        if (rc != 0) return rc < 0 ? rc : 0;
        struct buffer inner = {0};
        rc = translate_class(t, &inner, depth + 1);
        buffer_append_text(&o->others, "|");
        buffer_append(&o->others, inner.data, inner.bytes);
        o->others.failed |= inner.failed;
        buffer_free(&inner);
        return rc;
    }
    buffer_append_byte(&o->plain, c);
    t->at++;
    return 0;
}

/* The items up to && or ]. */
static int class_operand(struct translation *t, struct operand *o, bool first, int depth)
{
    if (first && more(t) && t->s[t->at] == ']') { /* ] in the first place is itself */
        buffer_append_text(&o->plain, "\\]");
        t->at++;
    }
    while (more(t) && t->s[t->at] != ']' && !starts(t, "&&")) {
        int rc = class_item(t, o, depth);
        if (rc != 0) return rc;
    }
    return more(t) ? 0 : damaged(t, "a class without its ]");
}

/* A class at t->at, as an expression that matches one character. */
static int translate_class(struct translation *t, struct buffer *out, int depth)
{
    struct operand o = {0};
    struct buffer ahead = {0}, last = {0}; /* A && B: (?=A)B */
    if (depth > MAX_DEPTH) return damaged(t, "classes nested too deeply");
    t->at++;
    bool negated = more(t) && t->s[t->at] == '^', first = true;
    t->at += negated;
    int rc;
    while ((rc = class_operand(t, &o, first, depth)) == 0 && starts(t, "&&")) {
        first = false;
        t->at += 2;
        buffer_append_text(&ahead, "(?=");
        operand_emit(&o, &ahead);
        buffer_append_text(&ahead, ")");
        ahead.failed |= o.plain.failed || o.others.failed;
        operand_free(&o);
    }
    if (rc == 0) {
        t->at++;
        if (negated && !ahead.bytes && !o.others.bytes) {
            buffer_append_text(out, "[^");
            buffer_append(out, o.plain.data, o.plain.bytes);
            buffer_append_text(out, "]");
        } else {
            operand_emit(&o, &last);
            bool group = negated || ahead.bytes;
            buffer_append_text(out, group ? negated ? "(?:(?!" : "(?:" : "");
            buffer_append(out, ahead.data, ahead.bytes);
            buffer_append(out, last.data, last.bytes);
            buffer_append_text(out, group ? negated ? ")[\\x00-\\x{10ffff}])" : ")" : "");
        }
    }
    out->failed |= o.plain.failed || o.others.failed || ahead.failed || last.failed;
    operand_free(&o);
    buffer_free(&ahead);
    buffer_free(&last);
    return rc;
}

static int translate_escape(struct translation *t)
{
    char set[256];
    bool negated;
    t->atom_start = t->out->bytes;
    t->at++;
    if (!more(t)) return damaged(t, "it ends with a backslash");
    char c = t->s[t->at];
    if (c == 'b' || c == 'B') { /* a border of \w as the dialect has it */
        char border[500];
        const char *w = words(t, false);
        snprintf(border, sizeof border,
                 c == 'b' ? "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))" : "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))", w, w,
                 w, w);
        buffer_append_text(t->out, border);
        t->at++;
        return 0;
    }
    int rc = read_set_escape(t, false, set, sizeof set, &negated);
    if (rc == 0) return copy_escape(t, t->out);
    if (rc < 0) return rc;
    buffer_append_text(t->out, negated ? "[^" : "[");
    buffer_append_text(t->out, set);
    buffer_append_text(t->out, "]");
    return 0;
}

/* ( at t->at: opens a group; the options of Ruby's (?m) are PCRE2's (?s). */
static int translate_open(struct translation *t)
{
    if (t->depth == MAX_DEPTH) return damaged(t, "groups nested too deeply");
    if (starts(t, "(?#")) {
        const char *end = memchr(t->s + t->at, ')', t->bytes - t->at);
        if (!end) return damaged(t, "a comment without its )");
        t->at = (size_t)(end - t->s) + 1;
        return 0;
    }
    t->group_start[t->depth++] = t->out->bytes;
    buffer_append_byte(t->out, t->s[t->at++]);
    if (!more(t) || t->s[t->at] != '?') return 0;
    buffer_append_byte(t->out, t->s[t->at++]);
    while (more(t) && strchr("imxsau-", t->s[t->at]) && t->s[t->at]) {
        char c = t->s[t->at++];
        if (t->dialect == PATTERN_ONIGURUMA && c == 'm') c = 's';
        if (c != 'a' && c != 'u') buffer_append_byte(t->out, c);
    }
    while (more(t) && strchr(":=!<>|", t->s[t->at]) && t->s[t->at]) /* (?: (?= (?<! (?> */
        buffer_append_byte(t->out, t->s[t->at++]);
    return 0;
}

/* {n}, {n,}, {,m}, {n,m} at t->at: its length, 0 if it is only a brace. */
static size_t interval_bytes(const struct translation *t, bool *exact, bool *open_start)
{
    size_t i = t->at + 1, digits = 0, commas = 0;
    *open_start = i < t->bytes && t->s[i] == ',';
    for (; i < t->bytes && (isdigit((unsigned char)t->s[i]) || t->s[i] == ','); i++) {
        commas += t->s[i] == ',';
        digits += t->s[i] != ',';
    }
    *exact = commas == 0;
    return i < t->bytes && t->s[i] == '}' && digits && commas <= 1 ? i - t->at + 1 : 0;
}

static void wrap_atom(struct translation *t)
{
    buffer_insert(t->out, t->atom_start, "(?:", 3);
    buffer_append_text(t->out, ")");
}

/* { at t->at. In Ruby's syntax {n,m}+ repeats the repetition and {n}? makes it optional. */
static int translate_interval(struct translation *t)
{
    bool exact, open_start;
    size_t n = interval_bytes(t, &exact, &open_start);
    if (n == 0) {
        t->atom_start = t->out->bytes;
        buffer_append_text(t->out, "\\{");
        t->at++;
        return 0;
    }
    buffer_append_text(t->out, open_start ? "{0" : "{");
    buffer_append(t->out, t->s + t->at + 1, n - 1);
    t->at += n;
    char next = more(t) ? t->s[t->at] : 0;
    if (t->dialect == PATTERN_ONIGURUMA && (next == '+' || (next == '?' && exact)))
        wrap_atom(t);
    else if (next != '+' && next != '?')
        return 0;
    buffer_append_byte(t->out, next);
    t->at++;
    return 0;
}

static int translate_one(struct translation *t)
{
    char c = t->s[t->at];
    switch (c) {
    case '\\': return translate_escape(t);
    case '[': t->atom_start = t->out->bytes; return translate_class(t, t->out, 0);
    case '(': return translate_open(t);
    case ')':
        if (t->depth == 0) return damaged(t, ") without its (");
        t->atom_start = t->group_start[--t->depth];
        break;
    case '{': return translate_interval(t);
    case '*':
    case '+':
    case '?':
    case '|': break;
    default:
        if (((unsigned char)c & 0xC0) != 0x80) /* a whole character is the atom */
            t->atom_start = t->out->bytes;
    }
    buffer_append_byte(t->out, c);
    t->at++;
    return 0;
}

int pattern_translate(struct buffer *out, const char *regex, size_t bytes, enum pattern_dialect dialect,
                      struct error *e)
{
    struct translation t = {.s = regex, .bytes = bytes, .out = out, .dialect = dialect, .e = e};
    while (more(&t)) {
        int rc = translate_one(&t);
        if (rc != 0) return rc;
    }
    if (out->failed) return error_set(e, ENOMEM, "no memory for a pattern");
    return t.depth ? damaged(&t, "( without its )") : 0;
}

#include "coordinator/text/json_cursor.h"

#include <math.h>

#include "coordinator/text/utf8.h"

/* ---- checking: every value is passed once with full suspicion ---- */

struct check {
    const char *s;
    size_t bytes, at;
    bool pairs;
    const char *why;
};

static bool check_value(struct check *c, int depth);

static void space(const char *s, size_t bytes, size_t *at)
{
    while (*at < bytes && (s[*at] == ' ' || s[*at] == '\n' || s[*at] == '\t' || s[*at] == '\r')) ++*at;
}

static bool broken(struct check *c, const char *why)
{
    if (!c->why) c->why = why;
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex4(const char *s)
{
    int v = 0;

    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int d = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* The second half of a surrogate pair, written at s; -1: it is none. */
static int second_half(const char *s, size_t bytes)
{
    int v = bytes >= 6 && s[0] == '\\' && s[1] == 'u' ? hex4(s + 2) : -1;

    return v >= 0xDC00 && v <= 0xDFFF ? v : -1;
}

/* \uXXXX at c->at (behind the u), with the second half of a pair. */
static bool check_unicode(struct check *c)
{
    int v = c->bytes - c->at >= 4 ? hex4(c->s + c->at) : -1;
    bool whole;

    if (v < 0) return broken(c, "a \\u without four hexadecimal digits");
    whole = v < 0xD800 || v > 0xDFFF;
    if (v >= 0xD800 && v <= 0xDBFF && second_half(c->s + c->at + 4, c->bytes - c->at - 4) >= 0) {
        c->at += 6;
        whole = true;
    }
    c->at += 4;
    return whole || !c->pairs || broken(c, "half a surrogate pair");
}

static bool check_string(struct check *c)
{
    for (c->at++; c->at < c->bytes;) {
        char b = c->s[c->at++];

        if (b == '"') return true;
        if ((unsigned char)b < 0x20) {
            c->at--;
            return broken(c, "a control character in a string");
        }
        if (b != '\\') continue;
        if (c->at == c->bytes) break;
        b = c->s[c->at++];
        if (b == 'u') {
            if (!check_unicode(c)) return false;
        } else if (!b || !strchr("\"\\/bfnrt", b)) {
            c->at--;
            return broken(c, "an unknown escape in a string");
        }
    }
    return broken(c, "it ends within a string");
}

static bool digits(struct check *c)
{
    size_t from = c->at;

    while (c->at < c->bytes && is_digit(c->s[c->at])) c->at++;
    return c->at > from || broken(c, "a number without digits");
}

static bool check_number(struct check *c)
{
    size_t from;
    bool whole = true;

    if (c->s[c->at] == '-') c->at++;
    from = c->at;
    if (!digits(c)) return false;
    if (c->s[from] == '0' && c->at > from + 1) {
        c->at = from;
        return broken(c, "a number that begins with 0");
    }
    if (c->at < c->bytes && c->s[c->at] == '.') {
        c->at++;
        whole = false;
        if (!digits(c)) return false;
    }
    if (c->at < c->bytes && (c->s[c->at] == 'e' || c->s[c->at] == 'E')) {
        c->at++;
        whole = false;
        if (c->at < c->bytes && (c->s[c->at] == '+' || c->s[c->at] == '-')) c->at++;
        if (!digits(c)) return false;
    }
    return !whole || c->at - from <= JSON_INTEGER_DIGITS || broken(c, "an integer of more than 4300 digits");
}

static bool check_word(struct check *c)
{
    static const char *const words[] = {"true", "false", "null", "NaN", "Infinity", "-Infinity"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if (c->bytes - c->at >= n && memcmp(c->s + c->at, words[i], n) == 0) {
            c->at += n;
            return true;
        }
    }
    return broken(c, "a value was expected");
}

static bool expect(struct check *c, char what, const char *why)
{
    space(c->s, c->bytes, &c->at);
    if (c->at == c->bytes || c->s[c->at] != what) return broken(c, c->at == c->bytes ? "it ends too early" : why);
    c->at++;
    return true;
}

static bool check_key(struct check *c)
{
    space(c->s, c->bytes, &c->at);
    if (c->at == c->bytes || c->s[c->at] != '"')
        return broken(c, c->at == c->bytes ? "it ends too early" : "a key was expected");
    return check_string(c) && expect(c, ':', "a colon was expected");
}

static bool check_members(struct check *c, int depth)
{
    bool object = c->s[c->at++] == '{';
    char close = object ? '}' : ']';

    space(c->s, c->bytes, &c->at);
    if (c->at < c->bytes && c->s[c->at] == close) {
        c->at++;
        return true;
    }
    for (;;) {
        if ((object && !check_key(c)) || !check_value(c, depth + 1)) return false;
        space(c->s, c->bytes, &c->at);
        if (c->at == c->bytes || c->s[c->at] != ',')
            return expect(c, close, object ? "a comma or } was expected" : "a comma or ] was expected");
        c->at++;
    }
}

static bool check_value(struct check *c, int depth)
{
    char b;

    if (depth > JSON_DEPTH_MAX) return broken(c, "values are nested to a depth of more than 500");
    space(c->s, c->bytes, &c->at);
    if (c->at == c->bytes) return broken(c, "it ends too early");
    b = c->s[c->at];
    if (b == '{' || b == '[') return check_members(c, depth);
    if (b == '"') return check_string(c);
    if (is_digit(b) || (b == '-' && (c->at + 1 == c->bytes || c->s[c->at + 1] != 'I'))) return check_number(c);
    return check_word(c);
}

bool json_check(const char *text, size_t bytes, bool pairs, struct json_fault *f)
{
    struct check c = {.s = text, .bytes = bytes, .pairs = pairs};
    size_t valid = utf8_valid_bytes(text, bytes);

    if (valid < bytes) {
        c.at = valid;
        c.why = "not UTF-8";
    } else if (check_value(&c, 0)) {
        space(text, bytes, &c.at);
        if (c.at < bytes) c.why = "something follows the end of the value";
    }
    if (!c.why) return true;
    *f = (struct json_fault){.why = c.why, .at = c.at < bytes ? c.at : bytes, .line = 1, .column = 1};
    for (size_t i = 0; i < f->at; i++) {
        if (text[i] == '\n') {
            f->line++;
            f->column = 1;
        } else {
            f->column += ((unsigned char)text[i] & 0xC0) != 0x80;
        }
    }
    return false;
}

const char *json_begin(const char **text, size_t *bytes)
{
    const unsigned char *s = (const unsigned char *)*text;
    size_t at = 0;

    if (*bytes >= 2 && ((s[0] == 0xFF && s[1] == 0xFE) || (s[0] == 0xFE && s[1] == 0xFF) || !s[0] != !s[1]))
        return "UTF-16, and JSON is UTF-8 (iconv -f UTF-16 -t UTF-8 converts it)";
    if (*bytes >= 3 && s[0] == 0xEF && s[1] == 0xBB && s[2] == 0xBF) {
        *text += 3;
        *bytes -= 3;
    }
    space(*text, *bytes, &at);
    if (at == *bytes) return "it is empty";
    return NULL;
}

/* ---- walking: what was checked is trusted ---- */

static void unescape_unicode(struct json_cursor *c, struct buffer *out)
{
    uint32_t v = (uint32_t)hex4(c->s + c->at);
    char utf8[4];

    c->at += 4;
    if (v >= 0xD800 && v <= 0xDFFF) {
        int second = v <= 0xDBFF ? second_half(c->s + c->at, c->bytes - c->at) : -1;
        v = second < 0 ? 0xFFFD : 0x10000 + ((v - 0xD800) << 10) + ((uint32_t)second - 0xDC00);
        if (second >= 0) c->at += 6;
    }
    buffer_append(out, utf8, utf8_encode(v, utf8));
}

static void unescape(struct json_cursor *c, struct buffer *out)
{
    static const char letters[] = "bfnrt", controls[] = "\b\f\n\r\t";
    size_t from;

    out->bytes = 0;
    space(c->s, c->bytes, &c->at);
    from = ++c->at;
    for (;; from = c->at) {
        const char *control;
        char b;

        while (c->s[c->at] != '"' && c->s[c->at] != '\\') c->at++;
        buffer_append(out, c->s + from, c->at - from);
        if (c->s[c->at++] == '"') return;
        b = c->s[c->at++];
        if (b == 'u') {
            unescape_unicode(c, out);
            continue;
        }
        control = strchr(letters, b);
        buffer_append_byte(out, control ? controls[control - letters] : b);
    }
}

enum json_kind json_cursor_kind(struct json_cursor *c)
{
    space(c->s, c->bytes, &c->at);
    switch (c->s[c->at]) {
    case '{': return JSON_KIND_OBJECT;
    case '[': return JSON_KIND_ARRAY;
    case '"': return JSON_KIND_STRING;
    case 't':
    case 'f':
    case 'n': return JSON_KIND_LITERAL;
    case 'N':
    case 'I': return JSON_KIND_NOT_FINITE;
    default: return c->s[c->at] == '-' && c->s[c->at + 1] == 'I' ? JSON_KIND_NOT_FINITE : JSON_KIND_NUMBER;
    }
}

void json_cursor_enter(struct json_cursor *c)
{
    space(c->s, c->bytes, &c->at);
    c->at++;
}

bool json_cursor_more(struct json_cursor *c)
{
    space(c->s, c->bytes, &c->at);
    if (c->s[c->at] == ',') {
        c->at++;
        return true;
    }
    if (c->s[c->at] != ']' && c->s[c->at] != '}') return true; /* the first member */
    c->at++;
    return false;
}

void json_cursor_key(struct json_cursor *c)
{
    unescape(c, &c->key);
    space(c->s, c->bytes, &c->at);
    c->at++; /* the colon */
}

void json_cursor_string(struct json_cursor *c)
{
    unescape(c, &c->text);
}

double json_cursor_number(struct json_cursor *c)
{
    const char *s, *end = c->s + c->bytes;
    uint64_t digits_ = 0;
    long power = 0, exponent = 0, shift;
    bool negative, fraction = false, full = false;
    double v;

    space(c->s, c->bytes, &c->at);
    s = c->s + c->at;
    negative = *s == '-';
    for (s += negative; s < end && (*s == '.' || is_digit(*s)); s++) {
        uint64_t digit;

        if (*s == '.') {
            fraction = true;
            continue;
        }
        digit = (uint64_t)(*s - '0');
        full |= digits_ > (UINT64_MAX - digit) / 10;
        if (full) {
            power += !fraction;
            continue;
        }
        digits_ = digits_ * 10 + digit;
        power -= fraction;
    }
    if (s < end && (*s == 'e' || *s == 'E')) {
        char *rest;

        exponent = strtol(s + 1, &rest, 10); /* saturates */
        s = rest;
    }
    c->at = (size_t)(s - c->s);
    shift = power + (exponent > 10000 ? 10000 : exponent < -10000 ? -10000 : exponent);
    v = (double)digits_;
    for (long left = labs(shift); left > 0 && v != 0 && isfinite(v); left -= 308) {
        double scale = (double)powl(10, left > 308 ? 308 : left);
        v = shift < 0 ? v / scale : v * scale;
    }
    return negative ? -v : v;
}

bool json_cursor_whole(struct json_cursor *c, uint64_t most, uint64_t *out)
{
    bool whole = json_cursor_kind(c) == JSON_KIND_NUMBER;
    size_t from = c->at;
    uint64_t v = 0;

    json_cursor_skip(c);
    for (size_t i = from; i < c->at && whole; i++)
        whole = is_digit(c->s[i]) && !__builtin_mul_overflow(v, 10u, &v) &&
                !__builtin_add_overflow(v, (uint64_t)(c->s[i] - '0'), &v) && v <= most;
    *out = v;
    return whole;
}

void json_cursor_skip(struct json_cursor *c)
{
    struct check k = {.s = c->s, .bytes = c->bytes, .at = c->at};

    check_value(&k, 0);
    c->at = k.at;
}

void json_cursor_free(struct json_cursor *c)
{
    buffer_free(&c->key);
    buffer_free(&c->text);
}

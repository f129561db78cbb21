#include "coordinator/tokenizer/json.h"

#include "coordinator/text/utf8.h"
#include "proto/base/file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define MAX_FILE_BYTES ((size_t)2 << 30)
#define MAX_DEPTH 200

/* ---- checking: every value is passed once with full suspicion ---- */

struct check {
    const char *s;
    size_t bytes, at;
    const char *why;
};

static bool check_value(struct check *c, int depth);

static void space(const char *s, size_t bytes, size_t *at)
{
    while (*at < bytes && (s[*at] == ' ' || s[*at] == '\n' || s[*at] == '\t' || s[*at] == '\r'))
        ++*at;
}

static bool broken(struct check *c, const char *why)
{
    if (!c->why)
        c->why = why;
    return false;
}

static int hex4(const char *s)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* \uXXXX at c->at (behind the u), with the second half of a pair. */
static bool check_unicode(struct check *c)
{
    int v = c->bytes - c->at >= 4 ? hex4(c->s + c->at) : -1;
    c->at += 4;
    if (v < 0)
        return broken(c, "a \\u without four hexadecimal digits");
    if (v >= 0xDC00 && v <= 0xDFFF)
        return broken(c, "half a surrogate pair");
    if (v < 0xD800 || v > 0xDBFF)
        return true;
    bool pair = c->bytes - c->at >= 6 && c->s[c->at] == '\\' && c->s[c->at + 1] == 'u';
    v = pair ? hex4(c->s + c->at + 2) : -1;
    c->at += 6;
    return (v >= 0xDC00 && v <= 0xDFFF) || broken(c, "half a surrogate pair");
}

static bool check_string(struct check *c)
{
    for (c->at++; c->at < c->bytes;) {
        char b = c->s[c->at++];
        if (b == '"')
            return true;
        if ((unsigned char)b < 0x20)
            return broken(c, "a control character in a string");
        if (b != '\\')
            continue;
        if (c->at == c->bytes)
            break;
        b = c->s[c->at++];
        if (b == 'u') {
            if (!check_unicode(c))
                return false;
        } else if (!strchr("\"\\/bfnrt", b) || !b) {
            return broken(c, "an unknown escape in a string");
        }
    }
    return broken(c, "the file ends within a string");
}

static bool digits(struct check *c)
{
    size_t from = c->at;
    while (c->at < c->bytes && c->s[c->at] >= '0' && c->s[c->at] <= '9')
        c->at++;
    return c->at > from || broken(c, "a number without digits");
}

static bool check_number(struct check *c)
{
    if (c->s[c->at] == '-')
        c->at++;
    if (!digits(c))
        return false;
    if (c->at < c->bytes && c->s[c->at] == '.') {
        c->at++;
        if (!digits(c))
            return false;
    }
    if (c->at < c->bytes && (c->s[c->at] == 'e' || c->s[c->at] == 'E')) {
        c->at++;
        if (c->at < c->bytes && (c->s[c->at] == '+' || c->s[c->at] == '-'))
            c->at++;
        return digits(c);
    }
    return true;
}

static bool check_literal(struct check *c)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
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
    if (c->at == c->bytes || c->s[c->at] != what)
        return broken(c, c->at == c->bytes ? "the file ends too early" : why);
    c->at++;
    return true;
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
        space(c->s, c->bytes, &c->at);
        if (object) {
            if (c->at == c->bytes || c->s[c->at] != '"')
                return broken(c, c->at == c->bytes ? "the file ends too early" : "a key was expected");
            if (!check_string(c) || !expect(c, ':', "a colon was expected"))
                return false;
        }
        if (!check_value(c, depth + 1))
            return false;
        space(c->s, c->bytes, &c->at);
        if (c->at < c->bytes && c->s[c->at] == ',') {
            c->at++;
            continue;
        }
        return expect(c, close, object ? "a comma or } was expected" : "a comma or ] was expected");
    }
}

static bool check_value(struct check *c, int depth)
{
    if (depth > MAX_DEPTH)
        return broken(c, "values are nested too deeply");
    space(c->s, c->bytes, &c->at);
    if (c->at == c->bytes)
        return broken(c, "the file ends too early");
    char b = c->s[c->at];
    if (b == '{' || b == '[')
        return check_members(c, depth);
    if (b == '"')
        return check_string(c);
    return b == '-' || (b >= '0' && b <= '9') ? check_number(c) : check_literal(c);
}

static int check_file(const char *s, size_t bytes, const char *path, struct error *e)
{
    struct check c = {.s = s, .bytes = bytes};
    size_t valid = utf8_valid_bytes(s, bytes);
    if (valid < bytes)
        return error_set(e, EINVAL, "%s: not UTF-8 at byte %zu; fetch the file again", path, valid);
    bool good = check_value(&c, 0);
    space(s, bytes, &c.at);
    if (good && c.at == bytes && s[0] != 0)
        return 0;
    size_t line = 1, at = c.at < bytes ? c.at : bytes;
    for (size_t i = 0; i < at; i++)
        line += s[i] == '\n';
    return error_set(e, EINVAL, "%s: not JSON: %s (line %zu, byte %zu); fetch the file again", path,
                     c.why ? c.why : "something follows the last }", line, at);
}

/* ---- walking: what was checked is trusted ---- */

static void unescape(struct json_cursor *c, struct buffer *out)
{
    out->bytes = 0;
    space(c->s, c->bytes, &c->at);
    size_t from = ++c->at;
    for (;; from = c->at) {
        while (c->s[c->at] != '"' && c->s[c->at] != '\\')
            c->at++;
        buffer_append(out, c->s + from, c->at - from);
        if (c->s[c->at++] == '"')
            return;
        static const char letters[] = "bfnrt", controls[] = "\b\f\n\r\t";
        char b = c->s[c->at++], utf8[4];
        if (b != 'u') {
            const char *control = strchr(letters, b);
            buffer_append_byte(out, control ? controls[control - letters] : b);
            continue;
        }
        uint32_t v = (uint32_t)hex4(c->s + c->at);
        c->at += 4;
        if (v >= 0xD800 && v <= 0xDBFF) {
            v = 0x10000 + ((v - 0xD800) << 10) + ((uint32_t)hex4(c->s + c->at + 2) - 0xDC00);
            c->at += 6;
        }
        buffer_append(out, utf8, utf8_encode(v, utf8));
    }
}

enum json_kind json_cursor_kind(struct json_cursor *c)
{
    space(c->s, c->bytes, &c->at);
    switch (c->s[c->at]) {
    case '{':
        return JSON_KIND_OBJECT;
    case '[':
        return JSON_KIND_ARRAY;
    case '"':
        return JSON_KIND_STRING;
    case 't':
    case 'f':
    case 'n':
        return JSON_KIND_LITERAL;
    default:
        return JSON_KIND_NUMBER;
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
    if (c->s[c->at] != ']' && c->s[c->at] != '}')
        return true; /* the first member */
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

/* Digits as an integer, then one multiplication or division by a power of ten: not always the nearest double, but the one
 * that serde_json makes of it, so that scores which tie in Hugging Face tie here. */
double json_cursor_number(struct json_cursor *c)
{
    space(c->s, c->bytes, &c->at);
    const char *s = c->s + c->at, *end = c->s + c->bytes;
    uint64_t digits_ = 0;
    long power = 0, exponent = 0;
    bool negative = *s == '-', fraction = false, full = false;
    for (s += negative; s < end && (*s == '.' || (*s >= '0' && *s <= '9')); s++) {
        if (*s == '.') {
            fraction = true;
            continue;
        }
        uint64_t digit = (uint64_t)(*s - '0');
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
    long shift = power + (exponent > 10000 ? 10000 : exponent < -10000 ? -10000 : exponent);
    double v = (double)digits_;
    for (long left = labs(shift); left > 0 && v != 0 && isfinite(v); left -= 308) {
        double scale = (double)powl(10, left > 308 ? 308 : left);
        v = shift < 0 ? v / scale : v * scale;
    }
    return negative ? -v : v;
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

/* ---- the document ---- */

static int read_whole(struct buffer *out, const char *path, struct error *e)
{
    struct stat st;
    int fd, rc = file_open(path, &fd, &st, e);
    if (rc != 0)
        return rc;
    if ((uint64_t)st.st_size > MAX_FILE_BYTES) {
        rc = error_set(e, EFBIG, "%s: not a file of a sensible size", path);
    } else if (!buffer_reserve(out, (size_t)st.st_size + 1)) {
        rc = error_set(e, ENOMEM, "%s: no memory to read it", path);
    } else if ((rc = file_read_at(fd, out->data, (uint64_t)st.st_size, 0)) != 0) {
        error_set(e, -rc, "%s: cannot be read", path);
    } else {
        out->bytes = (size_t)st.st_size;
        out->data[out->bytes] = 0;
    }
    close(fd);
    return rc;
}

/* Finds model.vocab and model.merges. The last of several equal keys counts, as for jansson. */
static void find_tables(struct json_document *d)
{
    struct json_cursor c = {.s = d->file.data, .bytes = d->file.bytes};
    if (json_cursor_kind(&c) != JSON_KIND_OBJECT)
        return;
    json_cursor_enter(&c);
    while (json_cursor_more(&c)) {
        json_cursor_key(&c);
        bool model = c.key.bytes == 5 && memcmp(c.key.data, "model", 5) == 0;
        if (!model || json_cursor_kind(&c) != JSON_KIND_OBJECT) {
            json_cursor_skip(&c);
            continue;
        }
        d->vocab = d->merges = (struct json_span){0};
        json_cursor_enter(&c);
        while (json_cursor_more(&c)) {
            json_cursor_key(&c);
            bool vocab = c.key.bytes == 5 && memcmp(c.key.data, "vocab", 5) == 0;
            bool merges = c.key.bytes == 6 && memcmp(c.key.data, "merges", 6) == 0;
            json_cursor_kind(&c);
            struct json_span span = {c.s + c.at, 0};
            json_cursor_skip(&c);
            span.bytes = (size_t)(c.s + c.at - span.data);
            if (vocab)
                d->vocab = span;
            if (merges)
                d->merges = span;
        }
    }
    json_cursor_free(&c);
}

/* The text without the two tables, which become null. */
static int parse_rest(struct json_document *d, const char *path, struct error *e)
{
    struct json_span first = d->vocab, second = d->merges;
    if (!first.data || (second.data && second.data < first.data)) {
        first = d->merges;
        second = d->vocab;
    }
    struct buffer rest = {0};
    const char *from = d->file.data, *end = d->file.data + d->file.bytes;
    struct json_span cut[2] = {first, second};
    for (int i = 0; i < 2; i++) {
        if (!cut[i].data)
            continue;
        buffer_append(&rest, from, (size_t)(cut[i].data - from));
        buffer_append_text(&rest, "null");
        from = cut[i].data + cut[i].bytes;
    }
    buffer_append(&rest, from, (size_t)(end - from));
    json_error_t why;
    d->root = rest.failed ? NULL : json_loadb(rest.data, rest.bytes, JSON_ALLOW_NUL, &why);
    int rc = rest.failed ? error_set(e, ENOMEM, "%s: no memory to read it", path)
             : !d->root  ? error_set(e, EINVAL, "%s: not JSON: %s", path, why.text) : 0;
    buffer_free(&rest);
    return rc;
}

int json_document_read(struct json_document *d, const char *path, struct error *e)
{
    *d = (struct json_document){0};
    int rc = read_whole(&d->file, path, e);
    if (rc == 0)
        rc = check_file(d->file.data, d->file.bytes, path, e);
    if (rc == 0) {
        find_tables(d);
        rc = parse_rest(d, path, e);
    }
    if (rc == 0 && !json_is_object(d->root))
        rc = error_set(e, EINVAL, "%s: not a JSON object", path);
    if (rc != 0)
        json_document_free(d);
    return rc;
}

void json_document_free(struct json_document *d)
{
    json_decref(d->root);
    buffer_free(&d->file);
    *d = (struct json_document){0};
}

/* ---- members ---- */

static const json_t *member(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

int json_get_bool(const json_t *o, const char *key, bool otherwise, bool *out, struct error *e)
{
    const json_t *v = member(o, key);
    *out = v ? json_is_true(v) : otherwise;
    return !v || json_is_boolean(v) ? 0 : error_set(e, EINVAL, "\"%s\" is not true or false", key);
}

int json_get_text(const json_t *o, const char *key, const char **out, size_t *bytes, struct error *e)
{
    const json_t *v = member(o, key);
    *out = json_string_value(v);
    *bytes = json_string_length(v);
    return !v || *out ? 0 : error_set(e, EINVAL, "\"%s\" is not a string", key);
}

int json_need_text(const json_t *o, const char *key, const char **out, size_t *bytes, struct error *e)
{
    int rc = json_get_text(o, key, out, bytes, e);
    return rc != 0 ? rc : *out ? 0 : error_set(e, EINVAL, "\"%s\" is missing", key);
}

const char *json_type_name(const json_t *o)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    return type ? type : "";
}

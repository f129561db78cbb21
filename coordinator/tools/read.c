/* One call, read from a text that begins with its mark. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/buffer.h"
#include "coordinator/text/json.h"
#include "coordinator/text/json_cursor.h"
#include "coordinator/tools/form.h"

/* A walk over text that may not be all there yet. Once it waits or fails, nothing moves it on. */
struct scan {
    const char *s;
    size_t n, at;
    bool final, more, bad;
};

struct span {
    const char *s;
    size_t n;
};

static bool stuck(const struct scan *x)
{
    return x->more || x->bad;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void space(struct scan *x)
{
    while (!stuck(x) && x->at < x->n && is_space(x->s[x->at])) x->at++;
}

static void wait_or_fail(struct scan *x)
{
    if (stuck(x)) return;
    x->more = !x->final;
    x->bad = x->final;
}

/* Is the text here? Where it may still become it, waits. */
static bool perhaps(struct scan *x, const char *text)
{
    size_t n = strlen(text), left = x->n - x->at;

    if (stuck(x)) return false;
    if (left < n && !memcmp(x->s + x->at, text, left)) {
        if (!x->final) x->more = true;
        return false;
    }
    if (left < n || memcmp(x->s + x->at, text, n)) return false;
    x->at += n;
    return true;
}

static void must(struct scan *x, const char *text)
{
    if (text && !perhaps(x, text) && !x->more) x->bad = true;
}

/* The mark that ends a call may be missing at the very end: there the model has ended its turn. */
static void ending(struct scan *x, const char *text)
{
    space(x);
    if (!text || (x->final && x->at == x->n)) return;
    must(x, text);
}

static struct span until(struct scan *x, const char *text)
{
    const char *hit;
    struct span out = {0};

    if (stuck(x)) return out;
    hit = memmem(x->s + x->at, x->n - x->at, text, strlen(text));
    if (!hit) {
        wait_or_fail(x);
        return out;
    }
    out = (struct span){x->s + x->at, (size_t)(hit - x->s) - x->at};
    x->at += out.n + strlen(text);
    return out;
}

/* A JSON object or list, up to where its brackets close. */
static struct span brackets(struct scan *x)
{
    size_t depth = 0, from;
    bool string = false;

    space(x);
    from = x->at;
    if (stuck(x)) return (struct span){0};
    if (x->at < x->n && x->s[x->at] != '{' && x->s[x->at] != '[') x->bad = true;
    for (; !x->bad && x->at < x->n; x->at++) {
        char c = x->s[x->at];

        if (string) {
            if (c == '\\')
                x->at++;
            else if (c == '"')
                string = false;
            continue;
        }
        if (c == '"') string = true;
        if (c == '{' || c == '[') depth++;
        if ((c == '}' || c == ']') && --depth == 0) {
            x->at++;
            return (struct span){x->s + from, x->at - from};
        }
    }
    wait_or_fail(x);
    return (struct span){0};
}

static char *copy(struct span s)
{
    char *out = malloc(s.n + 1);

    if (!out) return NULL;
    if (s.n) memcpy(out, s.s, s.n);
    out[s.n] = 0;
    return out;
}

static struct span trimmed(struct span s)
{
    while (s.n && is_space(s.s[0])) {
        s.s++;
        s.n--;
    }
    while (s.n && is_space(s.s[s.n - 1])) s.n--;
    return s;
}

/* ---- a call as JSON ---- */

/* An argument list that is an object, or such as a string of JSON (as some models write it). */
static char *arguments_of(struct span s)
{
    struct json_fault f;
    char *out = NULL;

    s = trimmed(s);
    if (s.n && s.s[0] == '"') {
        json_t *v = json_loadb(s.s, s.n, JSON_DECODE_ANY, NULL);

        if (json_is_string(v)) out = copy((struct span){json_string_value(v), json_string_length(v)});
        json_decref(v);
        if (!out) return NULL;
        if (out[0] == '{' && json_check(out, strlen(out), false, &f)) return out;
        free(out);
        return NULL;
    }
    if (!s.n || s.s[0] != '{' || !json_check(s.s, s.n, false, &f)) return NULL;
    return copy(s);
}

/* An object with the call's name and its arguments; false: it is none. */
static bool object(struct span s, const json_t *tools, bool known_only, struct tools_next *n)
{
    struct json_cursor c = {.s = s.s, .bytes = s.n};
    struct span arguments = {0};
    struct json_fault f;
    struct buffer name = {0};

    if (!s.n || s.s[0] != '{' || !json_check(s.s, s.n, false, &f)) return false;
    json_cursor_enter(&c);
    while (json_cursor_more(&c)) {
        size_t from;

        json_cursor_key(&c);
        bool is_name = c.key.bytes == 4 && !memcmp(c.key.data, "name", 4);
        bool is_arguments = (c.key.bytes == 9 && !memcmp(c.key.data, "arguments", 9)) ||
                            (c.key.bytes == 10 && !memcmp(c.key.data, "parameters", 10));
        if (is_name && json_cursor_kind(&c) == JSON_KIND_STRING) {
            json_cursor_string(&c);
            name.bytes = 0;
            buffer_append(&name, c.text.data, c.text.bytes);
            continue;
        }
        (void)json_cursor_kind(&c);
        from = c.at;
        json_cursor_skip(&c);
        if (is_arguments) arguments = (struct span){c.s + from, c.at - from};
    }
    json_cursor_free(&c);
    if (name.bytes && !memchr(name.data, 0, name.bytes) && (arguments.s || !known_only) &&
        (!known_only || tools_function(tools, name.data, name.bytes))) {
        n->call = copy((struct span){name.data, name.bytes});
        n->arguments = arguments.s ? arguments_of(arguments) : copy((struct span){"{}", 2});
    }
    buffer_free(&name);
    return n->call && n->arguments;
}

/* ---- calls as marks and values ---- */

static bool add_text(struct buffer *out, const char *text, size_t bytes)
{
    json_t *v = json_stringn(text, bytes);
    char *said = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;

    if (said) buffer_append_text(out, said);
    json_decref(v);
    free(said);
    return said != NULL;
}

/* A value that is no JSON where its parameter is a string, or what it says is none. */
static bool add_member(struct buffer *out, const json_t *function, struct span key, struct span value)
{
    char *name = copy(key);
    const char *type = name ? tools_type_of(function, name) : NULL;
    struct span bare = trimmed(value);
    struct json_fault f;
    bool fine = name != NULL;

    if (out->bytes > 1) buffer_append_text(out, ", ");
    fine = fine && add_text(out, key.s, key.n);
    buffer_append_text(out, ": ");
    if (fine && !(type && !strcmp(type, "string")) && bare.n && json_check(bare.s, bare.n, false, &f))
        buffer_append(out, bare.s, bare.n);
    else
        fine = fine && add_text(out, value.s, value.n);
    free(name);
    return fine;
}

/* What follows a name: keys and values between marks, until `end`. */
static void members(struct scan *x, const json_t *tools, struct span name, const char *key, const char *key_end,
                    const char *value, const char *value_end, bool lines, struct tools_next *n)
{
    const json_t *function = tools_function(tools, name.s, name.n);
    struct buffer out = {0};
    bool fine = true;

    buffer_append_byte(&out, '{');
    for (;;) {
        struct span k, v;

        space(x);
        if (!perhaps(x, key)) break;
        k = until(x, key_end);
        if (value) {
            space(x);
            must(x, value);
        }
        v = until(x, value_end);
        if (stuck(x)) break;
        if (lines && v.n && v.s[0] == '\n') {
            v.s++;
            v.n--;
        }
        if (lines && v.n && v.s[v.n - 1] == '\n') v.n--;
        fine = fine && add_member(&out, function, trimmed(k), v);
    }
    buffer_append_byte(&out, '}');
    buffer_append_byte(&out, 0);
    if (!stuck(x) && fine && !out.failed && name.n) {
        n->call = copy(name);
        n->arguments = out.data;
        return;
    }
    if (!stuck(x)) x->bad = true;
    buffer_free(&out);
}

static void xml(struct scan *x, const json_t *tools, struct tools_next *n)
{
    struct span name;

    space(x);
    must(x, "<function=");
    name = trimmed(until(x, ">"));
    if (stuck(x)) return;
    members(x, tools, name, "<parameter=", ">", NULL, "</parameter>", true, n);
    space(x);
    must(x, "</function>");
}

/* The name ends at the first mark or line. */
static void glm(struct scan *x, const json_t *tools, struct tools_next *n)
{
    struct span name = {x->s + x->at, 0};

    while (x->at + name.n < x->n && name.s[name.n] != '<' && name.s[name.n] != '\n') name.n++;
    if (stuck(x)) return;
    if (x->at + name.n == x->n) {
        wait_or_fail(x);
        return;
    }
    x->at += name.n;
    members(x, tools, trimmed(name), "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", false, n);
}

/* NAME and what a family writes behind it: an id, a kind of content, a number. */
static struct span bare_name(struct span s)
{
    static const char *const ends[] = {" ", "<|", "[CALL_ID]"};

    s = trimmed(s);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *hit = s.n ? memmem(s.s, s.n, ends[i], strlen(ends[i])) : NULL;
        if (hit) s.n = (size_t)(hit - s.s);
    }
    return s;
}

static void named(struct scan *x, const struct tools_shape *f, bool numbered, struct tools_next *n)
{
    struct span name, json;

    if (f->before_name) must(x, f->before_name);
    name = until(x, f->behind_name);
    json = brackets(x);
    if (stuck(x)) return;
    name = bare_name(name);
    if (numbered)
        for (size_t i = name.n; i-- > 0;)
            if (name.s[i] == ':') {
                name.n = i;
                break;
            }
    if (f->behind_json) {
        space(x);
        (void)perhaps(x, f->behind_json + strspn(f->behind_json, "\n"));
    }
    if (stuck(x)) return;
    if (name.n) n->call = copy(name);
    n->arguments = arguments_of(json);
    if (!n->call || !n->arguments) x->bad = true;
}

static void one(struct scan *x, enum tools_form form, const json_t *tools, struct tools_next *n)
{
    const struct tools_shape *f = &tools_shapes[form];
    struct span json;

    switch (f->body) {
    case BODY_XML: xml(x, tools, n); break;
    case BODY_GLM: glm(x, tools, n); break;
    case BODY_NAME: named(x, f, form == TOOLS_KIMI, n); break;
    default:
        json = brackets(x);
        if (!stuck(x) && !object(json, tools, form == TOOLS_LLAMA, n)) x->bad = true;
    }
}

/* ---- the next ---- */

static enum tools_found result(struct scan *x, struct tools_next *n)
{
    if (!stuck(x)) {
        n->used = x->at;
        n->first = false;
        return FOUND_CALL;
    }
    free(n->call);
    free(n->arguments);
    n->call = n->arguments = NULL;
    return x->more ? FOUND_MORE : FOUND_NOTHING;
}

static enum tools_found over(struct scan *x, struct tools_next *n)
{
    if (x->more) return FOUND_MORE;
    n->used = x->at;
    n->section = false;
    return FOUND_END;
}

/* Of a list: its next member, or its end. */
static enum tools_found listed(struct scan *x, enum tools_form form, const json_t *tools, struct tools_next *n)
{
    space(x);
    if (perhaps(x, n->first ? "[" : ",")) {
        one(x, form, tools, n);
        return result(x, n);
    }
    if (!x->more && n->first) return FOUND_NOTHING;
    if (!x->more) (void)perhaps(x, "]");
    return over(x, n);
}

enum tools_found tools_next(enum tools_form form, const json_t *tools, const char *text, size_t bytes,
                            struct tools_next *n)
{
    const struct tools_shape *f = &tools_shapes[form];
    struct scan x = {text, bytes, 0, n->final, false, false};

    n->call = n->arguments = NULL;
    if (f->section && !n->section) {
        must(&x, f->section);
        if (stuck(&x)) return x.more ? FOUND_MORE : FOUND_NOTHING;
        n->section = n->first = true;
        n->used = x.at;
        return FOUND_END; /* of the mark: the caller comes again */
    }
    if (f->body == BODY_LIST) return listed(&x, form, tools, n);
    if (f->section) { /* another call, or the end of them */
        space(&x);
        if (perhaps(&x, f->section_end)) return over(&x, n);
        if (x.more) return FOUND_MORE;
        if (x.final && x.at == x.n) return over(&x, n);
    }
    if (form == TOOLS_LLAMA) { /* the mark may be missing */
        (void)perhaps(&x, f->begin);
    } else {
        must(&x, f->begin);
    }
    one(&x, form, tools, n);
    if (f->end && !stuck(&x)) ending(&x, f->end);
    return result(&x, n);
}

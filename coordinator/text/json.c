#include "coordinator/text/json.h"

#include <errno.h>
#include <math.h>

#include "coordinator/text/json_cursor.h"
#include "coordinator/text/mistaken.h"
#include "proto/base/file.h"

#define BEYOND    "\xFF" /* the key of a number beyond jansson's: no text in UTF-8 has it */
#define WHOLE_MAX 0x1p53 /* from here on a real may stand for several integers */

/* ---- numbers beyond jansson's ---- */

const char *json_beyond(const json_t *v)
{
    return json_is_object(v) ? json_string_value(json_object_get(v, BEYOND)) : NULL;
}

bool json_is_members(const json_t *v)
{
    return json_is_object(v) && !json_beyond(v);
}

bool json_is_numeric(const json_t *v)
{
    return json_is_number(v) || json_beyond(v);
}

double json_numeric_value(const json_t *v)
{
    const char *text = json_beyond(v);

    return text ? strtod(text, NULL) : json_is_number(v) ? json_number_value(v) : (double)NAN;
}

bool json_whole(const json_t *v, int64_t *out)
{
    double x = json_real_value(v);

    if (json_is_integer(v))
        *out = json_integer_value(v);
    else if (json_is_real(v) && x == floor(x) && fabs(x) < WHOLE_MAX)
        *out = (int64_t)x;
    else
        return false;
    return true;
}

static json_t *make_beyond(const char *text)
{
    json_t *o = json_object();

    if (o && !json_object_set_new_nocheck(o, BEYOND, json_string_nocheck(text))) return o;
    json_decref(o);
    return NULL;
}

static json_t *make_integer(const char *digits)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(digits, &end, 10);
    return errno == ERANGE ? make_beyond(digits) : json_integer(v);
}

static json_t *make_real(const char *text)
{
    double v = strtod(text, NULL);

    return isinf(v) ? make_beyond(v < 0 ? "-Infinity" : "Infinity") : json_real(v);
}

/* ---- building ---- */

struct reading {
    struct json_cursor c;
    unsigned flags;
    const char *why; /* NULL after a failure: no memory */
    char key[64];    /* the one that is wrong, where a key is */
};

static json_t *build(struct reading *r);

/* What stands between the cursor and the end of the value, as a string in c.text. */
static bool take_plain(struct reading *r)
{
    struct json_cursor *c = &r->c;
    size_t from = c->at;

    json_cursor_skip(c);
    c->text.bytes = 0;
    buffer_append(&c->text, c->s + from, c->at - from);
    buffer_append_byte(&c->text, 0);
    return !c->text.failed;
}

static json_t *build_plain(struct reading *r)
{
    bool number = json_cursor_kind(&r->c) == JSON_KIND_NUMBER, real;
    const char *text;

    if (!take_plain(r)) return NULL;
    text = r->c.text.data;
    real = strpbrk(text, ".eE") != NULL;
    if (number) return real ? make_real(text) : make_integer(text);
    if (*text == 't' || *text == 'f') return json_boolean(*text == 't');
    return *text == 'n' ? json_null() : make_beyond(text);
}

static json_t *build_string(struct reading *r)
{
    json_cursor_string(&r->c);
    buffer_append_byte(&r->c.text, 0);
    return r->c.text.failed ? NULL : json_stringn_nocheck(r->c.text.data, r->c.text.bytes - 1);
}

static json_t *build_array(struct reading *r)
{
    json_t *a = json_array();

    json_cursor_enter(&r->c);
    while (a && json_cursor_more(&r->c)) {
        if (!json_array_append_new(a, build(r))) continue;
        json_decref(a);
        a = NULL;
    }
    return a;
}

/* Reads a key and gives a copy of it, the caller's; NULL with r->why: a key that cannot be. */
static char *build_key(struct reading *r, const json_t *object)
{
    struct buffer *key = &r->c.key;

    json_cursor_key(&r->c);
    buffer_append_byte(key, 0);
    if (key->failed) return NULL;
    snprintf(r->key, sizeof r->key, "%s", key->data);
    if (strlen(key->data) != key->bytes - 1)
        r->why = "a key with a NUL in it";
    else if ((r->flags & JSON_READ_UNIQUE) && json_object_get(object, key->data))
        r->why = "a key that stands twice";
    return r->why ? NULL : strdup(key->data);
}

static json_t *build_object(struct reading *r)
{
    json_t *o = json_object();

    json_cursor_enter(&r->c);
    while (o && json_cursor_more(&r->c)) {
        char *key = build_key(r, o);
        bool put = key && !json_object_set_new_nocheck(o, key, build(r));

        free(key);
        if (put) continue;
        json_decref(o);
        o = NULL;
    }
    return o;
}

/* NULL: no memory, or r->why. The depth was checked. */
static json_t *build(struct reading *r)
{
    switch (json_cursor_kind(&r->c)) {
    case JSON_KIND_OBJECT: return build_object(r);
    case JSON_KIND_ARRAY: return build_array(r);
    case JSON_KIND_STRING: return build_string(r);
    default: return build_plain(r);
    }
}

int json_read_text(json_t **out, const char *text, size_t bytes, const char *name, unsigned flags, struct error *e)
{
    const char *again = flags & JSON_READ_FILE ? ": not valid JSON, download the file again" : "";
    const char *why = json_begin(&text, &bytes);
    struct json_fault f;
    struct reading r = {.c = {.s = text, .bytes = bytes}, .flags = flags};
    bool object;

    *out = NULL;
    if (why) return error_set(e, EINVAL, "%s: %s%s", name, why, again);
    if (!json_check(text, bytes, flags & JSON_READ_PAIRS, &f))
        return error_set(e, EINVAL, "%s: line %zu, column %zu: %s%s", name, f.line, f.column, f.why, again);
    object = json_cursor_kind(&r.c) == JSON_KIND_OBJECT;
    if (!object && !(flags & JSON_READ_ANY))
        return error_set(e, EINVAL, "%s: not a JSON object%s", name,
                         flags & JSON_READ_FILE ? ", download the file again" : "");
    *out = build(&r);
    json_cursor_free(&r.c);
    if (*out) return 0;
    if (r.why) return error_set(e, EINVAL, "%s: %s, \"%.60s\"%s", name, r.why, r.key, again);
    return error_set(e, ENOMEM, "%s: no memory for its values", name);
}

/* ---- writing ---- */

static int print(FILE *f, const json_t *v, int level);

static int print_scalar(FILE *f, const json_t *v)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY);
    int rc = !text ? -ENOMEM : fputs(text, f) == EOF ? -EIO : 0;

    free(text);
    return rc;
}

static int print_key(FILE *f, const char *key)
{
    json_t *v = json_string_nocheck(key);
    int rc = v ? print_scalar(f, v) : -ENOMEM;

    json_decref(v);
    return rc || fputs(": ", f) != EOF ? rc : -EIO;
}

static int print_members(FILE *f, const json_t *v, int level)
{
    bool object = json_is_object(v);
    size_t n = object ? json_object_size(v) : json_array_size(v);
    void *at = object ? json_object_iter((json_t *)v) : NULL;
    int rc = fputc(object ? '{' : '[', f) == EOF ? -EIO : 0;

    for (size_t i = 0; i < n && !rc; i++) {
        if (fprintf(f, "%s\n%*s", i ? "," : "", 2 * level + 2, "") < 0) rc = -EIO;
        if (!rc && object) rc = print_key(f, json_object_iter_key(at));
        if (!rc) rc = print(f, object ? json_object_iter_value(at) : json_array_get(v, i), level + 1);
        if (object) at = json_object_iter_next((json_t *)v, at);
    }
    if (!rc && n && fprintf(f, "\n%*s", 2 * level, "") < 0) rc = -EIO;
    return rc || fputc(object ? '}' : ']', f) != EOF ? rc : -EIO;
}

static int print(FILE *f, const json_t *v, int level)
{
    const char *beyond = json_beyond(v);

    if (beyond) return fputs(beyond, f) == EOF ? -EIO : 0;
    return json_is_object(v) || json_is_array(v) ? print_members(f, v, level) : print_scalar(f, v);
}

int json_print(FILE *f, const json_t *v)
{
    return print(f, v, 0);
}

int json_read_file(json_t **out, const char *path, uint64_t max_bytes, struct error *e)
{
    uint64_t bytes = 0;
    char *text = NULL;
    int rc = file_load(&text, &bytes, path, max_bytes, e), other = 0;

    *out = NULL;
    if (rc) return rc;
    rc = json_read_text(out, text, bytes, path, JSON_READ_FILE, e);
    if (rc == -EINVAL)
        other = mistaken_look(path, text, bytes < MISTAKEN_HEAD_BYTES ? bytes : MISTAKEN_HEAD_BYTES, bytes, e);
    free(text);
    return other ? other : rc;
}

#include "coordinator/tokenizer/json.h"

#include "coordinator/text/mistaken.h"
#include "proto/base/file.h"

#include <errno.h>

#define FILE_BYTES_MAX (UINT64_C(2) << 30)

/* ---- the document ---- */

/* Finds model.vocab and model.merges. The last of several equal keys counts, as for jansson. */
static void find_tables(struct json_document *d)
{
    struct json_cursor c = {.s = d->file.data, .bytes = d->file.bytes};
    if (json_cursor_kind(&c) != JSON_KIND_OBJECT) return;
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
            if (vocab) d->vocab = span;
            if (merges) d->merges = span;
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
        if (!cut[i].data) continue;
        buffer_append(&rest, from, (size_t)(cut[i].data - from));
        buffer_append_text(&rest, "null");
        from = cut[i].data + cut[i].bytes;
    }
    buffer_append(&rest, from, (size_t)(end - from));
    int rc = rest.failed ? error_set(e, ENOMEM, "%s: no memory to read it", path)
                         : json_read_text(&d->root, rest.data, rest.bytes, path, JSON_READ_PAIRS | JSON_READ_FILE, e);
    buffer_free(&rest);
    return rc;
}

/* A byte order mark goes, and the rest is checked. mistaken: what lies there instead is told. */
static int check_whole(struct buffer *file, const char *path, bool mistaken, struct error *e)
{
    const char *text = file->data, *why = json_begin(&text, &file->bytes);
    struct json_fault f;
    int rc = 0;

    memmove(file->data, text, file->bytes + 1);
    if (!why && json_check(file->data, file->bytes, true, &f)) return 0;
    if (mistaken)
        rc = mistaken_look(path, file->data, file->bytes < MISTAKEN_HEAD_BYTES ? file->bytes : MISTAKEN_HEAD_BYTES,
                           file->bytes, e);
    if (rc != 0) return rc;
    if (why) return error_set(e, EINVAL, "%s: %s: not valid JSON, download the file again", path, why);
    return error_set(e, EINVAL, "%s: line %zu, column %zu: %s: not valid JSON, download the file again", path, f.line,
                     f.column, f.why);
}

int json_load_whole(struct buffer *file, const char *path, struct error *e)
{
    uint64_t bytes = 0;
    char *data = NULL;
    int rc = file_load(&data, &bytes, path, FILE_BYTES_MAX, e);
    if (rc != 0) return rc;
    *file = (struct buffer){.data = data, .bytes = bytes, .capacity = bytes + 1}; /* a 0 is behind it */
    return check_whole(file, path, true, e);
}

/* What was loaded, to its parts; rc: of loading it. */
static int read_whole(struct json_document *d, const char *path, int rc, struct error *e)
{
    if (rc == 0) {
        find_tables(d);
        rc = parse_rest(d, path, e);
    }
    if (rc != 0) json_document_free(d);
    return rc;
}

int json_document_read(struct json_document *d, const char *path, struct error *e)
{
    *d = (struct json_document){0};
    return read_whole(d, path, json_load_whole(&d->file, path, e), e);
}

int json_document_text(struct json_document *d, const char *text, size_t bytes, const char *name, struct error *e)
{
    *d = (struct json_document){0};
    buffer_append(&d->file, text, bytes);
    buffer_append_byte(&d->file, 0);
    if (d->file.failed) return error_set(e, ENOMEM, "%s: no memory to read it", name);
    d->file.bytes--;
    return read_whole(d, name, check_whole(&d->file, name, false, e), e);
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

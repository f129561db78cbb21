/* tokenizer.json, read in two parts: the vocabulary and the merges, which are nearly all of its bytes, by a reader of our
 * own that fills the tables directly; everything else by jansson.
 *
 * The reader checks the whole file first (strings, escapes, UTF-8, nesting), so both parts may rely on its syntax. */
#pragma once
#include "coordinator/tokenizer/buffer.h"
#include "proto/base/error.h"

#include <jansson.h>

struct json_span {
    const char *data; /* NULL: the member is not there */
    size_t bytes;
};

struct json_document {
    struct buffer file;
    json_t *root;                 /* without the two members below, which are null in it */
    struct json_span vocab, merges; /* the text of model.vocab and model.merges */
};

/* Reads the file, at most 2 GiB. Free it with json_document_free. */
int json_document_read(struct json_document *d, const char *path, struct error *e);
void json_document_free(struct json_document *d);

/* Walks an array or object value by value. Strings come unescaped, in a buffer that the next call overwrites. */
struct json_cursor {
    const char *s;
    size_t bytes, at;
    struct buffer key, text;
};

enum json_kind { JSON_KIND_OBJECT, JSON_KIND_ARRAY, JSON_KIND_STRING, JSON_KIND_NUMBER, JSON_KIND_LITERAL };

enum json_kind json_cursor_kind(struct json_cursor *c);   /* of the value that comes next */
void json_cursor_enter(struct json_cursor *c);            /* into the object or array that comes next */
bool json_cursor_more(struct json_cursor *c);             /* another member? false: its end, which is passed */
void json_cursor_key(struct json_cursor *c);              /* reads the key of a member into c->key */
void json_cursor_string(struct json_cursor *c);           /* reads a string into c->text */
double json_cursor_number(struct json_cursor *c);
void json_cursor_skip(struct json_cursor *c);             /* passes any value */
void json_cursor_free(struct json_cursor *c);

/* Members of a jansson object. A member that is missing or null gives the default; one of the wrong type is -EINVAL. */
int json_get_bool(const json_t *o, const char *key, bool otherwise, bool *out, struct error *e);
int json_get_text(const json_t *o, const char *key, const char **out, size_t *bytes, struct error *e); /* *out NULL: missing */
int json_need_text(const json_t *o, const char *key, const char **out, size_t *bytes, struct error *e);
const char *json_type_name(const json_t *o); /* its "type", "" if it has none */

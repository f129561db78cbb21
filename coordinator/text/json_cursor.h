/* JSON text as Python's json module writes it: checked whole, then walked value by value without a tree.
 *
 * Beside RFC 8259, Python's json (which writes most files of a model folder) has NaN, Infinity and -Infinity, integers of
 * any size, and single halves of surrogate pairs ("\ud800"). All of these pass the check; what a reader makes of them is
 * said in json.h. A cursor may only walk a text that json_check() has passed: it relies on the syntax. */
#pragma once
#include "coordinator/text/buffer.h"

#define JSON_DEPTH_MAX      500  /* of values in values: recursion is bounded by it */
#define JSON_INTEGER_DIGITS 4300 /* Python reads no longer integer */

/* Where a text stops to be JSON, and why. */
struct json_fault {
    const char *why;
    size_t at;           /* bytes from the beginning */
    size_t line, column; /* from 1; columns are characters */
};

/* Is text[0..bytes) one JSON value and nothing else, in UTF-8? pairs: half a surrogate pair is a fault. */
bool json_check(const char *text, size_t bytes, bool pairs, struct json_fault *f);

/* Steps over the byte order mark that some editors put first, and takes it off *bytes. NULL, or why this is no text of
 * JSON at all: empty, UTF-16. */
const char *json_begin(const char **text, size_t *bytes);

/* Walks an array or object value by value. Strings come unescaped, in a buffer that the next call overwrites; half a
 * surrogate pair is U+FFFD. */
struct json_cursor {
    const char *s;
    size_t bytes, at;
    struct buffer key, text;
};

enum json_kind {
    JSON_KIND_OBJECT,
    JSON_KIND_ARRAY,
    JSON_KIND_STRING,
    JSON_KIND_NUMBER,
    JSON_KIND_LITERAL,    /* true, false, null */
    JSON_KIND_NOT_FINITE, /* NaN, Infinity, -Infinity */
};

enum json_kind json_cursor_kind(struct json_cursor *c); /* of the value that comes next */
void json_cursor_enter(struct json_cursor *c);          /* into the object or array that comes next */
bool json_cursor_more(struct json_cursor *c);           /* another member? false: its end, which is passed */
void json_cursor_key(struct json_cursor *c);            /* reads the key of a member into c->key */
void json_cursor_string(struct json_cursor *c);         /* reads a string into c->text */
void json_cursor_skip(struct json_cursor *c);           /* passes any value */
void json_cursor_free(struct json_cursor *c);

/* Reads a number as serde_json does, which is not always the nearest double: digits as an integer, then one
 * multiplication or division by a power of ten. Scores that tie in Hugging Face tokenizers tie here too. */
double json_cursor_number(struct json_cursor *c);
/* Reads a number that is a whole one, from 0 to most: digits alone. false: it is something else; it is passed anyway. */
bool json_cursor_whole(struct json_cursor *c, uint64_t most, uint64_t *out);

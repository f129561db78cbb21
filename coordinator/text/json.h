/* The one reader of JSON files: Python's JSON (json_cursor.h) to jansson's values.
 *
 * jansson's values hold what RFC 8259 and 64 bits hold. A number beyond that (an integer past 64 bits, NaN, an infinity, a
 * real past the largest double, which Python reads as an infinity) becomes an object of an own kind, which no text can
 * spell: json_beyond() knows it. So no digit is lost, a value that nobody asks for costs nothing, and one that is asked for
 * as a string, a list or a jansson number is of the wrong type, which each reader checks anyway.
 *
 * Of equal keys in an object the last one counts, at the place of the first, as in Python. A byte order mark is skipped.
 * Half a surrogate pair is U+FFFD, since it is no character and could not be written out again. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "proto/base/error.h"

enum json_read {
    JSON_READ_ANY = 1,    /* any value; without it, an object */
    JSON_READ_UNIQUE = 2, /* a key that stands twice in one object is an error */
    JSON_READ_PAIRS = 4,  /* half a surrogate pair is an error */
    JSON_READ_FILE = 8,   /* a file that was downloaded: messages say to do it again */
};

/* name: of the file, for messages, which say line and column. *out is the caller's. -EINVAL, -ENOMEM. */
int json_read_text(json_t **out, const char *text, size_t bytes, const char *name, unsigned flags, struct error *e);

/* The same of a file, an object of at most max_bytes. What lies in the place of JSON is told (mistaken.h); errors of
 * file_load() too: -ENOENT without the file. */
int json_read_file(json_t **out, const char *path, uint64_t max_bytes, struct error *e);

/* The digits of an integer past 64 bits, "NaN", "Infinity" or "-Infinity"; NULL for every other value. */
const char *json_beyond(const json_t *v);
/* An object that a text spelled. */
bool json_is_members(const json_t *v);
/* Numbers of every kind, and the double nearest to one; NaN for what is no number. */
bool json_is_numeric(const json_t *v);
double json_numeric_value(const json_t *v);
/* An exact whole number: an integer of 64 bits, or a real without a fraction below 2^53. false: it is none. */
bool json_whole(const json_t *v, int64_t *out);

/* Writes a value, numbers beyond jansson's too, two spaces a level. 0 or -EIO, -ENOMEM. */
int json_print(FILE *f, const json_t *v);

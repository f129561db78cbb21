/* tokenizer.json, read in two parts: the vocabulary and the merges, which are nearly all of its bytes, by a cursor that
 * fills the tables directly; everything else as a tree (text/json.h).
 *
 * The whole file is checked first, so both parts may rely on its syntax. Tokens are made of characters: half a surrogate
 * pair is an error here, as for Hugging Face tokenizers. */
#pragma once
#include "coordinator/text/json.h"
#include "coordinator/text/json_cursor.h"

struct json_span {
    const char *data; /* NULL: the member is not there */
    size_t bytes;
};

struct json_document {
    struct buffer file;
    json_t *root;                   /* without the two members below, which are null in it */
    struct json_span vocab, merges; /* the text of model.vocab and model.merges */
};

/* Reads the file, at most 2 GiB. Free it with json_document_free. */
int json_document_read(struct json_document *d, const char *path, struct error *e);
/* The same of a text that lies elsewhere; name is for messages. */
int json_document_text(struct json_document *d, const char *text, size_t bytes, const char *name, struct error *e);
void json_document_free(struct json_document *d);

/* Reads and checks a file for a cursor to walk; its text, with a 0 behind it, is freed by buffer_free(), after an error too. */
int json_load_whole(struct buffer *file, const char *path, struct error *e);

/* Members of a jansson object. A member that is missing or null gives the default; one of the wrong type is -EINVAL. */
int json_get_bool(const json_t *o, const char *key, bool otherwise, bool *out, struct error *e);
int json_get_text(const json_t *o, const char *key, const char **out, size_t *bytes,
                  struct error *e); /* *out NULL: missing */
int json_need_text(const json_t *o, const char *key, const char **out, size_t *bytes, struct error *e);
const char *json_type_name(const json_t *o); /* its "type", "" if it has none */

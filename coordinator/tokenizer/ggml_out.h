/* A tokenizer as the tables that a GGUF file holds of it (ggml.h): the way back of tokenizer_from_ggml(). What these tables can
 * say is less than what a tokenizer.json can, so the result is tried: both have to give the same ids for a text that has something of
 * all that split rules differ in. */
#pragma once
#include "coordinator/text/buffer.h"
#include "coordinator/tokenizer/ggml.h"

/* A list of texts, one after the other, each with a NUL behind it. */
struct ggml_list {
    struct buffer text;
    size_t *at; /* where each begins; one more entry behind the last */
    size_t count, capacity;
};

struct ggml_made {
    struct ggml_tables tables; /* into what follows */
    struct ggml_list tokens, merges;
    struct buffer charsmap;
    float *score;
    uint8_t *type;
    char pre[64];
    bool same;     /* it was tried, and gives the same ids */
    char why[160]; /* why not, for people */
};

/* tokens: how many the model has an embedding of; the tables have as many, what is missing is filled up, what is more left out.
 * Where there are no such tables at all, tables.model is NULL. The caller frees *out with ggml_made_free(), after an error too. */
int ggml_make(struct ggml_made *out, const struct tokenizer *t, uint64_t tokens, struct error *e);
void ggml_made_free(struct ggml_made *x);

/* ---- of ggml.c and ggml_split.c ---- */

/* Splits texts by the i-th rule from here on. name, of room bytes: its first name. false: there is no i-th. */
bool ggml_split_name(size_t i, char *name, size_t room);
int ggml_split_by(struct tokenizer *t, const char *name, struct error *e);

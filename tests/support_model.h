/* Model folders for tests: reference models with their published logits, and the same weights under other names. */
#pragma once
#include <jansson.h>
#include <stdint.h>
#include "coordinator/arch/model.h"
#include "coordinator/source/tensors.h"

#define REFERENCE_MODELS "tests/data/models"

/* A fresh folder in the temporary one; the caller frees the path after scratch_remove(). Fails the test. */
char *scratch_make(void);
void scratch_remove(char *path); /* with its files, and frees path */
/* FOLDER/name, in a buffer that the next call overwrites. */
const char *scratch_path(const char *folder, const char *name);
void scratch_write(const char *folder, const char *name, const char *text);
/* The JSON value of this text; and FOLDER/name becomes o, which is let go. Both fail the test. */
json_t *json_of(const char *text);
/* The number under a key of an object; fails the test where there is none. */
double json_number_of(const json_t *o, const char *key);
void scratch_write_json(const char *folder, const char *name, json_t *o);
/* A config.json; NULL: it is none. Python writes Infinity, which jansson does not read: a number as large stands for it. */
json_t *config_read(const char *path);
/* The reference model's config.json; the caller's. */
json_t *reference_config(const char *name);
/* A scratch folder with the reference model's config.json and weights. */
char *reference_make(const char *name);
/* The same with a tokenizer of as many words as the model has rows: all that a run of a text opens. */
char *reference_make_whole(const char *name);

struct golden {
    uint32_t *tokens, n, *positions, wanted, vocab;
    float *logits;              /* [wanted][vocab] */
    uint32_t *greedy, greedies; /* the likeliest tokens that follow */
    char source[64];            /* who computed it */
};
struct golden golden_load(const char *name);
void golden_free(struct golden *g);
/* Logits [wanted][vocab] of the model in folder for the golden's tokens, by interpret(); the caller's. */
double *golden_logits(const struct golden *g, const char *folder);
/* Largest difference of the model in folder from the golden's logits. */
double golden_difference(const struct golden *g, const char *folder);

/* ---- the same weights under other names ---- */

struct renamer {
    struct tensors *from;
    uint8_t **bytes; /* of each of its files */
    char *header;    /* of the file being made */
    size_t header_bytes, data_bytes;
    uint8_t *data;
    uint32_t count;
};
void renamer_open(struct renamer *r, const char *folder);
/* name becomes rows [row0, row0 + rows) of source; further calls of renamer_append() add rows of other tensors to it. */
void renamer_begin(struct renamer *r, const char *name);
void renamer_append(struct renamer *r, const char *source, uint64_t row0, uint64_t rows);
void renamer_end(struct renamer *r, uint64_t rows, uint64_t cols); /* cols 0: a vector */
void renamer_end_shape(struct renamer *r, const uint64_t *shape, uint32_t dims);
void renamer_copy(struct renamer *r, const char *name, const char *source);
/* The same with other values: change is called with each element, by its index and its value, and gives the one that is
 * stored as F32 in this shape. */
void renamer_change(struct renamer *r, const char *name, const char *source, const uint64_t *shape, uint32_t dims,
                    float (*change)(uint64_t i, float value));
/* Writes FOLDER/model.safetensors and lets everything go. */
void renamer_close(struct renamer *r, const char *folder);

/* A model folder, opened: its config, the headers of its files, and its family's program.
 *
 *   config.c       config.json                     safetensors.c, tensors.c   which bytes lie where
 *   families/      config -> operations            build.c, stack.c           what families are written with
 *
 * Nothing of the weights is read. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/source/source.h"
#include "proto/base/error.h"
#include "proto/plan.h"

struct model;

struct model_options {
    uint32_t context;     /* positions that a sequence may have; 0: as many as the model was made for */
    uint32_t want_tokens; /* prompt and tokens to come, 0 unknown: picks longrope's factors and the default context */
    bool allow_missing_weights; /* to plan a folder that has only config.json, and perhaps the index or tensors.tsv */
    /* Told of every tensor that is missing or has another shape, which then are no error: to list them all. The program
     * is not fit to run after that. file: NULL where it is missing. And of every file that is missing or damaged
     * (tensors.h), whose tensors are then not missed. Both or none. */
    void (*tensor_fault)(void *arg, const char *file, const char *tensor, const char *text);
    void (*file_fault)(void *arg, const char *file, const char *text);
    void *fault_arg;
};

/* o may be NULL. -errno with file, tensor or field, and the remedy in *e. The source may be closed before the model. */
int model_open_source(struct model **out, const struct source *s, const struct model_options *o, struct error *e);
/* The same of the source at path. */
int model_open(struct model **out, const char *path, const struct model_options *o, struct error *e);
void model_close(struct model *m);

const struct plan_shm *model_program(const struct model *m); /* owned by the model; passes program_check() */
uint64_t
model_weight_bytes(const struct model *m);        /* of the tensors that the program uses, as stored, scales included */
uint64_t model_parameters(const struct model *m); /* elements of them, scales left out */
uint32_t model_positions(const struct model *m);  /* the longest context that may be asked for */
/* What to do where tokens are more than the context, for messages: put into out. */
const char *model_longer_context(const struct model *m, uint64_t tokens, char *out, size_t bytes);
const char *model_notice(const struct model *m); /* NULL, or a line that the user should see */
/* Where the sizes of the weights come from: "files", or what stood in for them (source/tensors.h). */
const char *model_weights_from(const struct model *m);
bool model_weights_missing(const struct model *m);          /* they are not there: it can be planned, and not run */
bool model_uses(const struct model *m, const char *tensor); /* does the program read the tensor of that name? */
/* Is it one that the program knows, and has no use for: of layers that predict further tokens, of experts that do nothing? */
bool model_leaves_out(const struct model *m, const char *tensor);
const struct model_generation *model_generation(const struct model *m);
/* What it was read from; both belong to the model. */
const struct config *model_config(const struct model *m);
const struct tensors *model_tensors(const struct model *m);

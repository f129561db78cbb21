/* All tensors of a model folder, by name: one model.safetensors, or the shards that model.safetensors.index.json lists.
 *
 * A folder can be planned before its weights are there. What stands in for their headers is then, first found:
 *
 *   tensors.tsv                    a list of all tensors, see tensors_list.c: as good as the headers
 *   model.safetensors.index.json   names and files; the tensors are assumed, with the shapes that the family asks for
 *   config.json alone              names are assumed too */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/source/safetensors.h"
#include "proto/base/error.h"

struct tensors_entry {
    char *name, *path; /* of a file: as the folder names it, and where it is */
    struct safetensors_file info;
};

enum tensors_source { TENSORS_FILES, TENSORS_LIST, TENSORS_INDEX, TENSORS_CONFIG };

struct tensors {
    struct tensor *at;
    struct tensors_entry *files;
    uint32_t *slot; /* hash table over names: index + 1 into at, 0 free */
    size_t count, capacity, slots;
    uint32_t file_count;
    char *folder;
    bool assumed;     /* no weights lie here: shapes are unknown (dims of every tensor 0) */
    bool names_known; /* of an assumed folder: its index lists the names */
    enum tensors_source source;
    uint64_t index_bytes; /* of all tensors, as the index of an assumed folder says; 0: it does not say */
};

/* allow_missing: a folder without weights is listed or assumed, not refused. */
int tensors_open(struct tensors **out, const char *folder, bool allow_missing, struct error *e);
void tensors_close(struct tensors *t);

const struct tensor *tensors_find(const struct tensors *t, const char *name);
/* Of an assumed folder: the tensor gets this shape (bytes and offsets follow each other); NULL: no memory. */
const struct tensor *tensors_assume(struct tensors *t, const char *name, uint32_t dtype, const uint64_t *shape,
                                    uint32_t dims);
/* Of an assumed folder: bytes of all tensors that got a shape; *every: all that the index names did. */
uint64_t tensors_assumed_bytes(const struct tensors *t, bool *every);
/* "tensors.tsv": what a source is called. */
const char *tensors_source_name(enum tensors_source s);

/* For who fills them: a file of the folder (a plain name), and a tensor, copied with its name and shape (-EEXIST where
 * the name is there already, -ENOMEM). */
#define TENSORS_LIST_NAME   "tensors.tsv"
#define TENSORS_SINGLE_NAME "model.safetensors"
bool tensors_plain_name(const char *s);
bool tensors_name_ends(const char *s, const char *end);
int tensors_add_file(struct tensors *t, const char *name, uint32_t *idx, struct error *e);
int tensors_add(struct tensors *t, const struct tensor *x, struct tensor **where);
/* Reads the list at path. */
int tensors_read_list(struct tensors *t, const char *path, struct error *e);

const char *tensors_path(const struct tensors *t, const struct tensor *x);

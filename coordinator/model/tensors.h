/* All tensors of a model folder, by name: one model.safetensors, or the shards that model.safetensors.index.json lists.
 *
 * A folder of which only config.json (and perhaps the index) is there can be planned without its weights: then the
 * tensors are assumed, with the shapes that the family asks for (see tensors.assumed). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/model/safetensors.h"
#include "proto/error.h"

struct tensors_entry {
    char *name, *path; /* of a file: as the folder names it, and where it is */
    struct safetensors_file info;
};

struct tensors {
    struct tensor *at;
    struct tensors_entry *files;
    uint32_t *slot; /* hash table over names: index + 1 into at, 0 free */
    size_t count, capacity, slots;
    uint32_t file_count;
    char *folder;
    bool assumed;     /* no weights lie here: shapes are unknown (dims of every tensor 0) */
    bool names_known; /* of an assumed folder: its index lists the names */
};

/* allow_missing: a folder without weights is assumed, not refused. */
int tensors_open(struct tensors **out, const char *folder, bool allow_missing, struct error *e);
void tensors_close(struct tensors *t);

const struct tensor *tensors_find(const struct tensors *t, const char *name);
/* Of an assumed folder: the tensor gets this shape (bytes and offsets follow each other); NULL: no memory. */
const struct tensor *tensors_assume(struct tensors *t, const char *name, uint32_t dtype, const uint64_t *shape,
                                    uint32_t dims);
const char *tensors_path(const struct tensors *t, const struct tensor *x);

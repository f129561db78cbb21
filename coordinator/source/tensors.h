/* All tensors of a model folder, by name. Which files they lie in, first found:
 *
 *   model.safetensors              one file
 *   model.safetensors.index.json   the files that it lists, also in folders below this one, never outside of it. A tensor
 *                                  that lies in several files is taken from the one that the index names; where the index
 *                                  names one that does not have it, from the one that does (of several: the last). What the
 *                                  index names and nobody has, and files that are not there, matter only where the model
 *                                  needs a tensor of them
 *   NAME-00001-of-00005.safetensors and its like, without an index; else whatever safetensors files there are, each tensor
 *                                  in one of them (shards.h)
 *
 * A folder can be planned before its weights are there, or where git LFS pointers stand for them. What stands in for their
 * headers is then, first found:
 *
 *   tensors.tsv                    a list of all tensors, see tensors_list.c: as good as the headers
 *   model.safetensors.index.json   names and files; the tensors are assumed, with the shapes that the family asks for
 *   config.json alone              names are assumed too */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/source/packed.h"
#include "coordinator/source/safetensors.h"
#include "proto/base/error.h"

#define TENSORS_LIST_NAME   "tensors.tsv"
#define TENSORS_SINGLE_NAME "model.safetensors"
#define TENSORS_INDEX_NAME  "model.safetensors.index.json"
#define TENSORS_NONE        UINT32_MAX

struct tensors_file {
    char *name, *path;            /* as the folder names it, and where it is */
    struct safetensors_file info; /* of a packed file: bytes and header_bytes are its own, its front's */
    struct packed *packed;        /* where the bytes of the original file lie in it; NULL: as they were */
    char *fault;                  /* NULL: its tensors are known. Else why they are not: a whole message */
    bool absent;                  /* it is not there, or a git LFS pointer is */
};

/* A tensor that lies in another file too, and is not taken from there. */
struct tensors_copy {
    uint32_t tensor, file;
    bool disputed; /* no index says which of the two counts */
};

/* What the index says of a tensor, and no file that could be read has. */
struct tensors_claim {
    char *tensor;
    uint32_t file;
};

enum tensors_source { TENSORS_FILES, TENSORS_LIST, TENSORS_INDEX, TENSORS_CONFIG, TENSORS_HEADER };

/* What a converter to GGUF changed of the numbers in the folder that a family is written for. */
struct tensors_changes {
    bool qk_pairs;    /* rows of q and k alternate within a head: one of its first half, one of its second */
    bool norms_whole; /* norms have their 1 added */
    bool decay;       /* A_log is -exp(A_log) */
    bool tiled;       /* value head h of the delta rule belongs to key head h % key heads */
};

struct tensors {
    struct tensor *at;
    struct tensors_file *files;
    uint32_t *slot; /* hash table over names: index + 1 into at, 0 free */
    size_t count, capacity, slots;
    uint32_t file_count;
    struct tensors_copy *copies;
    struct tensors_claim *claims; /* by name */
    size_t copy_count, claim_count;
    char *folder;
    bool packed; /* its files are packed (packed.h) */
    struct packed_index packed_index;
    bool assumed;     /* no weights lie here: shapes are unknown (dims of every tensor 0) */
    bool names_known; /* of an assumed folder: its index lists the names */
    bool indexed;     /* an index says which tensors lie where */
    bool gguf;        /* their files are GGUF */
    struct tensors_changes changes;
    enum tensors_source source;
    uint64_t stated_bytes; /* of all tensors, as the index or the pointers of an assumed folder say; 0: nobody says */
};

struct tensors_options {
    bool allow_missing; /* a folder without weights is listed or assumed, not refused */
    /* Told of every file that is missing, a pointer or damaged; the others are read all the same. NULL: the first fault
     * ends the opening, but for files that are absent while others are there: see tensors_claim_fault(). */
    void (*file_fault)(void *arg, const char *file, const char *text);
    void *arg;
};

/* o may be NULL. */
int tensors_open(struct tensors **out, const char *folder, const struct tensors_options *o, struct error *e);
void tensors_close(struct tensors *t);

/* Packed files: where their bytes lie is known elsewhere now, and no longer here. */
void tensors_forget_fronts(struct tensors *t);

const struct tensor *tensors_find(const struct tensors *t, const char *name);
/* Of a name that is not found: the file that should have it as the index says; NULL: it says nothing. */
const struct tensors_file *tensors_claimed(const struct tensors *t, const char *name);
/* Is there a file whose tensors are not known? */
bool tensors_any_fault(const struct tensors *t);
/* Of an assumed folder: the tensor gets this shape (bytes and offsets follow each other); NULL: no memory. */
const struct tensor *tensors_assume(struct tensors *t, const char *name, uint32_t dtype, const uint64_t *shape,
                                    uint32_t dims);
/* Of an assumed folder: bytes of all tensors that got a shape; *every: all that the index names did. */
uint64_t tensors_assumed_bytes(const struct tensors *t, bool *every);
/* "tensors.tsv": what a source is called. */
const char *tensors_source_name(enum tensors_source s);
const char *tensors_path(const struct tensors *t, const struct tensor *x);
bool tensors_name_ends(const char *s, const char *end);

/* ---- for who fills them ---- */

#define TENSORS_NAME_BYTES 4096
/* name as a path inside of the folder, without "." and doubled slashes; out has TENSORS_NAME_BYTES. false: it is empty,
 * too long, or leads out of the folder. */
bool tensors_inner_name(char *out, const char *name);
int tensors_add_file(struct tensors *t, const char *name, uint32_t *idx, struct error *e);
/* Copied with its name and shape; -EEXIST where the name is there already, -ENOMEM. */
int tensors_add(struct tensors *t, const struct tensor *x, struct tensor **where);
/* The tensors of file idx. claim (or NULL): the file that the index names for a tensor, TENSORS_NONE for none. */
typedef uint32_t tensors_claim_fn(void *arg, const char *tensor);
int tensors_read_file(struct tensors *t, uint32_t idx, tensors_claim_fn *claim, void *arg, struct error *e);
/* What o says shall happen to a file that has a fault: 0 where it was told or can wait. */
int tensors_file_fault(struct tensors *t, uint32_t idx, const struct tensors_options *o, struct error *e);
/* Whether file idx is there, and no pointer: else its fault and absent are set, and *bytes is what a pointer says. */
int tensors_look(struct tensors *t, uint32_t idx, uint64_t *bytes, struct error *e);
int tensors_read_list(struct tensors *t, const char *path, struct error *e);
int tensors_read_index(struct tensors *t, const char *path, const struct tensors_options *o, struct error *e);

/* `sluice pack` and `sluice unpack`: a folder of safetensors files in fewer bytes (source/packed.h), and back.
 *
 *   cut.c        which bytes of which file are matrices that a run multiplies with: those become units
 *   batch.c      pieces of a file, many at once: read, packed or unpacked by all threads, then written and summed
 *   pack_file.c  one file; what a partial one already has is compared and kept
 *   pack.c       the folder: space, partial output, copies, the index
 *   unpack.c     the way back, which is also how a packed folder is verified
 *   numbers.c    counts what is no number on that way
 *
 * Output appears as NAME.partial and gets its name when it is whole, and a folder its index last of all: so whatever ends
 * the program, nothing that is half there is taken for whole, and the same command goes on where it ended.
 *
 * All sums are over bytes that were read or written here: of the original file as it was read while it was packed, and as
 * it is written when it is unpacked. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/source/source.h"
#include "proto/base/error.h"

/* A tensor of which some are no numbers. */
struct pack_numbers {
    const char *file, *tensor; /* file: the original one's name */
    uint64_t nan, inf, first;  /* how many, and where in the original file the first one lies */
};

struct pack_options {
    const char *out; /* folder; of unpack_folder() NULL: nothing is written, all is verified */
    uint32_t threads;
    uint64_t memory;     /* bytes that buffers may have, about; UINT64_MAX: as it suits */
    uint32_t unit_bytes; /* of unpacked rows in a unit, at most; 0: UNIT_BYTES. Of a GGUF file: of rows in a piece */
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void (*told)(void *arg, const char *name, const char *sha256); /* of each original file, once it is sure; or NULL */
    /* Of unpack_folder() without out: such tensors are told of, in the order of files and offsets; or NULL. */
    void (*numbers)(void *arg, const struct pack_numbers *n);
    /* Of unpack_folder() without out: an original file that is not what was packed, or cannot be read; the others follow. NULL: it
     * ends with that. */
    void (*failed)(void *arg, const char *name, const char *text);
    void *arg;
    bool (*interrupted)(void); /* NULL: never */
};

#define UNIT_BYTES (256u << 10)

struct pack_result {
    uint64_t raw_bytes, stored_bytes;  /* of all weight files */
    uint64_t matrix_bytes, unit_bytes; /* of what is packed: before, after */
    uint64_t kept_bytes;               /* of the original files, that an earlier run had done */
    uint64_t files;
};

/* s: a folder whose model can run here. -EEXIST, -EINVAL (the output is the input, or holds something else), -ENOSPC,
 * -ESTALE (a file changed while it was read), -ECANCELED, and what opening a model can say. */
int pack_folder(const struct source *s, const struct pack_options *o, struct pack_result *r, struct error *e);
/* s: a packed folder. -EBADMSG: something in it is not what was packed. */
int unpack_folder(const struct source *s, const struct pack_options *o, struct pack_result *r, struct error *e);

/* Room that packing would need beside what is there already, about; of that, what packed matrices take. For plan. */
#define PACK_RATIO 0.68 /* of trained weights; measured: bench/SPEED.md, design of proto/unit/unit.h */

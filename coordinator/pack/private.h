/* What the files of this room share. */
#pragma once
#include "coordinator/pack/pack.h"
#include "coordinator/pack/sha256.h"
#include "coordinator/source/packed.h"
#include "proto/plan.h"
#include "proto/unit/unit.h"

/* ---- cut.c ---- */

/* One file of a model, as it will be packed; segments without their stored_off. */
struct cut_file {
    char *name, *path;
    uint64_t bytes, header_bytes;
    struct packed_segment *segment;
    uint64_t segments, units;
    uint64_t matrix_bytes;
};

struct cut {
    struct cut_file *file;
    uint32_t files;
};

int cut_make(struct cut *c, const struct source *s, uint32_t unit_bytes, struct error *e);
void cut_free(struct cut *c);
/* product[i] becomes 1 where matrix i is walked row by row, other[i] where it is read in other ways too. */
void cut_mark(const struct plan_shm *p, uint8_t *product, uint8_t *other);
/* Is it of a kind and size that packs? */
bool cut_packs(const struct plan_matrix *m);
/* Rows of a unit of at most unit_bytes, one at least. */
uint32_t cut_unit_rows(uint64_t rows, uint64_t cols, uint32_t unit_bytes);

/* ---- batch.c ---- */

/* Consecutive bytes of the original file: a unit's rows, or bytes as they are. */
struct piece {
    uint64_t raw_off, raw_bytes;
    uint64_t stored_off, stored_bytes; /* where it lies, or will */
    const struct packed_segment *segment;
    uint64_t unit;       /* of the file's units */
    uint32_t rows, cols; /* cols 0: bytes as they are */
    uint8_t *raw, *stored;
    bool kept; /* packing: it lies there already */
};

/* Goes through the pieces of a file in order. */
struct pieces {
    const struct packed_segment *segment;
    uint64_t segments, at; /* the next segment */
    uint64_t row, offset;  /* in it */
};

struct batch {
    struct piece *piece;
    uint32_t count, capacity;
    uint64_t raw_bytes;
    uint8_t *raw, *stored; /* memory of all pieces, one after the other */
    uint64_t room;         /* bytes of raw; a batch has one piece at least, so it grows where one needs more */
    uint64_t stored_room;
    struct sha256 sum;
    const struct pack_options *o;
};

int batch_open(struct batch *b, const struct pack_options *o, struct error *e);
void batch_close(struct batch *b);
/* The next pieces, and memory for them. count 0: there are none. */
int batch_fill(struct batch *b, struct pieces *p, struct error *e);
/* What to do with a piece: 0, or -errno and e. */
typedef int piece_fn(void *arg, struct piece *x, struct error *e);
/* first of every piece, then second of every piece while the sum goes over all raw bytes in order, by all threads. Of
 * several failures the first piece's is told. */
int batch_each(struct batch *b, piece_fn *fn, void *arg, struct error *e);
int batch_each_and_sum(struct batch *b, piece_fn *fn, void *arg, struct error *e);

/* All of it at an offset: 0 or -errno. */
int write_at(int fd, const void *data, uint64_t bytes, uint64_t offset);

/* ---- pack_file.c ---- */

struct progress {
    uint64_t done, total;
};

/* Packs f to OUT/name.packed, unless that is there. x: what the index says of it. */
int pack_file(const struct cut_file *f, const struct pack_options *o, struct progress *p, struct pack_result *r,
              struct packed_file *x, struct error *e);

/* ---- folder.c ---- */

/* The folder that results go to. marker: the name of the file that is there until all is whole; text: what it holds, by which a
 * later run knows that it goes on with the same. Locked against others. */
struct place_out {
    const char *folder;
    char *marker;
    int lock;
};
/* in: what it is made from. -EEXIST, -EINVAL, -EBUSY. */
int place_out_open(struct place_out *p, const char *out, const char *in, const char *marker, const char *text,
                   const char *whole, struct error *e);
/* done: all is whole, the marker goes. */
int place_out_close(struct place_out *p, bool done, struct error *e);
/* Folders of FOLDER/name that are not there yet. */
int make_parents(const char *folder, const char *name, struct error *e);
/* FOLDER/name: a whole path, the caller's; NULL: no memory. */
char *join(const char *folder, const char *name, const char *suffix);
/* Copies a file by way of NAME.partial; sum in hex, 65 bytes. want: NULL, or what the sum must be. */
int copy_file(const char *from_folder, const char *to_folder, const char *name, char *sum, const char *want,
              struct error *e);
/* Puts a file that was written in its place, on disk first. */
int settle_file(int fd, const char *partial, const char *path, struct error *e);
bool stopped(const struct pack_options *o);

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
/* How a program reads a matrix: as a whole, row after row; row by row, as embeddings are; by heads, where each of heads'
 * pieces begins and ends at a multiple of so many rows (0: not by heads). */
struct cut_use {
    bool product, table;
    uint32_t heads;
};

/* use: [matrices], zeroed. */
void cut_mark(const struct plan_shm *p, struct cut_use *use);
/* Rows of a unit of at most unit_bytes, one at least; 0: the matrix stays as it is. */
uint32_t cut_rows(const struct plan_matrix *m, const struct cut_use *use, uint32_t unit_bytes);

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
};

/* What to do with a piece: 0, or -errno and e. */
typedef int piece_fn(void *arg, struct piece *x, struct error *e);

#define BATCH_ORDERED 3u

/* What is done with a file, batch after batch:
 *
 *   look      the caller's thread, before begin                                  (NULL: nothing)
 *   begin     every piece, by all threads, in any order
 *   place     the caller's thread, when all have begun                           (NULL: nothing)
 *   end       every piece, by all threads, in any order, beside begin of the batch that comes next
 *   ordered   beside that too: each by one thread, for one batch after another   (NULL: nothing)
 */
struct batch_work {
    void *arg;
    void (*look)(void *arg, struct batch *b);
    piece_fn *begin, *end;
    int (*place)(void *arg, struct batch *b, struct error *e);
    void (*ordered[BATCH_ORDERED])(void *arg, const struct batch *b);
};

struct progress {
    uint64_t done, total;
};

/* All of it. Where it is interrupted (-ECANCELED), what has begun is brought to its end. Of several failures the first piece's
 * is told. */
int batch_all(struct pieces *p, const struct batch_work *w, const struct pack_options *o, struct progress *progress,
              struct error *e);
/* For batch_work.ordered. */
void batch_sum(struct sha256 *sum, const struct batch *b);

/* All of it at an offset: 0 or -errno. */
int write_at(int fd, const void *data, uint64_t bytes, uint64_t offset);
/* The disk begins with what was written between these two: it would wait until memory is full of it, and be idle meanwhile. */
void start_writing(int fd, uint64_t from, uint64_t to);

/* ---- pack_file.c ---- */

/* Packs f to OUT/name.packed, unless that is there. x: what the index says of it. */
int pack_file(const struct cut_file *f, const struct pack_options *o, struct progress *p, struct pack_result *r,
              struct packed_file *x, struct error *e);

/* ---- numbers.c ---- */

struct numbers;

/* *out NULL: nobody wants to know. */
int numbers_open(struct numbers **out, const struct source *s, const struct pack_options *o, struct error *e);
void numbers_close(struct numbers *n); /* NULL is allowed */
/* The file of that name follows, from the first byte behind its header on, without a gap; then what was found is told. NULL: nothing
 * is done. */
void numbers_begin(struct numbers *n, const char *name);
void numbers_feed(struct numbers *n, uint64_t offset, const uint8_t *bytes, uint64_t count);
void numbers_tell(struct numbers *n);

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
/* Bytes that OUT/nameSUFFIX has on its disk; 0: it is not there. */
uint64_t bytes_there(const char *out, const char *name, const char *suffix);
/* -ENOSPC: the folder's disk has no room for so many bytes more; what: "packed", for the message. */
int check_room(const char *out, uint64_t need, const char *what, struct error *e);
/* Copies a file by way of NAME.partial; sum in hex, 65 bytes. want: NULL, or what the sum must be. */
int copy_file(const char *from_folder, const char *to_folder, const char *name, char *sum, const char *want,
              struct error *e);
/* A file that is written: made where it is not there, unless flags say otherwise. -EINVAL: it is a named pipe, a device, ... */
int open_output(const char *path, int flags, int *fd, struct error *e);
/* Puts a file that was written in its place, on disk first. */
int settle_file(int fd, const char *partial, const char *path, struct error *e);
bool stopped(const struct pack_options *o);

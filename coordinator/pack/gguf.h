/* `sluice pack MODEL OUT.gguf --to q8`: a model as an ordinary GGUF file, or a set of them, that other programs read.
 *
 *   blocks.c, fit.c    numbers into blocks          form.c           which type each tensor gets
 *   gguf_values.c      tokenizer, template, sampling defaults        arch/gguf_make.h   names, values, where numbers are
 *   gguf_rows.c        rows of a tensor: read, turned, made          gguf_file.c        written by all threads, in pieces
 *   gguf.c             all of it
 *
 * What the file would say is read back and compared with the model before anything is written. Output appears as OUT.partial and
 * gets its name when it is whole; OUT.resume lists the pieces that are there, with their sums, so that the same command goes on
 * where it ended, whatever ended it. The bytes depend on the source and the form alone. */
#pragma once
#include "coordinator/pack/form.h"
#include "coordinator/pack/pack.h"

struct pack_tensor {
    const char *name; /* the plan's */
    uint32_t type;
    uint64_t elements, bytes;
    double error; /* root mean square, of the numbers' own; 0: none is lost */
};

/* A file that is planned, and once it is written, what it lost. */
struct gguf_pack {
    struct gguf_made made;
    enum pack_form form;
    uint32_t *type;                 /* [made.count] */
    struct gguf_out_tensor *tensor; /* [made.count], laid out */
    struct gguf_out_files files;
    struct pack_tensor *report; /* [made.count] */
    uint64_t bytes;             /* of all files */
    char notice[400];           /* what users should know; "": nothing */
};

struct gguf_pack_options {
    struct pack_options pack; /* out: OUT.gguf; told is not called */
    enum pack_form form;
    uint64_t shard_bytes; /* 0: one file */
};

/* What the file would be. text: its tokenizer and templates too, which a plan can do without. m: s's model. The caller frees it
 * with gguf_pack_free(), after an error too. */
int gguf_pack_plan(struct gguf_pack *p, const struct source *s, const struct model *m, enum pack_form form,
                   uint64_t shard_bytes, bool text, struct error *e);
/* The model that the file would be; its header is looked at as any other. The caller closes it. -ENOTSUP: it would compute
 * something else than m does. *window: of m's attention, where the file cannot say that there is one; else 0. */
int gguf_pack_model(struct model **out, const struct gguf_pack *p, const struct model *m, uint32_t *window,
                    struct error *e);
/* Plans and writes it. p is to be freed in every case. Errors as pack_folder(). */
int gguf_pack(struct gguf_pack *p, const struct source *s, const struct gguf_pack_options *o, struct pack_result *r,
              struct error *e);
void gguf_pack_free(struct gguf_pack *p);

/* ---- gguf_values.c ---- */

/* notice: what other programs would do otherwise. */
int gguf_pack_values(struct gguf_out *out, const struct source *s, const struct model *m, uint64_t tokens, char *notice,
                     size_t room, struct error *e);

/* ---- gguf_rows.c ---- */

/* What a thread works with. */
struct row_scratch {
    uint8_t *bytes;
    float *x, *back;
    uint64_t room, columns;
};

/* Consecutive rows of a tensor. */
struct row_piece {
    size_t tensor;
    uint64_t row, rows, bytes; /* bytes: of the result */
    uint8_t *out;
    double lost, all; /* sums of squares: of the errors, of the numbers */
    uint64_t sum;     /* checksum of the result */
};

/* Bytes of a row of a type. */
uint64_t row_bytes(uint32_t type, uint64_t columns);
/* fd: of each file of the source. -EINVAL: a number that cannot be written; -EIO and so on. */
int rows_make(const struct gguf_pack *p, const int *fd, struct row_piece *x, struct row_scratch *s, struct error *e);
void row_scratch_free(struct row_scratch *s);

/* ---- gguf_file.c ---- */

int gguf_pack_write(struct gguf_pack *p, const struct gguf_pack_options *o, struct pack_result *r, struct error *e);

/* What a model is as a GGUF file: its values, and for each tensor which bytes of the source its numbers are. It is the inverse
 * of gguf_config() and gguf_map_tensors(), made from the same tables (gguf.h), and of what the family's program reads: experts
 * come from the program, so that it does not matter how a folder has them.
 *
 *   gguf_make()      values, names, dimensions, places; nothing of the weights is read, no type is chosen
 *   gguf_check()     what the file would say, read back by gguf_config() and the family, is the same program
 *
 * A source that is a GGUF file keeps its values and names. Element (row, column) of a part lies in the source at
 *
 *   offset + (turned row * row_step + turned column * col_step) elements
 *
 * where rows are counted from the part's first, and turning changes places within groups of outer * inner * width. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/source/source.h"

/* (i * outer + o) * width + w is at (o * inner + i) * width + w; outer 0: all stays. */
struct gguf_turn {
    uint64_t outer, inner, width;
};

static inline uint64_t gguf_turned(const struct gguf_turn *t, uint64_t x)
{
    uint64_t group = t->outer * t->inner * t->width, y, w;

    if (!group) return x;
    y = x % group;
    w = y % t->width;
    return x - y + (y / t->width % t->outer * t->inner + y / t->width / t->outer) * t->width + w;
}

/* Consecutive rows of a tensor. */
struct gguf_part {
    uint32_t file;         /* of the source's tensors */
    uint64_t offset;       /* bytes, of element (0, 0) */
    uint64_t rows;         /* at least one */
    uint64_t row_step;     /* elements */
    uint64_t col_step;     /* elements */
    struct gguf_turn turn; /* of rows */
    uint32_t scale_file;   /* MXFP4 of a folder: where its scales are, a byte for each 32 elements */
    uint64_t scale_offset; /* of row 0 */
};

enum gguf_change { GGUF_SAME, GGUF_PLUS_ONE, GGUF_MINUS_EXP };

struct gguf_made_tensor {
    char *name;
    uint64_t dims[GGUF_DIMS]; /* columns first, 1 behind the last */
    uint32_t n_dims;
    uint32_t form; /* of the source: enum form; F32, F16, BF16 and MXFP4 of folders, any of GGUF files */
    uint32_t type; /* of a source that is a GGUF: the type there (gguf_types.h) */
    enum gguf_change change;
    struct gguf_turn turn; /* of columns */
    size_t part0, parts;   /* parts 0: the numbers are own */
    const float *own;      /* of the factors */
};

struct gguf_made {
    struct gguf_out out; /* values, but what depends on the types that are chosen */
    struct gguf_made_tensor *at;
    struct gguf_part *part;
    size_t count, parts, capacity, part_capacity;
    struct gguf_factors factors;
    const struct tensors *tensors; /* files; the source's or the model's */
    struct tensors *own_tensors;
    const char *architecture;
    uint32_t experts, heads, kv_heads, layers; /* what the choice of types asks */
};

/* Rows of dims[0] columns that a tensor has. */
static inline uint64_t gguf_made_rows(const struct gguf_made_tensor *t)
{
    return t->dims[1] * t->dims[2] * t->dims[3];
}

/* m: the model of s, which both stay open as long as *out. -ENOTSUP: an architecture, a form or an option that such a file
 * cannot hold; the message says which. The caller frees *out with gguf_made_free(), after an error too. */
int gguf_make(struct gguf_made *out, const struct source *s, const struct model *m, struct error *e);
void gguf_made_free(struct gguf_made *x);

/* is: the program of the file. -ENOTSUP: it does something else than that of m, which the message names. window: set to one that
 * the file does not have, and otherwise to 0. */
int gguf_check(const struct plan_shm *is, const struct model *m, uint32_t *window, struct error *e);

/* ---- for gguf_make_layers.c and gguf_make_experts.c ---- */

struct gguf_making {
    struct gguf_made *x;
    const struct gguf_family *f;
    const struct plan_shm *p;
    const struct tensors *t;
    const struct config *c;
    char prefix[256];
    uint64_t heads, kv_heads, head_dim;
    uint64_t *expert; /* sorted: file << 48 | offset, of what belongs to experts */
    size_t experts;
    struct error *e;
};

/* A tensor without parts yet; NULL and a fault where there is no memory. Valid until the next. */
struct gguf_made_tensor *gguf_making_add(struct gguf_making *k, const char *name, const uint64_t *dims, uint32_t n_dims,
                                         uint32_t form);
/* A further part of the last tensor; NULL as above. */
struct gguf_part *gguf_making_part(struct gguf_making *k, struct gguf_part part);
int gguf_making_memory(const struct gguf_making *k);
/* The form of a tensor that can be written; FORMS and a fault where it cannot. */
uint32_t gguf_making_form(const struct gguf_making *k, const struct tensor *t);

/* -ENOTSUP: a file of the architecture has no place for it. */
int gguf_making_no_name(const struct gguf_making *k, const struct tensor *t);

/* One tensor of a layer of a folder. rest: its name behind "model.layers.3.". */
int gguf_make_of_layer(struct gguf_making *k, const struct tensor *t, uint64_t layer, const char *rest);
int gguf_make_experts(struct gguf_making *k);
/* Is it of experts, which gguf_make_experts() knows? */
bool gguf_is_of_experts(const struct gguf_making *k, const struct tensor *t);

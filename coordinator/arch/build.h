/* What a family is written with: the folder's config and tensors on one side, the program on the other.
 *
 * Everything is sticky: after the first fault (b->e->code set) the calls do nothing, so that a family is a plain list
 * of steps. Tensor names are given without the folder's prefix: build_top() and build_layer() set what stands before
 * them ("model.", "model.layers.3."). A tensor that is missing or has another shape is named with its file. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/source/config.h"
#include "coordinator/arch/model.h"
#include "coordinator/arch/quant.h"
#include "coordinator/arch/rope.h"
#include "coordinator/source/tensors.h"
#include "coordinator/arch/program.h"

#define BUILD_NAME_BYTES 512

/* Activation buffers, shared by all layers and as wide as the widest use. */
enum build_buffer {
    BUF_X,    /* residual stream */
    BUF_NORM, /* normed input of a block */
    BUF_OUT,  /* output of a block */
    BUF_OUT2, /* of a second one beside it */
    BUF_Q,
    BUF_K,
    BUF_V,
    BUF_A, /* attention and recurrence */
    BUF_T1,
    BUF_T2, /* further columns of it */
    BUF_GATE,
    BUF_UP,     /* feed forward */
    BUF_ROUTER, /* logits of the experts, gates of shared ones */
    BUF_LAST,
    BUF_NARROW,  /* of a head that is narrower than the model */
    BUF_LOGITS,  /* selected positions only */
    BUF_BESIDE,  /* rows of a second table, and what is made of them for the layers */
    BUF_STREAMS, /* several residual streams, and what is predicted of them (AltUp) */
    BUF_PREDICTED,
    BUF_CHOSEN,  /* lists of an index */
    BUF_WEIGHTS, /* by which streams are mixed */
    BUFS
};

struct build {
    struct program *p;
    struct config *c;
    struct tensors *t;
    const struct model_options *o;
    struct error *e;
    struct quant quant;
    const char *family; /* architecture as the config calls it */
    /* sizes, read by build_sizes() */
    uint32_t hidden, layers, vocab, heads, kv_heads, head_dim, inter, limit;
    bool inter_listed; /* set before: intermediate_size may be a list, which the family reads; inter is 0 then */
    /* the norm of this family */
    uint32_t norm_kind; /* enum plan_norm */
    float eps, weight_add;
    bool norm_bias, norm_bare; /* with NAME.bias; without NAME.weight */
    bool transposed;           /* build_linear()'s matrices are stored [cols][rows] (GPT-2) */
    /* where we are */
    uint32_t layer;
    char prefix[128], layers_name[64]; /* "model.", "layers" */
    char base[256];                    /* what stands before a tensor's name now */
    uint16_t buf[BUFS];
    char notice[512];
    bool embeds;      /* the folder says that it makes embeddings */
    bool tie_silent;  /* the config says nothing of tying */
    bool faults_told; /* of tensors: model_options.tensor_fault */
    uint64_t weight_bytes, parameters;
    struct rope_table rope; /* the one that bounds positions, see build_rotary() */
    uint32_t *file_of;      /* program's file of each of the tensors' files, PLAN_NONE: not used yet */
};

/* A fault of the family's own; keeps an earlier one. */
void build_fault(struct build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line, or a further part of one, for who uses the model: model_notice(). */
void build_notice(struct build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline bool build_ok(const struct build *b)
{
    return !b->e->code && !b->p->failed;
}

/* hidden, layers, vocab, heads, kv_heads, head_dim, inter, limit under their usual names, with sane limits; without a
 * number, as many key heads as heads, and hidden / heads columns of each. layers, where a family has counted them otherwise,
 * stay. */
void build_sizes(struct build *b);
/* The same of a model without attention. */
void build_body_sizes(struct build *b);
/* What a family calls them instead: of each pair the first that the config gives, else its first. */
struct build_size_names {
    const char *hidden[2], *layers[2], *heads[2], *kv_heads[2], *inter[2], *limit[2];
};
void build_sizes_named(struct build *b, const struct build_size_names *names);
/* Of two names of one field the one that the config gives, else the first. */
const char *build_given(const struct build *b, const char *const names[2]);
/* RMS or layer norm and its eps from this field. */
void build_norm_kind(struct build *b, enum plan_norm kind, const char *eps_key, double eps);

/* ---- names ---- */
/* What stands before the names: prefix, or what the folder has instead, found by its embedding; and what the layers are
 * called. As if called with "model.", "layers" and "embed_tokens" before a family begins. */
void build_names(struct build *b, const char *prefix, const char *layers, const char *embed);
void build_top(struct build *b);               /* names stand under the prefix from here on */
void build_layer(struct build *b, uint32_t i); /* names of layer i, operations of layer i */
bool build_has(struct build *b, const char *name);
/* The whole name, into out of BUILD_NAME_BYTES; returns out. */
const char *build_full_name(const struct build *b, char *out, const char *name);
/* NAME may be in the folder, and is of no use: verify counts it as known. */
void build_leave_out(struct build *b, const char *name);
/* NULL: it is not in the folder. Of a folder that is assumed, dims may be 0: its shape is not known. */
const struct tensor *build_find(struct build *b, const char *name);

/* ---- tensors ---- */
/* NAME.weight as a matrix [rows][cols], with its scales where it is quantized; a fault where the file has it the other way round
 * (AWQ, GPTQ). */
uint32_t build_matrix(struct build *b, const char *name, uint64_t rows, uint64_t cols);
/* The same of one that may be stored [cols][rows], which the caller asks for. */
uint32_t build_matrix_either(struct build *b, const char *name, uint64_t rows, uint64_t cols);
bool build_is_turned(const struct build *b, uint32_t matrix);
/* The same of one that may be multiplied by a number for all of it, which the caller does: *times, 0: it is not. */
uint32_t build_matrix_times(struct build *b, const char *name, uint64_t rows, uint64_t cols, float *times);
/* By its whole name, the part-th of parts matrices stacked in one tensor [parts][rows][cols]. */
uint32_t build_stacked(struct build *b, const char *name, uint32_t part, uint32_t parts, uint64_t rows, uint64_t cols);
/* gpt-oss: NAME_blocks [parts][rows][cols / 32][16] with NAME_scales [parts][rows][cols / 32]. */
uint32_t build_mxfp4(struct build *b, const char *name, uint32_t part, uint32_t parts, uint64_t rows, uint64_t cols);
/* NAME.weight as a table of positions, [rows][cols]: the first of its vectors (struct op_position). */
uint32_t build_table(struct build *b, const char *name, uint32_t rows, uint32_t cols);
/* A tensor of elements numbers, by its whole name. */
uint32_t build_vector(struct build *b, const char *name, uint64_t elements);
/* Row part of parts rows, for an expert's bias: travels with its tile. */
uint32_t build_stacked_vector(struct build *b, const char *name, uint32_t part, uint32_t parts, uint64_t elements);

/* A tensor [rows][top] of whole numbers below below, by its whole name, read now: its place in the program's constants. Where
 * no weights lie in the folder, it is made up. */
uint64_t build_choices(struct build *b, const char *name, uint32_t rows, uint32_t top, uint32_t below);

/* ---- buffers ---- */
struct plan_view build_view(struct build *b, enum build_buffer which, uint64_t width,
                            uint64_t col); /* columns [col, width) */
static inline struct plan_view build_x(struct build *b)
{
    return build_view(b, BUF_X, b->hidden, 0);
}
struct plan_view view_at(struct plan_view v, uint64_t col); /* v moved right by col columns */

/* ---- operations ---- */
/* dst = src W^T (+ NAME.bias). */
void build_linear(struct build *b, struct plan_view dst, struct plan_view src, const char *name, uint64_t rows,
                  uint64_t cols, bool bias);
/* The family's norm over hidden columns with NAME.weight and NAME.bias, where the family has them. */
void build_norm(struct build *b, struct plan_view dst, struct plan_view src, const char *name);
/* Any norm, all fields given. */
void build_norm_op(struct build *b, const struct op_norm *o);
void build_add(struct build *b, struct plan_view dst, struct plan_view a, struct plan_view x, uint64_t width, float ca,
               float cb);
void build_act(struct build *b, struct plan_view dst, struct plan_view gate, struct plan_view up, uint64_t width,
               uint32_t kind, uint32_t flags);
void build_copy(struct build *b, struct plan_view dst, uint64_t dst_stride, struct plan_view src, uint64_t src_stride,
                uint64_t blocks, uint64_t width);
void build_scale(struct build *b, struct plan_view x, uint64_t width, float mul, float cap);
/* x times the vector of this whole name: one number for all of width columns (elements 1), or one for each. */
void build_scale_by(struct build *b, struct plan_view x, uint64_t width, const char *name, uint64_t elements);
void build_rope(struct build *b, struct plan_view x, uint64_t heads, uint64_t stride, const struct rope_table *r,
                uint32_t style);
/* RMS norm of heads heads of width columns, from src to dst, packed in both; name NULL: without weights. */
void build_head_norm(struct build *b, struct plan_view dst, struct plan_view src, uint64_t heads, uint64_t width,
                     const char *name);
extern const struct plan_view VIEW_NONE;

/* The activation that hidden_act (or another field) names; kind where the field is absent. */
uint32_t build_activation(struct build *b, const char *key, uint32_t otherwise);
/* Whether the embedding makes the logits: tie_word_embeddings (a multimodal folder may give it twice: one that is true is
 * enough). What lies in the folder goes before it: stack.c. */
bool build_tied(struct build *b);
/* sliding_window; 0: none. */
uint32_t build_sliding(struct build *b);
/* Layer i's sliding window, 0 for none: sliding_window where layer_types says "sliding_attention"; without layer_types
 * where use_sliding_window is true and i reaches max_window_layers (Qwen). */
uint32_t build_window(struct build *b, uint32_t i);
/* Whether layer_types calls layer i so, and not "full_attention"; otherwise where there is no such list. */
bool build_layer_is(struct build *b, uint32_t i, const char *type, bool otherwise);
/* A rotary table by the config's rules: head_dim where q has none is b's, and the length is the run's. What it
 * says of positions holds for the model. */
struct rope_table build_rotary(struct build *b, struct rope_request q);
/* The usual one of all layers: all of a head. */
struct rope_table build_plain_rope(struct build *b);

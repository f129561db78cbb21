/* What llama.cpp's converter calls the tensors and values of each kind of model: for support_gguf_model.c. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tests/support_gguf.h"

enum {
    PERMUTED = 1,       /* rows of q and k */
    PLUS_ONE = 2,       /* norms */
    TRANSPOSED = 4,     /* experts are stored [in][out] */
    ALTERNATING = 8,    /* rows of gate and up */
    TILED = 16,         /* value heads */
    PARTIAL = 32,       /* rope.dimension_count is said */
    SLIDES = 64,        /* attention.sliding_window is said */
    SLIDES_WHERE = 128, /* and the pattern */
    TURNED = 256,       /* matrices of layers are stored [in][out] */
    GROUPED = 512,      /* rows of q, k and v lie by head of keys */
    MIXED = 1024,       /* some layers do not attend */
    LATENT = 2048,      /* kv_b_proj is cut in two, and sizes are those of latent attention */
    WHOLE_MSCALE = 4096 /* rope.scaling.yarn_log_multiplier is mscale_all_dim, and not a tenth of it */
};

struct conversion {
    const char *type, *arch; /* model_type, general.architecture */
    unsigned flags;
    const char *const (*names)[2];  /* of tensors that it calls otherwise than most; ended by NULLs */
    const char *const (*values)[3]; /* "int", "real" or "bool", key, field; ended by NULLs */
    const char *prefix, *layers;    /* NULL: "model.", "layers" */
};

#define CONVERSION_FACTORS 128
struct conversion_factors {
    float divide[CONVERSION_FACTORS], longer[CONVERSION_FACTORS], shorter[CONVERSION_FACTORS];
    size_t divides, longs, shorts;
};

const struct conversion *conversion_of(const json_t *config); /* NULL: none */
/* Of models that were added later (support_gguf_newer.c); ended by one without a type. */
extern const struct conversion conversions_newer[];
/* Makes their config flat, and adds what their files say and it does not. */
void conversion_newer_words(json_t *config);
/* Lists of values. */
void conversion_newer_values(const struct conversion *c, const json_t *config, struct gguf_writer *w);
/* Fields that older classes call otherwise get the usual names beside their own. */
void conversion_words(json_t *config);
/* rest: of a tensor of a layer, with its suffix. false: it has no name. */
bool conversion_name(const struct conversion *c, const char *rest, char *out, size_t room);
void conversion_values(const struct conversion *c, const json_t *config, struct gguf_writer *w, uint64_t *heads,
                       uint64_t *kv_heads, uint64_t *head_dim, struct conversion_factors *f);

/* Selective state spaces as layers, for the families that have them: Mamba-2 (Dao and Gu 2024, arXiv 2405.21060) and Mamba
 * (Gu and Dao 2023, arXiv 2312.00752) as transformers has them in modeling_mamba2.py and modeling_jamba.py. */
#pragma once
#include "coordinator/arch/build.h"

/* Mamba-2: z, x, B, C and the steps from one projection, a short convolution over x, B and C, the scan, its output times
 * act(z) and normed in groups, a projection. Tensors stand under name: in_proj, conv1d, A_log, D, dt_bias, norm, out_proj. */
struct mamba2 {
    const char *name;
    uint32_t heads, width, groups, states, taps, act; /* width: columns of a head */
    bool in_bias, conv_bias, out_bias;
    bool unnormed, norm_first; /* no norm; the norm goes before the gate */
    float dt_least, dt_most;   /* bounds of the steps */
    float in, times[5],
        out; /* input, then z, x, B, C and steps of the projection, and the output, are multiplied; 1: not */
};

/* Sizes under the names mamba_n_heads, mamba_d_head ("auto"), mamba_d_state, mamba_n_groups, mamba_d_conv, mamba_conv_bias,
 * mamba_proj_bias and time_step_limit, for a mixer of inner columns. */
struct mamba2 mamba2_sizes(struct build *b, uint64_t inner);
/* Fails unless heads of width columns are these inner columns, and the groups divide both. heads: the field's name. */
void mamba2_check(struct build *b, const struct mamba2 *m, uint64_t inner, const char *heads);
/* A pair of numbers, the second of which may be Infinity; absent: 0 and infinity. */
void mamba_step_limits(struct build *b, const char *key, float *least, float *most);

/* What layer_types calls layer i: "mamba" or "linear_attention" against "attention" or "full_attention"; without such a list
 * all are the former. */
bool mamba_layer(struct build *b, uint32_t i);

/* Of layers by what their mixer is called, for a list of struct gguf_name. */
#define MAMBA_NAMES(mixer)                                                                                             \
    {"ssm_in", mixer ".in_proj", GGUF_AS_IS}, {"ssm_conv1d", mixer ".conv1d", GGUF_AS_IS},                             \
        {"ssm_a", mixer ".A_log", GGUF_AS_IS}, {"ssm_d", mixer ".D", GGUF_AS_IS},                                      \
        {"ssm_dt", mixer ".dt_bias", GGUF_BARE}, {"ssm_norm", mixer ".norm", GGUF_AS_IS},                              \
    {                                                                                                                  \
        "ssm_out", mixer ".out_proj", GGUF_AS_IS                                                                       \
    }

struct gguf_values;
/* What the family calls the sizes that GGUF files have as ARCHITECTURE.ssm.*; expand may be NULL. */
struct mamba2_fields {
    const char *heads, *width, *groups, *states, *taps, *conv_bias, *bias, *expand;
};
void mamba2_config(struct gguf_values *v, const struct mamba2_fields *f);

void mamba2_mix(struct build *b, const struct mamba2 *m, struct plan_view dst, struct plan_view src);

/* What a GGUF's values and tensors mean: the config and the tensors of the folder that its family is written for.
 *
 *   families/NAME.c   struct gguf_family beside the function that writes the family: what its files call things, what the
 *                     converter changed, and what llama.cpp knows of the architecture without being told
 *   gguf.c            general.architecture -> family; values -> a config, in the words of config.json
 *   gguf_layers.c     values with an entry for each layer
 *   gguf_rope.c       and those of rotation
 *   gguf_map.c        tensors under the names that the family asks for: renamed, sliced, with their dimensions turned
 *   gguf_tell.c       the way back: the values that a file would have, out of the same functions
 *   gguf_make.c       and the tensors, out of the same names: what a folder is as a file (gguf_make.h)
 *
 * Nothing is converted: a tensor here is bytes of the file at their offset. What differs in the numbers themselves is told by
 * struct tensors_changes, and what a family has to do about it is in its own code. Names and meanings are those of llama.cpp's
 * converter (convert_hf_to_gguf.py, gguf-py/gguf/constants.py). */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/source/config.h"
#include "coordinator/source/gguf.h"
#include "coordinator/source/tensors.h"
#include "proto/base/error.h"

/* How a tensor of a layer becomes what the family asks for. */
enum gguf_how {
    GGUF_AS_IS,   /* its dimensions turned */
    GGUF_BARE,    /* the same under its name alone, without ".weight" or ".bias" */
    GGUF_WHOLE,   /* the other way round: it is ".weight" for the family, and has no suffix there */
    GGUF_ROW,     /* a vector as a matrix of one row */
    GGUF_FLAT,    /* [a][b][c] as [a * b][c] */
    GGUF_HALF,    /* the same, of a layer that has not both halves in an attn_kv_b */
    GGUF_QKV,     /* rows of q, k and v under three names: the one given, of q, with q's letter changed */
    GGUF_BY_HEAD, /* row h is NAME.norms.h */
    GGUF_BY_ITEM, /* [a][b][c] as the matrices NAME.i, [b][c]; of those that stand once alone */
    GGUF_IGNORED
};

struct gguf_name {
    const char *stored, *name; /* "attn_q", "self_attn.q_proj" */
    enum gguf_how how;
};

struct gguf_values;

struct gguf_family {
    const char *architecture;      /* general.architecture */
    const char *class, *type;      /* what config.json calls it: architectures[0], model_type */
    const char *const *also;       /* further classes of which folders become files of it, ended by a NULL; or NULL */
    const struct gguf_name *names; /* of tensors of a layer, before the usual ones of Llama; ended by a NULL */
    const struct gguf_name *top;   /* of tensors that stand once, beside the usual three; ended by a NULL, or NULL */
    /* Values, under these keys, that are tensors in folders: a list of float32 with one for each layer, or one for all of them;
     * ended by a NULL, or NULL. */
    const struct gguf_name *numbers;
    /* NULL: "model.", "layers", "embed_tokens", "norm", "lm_head" */
    const char *prefix, *layers, *embed, *norm, *head;
    struct tensors_changes changes;
    bool partial; /* its class reads partial_rotary_factor */
    bool latent;  /* heads of attention have no keys of their own: the family reads their sizes itself */
    bool mixed;   /* some layers do not attend: the list of their keys' heads says 0 there */
    bool scans;   /* Mamba-2: a number of a head is a row of one there, and its norm has a row for each group */
    bool
        by_layer; /* keys' heads, columns of heads and of the feed forward differ by layer: the family reads them itself */
    bool unwritten;                                         /* folders do not become files of it */
    enum { GGUF_ANY, GGUF_DENSE, GGUF_EXPERTS } written_of; /* which folders do, of a class with two architectures */
    bool turned;                                            /* in the folder, matrices of layers are stored [in][out] */
    /* What differs from the fields that all have; NULL: nothing does. */
    void (*config)(struct gguf_values *v);
};

/* The config of the file, or what keeps it from being understood: an architecture that is not known, a value that is
 * missing or of the wrong type. */
int gguf_config(struct config **out, const struct gguf *g, struct error *e);

/* What was left out of the tensors, for people; "": nothing. */
struct gguf_notice {
    char text[360];
};

/* The tensors that the family of c asks for; c is that of gguf_config(). o as for tensors_open(). */
int gguf_map_tensors(struct tensors **out, const struct gguf *g, const struct config *c,
                     const struct tensors_options *o, struct gguf_notice *says, struct error *e);

/* The family of a file; NULL with the error that names those that are nearest. */
const struct gguf_family *gguf_family_of(const struct gguf *g, struct error *e);

/* What most families call things as Llama does; ended by a NULL. */
extern const struct gguf_name gguf_usual_names[];
/* The i-th family; NULL behind the last. */
const struct gguf_family *gguf_family_at(size_t i);

/* ---- for families: values on one side, fields of the config on the other; sticky as config.h's getters ---- */

struct gguf_telling;
struct gguf_value;

/* The same functions tell values when a file is made (gguf_tell.h): then g is empty, no value is there and nothing is refused,
 * gguf_field_...() and gguf_tell_...() put values into the file, and fields that are set go nowhere. */
struct gguf_values {
    const struct gguf *g;
    struct gguf_telling *tells; /* NULL: values are read */
    const struct gguf_family *family;
    json_t *out;
    struct error *e;
    uint8_t *asked; /* of each of g's values: whether anybody asked for it */
    const char *architecture;
    uint64_t hidden, layers, heads, kv_heads, head_dim, rope_dim, experts, expert_inter; /* 0: not given */
};

/* The value of ARCHITECTURE.key, which counts as known from now on; NULL: there is none. */
const struct gguf_value *gguf_ask(struct gguf_values *v, const char *key);
/* A whole number of ARCHITECTURE.key; a list of one number for each layer counts where all are the same. false: it is not
 * there. */
bool gguf_value_int(struct gguf_values *v, const char *key, uint64_t *out);
/* A float32 as the decimal fraction that it was rounded from. */
bool gguf_value_real(struct gguf_values *v, const char *key, double *out);
/* The shortest decimal fraction that is rounded to this float32. */
double gguf_meant(double x);
bool gguf_value_flag(struct gguf_values *v, const char *key, bool *out);
/* The same straight into a field; otherwise where it is not there. */
void gguf_field_int(struct gguf_values *v, const char *key, const char *field, uint64_t otherwise);
void gguf_field_real(struct gguf_values *v, const char *key, const char *field, double otherwise);
void gguf_field_flag(struct gguf_values *v, const char *key, const char *field, bool otherwise);
/* Such a value must be there: a fault says which is missing. */
uint64_t gguf_value_needed(struct gguf_values *v, const char *key);

void gguf_set_int(struct gguf_values *v, const char *field, uint64_t x);
void gguf_set_real(struct gguf_values *v, const char *field, double x);
void gguf_set_flag(struct gguf_values *v, const char *field, bool x);
void gguf_set_text(struct gguf_values *v, const char *field, const char *x);
void gguf_set_none(struct gguf_values *v, const char *field);       /* null: there is none, whatever the class has */
void gguf_set(struct gguf_values *v, const char *field, json_t *x); /* takes x over */
/* Does layer 0, or another of the first ones, have a tensor "attn_q.bias"? */
bool gguf_layer_has(const struct gguf_values *v, const char *name);
/* layer_types by ARCHITECTURE.attention.sliding_window_pattern: a list of booleans, or a number n: all but each n-th. Without
 * it by the number otherwise. Those that slide are called sliding. */
void gguf_layer_types(struct gguf_values *v, const char *sliding, uint64_t otherwise);
/* Of a family that is mixed, a list in which some layers have 0 and all others the same, or one number: that one. nobody:
 * what is said where all have 0; NULL: it is 0 then. */
uint64_t gguf_mixed_int(struct gguf_values *v, const char *key, const char *nobody);
/* The entry of a layer in such a list, which may have any, or the one number; 0: there is none. */
uint64_t gguf_layer_int(struct gguf_values *v, const char *key, uint64_t layer);
/* Has this layer an entry above 0 in such a list? */
bool gguf_mixed_has(struct gguf_values *v, const char *key, uint64_t layer);
/* Has layer i such a tensor, "attn_q.bias"? */
bool gguf_this_layer_has(const struct gguf_values *v, uint64_t layer, const char *name);
/* field: a list that says of each layer whether it has such a tensor, yes or no. */
void gguf_layers_having(struct gguf_values *v, const char *name, const char *field, const char *yes, const char *no);
/* field: a list of what the key has for each layer, above 0; nothing where the key is not there. */
void gguf_layer_reals(struct gguf_values *v, const char *key, const char *field);
/* layer_types of a family that is mixed: by the list of heads of keys, layers without any are called other. */
void gguf_mixed_layers(struct gguf_values *v, const char *other);
/* sliding_window, or none where there is none or 0. */
void gguf_window(struct gguf_values *v);
/* Without rules of rotation in the file there are none, whatever the class has. */
void gguf_plain_rotary(struct gguf_values *v);
/* llama_4_scaling_beta by attention.temperature_scale, where q grows with the position; otherwise where it is not said. length_key:
 * of a value that says from which on; NULL: there is none. false: q does not grow. */
bool gguf_tuning(struct gguf_values *v, const char *length_key, double otherwise);
/* yarn_log_multiplier is mscale_all_dim itself here, and not a tenth of it. */
void gguf_whole_log_multiplier(struct gguf_values *v);
void gguf_refuse(struct gguf_values *v, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The value of a file that is made, unless it was told before; nothing where values are read. */
void gguf_tell_int(struct gguf_values *v, const char *key, uint64_t x);
void gguf_tell_real(struct gguf_values *v, const char *key, double x);
void gguf_tell_flag(struct gguf_values *v, const char *key, bool x);
void gguf_tell_ints(struct gguf_values *v, const char *key, const uint32_t *x,
                    uint64_t n); /* NULL: no memory for them */
void gguf_tell_flags(struct gguf_values *v, const char *key, const uint8_t *x,
                     uint64_t n); /* NULL: no memory for them */
/* The same of a field of the config, where that gives one. */
void gguf_tell_field(struct gguf_values *v, const char *key, const char *field);

/* Sizes of latent attention, and how files of DeepSeek's kind of experts say what they do (deepseek.c). */
void gguf_latent_sizes(struct gguf_values *v);
void gguf_deepseek_experts(struct gguf_values *v);

extern const struct gguf_family gguf_llama, gguf_mistral3, gguf_qwen2, gguf_qwen2_vl, gguf_qwen3, gguf_qwen3_vl,
    gguf_gemma, gguf_gemma2, gguf_gemma3, gguf_minimax_m2, gguf_qwen2_moe, gguf_qwen3_moe, gguf_qwen3_vl_moe,
    gguf_chatglm, gguf_glm4, gguf_glm4_moe, gguf_phi3, gguf_granite, gguf_granite_moe, gguf_olmo2, gguf_olmoe,
    gguf_cohere, gguf_cohere2, gguf_starcoder2, gguf_stablelm, gguf_smollm3, gguf_ernie45, gguf_seed_oss, gguf_exaone4,
    gguf_dots1, gguf_ernie45_moe, gguf_afmoe, gguf_cohere2_moe, gguf_exaone_moe, gguf_hy_v3, gguf_hunyuan_moe,
    gguf_gpt_oss, gguf_internlm2, gguf_baichuan, gguf_llama4, gguf_qwen1, gguf_deepseek2, gguf_qwen3_next, gguf_qwen35,
    gguf_qwen35_moe, gguf_gpt2, gguf_starcoder, gguf_gpt_neox, gguf_falcon, gguf_bloom, gguf_mpt, gguf_phi2, gguf_lfm2,
    gguf_lfm2_moe, gguf_granite_hybrid, gguf_falcon_h1, gguf_mamba2, gguf_nemotron_h, gguf_nemotron_h_moe, gguf_gemma4,
    gguf_mistral4, gguf_deepseek32, gguf_glm_dsa, gguf_olmo, gguf_arcee, gguf_nemotron, gguf_apertus, gguf_jamba,
    gguf_kimi_linear, gguf_minimax_m3, gguf_step35, gguf_mimo2, gguf_gemma3n, gguf_phimoe, gguf_minicpm, gguf_minicpm3,
    gguf_hunyuan_dense, gguf_deepseek4;

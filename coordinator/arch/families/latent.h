/* Latent attention (MLA), of DeepSeek and of those that took it over.
 *
 * Of each position one latent vector c and one rotated key r are cached, [kv_rank + rotated], and never the heads' own
 * keys and values. With W_uk, W_uv the two halves of a head's rows in kv_b_proj:
 *     score = q_nope . (W_uk c) + q_rope . r = [q_nope W_uk, q_rope] . [c, r]        head's output = W_uv (sum of p c)
 * so attention runs with one key head over the cached columns, of which the first kv_rank are its values. Reference:
 * DeepSeek-V2 (arXiv 2405.04434). */
#pragma once
#include "coordinator/arch/stack.h"

struct latent;

/* Chooses what attention looks at: lists, which it tells a. query: the normed latent vector of q, [q_rank]. */
typedef void latent_choose(struct build *b, const struct latent *l, struct attention *a, struct plan_view query,
                           struct plan_view src);

struct latent {
    const char *at; /* what stands before its tensors' names: "self_attn" */
    const char *out,
        *gate; /* "o_proj"; a matrix [heads][hidden] whose sigmoid each head's output is times, NULL: none */
    struct rope_table rope; /* index PLAN_NONE: no rotation */
    uint32_t q_rank;        /* 0: q comes from one matrix */
    uint32_t kv_rank, nope, rotated, value, style;
    bool bias;             /* of q_a_proj, kv_a_proj_with_mqa and o_proj */
    float eps;             /* of the norms of both latent vectors */
    float q_mul, kv_mul;   /* q, and the normed latent vector, times these (LongCat) */
    float scale;           /* of the scores, what the rope's rules make of it included */
    latent_choose *choose; /* NULL: all ancestors */
    const void *own;       /* its */
};

/* q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim, attention_bias and the rotation. */
struct latent latent_read(struct build *b, const char *at, uint32_t style);
/* The same where the rotation is asked for otherwise; its head_dim is filled in. */
struct latent latent_read_as(struct build *b, const char *at, uint32_t style, struct rope_request q);
/* The same without rotation. */
struct latent latent_read_unrotated(struct build *b, const char *at);
/* The same of a class whose heads have so many columns of values where the config does not say it. */
struct latent latent_read_value(struct build *b, const char *at, uint32_t style, uint32_t value);
/* Window, scale and tuning are a's. */
void latent_attention(struct build *b, const struct latent *l, const struct attention *a, struct plan_view dst,
                      struct plan_view src);

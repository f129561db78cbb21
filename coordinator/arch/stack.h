/* A decoder as a stack of layers: attention and feed forward around a residual stream, in the forms that families use.
 *
 *   x = embedding
 *   each layer   a = after_attention(attention(before_attention(x)))     x += residual * a
 *                m = after_mlp(mlp(before_mlp(x)))                       x += residual * m
 *                (parallel: both from one norm of x, or each from its own; after_layer: what follows)
 *   logits = head(final_norm(x))
 *
 * A family fills struct stack from the config, and changes it before a layer that differs. What fits none of the
 * switches is written with build.h in the family's own file, as attend or feed. */
#pragma once
#include "coordinator/arch/build.h"

enum qk_norm {
    QK_NONE,
    QK_HEAD, /* one weight [head_dim] for all heads */
    QK_OWN,  /* a weight for each head, [heads][head_dim] */
    QK_FULL, /* over all heads together, [heads * head_dim] */
    QK_LIST  /* NAME.norms.H for head H, [head_dim] each */
};

struct attention {
    const char *q, *k, *v, *o; /* names of the projections */
    const char *qkv;           /* one matrix of all three instead: q, then k, then v */
    bool grouped; /* its rows come in groups instead: the heads of one key, the key, the value (InternLM2) */
    bool q_bias, k_bias, v_bias, o_bias;
    const char *q_norm, *k_norm;
    enum qk_norm norm;
    uint32_t qk_kind;              /* kind of that norm: enum plan_norm */
    bool norm_last;                /* after rotation */
    bool norm_bare;                /* without weights */
    const struct rope_table *rope; /* NULL: no rotation */
    uint32_t rope_style;
    uint32_t window, chunk;
    float scale, cap;
    struct plan_view chosen; /* lists of an index before; chosen_top 0: all ancestors */
    uint32_t chosen_groups, chosen_top, chosen_block;
    const char *sinks;
    uint32_t alibi;             /* vector, or PLAN_NONE */
    bool gated;                 /* q's rows are [q, gate] for each head, and the output is times sigmoid(gate) */
    const char *gate;           /* the same gates from a matrix [heads * head_dim][hidden] of their own; NULL: none */
    bool gate_heads;            /* which is [heads][hidden]: one for all columns of a head */
    uint32_t value;             /* columns of a head of v, where they are not head_dim; 0: they are */
    float value_mul;            /* v is times this; 0: it is not */
    float tune_mul, tune_floor; /* Llama 4: q grows with the position; 0: no */
    bool tune_zero;             /* from position 0 on, not 1 (SCALE_FROM_ZERO) */
    float clip;                 /* q, k and v are no larger and no smaller than this; 0: they may be */
};

struct mlp {
    const char *gate, *up, *down;
    const char *gate_up;     /* one matrix instead: gate, then up */
    bool up_bias, down_bias; /* of gate too */
    uint32_t inter, act;     /* gate NULL and gate_up NULL: act(up) alone */
    bool clamp_before;       /* the limit is ACT_CLAMP_BEFORE's */
    float limit;             /* ACT_CLAMP_AFTER, or ACT_SWIGLU_OAI's own; 0: no limit */
    float alpha;             /* of ACT_SWIGLU_OAI */
    const char *xielu;       /* act is xIELU, whose numbers are NAME.alpha_p and so on (Apertus); NULL: it is not */
};

struct stack {
    struct attention attention;
    struct mlp mlp;
    const char *embed, *final_norm, *head;                                   /* head: NULL: lm_head */
    const char *before_attention, *after_attention, *before_mlp, *after_mlp; /* norms; NULL: none */
    bool parallel, tied, head_bias;
    bool one_block;           /* a layer is its attend alone */
    bool parallel_norms;      /* parallel, and the feed forward has a norm of its own: before_mlp */
    bool sum_normed;          /* x = after(x + branch) in place of x + after(branch) */
    const char *embed_norm;   /* of the embedding; NULL: none */
    const char *positions;    /* a learned table, added to the embedding: row position + position_offset; NULL: none */
    uint32_t position_offset; /* rows of it before those of position 0 */
    uint32_t embed_width;     /* of the embedding and the head where it is not hidden; 0: it is */
    const char *project_in, *project_out; /* then: from that width, and back to it */
    float residual, embed_scale, logit_mul, logit_cap;
    uint32_t head_flags;
    /* A second table that is read with the embedding, row by row; NULL: none. Its view: BUF_BESIDE. */
    const char *beside;
    uint32_t beside_rows, beside_width;
    float beside_scale;
    void (*after_embedding)(struct build *b, struct stack *s);
    void (*whole_layer)(struct build *b, struct stack *s); /* in place of all else that a layer is */
    void (*before_layer)(struct build *b, struct stack *s, uint32_t i);
    void (*after_layer)(struct build *b, struct stack *s, uint32_t i);
    void (*attend)(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src);
    void (*feed)(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src);
    void *own; /* the family's */
};

/* The names and switches of Llama, from b's sizes: silu, rotary by halves, no biases. rope may be NULL. */
struct stack stack_llama(struct build *b, const struct rope_table *rope);
/* Whether all four projections of attention have biases. */
void stack_attention_biases(struct stack *s, bool biased);
/* The whole program. */
void stack_build(struct build *b, struct stack *s);

/* ALiBi's slopes for b's heads, times mul, as a vector: a geometric series for a power of two, and every other one of the next
 * series for the rest; top: the exponent of the last, 8 where nothing else is said (Press et al., arXiv 2108.12409). */
uint32_t stack_alibi(struct build *b, double top, double mul);

/* Parts of it, for families that differ. */
void stack_attention(struct build *b, const struct attention *a, struct plan_view dst, struct plan_view src);
void stack_mlp(struct build *b, const struct mlp *m, struct plan_view dst, struct plan_view src);
/* q, of width columns, grows with the position where a says so. */
void stack_tune(struct build *b, const struct attention *a, struct plan_view q, uint64_t width);
/* Appends to the cache and attends: q, k, v stand in their views. */
void stack_attend(struct build *b, const struct attention *a, uint32_t heads, uint32_t kv_heads, uint32_t dk,
                  uint32_t dv, struct plan_view dst, struct plan_view q, struct plan_view k, struct plan_view v,
                  uint32_t flags);
/* Attends over the keys and values that an earlier layer of this sweep has put into its cache, of the same heads. */
void stack_attend_again(struct build *b, const struct attention *a, uint32_t heads, uint32_t kv_heads, uint32_t width,
                        struct plan_view dst, struct plan_view q, uint32_t cache);

/* ---- experts ---- */

struct moe {
    uint32_t experts, top, inter;
    uint32_t identity;  /* further ones, which give their input back: the router scores them behind the others */
    const char *router; /* matrix [experts][hidden] */
    bool router_bias;
    const char *correction;                    /* vector [experts], added for the choice only; NULL: none */
    const char *by_token;                      /* table [vocabulary][top] of who is chosen; NULL: the best are */
    const char *each;                          /* vector [experts], a factor of each one's weight; NULL: none */
    uint32_t score, flags, groups, top_groups; /* of struct op_router; groups 0: all experts are one */
    float scale, norm_eps;
    uint32_t act, act_flags; /* of struct op_experts */
    float alpha, limit;
    /* names: ROUTES.E.gate and so on, or whole tensors of all experts */
    const char *list, *gate, *up, *down; /* "mlp.experts", "gate_proj", ...; gate NULL: down act(up) */
    const char *stacks; /* what stands before gate_proj.weight and so on [experts][..][..]; NULL: list */
    const char *fused_gate_up, *fused_down; /* tensors [experts][..][..]; NULL: one matrix for each expert */
    const char *fused_gate_up_bias, *fused_down_bias;
    bool transposed, interleaved, mxfp4;
    struct mlp shared;       /* inter 0: none */
    const char *shared_gate; /* matrix [1][hidden]: the shared expert times its sigmoid; NULL: none */
    uint32_t hidden;         /* columns that the experts have; 0: the model's */
    bool averaged;           /* half of the sum of the chosen and the shared expert, in place of their sum */
};

void stack_moe(struct build *b, const struct moe *m, struct plan_view dst, struct plan_view src);
/* Its halves, where the router sees something else, or something comes between: the choice (and the experts' table), and
 * the experts that were chosen. */
uint32_t stack_route(struct build *b, const struct moe *m, struct plan_view src);
void stack_experts(struct build *b, const struct moe *m, uint32_t table, struct plan_view dst, struct plan_view src);

/* Sizes under the names that families give them: num_experts, num_local_experts, n_routed_experts or moe_num_experts;
 * num_experts_per_tok, moe_k or moe_topk. */
uint32_t moe_experts(struct build *b);
uint32_t moe_experts_chosen(struct build *b);
/* Columns of the shared experts together, inter each: n_shared_experts, num_shared_experts or moe_num_shared_experts of
 * them; 0: there are none. */
uint32_t moe_shared_inter(struct build *b, uint32_t inter);
/* Counts of experts, and the names that most families give to routers, experts and the shared ones (of which there are none
 * until they have a size). */
struct moe moe_named(struct build *b);
/* Whether layer i has experts: what mlp_layer_types calls it ("sparse" or "dense"), else whether dense_layers come first. */
bool moe_layer_is_sparse(struct build *b, uint32_t i, uint32_t dense_layers);
/* Qwen's experts (mlp.gate, mlp.experts), normalized where norm_topk_prob says so or is no field of the class. Files hold one matrix for each
 * expert, or all of them fused. */
struct moe moe_qwen(struct build *b);
/* Whether layer i has them fused, in "mlp.experts.gate_up_proj" and "mlp.experts.down_proj": then m says so. */
void moe_find_fused(struct build *b, struct moe *m, uint32_t i);
/* And the shared one with its gate. */
void moe_qwen_shared(struct build *b, struct moe *m);
/* Whether layer i has experts: decoder_sparse_step, mlp_only_layers. */
bool moe_qwen_layer(struct build *b, uint32_t i);

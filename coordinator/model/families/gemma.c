/* Gemma 1, 2 and 3: norms that add 1 to their weights, embeddings times sqrt(hidden), tied heads. Gemma 2 norms the
 * outputs of its blocks too, caps logits, and slides in every other layer; Gemma 3 norms q and k and has two rotary
 * tables. Reference: transformers, modeling_gemma.py, modeling_gemma2.py, modeling_gemma3.py. */
#include "coordinator/model/family.h"
#include "coordinator/model/stack.h"

#include <math.h>

static const struct build_defaults gemma3_defaults = {2304, 26, 262208, 8, 4, 256, 9216, 131072};

struct gemma {
    struct rope_table full, local;
    uint32_t window, pattern; /* every pattern-th layer sees all positions; 0: all do */
};

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct gemma *g = s->own;
    bool slides = build_layer_is(b, i, "sliding_attention", g->pattern && (i + 1) % g->pattern);

    s->attention.window = slides ? g->window : 0;
    s->attention.rope = slides ? &g->local : &g->full;
}

static struct stack gemma(struct build *b, struct gemma *g)
{
    struct stack s;

    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    b->weight_add = 1;
    s = stack_llama(b, &g->full);
    s.mlp.act = ACT_GELU_TANH; /* some folders say "gelu" and mean this one */
    s.embed_scale = (float)sqrt(b->hidden);
    s.tied = build_tied(b, true);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias =
        config_bool_or(b->c, "attention_bias", false, b->e);
    s.own = g;
    return s;
}

void family_gemma(struct build *b)
{
    struct gemma g = {0};
    struct stack s;

    build_sizes(b, NULL);
    g.full = build_plain_rope(b);
    s = gemma(b, &g);
    stack_build(b, &s);
}

/* A root is taken of it, or a tanh divided by it. */
static double positive(struct build *b, const char *key, double otherwise)
{
    double x = config_number_or(b->c, key, otherwise, b->e);

    if (x <= 0 && x != otherwise) config_fault(b->c, b->e, key, "%g is out of range, it must be greater than 0", x);
    return x;
}

static void sandwich(struct build *b, struct stack *s)
{
    s->after_attention = "post_attention_layernorm";
    s->before_mlp = "pre_feedforward_layernorm";
    s->after_mlp = "post_feedforward_layernorm";
    s->before_layer = before_layer;
    s->attention.scale = (float)(1 / sqrt(positive(b, "query_pre_attn_scalar", 256)));
    s->attention.cap = (float)positive(b, "attn_logit_softcapping", 0);
    s->logit_cap = (float)positive(b, "final_logit_softcapping", 0);
}

void family_gemma2(struct build *b)
{
    struct gemma g = {.pattern = 2};
    struct stack s;

    build_sizes(b, NULL);
    g.window = config_size_or(b->c, "sliding_window", 1, CONFIG_SIZE_MAX, 4096, b->e);
    g.full = g.local = build_plain_rope(b);
    s = gemma(b, &g);
    sandwich(b, &s);
    stack_build(b, &s);
}

/* The global table follows rope_scaling; the local one has a theta of its own and no scaling. */
static void gemma3_ropes(struct build *b, struct gemma *g)
{
    struct rope_request q = {
        .layer_type = "full_attention", .theta = 1e6, .head_dim = b->head_dim, .length = build_length(b)};
    const json_t *both = config_field(b->c, "rope_parameters", false);

    g->full = rope_make(b->p, b->c, &q, b->e);
    q.layer_type = "sliding_attention";
    q.theta = 10000;
    if (!json_is_object(json_object_get(both, q.layer_type)))
        q.fixed_theta = config_number_or(b->c, "rope_local_base_freq", 10000, b->e);
    g->local = rope_make(b->p, b->c, &q, b->e);
}

void family_gemma3(struct build *b)
{
    struct gemma g = {0};
    struct stack s;

    build_sizes(b, &gemma3_defaults);
    g.window = config_size_or(b->c, "sliding_window", 1, CONFIG_SIZE_MAX, 4096, b->e);
    g.pattern = config_size_or(b->c, "sliding_window_pattern", 1, 10000, 6, b->e);
    gemma3_ropes(b, &g);
    s = gemma(b, &g);
    sandwich(b, &s);
    s.attention.norm = QK_HEAD;
    stack_build(b, &s);
}

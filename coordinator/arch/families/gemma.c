/* Gemma 1, 2 and 3: norms that add 1 to their weights, embeddings times sqrt(hidden), tied heads. Gemma 2 norms the
 * outputs of its blocks too, caps logits, and slides in every other layer; Gemma 3 norms q and k and has two rotary
 * tables. Reference: transformers, modeling_gemma.py, modeling_gemma2.py, modeling_gemma3.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <math.h>

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
    b->weight_add = b->t->changes.norms_whole ? 0 : 1;
    s = stack_llama(b, &g->full);
    s.embed_scale = (float)sqrt(b->hidden);
    s.tied = build_tied(b);
    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.own = g;
    return s;
}

void family_gemma(struct build *b)
{
    struct gemma g = {0};
    struct stack s;

    build_sizes(b);
    g.full = build_plain_rope(b);
    s = gemma(b, &g);
    s.mlp.act = build_activation(b, "hidden_act", ACT_GELU_TANH);
    if (s.mlp.act == ACT_GELU_ERF) s.mlp.act = ACT_GELU_TANH; /* its first folders say "gelu" and mean tanh */
    stack_build(b, &s);
}

/* A root is taken of it, or a tanh divided by it. 0: none. */
static double positive(struct build *b, const char *key)
{
    double x = config_number_or(b->c, key, 0, b->e);

    if (x <= 0 && config_field(b->c, key, false))
        config_fault(b->c, b->e, key, "%g is out of range, it must be greater than 0", x);
    return x;
}

static void sandwich(struct build *b, struct stack *s)
{
    double scalar = positive(b, "query_pre_attn_scalar");

    s->mlp.act = build_activation(b, "hidden_activation", ACT_GELU_TANH);
    s->after_attention = "post_attention_layernorm";
    s->before_mlp = "pre_feedforward_layernorm";
    s->after_mlp = "post_feedforward_layernorm";
    s->before_layer = before_layer;
    s->attention.scale = (float)(1 / sqrt(scalar > 0 ? scalar : 256));
    s->attention.cap = (float)positive(b, "attn_logit_softcapping");
    s->logit_cap = (float)positive(b, "final_logit_softcapping");
}

void family_gemma2(struct build *b)
{
    struct gemma g = {.pattern = 2};
    struct stack s;

    build_sizes(b);
    g.window = build_sliding(b);
    g.full = g.local = build_plain_rope(b);
    s = gemma(b, &g);
    sandwich(b, &s);
    stack_build(b, &s);
}

/* The global table follows rope_scaling; the local one has a theta of its own and no scaling. */
static void gemma3_ropes(struct build *b, struct gemma *g)
{
    g->full = build_rotary(b, (struct rope_request){.layer_type = "full_attention", .theta = 1e6});
    g->local = build_rotary(
        b,
        (struct rope_request){.layer_type = "sliding_attention", .theta_key = "rope_local_base_freq", .theta = 10000});
}

void family_gemma3(struct build *b)
{
    struct gemma g = {0};
    struct stack s;

    build_sizes(b);
    g.window = build_sliding(b);
    g.pattern = config_size_or(b->c, "sliding_window_pattern", 1, 10000, 6, b->e);
    gemma3_ropes(b, &g);
    s = gemma(b, &g);
    sandwich(b, &s);
    s.attention.cap = 0; /* its attention has none, whatever the config says */
    s.attention.norm = QK_HEAD;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name sandwich_names[] = {
    {"post_attention_norm", "post_attention_layernorm", GGUF_AS_IS},
    {"ffn_norm", "pre_feedforward_layernorm", GGUF_AS_IS},
    {"post_ffw_norm", "post_feedforward_layernorm", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void gemma_config(struct gguf_values *v)
{
    gguf_set_text(v, "hidden_act", "gelu_pytorch_tanh");
}

const struct gguf_family gguf_gemma = {
    .architecture = "gemma",
    .class = "GemmaForCausalLM",
    .type = "gemma",
    .changes = {.norms_whole = true},
    .config = gemma_config,
};

/* The 27B models, which their files do not tell: by their layers, as llama.cpp does. */
static void query_scale(struct gguf_values *v, uint64_t large)
{
    bool is_large = v->layers == large && v->heads;

    gguf_set_text(v, "hidden_activation", "gelu_pytorch_tanh");
    gguf_set_real(v, "query_pre_attn_scalar", (double)(is_large ? v->hidden / v->heads : v->head_dim));
}

static void gemma2_config(struct gguf_values *v)
{
    query_scale(v, 46);
    gguf_field_real(v, "attn_logit_softcapping", "attn_logit_softcapping", 50);
    gguf_field_real(v, "final_logit_softcapping", "final_logit_softcapping", 30);
    gguf_field_int(v, "attention.sliding_window", "sliding_window", 4096);
    gguf_layer_types(v, "sliding_attention", 2);
}

const struct gguf_family gguf_gemma2 = {
    .architecture = "gemma2",
    .class = "Gemma2ForCausalLM",
    .type = "gemma2",
    .names = sandwich_names,
    .changes = {.norms_whole = true},
    .config = gemma2_config,
};

static void gemma3_config(struct gguf_values *v)
{
    double cap;

    query_scale(v, 62);
    gguf_field_real(v, "rope.freq_base", "rope_theta", 1000000);
    gguf_field_real(v, "rope.freq_base_swa", "rope_local_base_freq", 10000);
    if (gguf_value_real(v, "final_logit_softcapping", &cap))
        gguf_set_real(v, "final_logit_softcapping", cap);
    else
        gguf_set_none(v, "final_logit_softcapping");
    gguf_set_none(v, "attn_logit_softcapping");
    gguf_window(v);
    gguf_layer_types(v, "sliding_attention", gguf_find(v->g, "gemma3.attention.sliding_window") ? 6 : 0);
}

const struct gguf_family gguf_gemma3 = {
    .architecture = "gemma3",
    .class = "Gemma3ForCausalLM",
    .type = "gemma3_text",
    .names = sandwich_names,
    .changes = {.norms_whole = true},
    .config = gemma3_config,
};

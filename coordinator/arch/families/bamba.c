/* Bamba and Falcon-H1: Mamba-2 in turns with attention, or beside it in every layer. Reference: transformers,
 * modeling_bamba.py, modeling_falcon_h1.py. */
#include "coordinator/arch/families/mamba.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

#include <string.h>

/* The feed forward's and norms' names that both have. */
static struct stack hybrid(struct build *b, const struct rope_table *rope)
{
    struct stack s = stack_llama(b, rope);

    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.mlp.gate = "feed_forward.gate_proj";
    s.mlp.up = "feed_forward.up_proj";
    s.mlp.down = "feed_forward.down_proj";
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.mlp.up_bias = s.mlp.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    s.before_mlp = "pre_ff_layernorm";
    s.final_norm = "final_layernorm";
    s.tied = build_tied(b);
    return s;
}

/* ---- Bamba ---- */

static void bamba_mix(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    mamba2_mix(b, s->own, dst, src);
}

static void bamba_layer(struct build *b, struct stack *s, uint32_t i)
{
    size_t n = json_array_size(config_field(b->c, "attn_layer_indices", false));

    s->attend = bamba_mix;
    for (size_t k = 0; k < n; k++)
        if (config_list_int(b->c, "attn_layer_indices", k, -1, b->e) == i) s->attend = NULL;
}

void family_bamba(struct build *b)
{
    struct rope_table rope;
    struct mamba2 m;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_rotary(b, (struct rope_request){.partial = 0.5}); /* whatever partial_rotary_factor says */
    m = mamba2_sizes(b, (uint64_t)config_size_or(b->c, "mamba_expand", 1, 64, 2, b->e) * b->hidden);
    s = hybrid(b, &rope);
    s.own = &m;
    s.before_layer = bamba_layer;
    if (build_ok(b)) stack_build(b, &s);
}

/* ---- Falcon-H1 ---- */

struct falcon {
    struct mamba2 mixer;
    float attention_in, attention_out, gate, down;
};

static void scale(struct build *b, struct plan_view x, uint64_t width, float mul)
{
    if (mul != 1) build_scale(b, x, width, mul, 0);
}

static void falcon_mix(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct falcon *f = s->own;
    struct plan_view beside = build_view(b, BUF_OUT2, b->hidden, 0);

    mamba2_mix(b, &f->mixer, dst, src);
    build_copy(b, beside, b->hidden, src, b->hidden, 1, b->hidden);
    scale(b, beside, b->hidden, f->attention_in);
    stack_attention(b, &s->attention, beside, beside);
    build_add(b, dst, dst, beside, b->hidden, 1, f->attention_out);
}

static void falcon_feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct falcon *f = s->own;
    const struct mlp *m = &s->mlp;
    struct plan_view gate = build_view(b, BUF_GATE, m->inter, 0), up = build_view(b, BUF_UP, m->inter, 0);

    build_linear(b, gate, src, m->gate, m->inter, b->hidden, m->up_bias);
    scale(b, gate, m->inter, f->gate);
    build_linear(b, up, src, m->up, m->inter, b->hidden, m->up_bias);
    build_act(b, gate, gate, up, m->inter, m->act, 0);
    build_linear(b, dst, gate, m->down, b->hidden, m->inter, m->down_bias);
    scale(b, dst, b->hidden, f->down);
}

static float multiplier(struct build *b, const char *key)
{
    return (float)config_number_or(b->c, key, 1, b->e);
}

/* A list of exactly n factors; absent: all 1. */
static void multipliers(struct build *b, const char *key, float *out, size_t n)
{
    const json_t *list = config_field(b->c, key, false);

    if (list && json_array_size(list) != n) config_fault(b->c, b->e, key, "a list of %zu numbers was expected", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *x = list ? json_array_get(list, i) : NULL;

        if (x && !json_is_number(x)) config_fault(b->c, b->e, key, "entry %zu is no number", i);
        out[i] = x ? (float)json_number_value(x) : 1;
    }
}

static void read_mixer(struct build *b, struct falcon *f)
{
    uint64_t inner = (uint64_t)config_size_or(b->c, "mamba_expand", 1, 64, 2, b->e) * b->hidden;
    float ends[2];

    inner = config_size_or(b->c, "mamba_d_ssm", 1, 1u << 24, inner > 1u << 24 ? 1u << 24 : (uint32_t)inner, b->e);
    f->mixer = mamba2_sizes(b, inner);
    f->mixer.out_bias = config_bool_or(b->c, "projectors_bias", false, b->e);
    f->mixer.unnormed = !config_bool_or(b->c, "mamba_rms_norm", false, b->e);
    f->mixer.norm_first = config_bool_or(b->c, "mamba_norm_before_gate", true, b->e);
    f->mixer.in = multiplier(b, "ssm_in_multiplier");
    f->mixer.out = multiplier(b, "ssm_out_multiplier");
    multipliers(b, "ssm_multipliers", f->mixer.times, 5);
    f->attention_in = multiplier(b, "attention_in_multiplier");
    f->attention_out = multiplier(b, "attention_out_multiplier");
    multipliers(b, "mlp_multipliers", ends, 2);
    f->gate = ends[0];
    f->down = ends[1];
}

void family_falcon_h1(struct build *b)
{
    struct rope_table rope;
    struct falcon f = {0};
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    read_mixer(b, &f);
    s = hybrid(b, &rope);
    s.attention.scale *= multiplier(b, "key_multiplier");
    s.embed_scale = multiplier(b, "embedding_multiplier");
    s.logit_mul = multiplier(b, "lm_head_multiplier");
    s.own = &f;
    s.attend = falcon_mix;
    s.feed = falcon_feed;
    if (build_ok(b)) stack_build(b, &s);
}

/* ---- as GGUF: all factors lie in the weights ---- */

static const struct gguf_name falcon_names[] = {
    {"ffn_norm", "pre_ff_layernorm", GGUF_WHOLE},
    {"ffn_gate", "feed_forward.gate_proj", GGUF_AS_IS},
    {"ffn_up", "feed_forward.up_proj", GGUF_AS_IS},
    {"ffn_down", "feed_forward.down_proj", GGUF_AS_IS},
    MAMBA_NAMES("mamba"),
    {NULL, NULL, 0},
};

static void tell_factors(struct gguf_values *v)
{
    static const char *const factors[] = {"ssm_in_multiplier",  "ssm_out_multiplier",      "ssm_multipliers",
                                          "mlp_multipliers",    "attention_in_multiplier", "attention_out_multiplier",
                                          "lm_head_multiplier", "embedding_multiplier",    "key_multiplier"};

    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        const json_t *x = config_field(v->tells->config, factors[i], false);
        size_t n = json_is_array(x) ? json_array_size(x) : x ? 1 : 0;

        for (size_t k = 0; k < n; k++)
            if (json_number_value(json_is_array(x) ? json_array_get(x, k) : x) != 1)
                gguf_tell_cannot(v, factors[i], "factors, which would go into the weights and round them again,");
    }
}

static void falcon_config(struct gguf_values *v)
{
    static const struct mamba2_fields fields = {"mamba_n_heads", "mamba_d_head",    "mamba_n_groups",  "mamba_d_state",
                                                "mamba_d_conv",  "mamba_conv_bias", "mamba_proj_bias", NULL};

    if (v->tells) tell_factors(v);
    mamba2_config(v, &fields);
    gguf_tell_field(v, "ssm.inner_size", "mamba_d_ssm");
    if (!v->tells) gguf_set_int(v, "mamba_d_ssm", gguf_value_needed(v, "ssm.inner_size"));
    gguf_set_flag(v, "mamba_rms_norm", gguf_layer_has(v, "ssm_norm.weight"));
    gguf_set_flag(v, "mamba_norm_before_gate", false);
    gguf_set_flag(v, "projectors_bias", gguf_layer_has(v, "ssm_out.bias"));
}

const struct gguf_family gguf_falcon_h1 = {
    .architecture = "falcon-h1",
    .class = "FalconH1ForCausalLM",
    .type = "falcon_h1",
    .names = falcon_names,
    .norm = "final_layernorm",
    .changes = {.decay = true},
    .scans = true,
    .config = falcon_config,
};

/* LongCat Flash: each layer is two of latent attention and a feed forward in turn, and experts that start from the first
 * one's input and join at the end of the second, so that they are read meanwhile. Some experts give back what they are
 * given. q and the latent vector are times a factor of their ranks. Reference: transformers, modeling_longcat_flash.py. */
#include "coordinator/arch/families/latent.h"
#include "coordinator/arch/family.h"

#include <math.h>
#include <string.h>

struct longcat {
    struct latent latent[2];
    struct moe moe;
    uint32_t half, table; /* which half of a layer it is; the experts that its first one chose among */
};

static void sizes(struct build *b)
{
    b->hidden = config_size(b->c, "hidden_size", 1, 1u << 24, b->e);
    b->layers = 2 * config_size(b->c, "num_layers", 1, 5000, b->e);
    b->vocab = config_size(b->c, "vocab_size", 1, 1u << 24, b->e);
    b->inter = config_size(b->c, "ffn_hidden_size", 1, 1u << 24, b->e);
    b->limit = config_size_or(b->c, "max_position_embeddings", 1, CONFIG_SIZE_MAX, 2048, b->e);
    b->heads = config_size(b->c, "num_attention_heads", 1, 65536, b->e);
    b->kv_heads = config_size_or(b->c, "num_key_value_heads", 1, 65536, b->heads, b->e);
    b->head_dim = config_size_or(b->c, "head_dim", 1, 1u << 16, 64, b->e); /* read, and not used: heads are latent */
}

static float rank_factor(struct build *b, const char *key, uint32_t rank)
{
    if (!rank || !config_bool_or(b->c, key, true, b->e)) return 1;
    return (float)sqrt((double)b->hidden / rank);
}

static void read_attention(struct build *b, struct longcat *o)
{
    const char *method = config_string_or(b->c, "attention_method", "MLA", b->e);

    if (strcmp(method, "MLA")) config_fault(b->c, b->e, "attention_method", "\"%.40s\" is not known, MLA is", method);
    o->latent[0] = latent_read(b, "self_attn.0", ROPE_PAIRS);
    o->latent[0].q_mul = rank_factor(b, "mla_scale_q_lora", o->latent[0].q_rank);
    o->latent[0].kv_mul = rank_factor(b, "mla_scale_kv_lora", o->latent[0].kv_rank);
    o->latent[1] = o->latent[0];
    o->latent[1].at = "self_attn.1";
}

static void read_experts(struct build *b, struct longcat *o)
{
    const char *zero = config_string_or(b->c, "zero_expert_type", "identity", b->e);

    o->moe = (struct moe){.experts = config_size(b->c, "n_routed_experts", 1, 65536, b->e),
                          .identity = config_size_or(b->c, "zero_expert_num", 0, 65536, 0, b->e),
                          .top = moe_experts_chosen(b),
                          .inter = config_size(b->c, "expert_ffn_hidden_size", 1, 1u << 24, b->e),
                          .router = "mlp.router.classifier",
                          .router_bias = config_bool_or(b->c, "router_bias", false, b->e),
                          .correction = "mlp.router.e_score_correction_bias",
                          .score = SCORE_SOFTMAX,
                          .scale = (float)config_number_or(b->c, "routed_scaling_factor", 1, b->e),
                          .act = build_activation(b, "hidden_act", ACT_SILU),
                          .list = "mlp.experts",
                          .gate = "gate_proj",
                          .up = "up_proj",
                          .down = "down_proj"};
    if (o->moe.identity && strcmp(zero, "identity"))
        config_fault(b->c, b->e, "zero_expert_type", "\"%.40s\" is not known, identity is", zero);
}

/* Layer i of the stack is half of a layer of the model. */
static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    struct longcat *o = s->own;
    bool second = i % 2;

    o->half = second;
    build_layer(b, i / 2);
    s->before_attention = second ? "input_layernorm.1" : "input_layernorm.0";
    s->before_mlp = second ? "post_attention_layernorm.1" : "post_attention_layernorm.0";
    s->mlp.gate = second ? "mlps.1.gate_proj" : "mlps.0.gate_proj";
    s->mlp.up = second ? "mlps.1.up_proj" : "mlps.0.up_proj";
    s->mlp.down = second ? "mlps.1.down_proj" : "mlps.0.down_proj";
}

/* The model's layers are those that its operations are numbered by. */
static void after_layer(struct build *b, struct stack *s, uint32_t i)
{
    (void)s;
    if (i + 1 == b->layers) b->layers /= 2;
}

static void attend(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct longcat *o = s->own;

    latent_attention(b, &o->latent[o->half], &s->attention, dst, src);
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    struct plan_view kept = build_view(b, BUF_OUT2, b->hidden, 0), out = build_view(b, BUF_A, b->hidden, 0);
    struct longcat *o = s->own;

    if (!o->half) {
        build_copy(b, kept, b->hidden, src, b->hidden, 1, b->hidden);
        o->table = stack_route(b, &o->moe, src);
    }
    stack_mlp(b, &s->mlp, dst, src);
    if (!o->half) return;
    stack_experts(b, &o->moe, o->table, out, kept);
    build_add(b, dst, dst, out, b->hidden, 1, 1);
}

void family_longcat_flash(struct build *b)
{
    struct longcat o = {0};
    struct stack s;

    sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    read_attention(b, &o);
    read_experts(b, &o);
    s = stack_llama(b, NULL);
    s.attention.scale = o.latent[0].scale;
    s.mlp.act = o.moe.act;
    s.tied = build_tied(b);
    s.own = &o;
    s.before_layer = before_layer;
    s.after_layer = after_layer;
    s.attend = attend;
    s.feed = feed;
    stack_build(b, &s);
}

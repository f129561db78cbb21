/* MiniCPM: Llama whose embeddings, branches and logits are scaled, with latent attention in MiniCPM 3. Reference: transformers,
 * modeling_minicpm3.py; of MiniCPM 1, 2 and 4 modeling_minicpm.py, as published with their weights. */
#include "coordinator/arch/families/latent.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <math.h>

/* Each scale as it is where the config says null: none. */
static void scales(struct build *b, struct stack *s)
{
    double depth = config_number_or(b->c, "scale_depth", sqrt(b->layers), b->e),
           base = config_number_or(b->c, "dim_model_base", b->hidden, b->e);

    if (!(base > 0)) config_fault(b->c, b->e, "dim_model_base", "%g is out of range, it must be greater than 0", base);
    s->embed_scale = (float)config_number_or(b->c, "scale_emb", 1, b->e);
    if (!build_ok(b)) return;
    s->residual = (float)(depth / sqrt(b->layers));
    s->logit_mul = (float)(base / b->hidden);
}

/* MiniCPM 4.1 attends to chosen blocks in texts that are longer than this; in shorter ones, to all positions. */
static void bound_by_dense_length(struct build *b)
{
    const json_t *sparse = config_field(b->c, "sparse_config", false);
    double most = sparse ? config_object_number(b->c, sparse, "sparse_config", "dense_len", 0, b->e) : 0;

    if (!sparse) return;
    if (!(most >= 1))
        config_fault(b->c, b->e, "sparse_config",
                     "dense_len is missing, and attention to chosen blocks is not supported");
    if (!build_ok(b) || most >= b->limit) return;
    b->limit = (uint32_t)most;
    build_notice(b,
                 "its attention to chosen blocks is not supported: texts end at %u positions, up to which it sees all",
                 b->limit);
}

void family_minicpm(struct build *b)
{
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e);
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    if (config_size_or(b->c, "num_experts", 0, 65536, 0, b->e))
        config_fault(b->c, b->e, "num_experts", "MiniCPM with experts is not supported");
    rope = build_rotary(b, (struct rope_request){.longrope = true});
    s = stack_llama(b, &rope);
    stack_attention_biases(&s, bias);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    scales(b, &s);
    s.tied = build_tied(b);
    bound_by_dense_length(b);
    stack_build(b, &s);
}

static void attend(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    latent_attention(b, s->own, &s->attention, dst, src);
}

void family_minicpm3(struct build *b)
{
    struct latent l;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    if (!build_ok(b)) return;
    l = latent_read_value(b, "self_attn", ROPE_HALVES, b->hidden / b->heads);
    s = stack_llama(b, &l.rope);
    s.attention.scale = l.scale;
    s.mlp.up_bias = s.mlp.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    scales(b, &s);
    s.tied = build_tied(b);
    s.own = &l;
    s.attend = attend;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

#define BASE                                                                                                           \
    256 /* dim_model_base, scale_emb and scale_depth of all that was published, where a file does not say them */
#define EMBED 12
#define DEPTH 1.4

/* Files of old say nothing of the scales. */
static void minicpm_config(struct gguf_values *v)
{
    double embed = EMBED, depth = DEPTH, logit, residual;

    gguf_value_real(v, "embedding_scale", &embed);
    if (gguf_value_real(v, "residual_scale", &residual)) depth = residual * sqrt((double)v->layers);
    gguf_set_real(v, "scale_emb", embed);
    gguf_set_real(v, "scale_depth", depth);
    if (!gguf_value_real(v, "logit_scale", &logit)) logit = (double)v->hidden / BASE;
    if (!(logit > 0))
        gguf_refuse(v, "logit_scale", "%g is out of range, it must be greater than 0", logit);
    else
        gguf_set_real(v, "dim_model_base", (double)v->hidden / logit);
}

const struct gguf_family gguf_minicpm = {
    .architecture = "minicpm",
    .class = "MiniCPMForCausalLM",
    .type = "minicpm",
    .changes = {.qk_pairs = true},
    .unwritten = true,
    .config = minicpm_config,
};

static const struct gguf_name minicpm3_names[] = {
    {"attn_q_a", "self_attn.q_a_proj", GGUF_AS_IS},
    {"attn_q_a_norm", "self_attn.q_a_layernorm", GGUF_AS_IS},
    {"attn_q_b", "self_attn.q_b_proj", GGUF_AS_IS},
    {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa", GGUF_AS_IS},
    {"attn_kv_a_norm", "self_attn.kv_a_layernorm", GGUF_AS_IS},
    {"attn_kv_b", "self_attn.kv_b_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* Heads of values have as many columns as are left for them; llama.cpp knows the scales. */
static void minicpm3_config(struct gguf_values *v)
{
    uint64_t key = gguf_value_needed(v, "attention.key_length"), rank = gguf_value_needed(v, "attention.kv_lora_rank");
    const struct gguf_tensor *both = gguf_tensor(v->g, "blk.0.attn_kv_b.weight");
    uint64_t each = both && v->heads ? both->dims[1] / v->heads : 0;

    if (key <= v->rope_dim)
        gguf_refuse(v, "rope.dimension_count", "%llu of %llu columns of a key", (unsigned long long)v->rope_dim,
                    (unsigned long long)key);
    gguf_field_int(v, "attention.q_lora_rank", "q_lora_rank", 0);
    gguf_set_int(v, "kv_lora_rank", rank);
    gguf_set_int(v, "qk_nope_head_dim", key - v->rope_dim);
    gguf_set_int(v, "qk_rope_head_dim", v->rope_dim);
    if (each > key - v->rope_dim) gguf_set_int(v, "v_head_dim", each - (key - v->rope_dim));
    gguf_set_none(v, "head_dim");
    gguf_set_int(v, "scale_emb", EMBED);
    gguf_set_real(v, "scale_depth", DEPTH);
    gguf_set_int(v, "dim_model_base", BASE);
}

const struct gguf_family gguf_minicpm3 = {
    .architecture = "minicpm3",
    .class = "MiniCPM3ForCausalLM",
    .type = "minicpm3",
    .names = minicpm3_names,
    .latent = true,
    .unwritten = true,
    .config = minicpm3_config,
};

/* MiniCPM: Llama whose embeddings, branches and logits are scaled, with latent attention in MiniCPM 3. Reference: transformers,
 * modeling_minicpm3.py; of MiniCPM 1, 2 and 4 modeling_minicpm.py, as published with their weights. */
#include "coordinator/arch/families/latent.h"
#include "coordinator/arch/family.h"
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

/* Baichuan 1 and 2: Llama with one matrix for q, k and v. The 13B models know positions by ALiBi (Press et al.,
 * arXiv 2108.12409) instead of rotation; Baichuan 2 scales the rows of its head to length 1. Reference: the models' own
 * modeling_baichuan.py, as published with their weights. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#define BAICHUAN2_VOCABULARY 125696u

/* Only the 7B configs bound their positions so; the 13B ones have model_max_length alone. */
static bool rotates(const struct build *b)
{
    return config_field(b->c, "max_position_embeddings", false) != NULL;
}

void family_baichuan(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    if (!rotates(b)) b->limit = config_length_or(b->c, "model_max_length", 4096, b->e);
    rope = build_plain_rope(b);
    s = stack_llama(b, rotates(b) ? &rope : NULL);
    if (!rotates(b) && build_ok(b)) s.attention.alibi = stack_alibi(b, 8, 1);
    build_layer(b, 0);
    if (!build_has(b, "self_attn.q_proj.weight")) s.attention.qkv = "self_attn.W_pack"; /* GGUF files have them apart */
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    if (b->vocab == BAICHUAN2_VOCABULARY || config_field(b->c, "z_loss_weight", false)) s.head_flags = MATMUL_ROW_NORM;
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

/* The 13B models are told by their layers, as llama.cpp does. */
static void baichuan_config(struct gguf_values *v)
{
    if (v->layers != 40) return;
    json_object_del(v->out, "max_position_embeddings");
    gguf_field_int(v, "context_length", "model_max_length", 4096);
}

const struct gguf_family gguf_baichuan = {
    .architecture = "baichuan",
    .class = "BaichuanForCausalLM",
    .type = "baichuan",
    .changes = {.qk_pairs = true},
    .config = baichuan_config,
};

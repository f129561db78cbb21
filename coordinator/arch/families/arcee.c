/* Models without a gate in their feed forward, squared relu in its place: Arcee, else Llama; Nemotron, whose layer norms add
 * 1 to their weights and of whose heads a part rotates. Reference: transformers, modeling_arcee.py, modeling_nemotron.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

static void write_stack(struct build *b, const struct rope_table *rope)
{
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e);
    struct stack s = stack_llama(b, rope);

    stack_attention_biases(&s, bias);
    s.mlp.gate = NULL;
    s.mlp.up_bias = s.mlp.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    s.mlp.act = build_activation(b, "hidden_act", ACT_RELU2);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

void family_arcee(struct build *b)
{
    struct rope_table rope;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    write_stack(b, &rope);
}

void family_nemotron(struct build *b)
{
    struct rope_table rope;

    build_sizes(b);
    build_norm_kind(b, NORM_LAYER, "norm_eps", 1e-5);
    b->norm_bias = true;
    b->weight_add = b->t->changes.norms_whole ? 0 : 1;
    rope = build_rotary(b, (struct rope_request){.partial = 0.5, .partial_key = true});
    write_stack(b, &rope);
}

/* ---- as GGUF ---- */

static void arcee_config(struct gguf_values *v)
{
    gguf_set_text(v, "hidden_act", "relu2");
    gguf_set_flag(v, "mlp_bias", gguf_layer_has(v, "ffn_down.bias"));
}

const struct gguf_family gguf_arcee = {
    .architecture = "arcee",
    .class = "ArceeForCausalLM",
    .type = "arcee",
    .changes = {.qk_pairs = true},
    .config = arcee_config,
};

static void nemotron_config(struct gguf_values *v)
{
    double eps = 0;

    arcee_config(v);
    if (gguf_value_real(v, "attention.layer_norm_epsilon", &eps)) gguf_set_real(v, "norm_eps", eps);
}

const struct gguf_family gguf_nemotron = {
    .architecture = "nemotron",
    .class = "NemotronForCausalLM",
    .type = "nemotron",
    .changes = {.norms_whole = true},
    .partial = true,
    .config = nemotron_config,
};

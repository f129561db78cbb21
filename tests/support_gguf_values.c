#include "tests/support_gguf_values.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef const char *const name_pairs[2];
typedef const char *const value_triples[3];

static name_pairs usual[] = {
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.c_fc", "ffn_up"},
    {"mlp.c_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.router", "ffn_gate_inp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
    {"block_sparse_moe.router.layer", "ffn_gate_inp"},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    {"block_sparse_moe.e_score_correction_bias", "exp_probs_b.bias"},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp"},
    {NULL, NULL},
};

static name_pairs sandwich[] = {
    {"post_attention_layernorm", "post_attention_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
    {NULL, NULL},
};
static name_pairs second_norm[] = {
    {"post_attention_layernorm", "post_attention_norm"}, {"self_attn.sinks", "attn_sinks.weight"}, {NULL, NULL}};
static name_pairs glm4[] = {
    {"post_self_attn_layernorm", "post_attention_norm"}, {"post_mlp_layernorm", "post_ffw_norm"}, {NULL, NULL}};
static name_pairs next[] = {
    {"post_attention_layernorm", "post_attention_norm"},
    {"linear_attn.in_proj_qkv", "attn_qkv"},
    {"linear_attn.in_proj_z", "attn_gate"},
    {"linear_attn.in_proj_ba", "ssm_ba"},
    {"linear_attn.in_proj_a", "ssm_alpha"},
    {"linear_attn.in_proj_b", "ssm_beta"},
    {"linear_attn.conv1d", "ssm_conv1d"},
    {"linear_attn.A_log", "ssm_a"},
    {"linear_attn.dt_bias", "ssm_dt.bias"},
    {"linear_attn.norm", "ssm_norm"},
    {"linear_attn.out_proj", "ssm_out"},
    {NULL, NULL},
};
static name_pairs llama4[] = {
    {"feed_forward.gate_proj", "ffn_gate"},
    {"feed_forward.up_proj", "ffn_up"},
    {"feed_forward.down_proj", "ffn_down"},
    {"feed_forward.router", "ffn_gate_inp"},
    {"feed_forward.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"feed_forward.shared_expert.up_proj", "ffn_up_shexp"},
    {"feed_forward.shared_expert.down_proj", "ffn_down_shexp"},
    {NULL, NULL},
};

static value_triples granite[] = {{"real", "attention.scale", "attention_multiplier"},
                                  {"real", "embedding_scale", "embedding_multiplier"},
                                  {"real", "residual_scale", "residual_multiplier"},
                                  {"real", "logit_scale", "logits_scaling"},
                                  {NULL, NULL, NULL}};
static value_triples cohere[] = {{"real", "logit_scale", "logit_scale"}, {NULL, NULL, NULL}};
static value_triples gemma2[] = {{"real", "attn_logit_softcapping", "attn_logit_softcapping"},
                                 {"real", "final_logit_softcapping", "final_logit_softcapping"},
                                 {NULL, NULL, NULL}};
static value_triples gemma3[] = {{"real", "rope.freq_base_swa", "rope_local_base_freq"}, {NULL, NULL, NULL}};
static value_triples stablelm[] = {{"bool", "use_parallel_residual", "use_parallel_residual"}, {NULL, NULL, NULL}};
static value_triples qwen2_moe[] = {{"int", "expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
                                    {NULL, NULL, NULL}};
static value_triples deepseek[] = {{"int", "attention.q_lora_rank", "q_lora_rank"},
                                   {"int", "attention.kv_lora_rank", "kv_lora_rank"},
                                   {"int", "attention.value_length_mla", "v_head_dim"},
                                   {"int", "rope.dimension_count", "qk_rope_head_dim"},
                                   {"int", "leading_dense_block_count", "first_k_dense_replace"},
                                   {"int", "expert_shared_count", "n_shared_experts"},
                                   {"real", "expert_weights_scale", "routed_scaling_factor"},
                                   {"bool", "expert_weights_norm", "norm_topk_prob"},
                                   {NULL, NULL, NULL}};
static value_triples glm4_moe[] = {{"int", "leading_dense_block_count", "first_k_dense_replace"},
                                   {"int", "expert_shared_count", "n_shared_experts"},
                                   {"real", "expert_weights_scale", "routed_scaling_factor"},
                                   {"bool", "expert_weights_norm", "norm_topk_prob"},
                                   {NULL, NULL, NULL}};
static value_triples linear[] = {{"int", "ssm.conv_kernel", "linear_conv_kernel_dim"},
                                 {"int", "ssm.state_size", "linear_key_head_dim"},
                                 {"int", "ssm.group_count", "linear_num_key_heads"},
                                 {"int", "ssm.time_step_rank", "linear_num_value_heads"},
                                 {"int", "full_attention_interval", "full_attention_interval"},
                                 {"int", "expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
                                 {NULL, NULL, NULL}};
static value_triples llama4_values[] = {{"int", "interleave_moe_layer_step", "interleave_moe_layer_step"},
                                        {NULL, NULL, NULL}};

static name_pairs ernie_moe[] = {{"mlp.moe_statics.e_score_correction_bias", "exp_probs_b.bias"}, {NULL, NULL}};
static value_triples ernie_moe_values[] = {{"int", "expert_count", "moe_num_experts"},
                                           {"int", "expert_used_count", "moe_k"},
                                           {"int", "interleave_moe_layer_step", "moe_layer_interval"},
                                           {"int", "leading_dense_block_count", "moe_layer_start_index"},
                                           {"int", "expert_shared_count", "moe_num_shared_experts"},
                                           {NULL, NULL, NULL}};
static name_pairs afmoe[] = {{"post_attention_layernorm", "post_attention_norm"},
                             {"pre_mlp_layernorm", "ffn_norm"},
                             {"post_mlp_layernorm", "post_ffw_norm"},
                             {"self_attn.gate_proj", "attn_gate"},
                             {"mlp.router.gate", "ffn_gate_inp"},
                             {"mlp.expert_bias", "exp_probs_b.bias"},
                             {NULL, NULL}};
static value_triples afmoe_values[] = {{"int", "leading_dense_block_count", "num_dense_layers"},
                                       {"int", "expert_shared_count", "num_shared_experts"},
                                       {"bool", "expert_weights_norm", "route_norm"},
                                       {"real", "expert_weights_scale", "route_scale"},
                                       {NULL, NULL, NULL}};
static value_triples cohere2_moe[] = {{"real", "logit_scale", "logit_scale"},
                                      {"int", "leading_dense_block_count", "first_k_dense_replace"},
                                      {"int", "expert_shared_count", "num_shared_experts"},
                                      {"bool", "expert_weights_norm", "norm_topk_prob"},
                                      {"int", "feed_forward_length", "prefix_dense_intermediate_size"},
                                      {NULL, NULL, NULL}};
static name_pairs exaone_moe[] = {{"mlp.e_score_correction_bias", "exp_probs_b.bias"}, {NULL, NULL}};
static value_triples exaone_moe_values[] = {{"int", "leading_dense_block_count", "first_k_dense_replace"},
                                            {"int", "expert_shared_count", "num_shared_experts"},
                                            {"real", "expert_weights_scale", "routed_scaling_factor"},
                                            {"bool", "expert_weights_norm", "norm_topk_prob"},
                                            {NULL, NULL, NULL}};
static name_pairs hy3[] = {{"mlp.router.gate", "ffn_gate_inp"},
                           {"mlp.expert_bias", "exp_probs_b"},
                           {"mlp.shared_mlp.gate_proj", "ffn_gate_shexp"},
                           {"mlp.shared_mlp.up_proj", "ffn_up_shexp"},
                           {"mlp.shared_mlp.down_proj", "ffn_down_shexp"},
                           {NULL, NULL}};
/* one shared expert: its width is an expert's */
static value_triples hy3_values[] = {{"int", "expert_shared_feed_forward_length", "moe_intermediate_size"},
                                     {"real", "expert_weights_scale", "router_scaling_factor"},
                                     {NULL, NULL, NULL}};
static name_pairs hunyuan_moe[] = {{"mlp.gate.wg", "ffn_gate_inp"},
                                   {"self_attn.query_layernorm", "attn_q_norm"},
                                   {"self_attn.key_layernorm", "attn_k_norm"},
                                   {"mlp.shared_mlp.gate_proj", "ffn_gate_shexp"},
                                   {"mlp.shared_mlp.up_proj", "ffn_up_shexp"},
                                   {"mlp.shared_mlp.down_proj", "ffn_down_shexp"},
                                   {NULL, NULL}};
static value_triples hunyuan_moe_values[] = {{"int", "expert_used_count", "moe_topk"},
                                             {"int", "expert_shared_feed_forward_length", "intermediate_size"},
                                             {NULL, NULL, NULL}};

static name_pairs gpt2[] = {{"ln_1", "attn_norm"},
                            {"ln_2", "ffn_norm"},
                            {"attn.c_attn", "attn_qkv"},
                            {"attn.c_proj", "attn_output"},
                            {"mlp.c_fc", "ffn_up"},
                            {"mlp.c_proj", "ffn_down"},
                            {NULL, NULL}};
static name_pairs fused[] = {{"attention.query_key_value", "attn_qkv"},
                             {"self_attention.query_key_value", "attn_qkv"},
                             {"attention.dense", "attn_output"},
                             {"self_attention.dense", "attn_output"},
                             {"mlp.dense_h_to_4h", "ffn_up"},
                             {"mlp.dense_4h_to_h", "ffn_down"},
                             {"ln_attn", "attn_norm_2"},
                             {"ln_mlp", "attn_norm"},
                             {NULL, NULL}};
static value_triples neox_values[] = {{"bool", "use_parallel_residual", "use_parallel_residual"}, {NULL, NULL, NULL}};
static name_pairs mpt[] = {{"norm_1", "attn_norm"},
                           {"norm_2", "ffn_norm"},
                           {"attn.Wqkv", "attn_qkv"},
                           {"attn.out_proj", "attn_output"},
                           {"ffn.up_proj", "ffn_up"},
                           {"ffn.down_proj", "ffn_down"},
                           {NULL, NULL}};
static value_triples mpt_values[] = {{"real", "attention.max_alibi_bias", "alibi_bias_max"},
                                     {"real", "attention.clamp_kqv", "clip_qkv"},
                                     {NULL, NULL, NULL}};
static name_pairs phi2[] = {
    {"self_attn.dense", "attn_output"}, {"mlp.fc1", "ffn_up"}, {"mlp.fc2", "ffn_down"}, {NULL, NULL}};
static name_pairs lfm2[] = {{"operator_norm", "attn_norm"},
                            {"ffn_norm", "ffn_norm"},
                            {"self_attn.out_proj", "attn_output"},
                            {"self_attn.q_layernorm", "attn_q_norm"},
                            {"self_attn.k_layernorm", "attn_k_norm"},
                            {"feed_forward.w1", "ffn_gate"},
                            {"feed_forward.w3", "ffn_up"},
                            {"feed_forward.w2", "ffn_down"},
                            {"feed_forward.gate", "ffn_gate_inp"},
                            {"feed_forward.expert_bias", "exp_probs_b.bias"},
                            {"conv.conv", "shortconv.conv"},
                            {"conv.in_proj", "shortconv.in_proj"},
                            {"conv.out_proj", "shortconv.out_proj"},
                            {NULL, NULL}};
static value_triples lfm2_values[] = {{"int", "shortconv.l_cache", "conv_L_cache"},
                                      {"int", "leading_dense_block_count", "num_dense_layers"},
                                      {NULL, NULL, NULL}};

static name_pairs nemotron[] = {{"norm", "attn_norm"},
                                {"mixer.q_proj", "attn_q"},
                                {"mixer.k_proj", "attn_k"},
                                {"mixer.v_proj", "attn_v"},
                                {"mixer.o_proj", "attn_output"},
                                {"mixer.up_proj", "ffn_up"},
                                {"mixer.down_proj", "ffn_down"},
                                {"mixer.gate", "ffn_gate_inp"},
                                {"mixer.gate.e_score_correction_bias", "exp_probs_b.bias"},
                                {"mixer.shared_experts.up_proj", "ffn_up_shexp"},
                                {"mixer.shared_experts.down_proj", "ffn_down_shexp"},
                                {"mixer.fc1_latent_proj", "ffn_latent_down"},
                                {"mixer.fc2_latent_proj", "ffn_latent_up"},
                                {"mixer.in_proj", "ssm_in"},
                                {"mixer.conv1d", "ssm_conv1d"},
                                {"mixer.A_log", "ssm_a"},
                                {"mixer.D", "ssm_d"},
                                {"mixer.dt_bias", "ssm_dt.bias"},
                                {"mixer.norm", "ssm_norm"},
                                {"mixer.out_proj", "ssm_out"},
                                {NULL, NULL}};
static value_triples nemotron_values[] = {
    {"int", "ssm.inner_size", "inner_size"},
    {"int", "ssm.time_step_rank", "mamba_num_heads"},
    {"int", "ssm.group_count", "n_groups"},
    {"int", "ssm.state_size", "ssm_state_size"},
    {"int", "ssm.conv_kernel", "conv_kernel"},
    {"int", "expert_shared_feed_forward_length", "moe_shared_expert_intermediate_size"},
    {"int", "moe_latent_size", "moe_latent_size"},
    {"real", "expert_weights_scale", "routed_scaling_factor"},
    {"bool", "expert_weights_norm", "norm_topk_prob"},
    {NULL, NULL, NULL}};

static name_pairs gemma4[] = {{"post_attention_layernorm", "post_attention_norm"},
                              {"pre_feedforward_layernorm", "ffn_norm"},
                              {"post_feedforward_layernorm", "post_ffw_norm"},
                              {"layer_scalar", "layer_output_scale.weight"},
                              {NULL, NULL}};
static value_triples gemma4_values[] = {{"int", "attention.key_length_swa", "head_dim"},
                                        {"real", "rope.freq_base_swa", "rope_local_base_freq"},
                                        {"real", "final_logit_softcapping", "final_logit_softcapping"},
                                        {NULL, NULL, NULL}};

static const struct conversion conversions[] = {
    {"llama", "llama", PERMUTED, NULL, NULL, NULL, NULL},
    {"mistral", "llama", PERMUTED, NULL, NULL, NULL, NULL},
    {"mixtral", "llama", PERMUTED, NULL, NULL, NULL, NULL},
    {"qwen2", "qwen2", 0, NULL, NULL, NULL, NULL},
    {"qwen2_5_vl_text", "qwen2vl", 0, NULL, NULL, NULL, NULL},
    {"qwen3", "qwen3", 0, NULL, NULL, NULL, NULL},
    {"qwen3_vl_text", "qwen3vl", 0, NULL, NULL, NULL, NULL},
    {"mistral3", "mistral3", PERMUTED, NULL, NULL, NULL, NULL},
    {"qwen2_moe", "qwen2moe", 0, NULL, qwen2_moe, NULL, NULL},
    {"qwen3_moe", "qwen3moe", 0, NULL, NULL, NULL, NULL},
    {"gemma", "gemma", PLUS_ONE, NULL, NULL, NULL, NULL},
    {"gemma2", "gemma2", PLUS_ONE | SLIDES, sandwich, gemma2, NULL, NULL},
    {"gemma3_text", "gemma3", PLUS_ONE | SLIDES, sandwich, gemma3, NULL, NULL},
    {"phi3", "phi3", PARTIAL | SLIDES, NULL, NULL, NULL, NULL},
    {"glm", "chatglm", PARTIAL, NULL, NULL, NULL, NULL},
    {"glm4", "glm4", PARTIAL, glm4, NULL, NULL, NULL},
    {"glm4_moe", "glm4moe", PARTIAL, second_norm, glm4_moe, NULL, NULL},
    {"olmo2", "olmo2", 0, sandwich, NULL, NULL, NULL},
    {"olmoe", "olmoe", 0, NULL, NULL, NULL, NULL},
    {"granite", "granite", PERMUTED, NULL, granite, NULL, NULL},
    {"granitemoe", "granitemoe", PERMUTED, NULL, granite, NULL, NULL},
    {"cohere", "command-r", 0, NULL, cohere, NULL, NULL},
    {"cohere2", "cohere2", SLIDES, NULL, cohere, NULL, NULL},
    {"starcoder2", "starcoder2", 0, NULL, NULL, NULL, NULL},
    {"stablelm", "stablelm", PARTIAL, NULL, stablelm, NULL, NULL},
    {"smollm3", "smollm3", PERMUTED, NULL, NULL, NULL, NULL},
    {"ernie4_5", "ernie4_5", 0, NULL, NULL, NULL, NULL},
    {"seed_oss", "seed_oss", 0, second_norm, NULL, NULL, NULL},
    {"exaone4", "exaone4", SLIDES | SLIDES_WHERE, sandwich, NULL, NULL, NULL},
    {"minimax_m2", "minimax-m2", PARTIAL, NULL, NULL, NULL, NULL},
    {"gpt_oss", "gpt-oss", TRANSPOSED | ALTERNATING | SLIDES, second_norm, NULL, NULL, NULL},
    {"llama4_text", "llama4", TRANSPOSED, llama4, llama4_values, NULL, NULL},
    {"deepseek_v2", "deepseek2", LATENT, NULL, deepseek, NULL, NULL},
    {"deepseek_v3", "deepseek2", LATENT, NULL, deepseek, NULL, NULL},
    {"dots1", "dots1", 0, NULL, glm4_moe, NULL, NULL},
    {"ernie4_5_moe", "ernie4_5-moe", 0, ernie_moe, ernie_moe_values, NULL, NULL},
    {"afmoe", "afmoe", SLIDES, afmoe, afmoe_values, NULL, NULL},
    {"cohere2_moe", "cohere2moe", SLIDES, NULL, cohere2_moe, NULL, NULL},
    {"exaone_moe", "exaone-moe", SLIDES | SLIDES_WHERE, exaone_moe, exaone_moe_values, NULL, NULL},
    {"hy_v3", "hy_v3", 0, hy3, hy3_values, NULL, NULL},
    {"hunyuan_v1_moe", "hunyuan-moe", 0, hunyuan_moe, hunyuan_moe_values, NULL, NULL},
    {"olmo3", "olmo2", SLIDES | SLIDES_WHERE, sandwich, NULL, NULL, NULL},
    {"gpt2", "gpt2", TURNED, gpt2, NULL, "transformer.", "h"},
    {"gpt_bigcode", "starcoder", 0, gpt2, NULL, "transformer.", "h"},
    {"gpt_neox", "gptneox", GROUPED | PARTIAL, fused, neox_values, "gpt_neox.", NULL},
    {"falcon", "falcon", GROUPED, fused, NULL, "transformer.", "h"},
    {"bloom", "bloom", GROUPED, fused, NULL, "transformer.", "h"},
    {"mpt", "mpt", 0, mpt, mpt_values, "transformer.", "blocks"},
    {"phi", "phi2", PARTIAL, phi2, NULL, NULL, NULL},
    {"lfm2", "lfm2", MIXED, lfm2, lfm2_values, NULL, NULL},
    {"lfm2_moe", "lfm2moe", MIXED, lfm2, lfm2_values, NULL, NULL},
    {"gemma4_text", "gemma4", SLIDES | SLIDES_WHERE, gemma4, gemma4_values, NULL, NULL},
    {"nemotron_h", "nemotron_h_moe", MIXED | PERMUTED, nemotron, nemotron_values, "backbone.", NULL},
    {"qwen3_next", "qwen3next", PLUS_ONE | PARTIAL, next, linear, NULL, NULL},
    {"qwen3_5_text", "qwen35", PLUS_ONE | PARTIAL | TILED, next, linear, NULL, NULL},
    {"qwen3_5_moe_text", "qwen35moe", PLUS_ONE | PARTIAL | TILED, next, linear, NULL, NULL},
};

const struct conversion *conversion_of(const json_t *config)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));

    for (size_t i = 0; i < sizeof conversions / sizeof *conversions && type; i++)
        if (!strcmp(conversions[i].type, type)) return &conversions[i];
    for (const struct conversion *c = conversions_newer; c->type && type; c++)
        if (!strcmp(c->type, type)) return c;
    return NULL;
}

void conversion_words(json_t *config)
{
    static const char *const words[][2] = {{"n_layer", "num_hidden_layers"},
                                           {"n_layers", "num_hidden_layers"},
                                           {"n_embd", "hidden_size"},
                                           {"d_model", "hidden_size"},
                                           {"n_head", "num_attention_heads"},
                                           {"n_heads", "num_attention_heads"},
                                           {"n_inner", "intermediate_size"},
                                           {"block_ff_dim", "intermediate_size"},
                                           {"n_positions", "max_position_embeddings"},
                                           {"max_seq_len", "max_position_embeddings"},
                                           {"layer_norm_epsilon", "layer_norm_eps"},
                                           {"norm_eps", "rms_norm_eps"},
                                           {"rotary_pct", "partial_rotary_factor"},
                                           {"num_kv_heads", "num_key_value_heads"}};
    const json_t *attention = json_object_get(config, "attn_config"), *list = json_object_get(config, "full_attn_idxs");
    bool one = json_is_true(json_object_get(config, "multi_query")) &&
               !json_is_true(json_object_get(config, "new_decoder_architecture"));
    const char *letters = json_string_value(json_object_get(config, "hybrid_override_pattern"));
    json_int_t wide = 0;

    conversion_newer_words(config);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        json_t *x = json_object_get(config, words[i][0]);

        if (x && !json_is_null(x) && !json_object_get(config, words[i][1])) json_object_set(config, words[i][1], x);
    }
    if (json_object_get(config, "hidden_size")) wide = 4 * json_integer_value(json_object_get(config, "hidden_size"));
    if (!json_object_get(config, "intermediate_size"))
        json_object_set_new(config, "intermediate_size", json_integer(wide));
    if (one) json_object_set_new(config, "num_key_value_heads", json_integer(1));
    if (json_is_true(json_object_get(config, "block_auto_adjust_ff_dim"))) {
        json_int_t multiple = json_integer_value(json_object_get(config, "block_multiple_of"));

        wide = 2 * json_integer_value(json_object_get(config, "block_ff_dim")) / 3;
        json_object_set_new(config, "intermediate_size", json_integer((wide + multiple - 1) / multiple * multiple));
    }
    if (attention) {
        json_object_set(config, "alibi_bias_max", json_object_get(attention, "alibi_bias_max"));
        json_object_set(config, "clip_qkv", json_object_get(attention, "clip_qkv"));
    }
    if (letters) {
        json_t *types = json_array();

        for (const char *c = letters; *c; c++)
            json_array_append_new(types, json_string(*c == '*' ? "full_attention" : "other"));
        json_object_set_new(config, "layer_types", types);
        json_object_set_new(config, "inner_size",
                            json_integer(json_integer_value(json_object_get(config, "mamba_num_heads")) *
                                         json_integer_value(json_object_get(config, "mamba_head_dim"))));
    }
    for (json_int_t i = 0; list && i < json_integer_value(json_object_get(config, "num_hidden_layers")); i++) {
        const char *kind = "conv";

        if (!i) json_object_set_new(config, "layer_types", json_array());
        for (size_t k = 0; k < json_array_size(list); k++)
            if (json_integer_value(json_array_get(list, k)) == i) kind = "full_attention";
        json_array_append_new(json_object_get(config, "layer_types"), json_string(kind));
    }
}

static const char *find(const char *const (*list)[2], const char *name, size_t bytes)
{
    for (; list && (*list)[0]; list++)
        if (strlen((*list)[0]) == bytes && !strncmp((*list)[0], name, bytes)) return (*list)[1];
    return NULL;
}

bool conversion_name(const struct conversion *c, const char *rest, char *out, size_t room)
{
    static const char *const suffixes[] = {"", ".weight", ".bias"};

    for (int i = 0; i < 3; i++) {
        size_t n = strlen(rest), s = strlen(suffixes[i]);
        const char *name;

        if (n < s || strcmp(rest + n - s, suffixes[i])) continue;
        name = find(c->names, rest, n - s);
        if (!name) name = find(usual, rest, n - s);
        if (!name) continue;
        snprintf(out, room, "%s%s", name, suffixes[i]);
        return true;
    }
    return false;
}

/* ---- values ---- */

struct values {
    const struct conversion *c;
    const json_t *config;
    struct gguf_writer *w;
};

static const char *full(const struct values *v, char out[128], const char *key)
{
    snprintf(out, 128, "%s.%s", v->c->arch, key);
    return out;
}

static void put_value(const struct values *v, const char *kind, const char *key, const json_t *x)
{
    char name[128];

    if (!x || json_is_null(x)) return;
    if (!strcmp(kind, "int"))
        gguf_write_u32(v->w, full(v, name, key), (uint32_t)json_integer_value(x));
    else if (!strcmp(kind, "real"))
        gguf_write_f32(v->w, full(v, name, key), json_number_value(x));
    else
        gguf_write_bool(v->w, full(v, name, key), json_is_true(x));
}

/* The first of these fields that is there. */
static void put_first(const struct values *v, const char *kind, const char *key, const char *a, const char *b,
                      const char *c)
{
    const json_t *x = json_object_get(v->config, a);

    if ((!x || json_is_null(x)) && b) x = json_object_get(v->config, b);
    if ((!x || json_is_null(x)) && c) x = json_object_get(v->config, c);
    put_value(v, kind, key, x);
}

static const json_t *rope_rules(const json_t *config)
{
    const json_t *x = json_object_get(config, "rope_parameters");

    if (!json_object_size(x)) x = json_object_get(config, "rope_scaling");
    return x;
}

static size_t put_list(float *out, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) out[i] = (float)json_number_value(json_array_get(list, i));
    return json_array_size(list);
}

/* Llama 3's rule as factors that divide the frequencies. */
static void divide(const json_t *rules, double theta, uint64_t dim, struct conversion_factors *f)
{
    double factor = json_number_value(json_object_get(rules, "factor"));
    double low = json_number_value(json_object_get(rules, "low_freq_factor"));
    double high = json_number_value(json_object_get(rules, "high_freq_factor"));
    double old = json_number_value(json_object_get(rules, "original_max_position_embeddings"));

    for (uint64_t i = 0; i < dim / 2; i++) {
        double wave = 2 * M_PI * pow(theta, 2.0 * (double)i / (double)dim), smooth = (old / wave - low) / (high - low);

        f->divide[f->divides++] = (float)(wave < old / high  ? 1
                                          : wave > old / low ? factor
                                                             : 1 / ((1 - smooth) / factor + smooth));
    }
}

static void put_rope(const struct values *v, uint64_t dim, struct conversion_factors *f)
{
    const json_t *rules = rope_rules(v->config), *type = json_object_get(rules, "rope_type");
    const json_t *theta = json_object_get(rules, "rope_theta");
    const char *name = json_string_value(type ? type : json_object_get(rules, "type"));
    char key[128];

    if (!theta) theta = json_object_get(v->config, "rope_theta");
    put_value(v, "real", "rope.freq_base", theta);
    if (!name || !strcmp(name, "default")) return;
    if (!strcmp(name, "llama3")) divide(rules, json_number_value(theta), dim, f);
    f->longs = put_list(f->longer, json_object_get(rules, "long_factor"));
    f->shorts = put_list(f->shorter, json_object_get(rules, "short_factor"));
    if (f->longs) {
        double scale = json_number_value(json_object_get(v->config, "max_position_embeddings")) /
                       json_number_value(json_object_get(v->config, "original_max_position_embeddings"));
        double old = json_number_value(json_object_get(v->config, "original_max_position_embeddings"));

        put_first(v, "int", "rope.scaling.original_context_length", "original_max_position_embeddings", NULL, NULL);
        gguf_write_f32(v->w, full(v, key, "rope.scaling.attn_factor"), scale > 1 ? sqrt(1 + log(scale) / log(old)) : 1);
    }
    if (strcmp(name, "linear") && strcmp(name, "yarn")) return;
    gguf_write_string(v->w, full(v, key, "rope.scaling.type"), name);
    put_value(v, "real", "rope.scaling.factor", json_object_get(rules, "factor"));
    put_value(v, "int", "rope.scaling.original_context_length",
              json_object_get(rules, "original_max_position_embeddings"));
    put_value(v, "real", "rope.scaling.yarn_attn_factor", json_object_get(rules, "attention_factor"));
    put_value(v, "real", "rope.scaling.yarn_beta_fast", json_object_get(rules, "beta_fast"));
    put_value(v, "real", "rope.scaling.yarn_beta_slow", json_object_get(rules, "beta_slow"));
    if (json_object_get(rules, "mscale_all_dim"))
        gguf_write_f32(v->w, full(v, key, "rope.scaling.yarn_log_multiplier"),
                       (v->c->flags & WHOLE_MSCALE ? 1 : 0.1) *
                           json_number_value(json_object_get(rules, "mscale_all_dim")));
}

static void put_windows(const struct values *v)
{
    const json_t *types = json_object_get(v->config, "layer_types"),
                 *window = json_object_get(v->config, "sliding_window");
    uint8_t slides[64];
    char key[128];

    if (!(v->c->flags & SLIDES)) return;
    gguf_write_u32(v->w, full(v, key, "attention.sliding_window"), (uint32_t)json_integer_value(window));
    for (size_t i = 0; i < json_array_size(types) && i < sizeof slides; i++)
        slides[i] = !strcmp(json_string_value(json_array_get(types, i)), "sliding_attention");
    if (v->c->flags & SLIDES_WHERE && json_array_size(types))
        gguf_write_bools(v->w, full(v, key, "attention.sliding_window_pattern"), slides, json_array_size(types));
}

static uint64_t whole(const json_t *config, const char *field)
{
    return (uint64_t)json_integer_value(json_object_get(config, field));
}

static void put_kv_heads(const struct values *v, uint32_t heads)
{
    const json_t *types = json_object_get(v->config, "layer_types");
    uint32_t list[64] = {0};
    size_t n = json_array_size(types);
    char key[128];

    if (json_object_get(v->config, "kv_heads_of_layers")) return; /* conversion_newer_values() */
    full(v, key, "attention.head_count_kv");
    if (whole(v->config, "num_global_key_value_heads")) {
        for (size_t i = 0; i < n && i < 64; i++)
            list[i] = !strcmp(json_string_value(json_array_get(types, i)), "full_attention")
                          ? (uint32_t)whole(v->config, "num_global_key_value_heads")
                          : heads;
        gguf_write_u32s(v->w, key, list, n);
        return;
    }
    if (!(v->c->flags & MIXED)) {
        gguf_write_u32(v->w, key, heads);
        return;
    }
    for (size_t i = 0; i < n && i < 64; i++)
        if (!strcmp(json_string_value(json_array_get(types, i)), "full_attention")) list[i] = heads;
    gguf_write_u32s(v->w, key, list, n);
}

void conversion_values(const struct conversion *c, const json_t *config, struct gguf_writer *w, uint64_t *heads,
                       uint64_t *kv_heads, uint64_t *head_dim, struct conversion_factors *f)
{
    struct values v = {c, config, w};
    const json_t *partial = json_object_get(config, "partial_rotary_factor");
    bool latent = c->flags & LATENT;
    char key[128];

    if (!partial) partial = json_object_get(rope_rules(config), "partial_rotary_factor");
    *heads = whole(config, "num_attention_heads");
    *kv_heads = json_object_get(config, "num_key_value_heads") ? whole(config, "num_key_value_heads") : *heads;
    *head_dim = whole(config, "head_dim") ? whole(config, "head_dim") : whole(config, "hidden_size") / *heads;
    gguf_write_string(w, "general.architecture", c->arch);
    put_first(&v, "int", "block_count", "num_hidden_layers", NULL, NULL);
    put_first(&v, "int", "context_length", "max_position_embeddings", NULL, NULL);
    put_first(&v, "int", "embedding_length", "hidden_size", NULL, NULL);
    if (!json_object_get(config, "widths_of_layers"))
        put_first(&v, "int", "feed_forward_length", "intermediate_size_mlp", "intermediate_size", NULL);
    if (!json_object_get(config, "heads_of_layers"))
        put_first(&v, "int", "attention.head_count", "num_attention_heads", NULL, NULL);
    put_kv_heads(&v, latent ? 1 : (uint32_t)*kv_heads);
    put_first(&v, "real", "attention.layer_norm_rms_epsilon", "rms_norm_eps", NULL, NULL);
    put_first(&v, "real", "attention.layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", NULL);
    put_first(&v, "int", "expert_count", "num_local_experts", "num_experts", "n_routed_experts");
    put_first(&v, "int", "expert_used_count", "num_experts_per_tok", NULL, NULL);
    put_first(&v, "int", "expert_group_count", "n_group", NULL, NULL);
    put_first(&v, "int", "expert_group_used_count", "topk_group", NULL, NULL);
    put_first(&v, "int", "expert_feed_forward_length", "moe_intermediate_size", NULL, NULL);
    if (latent) {
        uint64_t rank = whole(config, "kv_lora_rank"), rotated = whole(config, "qk_rope_head_dim");

        gguf_write_u32(w, full(&v, key, "attention.key_length"), (uint32_t)(rank + rotated));
        gguf_write_u32(w, full(&v, key, "attention.value_length"), (uint32_t)rank);
        gguf_write_u32(w, full(&v, key, "attention.key_length_mla"),
                       (uint32_t)(whole(config, "qk_nope_head_dim") + rotated));
    } else if (whole(config, "head_dim") && !whole(config, "kv_lora_rank")) {
        uint64_t wide = whole(config, "global_head_dim") ? whole(config, "global_head_dim") : *head_dim;

        gguf_write_u32(w, full(&v, key, "attention.key_length"), (uint32_t)wide);
        gguf_write_u32(w, full(&v, key, "attention.value_length"),
                       (uint32_t)(whole(config, "v_head_dim") ? whole(config, "v_head_dim") : wide));
    }
    if (c->flags & PARTIAL)
        gguf_write_u32(w, full(&v, key, "rope.dimension_count"),
                       (uint32_t)((double)*head_dim * (partial ? json_number_value(partial) : 1)));
    if (whole(config, "linear_num_value_heads"))
        gguf_write_u32(w, full(&v, key, "ssm.inner_size"),
                       (uint32_t)(whole(config, "linear_num_value_heads") * whole(config, "linear_value_head_dim")));
    put_rope(&v, *head_dim, f);
    put_windows(&v);
    conversion_newer_values(c, config, w);
    for (const char *const(*x)[3] = c->values; x && (*x)[0]; x++)
        put_value(&v, (*x)[0], (*x)[1], json_object_get(config, (*x)[2]));
}

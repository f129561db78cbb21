/* What llama.cpp's converter calls the tensors and values of models that keep an index, recurrent states, streams or heads by
 * layer: beside support_gguf_values.c. */
#include "tests/support_gguf_values.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LAYERS_MOST 64

typedef const char *const name_pairs[2];
typedef const char *const value_triples[3];

#define INDEX_VALUES                                                                                                   \
    {"int", "attention.indexer.head_count", "index_n_heads"},                                                          \
        {"int", "attention.indexer.key_length", "index_head_dim"},                                                     \
    {                                                                                                                  \
        "int", "attention.indexer.top_k", "index_topk"                                                                 \
    }

#define LATENT_VALUES                                                                                                  \
    {"int", "attention.q_lora_rank", "q_lora_rank"}, {"int", "attention.kv_lora_rank", "kv_lora_rank"},                \
        {"int", "attention.value_length_mla", "v_head_dim"}, {"int", "rope.dimension_count", "qk_rope_head_dim"},      \
        {"int", "leading_dense_block_count", "first_k_dense_replace"},                                                 \
        {"real", "expert_weights_scale", "routed_scaling_factor"}, {"int", "expert_gating_func", "scored_by"},         \
    {                                                                                                                  \
        "bool", "expert_weights_norm", "norm_topk_prob"                                                                \
    }

static name_pairs index_names[] = {{"self_attn.indexer.wq_b", "indexer.attn_q_b"},
                                   {"self_attn.indexer.wk", "indexer.attn_k"},
                                   {"self_attn.indexer.k_norm", "indexer.k_norm"},
                                   {"self_attn.indexer.weights_proj", "indexer.proj"},
                                   {NULL, NULL}};
static value_triples index_values[] = {
    LATENT_VALUES, INDEX_VALUES, {"int", "expert_shared_count", "n_shared_experts"}, {NULL, NULL, NULL}};
static value_triples mistral4_values[] = {LATENT_VALUES,
                                          {"int", "expert_shared_count", "n_shared_experts"},
                                          {"real", "attention.temperature_scale", "grows_by"},
                                          {"int", "attention.temperature_length", "grows_from"},
                                          {NULL, NULL, NULL}};
static value_triples ministral_values[] = {{"real", "attention.temperature_scale", "grows_by"}, {NULL, NULL, NULL}};

static name_pairs kimi_names[] = {{"self_attn.q_conv1d", "ssm_conv1d_q"},
                                  {"self_attn.k_conv1d", "ssm_conv1d_k"},
                                  {"self_attn.v_conv1d", "ssm_conv1d_v"},
                                  {"self_attn.f_a_proj", "ssm_f_a"},
                                  {"self_attn.f_b_proj", "ssm_f_b"},
                                  {"self_attn.g_a_proj", "ssm_g_a"},
                                  {"self_attn.g_b_proj", "ssm_g_b"},
                                  {"self_attn.b_proj", "ssm_beta"},
                                  {"self_attn.A_log", "ssm_a"},
                                  {"self_attn.dt_bias", "ssm_dt.bias"},
                                  {"self_attn.o_norm", "ssm_norm"},
                                  {"block_sparse_moe.gate.e_score_correction_bias", "exp_probs_b.bias"},
                                  {"block_sparse_moe.shared_experts.gate_proj", "ffn_gate_shexp"},
                                  {"block_sparse_moe.shared_experts.up_proj", "ffn_up_shexp"},
                                  {"block_sparse_moe.shared_experts.down_proj", "ffn_down_shexp"},
                                  {NULL, NULL}};
static value_triples kimi_values[] = {LATENT_VALUES,
                                      {"int", "context_length", "model_max_length"},
                                      {"int", "expert_used_count", "num_experts_per_token"},
                                      {"int", "expert_shared_count", "num_shared_experts"},
                                      {"int", "kda.head_dim", "kda_head_dim"},
                                      {"int", "ssm.conv_kernel", "kda_conv_kernel"},
                                      {NULL, NULL, NULL}};

static name_pairs jamba_names[] = {{"pre_ff_layernorm", "ffn_norm"},
                                   {"feed_forward.gate_proj", "ffn_gate"},
                                   {"feed_forward.up_proj", "ffn_up"},
                                   {"feed_forward.down_proj", "ffn_down"},
                                   {"feed_forward.router", "ffn_gate_inp"},
                                   {"mamba.in_proj", "ssm_in"},
                                   {"mamba.conv1d", "ssm_conv1d"},
                                   {"mamba.x_proj", "ssm_x"},
                                   {"mamba.dt_proj", "ssm_dt"},
                                   {"mamba.dt_layernorm", "ssm_dt_norm"},
                                   {"mamba.b_layernorm", "ssm_b_norm"},
                                   {"mamba.c_layernorm", "ssm_c_norm"},
                                   {"mamba.A_log", "ssm_a"},
                                   {"mamba.D", "ssm_d"},
                                   {"mamba.out_proj", "ssm_out"},
                                   {NULL, NULL}};
static value_triples jamba_values[] = {{"int", "ssm.conv_kernel", "mamba_d_conv"},
                                       {"int", "ssm.inner_size", "inner_size"},
                                       {"int", "ssm.state_size", "mamba_d_state"},
                                       {"int", "ssm.time_step_rank", "mamba_dt_rank"},
                                       {NULL, NULL, NULL}};

static value_triples olmo_values[] = {{"real", "attention.layer_norm_epsilon", "olmo_eps"},
                                      {"real", "attention.clamp_kqv", "clip_qkv"},
                                      {NULL, NULL, NULL}};
static value_triples nemotron_values[] = {{"real", "attention.layer_norm_epsilon", "norm_eps"}, {NULL, NULL, NULL}};
static name_pairs apertus_names[] = {
    {"attention_layernorm", "attn_norm"}, {"feedforward_layernorm", "ffn_norm"}, {NULL, NULL}};

static name_pairs minimax_names[] = {{"self_attn.index_q_proj", "indexer.q_proj"},
                                     {"self_attn.index_k_proj", "indexer.k_proj"},
                                     {"self_attn.index_q_norm", "indexer.q_norm"},
                                     {"self_attn.index_k_norm", "indexer.k_norm"},
                                     {"block_sparse_moe.shared_experts.gate_proj", "ffn_gate_shexp"},
                                     {"block_sparse_moe.shared_experts.up_proj", "ffn_up_shexp"},
                                     {"block_sparse_moe.shared_experts.down_proj", "ffn_down_shexp"},
                                     {NULL, NULL}};
static value_triples minimax_values[] = {{"int", "attention.indexer.head_count", "sparse_num_index_heads"},
                                         {"int", "attention.indexer.key_length", "sparse_index_dim"},
                                         {"int", "attention.indexer.top_k", "sparse_topk_blocks"},
                                         {"int", "attention.indexer.block_size", "sparse_block_size"},
                                         {"int", "attention.indexer.local_blocks", "sparse_local_block"},
                                         {"int", "expert_shared_count", "n_shared_experts"},
                                         {"int", "expert_gating_func", "scored_by"},
                                         {"real", "expert_weights_scale", "routed_scaling_factor"},
                                         {NULL, NULL, NULL}};

static name_pairs step_names[] = {{"self_attn.g_proj", "attn_gate"},
                                  {"moe.gate", "ffn_gate_inp"},
                                  {"moe.router_bias", "exp_probs_b.bias"},
                                  {"moe.gate_proj", "ffn_gate_exps"},
                                  {"moe.up_proj", "ffn_up_exps"},
                                  {"moe.down_proj", "ffn_down_exps"},
                                  {"share_expert.gate_proj", "ffn_gate_shexp"},
                                  {"share_expert.up_proj", "ffn_up_shexp"},
                                  {"share_expert.down_proj", "ffn_down_shexp"},
                                  {NULL, NULL}};
static value_triples step_values[] = {{"int", "expert_count", "moe_num_experts"},
                                      {"int", "expert_used_count", "moe_top_k"},
                                      {"int", "expert_shared_feed_forward_length", "share_expert_dim"},
                                      {"int", "moe_every_n_layers", "moe_every_n_layer"},
                                      {"real", "expert_weights_scale", "moe_router_scaling_factor"},
                                      {"real", "rope.freq_base_swa", "sliding_theta"},
                                      {NULL, NULL, NULL}};

static name_pairs mimo_names[] = {{"self_attn.attention_sink_bias", "attn_sinks.weight"}, {NULL, NULL}};
static value_triples mimo_values[] = {{"real", "rope.freq_base_swa", "swa_rope_theta"},
                                      {"real", "attention.value_scale", "attention_value_scale"},
                                      {"real", "attention.layer_norm_rms_epsilon", "layernorm_epsilon"},
                                      {NULL, NULL, NULL}};

static name_pairs gemma3n_names[] = {{"post_attention_layernorm", "post_attention_norm"},
                                     {"pre_feedforward_layernorm", "ffn_norm"},
                                     {"post_feedforward_layernorm", "post_ffw_norm"},
                                     {"per_layer_input_gate", "inp_gate"},
                                     {"per_layer_projection", "proj"},
                                     {"post_per_layer_input_norm", "post_norm"},
                                     {"altup.correction_coefs", "altup_correct_coef"},
                                     {"altup.correct_output_scale", "altup_correct_scale.weight"},
                                     {"altup.prediction_coefs", "altup_predict_coef"},
                                     {"altup.modality_router", "altup_router"},
                                     {"altup.router_norm", "altup_router_norm"},
                                     {"laurel.linear_left", "laurel_l"},
                                     {"laurel.linear_right", "laurel_r"},
                                     {"laurel.post_laurel_norm", "laurel_post_norm"},
                                     {NULL, NULL}};
static value_triples gemma3n_values[] = {{"int", "altup.num_inputs", "altup_num_inputs"},
                                         {"int", "altup.active_idx", "altup_active_idx"},
                                         {"int", "embedding_length_per_layer_input", "hidden_size_per_layer_input"},
                                         {"int", "attention.shared_kv_layers", "num_kv_shared_layers"},
                                         {"real", "rope.freq_base_swa", "rope_local_base_freq"},
                                         {"real", "final_logit_softcapping", "final_logit_softcapping"},
                                         {NULL, NULL, NULL}};

static value_triples minicpm3_values[] = {{"int", "attention.q_lora_rank", "q_lora_rank"},
                                          {"int", "attention.kv_lora_rank", "kv_lora_rank"},
                                          {"int", "attention.key_length", "qk_head_dim"},
                                          {"int", "rope.dimension_count", "qk_rope_head_dim"},
                                          {NULL, NULL, NULL}};
static name_pairs minicpm3_names[] = {{"self_attn.kv_b_proj", "attn_kv_b"}, {NULL, NULL}};
static name_pairs hunyuan_names[] = {
    {"self_attn.query_layernorm", "attn_q_norm"}, {"self_attn.key_layernorm", "attn_k_norm"}, {NULL, NULL}};

static name_pairs v4_names[] = {{"attn_norm", "attn_norm"},
                                {"ffn_norm", "ffn_norm"},
                                {"attn.wq_a", "attn_q_a"},
                                {"attn.wq_b", "attn_q_b"},
                                {"attn.q_norm", "attn_q_a_norm"},
                                {"attn.wkv", "attn_kv"},
                                {"attn.kv_norm", "attn_kv_a_norm"},
                                {"attn.wo_a", "attn_output_a"},
                                {"attn.wo_b", "attn_output_b"},
                                {"attn.attn_sink", "attn_sinks.weight"},
                                {"attn.compressor.wkv", "attn_compressor_kv"},
                                {"attn.compressor.wgate", "attn_compressor_gate"},
                                {"attn.compressor.ape", "attn_compressor_ape.weight"},
                                {"attn.compressor.norm", "attn_compressor_norm"},
                                {"attn.indexer.wq_b", "indexer.attn_q_b"},
                                {"attn.indexer.weights_proj", "indexer.proj"},
                                {"attn.indexer.compressor.wkv", "indexer_compressor_kv"},
                                {"attn.indexer.compressor.wgate", "indexer_compressor_gate"},
                                {"attn.indexer.compressor.ape", "indexer_compressor_ape.weight"},
                                {"attn.indexer.compressor.norm", "indexer_compressor_norm"},
                                {"hc_attn_fn", "hc_attn_fn.weight"},
                                {"hc_attn_base", "hc_attn_base.weight"},
                                {"hc_attn_scale", "hc_attn_scale.weight"},
                                {"hc_ffn_fn", "hc_ffn_fn.weight"},
                                {"hc_ffn_base", "hc_ffn_base.weight"},
                                {"hc_ffn_scale", "hc_ffn_scale.weight"},
                                {"ffn.gate", "ffn_gate_inp"},
                                {"ffn.gate.bias", "exp_probs_b.bias"},
                                {"ffn.shared_experts.w1", "ffn_gate_shexp"},
                                {"ffn.shared_experts.w3", "ffn_up_shexp"},
                                {"ffn.shared_experts.w2", "ffn_down_shexp"},
                                {NULL, NULL}};
static value_triples v4_values[] = {INDEX_VALUES,
                                    {"int", "attention.q_lora_rank", "q_lora_rank"},
                                    {"int", "rope.dimension_count", "qk_rope_head_dim"},
                                    {"int", "attention.output_group_count", "o_groups"},
                                    {"int", "attention.output_lora_rank", "o_lora_rank"},
                                    {"real", "attention.compress_rope_freq_base", "compress_rope_theta"},
                                    {"int", "hyper_connection.count", "hc_mult"},
                                    {"int", "hyper_connection.sinkhorn_iterations", "hc_sinkhorn_iters"},
                                    {"real", "hyper_connection.epsilon", "hc_eps"},
                                    {"int", "hash_layer_count", "num_hash_layers"},
                                    {"int", "expert_shared_count", "n_shared_experts"},
                                    {"int", "expert_gating_func", "scored_by"},
                                    {"real", "expert_weights_scale", "routed_scaling_factor"},
                                    {"bool", "expert_weights_norm", "norm_topk_prob"},
                                    {"real", "swiglu_clamp_exp", "swiglu_limit"},
                                    {NULL, NULL, NULL}};

const struct conversion conversions_newer[] = {
    {"deepseek_v4", "deepseek4", SLIDES, v4_names, v4_values, "", NULL},
    {"deepseek_v32", "deepseek32", LATENT, index_names, index_values, NULL, NULL},
    {"glm_moe_dsa", "glm-dsa", LATENT, index_names, index_values, NULL, NULL},
    {"mistral4", "mistral4", LATENT, NULL, mistral4_values, NULL, NULL},
    {"ministral3", "mistral3", PERMUTED | WHOLE_MSCALE, NULL, ministral_values, NULL, NULL},
    {"kimi_linear", "kimi-linear", LATENT, kimi_names, kimi_values, NULL, NULL},
    {"jamba", "jamba", 0, jamba_names, jamba_values, NULL, NULL},
    {"olmo", "olmo", PERMUTED, NULL, olmo_values, NULL, NULL},
    {"arcee", "arcee", PERMUTED, NULL, NULL, NULL, NULL},
    {"nemotron", "nemotron", PLUS_ONE | PARTIAL, NULL, nemotron_values, NULL, NULL},
    {"apertus", "apertus", 0, apertus_names, NULL, NULL, NULL},
    {"minimax_m3_vl_text", "minimax-m3", PLUS_ONE | PARTIAL, minimax_names, minimax_values, NULL, NULL},
    {"step3p5", "step35", PLUS_ONE | SLIDES | SLIDES_WHERE, step_names, step_values, NULL, NULL},
    {"mimo_v2_flash", "mimo2", PARTIAL | SLIDES | SLIDES_WHERE, mimo_names, mimo_values, NULL, NULL},
    {"gemma3n_text", "gemma3n", SLIDES | SLIDES_WHERE, gemma3n_names, gemma3n_values, NULL, NULL},
    {"phimoe", "phimoe", 0, NULL, NULL, NULL, NULL},
    {"minicpm3", "minicpm3", 0, minicpm3_names, minicpm3_values, NULL, NULL},
    {"hunyuan_v1_dense", "hunyuan-dense", 0, hunyuan_names, NULL, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL, NULL, NULL},
};

/* ---- words ---- */

static json_int_t whole(const json_t *config, const char *field)
{
    return json_integer_value(json_object_get(config, field));
}

static void put(json_t *config, const char *field, json_int_t x)
{
    json_object_set_new(config, field, json_integer(x));
}

static bool is_type(const json_t *config, const char *type)
{
    const char *is = json_string_value(json_object_get(config, "model_type"));

    return is && !strcmp(is, type);
}

static bool lists(const json_t *list, json_int_t x)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_integer_value(json_array_get(list, i)) == x) return true;
    return false;
}

/* layer_types and key heads of those that write them otherwise. */
static void add_layers(json_t *config)
{
    const json_t *linear = json_object_get(config, "linear_attn_config"),
                 *hybrid = json_object_get(config, "hybrid_layer_pattern"),
                 *other = json_object_get(config, "attention_other_setting");
    json_int_t period = whole(config, "attn_layer_period"), layers = whole(config, "num_hidden_layers");
    json_t *kv = json_array(), *q = json_array(), *types = json_array();

    for (json_int_t i = 0; i < layers; i++) {
        const char *type = json_string_value(json_array_get(json_object_get(config, "layer_types"), (size_t)i));
        bool slides = hybrid ? json_integer_value(json_array_get(hybrid, (size_t)i)) == 1
                             : type && !strcmp(type, "sliding_attention");
        json_int_t n = 0;

        if (linear) n = lists(json_object_get(linear, "full_attn_layers"), i + 1);
        if (period && i % period == whole(config, "attn_layer_offset")) n = whole(config, "num_key_value_heads");
        if (hybrid) n = whole(config, slides ? "swa_num_key_value_heads" : "num_key_value_heads");
        if (other) n = slides ? whole(other, "num_attention_groups") : whole(config, "num_attention_groups");
        json_array_append_new(kv, json_integer(n));
        json_array_append_new(
            q, json_integer(slides ? whole(other, "num_attention_heads") : whole(config, "num_attention_heads")));
        json_array_append_new(types, json_string(slides ? "sliding_attention" : "full_attention"));
    }
    if (hybrid) json_object_set(config, "layer_types", types);
    if (linear || period || hybrid || other) json_object_set(config, "kv_heads_of_layers", kv);
    if (other) json_object_set(config, "heads_of_layers", q);
    json_decref(kv);
    json_decref(q);
    json_decref(types);
}

static void add_rotation(json_t *config)
{
    const json_t *rules = json_object_get(config, "rope_parameters"), *list = json_object_get(config, "rope_theta"),
                 *old = json_object_get(config, "rope_scaling");
    double alpha = json_number_value(json_object_get(old, "alpha")),
           dim = (double)json_integer_value(json_object_get(config, "head_dim"));

    if (json_object_get(rules, "llama_4_scaling_beta")) {
        json_object_set(config, "grows_by", json_object_get(rules, "llama_4_scaling_beta"));
        json_object_set(config, "grows_from", json_object_get(rules, "original_max_position_embeddings"));
    }
    if (json_object_get(old, "long_factor") && !json_object_get(config, "original_max_position_embeddings"))
        json_object_set(config, "original_max_position_embeddings",
                        json_object_get(old, "original_max_position_embeddings"));
    if (alpha != 0) {
        json_object_set_new(config, "rope_theta", json_real(json_number_value(list) * pow(alpha, dim / (dim - 2))));
        json_object_del(config, "rope_scaling");
    } else if (json_is_array(list)) {
        json_t *first = json_incref(json_array_get(list, 0));

        json_object_set(config, "sliding_theta", json_array_get(list, 1));
        json_object_set_new(config, "rope_theta", first);
    }
}

void conversion_newer_words(json_t *config)
{
    const json_t *text = json_object_get(config, "text_config"), *linear, *sparse;

    if (text) json_object_update(config, (json_t *)(uintptr_t)text);
    linear = json_object_get(config, "linear_attn_config");
    sparse = json_object_get(config, "sparse_attention_config");
    if (sparse) json_object_update(config, (json_t *)(uintptr_t)sparse);
    add_layers(config);
    add_rotation(config);
    if (json_object_get(config, "scoring_func") || json_object_get(config, "moe_router_activation_func"))
        put(config, "scored_by", 2);
    if (is_type(config, "deepseek_v4")) put(config, "scored_by", 4);
    if (linear) {
        put(config, "kda_head_dim", whole(linear, "head_dim"));
        put(config, "kda_conv_kernel", whole(linear, "short_conv_kernel_size"));
    }
    if (whole(config, "mamba_expand"))
        put(config, "inner_size", whole(config, "mamba_expand") * whole(config, "hidden_size"));
    if (is_type(config, "olmo")) json_object_set_new(config, "olmo_eps", json_real(1e-5));
    if (whole(config, "dense_intermediate_size")) {
        put(config, "intermediate_size_mlp", whole(config, "dense_intermediate_size"));
        put(config, "moe_intermediate_size", whole(config, "intermediate_size"));
    }
    if (json_is_array(json_object_get(config, "intermediate_size")))
        json_object_set(config, "widths_of_layers", json_object_get(config, "intermediate_size"));
    if (is_type(config, "mimo_v2_flash")) put(config, "sliding_window", whole(config, "sliding_window_size") + 1);
    if (is_type(config, "step3p5")) put(config, "moe_every_n_layer", 1);
}

/* ---- lists of values ---- */

static size_t numbers(const json_t *list, uint32_t out[LAYERS_MOST])
{
    size_t n = json_array_size(list);

    for (size_t i = 0; i < n && i < LAYERS_MOST; i++) out[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    return n;
}

/* The standard normal's value that this share of all is below, as float32 has it. */
static float deviations(double share)
{
    double low = -10, high = 10;

    if (share <= 0) return -INFINITY;
    for (int i = 0; i < 100; i++) {
        double mid = (low + high) / 2;

        if (0.5 * erfc(-mid / sqrt(2)) < share)
            low = mid;
        else
            high = mid;
    }
    return (float)low;
}

void conversion_newer_values(const struct conversion *c, const json_t *config, struct gguf_writer *w)
{
    static const char *const lists_of[][2] = {{"compress_ratios", "attention.compress_ratios"},
                                              {"kv_heads_of_layers", "attention.head_count_kv"},
                                              {"heads_of_layers", "attention.head_count"},
                                              {"widths_of_layers", "feed_forward_length"}},
                             *const reals_of[][2] = {{"swiglu_limits", "swiglu_clamp_exp"},
                                                     {"swiglu_limits_shared", "swiglu_clamp_shexp"},
                                                     {"activation_sparsity_pattern", "activation_sparsity_scale"}};
    json_int_t freq = whole(config, "index_topk_freq"), offset = whole(config, "index_skip_topk_offset");
    uint32_t x[LAYERS_MOST];
    uint8_t full[LAYERS_MOST];
    float f[LAYERS_MOST];
    char key[128];
    size_t n;

    for (size_t k = 0; k < sizeof lists_of / sizeof *lists_of; k++) {
        snprintf(key, sizeof key, "%s.%s", c->arch, lists_of[k][1]);
        n = numbers(json_object_get(config, lists_of[k][0]), x);
        if (n) gguf_write_u32s(w, key, x, n);
    }
    for (size_t k = 0; k < sizeof reals_of / sizeof *reals_of; k++) {
        const json_t *list = json_object_get(config, reals_of[k][0]);

        n = json_array_size(list);
        for (size_t i = 0; i < n && i < LAYERS_MOST; i++) {
            f[i] = (float)json_number_value(json_array_get(list, i));
            if (k == 2) f[i] = deviations(json_number_value(json_array_get(list, i)));
        }
        snprintf(key, sizeof key, "%s.%s", c->arch, reals_of[k][1]);
        if (n) gguf_write_f32s(w, key, f, n);
    }
    for (json_int_t i = 0; freq > 1 && i < whole(config, "num_hidden_layers"); i++)
        full[i] = !(i + 1 > offset && (i + 1 - offset) % freq);
    snprintf(key, sizeof key, "%s.attention.indexer.types", c->arch);
    if (freq > 1) gguf_write_bools(w, key, full, (size_t)whole(config, "num_hidden_layers"));
}

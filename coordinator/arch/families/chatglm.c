/* ChatGLM 2 and 3, and GLM-4-9b in their original layout: names and fields of their own, half of a head rotates, in
 * pairs. Reference: the models' own modeling_chatglm.py, as published with their weights; GLM-4-9b's later layout is
 * modeling_glm.py of transformers. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/stack.h"
#include "proto/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCABULARY_2_AND_3 65024u

static void sizes(struct build *b)
{
    bool grouped = config_bool_or(b->c, "multi_query_attention", false, b->e);

    b->hidden = config_size(b->c, "hidden_size", 1, 1u << 24, b->e);
    b->layers = config_size(b->c, "num_layers", 1, 10000, b->e);
    b->heads = config_size(b->c, "num_attention_heads", 1, 65536, b->e);
    b->kv_heads = grouped ? config_size(b->c, "multi_query_group_num", 1, 65536, b->e) : b->heads;
    b->head_dim = config_size(b->c, "kv_channels", 1, 65536, b->e);
    b->inter = config_size(b->c, "ffn_hidden_size", 1, 1u << 24, b->e);
    b->limit = config_size_or(b->c, "seq_length", 1, CONFIG_SIZE_MAX, 8192, b->e);
    b->vocab = config_size_or(b->c, "padded_vocab_size", 1, 1u << 24, 0, b->e);
    if (!b->vocab) b->vocab = config_size(b->c, "vocab_size", 1, 1u << 24, b->e);
    if (build_ok(b) && b->heads % b->kv_heads)
        config_fault(b->c, b->e, "num_attention_heads", "%u is not divisible by multi_query_group_num %u", b->heads,
                     b->kv_heads);
    if (config_bool_or(b->c, "apply_residual_connection_post_layernorm", false, b->e))
        config_fault(b->c, b->e, "apply_residual_connection_post_layernorm", "true is not supported");
    if (config_bool_or(b->c, "interleaved_qkv", false, b->e))
        config_fault(b->c, b->e, "interleaved_qkv", "true is not supported");
    if (!config_bool_or(b->c, "post_layer_norm", true, b->e))
        config_fault(b->c, b->e, "post_layer_norm", "false is not supported");
    if (config_size_or(b->c, "pre_seq_len", 0, 65536, 0, b->e))
        config_fault(b->c, b->e, "pre_seq_len", "a learned prefix is not supported");
}

/* What the model's own code does, where the folder has it: 1 divides positions, 0 does not, -1 cannot be told. */
static int code_divides_positions(struct build *b)
{
    struct error unread = {0};
    char path[BUILD_NAME_BYTES], *text = NULL;
    uint64_t bytes = 0;
    int divides;

    snprintf(path, sizeof path, "%s/modeling_chatglm.py", b->t->folder);
    if (file_load(&text, &bytes, path, 1u << 20, &unread)) return -1;
    divides = strstr(text, "/ self.rope_ratio") != NULL;
    free(text);
    return divides;
}

/* rope_ratio: ChatGLM2-6B-32K divides positions by it, ChatGLM3-6B-32K and GLM-4 multiply theta with it, and the configs
 * look the same. The code that is published with the weights tells, else the name, else the vocabulary. */
static void longer_context(struct build *b, struct rope_request *q)
{
    double ratio = config_number_or(b->c, "rope_ratio", 1, b->e);
    const char *name = config_string_or(b->c, "_name_or_path", "", b->e);
    int divides = ratio == 1 ? 0 : code_divides_positions(b);

    if (!(ratio > 0)) config_fault(b->c, b->e, "rope_ratio", "%g is out of range, it must be greater than 0", ratio);
    if (divides < 0 && strcasestr(name, "chatglm2")) divides = 1;
    if (divides < 0 && (strcasestr(name, "chatglm3") || b->vocab != VOCABULARY_2_AND_3)) divides = 0;
    if (divides < 0)
        config_fault(
            b->c, b->e, "rope_ratio",
            "ChatGLM2 divides positions by it, ChatGLM3 multiplies theta with it, and this config does not tell "
            "which of them it is: add modeling_chatglm.py, which is published with the weights");
    q->theta = divides ? 10000 : 10000 * ratio;
    q->stretch = divides ? ratio : 1;
}

void family_chatglm(struct build *b)
{
    struct rope_request q = {.partial = 0.5};
    struct rope_table rope;
    struct stack s;
    bool bias;

    sizes(b);
    build_norm_kind(b, config_bool_or(b->c, "rmsnorm", true, b->e) ? NORM_RMS : NORM_LAYER, "layernorm_epsilon", 1e-5);
    b->norm_bias = b->norm_kind == NORM_LAYER;
    bias = config_bool_or(b->c, "add_bias_linear", false, b->e);
    build_names(b, "transformer.", "encoder.layers", "embedding.word_embeddings");
    longer_context(b, &q);
    rope = build_rotary(b, q);
    s = stack_llama(b, &rope);
    s.embed = "embedding.word_embeddings";
    s.final_norm = "encoder.final_layernorm";
    s.head = *b->prefix ? "transformer.output_layer" : "output_layer";
    s.attention.rope_style = ROPE_PAIRS;
    s.attention.qkv = "self_attention.query_key_value";
    s.attention.o = "self_attention.dense";
    s.attention.q_bias = config_bool_or(b->c, "add_qkv_bias", false, b->e) || bias;
    s.attention.o_bias = s.mlp.up_bias = s.mlp.down_bias = bias;
    s.mlp.gate_up = "mlp.dense_h_to_4h";
    s.mlp.down = "mlp.dense_4h_to_h";
    s.tied = build_tied(b);
    stack_build(b, &s);
}

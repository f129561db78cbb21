/* MiMo V2 Flash: most layers see a window, with more key heads and a sink; heads of v are narrower than those of q and k, and
 * v is scaled; DeepSeek V3's experts without a shared one. Reference: transformers, modeling_mimo_v2_flash.py; the fields of
 * its published config.json. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"

#include <math.h>
#include <string.h>

/* Of one kind of layers. */
struct kind {
    struct rope_table rope;
    uint32_t heads, kv_heads, head_dim, value, window;
    bool sinks;
};

struct mimo {
    struct deepseek_moe experts; /* first: see deepseek_feed() */
    struct kind full, sliding;
    float value_mul;
};

/* The window counts the positions before a position; another field that one too. */
static uint32_t window(struct build *b)
{
    uint32_t before = config_size_or(b->c, "sliding_window_size", 1, CONFIG_SIZE_MAX, 0, b->e);

    return before ? before + 1 : build_sliding(b);
}

static void read_kinds(struct build *b, struct mimo *o)
{
    struct rope_request q = {.layer_type = "full_attention", .theta = 5e6, .partial = 0.334, .partial_key = true};

    o->full = (struct kind){.heads = b->heads, .kv_heads = b->kv_heads, .head_dim = b->head_dim};
    o->full.value = config_size(b->c, "v_head_dim", 1, 1u << 16, b->e);
    o->full.sinks = config_bool_or(b->c, "add_full_attention_sink_bias", false, b->e);
    o->sliding.heads = config_size_or(b->c, "swa_num_attention_heads", 1, 65536, b->heads, b->e);
    o->sliding.kv_heads = config_size_or(b->c, "swa_num_key_value_heads", 1, 65536, 2 * b->kv_heads, b->e);
    o->sliding.head_dim = config_size_or(b->c, "swa_head_dim", 1, 1u << 16, b->head_dim, b->e);
    o->sliding.value = config_size_or(b->c, "swa_v_head_dim", 1, 1u << 16, o->full.value, b->e);
    o->sliding.sinks = config_bool_or(b->c, "add_swa_attention_sink_bias", true, b->e);
    o->sliding.window = window(b);
    o->full.rope = build_rotary(b, q);
    q.layer_type = "sliding_attention";
    q.theta_key = "swa_rope_theta";
    q.theta = 10000;
    q.head_dim = o->sliding.head_dim;
    o->sliding.rope = build_rotary(b, q);
    o->value_mul = (float)config_number_or(b->c, "attention_value_scale", 1, b->e);
}

/* An entry of a list of zeros and ones, one for each layer; otherwise where there is no such list. */
static bool listed(struct build *b, const char *key, uint32_t i, bool otherwise)
{
    int64_t n;

    if (!config_field(b->c, key, false)) return otherwise;
    n = config_list_int(b->c, key, i, -1, b->e);
    if (n != 0 && n != 1) config_fault(b->c, b->e, key, "no entry of 0 or 1 for layer %u", i);
    return n == 1;
}

/* Without a list, the first layer sees everything, and so does every sixth. */
static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    bool by_list = listed(b, "hybrid_layer_pattern", i, i && (i + 1) % 6);
    const struct mimo *o = s->own;
    const struct kind *k = build_layer_is(b, i, "sliding_attention", by_list) ? &o->sliding : &o->full;

    b->heads = k->heads;
    b->kv_heads = k->kv_heads;
    b->head_dim = k->head_dim;
    s->attention.rope = &k->rope;
    s->attention.scale = (float)(1 / sqrt((double)k->head_dim));
    s->attention.value = k->value;
    s->attention.value_mul = o->value_mul != 1 ? o->value_mul : 0;
    s->attention.window = k->window;
    s->attention.sinks = k->sinks ? "self_attn.attention_sink_bias" : NULL;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    bool typed = config_field(b->c, "mlp_layer_types", false) != NULL;
    const struct mimo *o = s->own;

    if (typed ? moe_layer_is_sparse(b, b->layer, 1) : listed(b, "moe_layer_freq", b->layer, b->layer > 0))
        stack_moe(b, &o->experts.moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static void one_of_one(struct build *b, const char *key, const char *known)
{
    const char *given = config_string_or(b->c, key, known, b->e);

    if (strcmp(given, known)) config_fault(b->c, b->e, key, "\"%.40s\" is not supported, %s is", given, known);
}

void family_mimo_v2_flash(struct build *b)
{
    const char *eps = config_gives(b->c, "layernorm_epsilon") ? "layernorm_epsilon" : "rms_norm_eps";
    struct mimo o = {0};
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, eps, 1e-5);
    read_kinds(b, &o);
    one_of_one(b, "scoring_func", "sigmoid");
    one_of_one(b, "topk_method", "noaux_tc");
    o.experts = deepseek_v3_moe(b);
    s = stack_llama(b, NULL);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = config_bool_or(b->c, "attention_bias", false, b->e);
    s.mlp.act = o.experts.moe.act;
    s.tied = build_tied(b);
    s.own = &o;
    s.before_layer = before_layer;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

#define BEFORE                                                                                                         \
    128u /* the published window without the position itself, as files say it that were made of config.json alone */

static const struct gguf_name names[] = {
    {"attn_sinks", "self_attn.attention_sink_bias", GGUF_BARE},
    {NULL, NULL, 0},
};

/* Do layers of this kind have sinks, and how many key heads have they? */
struct seen {
    uint64_t kv_heads;
    bool sinks;
};

static void look_at_layers(struct gguf_values *v, struct seen of[2])
{
    const json_t *types = json_object_get(v->out, "layer_types");

    for (uint64_t i = 0; i < v->layers && !v->e->code; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        struct seen *s = &of[type && !strcmp(type, "sliding_attention")];
        uint64_t n = gguf_layer_int(v, "attention.head_count_kv", i);

        if (s->kv_heads && s->kv_heads != n)
            gguf_refuse(v, "attention.head_count_kv",
                        "layers of one kind have different heads, which is not supported");
        s->kv_heads = n;
        s->sinks |= gguf_this_layer_has(v, i, "attn_sinks.weight");
    }
}

static void config(struct gguf_values *v)
{
    struct seen of[2] = {{0, false}, {0, false}};
    uint64_t scored = 2, head = gguf_value_needed(v, "attention.key_length"), value = head, window;

    gguf_value_int(v, "expert_gating_func", &scored);
    if (scored != 2) gguf_refuse(v, "expert_gating_func", "only 2 (sigmoid) is supported for this architecture");
    gguf_value_int(v, "attention.value_length", &value);
    gguf_set_int(v, "head_dim", head);
    gguf_set_int(v, "swa_head_dim", head);
    gguf_set_int(v, "v_head_dim", value);
    gguf_set_int(v, "swa_v_head_dim", value);
    if (head) gguf_set_real(v, "partial_rotary_factor", ((double)v->rope_dim + 0.5) / (double)head);
    gguf_layer_types(v, "sliding_attention", 0);
    gguf_window(v);
    if (gguf_value_int(v, "attention.sliding_window", &window) && window == BEFORE)
        gguf_set_int(v, "sliding_window_size", window);
    look_at_layers(v, of);
    gguf_set_int(v, "swa_num_attention_heads", v->heads);
    gguf_set_int(v, "num_key_value_heads", of[0].kv_heads ? of[0].kv_heads : of[1].kv_heads);
    gguf_set_int(v, "swa_num_key_value_heads", of[1].kv_heads ? of[1].kv_heads : of[0].kv_heads);
    gguf_set_flag(v, "add_full_attention_sink_bias", of[0].sinks);
    gguf_set_flag(v, "add_swa_attention_sink_bias", of[1].sinks);
    gguf_field_real(v, "rope.freq_base_swa", "swa_rope_theta", 10000);
    gguf_field_real(v, "attention.value_scale", "attention_value_scale", 1);
    gguf_deepseek_experts(v);
    gguf_set_flag(v, "norm_topk_prob", true); /* llama.cpp does so whatever a file says */
    gguf_set_text(v, "topk_method", "noaux_tc");
    gguf_layers_having(v, "ffn_gate_inp.weight", "mlp_layer_types", "sparse", "dense");
}

const struct gguf_family gguf_mimo2 = {
    .architecture = "mimo2",
    .class = "MiMoV2FlashForCausalLM",
    .type = "mimo_v2_flash",
    .names = names,
    .by_layer = true,
    .unwritten = true,
    .config = config,
};

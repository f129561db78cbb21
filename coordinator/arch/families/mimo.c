/* MiMo V2 Flash: most layers see a window, with more key heads and a sink; heads of v are narrower than those of q and k, and
 * v is scaled; DeepSeek V3's experts without a shared one. Reference: transformers, modeling_mimo_v2_flash.py; the fields of
 * its published config.json. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/family.h"

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

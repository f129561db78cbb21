/* DeepSeek V4: several streams of the residual, mixed by weights that each position makes of them (hyper-connections); one
 * key for all heads, which is the value too, rotated back in what attention gives; beside the window's keys those of pooled
 * blocks: of 128 positions all, of 4 positions those that an index chooses, each over its own and the block before; experts
 * of the first layers by the token's number. Reference: transformers, modeling_deepseek_v4.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define EVERY_LIMIT 65536u

enum kind { SLIDING, SPARSE, HEAVY, KINDS };

static const char *const kind_names[KINDS] = {"sliding_attention", "compressed_sparse_attention",
                                              "heavily_compressed_attention"};

struct deepseek_v4 {
    struct moe moe;
    /* Of the layers without pooled keys, and of the others; both backwards; and these at their blocks' first positions. */
    struct rope_table plain, pooled, plain_back, pooled_back, starts[KINDS];
    uint32_t every[KINDS]; /* positions of a block */
    uint32_t q_rank, o_groups, o_rank, window;
    uint32_t index_heads, index_dim, index_top;
    uint32_t streams, rounds;
    float hc_eps;
};

/* ---- what kind a layer is ---- */

/* Without lists: two heavy layers, then sparse and heavy ones in turns. */
static enum kind kind_of(struct build *b, uint32_t i)
{
    const char *word;

    if (config_field(b->c, "layer_types", false)) {
        word = config_list_string(b->c, "layer_types", i, b->e);
        for (uint32_t k = 0; k < KINDS && word; k++)
            if (!strcmp(word, kind_names[k])) return k;
        config_fault(b->c, b->e, "layer_types", "layer %u: \"%.60s\" is not known; %s, %s and %s are", i,
                     word ? word : "", kind_names[SLIDING], kind_names[SPARSE], kind_names[HEAVY]);
        return SLIDING;
    }
    if (config_field(b->c, "compress_ratios", false)) {
        int64_t ratio = config_list_int(b->c, "compress_ratios", i, -1, b->e);

        if (build_ok(b) && ratio == -1)
            config_fault(b->c, b->e, "compress_ratios", "no entry for layer %u", i);
        else if (build_ok(b) && ratio != 0 && ratio != 4 && ratio != 128)
            config_fault(b->c, b->e, "compress_ratios", "layer %u: %lld is not known; 0, 4 and 128 are", i,
                         (long long)ratio);
        return ratio == 4 ? SPARSE : ratio == 128 ? HEAVY : SLIDING;
    }
    return i >= 2 && i % 2 ? SPARSE : HEAVY;
}

static bool chooses_by_token(struct build *b, uint32_t i)
{
    const char *word;

    if (!config_field(b->c, "mlp_layer_types", false))
        return i < config_size_or(b->c, "num_hash_layers", 0, CONFIG_SIZE_MAX, 3, b->e);
    word = config_list_string(b->c, "mlp_layer_types", i, b->e);
    if (build_ok(b) && (!word || (strcmp(word, "hash_moe") && strcmp(word, "moe"))))
        config_fault(b->c, b->e, "mlp_layer_types", "layer %u is neither hash_moe nor moe", i);
    return build_ok(b) && !strcmp(word, "hash_moe");
}

/* ---- the streams ---- */

static struct plan_view streams(struct build *b, const struct deepseek_v4 *d, enum build_buffer which)
{
    return build_view(b, which, (uint64_t)d->streams * b->hidden, 0);
}

static uint32_t part_vector(struct build *b, const char *name, const char *part, uint64_t elements)
{
    char full[64];

    snprintf(full, sizeof full, "%s%s", name, part);
    return build_vector(b, full, elements);
}

/* Weights that the streams themselves make, by NAME_fn, NAME_base and NAME_scale. */
static struct plan_view weigh(struct build *b, const struct deepseek_v4 *d, const char *name, struct plan_view from,
                              uint32_t rounds)
{
    uint64_t width = (uint64_t)d->streams * b->hidden;
    struct op_sinkhorn o = {.streams = d->streams, .rounds = rounds, .eps = d->hc_eps};
    uint64_t columns = plan_sinkhorn_columns(&o);
    struct plan_view flat = build_view(b, BUF_T1, width, 0);
    struct op_matmul m = {.src = flat, .bias = PLAN_NONE};
    char full[64];

    o.x = m.dst = build_view(b, BUF_WEIGHTS, columns, 0);
    build_head_norm(b, flat, from, 1, width, NULL);
    snprintf(full, sizeof full, "%s_fn", name);
    m.matrix = build_stacked(b, full, 0, 1, columns, width);
    o.scale = part_vector(b, name, "_scale", rounds ? 3 : 1);
    o.base = part_vector(b, name, "_base", columns);
    if (!build_ok(b)) return o.x;
    program_op(b->p, OP_MATMUL, b->layer)->matmul = m;
    program_op(b->p, OP_SINKHORN, b->layer)->sinkhorn = o;
    return o.x;
}

static void mix(struct build *b, const struct op_mix *o)
{
    if (build_ok(b)) program_op(b->p, OP_MIX, b->layer)->mix = *o;
}

static void join(struct build *b, const struct deepseek_v4 *d, struct plan_view from, struct plan_view weights)
{
    mix(b, &(struct op_mix){.src = from,
                            .weight = weights,
                            .dst = build_x(b),
                            .in = d->streams,
                            .out = 1,
                            .width = b->hidden,
                            .in_stride = 1});
}

/* to = mixed streams + what the block gave, each stream its share. */
static void feed_streams(struct build *b, const struct deepseek_v4 *d, struct plan_view to, struct plan_view from,
                         struct plan_view weights, struct plan_view out)
{
    uint32_t n = d->streams;

    mix(b, &(struct op_mix){.src = from,
                            .weight = view_at(weights, 2 * (uint64_t)n),
                            .dst = to,
                            .in = n,
                            .out = n,
                            .width = b->hidden,
                            .in_stride = n,
                            .out_stride = 1});
    mix(b, &(struct op_mix){.src = out,
                            .weight = view_at(weights, n),
                            .dst = to,
                            .in = 1,
                            .out = n,
                            .width = b->hidden,
                            .out_stride = 1,
                            .flags = MIX_ADDS});
}

static void after_embedding(struct build *b, struct stack *s)
{
    const struct deepseek_v4 *d = s->own;
    struct plan_view to = streams(b, d, BUF_STREAMS);

    for (uint32_t k = 0; k < d->streams; k++)
        build_copy(b, view_at(to, (uint64_t)k * b->hidden), b->hidden, build_x(b), b->hidden, 1, b->hidden);
}

/* ---- attention ---- */

/* The columns of heads that rotate are their last ones. */
static void rotate(struct build *b, struct plan_view x, uint32_t heads, uint32_t width, const struct rope_table *r)
{
    if (build_ok(b)) build_rope(b, view_at(x, width - r->dim), heads, width, r, ROPE_PAIRS);
}

/* dst = the pooled key of NAME where a block ends. */
static void pool(struct build *b, const struct deepseek_v4 *d, const char *name, enum kind kind, uint32_t width,
                 struct plan_view dst, struct plan_view src)
{
    struct op_pool o = {.dst = dst, .width = width, .parts = kind == SPARSE ? 2 : 1, .every = d->every[kind]};
    uint64_t columns = (uint64_t)o.parts * width;
    char full[96];

    o.x = build_view(b, BUF_V, columns, 0);
    o.gate = build_view(b, BUF_GATE, columns, 0);
    snprintf(full, sizeof full, "%s.wkv", name);
    build_linear(b, o.x, src, full, columns, b->hidden, false);
    snprintf(full, sizeof full, "%s.wgate", name);
    build_linear(b, o.gate, src, full, columns, b->hidden, false);
    snprintf(full, sizeof full, "%s.ape", name);
    o.bias = build_vector(b, full, o.every * columns);
    if (!build_ok(b)) return;
    o.state = program_state(b->p, plan_pool_sets(&o) * 3 * width);
    program_op(b->p, OP_POOL, b->layer)->pool = o;
    snprintf(full, sizeof full, "%s.norm", name);
    build_head_norm(b, dst, dst, 1, width, full);
    rotate(b, dst, 1, width, &d->starts[kind]);
}

static void choose(struct build *b, const struct deepseek_v4 *d, struct plan_view query, struct plan_view src,
                   struct op_attention *a)
{
    uint64_t width = (uint64_t)d->index_heads * d->index_dim;
    struct op_index o = {.q = build_view(b, BUF_UP, width, 0),
                         .k = build_view(b, BUF_T2, (uint64_t)d->index_dim + d->index_heads, 0),
                         .dst = build_view(b, BUF_CHOSEN, UINT64_C(1) + d->index_top, 0),
                         .heads = d->index_heads,
                         .groups = 1,
                         .dim = d->index_dim,
                         .block = d->every[SPARSE],
                         .top = d->index_top,
                         .flags = INDEX_RELU | INDEX_POOLED,
                         .scale = (float)(1 / sqrt((double)d->index_dim * d->index_heads))};

    o.w = view_at(o.k, d->index_dim);
    pool(b, d, "attn.indexer.compressor", SPARSE, d->index_dim, o.k, src);
    build_linear(b, o.q, query, "attn.indexer.wq_b", width, d->q_rank, false);
    rotate(b, o.q, d->index_heads, d->index_dim, &d->pooled);
    build_linear(b, o.w, src, "attn.indexer.weights_proj", d->index_heads, b->hidden, false);
    if (!build_ok(b)) return;
    o.cache = program_cache(b->p, d->index_dim, 0);
    program_op(b->p, OP_INDEX, b->layer)->index = o;
    a->chosen = o.dst;
    a->chosen_groups = 1;
    a->chosen_top = o.top;
    a->chosen_block = o.block;
}

static void attend(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct deepseek_v4 *d = s->own;
    enum kind kind = kind_of(b, b->layer);
    bool pools = kind != SLIDING;
    const struct rope_table *r = pools ? &d->pooled : &d->plain;
    uint32_t dk = b->head_dim;
    uint64_t width = (uint64_t)b->heads * dk, low_width = (uint64_t)d->o_groups * d->o_rank;
    struct plan_view query = build_view(b, BUF_T1, d->q_rank, 0), low = build_view(b, BUF_T1, low_width, 0);
    struct op_attention o = {.q = build_view(b, BUF_Q, width, 0),
                             .k = build_view(b, BUF_K, pools ? 2 * (uint64_t)dk : dk, 0),
                             .v = VIEW_NONE,
                             .dst = build_view(b, BUF_A, width, 0),
                             .heads = b->heads,
                             .kv_heads = 1,
                             .dk = dk,
                             .dv = dk,
                             .window = d->window,
                             .alibi = PLAN_NONE,
                             .flags = ATTN_V_IN_K,
                             .scale = s->attention.scale,
                             .pooled = d->every[kind]};
    struct op_headmm m = {.src = o.dst,
                          .dst = low,
                          .heads = d->o_groups,
                          .rows = d->o_rank,
                          .row_stride = d->o_rank,
                          .src_stride = (uint32_t)(width / d->o_groups),
                          .dst_stride = d->o_rank};

    build_linear(b, query, src, "attn.wq_a", d->q_rank, b->hidden, false);
    build_head_norm(b, query, query, 1, d->q_rank, "attn.q_norm");
    build_linear(b, o.q, query, "attn.wq_b", width, d->q_rank, false);
    build_head_norm(b, o.q, o.q, b->heads, dk, NULL);
    rotate(b, o.q, b->heads, dk, r);
    build_linear(b, o.k, src, "attn.wkv", dk, b->hidden, false);
    build_head_norm(b, o.k, o.k, 1, dk, "attn.kv_norm");
    rotate(b, o.k, 1, dk, r);
    if (pools) pool(b, d, "attn.compressor", kind, dk, view_at(o.k, dk), src);
    if (kind == SPARSE) choose(b, d, query, src, &o);
    o.sinks = build_vector(b, "attn.attn_sink", b->heads);
    if (build_ok(b)) o.cache = program_cache(b->p, pools ? 2 * dk : dk, 0);
    if (build_ok(b)) program_op(b->p, OP_ATTENTION, b->layer)->attention = o;
    rotate(b, o.dst, b->heads, dk, pools ? &d->pooled_back : &d->plain_back);
    m.matrix = build_matrix(b, "attn.wo_a", low_width, width / d->o_groups);
    if (build_ok(b)) program_op(b->p, OP_HEADMM, b->layer)->headmm = m;
    build_linear(b, dst, low, "attn.wo_b", b->hidden, low_width, false);
}

/* ---- a layer ---- */

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct deepseek_v4 *d = s->own;
    struct moe m = d->moe;

    if (chooses_by_token(b, b->layer)) {
        m.correction = NULL;
        m.by_token = "ffn.gate.tid2eid";
    }
    stack_moe(b, &m, dst, src);
}

static void block(struct build *b, struct stack *s, const char *name, const char *norm, enum build_buffer from,
                  enum build_buffer to,
                  void (*run)(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src))
{
    const struct deepseek_v4 *d = s->own;
    struct plan_view in = streams(b, d, from), n = build_view(b, BUF_NORM, b->hidden, 0),
                     out = build_view(b, BUF_OUT, b->hidden, 0), weights = weigh(b, d, name, in, d->rounds);

    join(b, d, in, weights);
    build_norm(b, n, build_x(b), norm);
    run(b, s, out, n);
    feed_streams(b, d, streams(b, d, to), in, weights, out);
}

static void whole_layer(struct build *b, struct stack *s)
{
    const struct deepseek_v4 *d = s->own;

    block(b, s, "hc_attn", "attn_norm", BUF_STREAMS, BUF_PREDICTED, attend);
    block(b, s, "hc_ffn", "ffn_norm", BUF_PREDICTED, BUF_STREAMS, feed);
    if (b->layer + 1 < b->layers) return;
    build_top(b);
    join(b, d, streams(b, d, BUF_STREAMS), weigh(b, d, "hc_head", streams(b, d, BUF_STREAMS), 0));
}

/* ---- the config ---- */

/* Of compress_rates, or under its older name. */
static uint32_t rate(struct build *b, enum kind kind, const char *older, uint32_t otherwise)
{
    const json_t *rates = config_field(b->c, "compress_rates", false);
    double x = config_object_number(b->c, rates, "compress_rates", kind_names[kind], otherwise, b->e);

    if (config_gives(b->c, older)) return config_size(b->c, older, 1, EVERY_LIMIT, b->e);
    if (build_ok(b) && !(x >= 1 && x <= EVERY_LIMIT && x == floor(x)))
        config_fault(b->c, b->e, "compress_rates", "%s %g is no whole number from 1 to %u", kind_names[kind], x,
                     EVERY_LIMIT);
    return build_ok(b) ? (uint32_t)x : 1;
}

/* Rules are those of the layers with pooled keys, or of both kinds by name; the attention factor is 1 where they give none. */
static void read_ropes(struct build *b, struct deepseek_v4 *d)
{
    const json_t *both = config_field(b->c, "rope_parameters", false);
    bool named = json_is_object(json_object_get(both, "compress")) && json_is_object(json_object_get(both, "main"));
    uint32_t rotated = config_size_or(b->c, "qk_rope_head_dim", 2, 65536, 0, b->e);
    double share = rotated ? (double)rotated / b->head_dim : 64.0 / 512;
    struct rope_request plain = {.layer_type = "main", .partial = share, .partial_key = true},
                        pooled = {.layer_type = named ? "compress" : "full_attention",
                                  .theta_key = "compress_rope_theta",
                                  .theta = 160000,
                                  .partial = share,
                                  .partial_key = true,
                                  .attention = named ? 0 : 1};

    d->plain = build_rotary(b, plain);
    d->pooled = build_rotary(b, pooled);
    if (!build_ok(b)) return;
    d->pooled_back = d->pooled;
    d->plain_back = d->plain;
    d->pooled_back.index = program_rope_back(b->p, d->pooled.index);
    d->plain_back.index = program_rope_back(b->p, d->plain.index);
    if (d->plain.dim != d->pooled.dim)
        config_fault(b->c, b->e, "rope_parameters", "main rotates %u columns and compress %u", d->plain.dim,
                     d->pooled.dim);
}

static void refuse_other_rules(struct build *b)
{
    static const char *const words[][2] = {{"scoring_func", "sqrtsoftplus"}, {"topk_method", "noaux_tc"}};
    static const char *const flags[] = {"attention_bias", "mlp_bias"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *value = config_string_or(b->c, words[i][0], words[i][1], b->e);

        if (build_ok(b) && strcmp(value, words[i][1]))
            config_fault(b->c, b->e, words[i][0], "\"%.40s\" is not supported, %s is", value, words[i][1]);
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (config_bool_or(b->c, flags[i], false, b->e)) config_fault(b->c, b->e, flags[i], "true is not supported");
    if (!config_bool_or(b->c, "norm_topk_prob", true, b->e))
        config_fault(b->c, b->e, "norm_topk_prob", "false is not supported");
    if (build_ok(b) && b->kv_heads != 1)
        config_fault(b->c, b->e, "num_key_value_heads", "%u, but the family has one key for all heads", b->kv_heads);
}

static void read_sizes(struct build *b, struct deepseek_v4 *d)
{
    d->every[SPARSE] = rate(b, SPARSE, "compress_rate_csa", 4);
    d->every[HEAVY] = rate(b, HEAVY, "compress_rate_hca", 128);
    d->q_rank = config_size_or(b->c, "q_lora_rank", 1, 1u << 20, 1024, b->e);
    d->o_groups = config_size_or(b->c, "o_groups", 1, 65536, 8, b->e);
    d->o_rank = config_size_or(b->c, "o_lora_rank", 1, 65536, 1024, b->e);
    d->window = config_size_or(b->c, "sliding_window", 1, CONFIG_SIZE_MAX, 128, b->e);
    d->index_heads = config_size_or(b->c, "index_n_heads", 1, 65536, 64, b->e);
    d->index_dim = config_size_or(b->c, "index_head_dim", 1, 65536, 128, b->e);
    d->index_top = config_size_or(b->c, "index_topk", 1, 1u << 20, 512, b->e);
    d->streams = config_size_or(b->c, "hc_mult", 1, SINKHORN_STREAMS, 4, b->e);
    d->rounds = config_size_or(b->c, "hc_sinkhorn_iters", 1, 1000, 20, b->e);
    d->hc_eps = (float)config_number_or(b->c, "hc_eps", 1e-6, b->e);
    if (build_ok(b) && b->heads % d->o_groups)
        config_fault(b->c, b->e, "o_groups", "%u groups of %u heads", d->o_groups, b->heads);
    if (build_ok(b) && d->index_dim < d->pooled.dim)
        config_fault(b->c, b->e, "index_head_dim", "%u columns, of which the %u that rotate cannot be", d->index_dim,
                     d->pooled.dim);
}

static void read_experts(struct build *b, struct deepseek_v4 *d)
{
    float limit = (float)config_number_or(b->c, "swiglu_limit", 10, b->e);

    if (build_ok(b) && !(limit > 0))
        config_fault(b->c, b->e, "swiglu_limit", "%g is out of range, it must be greater than 0", (double)limit);
    d->moe = (struct moe){
        .experts = moe_experts(b),
        .top = moe_experts_chosen(b),
        .inter = config_size_or(b->c, "moe_intermediate_size", 1, 1u << 24, 2048, b->e),
        .router = "ffn.gate",
        .correction = "ffn.gate.bias",
        .score = SCORE_SQRT_SOFTPLUS,
        .flags = ROUTER_NORMALIZE,
        .norm_eps = 1e-20f,
        .scale = (float)config_number_or(b->c, "routed_scaling_factor", 1.5, b->e),
        .act = build_activation(b, "hidden_act", ACT_SILU),
        .act_flags = EXPERTS_CLAMP_BEFORE,
        .limit = limit,
        .list = "ffn.experts",
        .gate = "w1",
        .up = "w3",
        .down = "w2",
        .shared = {.gate = "ffn.shared_experts.w1", .up = "ffn.shared_experts.w3", .down = "ffn.shared_experts.w2"}};
    d->moe.shared.inter = moe_shared_inter(b, d->moe.inter);
    d->moe.shared.act = d->moe.act;
    d->moe.shared.limit = limit;
    d->moe.shared.clamp_before = true;
    if (build_ok(b) && d->moe.shared.inter != d->moe.inter)
        config_fault(b->c, b->e, "n_shared_experts", "one shared expert is supported, and no other number");
}

void family_deepseek_v4(struct build *b)
{
    struct deepseek_v4 d = {0};
    struct stack s;

    b->inter_listed = true;
    build_names(b, "", "layers", "embed");
    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    if (build_ok(b)) read_ropes(b, &d);
    refuse_other_rules(b);
    read_sizes(b, &d);
    read_experts(b, &d);
    for (uint32_t k = SPARSE; k < KINDS && build_ok(b); k++) {
        d.starts[k] = d.pooled;
        d.starts[k].index = program_rope_starts(b->p, d.pooled.index, d.every[k]);
    }
    s = stack_llama(b, NULL);
    s.tied = build_tied(b);
    s.embed = "embed";
    s.head = "head";
    s.after_embedding = after_embedding;
    s.whole_layer = whole_layer;
    s.own = &d;
    if (build_ok(b)) stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name names[] = {
    {"attn_norm", "attn_norm", GGUF_AS_IS},
    {"ffn_norm", "ffn_norm", GGUF_AS_IS},
    {"attn_q_a", "attn.wq_a", GGUF_AS_IS},
    {"attn_q_a_norm", "attn.q_norm", GGUF_AS_IS},
    {"attn_q_b", "attn.wq_b", GGUF_AS_IS},
    {"attn_kv", "attn.wkv", GGUF_AS_IS},
    {"attn_kv_a_norm", "attn.kv_norm", GGUF_AS_IS},
    {"attn_output_a", "attn.wo_a", GGUF_AS_IS},
    {"attn_output_b", "attn.wo_b", GGUF_AS_IS},
    {"attn_sinks", "attn.attn_sink", GGUF_BARE},
    {"attn_compressor_kv", "attn.compressor.wkv", GGUF_AS_IS},
    {"attn_compressor_gate", "attn.compressor.wgate", GGUF_AS_IS},
    {"attn_compressor_ape", "attn.compressor.ape", GGUF_BARE},
    {"attn_compressor_norm", "attn.compressor.norm", GGUF_AS_IS},
    {"indexer.attn_q_b", "attn.indexer.wq_b", GGUF_AS_IS},
    {"indexer.proj", "attn.indexer.weights_proj", GGUF_AS_IS},
    {"indexer_compressor_kv", "attn.indexer.compressor.wkv", GGUF_AS_IS},
    {"indexer_compressor_gate", "attn.indexer.compressor.wgate", GGUF_AS_IS},
    {"indexer_compressor_ape", "attn.indexer.compressor.ape", GGUF_BARE},
    {"indexer_compressor_norm", "attn.indexer.compressor.norm", GGUF_AS_IS},
    {"hc_attn_fn", "hc_attn_fn", GGUF_BARE},
    {"hc_attn_base", "hc_attn_base", GGUF_BARE},
    {"hc_attn_scale", "hc_attn_scale", GGUF_BARE},
    {"hc_ffn_fn", "hc_ffn_fn", GGUF_BARE},
    {"hc_ffn_base", "hc_ffn_base", GGUF_BARE},
    {"hc_ffn_scale", "hc_ffn_scale", GGUF_BARE},
    {"ffn_gate_inp", "ffn.gate", GGUF_AS_IS},
    {"ffn_gate_tid2eid", "ffn.gate.tid2eid", GGUF_BARE},
    {"exp_probs_b", "ffn.gate", GGUF_AS_IS},
    {"exp_probs_b_vl", "", GGUF_IGNORED}, /* of pictures */
    {"ffn_gate_exps", "ffn.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "ffn.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "ffn.switch_mlp.down_proj", GGUF_AS_IS},
    {"ffn_gate_shexp", "ffn.shared_experts.w1", GGUF_AS_IS},
    {"ffn_up_shexp", "ffn.shared_experts.w3", GGUF_AS_IS},
    {"ffn_down_shexp", "ffn.shared_experts.w2", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static const struct gguf_name top[] = {
    {"output_hc_fn", "hc_head_fn", GGUF_BARE},
    {"output_hc_base", "hc_head_base", GGUF_BARE},
    {"output_hc_scale", "hc_head_scale", GGUF_BARE},
    {NULL, NULL, 0},
};

static void ratios(struct gguf_values *v)
{
    static const char key[] = "attention.compress_ratios";
    const struct gguf_value *x = gguf_ask(v, key);
    json_t *list;

    if (!x || !x->array || !gguf_is_kind(x, GGUF_INTS) || x->count < v->layers) {
        gguf_refuse(v, key, "a list of one whole number for each of %" PRIu64 " layers was expected", v->layers);
        return;
    }
    list = json_array();
    for (uint64_t i = 0; i < v->layers; i++)
        if (json_array_append_new(list, json_integer((json_int_t)gguf_int(x, i)))) break;
    gguf_set(v, "compress_ratios", list);
}

/* The same for all layers and for the shared expert, in every file. */
static void limits(struct gguf_values *v)
{
    double chosen = 0, shared;

    if (!gguf_value_real(v, "swiglu_clamp_exp", &chosen) || !(chosen > 0))
        gguf_refuse(v, "swiglu_clamp_exp", "a limit above 0 was expected");
    shared = chosen;
    gguf_value_real(v, "swiglu_clamp_shexp", &shared);
    if (shared != chosen)
        gguf_refuse(v, "swiglu_clamp_shexp", "%g, and that of other experts is %g: this is not supported", shared,
                    chosen);
    gguf_set_real(v, "swiglu_limit", chosen);
}

static void deepseek4_config(struct gguf_values *v)
{
    static const char *const sizes[][2] = {{"attention.q_lora_rank", "q_lora_rank"},
                                           {"attention.indexer.head_count", "index_n_heads"},
                                           {"attention.indexer.key_length", "index_head_dim"},
                                           {"attention.indexer.top_k", "index_topk"},
                                           {"attention.output_group_count", "o_groups"},
                                           {"attention.output_lora_rank", "o_lora_rank"},
                                           {"attention.sliding_window", "sliding_window"},
                                           {"hyper_connection.count", "hc_mult"},
                                           {"hyper_connection.sinkhorn_iterations", "hc_sinkhorn_iters"},
                                           {"hash_layer_count", "num_hash_layers"}};
    uint64_t scored = 4;
    bool normed = true;

    gguf_value_int(v, "expert_gating_func", &scored);
    gguf_value_flag(v, "expert_weights_norm", &normed);
    if (scored != 4) gguf_refuse(v, "expert_gating_func", "only 4 is supported for this architecture");
    if (!normed) gguf_refuse(v, "expert_weights_norm", "false is not supported for this architecture");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        gguf_set_int(v, sizes[i][1], gguf_value_needed(v, sizes[i][0]));
    gguf_set_int(v, "qk_rope_head_dim", v->rope_dim);
    gguf_set_int(v, "n_routed_experts", v->experts);
    gguf_set_int(v, "intermediate_size", v->expert_inter); /* no layer is without experts */
    gguf_field_int(v, "expert_shared_count", "n_shared_experts", 1);
    gguf_field_real(v, "expert_weights_scale", "routed_scaling_factor", 1);
    gguf_field_real(v, "attention.compress_rope_freq_base", "compress_rope_theta", 160000);
    gguf_field_real(v, "hyper_connection.epsilon", "hc_eps", 1e-6);
    ratios(v);
    limits(v);
}

const struct gguf_family gguf_deepseek4 = {
    .architecture = "deepseek4",
    .class = "DeepseekV4ForCausalLM",
    .type = "deepseek_v4",
    .names = names,
    .top = top,
    .prefix = "",
    .embed = "embed",
    .head = "head",
    .partial = true,
    .unwritten = true,
    .config = deepseek4_config,
};

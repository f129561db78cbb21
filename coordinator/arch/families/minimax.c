/* MiniMax M3's language model: MiniMax M2's experts beside a shared one, norms with 1 + w, the gated unit of gpt-oss; and
 * attention that sees blocks of keys only, those which an index of its own scores best, for each key head others.
 * Reference: transformers, modeling_minimax_m3_vl.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <string.h>

struct minimax {
    struct moe moe;
    struct mlp dense;
    struct rope_table rope;
    uint32_t heads, dim, block, top, local; /* of the index */
};

/* A size of the index, under its name in sparse_attention_config, which goes before the other one; otherwise: the class's. */
static uint32_t index_size(struct build *b, const char *within, const char *key, uint32_t least, uint32_t otherwise)
{
    const uint32_t most = 65536;
    const json_t *o = config_field(b->c, "sparse_attention_config", false);
    double x;

    if (!json_object_get(o, within)) return config_size_or(b->c, key, least, most, otherwise, b->e);
    x = config_object_number(b->c, o, "sparse_attention_config", within, 0, b->e);
    if (build_ok(b) && !(x >= least && x <= most && x == (double)(uint32_t)x))
        config_fault(b->c, b->e, "sparse_attention_config", "%s %g is no whole number from %u to %u", within, x, least,
                     most);
    return build_ok(b) ? (uint32_t)x : least;
}

/* An entry of a list of ones and zeros, one a layer. */
static bool listed(struct build *b, const json_t *list, const char *key, uint32_t i)
{
    const json_t *x = json_array_get(list, i);

    if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > 1)
        config_fault(b->c, b->e, key, "no 0 or 1 for layer %u", i);
    return build_ok(b) && json_integer_value(x);
}

static bool is_sparse(struct build *b, uint32_t i)
{
    const json_t *freq = json_object_get(config_field(b->c, "sparse_attention_config", false), "sparse_attention_freq");

    if (freq && !config_gives(b->c, "layer_types")) return listed(b, freq, "sparse_attention_freq", i);
    return build_layer_is(b, i, "minimax_m3_sparse", false);
}

static bool has_experts(struct build *b, uint32_t i)
{
    const json_t *freq = config_field(b->c, "moe_layer_freq", false);

    if (freq && !config_field(b->c, "mlp_layer_types", false)) return listed(b, freq, "moe_layer_freq", i);
    return moe_layer_is_sparse(b, i, 0);
}

/* Keys of published files that say what everybody does; another value would be another model. */
static void refuse_other_rules(struct build *b)
{
    static const char *const words[][2] = {{"scoring_func", "sigmoid"}, {"qk_norm_type", "per_head"}},
                             *const flags[] = {"use_gemma_norm", "use_qk_norm", "use_routing_bias"};
    const json_t *sparse = config_field(b->c, "sparse_attention_config", false),
                 *score = json_object_get(sparse, "sparse_score_type");

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *value = config_string_or(b->c, words[i][0], words[i][1], b->e);

        if (build_ok(b) && strcmp(value, words[i][1]))
            config_fault(b->c, b->e, words[i][0], "\"%.40s\" is not supported, %s is", value, words[i][1]);
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (!config_bool_or(b->c, flags[i], true, b->e)) config_fault(b->c, b->e, flags[i], "false is not supported");
    if (sparse && json_is_false(json_object_get(sparse, "use_sparse_attention")))
        config_fault(b->c, b->e, "sparse_attention_config", "use_sparse_attention: false is not supported");
    if (score && (!json_is_string(score) || strcmp(json_string_value(score), "max")))
        config_fault(b->c, b->e, "sparse_attention_config", "sparse_score_type: \"max\" alone is supported");
    if (sparse && config_object_number(b->c, sparse, "sparse_attention_config", "sparse_init_block", 0, b->e) != 0)
        config_fault(b->c, b->e, "sparse_attention_config", "sparse_init_block: 0 alone is supported");
}

static void read_index(struct build *b, struct minimax *m)
{
    bool any = false;

    for (uint32_t i = 0; i < b->layers && !any && build_ok(b); i++) any = is_sparse(b, i);
    if (!any) return;
    m->heads = index_size(b, "sparse_num_index_heads", "index_n_heads", 1, 4);
    m->dim = index_size(b, "sparse_index_dim", "index_head_dim", 1, 128);
    m->block = index_size(b, "sparse_block_size", "index_block_size", 1, 128);
    m->top = index_size(b, "sparse_topk_blocks", "index_topk_blocks", 1, 16);
    m->local = index_size(b, "sparse_local_block", "index_local_blocks", 0, 1);
    if (!build_ok(b)) return;
    if (b->kv_heads % m->heads)
        config_fault(b->c, b->e, "sparse_attention_config",
                     "%u heads of the index cannot choose for %u key heads: these sizes contradict each other",
                     m->heads, b->kv_heads);
    else if (m->local > m->top)
        config_fault(b->c, b->e, "sparse_attention_config", "%u local blocks of %u in all", m->local, m->top);
    else if (m->dim < m->rope.dim)
        config_fault(b->c, b->e, "sparse_attention_config",
                     "%u columns of the index, of which the %u that rotate cannot be", m->dim, m->rope.dim);
}

/* heads of an index, normed and rotated */
static void index_part(struct build *b, const struct minimax *m, struct plan_view dst, struct plan_view src,
                       const char *matrix, const char *norm, uint32_t heads)
{
    build_linear(b, dst, src, matrix, (uint64_t)heads * m->dim, b->hidden, false);
    build_head_norm(b, dst, dst, heads, m->dim, norm);
    build_rope(b, dst, heads, m->dim, &m->rope, ROPE_HALVES);
}

static void choose(struct build *b, const struct minimax *m, struct attention *a, struct plan_view src)
{
    struct op_index o = {.q = build_view(b, BUF_GATE, (uint64_t)m->heads * m->dim, 0),
                         .k = build_view(b, BUF_UP, m->dim, 0),
                         .w = VIEW_NONE,
                         .dst = build_view(b, BUF_CHOSEN, m->heads * (UINT64_C(1) + m->top), 0),
                         .heads = m->heads,
                         .groups = m->heads,
                         .dim = m->dim,
                         .block = m->block,
                         .top = m->top,
                         .local = m->local,
                         .scale = 1};

    index_part(b, m, o.q, src, "self_attn.index_q_proj", "self_attn.index_q_norm", m->heads);
    index_part(b, m, o.k, src, "self_attn.index_k_proj", "self_attn.index_k_norm", 1);
    o.cache = program_cache(b->p, m->dim, 0);
    if (build_ok(b)) program_op(b->p, OP_INDEX, b->layer)->index = o;
    a->chosen = o.dst;
    a->chosen_groups = m->heads;
    a->chosen_top = m->top;
    a->chosen_block = m->block;
}

static void attend(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    struct attention a = s->attention;

    if (is_sparse(b, b->layer)) choose(b, s->own, &a, src);
    stack_attention(b, &a, dst, src);
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct minimax *m = s->own;

    if (has_experts(b, b->layer))
        stack_moe(b, &m->moe, dst, src);
    else
        stack_mlp(b, &m->dense, dst, src);
}

static void read_units(struct build *b, struct minimax *m)
{
    float alpha = (float)config_number_or(b->c, "swiglu_alpha", 1.702, b->e),
          limit = (float)config_number_or(b->c, "swiglu_limit", 7, b->e);

    m->dense = (struct mlp){.gate = "mlp.gate_proj", .up = "mlp.up_proj", .down = "mlp.down_proj"};
    m->dense.inter = config_size(b->c, "dense_intermediate_size", 1, 1u << 24, b->e);
    m->moe = (struct moe){.experts = moe_experts(b),
                          .top = moe_experts_chosen(b),
                          .inter = b->inter,
                          .router = "block_sparse_moe.gate",
                          .correction = "block_sparse_moe.e_score_correction_bias",
                          .score = SCORE_SIGMOID,
                          .flags = ROUTER_NORMALIZE,
                          .scale = (float)config_number_or(b->c, "routed_scaling_factor", 1, b->e),
                          .act = ACT_SWIGLU_OAI,
                          .alpha = alpha,
                          .limit = limit,
                          .list = "block_sparse_moe.experts",
                          .gate = "w1",
                          .up = "w3",
                          .down = "w2",
                          .shared = {.gate = "block_sparse_moe.shared_experts.gate_proj",
                                     .up = "block_sparse_moe.shared_experts.up_proj",
                                     .down = "block_sparse_moe.shared_experts.down_proj"}};
    m->moe.shared.inter = config_size(b->c, "shared_intermediate_size", 1, 1u << 24, b->e);
    m->moe.shared.act = m->dense.act = ACT_SWIGLU_OAI;
    m->moe.shared.alpha = m->dense.alpha = alpha;
    m->moe.shared.limit = m->dense.limit = limit;
}

void family_minimax_m3(struct build *b)
{
    struct minimax m = {0};
    uint32_t rotated;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    b->weight_add = b->t->changes.norms_whole ? 0 : 1;
    rotated = config_size_or(b->c, "rotary_dim", 2, 65536, b->head_dim, b->e);
    m.rope = build_rotary(b, (struct rope_request){.partial = (double)rotated / b->head_dim, .partial_key = true});
    refuse_other_rules(b);
    read_index(b, &m);
    read_units(b, &m);
    s = stack_llama(b, &m.rope);
    s.attention.norm = QK_HEAD;
    s.tied = build_tied(b);
    s.own = &m;
    s.attend = attend;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name names[] = {
    {"ffn_gate_inp", "block_sparse_moe.gate", GGUF_AS_IS},
    {"exp_probs_b", "block_sparse_moe.e_score_correction_bias", GGUF_BARE},
    {"ffn_gate_exps", "block_sparse_moe.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "block_sparse_moe.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "block_sparse_moe.switch_mlp.down_proj", GGUF_AS_IS},
    {"ffn_gate_shexp", "block_sparse_moe.shared_experts.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "block_sparse_moe.shared_experts.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "block_sparse_moe.shared_experts.down_proj", GGUF_AS_IS},
    {"indexer.q_proj", "self_attn.index_q_proj", GGUF_AS_IS},
    {"indexer.k_proj", "self_attn.index_k_proj", GGUF_AS_IS},
    {"indexer.q_norm", "self_attn.index_q_norm", GGUF_AS_IS},
    {"indexer.k_norm", "self_attn.index_k_norm", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* The unit's numbers are llama.cpp's: no file says them. */
static void config(struct gguf_values *v)
{
    static const char *const index[][2] = {{"attention.indexer.head_count", "index_n_heads"},
                                           {"attention.indexer.key_length", "index_head_dim"},
                                           {"attention.indexer.block_size", "index_block_size"},
                                           {"attention.indexer.top_k", "index_topk_blocks"},
                                           {"attention.indexer.local_blocks", "index_local_blocks"}};
    uint64_t scored = 2, dense = 0, shared = 1;
    bool normed = true;

    gguf_value_int(v, "expert_gating_func", &scored);
    gguf_value_flag(v, "expert_weights_norm", &normed);
    if (scored != 2) gguf_refuse(v, "expert_gating_func", "only 2 (sigmoid) is supported for this architecture");
    if (!normed) gguf_refuse(v, "expert_weights_norm", "false is not supported for this architecture");
    for (size_t i = 0; i < sizeof index / sizeof *index; i++)
        gguf_set_int(v, index[i][1], gguf_value_needed(v, index[i][0]));
    gguf_value_int(v, "feed_forward_length", &dense);
    gguf_value_int(v, "expert_shared_count", &shared);
    gguf_set_int(v, "dense_intermediate_size", dense);
    gguf_set_int(v, "intermediate_size", v->expert_inter);
    gguf_set_int(v, "shared_intermediate_size", v->expert_inter * shared);
    gguf_set_int(v, "rotary_dim", v->rope_dim);
    gguf_field_real(v, "expert_weights_scale", "routed_scaling_factor", 1);
    gguf_layers_having(v, "indexer.q_proj.weight", "layer_types", "minimax_m3_sparse", "full_attention");
    gguf_layers_having(v, "ffn_gate_inp.weight", "mlp_layer_types", "sparse", "dense");
    gguf_set_real(v, "swiglu_alpha", 1.702);
    gguf_set_real(v, "swiglu_limit", 7);
}

const struct gguf_family gguf_minimax_m3 = {
    .architecture = "minimax-m3",
    .class = "MiniMaxM3SparseForConditionalGeneration",
    .type = "minimax_m3_vl_text",
    .names = names,
    .changes = {.norms_whole = true},
    .partial = true,
    .unwritten = true,
    .config = config,
};

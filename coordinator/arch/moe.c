/* What several families with experts have in common. */
#include "coordinator/arch/stack.h"

#include <stdio.h>
#include <string.h>

#define EXPERTS_LIMIT 65536u
#define COLUMNS_LIMIT (1u << 24)

/* Of the names that a size has among the families, the one that the config gives, else the one that its class has; the
 * first where there is none. */
static uint32_t size_named(struct build *b, const char *const *names, size_t n)
{
    for (size_t i = 0; i < 2 * n; i++)
        if ((i >= n || config_gives(b->c, names[i])) && config_field(b->c, names[i % n], false))
            return config_size(b->c, names[i % n], 1, EXPERTS_LIMIT, b->e);
    return config_size(b->c, names[0], 1, EXPERTS_LIMIT, b->e);
}

uint32_t moe_experts(struct build *b)
{
    static const char *const names[] = {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"};

    return size_named(b, names, sizeof names / sizeof *names);
}

uint32_t moe_experts_chosen(struct build *b)
{
    static const char *const names[] = {"num_experts_per_tok", "moe_k", "moe_topk"};

    return size_named(b, names, sizeof names / sizeof *names);
}

uint32_t moe_shared_inter(struct build *b, uint32_t inter)
{
    static const char *const names[] = {"n_shared_experts", "num_shared_experts", "moe_num_shared_experts"};
    size_t i = 0;
    uint64_t n;

    while (i < 2 && !config_field(b->c, names[i], false)) i++;
    n = (uint64_t)config_size_or(b->c, names[i], 0, 1024, 0, b->e) * inter;
    if (n > COLUMNS_LIMIT)
        config_fault(b->c, b->e, names[i], "%llu columns of shared experts are out of range", (unsigned long long)n);
    return build_ok(b) ? (uint32_t)n : 0;
}

bool moe_layer_is_sparse(struct build *b, uint32_t i, uint32_t dense_layers)
{
    const char *s;

    if (!config_field(b->c, "mlp_layer_types", false)) return i >= dense_layers;
    s = config_list_string(b->c, "mlp_layer_types", i, b->e);
    if (!s)
        config_fault(b->c, b->e, "mlp_layer_types", "no entry for layer %u", i);
    else if (strcmp(s, "sparse") && strcmp(s, "dense"))
        config_fault(b->c, b->e, "mlp_layer_types", "layer %u is \"%.40s\"; sparse and dense are known", i, s);
    return s && !strcmp(s, "sparse");
}

bool moe_qwen_layer(struct build *b, uint32_t i)
{
    uint32_t step = config_size_or(b->c, "decoder_sparse_step", 1, EXPERTS_LIMIT, 1, b->e);
    size_t n = json_array_size(config_field(b->c, "mlp_only_layers", false));

    for (size_t k = 0; k < n; k++)
        if (config_list_int(b->c, "mlp_only_layers", k, -1, b->e) == i) return false;
    return (i + 1) % step == 0;
}

/* Fused experts are stored [experts][2 inter][hidden], or the other way round. */
void moe_find_fused(struct build *b, struct moe *m, uint32_t i)
{
    char name[BUILD_NAME_BYTES];
    const struct tensor *t;

    snprintf(name, sizeof name, "%s%s.%u.mlp.experts.gate_up_proj", b->prefix, b->layers_name, i);
    t = tensors_find(b->t, name);
    if (!t) return;
    m->fused_gate_up = "mlp.experts.gate_up_proj";
    m->fused_down = "mlp.experts.down_proj";
    m->transposed = t->dims == 3 && t->shape[1] == b->hidden && t->shape[2] == 2 * (uint64_t)m->inter;
}

struct moe moe_named(struct build *b)
{
    return (struct moe){.experts = moe_experts(b),
                        .top = moe_experts_chosen(b),
                        .router = "mlp.gate",
                        .score = SCORE_SOFTMAX,
                        .scale = 1,
                        .list = "mlp.experts",
                        .gate = "gate_proj",
                        .up = "up_proj",
                        .down = "down_proj",
                        .shared = {.gate = "mlp.shared_experts.gate_proj",
                                   .up = "mlp.shared_experts.up_proj",
                                   .down = "mlp.shared_experts.down_proj"}};
}

struct moe moe_qwen(struct build *b)
{
    struct moe m = moe_named(b);

    m.inter = config_size(b->c, "moe_intermediate_size", 1, 1u << 24, b->e);
    m.act = build_activation(b, "hidden_act", ACT_SILU);
    if (config_bool_or(b->c, "norm_topk_prob", true, b->e)) m.flags = ROUTER_NORMALIZE;
    for (uint32_t i = 0; i < b->layers && build_ok(b); i++) {
        if (!moe_qwen_layer(b, i)) continue;
        moe_find_fused(b, &m, i);
        break;
    }
    return m;
}

void moe_qwen_shared(struct build *b, struct moe *m)
{
    m->shared = (struct mlp){.gate = "mlp.shared_expert.gate_proj",
                             .up = "mlp.shared_expert.up_proj",
                             .down = "mlp.shared_expert.down_proj",
                             .act = m->act};
    m->shared.inter = config_size(b->c, "shared_expert_intermediate_size", 1, 1u << 24, b->e);
    m->shared_gate = "mlp.shared_expert_gate";
}

#include "coordinator/arch/stack.h"

#include <stdio.h>
#include <string.h>

/* mlx's conversions, and GGUF files, stack each kind of matrix of a layer's experts: "mlp.switch_mlp.gate_proj.weight" for what is
 * "mlp.experts.0.gate_proj.weight" and so on elsewhere. False: this layer's are not. */
static bool stacked_list(struct build *b, const struct moe *m, char *out, size_t bytes)
{
    const char *end = m->list ? strstr(m->list, "experts") : NULL;
    char full[BUILD_NAME_BYTES];

    if (m->stacks) {
        snprintf(out, bytes, "%s", m->stacks);
        return true;
    }
    if (!end) return false;
    snprintf(out, bytes, "%.*sswitch_mlp", (int)(end - m->list), m->list);
    snprintf(full, sizeof full, "%s.%s.weight", out, m->gate || m->fused_gate_up ? "gate_proj" : "up_proj");
    return build_has(b, full);
}

static void add_stacked_expert(struct build *b, const struct moe *m, const char *list, uint32_t e)
{
    static const char *const names[3] = {"gate_proj", "up_proj", "down_proj"};
    uint32_t hidden = m->hidden ? m->hidden : b->hidden;
    char full[BUILD_NAME_BYTES];

    for (int i = m->gate || m->fused_gate_up || m->stacks ? 0 : 1; i < 3; i++) {
        snprintf(full, sizeof full, "%s.%s.weight", list, names[i]);
        build_stacked(b, full, e, m->experts, i < 2 ? m->inter : hidden, i < 2 ? hidden : m->inter);
    }
}

static void add_stacked_biases(struct build *b, const struct moe *m, const char *list)
{
    static const char *const names[3] = {"gate_proj", "up_proj", "down_proj"};
    char full[BUILD_NAME_BYTES];

    for (uint32_t e = 0; e < m->experts && build_ok(b); e++)
        for (int i = 0; i < 3; i++) {
            snprintf(full, sizeof full, "%s.%s.bias", list, names[i]);
            build_stacked_vector(b, full, e, m->experts, i < 2 ? m->inter : b->hidden);
        }
}

/* The matrices of one expert, in the order of struct plan_experts. Indices must follow each other, so nothing else may
 * be added to the program in between. */
static void add_list_expert(struct build *b, const struct moe *m, uint32_t e)
{
    const char *names[3] = {m->gate, m->up, m->down};
    uint32_t hidden = m->hidden ? m->hidden : b->hidden;
    char full[BUILD_NAME_BYTES];

    for (int i = m->gate ? 0 : 1; i < 3; i++) {
        snprintf(full, sizeof full, "%s.%u.%s", m->list, e, names[i]);
        build_matrix_either(b, full, i < 2 ? m->inter : hidden, i < 2 ? hidden : m->inter);
    }
}

/* Whether the table's matrices are stored [inputs][outputs]; all of them are, or none. */
static bool turned_experts(struct build *b, uint32_t matrix0)
{
    uint32_t n = (uint32_t)b->p->matrices.count;
    bool turned = build_is_turned(b, matrix0);

    for (uint32_t i = matrix0; i < n && build_ok(b); i++)
        if (build_is_turned(b, i) != turned)
            build_fault(b,
                        "%s: of the experts under %s some are quantized by AWQ or GPTQ and some are not, which is not "
                        "supported: take the model's bfloat16 or FP8 folder",
                        b->t->folder, b->base);
    return turned;
}

/* Of all layers together: five times what the largest published models have. A config whose weights are not there may claim
 * any number, and each of them takes memory in the plan. */
#define EXPERTS_MOST (UINT64_C(1) << 17)

static void refuse_too_many_experts(struct build *b, const struct moe *m)
{
    if ((uint64_t)m->experts * b->layers > EXPERTS_MOST)
        build_fault(b, "%s: %u experts in each of %u layers are more than %llu in all: is it the right file?",
                    b->c->path, m->experts, b->layers, (unsigned long long)EXPERTS_MOST);
}

/* Experts that the file has and config.json does not count would never be chosen, and the answers be wrong. */
static void refuse_more_experts(struct build *b, const struct moe *m)
{
    char full[BUILD_NAME_BYTES];

    for (uint32_t e = m->experts; e < m->experts + m->identity; e++) {
        snprintf(full, sizeof full, "%s.%u.%s.weight", m->list, e, m->gate);
        build_leave_out(b, full);
        snprintf(full, sizeof full, "%s.%u.%s.weight", m->list, e, m->up);
        build_leave_out(b, full);
    }
    snprintf(full, sizeof full, "%s.%u.%s.weight", m->list, m->experts + m->identity, m->gate ? m->gate : m->up);
    if (build_ok(b) && build_has(b, full))
        build_fault(
            b, "%s: tensor %s%s is there, but %s counts %u experts: the file and config.json do not belong together",
            b->t->folder, b->base, full, b->c->path, m->experts);
}

static void add_fused_expert(struct build *b, const struct moe *m, uint32_t e)
{
    uint64_t in = b->hidden, mid = m->inter;

    if (m->mxfp4) {
        build_mxfp4(b, m->fused_gate_up, e, m->experts, 2 * mid, in);
        build_mxfp4(b, m->fused_down, e, m->experts, in, mid);
    } else if (m->transposed) {
        build_stacked(b, m->fused_gate_up, e, m->experts, in, 2 * mid);
        build_stacked(b, m->fused_down, e, m->experts, mid, in);
    } else {
        build_stacked(b, m->fused_gate_up, e, m->experts, 2 * mid, in);
        build_stacked(b, m->fused_down, e, m->experts, in, mid);
    }
}

static uint32_t expert_table(struct build *b, const struct moe *m)
{
    char list[128];
    bool stacked = stacked_list(b, m, list, sizeof list), fused = m->fused_gate_up && !stacked;
    struct plan_experts x = {.experts = m->experts,
                             .hidden = m->hidden ? m->hidden : b->hidden,
                             .inter = m->inter,
                             .max_used = m->top,
                             .identity = m->identity,
                             .matrix0 = (uint32_t)b->p->matrices.count,
                             .fused = fused,
                             .interleaved = fused && m->interleaved,
                             .transposed = fused && m->transposed && !m->mxfp4,
                             .biased = m->fused_gate_up_bias != NULL};

    refuse_too_many_experts(b, m);
    if (stacked) {
        for (uint32_t e = 0; e < m->experts && build_ok(b); e++) add_stacked_expert(b, m, list, e);
        if (!m->gate && !m->fused_gate_up && !m->stacks) x.fused = EXPERTS_UNGATED;
    } else {
        for (uint32_t e = 0; e < m->experts && build_ok(b); e++)
            (x.fused ? add_fused_expert : add_list_expert)(b, m, e);
        if (!x.fused) refuse_more_experts(b, m);
        if (!m->gate && !x.fused) x.fused = EXPERTS_UNGATED;
        if (x.fused != 1) x.transposed = turned_experts(b, x.matrix0);
    }
    x.bias0 = (uint32_t)b->p->vectors.count;
    if (x.biased && stacked) add_stacked_biases(b, m, list);
    for (uint32_t e = 0; e < m->experts && x.biased && !stacked && build_ok(b); e++) {
        build_stacked_vector(b, m->fused_gate_up_bias, e, m->experts, 2 * (uint64_t)m->inter);
        build_stacked_vector(b, m->fused_down_bias, e, m->experts, b->hidden);
    }
    return build_ok(b) ? program_experts(b->p, &x) : 0;
}

static void route(struct build *b, const struct moe *m, uint32_t table, struct plan_view src)
{
    uint32_t all = m->experts + m->identity;
    struct plan_view logits = build_view(b, BUF_ROUTER, all, 0);
    struct op_router o = {.src = logits,
                          .experts = all,
                          .top = m->top,
                          .groups = m->groups,
                          .top_groups = m->top_groups,
                          .bias = PLAN_NONE,
                          .score = m->score,
                          .flags = m->flags,
                          .table = table,
                          .scale = m->scale,
                          .eps = m->norm_eps};

    build_linear(b, logits, src, m->router, all, b->hidden, m->router_bias);
    if (m->correction) o.bias = build_vector(b, m->correction, all);
    if (m->by_token) {
        o.fixed = build_choices(b, m->by_token, b->vocab, m->top, all);
        o.flags |= ROUTER_BY_TOKEN;
    }
    if (m->each) {
        o.each = build_vector(b, m->each, all);
        o.flags |= ROUTER_SCALE_EACH;
    }
    if (build_ok(b)) program_op(b->p, OP_ROUTER, b->layer)->router = o;
}

/* The shared expert, computed while the chosen ones are on their way. Beside attention, BUF_OUT2 is where all of it goes. */
static struct plan_view shared(struct build *b, const struct moe *m, struct plan_view dst, struct plan_view src)
{
    enum build_buffer which = dst.buf == build_view(b, BUF_OUT2, b->hidden, 0).buf ? BUF_A : BUF_OUT2;
    struct plan_view out = build_view(b, which, b->hidden, 0), gate;

    stack_mlp(b, &m->shared, out, src);
    if (!m->shared_gate) return out;
    gate = build_view(b, BUF_T2, 1, 0);
    build_linear(b, gate, src, m->shared_gate, 1, b->hidden, false);
    build_act(b, out, gate, out, b->hidden, ACT_SIGMOID, ACT_BROADCAST);
    return out;
}

uint32_t stack_route(struct build *b, const struct moe *m, struct plan_view src)
{
    uint32_t table;

    if (!m->top || m->top > m->experts) {
        build_fault(b, "%s: %u experts for each token of %u there are: these sizes contradict each other", b->c->path,
                    m->top, m->experts);
        return 0;
    }
    if (m->groups && (m->experts % m->groups || !m->top_groups || m->top_groups > m->groups ||
                      m->top > m->experts / m->groups * m->top_groups)) {
        build_fault(b,
                    "%s: %u experts in %u groups, %u of them chosen, for %u experts each token: these sizes contradict "
                    "each other",
                    b->c->path, m->experts, m->groups, m->top_groups, m->top);
        return 0;
    }
    table = expert_table(b, m);
    route(b, m, table, src);
    return table;
}

void stack_experts(struct build *b, const struct moe *m, uint32_t table, struct plan_view dst, struct plan_view src)
{
    if (build_ok(b))
        program_op(b->p, OP_EXPERTS, b->layer)->experts = (struct op_experts){.src = src,
                                                                              .dst = dst,
                                                                              .table = table,
                                                                              .act = m->act,
                                                                              .flags = m->act_flags,
                                                                              .alpha = m->alpha,
                                                                              .limit = m->limit};
}

void stack_moe(struct build *b, const struct moe *m, struct plan_view dst, struct plan_view src)
{
    uint32_t table = stack_route(b, m, src);
    struct plan_view out2 = VIEW_NONE;
    float part = m->averaged ? 0.5f : 1;

    if (m->shared.inter) out2 = shared(b, m, dst, src);
    stack_experts(b, m, table, dst, src);
    if (m->shared.inter) build_add(b, dst, dst, out2, b->hidden, part, part);
}

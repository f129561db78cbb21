/* Jamba: most layers mix by a selective state space with a step for each channel (Mamba, with norms on steps, B and C), the
 * others by attention without positions; experts in some layers. Reference: transformers, modeling_jamba.py. */
#include "coordinator/arch/families/mamba.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct jamba {
    struct moe moe;
    uint32_t inner, states, rank, taps, act;
    uint32_t attention_period, attention_offset, expert_period, expert_offset;
    bool conv_bias, bias;
};

static struct plan_view convolve(struct build *b, const struct jamba *f, struct plan_view src)
{
    struct op_conv o = {.src = src,
                        .dst = build_view(b, BUF_V, f->inner, 0),
                        .width = f->inner,
                        .taps = f->taps,
                        .bias = PLAN_NONE,
                        .act = f->act};

    o.weight = build_vector(b, "mamba.conv1d.weight", (uint64_t)f->inner * f->taps);
    if (f->conv_bias) o.bias = build_vector(b, "mamba.conv1d.bias", f->inner);
    o.state = program_state(b->p, (uint64_t)(f->taps - 1) * f->inner);
    if (build_ok(b)) program_op(b->p, OP_CONV, b->layer)->conv = o;
    return o.dst;
}

static void scan(struct build *b, const struct jamba *f, struct plan_view out, struct plan_view x)
{
    uint64_t low = (uint64_t)f->rank + 2 * (uint64_t)f->states;
    struct plan_view parts = build_view(b, BUF_K, low, 0), dt = build_view(b, BUF_T1, f->inner, 0);
    struct op_scan o = {.x = x,
                        .dt = dt,
                        .b = view_at(parts, f->rank),
                        .c = view_at(parts, (uint64_t)f->rank + f->states),
                        .dst = out,
                        .heads = 1,
                        .width = f->inner,
                        .groups = 1,
                        .states = f->states,
                        .flags = SCAN_CHANNELS | (b->t->changes.decay ? SCAN_RATES : 0),
                        .dt_most = INFINITY};

    build_linear(b, parts, x, "mamba.x_proj", low, f->inner, false);
    build_head_norm(b, parts, parts, 1, f->rank, "mamba.dt_layernorm");
    build_head_norm(b, o.b, o.b, 1, f->states, "mamba.b_layernorm");
    build_head_norm(b, o.c, o.c, 1, f->states, "mamba.c_layernorm");
    build_linear(b, dt, parts, "mamba.dt_proj", f->inner, f->rank, false);
    o.a_log = build_vector(b, "mamba.A_log", (uint64_t)f->inner * f->states);
    o.dt_bias = build_vector(b, "mamba.dt_proj.bias", f->inner);
    o.skip = build_vector(b, "mamba.D", f->inner);
    o.state = program_state(b->p, (uint64_t)f->inner * f->states);
    if (build_ok(b)) program_op(b->p, OP_SCAN, b->layer)->scan = o;
}

static void mix(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct jamba *f = s->own;
    struct plan_view xz = build_view(b, BUF_Q, 2 * (uint64_t)f->inner, 0), out = build_view(b, BUF_A, f->inner, 0);

    build_linear(b, xz, src, "mamba.in_proj", 2 * (uint64_t)f->inner, b->hidden, f->bias);
    scan(b, f, out, convolve(b, f, xz));
    build_act(b, out, view_at(xz, f->inner), out, f->inner, ACT_SILU, 0);
    build_linear(b, dst, out, "mamba.out_proj", b->hidden, f->inner, f->bias);
}

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct jamba *f = s->own;

    (void)b;
    s->attend = i % f->attention_period == f->attention_offset ? NULL : mix;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct jamba *f = s->own;

    if (f->moe.experts > 1 && b->layer % f->expert_period == f->expert_offset)
        stack_moe(b, &f->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

/* Every so many layers, one of a kind. */
static void read_period(struct build *b, const char *period_key, const char *offset_key, uint32_t *period,
                        uint32_t *offset, const uint32_t usual[2])
{
    *period = config_size_or(b->c, period_key, 1, 65536, usual[0], b->e);
    *offset = config_size_or(b->c, offset_key, 0, 65536, usual[1], b->e);
    if (build_ok(b) && *offset >= *period)
        config_fault(b->c, b->e, offset_key, "%u is not below %s, which is %u", *offset, period_key, *period);
}

static void read_mixer(struct build *b, struct jamba *f)
{
    const json_t *rank = config_field(b->c, "mamba_dt_rank", false);
    uint64_t inner = (uint64_t)config_size_or(b->c, "mamba_expand", 1, 64, 2, b->e) * b->hidden;

    if (inner > 1u << 24)
        config_fault(b->c, b->e, "mamba_expand", "%llu columns are out of range", (unsigned long long)inner);
    f->inner = (uint32_t)inner;
    f->states = config_size_or(b->c, "mamba_d_state", 1, 4096, 16, b->e);
    f->taps = config_size_or(b->c, "mamba_d_conv", 2, 64, 4, b->e);
    f->rank = (b->hidden + 15) / 16;
    if (rank && !(json_is_string(rank) && !strcmp(json_string_value(rank), "auto")))
        f->rank = config_size(b->c, "mamba_dt_rank", 1, 1u << 24, b->e);
    f->conv_bias = config_bool_or(b->c, "mamba_conv_bias", true, b->e);
    f->bias = config_bool_or(b->c, "mamba_proj_bias", false, b->e);
}

void family_jamba(struct build *b)
{
    static const uint32_t attention[2] = {8, 4}, experts[2] = {2, 1};
    struct jamba f = {0};
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    s = stack_llama(b, NULL);
    s.mlp = (struct mlp){.gate = "feed_forward.gate_proj",
                         .up = "feed_forward.up_proj",
                         .down = "feed_forward.down_proj",
                         .inter = b->inter,
                         .act = build_activation(b, "hidden_act", ACT_SILU)};
    s.before_mlp = "pre_ff_layernorm";
    s.final_norm = "final_layernorm";
    s.tied = build_tied(b);
    f.act = s.mlp.act;
    read_mixer(b, &f);
    read_period(b, "attn_layer_period", "attn_layer_offset", &f.attention_period, &f.attention_offset, attention);
    read_period(b, "expert_layer_period", "expert_layer_offset", &f.expert_period, &f.expert_offset, experts);
    f.moe = (struct moe){.experts = moe_experts(b),
                         .top = moe_experts_chosen(b),
                         .inter = b->inter,
                         .router = "feed_forward.router",
                         .score = SCORE_SOFTMAX,
                         .scale = 1,
                         .act = s.mlp.act,
                         .list = "feed_forward.experts",
                         .gate = "gate_proj",
                         .up = "up_proj",
                         .down = "down_proj"};
    s.own = &f;
    s.before_layer = before_layer;
    s.feed = feed;
    if (build_ok(b)) stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name names[] = {
    {"ssm_dt", "mamba.dt_proj", GGUF_AS_IS}, /* before Mamba-2's, which has a bias alone */
    MAMBA_NAMES("mamba"),
    {"ssm_x", "mamba.x_proj", GGUF_AS_IS},
    {"ssm_dt_norm", "mamba.dt_layernorm", GGUF_AS_IS},
    {"ssm_b_norm", "mamba.b_layernorm", GGUF_AS_IS},
    {"ssm_c_norm", "mamba.c_layernorm", GGUF_AS_IS},
    {"ffn_norm", "pre_ff_layernorm", GGUF_AS_IS},
    {"ffn_gate", "feed_forward.gate_proj", GGUF_AS_IS},
    {"ffn_up", "feed_forward.up_proj", GGUF_AS_IS},
    {"ffn_down", "feed_forward.down_proj", GGUF_AS_IS},
    {"ffn_gate_inp", "feed_forward.router", GGUF_AS_IS},
    {"ffn_gate_exps", "feed_forward.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "feed_forward.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "feed_forward.switch_mlp.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static bool layer_attends(struct gguf_values *v, uint64_t i)
{
    return gguf_mixed_has(v, "attention.head_count_kv", i);
}

static bool layer_has_experts(struct gguf_values *v, uint64_t i)
{
    char name[64];

    snprintf(name, sizeof name, "blk.%" PRIu64 ".ffn_gate_inp.weight", i);
    return gguf_tensor(v->g, name);
}

/* Every so many layers is one of a kind: which, and how many that is. false: no layer is. */
static bool find_period(struct gguf_values *v, bool (*is)(struct gguf_values *, uint64_t), const char *key,
                        const char *period_field, const char *offset_field)
{
    uint64_t first = v->layers, period = 0;

    for (uint64_t i = 0; i < v->layers && !period; i++) {
        if (!is(v, i)) continue;
        if (first == v->layers)
            first = i;
        else
            period = i - first;
    }
    if (!period) period = v->layers;
    if (first == v->layers) return false;
    for (uint64_t i = 0; i < v->layers; i++)
        if (is(v, i) != (i % period == first)) {
            gguf_refuse(v, key, "layer %" PRIu64 " is not as every %" PRIu64 "th before it, which is not supported", i,
                        period);
            break;
        }
    gguf_set_int(v, period_field, period);
    gguf_set_int(v, offset_field, first);
    return true;
}

static void read_scan(struct gguf_values *v)
{
    uint64_t inner = gguf_value_needed(v, "ssm.inner_size");

    if (!v->e->code && (!v->hidden || inner % v->hidden))
        gguf_refuse(v, "ssm.inner_size", "%" PRIu64 " columns are no multiple of the %" PRIu64 " of a layer", inner,
                    v->hidden);
    if (v->e->code) return;
    gguf_set_int(v, "mamba_expand", inner / v->hidden);
    gguf_set_int(v, "mamba_d_state", gguf_value_needed(v, "ssm.state_size"));
    gguf_set_int(v, "mamba_d_conv", gguf_value_needed(v, "ssm.conv_kernel"));
    gguf_set_int(v, "mamba_dt_rank", gguf_value_needed(v, "ssm.time_step_rank"));
    gguf_set_flag(v, "mamba_conv_bias", gguf_layer_has(v, "ssm_conv1d.bias"));
    gguf_set_flag(v, "mamba_proj_bias", gguf_layer_has(v, "ssm_in.bias"));
}

static void config(struct gguf_values *v)
{
    read_scan(v);
    find_period(v, layer_attends, "attention.head_count_kv", "attn_layer_period", "attn_layer_offset");
    gguf_set_int(v, "num_experts", v->experts);
    if (!find_period(v, layer_has_experts, "expert_count", "expert_layer_period", "expert_layer_offset"))
        gguf_set_int(v, "num_experts", 1);
}

const struct gguf_family gguf_jamba = {
    .architecture = "jamba",
    .class = "JambaForCausalLM",
    .type = "jamba",
    .names = names,
    .norm = "final_layernorm",
    .changes = {.decay = true},
    .mixed = true,
    .unwritten = true,
    .config = config,
};

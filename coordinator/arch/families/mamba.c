/* The mixers of mamba.h, and Mamba 2 as it was published with nothing else in a layer. */
#include "coordinator/arch/families/mamba.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

#define HEADS_LIMIT   65536u
#define COLUMNS_LIMIT (1u << 24)
#define STATES_LIMIT  4096u

/* ---- Mamba-2 ---- */

void mamba_step_limits(struct build *b, const char *key, float *least, float *most)
{
    const json_t *pair = config_field(b->c, key, false);
    double x[2] = {0, (double)INFINITY};

    for (size_t i = 0; pair && i < 2; i++) x[i] = json_numeric_value(json_array_get(pair, i));
    if (pair && (json_array_size(pair) != 2 || !(x[0] >= 0 && x[0] <= x[1] && x[0] < (double)FLT_MAX)))
        config_fault(b->c, b->e, key, "two numbers were expected, the least and the largest step");
    *least = (float)x[0];
    *most = x[1] > (double)FLT_MAX ? INFINITY : (float)x[1];
}

bool mamba_layer(struct build *b, uint32_t i)
{
    static const char *const names[] = {"mamba", "linear_attention", "attention", "full_attention"};
    const char *s = config_list_string(b->c, "layer_types", i, b->e);
    size_t k = 0;

    if (!config_field(b->c, "layer_types", false)) return true;
    while (s && k < 4 && strcmp(s, names[k])) k++;
    if (!s || k == 4) config_fault(b->c, b->e, "layer_types", "layer %u is of no known kind", i);
    return k < 2;
}

void mamba2_check(struct build *b, const struct mamba2 *m, uint64_t inner, const char *heads)
{
    if (!build_ok(b)) return;
    if ((uint64_t)m->heads * m->width != inner)
        config_fault(b->c, b->e, heads, "%u heads of %u columns are not the %llu columns of the mixer", m->heads,
                     m->width, (unsigned long long)inner);
    else if (m->heads % m->groups)
        config_fault(b->c, b->e, heads, "%u is not divisible by the %u groups", m->heads, m->groups);
}

struct mamba2 mamba2_sizes(struct build *b, uint64_t inner)
{
    const json_t *width = config_field(b->c, "mamba_d_head", false);
    bool given = width && !(json_is_string(width) && !strcmp(json_string_value(width), "auto"));
    struct mamba2 m = {.name = "mamba", .in = 1, .times = {1, 1, 1, 1, 1}, .out = 1};

    m.heads = config_size_or(b->c, "mamba_n_heads", 1, HEADS_LIMIT, 128, b->e);
    m.width = given ? config_size(b->c, "mamba_d_head", 1, COLUMNS_LIMIT, b->e) : 0;
    if (!given && build_ok(b)) m.width = (uint32_t)(inner / m.heads);
    m.groups = config_size_or(b->c, "mamba_n_groups", 1, HEADS_LIMIT, 1, b->e);
    m.states = config_size_or(b->c, "mamba_d_state", 1, STATES_LIMIT, 256, b->e);
    m.taps = config_size_or(b->c, "mamba_d_conv", 2, 64, 4, b->e);
    m.conv_bias = config_bool_or(b->c, "mamba_conv_bias", true, b->e);
    m.in_bias = m.out_bias = config_bool_or(b->c, "mamba_proj_bias", false, b->e);
    m.act = build_activation(b, "hidden_act", ACT_SILU);
    mamba_step_limits(b, "time_step_limit", &m.dt_least, &m.dt_most);
    mamba2_check(b, &m, inner, "mamba_n_heads");
    return m;
}

/* The name of one of the mixer's tensors. */
static const char *named(char out[BUILD_NAME_BYTES], const struct mamba2 *m, const char *tensor)
{
    snprintf(out, BUILD_NAME_BYTES, "%s.%s", m->name, tensor);
    return out;
}

static void scale(struct build *b, struct plan_view x, uint64_t width, float mul)
{
    if (mul != 1) build_scale(b, x, width, mul, 0);
}

/* z, x, B, C and steps, one after the other. The input's factor goes to what comes of it, where no bias is added. */
static struct plan_view project(struct build *b, const struct mamba2 *m, struct plan_view src)
{
    uint64_t inner = (uint64_t)m->heads * m->width, states = (uint64_t)m->groups * m->states;
    const uint64_t width[5] = {inner, inner, states, states, m->heads};
    uint64_t all = 2 * inner + 2 * states + m->heads, at = 0;
    struct plan_view out = build_view(b, BUF_Q, all, 0), in = src;
    char name[BUILD_NAME_BYTES];

    if (m->in_bias && m->in != 1) {
        in = build_view(b, BUF_T2, b->hidden, 0);
        build_copy(b, in, b->hidden, src, b->hidden, 1, b->hidden);
        scale(b, in, b->hidden, m->in);
    }
    build_linear(b, out, in, named(name, m, "in_proj"), all, b->hidden, m->in_bias);
    for (int i = 0; i < 5; at += width[i++])
        scale(b, view_at(out, at), width[i], m->in_bias ? m->times[i] : m->in * m->times[i]);
    return out;
}

static struct plan_view convolve(struct build *b, const struct mamba2 *m, struct plan_view src)
{
    uint64_t width = (uint64_t)m->heads * m->width + 2 * (uint64_t)m->groups * m->states;
    struct op_conv o = {.src = src,
                        .dst = build_view(b, BUF_T1, width, 0),
                        .width = (uint32_t)width,
                        .taps = m->taps,
                        .bias = PLAN_NONE,
                        .act = m->act};
    char name[BUILD_NAME_BYTES];

    o.weight = build_vector(b, named(name, m, "conv1d.weight"), width * m->taps);
    if (m->conv_bias) o.bias = build_vector(b, named(name, m, "conv1d.bias"), width);
    o.state = program_state(b->p, (m->taps - 1) * width);
    if (build_ok(b)) program_op(b->p, OP_CONV, b->layer)->conv = o;
    return o.dst;
}

static void scan(struct build *b, const struct mamba2 *m, struct plan_view out, struct plan_view xbc,
                 struct plan_view dt)
{
    uint64_t inner = (uint64_t)m->heads * m->width;
    struct op_scan o = {.x = xbc,
                        .dt = dt,
                        .b = view_at(xbc, inner),
                        .c = view_at(xbc, inner + (uint64_t)m->groups * m->states),
                        .dst = out,
                        .heads = m->heads,
                        .width = m->width,
                        .groups = m->groups,
                        .states = m->states,
                        .dt_least = m->dt_least,
                        .dt_most = m->dt_most};
    char name[BUILD_NAME_BYTES];

    if (b->t->changes.decay) o.flags = SCAN_RATES;
    o.a_log = build_vector(b, named(name, m, "A_log"), m->heads);
    o.dt_bias = build_vector(b, named(name, m, "dt_bias"), m->heads);
    o.skip = build_vector(b, named(name, m, "D"), m->heads);
    o.state = program_state(b->p, inner * m->states);
    if (build_ok(b)) program_op(b->p, OP_SCAN, b->layer)->scan = o;
}

static void norm(struct build *b, const struct mamba2 *m, struct plan_view x)
{
    uint32_t width = m->heads / m->groups * m->width;
    struct op_norm o = {.src = x,
                        .dst = x,
                        .groups = m->groups,
                        .width = width,
                        .src_stride = width,
                        .dst_stride = width,
                        .kind = NORM_RMS,
                        .weight_stride = width,
                        .eps = b->eps,
                        .bias = PLAN_NONE};
    char name[BUILD_NAME_BYTES];

    o.weight = build_vector(b, named(name, m, "norm.weight"), (uint64_t)m->groups * width);
    build_norm_op(b, &o);
}

void mamba2_mix(struct build *b, const struct mamba2 *m, struct plan_view dst, struct plan_view src)
{
    uint64_t inner = (uint64_t)m->heads * m->width, states = (uint64_t)m->groups * m->states;
    struct plan_view all = project(b, m, src), out = build_view(b, BUF_A, inner, 0);
    char name[BUILD_NAME_BYTES];

    scan(b, m, out, convolve(b, m, view_at(all, inner)), view_at(all, 2 * inner + 2 * states));
    if (!m->unnormed && m->norm_first) norm(b, m, out);
    build_act(b, out, all, out, inner, ACT_SILU, 0);
    if (!m->unnormed && !m->norm_first) norm(b, m, out);
    build_linear(b, dst, out, named(name, m, "out_proj"), b->hidden, inner, m->out_bias);
    scale(b, dst, b->hidden, m->out);
}

/* ---- Mamba 2 alone ---- */

static void mix(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    mamba2_mix(b, s->own, dst, src);
}

void family_mamba2(struct build *b)
{
    struct mamba2 m = {.name = "mixer", .in = 1, .times = {1, 1, 1, 1, 1}, .out = 1};
    struct stack s;
    uint64_t inner;

    build_names(b, "backbone.", "layers", "embeddings");
    build_body_sizes(b);
    if (!config_gives(b->c, "max_position_embeddings")) b->limit = 1u << 20; /* there are no positions to run out of */
    build_norm_kind(b, NORM_RMS, "layer_norm_epsilon", 1e-5);
    m.heads = config_size_or(b->c, "num_heads", 1, HEADS_LIMIT, 128, b->e);
    m.width = config_size_or(b->c, "head_dim", 1, COLUMNS_LIMIT, 64, b->e);
    m.groups = config_size_or(b->c, "n_groups", 1, HEADS_LIMIT, 8, b->e);
    m.states = config_size_or(b->c, "state_size", 1, STATES_LIMIT, 128, b->e);
    m.taps = config_size_or(b->c, "conv_kernel", 2, 64, 4, b->e);
    m.conv_bias = config_bool_or(b->c, "use_conv_bias", true, b->e);
    m.in_bias = m.out_bias = config_bool_or(b->c, "use_bias", false, b->e);
    m.act = build_activation(b, "hidden_act", ACT_SILU);
    mamba_step_limits(b, "time_step_limit", &m.dt_least, &m.dt_most);
    inner = (uint64_t)config_size_or(b->c, "expand", 1, 64, 2, b->e) * b->hidden;
    mamba2_check(b, &m, inner, "num_heads");
    s = stack_llama(b, NULL);
    s.embed = "embeddings";
    s.final_norm = "norm_f";
    s.before_attention = "norm";
    s.one_block = true;
    s.tied = build_tied(b);
    s.own = &m;
    s.attend = mix;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

void mamba2_config(struct gguf_values *v, const struct mamba2_fields *f)
{
    uint64_t inner, heads;

    gguf_mamba_tell(v);
    if (v->tells) return;
    inner = gguf_value_needed(v, "ssm.inner_size");
    heads = gguf_value_needed(v, "ssm.time_step_rank");
    if (!v->e->code && (!heads || inner % heads))
        gguf_refuse(v, "ssm.inner_size", "%llu columns are not divisible by %llu heads", (unsigned long long)inner,
                    (unsigned long long)heads);
    if (!v->e->code && f->expand && (!v->hidden || inner % v->hidden))
        gguf_refuse(v, "ssm.inner_size", "%llu columns are no multiple of the %llu of a layer",
                    (unsigned long long)inner, (unsigned long long)v->hidden);
    if (v->e->code) return;
    gguf_set_int(v, f->heads, heads);
    gguf_set_int(v, f->width, inner / heads);
    gguf_set_int(v, f->groups, gguf_value_needed(v, "ssm.group_count"));
    gguf_set_int(v, f->states, gguf_value_needed(v, "ssm.state_size"));
    gguf_set_int(v, f->taps, gguf_value_needed(v, "ssm.conv_kernel"));
    gguf_set_flag(v, f->conv_bias, gguf_layer_has(v, "ssm_conv1d.bias"));
    gguf_set_flag(v, f->bias, gguf_layer_has(v, "ssm_in.bias"));
    if (f->expand) gguf_set_int(v, f->expand, inner / v->hidden);
}

static const struct gguf_name mamba2_names[] = {
    {"attn_norm", "norm", GGUF_AS_IS},
    MAMBA_NAMES("mixer"),
    {NULL, NULL, 0},
};

static void mamba2_alone(struct gguf_values *v)
{
    static const struct mamba2_fields fields = {"num_heads",   "head_dim",      "n_groups", "state_size",
                                                "conv_kernel", "use_conv_bias", "use_bias", "expand"};

    mamba2_config(v, &fields);
    gguf_set_none(v, "intermediate_size"); /* files say 0 */
}

const struct gguf_family gguf_mamba2 = {
    .architecture = "mamba2",
    .class = "Mamba2ForCausalLM",
    .type = "mamba2",
    .names = mamba2_names,
    .prefix = "backbone.",
    .embed = "embeddings",
    .norm = "norm_f",
    .changes = {.decay = true},
    .latent = true,
    .scans = true,
    .config = mamba2_alone,
};

/* Gemma 3n: several streams of the residual. Each layer predicts all of them from all (AltUp), computes with one, and corrects the
 * others by what that one has become; beside its attention stands a product of low rank (Laurel); in early layers only what
 * exceeds a few standard deviations passes the gate of the feed forward. Keys and values of late layers are those of an earlier
 * one, and a second embedding has columns for each layer. Reference: transformers, modeling_gemma3n.py. */
#include "coordinator/arch/families/gemma_attend.h"
#include "coordinator/arch/families/layer_inputs.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <math.h>
#include <stdio.h>

#define PATTERN       5u /* without layer_types every fifth layer sees all positions */
#define SPARSE_LAYERS 10u
#define SPARSE        0.95 /* without activation_sparsity_pattern, of so many first layers where there are more */
#define STREAMS_LIMIT 8u
#define SIZE_LIMIT    (1u << 24)
#define LEAST_SQUARE  1e-5f /* mean square that a new stream has at least before it gets the first one's */

enum kind { SLIDING, FULL, KINDS };

struct gemma3n {
    struct rope_table rope[KINDS];
    uint32_t cache[KINDS];
    uint32_t window, first_shared, streams, active, rank, own;
    bool scales; /* what is gated at a layer's end is multiplied by a vector first */
};

static enum kind kind_of(struct build *b, uint32_t i)
{
    return build_layer_is(b, i, "sliding_attention", (i + 1) % PATTERN) ? SLIDING : FULL;
}

static struct plan_view stream(struct build *b, const struct gemma3n *g, enum build_buffer which, uint32_t k)
{
    return build_view(b, which, (uint64_t)g->streams * b->hidden, (uint64_t)k * b->hidden);
}

static void copy(struct build *b, struct plan_view dst, struct plan_view src)
{
    build_copy(b, dst, b->hidden, src, b->hidden, 1, b->hidden);
}

/* x times what one column has. */
static void times_column(struct build *b, struct plan_view dst, struct plan_view column, struct plan_view x)
{
    build_act(b, dst, column, x, b->hidden, ACT_NONE, ACT_BROADCAST);
}

/* ---- the streams ---- */

static void statistic(struct build *b, struct plan_view dst, struct plan_view src, uint32_t kind, float eps)
{
    struct op_norm o = {.src = src,
                        .dst = dst,
                        .groups = 1,
                        .width = b->hidden,
                        .src_stride = b->hidden,
                        .dst_stride = kind == NORM_SIZE ? 1 : b->hidden,
                        .kind = kind,
                        .eps = eps,
                        .weight = PLAN_NONE,
                        .bias = PLAN_NONE};

    build_norm_op(b, &o);
}

/* dst = a product of src, as long as what the column says. */
static void project_stream(struct build *b, const char *list, uint32_t k, struct plan_view dst, struct plan_view src,
                           struct plan_view size)
{
    char name[64];

    snprintf(name, sizeof name, "%s.%u", list, k - 1);
    build_linear(b, dst, src, name, b->hidden, b->hidden, false);
    statistic(b, dst, dst, NORM_LEAST, LEAST_SQUARE);
    times_column(b, dst, size, dst);
}

static void make_streams(struct build *b, const struct gemma3n *g)
{
    struct plan_view size = build_view(b, BUF_T2, 1, 0);

    statistic(b, size, build_x(b), NORM_SIZE, 0);
    copy(b, stream(b, g, BUF_STREAMS, 0), build_x(b));
    for (uint32_t k = 1; k < g->streams; k++)
        project_stream(b, "altup_projections", k, stream(b, g, BUF_STREAMS, k), build_x(b), size);
}

/* The mean of all, after the last layer. */
static void join_streams(struct build *b, const struct gemma3n *g)
{
    struct plan_view size = build_view(b, BUF_T2, 1, 0), out = build_view(b, BUF_OUT, b->hidden, 0);

    build_top(b);
    copy(b, build_x(b), stream(b, g, BUF_STREAMS, 0));
    statistic(b, size, build_x(b), NORM_SIZE, 0);
    for (uint32_t k = 1; k < g->streams; k++) {
        project_stream(b, "altup_unembed_projections", k, out, stream(b, g, BUF_STREAMS, k), size);
        build_add(b, build_x(b), build_x(b), out, b->hidden, 1, 1);
    }
    build_scale(b, build_x(b), b->hidden, 1.0f / (float)g->streams, 0);
}

/* What a stream says of how they mix: tanh of a product, in BUF_ROUTER. */
static struct plan_view modalities(struct build *b, const struct gemma3n *g, struct plan_view x)
{
    struct plan_view in = build_view(b, BUF_T1, b->hidden, 0), out = build_view(b, BUF_ROUTER, g->streams, 0);

    build_norm(b, in, x, "altup.router_norm");
    build_scale(b, in, b->hidden, 1.0f / (float)b->hidden, 0);
    build_linear(b, out, in, "altup.modality_router", g->streams, b->hidden, false);
    build_scale(b, out, g->streams, 1, 1);
    return out;
}

/* predicted_j = stream_j + sum over i of c[j][i] stream_i; the active one becomes x. */
static void predict(struct build *b, const struct gemma3n *g)
{
    uint32_t n = g->streams;
    struct plan_view c = build_view(b, BUF_T2, (uint64_t)n * n, 0), part = build_view(b, BUF_OUT, b->hidden, 0);

    build_linear(b, c, modalities(b, g, stream(b, g, BUF_STREAMS, g->active)), "altup.prediction_coefs",
                 (uint64_t)n * n, n, false);
    for (uint32_t j = 0; j < n; j++) {
        struct plan_view to = stream(b, g, BUF_PREDICTED, j);

        copy(b, to, stream(b, g, BUF_STREAMS, j));
        for (uint32_t i = 0; i < n; i++) {
            times_column(b, part, view_at(c, (uint64_t)j * n + i), stream(b, g, BUF_STREAMS, i));
            build_add(b, to, to, part, b->hidden, 1, 1);
        }
    }
    copy(b, build_x(b), stream(b, g, BUF_PREDICTED, g->active));
}

/* stream_j = predicted_j + (1 + c[j]) (x - predicted_active) */
static void correct(struct build *b, const struct gemma3n *g)
{
    struct plan_view c = build_view(b, BUF_T2, g->streams, 0), part = build_view(b, BUF_OUT, b->hidden, 0),
                     news = build_view(b, BUF_NORM, b->hidden, 0);

    build_linear(b, c, modalities(b, g, build_x(b)), "altup.correction_coefs", g->streams, g->streams, false);
    build_add(b, news, build_x(b), stream(b, g, BUF_PREDICTED, g->active), b->hidden, 1, -1);
    for (uint32_t j = 0; j < g->streams; j++) {
        struct plan_view to = stream(b, g, BUF_STREAMS, j);

        times_column(b, part, view_at(c, j), news);
        build_add(b, to, stream(b, g, BUF_PREDICTED, j), part, b->hidden, 1, 1);
        build_add(b, to, to, news, b->hidden, 1, 1);
    }
}

/* ---- a layer ---- */

/* Attention, and beside it what the normed input becomes through a low rank, in BUF_OUT2. */
static void attend(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    struct gemma3n *g = s->own;
    struct plan_view low = build_view(b, BUF_T1, g->rank, 0), out2 = build_view(b, BUF_OUT2, b->hidden, 0);
    struct gemma_attend a = {
        .attention = &s->attention, .cache = &g->cache[kind_of(b, b->layer)], .reuses = b->layer >= g->first_shared};

    build_linear(b, low, src, "laurel.linear_left", g->rank, b->hidden, false);
    build_linear(b, out2, low, "laurel.linear_right", b->hidden, g->rank, false);
    build_norm(b, out2, out2, "laurel.post_laurel_norm");
    build_add(b, out2, src, out2, b->hidden, 1, 1);
    gemma_attend(b, &a, dst, src);
}

/* The standard normal's value that a share of all is below: halving is slow and exact, and done once a layer. */
static double normal_quantile(double share)
{
    double low = -40, high = 40;

    for (int i = 0; i < 200; i++) {
        double mid = (low + high) / 2;

        if (0.5 * erfc(-mid / sqrt(2)) < share)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static double sparsity(struct build *b, uint32_t i)
{
    const json_t *list = config_field(b->c, "activation_sparsity_pattern", false), *v = json_array_get(list, i);
    double x = json_number_value(v);

    if (!list) return b->layers > SPARSE_LAYERS && i < SPARSE_LAYERS ? SPARSE : 0;
    if (!json_is_array(list) || json_array_size(list) != b->layers)
        config_fault(b->c, b->e, "activation_sparsity_pattern", "no list of %u shares, one for each layer", b->layers);
    else if (!json_is_number(v) || !(x >= 0 && x < 1))
        config_fault(b->c, b->e, "activation_sparsity_pattern", "entry %u is no number from 0 to 1", i);
    return x;
}

static void cut(struct build *b, struct plan_view gate, uint32_t width, double share)
{
    struct op_norm o = {.src = gate,
                        .dst = gate,
                        .groups = 1,
                        .width = width,
                        .src_stride = width,
                        .dst_stride = width,
                        .kind = NORM_CUT,
                        .weight = PLAN_NONE,
                        .bias = PLAN_NONE,
                        .deviations = (float)normal_quantile(share)};

    build_norm_op(b, &o);
}

static uint32_t width_of(struct build *b, uint32_t i)
{
    const json_t *list = config_field(b->c, "intermediate_size", false);
    int64_t n;

    if (!json_is_array(list)) return config_size(b->c, "intermediate_size", 1, SIZE_LIMIT, b->e);
    n = json_array_size(list) == b->layers ? config_list_int(b->c, "intermediate_size", i, 0, b->e) : 0;
    if (n < 1 || n > SIZE_LIMIT)
        config_fault(b->c, b->e, "intermediate_size", "no list of %u sizes, one for each layer", b->layers);
    return build_ok(b) ? (uint32_t)n : 1;
}

/* x is first the mean of both branches, but for a factor. */
static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    uint32_t width = width_of(b, b->layer);
    struct plan_view x = build_x(b), n = build_view(b, BUF_NORM, b->hidden, 0),
                     gate = build_view(b, BUF_GATE, width, 0), up = build_view(b, BUF_UP, width, 0);
    float half = (float)sqrt(0.5);
    double share = sparsity(b, b->layer);

    (void)src; /* x itself: this norm comes after the sum */
    build_add(b, x, x, build_view(b, BUF_OUT2, b->hidden, 0), b->hidden, half, half);
    build_norm(b, n, x, "pre_feedforward_layernorm");
    build_linear(b, gate, n, s->mlp.gate, width, b->hidden, false);
    if (share > 0) cut(b, gate, width, share);
    build_linear(b, up, n, s->mlp.up, width, b->hidden, false);
    build_act(b, gate, gate, up, width, s->mlp.act, 0);
    build_linear(b, dst, gate, s->mlp.down, b->hidden, width, false);
}

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct gemma3n *g = s->own;
    enum kind kind = kind_of(b, i);

    s->attention.window = kind == SLIDING ? g->window : 0;
    s->attention.rope = &g->rope[kind];
    if (build_ok(b) && i >= g->first_shared && g->cache[kind] == PLAN_NONE)
        config_fault(b->c, b->e, "num_kv_shared_layers",
                     "layer %u takes the keys of an earlier layer of its kind, and none of those has any", i);
    predict(b, g);
}

static void after_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct gemma3n *g = s->own;
    struct plan_view first = build_view(b, BUF_NORM, b->hidden, 0), out = build_view(b, BUF_OUT, b->hidden, 0);

    correct(b, g);
    copy(b, first, stream(b, g, BUF_STREAMS, g->active));
    if (g->scales) build_scale_by(b, first, b->hidden, "altup.correct_output_scale", b->hidden);
    layer_inputs_gate(b, g->own, i, s->mlp.act, out, first);
    for (uint32_t k = 1; k < g->streams; k++)
        build_add(b, stream(b, g, BUF_STREAMS, k), stream(b, g, BUF_STREAMS, k), out, b->hidden, 1, 1);
    if (i + 1 == b->layers) join_streams(b, g);
}

static void after_embedding(struct build *b, struct stack *s)
{
    const struct gemma3n *g = s->own;

    layer_inputs_make(b, g->own);
    make_streams(b, g);
}

/* ---- the config ---- */

static void read_switches(struct build *b, struct gemma3n *g)
{
    uint32_t shared = config_size_or(b->c, "num_kv_shared_layers", 0, SIZE_LIMIT, 15, b->e);

    if (build_ok(b) && shared >= b->layers)
        config_fault(b->c, b->e, "num_kv_shared_layers", "%u of %u layers: none is left that has keys of its own",
                     shared, b->layers);
    g->first_shared = build_ok(b) ? b->layers - shared : 0;
    g->window = build_sliding(b);
    g->streams = config_size_or(b->c, "altup_num_inputs", 1, STREAMS_LIMIT, 4, b->e);
    g->active = config_size_or(b->c, "altup_active_idx", 0, STREAMS_LIMIT, 0, b->e);
    if (build_ok(b) && g->active >= g->streams)
        config_fault(b->c, b->e, "altup_active_idx", "%u of %u streams", g->active, g->streams);
    g->scales = config_bool_or(b->c, "altup_correct_scale", true, b->e);
    g->rank = config_size_or(b->c, "laurel_rank", 1, SIZE_LIMIT, 64, b->e);
    g->own = config_size_or(b->c, "hidden_size_per_layer_input", 1, SIZE_LIMIT, 256, b->e);
    if (build_ok(b) && (uint64_t)g->own * b->layers > SIZE_LIMIT)
        config_fault(b->c, b->e, "hidden_size_per_layer_input", "%u columns for each of %u layers are out of range",
                     g->own, b->layers);
}

static float cap_of(struct build *b)
{
    double x = config_number_or(b->c, "final_logit_softcapping", 0, b->e);

    if (x <= 0 && config_field(b->c, "final_logit_softcapping", false))
        config_fault(b->c, b->e, "final_logit_softcapping", "%g is out of range, it must be greater than 0", x);
    return (float)x;
}

void family_gemma3n(struct build *b)
{
    struct gemma3n g = {.cache = {PLAN_NONE, PLAN_NONE}};
    struct stack s;
    bool bias;

    b->inter_listed = true;
    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    read_switches(b, &g);
    g.rope[FULL] = build_rotary(b, (struct rope_request){.layer_type = "full_attention", .theta = 1e6});
    g.rope[SLIDING] = build_rotary(
        b,
        (struct rope_request){.layer_type = "sliding_attention", .theta_key = "rope_local_base_freq", .theta = 10000});
    s = stack_llama(b, &g.rope[FULL]);
    bias = config_bool_or(b->c, "attention_bias", false, b->e);
    stack_attention_biases(&s, bias);
    s.attention.scale = 1;
    s.mlp.act = build_activation(b, "hidden_activation", ACT_GELU_TANH);
    s.embed_scale = (float)sqrt(b->hidden);
    s.tied = build_tied(b);
    s.logit_cap = cap_of(b);
    s.after_attention = "post_attention_layernorm";
    s.before_mlp = NULL;
    s.after_mlp = "post_feedforward_layernorm";
    s.after_embedding = after_embedding;
    s.before_layer = before_layer;
    s.after_layer = after_layer;
    s.attend = attend;
    s.feed = feed;
    s.own = &g;
    layer_inputs_table(b, &s, g.own);
    if (build_ok(b)) stack_build(b, &s);
}

/* ---- as GGUF: norms are as in the folder ---- */

static const struct gguf_name names[] = {
    {"post_attention_norm", "post_attention_layernorm", GGUF_AS_IS},
    {"ffn_norm", "pre_feedforward_layernorm", GGUF_AS_IS},
    {"post_ffw_norm", "post_feedforward_layernorm", GGUF_AS_IS},
    {"inp_gate", "per_layer_input_gate", GGUF_AS_IS},
    {"proj", "per_layer_projection", GGUF_AS_IS},
    {"post_norm", "post_per_layer_input_norm", GGUF_AS_IS},
    {"altup_correct_coef", "altup.correction_coefs", GGUF_AS_IS},
    {"altup_correct_scale", "altup.correct_output_scale", GGUF_BARE},
    {"altup_predict_coef", "altup.prediction_coefs", GGUF_AS_IS},
    {"altup_router", "altup.modality_router", GGUF_AS_IS},
    {"altup_router_norm", "altup.router_norm", GGUF_AS_IS},
    {"laurel_l", "laurel.linear_left", GGUF_AS_IS},
    {"laurel_r", "laurel.linear_right", GGUF_AS_IS},
    {"laurel_post_norm", "laurel.post_laurel_norm", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static const struct gguf_name top[] = {
    {"per_layer_token_embd", "embed_tokens_per_layer", GGUF_AS_IS},
    {"per_layer_model_proj", "per_layer_model_projection", GGUF_AS_IS},
    {"per_layer_proj_norm", "per_layer_projection_norm", GGUF_AS_IS},
    {"altup_proj", "altup_projections", GGUF_BY_ITEM},
    {"altup_unembd_proj", "altup_unembed_projections", GGUF_BY_ITEM},
    {NULL, NULL, 0},
};

/* Files have the deviations, configs the shares that are below them: -infinity is none. */
static void shares(struct gguf_values *v)
{
    static const char key[] = "activation_sparsity_scale";
    const struct gguf_value *x = gguf_ask(v, key);
    json_t *list;

    if (!x || !x->array || !gguf_is_kind(x, GGUF_FLOATS) || x->count < v->layers) {
        gguf_refuse(v, key, "a list of one number for each layer was expected");
        return;
    }
    list = json_array();
    for (uint64_t i = 0; i < v->layers; i++) {
        double n = gguf_float(x, i), share = 0.5 * erfc(-n / sqrt(2));

        if (!(n < 8)) gguf_refuse(v, key, "%g deviations are out of range", n);
        json_array_append_new(list, json_real(share > 0 && share < 1 ? gguf_meant(share) : 0));
    }
    gguf_set(v, "activation_sparsity_pattern", list);
}

static void widths(struct gguf_values *v)
{
    json_t *list = json_array();

    for (uint64_t i = 0; i < v->layers && !v->e->code; i++)
        json_array_append_new(list, json_integer((json_int_t)gguf_layer_int(v, "feed_forward_length", i)));
    gguf_set(v, "intermediate_size", list);
}

static void config(struct gguf_values *v)
{
    const struct gguf_tensor *own = gguf_tensor(v->g, "per_layer_token_embd.weight"),
                             *low = gguf_tensor(v->g, "blk.0.laurel_l.weight");
    uint64_t head = gguf_value_needed(v, "attention.key_length");

    gguf_set_int(v, "head_dim", head);
    gguf_layer_types(v, "sliding_attention", PATTERN);
    gguf_window(v);
    gguf_field_real(v, "rope.freq_base", "rope_theta", 1000000);
    gguf_field_real(v, "rope.freq_base_swa", "rope_local_base_freq", 10000);
    gguf_set_int(v, "altup_num_inputs", gguf_value_needed(v, "altup.num_inputs"));
    gguf_set_int(v, "altup_active_idx", gguf_value_needed(v, "altup.active_idx"));
    gguf_field_int(v, "attention.shared_kv_layers", "num_kv_shared_layers", v->layers > 20 ? v->layers - 20 : 0);
    gguf_set_int(v, "hidden_size_per_layer_input", gguf_value_needed(v, "embedding_length_per_layer_input"));
    if (own) gguf_set_int(v, "vocab_size_per_layer_input", own->dims[1]);
    if (low) gguf_set_int(v, "laurel_rank", low->dims[1]);
    gguf_set_flag(v, "altup_correct_scale", gguf_layer_has(v, "altup_correct_scale.weight"));
    gguf_field_real(v, "final_logit_softcapping", "final_logit_softcapping", 30);
    gguf_set_text(v, "hidden_activation", "gelu_pytorch_tanh");
    shares(v);
    widths(v);
}

const struct gguf_family gguf_gemma3n = {
    .architecture = "gemma3n",
    .class = "Gemma3nForCausalLM",
    .type = "gemma3n_text",
    .names = names,
    .top = top,
    .by_layer = true,
    .unwritten = true,
    .config = config,
};

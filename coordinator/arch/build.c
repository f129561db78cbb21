#include "coordinator/arch/build.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "coordinator/arch/names.h"

#define SIZE_LIMIT   (1u << 24) /* columns of anything */
#define LAYERS_LIMIT 10000u
#define HEADS_LIMIT  65536u

const struct plan_view VIEW_NONE = {.buf = PLAN_NOBUF};

void build_fault(struct build *b, const char *fmt, ...)
{
    char text[ERROR_TEXT_BYTES];
    va_list ap;

    if (b->e->code) return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    error_set(b->e, EINVAL, "%s", text);
}

void build_notice(struct build *b, const char *fmt, ...)
{
    size_t n = strlen(b->notice);
    va_list ap;

    if (n) n += (size_t)snprintf(b->notice + n, sizeof b->notice - n, "; ");
    if (n >= sizeof b->notice) return;
    va_start(ap, fmt);
    vsnprintf(b->notice + n, sizeof b->notice - n, fmt, ap);
    va_end(ap);
}

/* ---- sizes ---- */

const char *build_given(const struct build *b, const char *const names[2])
{
    return names[1] && !config_gives(b->c, names[0]) && config_gives(b->c, names[1]) ? names[1] : names[0];
}

static void head_sizes(struct build *b, const struct build_size_names *n)
{
    const char *hidden = build_given(b, n->hidden), *heads = build_given(b, n->heads);

    b->heads = config_size(b->c, heads, 1, HEADS_LIMIT, b->e);
    b->kv_heads = b->heads;
    if (n->kv_heads[0]) b->kv_heads = config_size_or(b->c, build_given(b, n->kv_heads), 1, HEADS_LIMIT, b->heads, b->e);
    b->head_dim = config_size_or(b->c, "head_dim", 1, SIZE_LIMIT, 0, b->e);
    if (!build_ok(b)) return;
    /* heads of latent attention have sizes of their own */
    if (!b->head_dim && b->hidden % b->heads && !config_field(b->c, "kv_lora_rank", false))
        config_fault(b->c, b->e, hidden, "%u is not divisible by %s %u", b->hidden, heads, b->heads);
    if (!b->head_dim) b->head_dim = b->hidden / b->heads;
    if ((uint64_t)b->heads * b->head_dim > SIZE_LIMIT)
        config_fault(b->c, b->e, "head_dim", "%u is out of range", b->head_dim);
}

/* A config that does not count the layers, and a folder with more of them than its class has: the answers would be wrong. */
static void refuse_uncounted_layers(struct build *b, const char *key)
{
    char start[sizeof b->prefix + sizeof b->layers_name + 16];

    if (!build_ok(b) || config_gives(b->c, key)) return;
    snprintf(start, sizeof start, "%s%s.%u.", b->prefix, b->layers_name, b->layers);
    if (names_any_begins(b->t, start))
        config_fault(b->c, b->e, key,
                     "this field is missing, and the folder has more layers than the %u that are usual: %s*", b->layers,
                     start);
}

/* Of the rest of a model, beside attention. */
static void other_sizes(struct build *b, const struct build_size_names *n)
{
    uint32_t longest;

    b->hidden = config_size(b->c, build_given(b, n->hidden), 1, SIZE_LIMIT, b->e);
    if (!b->layers) b->layers = config_size(b->c, build_given(b, n->layers), 1, LAYERS_LIMIT, b->e);
    b->vocab = config_size(b->c, "vocab_size", 1, SIZE_LIMIT, b->e);
    if (!b->inter_listed || !json_is_array(config_field(b->c, "intermediate_size", false)))
        b->inter = config_size_or(b->c, build_given(b, n->inter), 1, SIZE_LIMIT, 0, b->e);
    b->limit = config_size_or(b->c, build_given(b, n->limit), 1, CONFIG_SIZE_MAX, 2048, b->e);
    longest = config_length_or(b->c, "model_max_length", b->limit, b->e);
    if (longest > b->limit) b->limit = longest; /* Command R gives both, and means the larger */
}

void build_sizes_named(struct build *b, const struct build_size_names *n)
{
    other_sizes(b, n);
    head_sizes(b, n);
    refuse_uncounted_layers(b, build_given(b, n->layers));
}

static const struct build_size_names usual = {.hidden = {"hidden_size"},
                                              .layers = {"num_hidden_layers"},
                                              .heads = {"num_attention_heads"},
                                              .kv_heads = {"num_key_value_heads"},
                                              .inter = {"intermediate_size"},
                                              .limit = {"max_position_embeddings"}};

void build_sizes(struct build *b)
{
    build_sizes_named(b, &usual);
}

void build_body_sizes(struct build *b)
{
    other_sizes(b, &usual);
    b->heads = b->kv_heads = 1;
    b->head_dim = b->hidden;
    refuse_uncounted_layers(b, "num_hidden_layers");
}

void build_norm_kind(struct build *b, enum plan_norm kind, const char *eps_key, double eps)
{
    b->norm_kind = kind;
    b->eps = (float)config_number_or(b->c, eps_key, eps, b->e);
    if (!(b->eps >= 0 && b->eps < 1)) config_fault(b->c, b->e, eps_key, "%g is out of range", (double)b->eps);
}

struct rope_table build_rotary(struct build *b, struct rope_request q)
{
    struct rope_table r;

    if (!q.head_dim) q.head_dim = b->head_dim;
    q.length = b->o->want_tokens > b->o->context ? b->o->want_tokens : b->o->context;
    r = rope_make(b->p, b->c, &q, b->e);
    if (q.layer_type && strcmp(q.layer_type, "full_attention")) return r;
    b->rope = r;
    if (r.borrowed && !q.layer_type)
        build_notice(b, "config.json has rope_scaling beside rope_parameters: the first is used, with the rope_theta "
                        "of the second");
    return r;
}

struct rope_table build_plain_rope(struct build *b)
{
    return build_rotary(b, (struct rope_request){0});
}

bool build_tied(struct build *b)
{
    const json_t *given[2] = {json_object_get(b->c->text, "tie_word_embeddings"),
                              json_object_get(b->c->root, "tie_word_embeddings")};
    bool tied = false;

    b->tie_silent = true;
    for (size_t i = 0; i < 2; i++) {
        if (!given[i] || json_is_null(given[i])) continue;
        if (!json_is_boolean(given[i])) config_fault(b->c, b->e, "tie_word_embeddings", "neither true nor false");
        tied |= json_is_true(given[i]);
        b->tie_silent = false;
    }
    return b->tie_silent ? json_is_true(json_object_get(b->c->defaults, "tie_word_embeddings")) : tied;
}

bool build_layer_is(struct build *b, uint32_t i, const char *type, bool otherwise)
{
    const char *s;

    if (!config_field(b->c, "layer_types", false)) return otherwise;
    s = config_list_string(b->c, "layer_types", i, b->e);
    if (!s) config_fault(b->c, b->e, "layer_types", "no entry for layer %u", i);
    if (s && strcmp(s, type) && strcmp(s, "full_attention"))
        config_fault(b->c, b->e, "layer_types", "layer %u is of type \"%.40s\", which %s does not have", i, s,
                     b->family);
    return s && !strcmp(s, type);
}

uint32_t build_sliding(struct build *b)
{
    return config_size_or(b->c, "sliding_window", 1, CONFIG_SIZE_MAX, 0, b->e);
}

uint32_t build_window(struct build *b, uint32_t i)
{
    uint32_t window = config_size_or(b->c, "sliding_window", 0, CONFIG_SIZE_MAX, 0, b->e);
    uint32_t from = config_size_or(b->c, "max_window_layers", 0, CONFIG_SIZE_MAX, 0, b->e);
    bool by_rule = config_bool_or(b->c, "use_sliding_window", false, b->e) && i >= from;

    return build_layer_is(b, i, "sliding_attention", by_rule) ? window : 0;
}

/* ---- names ---- */

void build_names(struct build *b, const char *prefix, const char *layers, const char *embed)
{
    snprintf(b->layers_name, sizeof b->layers_name, "%s", layers);
    if (!names_prefix(b->t, prefix, embed, layers, b->prefix, sizeof b->prefix))
        snprintf(b->prefix, sizeof b->prefix, "%s", prefix);
}

void build_top(struct build *b)
{
    snprintf(b->base, sizeof b->base, "%s", b->prefix);
}

void build_layer(struct build *b, uint32_t i)
{
    b->layer = i;
    snprintf(b->base, sizeof b->base, "%s%s.%u.", b->prefix, b->layers_name, i);
}

const char *build_full_name(const struct build *b, char *out, const char *name)
{
    snprintf(out, BUILD_NAME_BYTES, "%s%s", b->base, name);
    return out;
}

const struct tensor *build_find(struct build *b, const char *name)
{
    char full[BUILD_NAME_BYTES];

    return tensors_find(b->t, build_full_name(b, full, name));
}

bool build_has(struct build *b, const char *name)
{
    return build_find(b, name) != NULL;
}

void build_leave_out(struct build *b, const char *name)
{
    struct tensor *t = (struct tensor *)(uintptr_t)build_find(b, name);

    if (t && !t->used) t->left_out = true;
}

/* ---- buffers ---- */

struct plan_view build_view(struct build *b, enum build_buffer which, uint64_t width, uint64_t col)
{
    if (width > SIZE_LIMIT)
        build_fault(b, "%s: %llu columns of activations are out of range", b->c->path, (unsigned long long)width);
    if (!build_ok(b)) return (struct plan_view){.buf = 0};
    if (b->buf[which] == PLAN_NOBUF)
        b->buf[which] = program_buffer(b->p, (uint32_t)width);
    else
        program_buffer_widen(b->p, b->buf[which], (uint32_t)width);
    return (struct plan_view){.buf = b->buf[which], .col = (uint32_t)col};
}

struct plan_view view_at(struct plan_view v, uint64_t col)
{
    v.col += (uint32_t)col;
    return v;
}

/* ---- operations ---- */

static struct plan_op *op(struct build *b, enum plan_op_kind kind)
{
    return program_op(b->p, kind, b->layer);
}

/* Zeros, which nobody adds: all of AutoGPTQ's layers have them. */
static void leave_out_bias(struct build *b, const char *name)
{
    char bias[192];

    snprintf(bias, sizeof bias, "%.180s.bias", name);
    build_leave_out(b, bias);
}

void build_linear(struct build *b, struct plan_view dst, struct plan_view src, const char *name, uint64_t rows,
                  uint64_t cols, bool bias)
{
    struct op_matmul o = {.src = src, .dst = dst, .bias = PLAN_NONE};
    char full[BUILD_NAME_BYTES];
    float times;

    if (b->transposed) o.flags = MATMUL_TRANSPOSED;
    o.matrix = b->transposed ? build_matrix_times(b, name, cols, rows, &times)
                             : build_matrix_times(b, name, rows, cols, &times);
    if (build_ok(b) && build_is_turned(b, o.matrix)) o.flags = MATMUL_TRANSPOSED;
    snprintf(full, sizeof full, "%s.bias", name);
    if (bias)
        o.bias = build_vector(b, full, rows);
    else if (b->quant.kind == QUANT_GPTQ)
        leave_out_bias(b, name);
    if (bias && times != 0)
        build_fault(b, "%s: %s%s: a bias beside weights with a scale of all is not supported", b->c->path, b->base,
                    full);
    if (build_ok(b)) op(b, OP_MATMUL)->matmul = o;
    if (times != 0) build_scale(b, dst, rows, times, 0);
}

void build_norm_op(struct build *b, const struct op_norm *o)
{
    if (build_ok(b)) op(b, OP_NORM)->norm = *o;
}

void build_norm(struct build *b, struct plan_view dst, struct plan_view src, const char *name)
{
    struct op_norm o = {.src = src,
                        .dst = dst,
                        .groups = 1,
                        .width = b->hidden,
                        .src_stride = b->hidden,
                        .dst_stride = b->hidden,
                        .kind = b->norm_kind,
                        .eps = b->eps,
                        .weight_add = b->weight_add,
                        .bias = PLAN_NONE};
    char full[BUILD_NAME_BYTES];

    snprintf(full, sizeof full, "%s.weight", name);
    o.weight = b->norm_bare ? PLAN_NONE : build_vector(b, full, b->hidden);
    snprintf(full, sizeof full, "%s.bias", name);
    if (b->norm_bias) o.bias = build_vector(b, full, b->hidden);
    build_norm_op(b, &o);
}

void build_head_norm(struct build *b, struct plan_view dst, struct plan_view src, uint64_t heads, uint64_t width,
                     const char *name)
{
    struct op_norm o = {.src = src,
                        .dst = dst,
                        .groups = (uint32_t)heads,
                        .width = (uint32_t)width,
                        .src_stride = (uint32_t)width,
                        .dst_stride = (uint32_t)width,
                        .kind = NORM_RMS,
                        .eps = b->eps,
                        .weight_add = b->weight_add,
                        .weight = PLAN_NONE,
                        .bias = PLAN_NONE};
    char full[BUILD_NAME_BYTES];

    snprintf(full, sizeof full, "%s.weight", name ? name : "");
    if (name) o.weight = build_vector(b, full, width);
    build_norm_op(b, &o);
}

void build_add(struct build *b, struct plan_view dst, struct plan_view a, struct plan_view x, uint64_t width, float ca,
               float cb)
{
    if (build_ok(b))
        op(b, OP_ADD)->add = (struct op_add){.dst = dst, .a = a, .b = x, .width = (uint32_t)width, .ca = ca, .cb = cb};
}

void build_act(struct build *b, struct plan_view dst, struct plan_view gate, struct plan_view up, uint64_t width,
               uint32_t kind, uint32_t flags)
{
    if (build_ok(b))
        op(b, OP_ACT)->act =
            (struct op_act){.dst = dst, .gate = gate, .up = up, .width = (uint32_t)width, .kind = kind, .flags = flags};
}

void build_copy(struct build *b, struct plan_view dst, uint64_t dst_stride, struct plan_view src, uint64_t src_stride,
                uint64_t blocks, uint64_t width)
{
    if (build_ok(b))
        op(b, OP_COPY)->copy = (struct op_copy){.src = src,
                                                .dst = dst,
                                                .blocks = (uint32_t)blocks,
                                                .width = (uint32_t)width,
                                                .src_stride = (uint32_t)src_stride,
                                                .dst_stride = (uint32_t)dst_stride};
}

void build_scale(struct build *b, struct plan_view x, uint64_t width, float mul, float cap)
{
    if (build_ok(b))
        op(b, OP_SCALE)->scale = (struct op_scale){.x = x, .width = (uint32_t)width, .mul = mul, .cap = cap};
}

void build_scale_by(struct build *b, struct plan_view x, uint64_t width, const char *name, uint64_t elements)
{
    uint32_t vector = build_vector(b, name, elements);

    if (build_ok(b))
        op(b, OP_SCALE)->scale =
            (struct op_scale){.x = x, .width = (uint32_t)width, .flags = SCALE_BY_VECTOR, .mul = 1, .vector = vector};
}

void build_rope(struct build *b, struct plan_view x, uint64_t heads, uint64_t stride, const struct rope_table *r,
                uint32_t style)
{
    if (build_ok(b))
        op(b, OP_ROPE)->rope = (struct op_rope){.x = x,
                                                .heads = (uint32_t)heads,
                                                .head_stride = (uint32_t)stride,
                                                .dim = r->dim,
                                                .style = style,
                                                .rope = r->index};
}

uint32_t build_activation(struct build *b, const char *key, uint32_t otherwise)
{
    static const struct {
        const char *name;
        uint32_t kind;
    } known[] = {{"silu", ACT_SILU},          {"swish", ACT_SILU},
                 {"gelu", ACT_GELU_ERF},      {"gelu_pytorch_tanh", ACT_GELU_TANH},
                 {"gelu_new", ACT_GELU_TANH}, {"gelu_fast", ACT_GELU_TANH},
                 {"relu", ACT_RELU},          {"relu2", ACT_RELU2},
                 {"swiglu", ACT_SILU}};
    const char *name = config_string_or(b->c, key, NULL, b->e);

    if (!name) return otherwise;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name)) return known[i].kind;
    config_fault(b->c, b->e, key, "the activation \"%.40s\" is not known", name);
    return otherwise;
}

#include "coordinator/arch/gguf_tell.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES 256

/* ---- one value ---- */

/* The whole key, or NULL: it was told before, or values are read. */
static const char *new_key(struct gguf_values *v, char out[KEY_BYTES], const char *key)
{
    struct gguf_telling *t = v->tells;
    char **list;

    if (!t || t->failed) return NULL;
    snprintf(out, KEY_BYTES, "%s.%s", v->architecture, key);
    for (size_t i = 0; i < t->count; i++)
        if (!strcmp(t->told[i], out)) return NULL;
    list = reallocarray(t->told, t->count + 1, sizeof *list);
    if (list) t->told = list;
    if (!list || !(list[t->count] = strdup(out))) {
        t->failed = true;
        return NULL;
    }
    t->count++;
    return out;
}

void gguf_tell_int(struct gguf_values *v, const char *key, uint64_t x)
{
    char full[KEY_BYTES];

    if (new_key(v, full, key)) gguf_out_u32(v->tells->out, full, x < UINT32_MAX ? (uint32_t)x : UINT32_MAX);
}

void gguf_tell_real(struct gguf_values *v, const char *key, double x)
{
    char full[KEY_BYTES];

    if (new_key(v, full, key)) gguf_out_f32(v->tells->out, full, x);
}

void gguf_tell_flag(struct gguf_values *v, const char *key, bool x)
{
    char full[KEY_BYTES];

    if (new_key(v, full, key)) gguf_out_bool(v->tells->out, full, x);
}

void gguf_tell_ints(struct gguf_values *v, const char *key, const uint32_t *x, uint64_t n)
{
    char full[KEY_BYTES];

    if (v->tells && !x) v->tells->failed = true;
    if (!x || !new_key(v, full, key)) return;
    gguf_out_array(v->tells->out, full, GGUF_U32, n);
    gguf_out_element(v->tells->out, x, n * sizeof *x);
}

void gguf_tell_flags(struct gguf_values *v, const char *key, const uint8_t *x, uint64_t n)
{
    char full[KEY_BYTES];

    if (v->tells && !x) v->tells->failed = true;
    if (!x || !new_key(v, full, key)) return;
    gguf_out_array(v->tells->out, full, GGUF_BOOL, n);
    gguf_out_element(v->tells->out, x, n);
}

static void tell_text(struct gguf_values *v, const char *key, const char *x)
{
    char full[KEY_BYTES];

    if (new_key(v, full, key)) gguf_out_text(v->tells->out, full, x, strlen(x));
}

/* A whole number as such, where its key is for one: f32 keys take those that are written with a point, and 0 or 1 as well. */
static bool is_real_key(const char *key)
{
    static const char *const reals[] = {"scale", "epsilon", "freq_base",  "capping",   "factor",
                                        "clamp", "beta",    "multiplier", "clamp_kqv", "value_scale"};

    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (strstr(key, reals[i])) return true;
    return false;
}

static void tell_json(struct gguf_values *v, const char *key, const json_t *x)
{
    if (json_is_boolean(x)) gguf_tell_flag(v, key, json_is_true(x));
    if (json_is_real(x) || (json_is_integer(x) && is_real_key(key))) gguf_tell_real(v, key, json_number_value(x));
    if (json_is_integer(x) && !is_real_key(key) && json_integer_value(x) >= 0)
        gguf_tell_int(v, key, (uint64_t)json_integer_value(x));
}

void gguf_tell_field(struct gguf_values *v, const char *key, const char *field)
{
    if (v->tells) tell_json(v, key, config_field(v->tells->config, field, false));
}

void gguf_tell_cannot(struct gguf_values *v, const char *field, const char *why)
{
    if (!v->tells || v->tells->cannot) return;
    v->tells->cannot = field;
    v->tells->why = why;
}

void gguf_tell_pattern(struct gguf_values *v, const char *key, uint64_t otherwise)
{
    bool by_rule = true;

    if (!v->tells) return;
    for (uint64_t i = 0; i < v->layers; i++)
        if (v->tells->slides[i] != (otherwise && (i + 1) % otherwise)) by_rule = false;
    if (!by_rule) gguf_tell_flags(v, key, v->tells->slides, v->layers);
}

bool gguf_tell_slides(const struct gguf_values *v)
{
    for (uint64_t i = 0; v->tells && i < v->layers; i++)
        if (v->tells->slides[i]) return true;
    return false;
}

void gguf_tell_mixed(struct gguf_values *v, const char *key)
{
    uint32_t *heads = v->tells ? calloc(v->layers + 1, sizeof *heads) : NULL;
    const struct plan_shm *p = v->tells ? v->tells->program : NULL;

    for (uint64_t i = 0; heads && i < p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(p)[i];

        if (op->kind == OP_ATTENTION && op->layer < v->layers) heads[op->layer] = op->attention.kv_heads;
    }
    if (v->tells) gguf_tell_ints(v, key, heads, v->layers);
    free(heads);
}

/* ---- what the program shows ---- */

static const struct plan_op *first_op(const struct plan_shm *p, uint32_t kind)
{
    for (uint64_t i = 0; i < p->ops.count; i++)
        if (plan_ops(p)[i].kind == kind) return &plan_ops(p)[i];
    return NULL;
}

void gguf_mamba_tell(struct gguf_values *v)
{
    const struct plan_op *scan = v->tells ? first_op(v->tells->program, OP_SCAN) : NULL,
                         *conv = v->tells ? first_op(v->tells->program, OP_CONV) : NULL;

    if (!scan || !conv) return;
    gguf_tell_int(v, "ssm.conv_kernel", conv->conv.taps);
    gguf_tell_int(v, "ssm.inner_size", (uint64_t)scan->scan.heads * scan->scan.width);
    gguf_tell_int(v, "ssm.state_size", scan->scan.states);
    gguf_tell_int(v, "ssm.time_step_rank", scan->scan.heads);
    gguf_tell_int(v, "ssm.group_count", scan->scan.groups);
}

static uint8_t *find_slides(const struct plan_shm *p)
{
    uint8_t *slides = calloc(p->spec.layers + 1, 1);

    for (uint64_t i = 0; slides && i < p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(p)[i];

        if (op->kind == OP_ATTENTION && op->layer < p->spec.layers) slides[op->layer] = op->attention.window != 0;
    }
    return slides;
}

static void know_sizes(struct gguf_values *v, const struct plan_shm *p)
{
    const struct plan_op *attention = first_op(p, OP_ATTENTION), *rope = first_op(p, OP_ROPE);

    v->hidden = p->spec.hidden;
    v->layers = p->spec.layers;
    if (attention) {
        v->heads = attention->attention.heads;
        v->kv_heads = attention->attention.kv_heads;
        v->head_dim = attention->attention.dk;
    }
    v->rope_dim = rope ? rope->rope.dim : 0;
    if (!p->experts.count) return;
    v->experts = plan_experts(p)[0].experts;
    v->expert_inter = plan_experts(p)[0].inter;
}

static uint32_t first_window(const struct plan_shm *p)
{
    for (uint64_t i = 0; i < p->ops.count; i++)
        if (plan_ops(p)[i].kind == OP_ATTENTION && plan_ops(p)[i].attention.window)
            return plan_ops(p)[i].attention.window;
    return 0;
}

/* ---- rotary tables ---- */

static const json_t *rules_of_kind(const struct config *c, const char *key, const char *kind)
{
    const json_t *r = config_field(c, key, false), *of_kind = json_object_get(r, kind);

    return json_is_object(of_kind) ? of_kind : json_object_size(r) ? r : NULL;
}

static const json_t *find_rules(const struct config *c)
{
    const json_t *r = rules_of_kind(c, "rope_scaling", "full_attention");

    return r ? r : rules_of_kind(c, "rope_parameters", "full_attention");
}

static double find_theta(const struct config *c)
{
    static const char *const fields[] = {"rope_theta", "rotary_emb_base"};
    const json_t *x = json_object_get(find_rules(c), "rope_theta");

    for (size_t i = 0; i < sizeof fields / sizeof *fields && !json_is_number(x); i++)
        if (config_gives(c, fields[i])) x = config_field(c, fields[i], false);
    if (!json_is_number(x)) x = json_object_get(rules_of_kind(c, "rope_parameters", "full_attention"), "rope_theta");
    if (!json_is_number(x)) x = config_field(c, "rope_theta", false);
    return json_is_number(x) ? json_number_value(x) : 10000;
}

static float *copy_list(const json_t *list, size_t *n)
{
    float *x = malloc((json_array_size(list) + 1) * sizeof *x);

    *n = x ? json_array_size(list) : 0;
    for (size_t i = 0; i < *n; i++) x[i] = (float)json_number_value(json_array_get(list, i));
    return x;
}

/* Llama 3's rule as the factors that divide the frequencies. */
static void divide(struct gguf_factors *f, const struct plan_shm *p, double theta)
{
    const struct plan_rope *r = &plan_ropes(p)[0];
    const float *inv_freq = plan_constants(p) + r->inv_freq;

    f->divide = malloc((r->dim / 2 + 1) * sizeof *f->divide);
    if (!f->divide) return;
    f->divides = r->dim / 2;
    for (uint32_t i = 0; i < r->dim / 2; i++)
        f->divide[i] = 1.0f / powf((float)theta, (float)(2 * i) / (float)r->dim) / inv_freq[i];
}

static void tell_yarn(struct gguf_values *v, const json_t *rules)
{
    static const char *const pairs[][2] = {{"rope.scaling.yarn_attn_factor", "attention_factor"},
                                           {"rope.scaling.yarn_beta_fast", "beta_fast"},
                                           {"rope.scaling.yarn_beta_slow", "beta_slow"}};
    const json_t *all = json_object_get(rules, "mscale_all_dim");

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        tell_json(v, pairs[i][0], json_object_get(rules, pairs[i][1]));
    if (json_is_number(all)) gguf_tell_real(v, "rope.scaling.yarn_log_multiplier", 0.1 * json_number_value(all));
}

/* Which of a head's columns rotate, as factors: beyond all measure where they do not (Gemma 4). */
static void divide_share(struct gguf_factors *f, const struct gguf_values *v)
{
    const struct plan_shm *p = v->tells->program;
    const struct plan_rope *r = NULL;

    for (uint64_t i = 0; i < p->ops.count && !r; i++) {
        const struct plan_op *op = &plan_ops(p)[i];

        if (op->kind == OP_ROPE && op->layer < v->layers && !v->tells->slides[op->layer])
            r = &plan_ropes(p)[op->rope.rope];
    }
    f->divide = r ? malloc((r->dim / 2 + 1) * sizeof *f->divide) : NULL;
    if (!f->divide) return;
    f->divides = r->dim / 2;
    for (uint32_t i = 0; i < r->dim / 2; i++) f->divide[i] = plan_constants(p)[r->inv_freq + i] != 0 ? 1 : 1e30f;
}

/* Others grow with the text, or are not known. */
static bool is_rule(const char *type)
{
    static const char *const rules[] = {"default", "mrope", "linear", "yarn", "llama3", "proportional"};

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!strcmp(rules[i], type)) return true;
    return false;
}

/* Where models see pictures too, which columns turn by which of three positions: for text these are one and the same, but
 * other programs want to know. */
static void tell_sections(struct gguf_values *v, const json_t *rules)
{
    static const char *const kinds[] = {"qwen2vl", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe"};
    const json_t *list = json_object_get(rules, "mrope_section");
    int32_t sections[4] = {(int32_t)v->rope_dim / 2};
    char full[KEY_BYTES];
    bool is = false;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) is |= !strcmp(kinds[i], v->architecture);
    for (size_t i = 0; i < 4 && json_is_array(list); i++)
        sections[i] = (int32_t)json_integer_value(json_array_get(list, i));
    if (!is || !new_key(v, full, "rope.dimension_sections")) return;
    gguf_out_array(v->tells->out, full, GGUF_I32, 4);
    gguf_out_element(v->tells->out, sections, sizeof sections);
}

static void tell_rope(struct gguf_values *v, struct gguf_factors *f)
{
    const struct plan_shm *p = v->tells->program;
    const struct config *c = v->tells->config;
    const json_t *rules = find_rules(c), *x = json_object_get(rules, "rope_type"),
                 *sliding = json_object_get(config_field(c, "rope_parameters", false), "sliding_attention");
    const json_t *longer = json_object_get(rules, "long_factor");
    const char *type = json_string_value(json_is_string(x) ? x : json_object_get(rules, "type"));
    double theta = find_theta(c);

    if (!p->ropes.count) return;
    gguf_tell_int(v, "rope.dimension_count", v->rope_dim);
    gguf_tell_real(v, "rope.freq_base", theta);
    if (json_is_object(sliding)) tell_json(v, "rope.freq_base_swa", json_object_get(sliding, "rope_theta"));
    tell_sections(v, rules);
    if (!type) return;
    if (!json_is_array(longer) && !is_rule(type)) snprintf(v->tells->unsaid, sizeof v->tells->unsaid, "%.40s", type);
    if (!strcmp(type, "llama3")) divide(f, p, theta);
    if (!strcmp(type, "proportional")) divide_share(f, v);
    if (json_is_array(longer)) {
        f->longer = copy_list(longer, &f->longs);
        f->shorter = copy_list(json_object_get(rules, "short_factor"), &f->shorts);
        gguf_tell_field(v, "rope.scaling.original_context_length", "original_max_position_embeddings");
        tell_json(v, "rope.scaling.original_context_length",
                  json_object_get(rules, "original_max_position_embeddings"));
        gguf_tell_real(v, "rope.scaling.attn_factor", (double)plan_ropes(p)[0].scale);
    } else if (!strcmp(type, "linear") || !strcmp(type, "yarn")) {
        tell_text(v, "rope.scaling.type", type);
        tell_json(v, "rope.scaling.factor", json_object_get(rules, "factor"));
        tell_json(v, "rope.scaling.original_context_length",
                  json_object_get(rules, "original_max_position_embeddings"));
        if (!strcmp(type, "yarn")) tell_yarn(v, rules);
    }
}

void gguf_factors_free(struct gguf_factors *f)
{
    free(f->divide);
    free(f->longer);
    free(f->shorter);
    *f = (struct gguf_factors){0};
}

/* ---- what all files say ---- */

static void tell_sizes(struct gguf_values *v, const struct model *m, uint64_t inter)
{
    const struct plan_shm *p = v->tells->program;
    const struct plan_op *norm = first_op(p, OP_NORM), *router = first_op(p, OP_ROUTER);
    uint32_t window = first_window(p);

    gguf_tell_int(v, "block_count", v->layers);
    gguf_tell_field(v, "context_length", "max_position_embeddings");
    gguf_tell_int(v, "context_length", model_positions(m));
    gguf_tell_int(v, "embedding_length", v->hidden);
    gguf_tell_int(v, "feed_forward_length", inter ? inter : v->expert_inter);
    gguf_tell_int(v, "vocab_size", p->spec.vocab);
    gguf_tell_int(v, "attention.head_count", v->heads);
    gguf_tell_int(v, "attention.head_count_kv", v->kv_heads);
    if (!v->family->latent) {
        gguf_tell_int(v, "attention.key_length", v->head_dim);
        gguf_tell_int(v, "attention.value_length", v->head_dim);
    }
    if (norm)
        gguf_tell_real(
            v, norm->norm.kind == NORM_LAYER ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
            (double)norm->norm.eps);
    if (window) gguf_tell_int(v, "attention.sliding_window", window);
    if (!router) return;
    gguf_tell_int(v, "expert_count", v->experts);
    gguf_tell_int(v, "expert_used_count", router->router.top);
    gguf_tell_int(v, "expert_feed_forward_length", v->expert_inter);
}

int gguf_tell(struct gguf_out *out, struct gguf_factors *f, const struct gguf_family *family, const struct model *m,
              uint64_t inter, struct error *e)
{
    static const struct gguf nothing = {0};
    struct error unread = {0};
    uint8_t *slides = find_slides(model_program(m));
    struct gguf_telling t = {
        .config = model_config(m), .program = model_program(m), .out = out, .failed = !slides, .slides = slides};
    struct gguf_values v = {.g = &nothing,
                            .tells = &t,
                            .family = family,
                            .out = json_object(),
                            .e = &unread,
                            .architecture = family->architecture};

    *f = (struct gguf_factors){0};
    gguf_out_text(out, "general.architecture", family->architecture, strlen(family->architecture));
    know_sizes(&v, t.program);
    if (family->config && !t.failed) family->config(&v);
    tell_sizes(&v, m, inter);
    tell_rope(&v, f);
    for (size_t i = 0; i < t.count; i++) free(t.told[i]);
    free(t.told);
    free(slides);
    json_decref(v.out);
    if (t.cannot)
        return error_set(e, ENOTSUP,
                         "%s: %s: %s have no place in a GGUF file of the architecture %s: take the folder as it is",
                         t.config->path, t.cannot, t.why, family->architecture);
    if (t.unsaid[0])
        return error_set(e, ENOTSUP, "%s: rope_type: GGUF files cannot say \"%s\": take the folder as it is",
                         t.config->path, t.unsaid);
    return t.failed || out->values.failed || unread.code ? error_set(e, ENOMEM, "no memory for what a GGUF file says")
                                                         : 0;
}

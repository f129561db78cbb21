#include "coordinator/arch/gguf.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/source/gguf_source.h"
#include "coordinator/text/suggest.h"

#define KEY_BYTES     256
#define LAYERS_LOOKED 8u /* of these, one has what most have */
#define LAYERS_MOST   10000u

static const struct gguf_family *const families[] = {
    &gguf_llama,      &gguf_mistral3,      &gguf_qwen2,        &gguf_qwen2_vl,       &gguf_qwen3,
    &gguf_qwen3_vl,   &gguf_gemma,         &gguf_gemma2,       &gguf_gemma3,         &gguf_minimax_m2,
    &gguf_qwen2_moe,  &gguf_qwen3_moe,     &gguf_qwen3_vl_moe, &gguf_chatglm,        &gguf_glm4,
    &gguf_glm4_moe,   &gguf_phi3,          &gguf_granite,      &gguf_granite_moe,    &gguf_olmo2,
    &gguf_olmoe,      &gguf_cohere,        &gguf_cohere2,      &gguf_starcoder2,     &gguf_stablelm,
    &gguf_smollm3,    &gguf_ernie45,       &gguf_seed_oss,     &gguf_exaone4,        &gguf_gpt_oss,
    &gguf_internlm2,  &gguf_baichuan,      &gguf_llama4,       &gguf_qwen1,          &gguf_deepseek2,
    &gguf_qwen3_next, &gguf_qwen35,        &gguf_qwen35_moe,   &gguf_dots1,          &gguf_ernie45_moe,
    &gguf_afmoe,      &gguf_cohere2_moe,   &gguf_exaone_moe,   &gguf_hy_v3,          &gguf_hunyuan_moe,
    &gguf_gpt2,       &gguf_starcoder,     &gguf_gpt_neox,     &gguf_falcon,         &gguf_bloom,
    &gguf_mpt,        &gguf_phi2,          &gguf_lfm2,         &gguf_lfm2_moe,       &gguf_granite_hybrid,
    &gguf_falcon_h1,  &gguf_mamba2,        &gguf_nemotron_h,   &gguf_nemotron_h_moe, &gguf_gemma4,
    &gguf_mistral4,   &gguf_deepseek32,    &gguf_glm_dsa,      &gguf_olmo,           &gguf_arcee,
    &gguf_nemotron,   &gguf_apertus,       &gguf_jamba,        &gguf_kimi_linear,    &gguf_minimax_m3,
    &gguf_step35,     &gguf_mimo2,         &gguf_gemma3n,      &gguf_phimoe,         &gguf_minicpm,
    &gguf_minicpm3,   &gguf_hunyuan_dense, &gguf_deepseek4,
};
#define FAMILIES (sizeof families / sizeof *families)

/* ---- values ---- */

static const char *full_key(const struct gguf_values *v, char out[KEY_BYTES], const char *key)
{
    snprintf(out, KEY_BYTES, "%s.%s", v->architecture, key);
    return out;
}

void gguf_refuse(struct gguf_values *v, const char *key, const char *fmt, ...)
{
    char full[KEY_BYTES], text[512];
    va_list ap;

    if (v->tells) return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    gguf_fault(v->g, v->e, full_key(v, full, key), "%s", text);
}

const struct gguf_value *gguf_ask(struct gguf_values *v, const char *key)
{
    char full[KEY_BYTES];
    const struct gguf_value *x = gguf_find(v->g, full_key(v, full, key));

    if (x) v->asked[x - v->g->values] = 1;
    return x;
}

/* The value as a single one: of a list that is the same for each layer, its first. NULL: there is none. */
static const struct gguf_value *single(struct gguf_values *v, const char *key)
{
    const struct gguf_value *x = gguf_ask(v, key);

    if (v->e->code || !x || !x->array) return v->e->code ? NULL : x;
    if (x->type == GGUF_STRING || !x->count) {
        gguf_refuse(v, key, "a list of %s where a number was expected", x->count ? "strings" : "nothing");
        return NULL;
    }
    for (uint64_t i = 1; i < x->count; i++)
        if (gguf_float(x, i) != gguf_float(x, 0)) {
            gguf_refuse(v, key, "it differs by the layer, which is not supported for this architecture");
            return NULL;
        }
    return x;
}

bool gguf_value_int(struct gguf_values *v, const char *key, uint64_t *out)
{
    const struct gguf_value *x = single(v, key);

    if (!x) return false;
    if (!gguf_is_kind(x, GGUF_INTS) || gguf_int(x, 0) < 0) {
        gguf_refuse(v, key, "a whole number was expected: the file was made by a program that errs");
        return false;
    }
    *out = (uint64_t)gguf_int(x, 0);
    return true;
}

bool gguf_value_real(struct gguf_values *v, const char *key, double *out)
{
    const struct gguf_value *x = single(v, key);

    if (!x) return false;
    if (x->type == GGUF_STRING || x->type == GGUF_BOOL || !isfinite(gguf_float(x, 0))) {
        gguf_refuse(v, key, "a finite number was expected: the file was made by a program that errs");
        return false;
    }
    *out = x->type == GGUF_F32 ? gguf_meant(gguf_float(x, 0)) : gguf_float(x, 0);
    return true;
}

bool gguf_value_flag(struct gguf_values *v, const char *key, bool *out)
{
    const struct gguf_value *x = single(v, key);

    if (!x) return false;
    if (!gguf_is_kind(x, GGUF_BOOLS)) {
        gguf_refuse(v, key, "a boolean was expected: the file was made by a program that errs");
        return false;
    }
    *out = gguf_truth(x, 0);
    return true;
}

uint64_t gguf_value_needed(struct gguf_values *v, const char *key)
{
    uint64_t x = 0;

    if (!gguf_value_int(v, key, &x))
        gguf_refuse(v, key, "this value is missing, and the model cannot be understood without it");
    return x;
}

/* ---- fields ---- */

void gguf_set(struct gguf_values *v, const char *field, json_t *x)
{
    if (json_object_set_new(v->out, field, x))
        error_set(v->e, ENOMEM, "%s: no memory for its description", v->g->files[0].path);
}

void gguf_set_int(struct gguf_values *v, const char *field, uint64_t x)
{
    gguf_set(v, field, json_integer(x > INT64_MAX ? INT64_MAX : (json_int_t)x));
}

void gguf_set_real(struct gguf_values *v, const char *field, double x)
{
    gguf_set(v, field, json_real(x));
}

void gguf_set_flag(struct gguf_values *v, const char *field, bool x)
{
    gguf_set(v, field, json_boolean(x));
}

void gguf_set_text(struct gguf_values *v, const char *field, const char *x)
{
    gguf_set(v, field, json_string(x));
}

void gguf_set_none(struct gguf_values *v, const char *field)
{
    gguf_set(v, field, json_null());
}

void gguf_field_int(struct gguf_values *v, const char *key, const char *field, uint64_t otherwise)
{
    gguf_tell_field(v, key, field);
    gguf_value_int(v, key, &otherwise);
    gguf_set_int(v, field, otherwise);
}

void gguf_field_real(struct gguf_values *v, const char *key, const char *field, double otherwise)
{
    gguf_tell_field(v, key, field);
    gguf_value_real(v, key, &otherwise);
    gguf_set_real(v, field, otherwise);
}

void gguf_field_flag(struct gguf_values *v, const char *key, const char *field, bool otherwise)
{
    gguf_tell_field(v, key, field);
    gguf_value_flag(v, key, &otherwise);
    gguf_set_flag(v, field, otherwise);
}

bool gguf_layer_has(const struct gguf_values *v, const char *name)
{
    char full[KEY_BYTES];

    for (unsigned i = 0; i < LAYERS_LOOKED; i++) {
        snprintf(full, sizeof full, "blk.%u.%s", i, name);
        if (gguf_tensor(v->g, full)) return true;
    }
    return false;
}

void gguf_window(struct gguf_values *v)
{
    uint64_t window = 0;

    gguf_tell_field(v, "attention.sliding_window", "sliding_window");
    gguf_value_int(v, "attention.sliding_window", &window);
    if (window)
        gguf_set_int(v, "sliding_window", window);
    else
        gguf_set_none(v, "sliding_window");
}

/* ---- what all families have ---- */

/* Of heads, where no value says it: what the projection behind attention takes. */
static uint64_t head_dim(const struct gguf_values *v)
{
    const struct gguf_tensor *t = gguf_tensor(v->g, "blk.0.attn_output.weight");

    if (t && v->heads && t->dims[0] % v->heads == 0) return t->dims[0] / v->heads;
    return v->heads ? v->hidden / v->heads : 0;
}

static void attention(struct gguf_values *v)
{
    uint64_t value;

    if (v->family->by_layer && gguf_ask(v, "attention.head_count"))
        v->heads = gguf_layer_int(v, "attention.head_count", 0);
    else
        v->heads = gguf_value_needed(v, "attention.head_count");
    v->kv_heads = v->heads;
    if (v->family->by_layer)
        v->kv_heads = gguf_layer_int(v, "attention.head_count_kv", 0);
    else if (v->family->mixed)
        v->kv_heads = gguf_mixed_int(v, "attention.head_count_kv", "no layer attends");
    else
        gguf_value_int(v, "attention.head_count_kv", &v->kv_heads);
    gguf_set_int(v, "num_attention_heads", v->heads);
    gguf_set_int(v, "num_key_value_heads", v->kv_heads);
    gguf_set_flag(v, "attention_bias", gguf_layer_has(v, "attn_q.bias") || gguf_layer_has(v, "attn_qkv.bias"));
    gguf_set_none(v, "sliding_window");
    if (v->family->latent || v->family->by_layer) return;
    v->head_dim = head_dim(v);
    gguf_value_int(v, "attention.key_length", &v->head_dim);
    value = v->head_dim;
    gguf_value_int(v, "attention.value_length", &value);
    if (value != v->head_dim)
        gguf_refuse(v, "attention.value_length",
                    "%" PRIu64 " columns, and keys have %" PRIu64 ": heads of two widths are not supported", value,
                    v->head_dim);
    gguf_set_int(v, "head_dim", v->head_dim);
}

static void sizes(struct gguf_values *v)
{
    const struct gguf_tensor *embed = gguf_tensor(v->g, "token_embd.weight");
    uint64_t blocks = gguf_value_needed(v, "block_count"), more = 0, vocab = embed ? embed->dims[1] : 0;

    gguf_value_int(v, "nextn_predict_layers", &more);
    if ((!blocks || blocks > LAYERS_MOST) && !v->e->code)
        gguf_refuse(v, "block_count", "%" PRIu64 " is out of range, 1 to %u are possible", blocks, LAYERS_MOST);
    if (more >= blocks && !v->e->code)
        gguf_refuse(v, "nextn_predict_layers", "%" PRIu64 " of %" PRIu64 " layers", more, blocks);
    if (v->e->code) return;
    v->layers = blocks - more;
    v->hidden = gguf_value_needed(v, "embedding_length");
    if (!embed) gguf_value_int(v, "vocab_size", &vocab);
    gguf_set_int(v, "num_hidden_layers", v->layers);
    gguf_set_int(v, "hidden_size", v->hidden);
    gguf_set_int(v, "vocab_size", vocab);
    gguf_field_int(v, "context_length", "max_position_embeddings", 2048);
    if (v->family->by_layer)
        gguf_set_int(v, "intermediate_size", gguf_layer_int(v, "feed_forward_length", 0));
    else if (v->family->mixed)
        gguf_set_int(v, "intermediate_size", gguf_mixed_int(v, "feed_forward_length", NULL));
    else
        gguf_field_int(v, "feed_forward_length", "intermediate_size", 0);
    gguf_set_flag(v, "tie_word_embeddings", !gguf_tensor(v->g, "output.weight"));
    gguf_set_flag(v, "mlp_bias", gguf_layer_has(v, "ffn_down.bias"));
    gguf_set_text(v, "hidden_act", "silu");
}

static void norms(struct gguf_values *v)
{
    double eps = 0;
    bool rms = gguf_value_real(v, "attention.layer_norm_rms_epsilon", &eps);

    if (!rms && !gguf_value_real(v, "attention.layer_norm_epsilon", &eps))
        gguf_refuse(v, "attention.layer_norm_rms_epsilon",
                    "this value is missing, and the model cannot be understood without it");
    gguf_set_real(v, "rms_norm_eps", eps);
    gguf_set_real(v, "layer_norm_eps", eps);
    gguf_set_real(v, "layer_norm_epsilon", eps);
}

/* An expert's width: what its matrices have; feed_forward_length may be that of layers without experts. */
static uint64_t expert_width(struct gguf_values *v)
{
    char name[64];
    uint64_t width = 0;

    for (unsigned i = 0; i < LAYERS_LOOKED; i++) {
        const struct gguf_tensor *t;

        snprintf(name, sizeof name, "blk.%u.ffn_down_exps.weight", i);
        if ((t = gguf_tensor(v->g, name))) return t->dims[0];
    }
    if (!gguf_value_int(v, "expert_feed_forward_length", &width)) gguf_value_int(v, "feed_forward_length", &width);
    return width;
}

static void experts(struct gguf_values *v)
{
    if (!gguf_value_int(v, "expert_count", &v->experts) || !v->experts) return;
    gguf_set_int(v, "num_local_experts", v->experts);
    gguf_set_int(v, "num_experts_per_tok", gguf_value_needed(v, "expert_used_count"));
    v->expert_inter = expert_width(v);
    gguf_set_int(v, "moe_intermediate_size", v->expert_inter);
}

/* ---- what the file says and nobody asked for ---- */

/* Values that change what is computed. One that the family knows nothing of would make its answers wrong in silence. */
static void refuse_unasked(struct gguf_values *v)
{
    static const char *const keys[] = {"attention.clamp_kqv",
                                       "attention.max_alibi_bias",
                                       "attention.scale",
                                       "attention.temperature_scale",
                                       "attention.temperature_length",
                                       "attention.value_scale",
                                       "attn_logit_softcapping",
                                       "final_logit_softcapping",
                                       "router_logit_softcapping",
                                       "logit_scale",
                                       "embedding_scale",
                                       "residual_scale",
                                       "swin_norm",
                                       "rescale_every_n_layers",
                                       "swiglu_clamp_exp",
                                       "attention.indexer.head_count",
                                       "expert_group_scale",
                                       "moe_every_n_layers",
                                       "altup.num_inputs",
                                       "ssm.conv_kernel",
                                       "wkv.head_size",
                                       "hyper_connection.count"};
    char full[KEY_BYTES];

    for (size_t i = 0; i < sizeof keys / sizeof *keys && !v->e->code; i++) {
        const struct gguf_value *x = gguf_find(v->g, full_key(v, full, keys[i]));

        if (!x || v->asked[x - v->g->values]) continue;
        if (x->type != GGUF_STRING && x->count == 1 && gguf_float(x, 0) == 0) continue; /* as if it were not there */
        gguf_refuse(v, keys[i], "%s does not know it: take another model, or a newer sluice", v->family->class);
    }
}

/* Files that hold no model. */
static int refuse_other_kinds(const struct gguf *g, struct error *e)
{
    static const struct {
        const char *type, *what;
    } kinds[] = {
        {"adapter", "an adapter (LoRA), not a model, and adapters are not supported: merge it into its model first"},
        {"imatrix", "statistics for quantizing, and no model"},
        {"mmproj", "what sees or hears beside a model: give the file of the language model that lies with it"}};
    const char *type = "";
    size_t bytes;

    gguf_string(g, "general.type", &type, &bytes, e);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !e->code; i++)
        if (!strcmp(kinds[i].type, type)) return error_set(e, ENOTSUP, "%s: %s", g->files[0].path, kinds[i].what);
    if (!e->code && !g->tensor_count && g->complete)
        return error_set(e, ENOTSUP, "%s: a vocabulary alone, without weights: give the file of a model",
                         g->files[0].path);
    return -e->code;
}

/* ---- the family ---- */

const struct gguf_family *gguf_family_at(size_t i)
{
    return i < FAMILIES ? families[i] : NULL;
}

const struct gguf_family *gguf_family_of(const struct gguf *g, struct error *e)
{
    const char *name, *near = NULL;
    size_t bytes, best = SIZE_MAX;
    int rc = gguf_string(g, "general.architecture", &name, &bytes, e);

    if (rc == -ENOENT) gguf_fault(g, e, "general.architecture", "it does not say what it is: download another file");
    if (rc) return NULL;
    for (size_t i = 0; i < FAMILIES; i++) {
        size_t cost = suggest_distance(name, families[i]->architecture);

        if (!strcmp(families[i]->architecture, name)) return families[i];
        if (cost >= best) continue;
        best = cost;
        near = families[i]->architecture;
    }
    if (!strcmp(name, "clip") || !strcmp(name, "mmproj"))
        error_set(e, ENOTSUP,
                  "%s: what sees or hears beside a model, and no model: give the file of the language model that lies "
                  "with it",
                  g->files[0].path);
    else
        error_set(e, ENOTSUP, "%s: the architecture \"%.60s\" is not known%s%s: take another model, or a newer sluice",
                  g->files[0].path, name, best < 3 ? "; the nearest that is: " : "", best < 3 ? near : "");
    return NULL;
}

static int make_config(struct config *c, struct gguf_values *v)
{
    gguf_set(v, "architectures", json_pack("[s]", v->family->class));
    gguf_set_text(v, "model_type", v->family->type);
    sizes(v);
    attention(v);
    norms(v);
    experts(v);
    gguf_rotary(v);
    if (v->family->config && !v->e->code) v->family->config(v);
    gguf_field_flag(v, "attention.causal", "is_causal", true);
    refuse_unasked(v);
    c->text = c->root;
    return -v->e->code;
}

int gguf_config(struct config **out, const struct gguf *g, struct error *e)
{
    const struct gguf_family *f = refuse_other_kinds(g, e) ? NULL : gguf_family_of(g, e);
    struct config *c = f ? calloc(1, sizeof *c) : NULL;
    struct gguf_values v = {.g = g, .family = f, .e = e, .asked = calloc(g->value_count + 1, 1)};
    int rc;

    *out = NULL;
    if (f && c) c->root = v.out = json_object();
    if (!f || !c || !v.asked || !c->root || !(c->path = strdup(g->files[0].path))) {
        if (c) json_decref(c->root);
        free(c);
        free(v.asked);
        if (!f) return -e->code;
        return error_set(e, ENOMEM, "%s: no memory for its description", g->files[0].path);
    }
    v.architecture = f->architecture;
    rc = make_config(c, &v);
    free(v.asked);
    if (rc)
        config_close(c);
    else
        *out = c;
    return rc;
}

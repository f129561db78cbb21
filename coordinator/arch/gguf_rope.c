/* Rotary tables: values and tensors of factors on one side, rope_scaling and its kin on the other. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/source/gguf_source.h"

#define KEY_BYTES    256
#define FACTORS_MOST 65536u /* of a table */

double gguf_meant(double x)
{
    char text[40];

    for (int digits = 1; digits < 10; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if ((float)strtod(text, NULL) == (float)x) return strtod(text, NULL);
    }
    return x;
}

/* What a tensor of factors holds, as a list; NULL: there is none, or its bytes are not there yet. */
static json_t *factors(struct gguf_values *v, const char *name)
{
    const struct gguf_tensor *t = gguf_tensor(v->g, name);
    json_t *list = json_array();
    float *x = NULL;
    size_t n = 0;

    if (!t || v->e->code || !gguf_tensor_is_there(v->g, t) || gguf_read_floats(&x, &n, v->g, t, FACTORS_MOST, v->e)) {
        json_decref(list);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]) || json_array_append_new(list, json_real((double)x[i]))) break;
    free(x);
    if (json_array_size(list) == n) return list;
    error_set(v->e, EINVAL, "%s: tensor %s: it holds what is no number: the file is damaged, download it again",
              v->g->files[0].path, name);
    json_decref(list);
    return NULL;
}

/* Llama 3's rule is stored as what it makes of the frequencies: factors that divide them. */
static json_t *divided(struct gguf_values *v)
{
    json_t *list = factors(v, "rope_freqs.weight"), *o;

    if (!list) return NULL;
    o = json_pack("{s:s,s:O,s:o,s:f,s:f}", "rope_type", "longrope", "long_factor", list, "short_factor", list,
                  "attention_factor", 1.0, "factor", 1.0);
    return o;
}

static json_t *longrope(struct gguf_values *v)
{
    json_t *longer = factors(v, "rope_factors_long.weight"), *shorter = factors(v, "rope_factors_short.weight"), *o;
    double scale;

    if (!longer || !shorter) {
        json_decref(longer);
        json_decref(shorter);
        return NULL;
    }
    o = json_pack("{s:s,s:o,s:o}", "rope_type", "longrope", "long_factor", longer, "short_factor", shorter);
    if (gguf_value_real(v, "rope.scaling.attn_factor", &scale))
        json_object_set_new(o, "attention_factor", json_real(scale));
    return o;
}

static void copy_real(struct gguf_values *v, json_t *o, const char *key, const char *field, double times)
{
    double x;

    if (gguf_value_real(v, key, &x)) json_object_set_new(o, field, json_real(times == 1 ? x : gguf_meant(x * times)));
}

static json_t *yarn(struct gguf_values *v)
{
    json_t *o = json_pack("{s:s}", "rope_type", "yarn");
    uint64_t original;

    copy_real(v, o, "rope.scaling.factor", "factor", 1);
    copy_real(v, o, "rope.scaling.attn_factor", "attention_factor", 1);
    copy_real(v, o, "rope.scaling.yarn_attn_factor", "attention_factor", 1);
    copy_real(v, o, "rope.scaling.yarn_beta_fast", "beta_fast", 1);
    copy_real(v, o, "rope.scaling.yarn_beta_slow", "beta_slow", 1);
    /* DeepSeek's, stored as what it is multiplied with */
    copy_real(v, o, "rope.scaling.yarn_log_multiplier", "mscale", 10);
    copy_real(v, o, "rope.scaling.yarn_log_multiplier", "mscale_all_dim", 10);
    if (gguf_value_int(v, "rope.scaling.original_context_length", &original))
        json_object_set_new(o, "original_max_position_embeddings", json_integer((json_int_t)original));
    return o;
}

static json_t *scaling(struct gguf_values *v)
{
    char key[KEY_BYTES];
    const char *type = "none";
    double factor = 1;
    size_t bytes;

    if (gguf_tensor(v->g, "rope_freqs.weight")) return divided(v);
    if (gguf_tensor(v->g, "rope_factors_long.weight")) return longrope(v);
    snprintf(key, sizeof key, "%s.rope.scaling.type", v->architecture);
    gguf_string(v->g, key, &type, &bytes, v->e);
    gguf_value_real(v, "rope.scaling.factor", &factor);
    if (!strcmp(type, "none") && gguf_value_real(v, "rope.scale_linear", &factor)) type = "linear"; /* files of 2023 */
    if (!strcmp(type, "yarn")) return yarn(v);
    if (!strcmp(type, "linear"))
        return factor == 1 ? NULL : json_pack("{s:s,s:f}", "rope_type", type, "factor", factor);
    if (strcmp(type, "none") && strcmp(type, "longrope"))
        gguf_refuse(v, "rope.scaling.type", "\"%.40s\" is not known; none, linear, yarn and longrope are", type);
    return NULL;
}

void gguf_rotary(struct gguf_values *v)
{
    json_t *rules = scaling(v);
    uint64_t original;

    v->rope_dim = v->head_dim;
    gguf_value_int(v, "rope.dimension_count", &v->rope_dim);
    gguf_field_real(v, "rope.freq_base", "rope_theta", 10000);
    if (rules) gguf_set(v, "rope_scaling", rules);
    if (gguf_value_int(v, "rope.scaling.original_context_length", &original))
        gguf_set_int(v, "original_max_position_embeddings", original);
    if (v->family->latent || !v->head_dim) return;
    if (v->rope_dim > v->head_dim || (v->rope_dim != v->head_dim && !v->family->partial))
        gguf_refuse(v, "rope.dimension_count",
                    "%" PRIu64 " of %" PRIu64 " columns, which this architecture does not have", v->rope_dim,
                    v->head_dim);
    /* a share of which the whole number of columns is this one */
    if (v->rope_dim < v->head_dim)
        gguf_set_real(v, "partial_rotary_factor", ((double)v->rope_dim + 0.5) / (double)v->head_dim);
    else
        gguf_set_real(v, "partial_rotary_factor", 1);
}

/* ---- for some families ---- */

void gguf_plain_rotary(struct gguf_values *v)
{
    if (!json_object_get(v->out, "rope_scaling"))
        gguf_set(v, "rope_scaling", json_pack("{s:s}", "rope_type", "default"));
}

/* What the rules of the model that is told say. */
static const json_t *told_rule(const struct gguf_values *v, const char *name)
{
    const json_t *of_old = json_object_get(config_field(v->tells->config, "rope_scaling", false), name);

    return of_old ? of_old : json_object_get(config_field(v->tells->config, "rope_parameters", false), name);
}

bool gguf_tuning(struct gguf_values *v, const char *length_key, double otherwise)
{
    static const char scale_key[] = "attention.temperature_scale", field[] = "original_max_position_embeddings";
    json_t *rules = json_object_get(v->out, "rope_scaling");
    uint64_t length = 0, trained = (uint64_t)json_integer_value(json_object_get(rules, field));
    double beta = trained ? otherwise : 0,
           told = v->tells ? json_number_value(told_rule(v, "llama_4_scaling_beta")) : 0;

    if (told != 0 || otherwise != 0) gguf_tell_real(v, scale_key, told);
    if (told != 0 && length_key) gguf_tell_int(v, length_key, (uint64_t)json_integer_value(told_rule(v, field)));
    gguf_value_real(v, scale_key, &beta);
    if (beta == 0) return false;
    if (length_key) gguf_value_int(v, length_key, &length);
    if (!trained || (length && length != trained))
        gguf_refuse(v, length_key && length ? length_key : scale_key,
                    "it grows from another position on than rope.scaling.original_context_length says, which is not "
                    "supported");
    json_object_set_new(rules, "llama_4_scaling_beta", json_real(beta));
    return true;
}

void gguf_whole_log_multiplier(struct gguf_values *v)
{
    static const char key[] = "rope.scaling.yarn_log_multiplier", *const fields[] = {"mscale", "mscale_all_dim"};
    json_t *rules = json_object_get(v->out, "rope_scaling");
    double x;

    if (v->tells && json_is_number(told_rule(v, "mscale_all_dim")))
        gguf_tell_real(v, key, json_number_value(told_rule(v, "mscale_all_dim")));
    for (size_t i = 0; i < 2 && rules && gguf_value_real(v, key, &x); i++)
        json_object_set_new(rules, fields[i], json_real(x));
}

#include "coordinator/arch/rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROPE_DIM_MAX 65536u

/* What is being made. */
struct making {
    const struct config *c;
    const json_t *rules;  /* rope_scaling or rope_parameters; NULL: none */
    const json_t *beside; /* rope_parameters beside rope_scaling: theta and share, where that has none; NULL: none */
    const char *where;    /* how messages call them */
    struct error *e;
    double theta, factor, attention;
    bool borrowed;                /* something of what stands beside */
    uint32_t dim, trained, limit; /* original and full number of positions */
    float *inv_freq;              /* dim / 2 */
    float scale;
};

static double rule(const struct making *m, const char *key, double otherwise)
{
    return config_object_number(m->c, m->rules, m->where, key, otherwise, m->e);
}

static void base_frequencies(struct making *m, double theta)
{
    for (uint32_t i = 0; i < m->dim / 2; i++)
        m->inv_freq[i] = 1.0f / powf((float)theta, (float)(2 * i) / (float)m->dim);
}

static void make_default(struct making *m)
{
    base_frequencies(m, m->theta);
}

/* All of a head's columns have a frequency, and most of them none that turns. */
static void make_proportional(struct making *m, double otherwise)
{
    double share = rule(m, "partial_rotary_factor", m->rules ? 1 : otherwise), factor = rule(m, "factor", 1);

    if (!(share >= 0 && share <= 1)) {
        config_fault(m->c, m->e, m->where, "partial_rotary_factor %g is out of range, it must be from 0 to 1", share);
        return;
    }
    base_frequencies(m, m->theta);
    for (uint32_t i = 0; i < m->dim / 2; i++)
        m->inv_freq[i] = i < (uint32_t)floor(share * m->dim / 2) ? m->inv_freq[i] / (float)factor : 0;
}

static void make_linear(struct making *m)
{
    base_frequencies(m, m->theta);
    for (uint32_t i = 0; i < m->dim / 2; i++) m->inv_freq[i] /= (float)m->factor;
}

/* The reference grows theta while a text grows; a run has one table, made for the length it was asked for. */
static void make_dynamic(struct making *m, uint32_t length)
{
    double n = length > m->limit ? length : m->limit, dim = m->dim;

    if (m->dim <= 2) return base_frequencies(m, m->theta);
    base_frequencies(m, m->theta * pow(m->factor * n / m->limit - (m->factor - 1), dim / (dim - 2)));
}

/* Hunyuan's folders call it dynamic, and it depends on no length. */
static void make_alpha(struct making *m)
{
    double alpha = rule(m, "alpha", 1), dim = m->dim;

    if (!(alpha > 0)) config_fault(m->c, m->e, m->where, "alpha must be greater than 0");
    base_frequencies(m, dim <= 2 ? m->theta : m->theta * pow(alpha, dim / (dim - 2)));
}

static void make_llama3(struct making *m)
{
    double low = rule(m, "low_freq_factor", 1), high = rule(m, "high_freq_factor", 4), trained = m->trained;

    base_frequencies(m, m->theta);
    if (!(low > 0) || !(high > low)) {
        config_fault(m->c, m->e, m->where, "high_freq_factor must be greater than low_freq_factor");
        return;
    }
    for (uint32_t i = 0; i < m->dim / 2; i++) {
        float f = m->inv_freq[i], wave = (float)(2 * M_PI) / f;
        float smooth = ((float)trained / wave - (float)low) / (float)(high - low);
        if (wave > (float)(trained / low))
            m->inv_freq[i] = f / (float)m->factor;
        else if (!(wave < (float)(trained / high)))
            m->inv_freq[i] = (1 - smooth) * f / (float)m->factor + smooth * f;
    }
}

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

/* The frequency that turns rotations times within the trained length. */
static double yarn_dim(const struct making *m, double rotations)
{
    return m->dim * log(m->trained / (rotations * 2 * M_PI)) / (2 * log(m->theta));
}

static void make_yarn(struct making *m)
{
    double fast = rule(m, "beta_fast", 32), slow = rule(m, "beta_slow", 1), low, high;
    double mscale = rule(m, "mscale", 0), all = rule(m, "mscale_all_dim", 0),
           given = rule(m, "attention_factor", m->attention > 0 ? m->attention : NAN);
    const json_t *truncate = json_object_get(m->rules, "truncate");

    low = yarn_dim(m, fast != 0 ? fast : 32);
    high = yarn_dim(m, slow != 0 ? slow : 1);
    if (!json_is_false(truncate)) {
        low = floor(low);
        high = ceil(high);
    }
    low = low > 0 ? low : 0;
    high = high < m->dim - 1 ? high : m->dim - 1;
    if (low == high) high += 0.001;
    for (uint32_t i = 0; i < m->dim / 2; i++) {
        float wave = powf((float)m->theta, (float)(2 * i) / (float)m->dim);
        float ramp = ((float)i - (float)low) / (float)(high - low);
        float kept;
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        kept = 1 - ramp;
        m->inv_freq[i] = 1.0f / ((float)m->factor * wave) * (1 - kept) + 1.0f / wave * kept;
    }
    if (!isnan(given))
        m->scale = (float)given;
    else
        m->scale = (float)(mscale != 0 && all != 0 ? yarn_mscale(m->factor, mscale) / yarn_mscale(m->factor, all)
                                                   : yarn_mscale(m->factor, 1));
}

static void make_longrope(struct making *m, bool is_long)
{
    const char *key = is_long ? "long_factor" : "short_factor";
    const json_t *list = json_object_get(m->rules, key);
    double given = rule(m, "attention_factor", NAN);

    if (json_array_size(list) != m->dim / 2) {
        config_fault(m->c, m->e, m->where, "%s has %zu entries, but %u frequencies rotate", key, json_array_size(list),
                     m->dim / 2);
        return;
    }
    for (uint32_t i = 0; i < m->dim / 2; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_number(v) || !(json_number_value(v) > 0)) {
            config_fault(m->c, m->e, m->where, "%s: entry %u is no positive number", key, i);
            return;
        }
        m->inv_freq[i] = 1.0f / ((float)json_number_value(v) * powf((float)m->theta, (float)(2 * i) / (float)m->dim));
    }
    if (isnan(given)) given = rule(m, is_long ? "long_mscale" : "short_mscale", NAN); /* Phi 3.5 MoE */
    if (!isnan(given))
        m->scale = (float)given;
    else
        m->scale = m->factor <= 1 ? 1 : (float)sqrt(1 + log(m->factor) / log(m->trained));
}

/* rope_parameters may hold one object for each kind of layer: the one meant. A model whose layers all rotate alike has
 * one kind only. NULL where the kind has no rules of its own. */
static const json_t *rules_of_kind(struct making *m, const struct rope_request *q, const json_t *r)
{
    const json_t *kind = json_object_get(r, q->layer_type ? q->layer_type : "full_attention"), *v;
    size_t kinds = 0;
    const char *key;

    json_object_foreach((json_t *)(uintptr_t)r, key, v) kinds += json_is_members(v);
    if (!kinds) return r;
    if (!q->layer_type && kinds > 1)
        config_fault(m->c, m->e, m->where, "rules that differ by the kind of a layer are not known of this family");
    return json_is_members(kind) ? kind : NULL;
}

/* An object of rules of this name for this layer type; NULL: none, or an empty one. */
static const json_t *find_object(struct making *m, const struct rope_request *q, const char *key)
{
    const json_t *r = config_field(m->c, key, false), *of_kind;

    m->where = key;
    if (r && !json_is_members(r)) {
        config_fault(m->c, m->e, key, "not an object");
        return NULL;
    }
    if (!r || !json_object_size(r)) return NULL;
    of_kind = rules_of_kind(m, q, r);
    return of_kind == r && q->layer_type && strcmp(q->layer_type, "full_attention") ? NULL : of_kind;
}

static const json_t *type_of(const json_t *rules)
{
    const json_t *v = json_object_get(rules, "rope_type");

    if (!v || json_is_null(v)) v = json_object_get(rules, "type");
    return json_is_null(v) ? NULL : v;
}

/* The rules for this layer type, and the name of their type. Where kinds of layers differ, a rope_scaling without kinds
 * speaks of those with full attention, and adds to their rope_parameters. */
static void find_rules(struct making *m, const struct rope_request *q, const char **type)
{
    const json_t *parameters = find_object(m, q, "rope_parameters"), *v;

    m->rules = find_object(m, q, "rope_scaling");
    m->beside = parameters;
    if (!m->rules) {
        m->where = "rope_parameters";
        m->rules = parameters;
        m->beside = NULL;
    }
    v = type_of(m->rules);
    if (!v && q->layer_type) v = type_of(m->beside);
    *type = !m->rules && q->type ? q->type : "default";
    if (json_is_string(v))
        *type = json_string_value(v);
    else if (v)
        config_fault(m->c, m->e, m->where, "rope_type is not a string");
    if (q->longrope && json_object_get(m->rules, "long_factor"))
        *type = "longrope"; /* "su" and "yarn" in its first folders */
}

/* What the rules say, else the config itself in this field, else what stands beside the rules, else the class. */
static double rule_or_field(struct making *m, const char *key, const char *field, double otherwise)
{
    double here = rule(m, key, NAN), beside = config_object_number(m->c, m->beside, "rope_parameters", key, NAN, m->e);

    if (!isnan(here)) return here;
    if (isnan(beside) || config_gives(m->c, field)) return config_number_or(m->c, field, otherwise, m->e);
    m->borrowed = true;
    return beside;
}

static uint32_t positions(double n)
{
    return n >= 1 && n <= (double)CONFIG_SIZE_MAX ? (uint32_t)n : 0;
}

/* theta, factor, dimensions and lengths: everything but the kind. */
static void read_numbers(struct making *m, const struct rope_request *q)
{
    uint32_t original = config_size_or(m->c, "original_max_position_embeddings", 1, CONFIG_SIZE_MAX, 0, m->e);
    double partial = q->partial != 0 ? q->partial : 1;

    if (q->partial_key)
        partial =
            rule_or_field(m, "partial_rotary_factor", q->share_key ? q->share_key : "partial_rotary_factor", partial);
    m->theta =
        rule_or_field(m, "rope_theta", q->theta_key ? q->theta_key : "rope_theta", q->theta != 0 ? q->theta : 10000);
    m->limit = config_size_or(m->c, "max_position_embeddings", 1, CONFIG_SIZE_MAX, 2048, m->e);
    m->trained = positions(rule(m, "original_max_position_embeddings", q->trained ? q->trained : m->limit));
    if (original || !m->trained) m->trained = original ? original : m->limit;
    m->factor = rule(m, "factor", NAN);
    if (isnan(m->factor)) m->factor = (double)m->limit / m->trained;
    m->dim = (uint32_t)(q->head_dim * (partial >= 0 && partial <= 1 ? partial : 0));
    if (m->e->code) return;
    if (m->dim < 2 || m->dim % 2 || m->dim > ROPE_DIM_MAX)
        config_fault(m->c, m->e, q->partial_key ? "partial_rotary_factor" : "head_dim",
                     "%g of %u columns cannot rotate: an even number must", partial, q->head_dim);
    if (!(m->theta > 1))
        config_fault(m->c, m->e, "rope_theta", "%g is out of range, it must be greater than 1", m->theta);
    if (!(m->factor > 0)) config_fault(m->c, m->e, m->where, "factor must be greater than 0");
}

/* DeepSeek multiplies the softmax scale by mscale^2 where mscale_all_dim is given. */
static float deepseek_mul(const struct making *m)
{
    double all = rule(m, "mscale_all_dim", 0), s = all != 0 ? yarn_mscale(m->factor, all) : 1;

    return (float)(s * s);
}

static void make_kind(struct making *m, const struct rope_request *q, const char *type, struct rope_table *out)
{
    bool is_long = q->length > m->trained;

    /* mrope: the three positions of a picture's patch are one and the same for text */
    if (!strcmp(type, "default") || !strcmp(type, "mrope")) return make_default(m);
    out->attention_mul = deepseek_mul(m);
    if (!strcmp(type, "dynamic") && q->alpha && rule(m, "alpha", 0) != 0) return make_alpha(m);
    if (!strcmp(type, "linear") || !strcmp(type, "dynamic")) out->stretchable = positions(m->limit * m->factor);
    if (!strcmp(type, "linear")) return make_linear(m);
    if (!strcmp(type, "dynamic")) return make_dynamic(m, q->length);
    if (!strcmp(type, "llama3")) return make_llama3(m);
    if (!strcmp(type, "proportional")) return make_proportional(m, q->share);
    if (!strcmp(type, "yarn")) {
        make_yarn(m);
        out->stretched = positions(m->trained * m->factor);
        return;
    }
    if (!strcmp(type, "longrope") || !strcmp(type, "su")) {
        if (!is_long) out->trained = m->trained;
        return make_longrope(m, is_long);
    }
    config_fault(
        m->c, m->e, m->where,
        "rope type \"%.40s\" is not known; default, linear, dynamic, llama3, yarn, longrope and proportional are",
        type);
}

/* What is read above, what says the same of a model's positions in other words, and what means nothing for text. */
static bool is_known_rule(const struct rope_request *q, const char *key)
{
    static const char *const known[] = {"rope_type",
                                        "type",
                                        "rope_theta",
                                        "partial_rotary_factor",
                                        "factor",
                                        "original_max_position_embeddings",
                                        "max_position_embeddings",
                                        "attention_factor",
                                        "beta_fast",
                                        "beta_slow",
                                        "mscale",
                                        "mscale_all_dim",
                                        "truncate",
                                        "low_freq_factor",
                                        "high_freq_factor",
                                        "short_factor",
                                        "long_factor",
                                        "short_mscale",
                                        "long_mscale",
                                        "mrope_section",
                                        "mrope_interleaved",
                                        "interleaved",
                                        "finetuned"};

    if (!strcmp(key, "llama_4_scaling_beta")) return q->tunes;
    if (!strcmp(key, "alpha")) return q->alpha;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i], key)) return true;
    return false;
}

static void refuse_unknown_rules(const struct making *m, const struct rope_request *q)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)m->rules, key, v)
    {
        if (is_known_rule(q, key) || json_is_null(v) || json_is_false(v)) continue;
        if (json_is_number(v) && json_number_value(v) == 0) continue;
        config_fault(m->c, m->e, m->where,
                     "%.60s is not supported for this model: without it the answers would be wrong", key);
    }
}

/* q grows with the position, as the rules say it. */
static void read_tuning(const struct making *m, const struct rope_request *q, struct rope_table *out)
{
    if (!q->tunes) return;
    out->tune_mul = (float)rule(m, "llama_4_scaling_beta", 0);
    out->tune_floor = (float)m->trained;
}

struct rope_table rope_make(struct program *p, const struct config *c, const struct rope_request *q, struct error *e)
{
    struct making m = {.c = c, .e = e, .scale = 1, .attention = q->attention};
    struct rope_table out = {.index = PLAN_NONE, .attention_mul = 1};
    const char *type = "default";

    if (e->code) return out;
    find_rules(&m, q, &type);
    refuse_unknown_rules(&m, q);
    read_numbers(&m, q);
    read_tuning(&m, q, &out);
    out.borrowed = m.borrowed;
    if (e->code) return out;
    m.inv_freq = calloc(m.dim / 2, sizeof *m.inv_freq);
    if (!m.inv_freq) {
        p->failed = true;
        return out;
    }
    make_kind(&m, q, type, &out);
    for (uint32_t i = 0; i < m.dim / 2 && q->stretch > 0; i++) m.inv_freq[i] /= (float)q->stretch;
    out.dim = m.dim;
    if (!e->code) out.index = program_rope(p, m.inv_freq, m.dim, m.scale);
    free(m.inv_freq);
    return out;
}

#include "coordinator/arch/gguf.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/source/gguf_source.h"

#define NAME_BYTES  512
#define ITEM_BYTES  64 /* of the number of a head or an expert */
#define HEADS_MOST  65536u
#define SCALES_MOST 65536u /* of a stack of experts */

/* What most families call things as Llama does. */
static const struct gguf_name usual[] = {
    {"attn_norm", "input_layernorm", GGUF_AS_IS},
    {"ffn_norm", "post_attention_layernorm", GGUF_AS_IS},
    {"attn_q", "self_attn.q_proj", GGUF_AS_IS},
    {"attn_k", "self_attn.k_proj", GGUF_AS_IS},
    {"attn_v", "self_attn.v_proj", GGUF_AS_IS},
    {"attn_qkv", "self_attn.q_proj", GGUF_QKV},
    {"attn_output", "self_attn.o_proj", GGUF_AS_IS},
    {"attn_q_norm", "self_attn.q_norm", GGUF_AS_IS},
    {"attn_k_norm", "self_attn.k_norm", GGUF_AS_IS},
    {"ffn_gate", "mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up", "mlp.up_proj", GGUF_AS_IS},
    {"ffn_down", "mlp.down_proj", GGUF_AS_IS},
    {"ffn_gate_inp", "mlp.gate", GGUF_AS_IS},
    {"exp_probs_b", "mlp.gate.e_score_correction_bias", GGUF_BARE},
    {"ffn_gate_exps", "mlp.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "mlp.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "mlp.switch_mlp.down_proj", GGUF_AS_IS},
    {"ffn_gate_shexp", "mlp.shared_expert.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mlp.shared_expert.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mlp.shared_expert.down_proj", GGUF_AS_IS},
    {"ffn_gate_inp_shexp", "mlp.shared_expert_gate", GGUF_ROW},
    {"attn_rot_embd", "", GGUF_IGNORED},
    {"rope_freqs", "", GGUF_IGNORED},
    {NULL, NULL, 0},
};

struct mapping {
    struct tensors *t;
    const struct gguf *g;
    const struct gguf_family *f;
    const char *prefix, *layers;
    uint64_t layer_count, q_rows, kv_rows;
    bool plan; /* tensors that are not there are wanted too */
    size_t others;
    const char *other; /* the first that stands for nothing here */
    struct error *e;
};

static int no_memory(const struct mapping *m)
{
    return error_set(m->e, ENOMEM, "%s: no memory for the list of its tensors", m->g->files[0].path);
}

static int shape_fault(const struct mapping *m, const struct gguf_tensor *t, const char *what)
{
    return error_set(m->e, EINVAL, "%s: tensor %s: %s: its values and its tensors do not belong together",
                     m->g->files[t->file].path, t->name, what);
}

static int add(const struct mapping *m, struct tensor *x, const char *name)
{
    int rc;

    x->stored = x->name;
    x->name = name;
    rc = tensors_add(m->t, x, NULL);
    if (rc == -EEXIST)
        return error_set(m->e, EINVAL, "%s: two of its tensors are %s: the file was made by a program that errs",
                         m->g->files[0].path, name);
    return rc ? no_memory(m) : 0;
}

/* Rows [row0, row0 + rows) of t, a matrix or a vector, under this name. */
static int add_rows(const struct mapping *m, const struct gguf_tensor *t, uint64_t row0, uint64_t rows,
                    const char *name)
{
    uint64_t shape[GGUF_DIMS], all, each;
    struct tensor x = gguf_tensor_plain(t, shape);

    all = x.dims ? shape[0] : 0;
    if (!all || x.dims > 2 || row0 + rows > all || t->bytes % all) return shape_fault(m, t, "it has too few rows");
    each = t->bytes / all;
    shape[0] = rows;
    x.offset += row0 * each;
    x.bytes = rows * each;
    return add(m, &x, name);
}

/* ---- one tensor, all ways ---- */

static int add_as_is(const struct mapping *m, const struct gguf_tensor *t, const char *name)
{
    uint64_t shape[GGUF_DIMS];
    struct tensor x = gguf_tensor_plain(t, shape);

    return add(m, &x, name);
}

static int add_row(const struct mapping *m, const struct gguf_tensor *t, const char *name)
{
    uint64_t shape[GGUF_DIMS];
    struct tensor x = gguf_tensor_plain(t, shape);

    if (x.dims == 1) {
        shape[1] = shape[0];
        shape[0] = 1;
        x.dims = 2;
    }
    return add(m, &x, name);
}

static int add_flat(const struct mapping *m, const struct gguf_tensor *t, const char *name)
{
    uint64_t shape[GGUF_DIMS];
    struct tensor x = gguf_tensor_plain(t, shape);

    if (x.dims == 3) {
        shape[0] *= shape[1];
        shape[1] = shape[2];
        x.dims = 2;
    }
    return add(m, &x, name);
}

/* name is q's: "...self_attn.q_proj.weight". */
static int add_qkv(const struct mapping *m, const struct gguf_tensor *t, char *name)
{
    char *letter = strstr(name, ".q_");
    int rc;

    if (!m->q_rows) return shape_fault(m, t, "the sizes of its heads are not known");
    rc = add_rows(m, t, 0, m->q_rows, name);
    for (int i = 0; i < 2 && !rc && letter; i++) {
        letter[1] = "kv"[i];
        rc = add_rows(m, t, m->q_rows + (uint64_t)i * m->kv_rows, m->kv_rows, name);
    }
    return rc;
}

/* name is NAME + suffix. */
static int add_by_head(const struct mapping *m, const struct gguf_tensor *t, const char *stem, const char *suffix)
{
    char name[NAME_BYTES + ITEM_BYTES];
    uint64_t shape[GGUF_DIMS], heads = t->n_dims > 1 ? t->dims[1] : 1;
    int rc = heads > HEADS_MOST || !t->bytes ? shape_fault(m, t, "more heads than any model has") : 0;

    for (uint64_t h = 0; h < heads && !rc; h++) {
        struct tensor x = gguf_tensor_plain(t, shape);

        snprintf(name, sizeof name, "%s.norms.%" PRIu64 "%s", stem, h, suffix);
        x.bytes = t->bytes / heads;
        x.offset += h * x.bytes;
        x.dims = 1;
        shape[0] = t->dims[0];
        rc = add(m, &x, name);
    }
    return rc;
}

static int add_how(const struct mapping *m, const struct gguf_tensor *t, enum gguf_how how, char *name, size_t stem,
                   const char *suffix)
{
    switch (how) {
    case GGUF_AS_IS: return add_as_is(m, t, name);
    case GGUF_BARE: name[stem] = 0; return add_as_is(m, t, name);
    case GGUF_ROW: return add_row(m, t, name);
    case GGUF_FLAT: return add_flat(m, t, name);
    case GGUF_QKV: return add_qkv(m, t, name);
    case GGUF_BY_HEAD: name[stem] = 0; return add_by_head(m, t, name, suffix);
    case GGUF_IGNORED: return 0;
    }
    return 0;
}

/* ---- names ---- */

static const struct gguf_name *find_name(const struct gguf_name *list, const char *stored, size_t bytes)
{
    for (; list && list->stored; list++)
        if (strlen(list->stored) == bytes && !strncmp(list->stored, stored, bytes)) return list;
    return NULL;
}

/* ".weight", ".bias", or where there is none of both the end. */
static const char *suffix_of(const char *name)
{
    size_t n = strlen(name);

    if (tensors_name_ends(name, ".weight")) return name + n - strlen(".weight");
    return tensors_name_ends(name, ".bias") ? name + n - strlen(".bias") : name + n;
}

/* Experts of files of 2023, and those with gate and up in one: a matrix each. "ffn_gate.7": its number. */
static int add_expert(const struct mapping *m, const struct gguf_tensor *t, uint64_t layer, const char *rest, bool *is)
{
    static const struct {
        const char *stored, *name;
    } kinds[] = {{"ffn_gate.", "gate_proj"}, {"ffn_up.", "up_proj"}, {"ffn_down.", "down_proj"}};
    char name[NAME_BYTES];

    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(kinds[i].stored);
        unsigned long expert;
        char *end;

        if (strncmp(rest, kinds[i].stored, n) || !isdigit((unsigned char)rest[n])) continue;
        expert = strtoul(rest + n, &end, 10);
        if (strcmp(end, ".weight")) continue;
        *is = true;
        snprintf(name, sizeof name, "%s%s.%" PRIu64 ".mlp.experts.%lu.%s.weight", m->prefix, m->layers, layer, expert,
                 kinds[i].name);
        return add_as_is(m, t, name);
    }
    *is = false;
    return 0;
}

/* ---- numbers that multiply a whole matrix, beside NVFP4's blocks ---- */

static bool is_scale(const char *name)
{
    return tensors_name_ends(name, ".scale") || tensors_name_ends(name, ".input_scale"); /* of activations */
}

/* t, "blk.0.attn_q.scale", belongs to what lies in the file as "blk.0.attn_q.weight". */
static int take_scale(struct mapping *m, const struct gguf_tensor *t)
{
    size_t stem = strlen(t->name) - strlen(".scale"), n = 0;
    float *x = NULL, times;
    int rc;

    if (!tensors_name_ends(t->name, ".scale") || tensors_name_ends(t->name, ".input_scale")) return 0;
    if (!gguf_tensor_is_there(m->g, t)) return 0;
    rc = gguf_read_floats(&x, &n, m->g, t, SCALES_MOST, m->e);
    if (rc) return rc;
    times = n == 1 ? x[0] : NAN;
    free(x);
    for (size_t i = 0; i < m->t->count; i++) {
        struct tensor *of = &m->t->at[i];

        if (of->stored && !strncmp(of->stored, t->name, stem) && !strcmp(of->stored + stem, ".weight"))
            of->times = times;
    }
    return 0;
}

static int add_unknown(struct mapping *m, const struct gguf_tensor *t)
{
    if (!m->others++) m->other = t->name;
    return 0;
}

/* rest: what stands behind "blk.3.". */
static int add_of_layer(struct mapping *m, const struct gguf_tensor *t, uint64_t layer, const char *rest)
{
    const char *suffix = suffix_of(rest);
    size_t bytes = (size_t)(suffix - rest);
    const struct gguf_name *x = find_name(m->f->names, rest, bytes);
    char name[NAME_BYTES];
    bool is = false;
    int n, rc;

    if (is_scale(rest)) return 0; /* take_scale() */
    if (!x) x = find_name(usual, rest, bytes);
    if (!x) {
        rc = add_expert(m, t, layer, rest, &is);
        if (is) return rc;
        /* it stays, so that a family that does not use it says so */
        snprintf(name, sizeof name, "%s%s.%" PRIu64 ".%.300s", m->prefix, m->layers, layer, rest);
        return add_as_is(m, t, name);
    }
    n = snprintf(name, sizeof name, "%s%s.%" PRIu64 ".%s", m->prefix, m->layers, layer, x->name);
    snprintf(name + n, sizeof name - (size_t)n, "%s", suffix);
    return add_how(m, t, x->how, name, (size_t)n, suffix);
}

static int add_tensor(struct mapping *m, const struct gguf_tensor *t)
{
    static const char *const known[] = {"rope_freqs.", "rope_factors_long.", "rope_factors_short."};
    const char *suffix = suffix_of(t->name);
    size_t bytes = (size_t)(suffix - t->name);
    char name[NAME_BYTES];
    unsigned long long layer;
    int end = 0;

    if (!m->plan && !gguf_tensor_is_there(m->g, t)) return 0; /* its file's fault says so */
    if (!strncmp(t->name, "blk.", 4) && isdigit((unsigned char)t->name[4]) &&
        sscanf(t->name, "blk.%9llu.%n", &layer, &end) == 1 && end)
        return layer < m->layer_count ? add_of_layer(m, t, layer, t->name + end) : 0; /* those behind guess ahead */
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strncmp(t->name, known[i], strlen(known[i]))) return 0; /* they are part of the config */
    if (is_scale(t->name)) return 0;
    if (bytes == strlen("token_embd") && !strncmp(t->name, "token_embd", bytes))
        snprintf(name, sizeof name, "%s%s%s", m->prefix, m->f->embed ? m->f->embed : "embed_tokens", suffix);
    else if (bytes == strlen("output_norm") && !strncmp(t->name, "output_norm", bytes))
        snprintf(name, sizeof name, "%s%s%s", m->prefix, m->f->norm ? m->f->norm : "norm", suffix);
    else if (bytes == strlen("output") && !strncmp(t->name, "output", bytes))
        snprintf(name, sizeof name, "%s%s", m->f->head ? m->f->head : "lm_head", suffix);
    else
        return add_unknown(m, t);
    return add_as_is(m, t, name);
}

/* ---- all of them ---- */

static uint64_t field(const struct config *c, const char *name)
{
    json_int_t x = json_integer_value(json_object_get(c->root, name));

    return x > 0 ? (uint64_t)x : 0;
}

static void tell_others(const struct mapping *m, struct gguf_notice *says)
{
    const char *first = m->other ? m->other : "";
    bool senses = !strncmp(first, "v.", 2) || !strncmp(first, "a.", 2) || !strncmp(first, "mm.", 3);

    says->text[0] = 0;
    if (!m->others) return;
    snprintf(
        says->text, sizeof says->text,
        senses ? "%zu tensors for pictures or sound (%.60s, ...) are left out: the language model runs, with text alone"
               : "%zu tensors of the file (%.60s, ...) belong to no layer and are left out",
        m->others, first);
}

int gguf_map_tensors(struct tensors **out, const struct gguf *g, const struct config *c,
                     const struct tensors_options *o, struct gguf_notice *says, struct error *e)
{
    const struct gguf_family *f = gguf_family_of(g, e);
    struct mapping m = {.g = g,
                        .f = f,
                        .prefix = f && f->prefix ? f->prefix : "model.",
                        .layers = f && f->layers ? f->layers : "layers",
                        .layer_count = field(c, "num_hidden_layers"),
                        .q_rows = field(c, "num_attention_heads") * field(c, "head_dim"),
                        .kv_rows = field(c, "num_key_value_heads") * field(c, "head_dim"),
                        .plan = o->allow_missing,
                        .e = e};
    int rc = f ? gguf_tensors_begin(&m.t, g, o, e) : -e->code;

    *out = NULL;
    if (rc) return rc;
    m.t->changes = f->changes;
    for (size_t i = 0; i < g->tensor_count && !rc; i++) rc = add_tensor(&m, &g->tensors[i]);
    for (size_t i = 0; i < g->tensor_count && !rc; i++) rc = take_scale(&m, &g->tensors[i]);
    tell_others(&m, says);
    if (rc)
        tensors_close(m.t);
    else
        *out = m.t;
    return rc;
}

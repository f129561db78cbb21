#include "coordinator/arch/gguf.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/source/gguf_source.h"

#define NAME_BYTES   512
#define ITEM_BYTES   64 /* of the number of a head or an expert */
#define HEADS_MOST   65536u
#define EXPERTS_MOST 65536u
#define SCALES_MOST  65536u /* of a stack of experts */

const struct gguf_name gguf_usual_names[] = {
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

/* name is NAME + suffix. */
static int add_by_item(const struct mapping *m, const struct gguf_tensor *t, const char *stem, const char *suffix)
{
    char name[NAME_BYTES + ITEM_BYTES];
    uint64_t shape[GGUF_DIMS], items = t->n_dims == 3 ? t->dims[2] : 0;
    int rc = !items || items > HEADS_MOST || !t->bytes ? shape_fault(m, t, "no stack of matrices") : 0;

    for (uint64_t i = 0; i < items && !rc; i++) {
        struct tensor x = gguf_tensor_plain(t, shape);

        snprintf(name, sizeof name, "%s.%" PRIu64 "%s", stem, i, suffix);
        x.bytes = t->bytes / items;
        x.offset += i * x.bytes;
        x.dims = 2;
        shape[0] = t->dims[1];
        shape[1] = t->dims[0];
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
    case GGUF_WHOLE:
        if (!*suffix) snprintf(name + stem, NAME_BYTES - stem, ".weight");
        return add_as_is(m, t, name);
    case GGUF_ROW: return add_row(m, t, name);
    case GGUF_FLAT: return add_flat(m, t, name);
    case GGUF_HALF: return 0; /* see add_of_layer() */
    case GGUF_QKV: return add_qkv(m, t, name);
    case GGUF_BY_HEAD: name[stem] = 0; return add_by_head(m, t, name, suffix);
    case GGUF_BY_ITEM: name[stem] = 0; return add_by_item(m, t, name, suffix);
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

/* ---- experts that are not stacked by kind ---- */

/* Matrix kind (0 gate, 1 up, 2 down) of one expert under the name that the family has for it. */
static const char *expert_name(const struct mapping *m, char out[NAME_BYTES], uint64_t layer, uint64_t expert, int kind)
{
    static const char *const usually[] = {"gate_proj", "up_proj", "down_proj"}, *const mixtral[] = {"w1", "w3", "w2"};
    static const char stacked[] = "ffn_gate_exps";
    const struct gguf_name *x = find_name(m->f->names, stacked, strlen(stacked));
    const char *end;

    if (!x) x = find_name(gguf_usual_names, stacked, strlen(stacked));
    end = strstr(x->name, ".switch_mlp");
    snprintf(out, NAME_BYTES, "%s%s.%" PRIu64 ".%.*s.experts.%" PRIu64 ".%s.weight", m->prefix, m->layers, layer,
             (int)(end ? end - x->name : 0), x->name, expert,
             strncmp(x->name, "block_sparse_moe", strlen("block_sparse_moe")) ? usually[kind] : mixtral[kind]);
    return out;
}

/* Rows [row0, row0 + rows) of each expert of a stack. */
static int add_each(const struct mapping *m, const struct gguf_tensor *t, uint64_t layer, int kind, uint64_t row0,
                    uint64_t rows)
{
    uint64_t shape[GGUF_DIMS], row = t->dims[1] ? t->bytes / t->dims[2] / t->dims[1] : 0;
    char name[NAME_BYTES];
    int rc = 0;

    for (uint64_t e = 0; e < t->dims[2] && !rc; e++) {
        struct tensor x = gguf_tensor_plain(t, shape);

        shape[0] = rows;
        shape[1] = t->dims[0];
        x.dims = 2;
        x.offset += (e * t->dims[1] + row0) * row;
        x.bytes = rows * row;
        rc = add(m, &x, expert_name(m, name, layer, e, kind));
    }
    return rc;
}

static bool layer_has(const struct mapping *m, uint64_t layer, const char *name)
{
    char full[64];

    snprintf(full, sizeof full, "blk.%" PRIu64 ".%s", layer, name);
    return gguf_tensor(m->g, full) != NULL;
}

/* Of a layer whose gate and up lie in one stack, gate's rows first: its down too. */
static int add_fused_experts(const struct mapping *m, const struct gguf_tensor *t, uint64_t layer, const char *rest,
                             bool *is)
{
    bool up = !strcmp(rest, "ffn_gate_up_exps.weight"), down = !strcmp(rest, "ffn_down_exps.weight");
    int rc;

    *is = up || (down && layer_has(m, layer, "ffn_gate_up_exps.weight"));
    if (!*is) return 0;
    if (t->n_dims != 3 || t->dims[2] > EXPERTS_MOST || !t->bytes || (up && t->dims[1] % 2))
        return shape_fault(m, t, "its dimensions are not those of experts");
    if (down) return add_each(m, t, layer, 2, 0, t->dims[1]);
    rc = add_each(m, t, layer, 0, 0, t->dims[1] / 2);
    return rc ? rc : add_each(m, t, layer, 1, t->dims[1] / 2, t->dims[1] / 2);
}

/* Of files of 2023, "ffn_gate.7.weight": a matrix for each. */
static int add_expert(const struct mapping *m, const struct gguf_tensor *t, uint64_t layer, const char *rest, bool *is)
{
    static const char *const kinds[] = {"ffn_gate.", "ffn_up.", "ffn_down."};
    char name[NAME_BYTES], *end;

    for (int i = 0; i < 3; i++) {
        size_t n = strlen(kinds[i]);
        unsigned long expert;

        if (strncmp(rest, kinds[i], n) || !isdigit((unsigned char)rest[n])) continue;
        expert = strtoul(rest + n, &end, 10);
        if (strcmp(end, ".weight")) continue;
        *is = true;
        return add_as_is(m, t, expert_name(m, name, layer, expert, i));
    }
    return add_fused_experts(m, t, layer, rest, is);
}

/* ---- numbers that multiply a whole matrix, beside NVFP4's blocks ---- */

static bool is_scale(const char *name)
{
    return tensors_name_ends(name, ".scale") || tensors_name_ends(name, ".input_scale"); /* of activations */
}

/* Gemma 4 has vectors that end so. */
static bool is_named(const struct mapping *m, const char *full)
{
    int end = 0;

    (void)sscanf(full, "blk.%*9u.%n", &end);
    return end && find_name(m->f->names, full + end, strlen(full + end));
}

/* What lies in the file as "blk.0.attn_q.weight" may have a "blk.0.attn_q.scale" beside it. */
static int take_scale(struct mapping *m, struct tensor *of)
{
    char name[NAME_BYTES];
    const struct gguf_tensor *t;
    float *x = NULL;
    size_t n = 0;
    int rc;

    if (!of->stored || !tensors_name_ends(of->stored, ".weight")) return 0;
    snprintf(name, sizeof name, "%.*s.scale", (int)(strlen(of->stored) - strlen(".weight")), of->stored);
    t = gguf_tensor(m->g, name);
    if (!t || is_named(m, name) || !gguf_tensor_is_there(m->g, t)) return 0;
    rc = gguf_read_floats(&x, &n, m->g, t, SCALES_MOST, m->e);
    if (rc) return rc;
    of->times = n == 1 ? x[0] : NAN;
    free(x);
    return 0;
}

static int add_unknown(struct mapping *m, const struct gguf_tensor *t)
{
    if (!m->others++) m->other = t->name;
    return 0;
}

/* Does the family take gate and up in one stack? */
static bool stacks_both(const struct mapping *m)
{
    static const char both[] = "ffn_gate_up_exps";

    return find_name(m->f->names, both, strlen(both)) != NULL;
}

/* rest: what stands behind "blk.3.". */
static int add_of_layer(struct mapping *m, const struct gguf_tensor *t, uint64_t layer, const char *rest)
{
    const char *suffix = suffix_of(rest);
    size_t bytes = (size_t)(suffix - rest);
    const struct gguf_name *x = find_name(m->f->names, rest, bytes);
    char name[NAME_BYTES];
    enum gguf_how how;
    bool is = false;
    int n, rc;

    if (is_scale(rest) && !x) return 0; /* take_scale() */
    rc = stacks_both(m) ? 0 : add_expert(m, t, layer, rest, &is);
    if (rc || is) return rc;
    if (!x) x = find_name(gguf_usual_names, rest, bytes);
    if (!x) {
        /* it stays, so that a family that does not use it says so */
        snprintf(name, sizeof name, "%s%s.%" PRIu64 ".%.300s", m->prefix, m->layers, layer, rest);
        return add_as_is(m, t, name);
    }
    how = x->how;
    if (how == GGUF_HALF) how = layer_has(m, layer, "attn_kv_b.weight") ? GGUF_IGNORED : GGUF_FLAT;
    n = snprintf(name, sizeof name, "%s%s.%" PRIu64 ".%s", m->prefix, m->layers, layer, x->name);
    snprintf(name + n, sizeof name - (size_t)n, "%s", suffix);
    return add_how(m, t, how, name, (size_t)n, suffix);
}

static int add_tensor(struct mapping *m, const struct gguf_tensor *t)
{
    static const char *const known[] = {"rope_freqs.", "rope_factors_long.", "rope_factors_short."};
    const char *suffix = suffix_of(t->name);
    size_t bytes = (size_t)(suffix - t->name);
    const struct gguf_name *once;
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
    else if ((once = find_name(m->f->top, t->name, bytes))) {
        int stem = snprintf(name, sizeof name, "%s%s", m->prefix, once->name);

        snprintf(name + stem, sizeof name - (size_t)stem, "%s", suffix);
        return add_how(m, t, once->how, name, (size_t)stem, suffix);
    } else
        return add_unknown(m, t);
    return add_as_is(m, t, name);
}

/* ---- values that are tensors for the family ---- */

static int add_number(const struct mapping *m, const struct gguf_value *x, const struct gguf_name *n, uint64_t layer)
{
    char name[NAME_BYTES];
    uint64_t shape[1] = {1}, i = x->array ? layer : 0;
    struct tensor t = {.name = x->key, .dtype = TENSOR_F32, .shape = shape, .dims = 1, .bytes = sizeof(float)};

    /* the header is the file's beginning, as it lies */
    t.offset = (uint64_t)(x->at - (const uint8_t *)m->g->files[0].header) + i * sizeof(float);
    snprintf(name, sizeof name, "%s%s.%" PRIu64 ".%s", m->prefix, m->layers, layer, n->name);
    return add(m, &t, name);
}

static int add_numbers(const struct mapping *m)
{
    int rc = 0;

    for (const struct gguf_name *n = m->f->numbers; n && n->stored && !rc; n++) {
        const struct gguf_value *x = gguf_find(m->g, n->stored);

        if (!x || x->type != GGUF_F32 || (x->array && x->count < m->layer_count))
            return gguf_fault(m->g, m->e, n->stored,
                              "a list of one float32 for each of %" PRIu64 " layers was expected", m->layer_count);
        for (uint64_t i = 0; i < m->layer_count && !rc; i++) rc = add_number(m, x, n, i);
    }
    return rc;
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

/* Some of a kind that writes were trained to make embeddings instead. */
static void tell_pooling(const struct mapping *m, struct gguf_notice *says)
{
    size_t n = strlen(says->text);
    struct error unread = {0};
    uint64_t pooling = 0;
    char key[128];

    snprintf(key, sizeof key, "%s.pooling_type", m->f->architecture);
    if (gguf_u64(m->g, key, &pooling, &unread) || !pooling) return;
    snprintf(says->text + n, sizeof says->text - n,
             "%s%s says that it makes embeddings: what it writes may be nonsense", n ? "; " : "", key);
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
    if (!rc) rc = add_numbers(&m);
    for (size_t i = 0; i < m.t->count && !rc; i++) rc = take_scale(&m, &m.t->at[i]);
    tell_others(&m, says);
    tell_pooling(&m, says);
    if (rc)
        tensors_close(m.t);
    else
        *out = m.t;
    return rc;
}

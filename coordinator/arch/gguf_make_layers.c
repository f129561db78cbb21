/* Tensors of a folder's layers under the names of GGUF files: the tables of gguf_map.c, read from the other side, and what
 * the converter to GGUF cuts, turns and adds. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/arch/gguf_make.h"

#define NAME_BYTES 512

static const char *stored_name(const struct gguf_making *k, const char *stem, size_t bytes, enum gguf_how *how)
{
    const struct gguf_name *const lists[] = {k->f->names, gguf_usual_names};

    for (int l = 0; l < 2; l++)
        for (const struct gguf_name *x = lists[l]; x && x->stored; x++) {
            if (x->how == GGUF_IGNORED || x->how == GGUF_HALF || x->how == GGUF_QKV) continue;
            if (strlen(x->name) != bytes || strncmp(x->name, stem, bytes)) continue;
            *how = x->how;
            return x->stored;
        }
    return NULL;
}

/* A name that the family's program has without a suffix has one there, or none either. */
static const char *bare_suffix(const char *stored)
{
    static const char *const suffixes[][2] = {
        {"exp_probs_b", ".bias"}, {"attn_sinks", ".weight"}, {"ssm_dt", ".bias"}, {"layer_output_scale", ".weight"}};

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (!strcmp(suffixes[i][0], stored)) return suffixes[i][1];
    return "";
}

/* Its dimensions, columns first, those of one element left out between the first and the last. */
static uint32_t dims_of(const struct tensor *t, uint64_t dims[GGUF_DIMS])
{
    uint32_t n = 0;

    for (uint32_t i = t->dims; i-- > 0 && n < GGUF_DIMS;)
        if (i == t->dims - 1 || i == 0 || t->shape[i] != 1) dims[n++] = t->shape[i];
    return n;
}

static struct gguf_part plain_part(const struct tensor *t, uint64_t rows, uint64_t cols)
{
    return (struct gguf_part){.file = t->file, .offset = t->offset, .rows = rows, .row_step = cols, .col_step = 1};
}

static uint64_t element_bytes(uint32_t form)
{
    return form == FORM_F32 ? 4 : 2;
}

/* Rows [row, row + rows) of the source, behind what the last tensor has. */
static void add_rows(struct gguf_making *k, const struct tensor *t, uint32_t form, uint64_t cols, uint64_t row,
                     uint64_t rows, struct gguf_turn turn)
{
    struct gguf_part x = plain_part(t, rows, cols);

    x.offset += row * cols * element_bytes(form);
    x.turn = turn;
    if (rows) gguf_making_part(k, x);
}

/* ---- value heads of Qwen 3.5 ---- */

static uint64_t setting(const struct gguf_making *k, const char *field)
{
    json_int_t x = json_integer_value(config_field(k->c, field, false));

    return x > 0 ? (uint64_t)x : 0;
}

/* Heads that go by key head become those that go by turns; width elements each. */
static struct gguf_turn tiled(const struct gguf_making *k, uint64_t width)
{
    uint64_t keys = setting(k, "linear_num_key_heads"), values = setting(k, "linear_num_value_heads");

    return keys ? (struct gguf_turn){keys, values / keys, width} : (struct gguf_turn){0};
}

/* The rows of stored that turn begin at *first. */
static struct gguf_turn tiled_rows(const struct gguf_making *k, const char *stored, uint64_t *first)
{
    uint64_t width = setting(k, "linear_value_head_dim");

    *first = 0;
    if (!strcmp(stored, "attn_qkv") || !strcmp(stored, "ssm_conv1d")) {
        *first = 2 * setting(k, "linear_num_key_heads") * setting(k, "linear_key_head_dim");
        return tiled(k, width);
    }
    if (!strcmp(stored, "attn_gate")) return tiled(k, width);
    if (!strcmp(stored, "ssm_alpha") || !strcmp(stored, "ssm_beta")) return tiled(k, 1);
    return (struct gguf_turn){0};
}

static struct gguf_turn tiled_columns(const struct gguf_making *k, const char *stored)
{
    if (!strcmp(stored, "ssm_out")) return tiled(k, setting(k, "linear_value_head_dim"));
    if (!strcmp(stored, "ssm_a") || !strcmp(stored, "ssm_dt")) return tiled(k, 1);
    return (struct gguf_turn){0};
}

/* Rows of q and k that alternate between the halves of a head. */
static struct gguf_turn paired(const struct gguf_making *k, const char *stored)
{
    bool turned = k->f->changes.qk_pairs && (!strcmp(stored, "attn_q") || !strcmp(stored, "attn_k"));

    return turned && k->head_dim % 2 == 0 ? (struct gguf_turn){2, k->head_dim / 2, 1} : (struct gguf_turn){0};
}

/* ---- one as it is, or nearly ---- */

static enum gguf_change change_of(const struct gguf_making *k, const char *stored, const char *suffix)
{
    size_t n = strlen(stored);

    if (k->f->changes.decay && !strcmp(stored, "ssm_a")) return GGUF_MINUS_EXP;
    if (!k->f->changes.norms_whole || strcmp(suffix, ".weight") || !strcmp(stored, "ssm_norm")) return GGUF_SAME;
    return n > 5 && !strcmp(stored + n - 5, "_norm") ? GGUF_PLUS_ONE : GGUF_SAME;
}

/* Numbers of Mamba-2 as the converter shapes them: the same bytes. */
static uint32_t scan_dims(const struct gguf_making *k, const char *stored, uint64_t dims[GGUF_DIMS])
{
    bool norm = !strcmp(stored, "ssm_norm");

    if (!norm && strcmp(stored, "ssm_a") && strcmp(stored, "ssm_d")) return 1;
    for (uint64_t i = 0; i < k->p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(k->p)[i];
        uint64_t rows = op->kind != OP_SCAN ? 0 : norm ? op->scan.groups : op->scan.heads;

        if (!rows || dims[0] % rows) continue;
        dims[0] /= rows;
        dims[1] = rows;
        return 2;
    }
    return 1;
}

/* A matrix that the folder has [in][out]. */
static int add_turned(struct gguf_making *k, const struct tensor *t, uint64_t layer, const char *stored,
                      const char *suffix, uint32_t form)
{
    uint64_t dims[2] = {t->shape[0], t->shape[1]};
    struct gguf_part x = plain_part(t, dims[1], dims[0]);
    char name[NAME_BYTES];

    snprintf(name, sizeof name, "blk.%llu.%s%s", (unsigned long long)layer, stored, suffix);
    x.row_step = 1;
    x.col_step = dims[1];
    if (gguf_making_add(k, name, dims, 2, form)) gguf_making_part(k, x);
    return -k->e->code;
}

static int add_one(struct gguf_making *k, const struct tensor *t, uint64_t layer, const char *stored,
                   const char *suffix, enum gguf_how how)
{
    uint32_t form = gguf_making_form(k, t), n;
    uint64_t dims[GGUF_DIMS], rows, first = 0;
    struct gguf_turn turn = paired(k, stored);
    struct gguf_made_tensor *x;
    char name[NAME_BYTES];

    if (form == FORMS) return -k->e->code;
    n = dims_of(t, dims);
    if (how == GGUF_ROW) n = 1;
    if (k->f->scans && n == 1) n = scan_dims(k, stored, dims);
    if (k->f->turned && n == 2) return add_turned(k, t, layer, stored, suffix, form);
    snprintf(name, sizeof name, "blk.%llu.%s%s", (unsigned long long)layer, stored, suffix);
    x = gguf_making_add(k, name, dims, n, form);
    if (!x) return -k->e->code;
    x->change = change_of(k, stored, suffix);
    rows = gguf_made_rows(x);
    if (n == 1) {
        x->turn = k->f->changes.tiled ? tiled_columns(k, stored) : turn;
        gguf_making_part(k, plain_part(t, 1, dims[0]));
        return -k->e->code;
    }
    if (k->f->changes.tiled) {
        turn = tiled_rows(k, stored, &first);
        x->turn = tiled_columns(k, stored);
    }
    if (first > rows) first = rows;
    add_rows(k, t, form, dims[0], 0, first, (struct gguf_turn){0});
    add_rows(k, t, form, dims[0], first, rows - first, turn);
    return -k->e->code;
}

/* ---- norms of single heads become the rows of one ---- */

static int add_by_head(struct gguf_making *k, const struct tensor *t, uint64_t layer, const char *stored,
                       const char *suffix)
{
    const char *norms = strstr(t->name, ".norms.0");
    uint64_t dims[2] = {t->shape[t->dims - 1], 0};
    char name[NAME_BYTES];
    size_t of;
    const struct tensor *one = t;

    if (!norms) return 0; /* with the first of its kind */
    snprintf(name, sizeof name, "blk.%llu.%s%s", (unsigned long long)layer, stored, suffix);
    if (!gguf_making_add(k, name, dims, 2, gguf_making_form(k, t))) return -k->e->code;
    of = k->x->count - 1;
    for (uint64_t h = 0; one; h++) {
        snprintf(name, sizeof name, "%.*s.norms.%llu%s", (int)(norms - t->name), t->name, (unsigned long long)h,
                 suffix);
        one = tensors_find(k->t, name);
        if (!one || gguf_making_form(k, one) != k->x->at[of].form) break;
        if (!gguf_making_part(k, plain_part(one, 1, dims[0]))) break;
        k->x->at[of].dims[1] = h + 1;
    }
    return -k->e->code;
}

/* ---- those of which several are made ---- */

struct cut {
    const struct tensor *t;
    uint32_t form;
    uint64_t layer, cols, rows;
};

static struct gguf_made_tensor *begin(struct gguf_making *k, const struct cut *c, const char *stored, uint64_t cols,
                                      uint64_t rows, uint64_t heads)
{
    uint64_t dims[3] = {cols, rows, heads};
    char name[NAME_BYTES];

    snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)c->layer, stored);
    return gguf_making_add(k, name, dims, heads ? 3 : 2, c->form);
}

/* q, k and v, each key head's rows one after the other: group of q, one of k, one of v. */
static int cut_grouped_qkv(struct gguf_making *k, const struct cut *c)
{
    uint64_t group = k->heads / k->kv_heads, hd = k->head_dim;
    static const char *const names[] = {"attn_q", "attn_k", "attn_v"};
    const uint64_t from[] = {0, group, group + 1}, many[] = {group, 1, 1};

    for (int i = 0; i < 3; i++) {
        if (!begin(k, c, names[i], c->cols, k->kv_heads * many[i] * hd, 0)) break;
        for (uint64_t h = 0; h < k->kv_heads; h++)
            add_rows(k, c->t, c->form, c->cols, (h * (group + 2) + from[i]) * hd, many[i] * hd, paired(k, names[i]));
    }
    return -k->e->code;
}

static int cut_qkv(struct gguf_making *k, const struct cut *c)
{
    static const char *const names[] = {"attn_q", "attn_k", "attn_v"};
    const uint64_t rows[] = {k->heads * k->head_dim, k->kv_heads * k->head_dim, k->kv_heads * k->head_dim};
    uint64_t at = 0;

    for (int i = 0; i < 3; at += rows[i++]) {
        if (!begin(k, c, names[i], c->cols, rows[i], 0)) break;
        add_rows(k, c->t, c->form, c->cols, at, rows[i], paired(k, names[i]));
    }
    return -k->e->code;
}

/* The same matrix, or its bias, as one: all of q, then all of k, then all of v. */
static int join_grouped_qkv(struct gguf_making *k, const struct cut *c)
{
    uint64_t group = k->heads / k->kv_heads, hd = k->head_dim;
    const uint64_t from[] = {0, group, group + 1}, many[] = {group, 1, 1};

    if (c->rows != (k->heads + 2 * k->kv_heads) * hd) return gguf_making_no_name(k, c->t);
    if (!begin(k, c, "attn_qkv", c->cols, c->rows, 0)) return -k->e->code;
    for (int i = 0; i < 3; i++)
        for (uint64_t h = 0; h < k->kv_heads; h++)
            add_rows(k, c->t, c->form, c->cols, (h * (group + 2) + from[i]) * hd, many[i] * hd, (struct gguf_turn){0});
    return -k->e->code;
}

static int join_grouped_bias(struct gguf_making *k, const struct tensor *t, uint64_t layer)
{
    uint32_t form = gguf_making_form(k, t);
    struct gguf_made_tensor *x;
    char name[NAME_BYTES];

    if (form == FORMS) return -k->e->code;
    if (k->heads != k->kv_heads || t->dims != 1 || t->shape[0] != 3 * k->heads * k->head_dim)
        return gguf_making_no_name(k, t);
    snprintf(name, sizeof name, "blk.%llu.attn_qkv.bias", (unsigned long long)layer);
    x = gguf_making_add(k, name, t->shape, 1, form);
    if (!x) return -k->e->code;
    x->turn = (struct gguf_turn){k->heads, 3, k->head_dim};
    gguf_making_part(k, plain_part(t, 1, t->shape[0]));
    return -k->e->code;
}

/* q, k, v and z of Qwen3-Next, by kind instead of by key head. */
static int cut_qkvz(struct gguf_making *k, const struct cut *c)
{
    uint64_t keys = setting(k, "linear_num_key_heads"), dk = setting(k, "linear_key_head_dim"),
             values = keys ? setting(k, "linear_num_value_heads") / keys * setting(k, "linear_value_head_dim") : 0;
    const uint64_t at[] = {0, dk, 2 * dk, 2 * dk + values}, width[] = {dk, dk, values, values};
    uint64_t group = 2 * dk + 2 * values;

    if (!begin(k, c, "attn_qkv", c->cols, keys * (2 * dk + values), 0)) return -k->e->code;
    for (int part = 0; part < 4; part++) {
        if (part == 3 && !begin(k, c, "attn_gate", c->cols, keys * values, 0)) break;
        for (uint64_t h = 0; h < keys; h++)
            add_rows(k, c->t, c->form, c->cols, h * group + at[part], width[part], (struct gguf_turn){0});
    }
    return -k->e->code;
}

/* Both halves of latent attention: keys turned round, values as they are. */
static int cut_kv_b(struct gguf_making *k, const struct cut *c)
{
    uint64_t nope = setting(k, "qk_nope_head_dim"), value = setting(k, "v_head_dim"),
             heads = c->rows / (nope + value ? nope + value : 1);

    if (!begin(k, c, "attn_k_b", nope, c->cols, heads)) return -k->e->code;
    for (uint64_t h = 0; h < heads; h++)
        gguf_making_part(
            k, (struct gguf_part){.file = c->t->file,
                                  .offset = c->t->offset + h * (nope + value) * c->cols * element_bytes(c->form),
                                  .rows = c->cols,
                                  .row_step = 1,
                                  .col_step = c->cols});
    if (!begin(k, c, "attn_v_b", c->cols, value, heads)) return -k->e->code;
    for (uint64_t h = 0; h < heads; h++)
        add_rows(k, c->t, c->form, c->cols, h * (nope + value) + nope, value, (struct gguf_turn){0});
    return -k->e->code;
}

/* Granite 4's feed forward of all layers: one expert more where there are some. */
static int cut_shared(struct gguf_making *k, const struct cut *c)
{
    bool experts = k->p->experts.count;

    if (!begin(k, c, experts ? "ffn_gate_shexp" : "ffn_gate", c->cols, c->rows / 2, 0)) return -k->e->code;
    add_rows(k, c->t, c->form, c->cols, 0, c->rows / 2, (struct gguf_turn){0});
    if (!begin(k, c, experts ? "ffn_up_shexp" : "ffn_up", c->cols, c->rows / 2, 0)) return -k->e->code;
    add_rows(k, c->t, c->form, c->cols, c->rows / 2, c->rows / 2, (struct gguf_turn){0});
    return -k->e->code;
}

static int rename_shared(struct gguf_making *k, const struct cut *c)
{
    if (!begin(k, c, k->p->experts.count ? "ffn_down_shexp" : "ffn_down", c->cols, c->rows, 0)) return -k->e->code;
    add_rows(k, c->t, c->form, c->cols, 0, c->rows, (struct gguf_turn){0});
    return -k->e->code;
}

static int add_cut(struct gguf_making *k, const struct tensor *t, uint64_t layer, const char *rest, bool *is)
{
    static const struct {
        const char *name;
        int (*cut)(struct gguf_making *, const struct cut *);
    } cuts[] = {{"attention.wqkv.weight", cut_grouped_qkv},
                {"self_attn.W_pack.weight", cut_qkv},
                {"shared_mlp.input_linear.weight", cut_shared},
                {"shared_mlp.output_linear.weight", rename_shared},
                {"attention.query_key_value.weight", join_grouped_qkv},
                {"self_attention.query_key_value.weight", join_grouped_qkv},
                {"linear_attn.in_proj_qkvz.weight", cut_qkvz},
                {"self_attn.kv_b_proj.weight", cut_kv_b}};

    if (tensors_name_ends(rest, "attention.query_key_value.bias")) {
        *is = true;
        return join_grouped_bias(k, t, layer);
    }
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        struct cut c = {.t = t, .layer = layer};

        if (strcmp(rest, cuts[i].name) || t->dims != 2) continue;
        *is = true;
        c.form = gguf_making_form(k, t);
        c.rows = t->shape[0];
        c.cols = t->shape[1];
        return c.form == FORMS ? -k->e->code : cuts[i].cut(k, &c);
    }
    return 0;
}

int gguf_make_of_layer(struct gguf_making *k, const struct tensor *t, uint64_t layer, const char *rest)
{
    const char *suffix = tensors_name_ends(rest, ".weight") ? rest + strlen(rest) - strlen(".weight")
                         : tensors_name_ends(rest, ".bias") ? rest + strlen(rest) - strlen(".bias")
                                                            : rest + strlen(rest);
    const char *norms = strstr(rest, ".norms."), *stored;
    enum gguf_how how = GGUF_AS_IS;
    bool is = false;
    int rc = add_cut(k, t, layer, rest, &is);

    if (rc || is) return rc;
    stored = stored_name(k, rest, norms ? (size_t)(norms - rest) : (size_t)(suffix - rest), &how);
    if (!stored) return gguf_making_no_name(k, t);
    if (how == GGUF_BY_HEAD) return add_by_head(k, t, layer, stored, suffix);
    if (how == GGUF_WHOLE) suffix = "";
    return add_one(k, t, layer, stored, how == GGUF_BARE ? bare_suffix(stored) : suffix, how);
}

#include "coordinator/arch/gguf_make.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/arch/family.h"
#include "coordinator/arch/names.h"
#include "coordinator/source/gguf_source.h"
#include "coordinator/source/gguf_types.h"

#define NAME_BYTES 512

int gguf_making_memory(const struct gguf_making *k)
{
    return error_set(k->e, ENOMEM, "%s: no memory for the list of its tensors", k->t->folder);
}

/* ---- one tensor ---- */

struct gguf_made_tensor *gguf_making_add(struct gguf_making *k, const char *name, const uint64_t *dims, uint32_t n_dims,
                                         uint32_t form)
{
    struct gguf_made *x = k->x;
    struct gguf_made_tensor *all = array_grow(x->at, sizeof *all, &x->capacity, x->count + 1), *t;

    if (all) x->at = all;
    if (!all || k->e->code) {
        if (!k->e->code) gguf_making_memory(k);
        return NULL;
    }
    t = &all[x->count];
    *t = (struct gguf_made_tensor){
        .name = strdup(name), .dims = {1, 1, 1, 1}, .n_dims = n_dims, .form = form, .part0 = x->parts};
    if (!t->name) {
        gguf_making_memory(k);
        return NULL;
    }
    memcpy(t->dims, dims, n_dims * sizeof *dims);
    x->count++;
    return t;
}

struct gguf_part *gguf_making_part(struct gguf_making *k, struct gguf_part part)
{
    struct gguf_made *x = k->x;
    struct gguf_part *all = array_grow(x->part, sizeof *all, &x->part_capacity, x->parts + 1);

    if (all) x->part = all;
    if (!all || k->e->code) {
        if (!k->e->code) gguf_making_memory(k);
        return NULL;
    }
    all[x->parts++] = part;
    x->at[x->count - 1].parts++;
    return &all[x->parts - 1];
}

uint32_t gguf_making_form(const struct gguf_making *k, const struct tensor *t)
{
    uint32_t form = tensor_stored_form(t);

    if (form == FORM_F32 || form == FORM_F16 || form == FORM_BF16) return form;
    error_set(
        k->e, ENOTSUP,
        "%s: tensor %s is stored as %s: only F32, F16 and BF16 become another form here, what has few bits already "
        "would lose more of them: take the folder in BF16",
        k->t->files[t->file].path, tensor_stored_name(t), tensor_stored_as(t));
    return FORMS;
}

/* ---- the whole model ---- */

static bool means_the_same(const struct gguf_family *f, const struct family *folder)
{
    if (family_writes_as(folder, f->class)) return true;
    for (const char *const *also = f->also; also && *also; also++)
        if (family_writes_as(folder, *also)) return true;
    return false;
}

static bool is_written(const struct gguf_family *f, bool experts)
{
    return !f->unwritten && (f->written_of == GGUF_ANY || (f->written_of == GGUF_EXPERTS) == experts);
}

static const struct gguf_family *family_of(const struct config *c, bool experts, struct error *e)
{
    struct family_notice says;
    const struct family *folder = family_find(c, &says, e);
    const struct gguf_family *f = NULL;

    for (size_t i = 0; folder && (f = gguf_family_at(i)); i++)
        if (is_written(f, experts) && means_the_same(f, folder)) return f;
    if (folder)
        error_set(
            e, ENOTSUP,
            "%s: GGUF files of the architecture %s are not written: `sluice pack` without --to keeps all its bits in "
            "fewer bytes",
            c->path, folder->architecture);
    return NULL;
}

static int add_plain(struct gguf_making *k, const struct tensor *t, const char *name)
{
    uint32_t form = gguf_making_form(k, t);
    uint64_t dims[GGUF_DIMS];
    struct gguf_made_tensor *x;

    if (form == FORMS || !t->dims || t->dims > GGUF_DIMS) return -k->e->code;
    for (uint32_t i = 0; i < t->dims; i++) dims[i] = t->shape[t->dims - 1 - i];
    x = gguf_making_add(k, name, dims, t->dims, form);
    if (x &&
        gguf_making_part(
            k,
            (struct gguf_part){
                .file = t->file, .offset = t->offset, .rows = gguf_made_rows(x), .row_step = dims[0], .col_step = 1}) &&
        k->f->changes.norms_whole && strstr(name, "_norm.weight"))
        x->change = GGUF_PLUS_ONE;
    return -k->e->code;
}

static const char *suffix_of(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot : name + strlen(name);
}

/* Parts of a matrix that GPTQ, AWQ, compressed-tensors or bitsandbytes have stored in few bits. */
static bool of_few_bits(const char *name)
{
    static const char *const ends[] = {".qweight",      ".qzeros",        ".g_idx",           ".weight_packed",
                                       ".weight_scale", ".weight.absmax", ".weight.quant_map"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (tensors_name_ends(name, ends[i])) return true;
    return false;
}

int gguf_making_no_name(const struct gguf_making *k, const struct tensor *t)
{
    if (of_few_bits(t->name))
        return error_set(
            k->e, ENOTSUP,
            "%s: tensor %s: its matrix has few bits already and would lose more of them: only F32, F16 and "
            "BF16 become another form here: take the folder in BF16",
            k->t->files[t->file].path, t->name);
    return error_set(
        k->e, ENOTSUP,
        "%s: tensor %s has no name in a GGUF file of the architecture %s: `sluice pack` without --to keeps "
        "all its bits in fewer bytes",
        k->t->files[t->file].path, t->name, k->f->architecture);
}

/* "model.embed_tokens.weight": what stands once in a model. */
static int add_top(struct gguf_making *k, const struct tensor *t)
{
    const char *embed = k->f->embed ? k->f->embed : "embed_tokens", *norm = k->f->norm ? k->f->norm : "norm",
               *head = k->f->head ? k->f->head : "lm_head", *suffix = suffix_of(t->name);
    char name[NAME_BYTES], want[NAME_BYTES];
    const char *stored[] = {"token_embd", "output_norm"}, *called[] = {embed, norm};

    for (const struct gguf_name *x = k->f->top; x && x->stored; x++) {
        snprintf(want, sizeof want, "%s%s%s", k->prefix, x->name, suffix);
        snprintf(name, sizeof name, "%s%s", x->stored, suffix);
        if (!strcmp(t->name, want)) return add_plain(k, t, name);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(want, sizeof want, "%s%s%s", k->prefix, called[i], suffix);
        snprintf(name, sizeof name, "%s%s", stored[i], suffix);
        if (!strcmp(t->name, want)) return add_plain(k, t, name);
    }
    snprintf(want, sizeof want, "%s%s", head, suffix);
    snprintf(name, sizeof name, "output%s", suffix);
    if (tensors_name_ends(t->name, want)) return add_plain(k, t, name);
    return gguf_making_no_name(k, t);
}

static int add_folder_tensor(struct gguf_making *k, const struct tensor *t)
{
    char start[NAME_BYTES];
    int n = snprintf(start, sizeof start, "%s%s.", k->prefix, k->f->layers ? k->f->layers : "layers");
    char *end;
    unsigned long layer;

    if (gguf_is_of_experts(k, t)) return 0;
    if (strncmp(t->name, start, (size_t)n) || !isdigit((unsigned char)t->name[n])) return add_top(k, t);
    layer = strtoul(t->name + n, &end, 10);
    return *end == '.' ? gguf_make_of_layer(k, t, layer, end + 1) : add_top(k, t);
}

static int add_factors(struct gguf_making *k)
{
    const struct gguf_factors *f = &k->x->factors;
    const struct {
        const char *name;
        const float *x;
        size_t n;
    } all[] = {{"rope_freqs.weight", f->divide, f->divides},
               {"rope_factors_long.weight", f->longer, f->longs},
               {"rope_factors_short.weight", f->shorter, f->shorts}};

    for (size_t i = 0; i < sizeof all / sizeof *all && !k->e->code; i++) {
        uint64_t dims[1] = {all[i].n};
        struct gguf_made_tensor *t = all[i].n ? gguf_making_add(k, all[i].name, dims, 1, FORM_F32) : NULL;

        if (t) t->own = all[i].x;
    }
    return -k->e->code;
}

/* Of the feed forward of the first layer that has one without experts. */
static uint64_t dense_width(const struct gguf_made *x)
{
    uint64_t width = 0;
    unsigned first = UINT32_MAX, layer;
    char rest[32];

    for (size_t i = 0; i < x->count; i++)
        if (sscanf(x->at[i].name, "blk.%9u.%31s", &layer, rest) == 2 && !strcmp(rest, "ffn_down.weight") &&
            layer < first) {
            first = layer;
            width = x->at[i].dims[0];
        }
    return width;
}

/* ---- the order in the file: that of a sweep ---- */

static uint64_t rank_of(const char *name)
{
    unsigned layer;
    char rest[64];

    if (sscanf(name, "blk.%9u.%63s", &layer, rest) != 2) return strncmp(name, "output", 6) ? 0 : UINT64_MAX;
    return (uint64_t)(layer + 1) << 8 |
           (!strncmp(rest, "ffn", 3) ? 2 : strncmp(rest, "attn", 4) && strncmp(rest, "ssm", 3));
}

static int by_place(const void *a, const void *b)
{
    const struct gguf_made_tensor *x = a, *y = b;
    uint64_t rx = rank_of(x->name), ry = rank_of(y->name);

    return rx != ry ? (rx < ry ? -1 : 1) : strcmp(x->name, y->name);
}

static int refuse_twins(struct gguf_making *k)
{
    struct gguf_made *x = k->x;

    if (x->count) qsort(x->at, x->count, sizeof *x->at, by_place);
    for (size_t i = 1; i < x->count; i++)
        if (!strcmp(x->at[i].name, x->at[i - 1].name))
            return error_set(k->e, ENOTSUP, "%s: two of its tensors would be %s in a GGUF file", k->t->folder,
                             x->at[i].name);
    return 0;
}

/* ---- of a folder ---- */

static int find_prefix(struct gguf_making *k)
{
    const char *usual = k->f->prefix ? k->f->prefix : "model.";

    if (names_prefix(k->t, usual, k->f->embed ? k->f->embed : "embed_tokens", k->f->layers ? k->f->layers : "layers",
                     k->prefix, sizeof k->prefix))
        return 0;
    return error_set(k->e, ENOTSUP, "%s: its embedding has no name that is known", k->t->folder);
}

static int make_of_folder(struct gguf_making *k, const struct model *m)
{
    int rc = find_prefix(k);

    if (!rc) rc = gguf_make_experts(k);
    for (size_t i = 0; i < k->t->count && !rc; i++)
        if (k->t->at[i].used) rc = add_folder_tensor(k, &k->t->at[i]);
    if (!rc) rc = gguf_tell(&k->x->out, &k->x->factors, k->f, m, dense_width(k->x), k->e);
    return rc ? rc : add_factors(k);
}

/* ---- of a GGUF file ---- */

/* Values that the new file has of its own. */
static bool is_of_the_file(const char *key)
{
    return !strcmp(key, "general.alignment") || !strcmp(key, "general.file_type") ||
           !strcmp(key, "general.quantization_version") || !strncmp(key, "split.", 6);
}

static int make_of_gguf(struct gguf_making *k, const struct gguf *g)
{
    for (size_t i = 0; i < g->value_count; i++)
        if (!is_of_the_file(g->values[i].key)) gguf_out_copy(&k->x->out, &g->values[i]);
    for (size_t i = 0; i < g->tensor_count && !k->e->code; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        int form = form_of_ggml_type(t->type);
        struct gguf_made_tensor *x = gguf_making_add(k, t->name, t->dims, t->n_dims, form < 0 ? FORMS : (uint32_t)form);

        if (!x) break;
        x->type = t->type;
        gguf_making_part(k, (struct gguf_part){.file = t->file,
                                               .offset = t->offset,
                                               .rows = gguf_made_rows(x),
                                               .row_step = t->dims[0],
                                               .col_step = 1});
    }
    return -k->e->code;
}

int gguf_make(struct gguf_made *out, const struct source *s, const struct model *m, struct error *e)
{
    const struct gguf *g = source_gguf(s);
    struct gguf_making k = {.x = out, .p = model_program(m), .t = model_tensors(m), .c = model_config(m), .e = e};
    int rc = 0;

    *out = (struct gguf_made){.tensors = k.t, .layers = k.p->spec.layers};
    for (uint64_t i = 0; i < k.p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(k.p)[i];

        if (op->kind != OP_ATTENTION) continue;
        k.heads = out->heads = op->attention.heads;
        k.kv_heads = out->kv_heads = op->attention.kv_heads;
        k.head_dim = op->attention.dk;
        break;
    }
    if (k.p->experts.count) out->experts = plan_experts(k.p)[0].experts;
    k.f = g ? gguf_family_of(g, e) : family_of(k.c, out->experts, e);
    if (!k.f) return -e->code;
    out->architecture = k.f->architecture;
    rc = g ? make_of_gguf(&k, g) : make_of_folder(&k, m);
    free(k.expert);
    return rc ? rc : refuse_twins(&k);
}

void gguf_made_free(struct gguf_made *x)
{
    for (size_t i = 0; i < x->count; i++) free(x->at[i].name);
    free(x->at);
    free(x->part);
    buffer_free(&x->out.values);
    gguf_factors_free(&x->factors);
    *x = (struct gguf_made){0};
}

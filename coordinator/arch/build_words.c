/* Matrices of GPTQ and AWQ folders: words of whole numbers, stored [inputs][outputs], with a row of scales and one of zero points
 * for each group of inputs. */
#include "coordinator/arch/build_private.h"

#include <stdio.h>
#include <string.h>

#define REMEDY "take the model's bfloat16 or FP8 folder"

struct words {
    struct build *b;
    const char *name; /* with ".weight" */
    uint64_t in, out, groups;
};

static const char *full_name(const char *name, const char *end, char out[BUILD_NAME_BYTES + 16])
{
    size_t n = strlen(name), cut = strlen(".weight");

    if (n >= cut && !strcmp(name + n - cut, ".weight")) n -= cut;
    snprintf(out, BUILD_NAME_BYTES + 16, "%.*s%s", (int)n, name, end);
    return out;
}

static struct tensor *find(const struct build *b, const char *name, const char *end)
{
    char full[BUILD_NAME_BYTES + 16];

    return (struct tensor *)(uintptr_t)tensors_find(b->t, full_name(name, end, full));
}

/* A tensor of that type and shape; NULL and a fault otherwise. */
static const struct tensor *need(const struct words *w, const char *end, uint32_t dtype, uint64_t rows, uint64_t cols)
{
    char full[BUILD_NAME_BYTES + 16];
    uint64_t shape[2] = {rows, cols};
    struct build *b = w->b;
    const struct tensor *t = build_tensor(b, full_name(w->name, end, full), dtype, shape, 2);

    if (!t || !build_ok(b)) return NULL;
    if (t->dims != 2 || t->shape[0] != rows || t->shape[1] != cols) build_shape_fault(b, t, shape, 2);
    if (build_ok(b) && dtype == TENSOR_I32 && t->dtype != TENSOR_I32)
        build_fault(b, "%s: tensor %s: words of %s are not supported, I32 are: " REMEDY, tensors_path(b->t, t), t->name,
                    tensor_dtype_name(t->dtype));
    return build_ok(b) ? t : NULL;
}

bool build_has_words(const struct build *b, const char *name)
{
    return find(b, name, ".qweight") != NULL;
}

/* Bits are those of config.json, but for matrices that were given others: their shape tells. */
static uint32_t form_of(const struct words *w)
{
    const struct tensor *t = find(w->b, w->name, ".qweight");
    bool eight = w->b->quant.bits == 8;

    if (w->b->quant.kind == QUANT_AWQ) return FORM_AWQ_4;
    if (t && t->dims == 2 && t->shape[0] * 8 == w->in) eight = false;
    if (t && t->dims == 2 && t->shape[0] * 4 == w->in) eight = true;
    return eight ? FORM_GPTQ_8 : FORM_GPTQ_4;
}

/* Inputs of a group: what config.json says, or what the scales' shape does. */
static uint64_t group_of(const struct words *w)
{
    const struct tensor *t = find(w->b, w->name, ".scales");
    uint64_t group = w->b->quant.group ? w->b->quant.group : w->in, rows = t && t->dims == 2 ? t->shape[0] : 0;

    if (group > w->in) group = w->in;
    if (rows && (w->in + group - 1) / group != rows && w->in % rows == 0) group = w->in / rows;
    return group;
}

/* Which group each input belongs to: whole numbers, kept as they are stored. */
static void find_groups(const struct words *w, struct plan_matrix *m)
{
    struct build *b = w->b;
    char full[BUILD_NAME_BYTES + 16];
    struct plan_vector v = {.elements = w->in, .form = FORM_F32};
    struct tensor *known = find(b, w->name, ".g_idx");
    const struct tensor *t;

    if (known) known->used = true;
    if (!b->quant.grouped || w->groups == 1) return;
    if (w->groups > MATRIX_GROUPS) {
        build_fault(b, "%s: %s: inputs in %llu groups are not supported, %u are the most: " REMEDY, b->c->path, w->name,
                    (unsigned long long)w->groups, MATRIX_GROUPS);
        return;
    }
    t = build_tensor(b, full_name(w->name, ".g_idx", full), TENSOR_I32, &w->in, 1);
    if (!t || !build_ok(b)) return;
    if (t->dims != 1 || t->shape[0] != w->in) build_shape_fault(b, t, &w->in, 1);
    if (build_ok(b) && t->dtype != TENSOR_I32)
        build_fault(b, "%s: tensor %s: groups stored as %s are not supported, I32 are: " REMEDY, tensors_path(b->t, t),
                    t->name, tensor_dtype_name(t->dtype));
    if (!build_ok(b)) return;
    v.file = build_file_of(b, t);
    v.file_off = t->offset;
    b->weight_bytes += 4 * w->in;
    m->flags |= MATRIX_GROUPED;
    m->vector[0] = program_vector(b->p, &v, t->name);
}

static void find_scales(const struct words *w, struct plan_matrix *m)
{
    struct build *b = w->b;
    const struct tensor *t = need(w, ".scales", TENSOR_F16, w->groups, w->out);
    uint64_t pack = form_turned_pack(m->form);

    if (!t) return;
    m->scale_form = (uint16_t)tensor_form(t->dtype);
    if (!form_scaled_by(m->form, m->scale_form)) {
        build_fault(b, "%s: tensor %s: scales stored as %s are not supported for weights in %s: " REMEDY,
                    tensors_path(b->t, t), t->name, tensor_dtype_name(t->dtype), form_name(m->form));
        return;
    }
    m->block_cols = 1;
    m->scale_row_bytes = form_row_bytes(m->scale_form, w->out);
    m->scale_off = t->offset;
    m->scale_file = build_file_of(b, t);
    t = need(w, ".qzeros", TENSOR_I32, w->groups, w->out / pack);
    if (!t) return;
    m->zero_rows = m->block_rows;
    m->zero_row_bytes = w->out / pack * 4;
    m->zero_off = t->offset;
    m->zero_file = build_file_of(b, t);
    if (b->quant.zeros_less) m->flags |= MATRIX_ZEROS_LESS;
}

void build_words(struct build *b, struct plan_matrix *m, const char *name)
{
    struct words w = {.b = b, .name = name, .in = m->cols, .out = m->rows};
    uint64_t group = group_of(&w), deep;
    const struct tensor *t;

    m->form = (uint16_t)form_of(&w);
    deep = form_deep(m->form);
    w.groups = (w.in + group - 1) / group;
    if (w.in % deep || group % deep || w.out % form_turned_pack(m->form)) {
        build_fault(b,
                    "%s: %s: %llu inputs in groups of %llu and %llu outputs are not whole words of %s, which is not "
                    "supported: " REMEDY,
                    b->c->path, name, (unsigned long long)w.in, (unsigned long long)group, (unsigned long long)w.out,
                    form_name(m->form));
        return;
    }
    t = need(&w, ".qweight", TENSOR_I32, w.in / deep, w.out / form_elements(m->form));
    if (!t) return;
    m->rows = w.in / deep;
    m->cols = w.out;
    m->row_bytes = form_row_bytes(m->form, w.out);
    m->file_off = t->offset;
    m->file = build_file_of(b, t);
    m->block_rows = (uint32_t)(group / deep);
    find_scales(&w, m);
    if (build_ok(b)) find_groups(&w, m);
}

/* Tensors of the folder that become matrices and vectors of the program. */
#include "coordinator/arch/build_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *show_shape(char *out, size_t bytes, const uint64_t *shape, uint32_t dims)
{
    size_t n = 0;

    out[0] = 0;
    for (uint32_t i = 0; i < dims && n < bytes; i++)
        n += (size_t)snprintf(out + n, bytes - n, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    return out;
}

/* The scales that lie beside a tensor of this whole name. */
static const struct tensor *scales_of(const struct build *b, const char *name)
{
    static const char *const ends[] = {"_scale", "_scale_inv"};
    char scale[BUILD_NAME_BYTES + 16];
    const struct tensor *s = NULL;

    for (size_t i = 0; i < sizeof ends / sizeof *ends && !s; i++) {
        snprintf(scale, sizeof scale, "%s%s", name, ends[i]);
        s = tensors_find(b->t, scale);
    }
    if (!s && tensors_name_ends(name, ".weight")) { /* DeepSeek V4: NAME.scale beside NAME.weight */
        snprintf(scale, sizeof scale, "%.*s.scale", (int)(strlen(name) - strlen(".weight")), name);
        s = tensors_find(b->t, scale);
    }
    return s;
}

/* The type of most tensors. */
uint32_t build_model_dtype(struct build *b)
{
    const char *dtype = config_string_or(b->c, "torch_dtype", NULL, b->e);

    if (!dtype) dtype = config_string_or(b->c, "dtype", "bfloat16", b->e);
    return !strcmp(dtype, "float32") ? TENSOR_F32 : !strcmp(dtype, "float16") ? TENSOR_F16 : TENSOR_BF16;
}

static uint32_t assumed_dtype(struct build *b, const char *name)
{
    static const char *const products[] = {"_proj.weight", ".w1.weight",   ".w2.weight",
                                           ".w3.weight",   ".wq_a.weight", "attn.wkv.weight",
                                           ".wq_b.weight", ".wo_a.weight", ".wo_b.weight"};
    static const char *const wide[] = {"hc_attn_", "hc_ffn_", "hc_head_", ".ape", ".attn_sink", "ffn.gate.bias"};
    bool fp8 = b->quant.kind == QUANT_FP8 || (b->quant.kind >= QUANT_COMPRESSED && b->quant.numbers == QUANT_FLOATS),
         multiplied = false;

    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) /* DeepSeek V4's, whatever the others' type */
        if (strstr(name, wide[i])) return TENSOR_F32;
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) multiplied |= strstr(name, products[i]) != NULL;
    if (fp8 && (b->t->names_known ? scales_of(b, name) != NULL : multiplied)) return TENSOR_F8_E4M3;
    return build_model_dtype(b);
}

/* A fault of one tensor: the end of the building, or a line in the list of who wants them all. */
static void tensor_fault(struct build *b, const struct tensor *t, const char *name, const char *what)
{
    if (b->o->tensor_fault && build_ok(b)) {
        b->faults_told = true;
        b->o->tensor_fault(b->o->fault_arg, t ? tensors_path(b->t, t) : NULL, name, what);
    } else {
        build_fault(b, "%s: tensor %s %s", t ? tensors_path(b->t, t) : b->t->folder, name, what);
    }
}

/* A tensor that no file has. Where the index says that it is in a file that is not there, that file's fault is the one:
 * who lists all faults was told of it when the files were opened. */
static void missing_fault(struct build *b, const char *name, const uint64_t *shape, uint32_t dims)
{
    const struct tensors_file *f = tensors_claimed(b->t, name);
    char text[160], what[600];

    b->faults_told = b->o->tensor_fault != NULL;
    if (f && f->fault) {
        if (!b->o->tensor_fault) build_fault(b, "%s", f->fault);
        return;
    }
    if (!f && b->o->file_fault && tensors_any_fault(b->t)) return; /* it may be in the file that cannot be read */
    show_shape(text, sizeof text, shape, dims);
    if (b->embeds && tensors_name_ends(name, "lm_head.weight"))
        snprintf(what, sizeof what,
                 "is missing: the model makes embeddings (modules.json), it has no head that writes");
    else if (f)
        snprintf(what, sizeof what,
                 "of shape [%s] is not in it, though %s says so, nor in another file: download both again", text,
                 TENSORS_INDEX_NAME);
    else if (b->t->gguf)
        snprintf(what, sizeof what,
                 "of shape [%s] is missing, as others call it: the file is not whole, or holds another kind of model",
                 text);
    else
        snprintf(what, sizeof what,
                 "of shape [%s] is missing: the download is incomplete, or config.json belongs to another model", text);
    if (b->o->tensor_fault)
        b->o->tensor_fault(b->o->fault_arg, f ? f->path : NULL, name, what);
    else
        build_fault(b, "%s: tensor %s %s", f ? f->path : b->t->gguf ? b->c->path : b->t->folder, name, what);
}

/* The tensor of this whole name; where its folder is assumed, with this shape. NULL and a fault where there is none. */
const struct tensor *build_tensor(struct build *b, const char *name, uint32_t dtype, const uint64_t *shape,
                                  uint32_t dims)
{
    struct tensor *t = (struct tensor *)(uintptr_t)tensors_find(b->t, name);
    bool assume = b->t->assumed && (t || !b->t->names_known);

    if (!build_ok(b)) return NULL;
    if (!t && !assume) {
        missing_fault(b, name, shape, dims);
        assume = build_ok(b);
    }
    if (assume) {
        t = (struct tensor *)(uintptr_t)tensors_assume(
            b->t, name, dtype == TENSOR_DTYPES ? assumed_dtype(b, name) : dtype, shape, dims);
        if (!t) b->p->failed = true;
    }
    if (t) t->used = true;
    return t;
}

static bool same_shape(const struct tensor *t, const uint64_t *shape, uint32_t dims)
{
    if (t->dims != dims) return false;
    for (uint32_t i = 0; i < dims; i++)
        if (t->shape[i] != shape[i]) return false;
    return true;
}

void build_shape_fault(struct build *b, const struct tensor *t, const uint64_t *shape, uint32_t dims)
{
    char have[160], want[160], what[512];

    snprintf(what, sizeof what, "has shape [%s], and [%s] was expected: %s",
             show_shape(have, sizeof have, t->shape, t->dims), show_shape(want, sizeof want, shape, dims),
             b->t->gguf ? "the file's values and its tensors do not belong together"
                        : "the file and config.json do not belong together");
    tensor_fault(b, t, tensor_stored_name(t), what);
}

uint32_t build_file_of(struct build *b, const struct tensor *t)
{
    const struct tensors_file *f = &b->t->files[t->file];

    if (b->file_of[t->file] == PLAN_NONE) {
        struct plan_file r = {.bytes = f->info.bytes,
                              .mtime_ns = f->info.mtime_ns,
                              .ctime_ns = f->info.ctime_ns,
                              .inode = f->info.inode,
                              .device = f->info.device,
                              .header_bytes = f->info.header_bytes,
                              .header_sum = f->info.header_sum};
        b->file_of[t->file] = program_file(b->p, &r, f->path);
    }
    return b->file_of[t->file];
}

/* A tensor's stored form; a fault, and FORMS, where no kernel multiplies with it. */
static uint16_t form_of(struct build *b, const struct tensor *t)
{
    uint32_t form = tensor_stored_form(t);

    if (form_can_be(form, FORM_WEIGHT)) return (uint16_t)form;
    build_fault(b, "%s: tensor %s is stored as %s, which is not supported: take %s", tensors_path(b->t, t),
                tensor_stored_name(t), tensor_stored_as(t),
                b->t->gguf ? "a file of another type" : "a folder in bfloat16, float16, float32 or FP8");
    return FORMS;
}

/* Does s, of a matrix or of a stack of parts, have this shape for each part? Dimensions of length 1 may be left out at the
 * end; where loose, of more dimensions than that, they stand anywhere. */
static bool scales_shaped(const struct tensor *s, uint32_t parts, uint64_t rows, uint64_t cols, bool loose)
{
    uint64_t want[3], n = 0;
    uint32_t k = 0;

    if (parts > 1) want[n++] = parts;
    want[n++] = rows;
    want[n++] = cols;
    if (loose && s->dims <= n) return false;
    for (uint32_t i = 0; i < n; i++) {
        while (loose && k < s->dims && s->shape[k] == 1) k++;
        if (loose && want[i] == 1) continue;
        if ((k < s->dims ? s->shape[k] : 1) != want[i]) return false;
        k++;
    }
    while (k < s->dims && s->shape[k] == 1 && loose) k++;
    return k >= s->dims;
}

static bool set_block(struct plan_matrix *m, const struct tensor *s, uint32_t parts, uint64_t rows, uint64_t cols)
{
    uint64_t down = (m->rows + rows - 1) / rows, across = (m->cols + cols - 1) / cols;

    if (!scales_shaped(s, parts, down, across, false) && !scales_shaped(s, parts, down, across, true)) return false;
    m->block_rows = (uint32_t)rows;
    m->block_cols = (uint32_t)cols;
    return true;
}

/* Scales in one row of tensor s for each row of a matrix: of groups of columns. 0: it has no such shape. */
static uint64_t group_columns(const struct plan_matrix *m, const struct tensor *s)
{
    uint64_t n = s->dims ? s->shape[s->dims - 1] : 0;

    return n > 1 && m->cols % n == 0 ? m->cols / n : 0;
}

/* Which part of the matrix one scale of tensor s covers: a block, a row, some columns of a row, or all of it; a fault where
 * its shape says nothing sensible. */
static void scale_blocks(struct build *b, struct plan_matrix *m, const struct tensor *s, uint32_t parts)
{
    const struct quant_block *q = b->quant.block;
    uint32_t n = b->quant.blocks;
    uint64_t group = group_columns(m, s), shape[3] = {parts, m->rows, 1};

    for (uint32_t i = 0; i < n; i++)
        if (set_block(m, s, parts, q[i].rows, q[i].cols)) return;
    if (set_block(m, s, parts, m->rows, m->cols) || set_block(m, s, parts, 1, m->cols)) return;
    if (group && set_block(m, s, parts, 1, group)) return;
    if (n) {
        shape[1] = (m->rows + q->rows - 1) / q->rows;
        shape[2] = (m->cols + q->cols - 1) / q->cols;
    }
    build_shape_fault(b, s, parts > 1 ? shape : shape + 1, parts > 1 ? 3 : 2);
    m->block_rows = (uint32_t)m->rows;
    m->block_cols = (uint32_t)m->cols;
}

void build_scales(struct build *b, struct plan_matrix *m, const char *of, uint32_t part, uint32_t parts)
{
    const struct quant_block whole = {b->quant.span == QUANT_OF_ROW ? 1 : (uint32_t)m->rows,
                                      b->quant.group && b->quant.group <= m->cols ? b->quant.group : (uint32_t)m->cols},
                             *q = b->quant.blocks ? b->quant.block : &whole;
    uint64_t shape[3] = {parts, (m->rows + q->rows - 1) / q->rows, (m->cols + q->cols - 1) / q->cols}, columns;
    uint32_t dtype = b->quant.scale_dtype == TENSOR_DTYPES ? build_model_dtype(b) : b->quant.scale_dtype;
    const struct tensor *s = scales_of(b, of);
    char name[BUILD_NAME_BYTES];

    if (s)
        snprintf(name, sizeof name, "%s", s->name);
    else
        snprintf(name, sizeof name, "%s_scale%s", of, b->quant.kind == QUANT_FP8 ? "_inv" : "");
    s = build_tensor(b, name, dtype, parts > 1 ? shape : shape + 1, parts > 1 ? 3 : 2);
    if (!s) return;
    m->scale_form = (uint16_t)tensor_form(s->dtype);
    if (!form_scaled_by(m->form, m->scale_form))
        build_fault(b, "%s: tensor %s: scales stored as %s are not supported for weights in %s", tensors_path(b->t, s),
                    s->name, tensor_stored_as(s), form_name(m->form));
    if (build_ok(b)) scale_blocks(b, m, s, parts);
    if (!build_ok(b) || !m->block_cols) return;
    columns = (m->cols + m->block_cols - 1) / m->block_cols;
    m->scale_row_bytes = form_row_bytes(m->scale_form, columns);
    m->scale_off = s->offset + part * (s->bytes / parts);
    m->scale_file = build_file_of(b, s);
}

static uint64_t scale_bytes(const struct plan_matrix *m)
{
    uint64_t bytes = m->scale_file == PLAN_NONE ? 0 : plan_scale_rows(m, 0, m->rows).count * m->scale_row_bytes;

    return bytes + (m->zero_rows ? plan_zero_rows(m, 0, m->rows).count * m->zero_row_bytes : 0);
}

uint32_t build_put_matrix(struct build *b, const struct plan_matrix *m, const char *name)
{
    b->weight_bytes += m->rows * m->row_bytes + scale_bytes(m);
    b->parameters += plan_matrix_elements(m);
    return program_matrix(b->p, m, name);
}

/* Two numbers e2m1 in each byte of a tensor of I8, with scales that are powers of two beside it, among weights in FP8
 * (DeepSeek V4's experts): MXFP4 in all but its names. Where shapes are not known, config.json says which are such. */
static bool is_fp4(const struct build *b, const char *full)
{
    const struct tensor *t = tensors_find(b->t, full), *s = scales_of(b, full);

    if (b->quant.kind != QUANT_FP8) return false;
    if (t && t->dims) return s && t->dtype == TENSOR_I8 && s->dtype == TENSOR_F8_E8M0;
    return b->t->assumed && b->quant.fp4_experts && strstr(full, ".experts.");
}

static uint32_t add_fp4(struct build *b, const char *full, uint64_t rows, uint64_t cols)
{
    const uint32_t each = form_elements(FORM_MXFP4);
    uint64_t shape[2] = {rows, cols / 2}, scales[2] = {rows, cols / each};
    struct plan_matrix m = {.rows = rows, .cols = cols, .form = FORM_MXFP4};
    const struct tensor *t = build_tensor(b, full, TENSOR_I8, shape, 2);
    char name[BUILD_NAME_BYTES];

    if (!t) return 0;
    if (cols % each || !same_shape(t, shape, 2)) build_shape_fault(b, t, shape, 2);
    if (!build_ok(b)) return 0;
    m.row_bytes = form_row_bytes(m.form, cols);
    m.file_off = t->offset;
    m.file = build_file_of(b, t);
    snprintf(name, sizeof name, "%.*s.scale", (int)(strlen(full) - strlen(".weight")), full);
    if (b->t->assumed) build_tensor(b, name, TENSOR_F8_E8M0, scales, 2);
    build_scales(b, &m, full, 0, 1);
    if (build_ok(b) && (m.block_rows != 1 || m.block_cols != each))
        build_fault(b, "%s: tensor %s: scales of %u x %u numbers are not supported: 1 x %u are",
                    tensors_path(b->t, tensors_find(b->t, full)), full, m.block_rows, m.block_cols, each);
    return build_ok(b) ? build_put_matrix(b, &m, full) : 0;
}

/* *times: of the whole matrix, 0: none. NULL: the caller cannot multiply by it. */
static uint32_t add_matrix(struct build *b, const char *full, uint32_t part, uint32_t parts, uint64_t rows,
                           uint64_t cols, float *times)
{
    uint64_t shape[3] = {parts, rows, cols};
    uint32_t dims = parts > 1 ? 3 : 2, packed;
    struct plan_matrix m = {.rows = rows, .cols = cols, .scale_file = PLAN_NONE};
    const struct tensor *t;
    const char *name;

    if (parts == 1 && build_packed(b, full, rows, cols, &packed)) return packed;
    if (parts == 1 && is_fp4(b, full)) return add_fp4(b, full, rows, cols);
    t = build_tensor(b, full, TENSOR_DTYPES, shape + (3 - dims), dims);
    if (!t) return 0;
    name = tensor_stored_name(t); /* stays where it is; t does not where tensors are added */
    /* a lone matrix in a stack keeps its three dimensions */
    if (!same_shape(t, shape + (3 - dims), dims) && !same_shape(t, shape, 3)) {
        build_shape_fault(b, t, shape + (3 - dims), dims);
        if (!build_ok(b)) return 0;
    }
    m.form = form_of(b, t);
    if (times) *times = t->times;
    if (isnan(t->times) || (t->times != 0 && !times))
        build_fault(b, "%s: tensor %s: a scale of all of it is not supported here: take a file of another type",
                    tensors_path(b->t, t), name);
    if (!build_ok(b)) return 0;
    m.row_bytes = form_row_bytes(m.form, cols);
    m.file_off = t->offset + part * rows * m.row_bytes;
    m.file = build_file_of(b, t);
    if (form_info(m.form)->scales == FORM_SCALES_GRID) build_scales(b, &m, t->name, part, parts);
    return build_ok(b) ? build_put_matrix(b, &m, name) : 0;
}

bool build_is_turned(const struct build *b, uint32_t matrix)
{
    return matrix < b->p->matrices.count &&
           form_turned_pack(PROGRAM_AT(b->p, matrices, const struct plan_matrix, matrix)->form);
}

uint32_t build_matrix_either(struct build *b, const char *name, uint64_t rows, uint64_t cols)
{
    char full[BUILD_NAME_BYTES];

    snprintf(full, sizeof full, "%s%s.weight", b->base, name);
    return add_matrix(b, full, 0, 1, rows, cols, NULL);
}

uint32_t build_matrix(struct build *b, const char *name, uint64_t rows, uint64_t cols)
{
    uint32_t matrix = build_matrix_either(b, name, rows, cols);

    if (build_ok(b) && build_is_turned(b, matrix))
        build_fault(
            b,
            "%s: %s%s: quantized by AWQ or GPTQ this matrix is not supported, for single rows of it are needed: "
            "take a folder that leaves it as it was, or the model's bfloat16 or FP8 folder",
            b->t->folder, b->base, name);
    return matrix;
}

uint32_t build_matrix_times(struct build *b, const char *name, uint64_t rows, uint64_t cols, float *times)
{
    char full[BUILD_NAME_BYTES];

    *times = 0;
    snprintf(full, sizeof full, "%s%s.weight", b->base, name);
    return add_matrix(b, full, 0, 1, rows, cols, times);
}

uint32_t build_stacked(struct build *b, const char *name, uint32_t part, uint32_t parts, uint64_t rows, uint64_t cols)
{
    char full[BUILD_NAME_BYTES];

    return add_matrix(b, build_full_name(b, full, name), part, parts, rows, cols, NULL);
}

uint32_t build_mxfp4(struct build *b, const char *name, uint32_t part, uint32_t parts, uint64_t rows, uint64_t cols)
{
    const struct form_info *f = form_info(FORM_MXFP4);
    uint64_t shape[4] = {parts, rows, cols / f->elements, f->bytes};
    struct plan_matrix m = {.rows = rows,
                            .cols = cols,
                            .form = FORM_MXFP4,
                            .scale_form = FORM_F8_E8M0,
                            .block_rows = f->grid_rows,
                            .block_cols = f->grid_cols};
    char full[BUILD_NAME_BYTES];
    const struct tensor *w, *s;

    if (cols % f->elements)
        build_fault(b, "%s%s: MXFP4 rows of %llu are not whole blocks of %u", b->base, name, (unsigned long long)cols,
                    f->elements);
    snprintf(full, sizeof full, "%s%s_scales", b->base, name);
    build_tensor(b, full, TENSOR_U8, shape, 3);
    snprintf(full, sizeof full, "%s%s_blocks", b->base, name);
    build_tensor(b, full, TENSOR_U8, shape, 4);
    if (!build_ok(b) || b->p->failed) return 0;
    w = tensors_find(b->t, full); /* both now: tensors that are assumed move the table */
    snprintf(full, sizeof full, "%s%s_scales", b->base, name);
    s = tensors_find(b->t, full);
    snprintf(full, sizeof full, "%s%s_blocks", b->base, name);
    if (!w || !s) return 0;
    if (!same_shape(w, shape, 4)) build_shape_fault(b, w, shape, 4);
    if (!same_shape(s, shape, 3)) build_shape_fault(b, s, shape, 3);
    if (w->dtype != TENSOR_U8 || s->dtype != TENSOR_U8)
        build_fault(b, "%s: tensor %s: MXFP4 is stored as U8, this is %s", tensors_path(b->t, w), w->name,
                    tensor_dtype_name(w->dtype));
    if (!build_ok(b)) return 0;
    m.row_bytes = form_row_bytes(m.form, cols);
    m.scale_row_bytes = form_row_bytes(m.scale_form, cols / m.block_cols);
    m.file_off = w->offset + part * rows * m.row_bytes;
    m.scale_off = s->offset + part * rows * m.scale_row_bytes;
    m.file = build_file_of(b, w);
    m.scale_file = build_file_of(b, s);
    return build_put_matrix(b, &m, full);
}

static uint32_t add_vector(struct build *b, const char *name, uint32_t part, uint32_t parts, uint64_t elements)
{
    uint64_t shape[2] = {parts, elements}, n = 1;
    char full[BUILD_NAME_BYTES];
    const struct tensor *t = build_tensor(b, build_full_name(b, full, name), TENSOR_DTYPES,
                                          parts > 1 ? shape : shape + 1, parts > 1 ? 2 : 1);
    struct plan_vector v = {.elements = elements};

    if (!t) return PLAN_NONE;
    for (uint32_t i = 0; i < t->dims; i++) n *= t->shape[i];
    if (n != parts * elements) build_shape_fault(b, t, parts > 1 ? shape : shape + 1, parts > 1 ? 2 : 1);
    v.form = form_of(b, t);
    if (build_ok(b) && !form_can_be_vector(v.form))
        build_fault(b, "%s: tensor %s: a vector in %s is not supported", tensors_path(b->t, t), tensor_stored_name(t),
                    form_name(v.form));
    if (!build_ok(b)) return PLAN_NONE;
    v.file = build_file_of(b, t);
    v.file_off = t->offset + part * form_row_bytes(v.form, elements);
    b->weight_bytes += form_row_bytes(v.form, elements);
    b->parameters += elements;
    return program_vector(b->p, &v, tensor_stored_name(t));
}

uint32_t build_vector(struct build *b, const char *name, uint64_t elements)
{
    return add_vector(b, name, 0, 1, elements);
}

uint32_t build_stacked_vector(struct build *b, const char *name, uint32_t part, uint32_t parts, uint64_t elements)
{
    return add_vector(b, name, part, parts, elements);
}

uint32_t build_table(struct build *b, const char *name, uint32_t rows, uint32_t cols)
{
    uint64_t shape[2] = {rows, cols};
    char full[BUILD_NAME_BYTES];
    const struct tensor *t;
    uint32_t first = (uint32_t)b->p->vectors.count;
    struct plan_vector v = {0};

    snprintf(full, sizeof full, "%s%s.weight", b->base, name);
    t = build_tensor(b, full, TENSOR_DTYPES, shape, 2);
    if (!t) return 0;
    if (!same_shape(t, shape, 2)) {
        build_shape_fault(b, t, shape, 2);
        if (!build_ok(b)) return 0;
    }
    v.form = form_of(b, t);
    if (build_ok(b) && !form_can_be_vector(v.form))
        build_fault(b, "%s: tensor %s: a table of positions in %s is not supported", tensors_path(b->t, t),
                    tensor_stored_name(t), form_name(v.form));
    if (!build_ok(b)) return 0;
    v.file = build_file_of(b, t);
    v.file_off = t->offset;
    for (uint32_t row = 0; row < rows && build_ok(b); row += POSITION_ROWS) {
        v.elements = (uint64_t)(rows - row < POSITION_ROWS ? rows - row : POSITION_ROWS) * cols;
        program_vector(b->p, &v, tensor_stored_name(t));
        v.file_off += form_row_bytes(v.form, v.elements);
    }
    b->weight_bytes += form_row_bytes(v.form, (uint64_t)rows * cols);
    b->parameters += (uint64_t)rows * cols;
    return first;
}

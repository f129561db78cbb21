#include "coordinator/arch/build.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "coordinator/arch/names.h"

#define SIZE_LIMIT   (1u << 24) /* columns of anything */
#define LAYERS_LIMIT 10000u
#define HEADS_LIMIT  65536u

const struct plan_view VIEW_NONE = {.buf = PLAN_NOBUF};

void build_fault(struct build *b, const char *fmt, ...)
{
    char text[ERROR_TEXT_BYTES];
    va_list ap;

    if (b->e->code) return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    error_set(b->e, EINVAL, "%s", text);
}

void build_notice(struct build *b, const char *fmt, ...)
{
    size_t n = strlen(b->notice);
    va_list ap;

    if (n) n += (size_t)snprintf(b->notice + n, sizeof b->notice - n, "; ");
    if (n >= sizeof b->notice) return;
    va_start(ap, fmt);
    vsnprintf(b->notice + n, sizeof b->notice - n, fmt, ap);
    va_end(ap);
}

/* ---- sizes ---- */

static void head_sizes(struct build *b)
{
    b->heads = config_size(b->c, "num_attention_heads", 1, HEADS_LIMIT, b->e);
    b->kv_heads = config_size_or(b->c, "num_key_value_heads", 1, HEADS_LIMIT, b->heads, b->e);
    b->head_dim = config_size_or(b->c, "head_dim", 1, SIZE_LIMIT, 0, b->e);
    if (!build_ok(b)) return;
    if (!b->head_dim && b->hidden % b->heads)
        config_fault(b->c, b->e, "hidden_size", "%u is not divisible by num_attention_heads %u", b->hidden, b->heads);
    if (!b->head_dim) b->head_dim = b->hidden / b->heads;
    if ((uint64_t)b->heads * b->head_dim > SIZE_LIMIT)
        config_fault(b->c, b->e, "head_dim", "%u is out of range", b->head_dim);
}

/* A config that does not count the layers, and a folder with more of them than its class has: the answers would be wrong. */
static void refuse_uncounted_layers(struct build *b)
{
    char start[sizeof b->prefix + sizeof b->layers_name + 16];

    if (!build_ok(b) || config_gives(b->c, "num_hidden_layers")) return;
    snprintf(start, sizeof start, "%s%s.%u.", b->prefix, b->layers_name, b->layers);
    if (names_any_begins(b->t, start))
        config_fault(b->c, b->e, "num_hidden_layers",
                     "this field is missing, and the folder has more layers than the %u that are usual: %s*", b->layers,
                     start);
}

void build_sizes(struct build *b)
{
    uint32_t longest;

    b->hidden = config_size(b->c, "hidden_size", 1, SIZE_LIMIT, b->e);
    b->layers = config_size(b->c, "num_hidden_layers", 1, LAYERS_LIMIT, b->e);
    b->vocab = config_size(b->c, "vocab_size", 1, SIZE_LIMIT, b->e);
    b->inter = config_size_or(b->c, "intermediate_size", 1, SIZE_LIMIT, 0, b->e);
    b->limit = config_size_or(b->c, "max_position_embeddings", 1, CONFIG_SIZE_MAX, 2048, b->e);
    longest = config_length_or(b->c, "model_max_length", b->limit, b->e);
    if (longest > b->limit) b->limit = longest; /* Command R gives both, and means the larger */
    head_sizes(b);
    refuse_uncounted_layers(b);
}

void build_norm_kind(struct build *b, enum plan_norm kind, const char *eps_key, double eps)
{
    b->norm_kind = kind;
    b->eps = (float)config_number_or(b->c, eps_key, eps, b->e);
    if (!(b->eps >= 0 && b->eps < 1)) config_fault(b->c, b->e, eps_key, "%g is out of range", (double)b->eps);
}

struct rope_table build_rotary(struct build *b, struct rope_request q)
{
    struct rope_table r;

    if (!q.head_dim) q.head_dim = b->head_dim;
    q.length = b->o->want_tokens > b->o->context ? b->o->want_tokens : b->o->context;
    r = rope_make(b->p, b->c, &q, b->e);
    if (q.layer_type && strcmp(q.layer_type, "full_attention")) return r;
    b->rope = r;
    if (r.borrowed && !q.layer_type)
        build_notice(b, "config.json has rope_scaling beside rope_parameters: the first is used, with the rope_theta "
                        "of the second");
    return r;
}

struct rope_table build_plain_rope(struct build *b)
{
    return build_rotary(b, (struct rope_request){0});
}

bool build_tied(struct build *b)
{
    const json_t *given[2] = {json_object_get(b->c->text, "tie_word_embeddings"),
                              json_object_get(b->c->root, "tie_word_embeddings")};
    bool tied = false;

    b->tie_silent = true;
    for (size_t i = 0; i < 2; i++) {
        if (!given[i] || json_is_null(given[i])) continue;
        if (!json_is_boolean(given[i])) config_fault(b->c, b->e, "tie_word_embeddings", "neither true nor false");
        tied |= json_is_true(given[i]);
        b->tie_silent = false;
    }
    return b->tie_silent ? json_is_true(json_object_get(b->c->defaults, "tie_word_embeddings")) : tied;
}

bool build_layer_is(struct build *b, uint32_t i, const char *type, bool otherwise)
{
    const char *s;

    if (!config_field(b->c, "layer_types", false)) return otherwise;
    s = config_list_string(b->c, "layer_types", i, b->e);
    if (!s) config_fault(b->c, b->e, "layer_types", "no entry for layer %u", i);
    if (s && strcmp(s, type) && strcmp(s, "full_attention"))
        config_fault(b->c, b->e, "layer_types", "layer %u is of type \"%.40s\", which %s does not have", i, s,
                     b->family);
    return s && !strcmp(s, type);
}

uint32_t build_sliding(struct build *b)
{
    return config_size_or(b->c, "sliding_window", 1, CONFIG_SIZE_MAX, 0, b->e);
}

uint32_t build_window(struct build *b, uint32_t i)
{
    uint32_t window = config_size_or(b->c, "sliding_window", 0, CONFIG_SIZE_MAX, 0, b->e);
    uint32_t from = config_size_or(b->c, "max_window_layers", 0, CONFIG_SIZE_MAX, 0, b->e);
    bool by_rule = config_bool_or(b->c, "use_sliding_window", false, b->e) && i >= from;

    return build_layer_is(b, i, "sliding_attention", by_rule) ? window : 0;
}

/* ---- names ---- */

void build_names(struct build *b, const char *prefix, const char *layers, const char *embed)
{
    snprintf(b->layers_name, sizeof b->layers_name, "%s", layers);
    if (!names_prefix(b->t, prefix, embed, layers, b->prefix, sizeof b->prefix))
        snprintf(b->prefix, sizeof b->prefix, "%s", prefix);
}

void build_top(struct build *b)
{
    snprintf(b->base, sizeof b->base, "%s", b->prefix);
}

void build_layer(struct build *b, uint32_t i)
{
    b->layer = i;
    snprintf(b->base, sizeof b->base, "%s%s.%u.", b->prefix, b->layers_name, i);
}

static const char *full_name(const struct build *b, char *out, const char *name)
{
    snprintf(out, BUILD_NAME_BYTES, "%s%s", b->base, name);
    return out;
}

const struct tensor *build_find(struct build *b, const char *name)
{
    char full[BUILD_NAME_BYTES];

    return tensors_find(b->t, full_name(b, full, name));
}

bool build_has(struct build *b, const char *name)
{
    return build_find(b, name) != NULL;
}

/* ---- tensors ---- */

static const char *show_shape(char *out, size_t bytes, const uint64_t *shape, uint32_t dims)
{
    size_t n = 0;

    out[0] = 0;
    for (uint32_t i = 0; i < dims && n < bytes; i++)
        n += (size_t)snprintf(out + n, bytes - n, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    return out;
}

static uint32_t assumed_dtype(struct build *b, const char *name)
{
    const char *dtype = config_string_or(b->c, "torch_dtype", NULL, b->e);
    char scale[BUILD_NAME_BYTES + 16];

    if (!dtype) dtype = config_string_or(b->c, "dtype", "bfloat16", b->e);
    snprintf(scale, sizeof scale, "%s_scale_inv", name);
    if (b->quant.kind == QUANT_FP8 &&
        (b->t->names_known ? tensors_find(b->t, scale) != NULL : strstr(name, "_proj.weight") != NULL))
        return TENSOR_F8_E4M3;
    return !strcmp(dtype, "float32") ? TENSOR_F32 : !strcmp(dtype, "float16") ? TENSOR_F16 : TENSOR_BF16;
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
    else
        snprintf(what, sizeof what,
                 "of shape [%s] is missing: the download is incomplete, or config.json belongs to another model", text);
    if (b->o->tensor_fault)
        b->o->tensor_fault(b->o->fault_arg, f ? f->path : NULL, name, what);
    else
        build_fault(b, "%s: tensor %s %s", f ? f->path : b->t->folder, name, what);
}

/* The tensor of this whole name; where its folder is assumed, with this shape. NULL and a fault where there is none. */
static const struct tensor *find(struct build *b, const char *name, uint32_t dtype, const uint64_t *shape,
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

static void shape_fault(struct build *b, const struct tensor *t, const uint64_t *shape, uint32_t dims)
{
    char have[160], want[160], what[512];

    snprintf(what, sizeof what,
             "has shape [%s], and [%s] was expected: the file and config.json do not belong together",
             show_shape(have, sizeof have, t->shape, t->dims), show_shape(want, sizeof want, shape, dims));
    tensor_fault(b, t, t->name, what);
}

static uint32_t program_file_of(struct build *b, const struct tensor *t)
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
    uint32_t form = tensor_form(t->dtype);

    if (form_can_be(form, FORM_WEIGHT)) return (uint16_t)form;
    build_fault(
        b, "%s: tensor %s is stored as %s, which is not supported: take a folder in bfloat16, float16, float32 or FP8",
        tensors_path(b->t, t), t->name, tensor_stored_as(t));
    return FORMS;
}

/* Does s, of a matrix or of a stack of parts, have this shape for each part? Dimensions of length 1 may be left out at
 * the end. */
static bool scales_shaped(const struct tensor *s, uint32_t parts, uint64_t rows, uint64_t cols)
{
    uint64_t want[3], n = 0;

    if (parts > 1) want[n++] = parts;
    want[n++] = rows;
    want[n++] = cols;
    if (s->dims > n) return false;
    for (uint32_t i = 0; i < n; i++)
        if ((i < s->dims ? s->shape[i] : 1) != want[i]) return false;
    return true;
}

/* Which part of the matrix one scale of tensor s covers: a block, a row, or all of it; a fault where its shape says
 * nothing sensible. */
static void scale_blocks(struct build *b, struct plan_matrix *m, const struct tensor *s, uint32_t parts)
{
    uint64_t rows = m->rows, cols = m->cols, br = b->quant.block_rows, bc = b->quant.block_cols;
    bool blocks = br && bc;
    uint64_t shape[3] = {parts, blocks ? (rows + br - 1) / br : rows, blocks ? (cols + bc - 1) / bc : 1};

    if (blocks && scales_shaped(s, parts, shape[1], shape[2])) {
        m->block_rows = (uint32_t)br;
        m->block_cols = (uint32_t)bc;
    } else if (scales_shaped(s, parts, 1, 1)) {
        m->block_rows = (uint32_t)rows;
        m->block_cols = (uint32_t)cols;
    } else if (scales_shaped(s, parts, rows, 1)) {
        m->block_rows = 1;
        m->block_cols = (uint32_t)cols;
    } else {
        shape_fault(b, s, parts > 1 ? shape : shape + 1, parts > 1 ? 3 : 2);
        m->block_rows = (uint32_t)rows;
        m->block_cols = (uint32_t)cols;
    }
}

static void find_scales(struct build *b, struct plan_matrix *m, const struct tensor *t, uint32_t part, uint32_t parts)
{
    uint64_t br = b->quant.block_rows ? b->quant.block_rows : m->rows,
             bc = b->quant.block_cols ? b->quant.block_cols : m->cols;
    uint64_t shape[3] = {parts, (m->rows + br - 1) / br, (m->cols + bc - 1) / bc}, columns;
    char name[BUILD_NAME_BYTES];
    const struct tensor *s;

    snprintf(name, sizeof name, "%s_scale", t->name);
    if (!tensors_find(b->t, name)) snprintf(name, sizeof name, "%s_scale_inv", t->name);
    s = find(b, name, TENSOR_F32, parts > 1 ? shape : shape + 1, parts > 1 ? 3 : 2);
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
    m->scale_file = program_file_of(b, s);
}

static uint64_t scale_bytes(const struct plan_matrix *m)
{
    return m->scale_file == PLAN_NONE ? 0 : (m->rows + m->block_rows - 1) / m->block_rows * m->scale_row_bytes;
}

static uint32_t put_matrix(struct build *b, const struct plan_matrix *m, const char *name)
{
    b->weight_bytes += m->rows * m->row_bytes + scale_bytes(m);
    b->parameters += m->rows * m->cols;
    return program_matrix(b->p, m, name);
}

static uint32_t add_matrix(struct build *b, const char *full, uint32_t part, uint32_t parts, uint64_t rows,
                           uint64_t cols)
{
    uint64_t shape[3] = {parts, rows, cols};
    uint32_t dims = parts > 1 ? 3 : 2;
    const struct tensor *t = find(b, full, TENSOR_DTYPES, shape + (3 - dims), dims);
    struct plan_matrix m = {.rows = rows, .cols = cols, .scale_file = PLAN_NONE};

    if (!t) return 0;
    /* a lone matrix in a stack keeps its three dimensions */
    if (!same_shape(t, shape + (3 - dims), dims) && !same_shape(t, shape, 3)) {
        shape_fault(b, t, shape + (3 - dims), dims);
        if (!build_ok(b)) return 0;
    }
    m.form = form_of(b, t);
    if (!build_ok(b)) return 0;
    m.row_bytes = form_row_bytes(m.form, cols);
    m.file_off = t->offset + part * rows * m.row_bytes;
    m.file = program_file_of(b, t);
    if (form_info(m.form)->scales == FORM_SCALES_GRID) find_scales(b, &m, t, part, parts);
    return build_ok(b) ? put_matrix(b, &m, full) : 0;
}

uint32_t build_matrix(struct build *b, const char *name, uint64_t rows, uint64_t cols)
{
    char full[BUILD_NAME_BYTES];

    snprintf(full, sizeof full, "%s%s.weight", b->base, name);
    return add_matrix(b, full, 0, 1, rows, cols);
}

uint32_t build_stacked(struct build *b, const char *name, uint32_t part, uint32_t parts, uint64_t rows, uint64_t cols)
{
    char full[BUILD_NAME_BYTES];

    return add_matrix(b, full_name(b, full, name), part, parts, rows, cols);
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
    find(b, full, TENSOR_U8, shape, 3);
    snprintf(full, sizeof full, "%s%s_blocks", b->base, name);
    find(b, full, TENSOR_U8, shape, 4);
    if (!build_ok(b) || b->p->failed) return 0;
    w = tensors_find(b->t, full); /* both now: tensors that are assumed move the table */
    snprintf(full, sizeof full, "%s%s_scales", b->base, name);
    s = tensors_find(b->t, full);
    snprintf(full, sizeof full, "%s%s_blocks", b->base, name);
    if (!w || !s) return 0;
    if (!same_shape(w, shape, 4)) shape_fault(b, w, shape, 4);
    if (!same_shape(s, shape, 3)) shape_fault(b, s, shape, 3);
    if (w->dtype != TENSOR_U8 || s->dtype != TENSOR_U8)
        build_fault(b, "%s: tensor %s: MXFP4 is stored as U8, this is %s", tensors_path(b->t, w), w->name,
                    tensor_dtype_name(w->dtype));
    if (!build_ok(b)) return 0;
    m.row_bytes = form_row_bytes(m.form, cols);
    m.scale_row_bytes = form_row_bytes(m.scale_form, cols / m.block_cols);
    m.file_off = w->offset + part * rows * m.row_bytes;
    m.scale_off = s->offset + part * rows * m.scale_row_bytes;
    m.file = program_file_of(b, w);
    m.scale_file = program_file_of(b, s);
    return put_matrix(b, &m, full);
}

static uint32_t add_vector(struct build *b, const char *name, uint32_t part, uint32_t parts, uint64_t elements)
{
    uint64_t shape[2] = {parts, elements}, n = 1;
    char full[BUILD_NAME_BYTES];
    const struct tensor *t =
        find(b, full_name(b, full, name), TENSOR_DTYPES, parts > 1 ? shape : shape + 1, parts > 1 ? 2 : 1);
    struct plan_vector v = {.elements = elements};

    if (!t) return PLAN_NONE;
    for (uint32_t i = 0; i < t->dims; i++) n *= t->shape[i];
    if (n != parts * elements) shape_fault(b, t, parts > 1 ? shape : shape + 1, parts > 1 ? 2 : 1);
    v.form = form_of(b, t);
    if (build_ok(b) && !form_can_be_vector(v.form))
        build_fault(b, "%s: tensor %s: a vector in %s is not supported", tensors_path(b->t, t), t->name,
                    form_name(v.form));
    if (!build_ok(b)) return PLAN_NONE;
    v.file = program_file_of(b, t);
    v.file_off = t->offset + part * form_row_bytes(v.form, elements);
    b->weight_bytes += form_row_bytes(v.form, elements);
    b->parameters += elements;
    return program_vector(b->p, &v, full);
}

uint32_t build_vector(struct build *b, const char *name, uint64_t elements)
{
    return add_vector(b, name, 0, 1, elements);
}

uint32_t build_stacked_vector(struct build *b, const char *name, uint32_t part, uint32_t parts, uint64_t elements)
{
    return add_vector(b, name, part, parts, elements);
}

/* ---- buffers ---- */

struct plan_view build_view(struct build *b, enum build_buffer which, uint64_t width, uint64_t col)
{
    if (width > SIZE_LIMIT)
        build_fault(b, "%s: %llu columns of activations are out of range", b->c->path, (unsigned long long)width);
    if (!build_ok(b)) return (struct plan_view){.buf = 0};
    if (b->buf[which] == PLAN_NOBUF)
        b->buf[which] = program_buffer(b->p, (uint32_t)width);
    else
        program_buffer_widen(b->p, b->buf[which], (uint32_t)width);
    return (struct plan_view){.buf = b->buf[which], .col = (uint32_t)col};
}

struct plan_view view_at(struct plan_view v, uint64_t col)
{
    v.col += (uint32_t)col;
    return v;
}

/* ---- operations ---- */

static struct plan_op *op(struct build *b, enum plan_op_kind kind)
{
    return program_op(b->p, kind, b->layer);
}

void build_linear(struct build *b, struct plan_view dst, struct plan_view src, const char *name, uint64_t rows,
                  uint64_t cols, bool bias)
{
    struct op_matmul o = {.src = src, .dst = dst, .bias = PLAN_NONE};
    char full[BUILD_NAME_BYTES];

    o.matrix = build_matrix(b, name, rows, cols);
    snprintf(full, sizeof full, "%s.bias", name);
    if (bias) o.bias = build_vector(b, full, rows);
    if (build_ok(b)) op(b, OP_MATMUL)->matmul = o;
}

void build_norm_op(struct build *b, const struct op_norm *o)
{
    if (build_ok(b)) op(b, OP_NORM)->norm = *o;
}

void build_norm(struct build *b, struct plan_view dst, struct plan_view src, const char *name)
{
    struct op_norm o = {.src = src,
                        .dst = dst,
                        .groups = 1,
                        .width = b->hidden,
                        .src_stride = b->hidden,
                        .dst_stride = b->hidden,
                        .kind = b->norm_kind,
                        .eps = b->eps,
                        .weight_add = b->weight_add,
                        .bias = PLAN_NONE};
    char full[BUILD_NAME_BYTES];

    snprintf(full, sizeof full, "%s.weight", name);
    o.weight = build_vector(b, full, b->hidden);
    snprintf(full, sizeof full, "%s.bias", name);
    if (b->norm_bias) o.bias = build_vector(b, full, b->hidden);
    build_norm_op(b, &o);
}

void build_add(struct build *b, struct plan_view dst, struct plan_view a, struct plan_view x, uint64_t width, float ca,
               float cb)
{
    if (build_ok(b))
        op(b, OP_ADD)->add = (struct op_add){.dst = dst, .a = a, .b = x, .width = (uint32_t)width, .ca = ca, .cb = cb};
}

void build_act(struct build *b, struct plan_view dst, struct plan_view gate, struct plan_view up, uint64_t width,
               uint32_t kind, uint32_t flags)
{
    if (build_ok(b))
        op(b, OP_ACT)->act =
            (struct op_act){.dst = dst, .gate = gate, .up = up, .width = (uint32_t)width, .kind = kind, .flags = flags};
}

void build_copy(struct build *b, struct plan_view dst, uint64_t dst_stride, struct plan_view src, uint64_t src_stride,
                uint64_t blocks, uint64_t width)
{
    if (build_ok(b))
        op(b, OP_COPY)->copy = (struct op_copy){.src = src,
                                                .dst = dst,
                                                .blocks = (uint32_t)blocks,
                                                .width = (uint32_t)width,
                                                .src_stride = (uint32_t)src_stride,
                                                .dst_stride = (uint32_t)dst_stride};
}

void build_scale(struct build *b, struct plan_view x, uint64_t width, float mul, float cap)
{
    if (build_ok(b))
        op(b, OP_SCALE)->scale = (struct op_scale){.x = x, .width = (uint32_t)width, .mul = mul, .cap = cap};
}

void build_rope(struct build *b, struct plan_view x, uint64_t heads, uint64_t stride, const struct rope_table *r,
                uint32_t style)
{
    if (build_ok(b))
        op(b, OP_ROPE)->rope = (struct op_rope){.x = x,
                                                .heads = (uint32_t)heads,
                                                .head_stride = (uint32_t)stride,
                                                .dim = r->dim,
                                                .style = style,
                                                .rope = r->index};
}

uint32_t build_activation(struct build *b, const char *key, uint32_t otherwise)
{
    static const struct {
        const char *name;
        uint32_t kind;
    } known[] = {{"silu", ACT_SILU},          {"swish", ACT_SILU},
                 {"gelu", ACT_GELU_ERF},      {"gelu_pytorch_tanh", ACT_GELU_TANH},
                 {"gelu_new", ACT_GELU_TANH}, {"gelu_fast", ACT_GELU_TANH},
                 {"relu", ACT_RELU},          {"relu2", ACT_RELU2},
                 {"swiglu", ACT_SILU}};
    const char *name = config_string_or(b->c, key, NULL, b->e);

    if (!name) return otherwise;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name)) return known[i].kind;
    config_fault(b->c, b->e, key, "the activation \"%.40s\" is not known", name);
    return otherwise;
}

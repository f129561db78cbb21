/* Matrices whose numbers lie packed, with scales, zero points and what scales are made with in tensors beside them. The
 * tensors that are there say which matrices are such, and how; config.json where they are not there. */
#include "coordinator/arch/build_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "coordinator/text/json.h"
#include "proto/base/file.h"

#define STATE_BYTES 4096u /* most of a quant_state, a line of JSON */

static const struct tensor *beside(const struct build *b, const char *name, const char *end)
{
    char full[BUILD_NAME_BYTES + 48];

    snprintf(full, sizeof full, "%s%s", name, end);
    return tensors_find(b->t, full);
}

static const struct tensor *need(struct build *b, const char *name, const char *end, uint32_t dtype,
                                 const uint64_t *shape, uint32_t dims)
{
    char full[BUILD_NAME_BYTES + 48];

    snprintf(full, sizeof full, "%s%s", name, end);
    return build_tensor(b, full, dtype, shape, dims);
}

static bool shaped(const struct tensor *t, uint64_t rows, uint64_t cols)
{
    return t->dims == 2 && t->shape[0] == rows && t->shape[1] == cols;
}

static void refuse(struct build *b, const struct tensor *t, const char *what)
{
    build_fault(b, "%s: tensor %s: %s: take the model's bfloat16 or FP8 folder", tensors_path(b->t, t), t->name, what);
}

/* A tensor of float32 as a vector that stays. */
static uint32_t own_vector(struct build *b, const char *name, const char *end, uint64_t elements)
{
    const struct tensor *t = need(b, name, end, TENSOR_F32, &elements, 1);
    struct plan_vector v = {.elements = elements, .form = FORM_F32};
    uint64_t n = 1;

    if (!t || !build_ok(b)) return 0;
    for (uint32_t i = 0; i < t->dims; i++) n *= t->shape[i];
    if (n != elements) build_shape_fault(b, t, &elements, 1);
    if (t->dtype != TENSOR_F32) refuse(b, t, "numbers that are not float32 are not supported here");
    if (!build_ok(b)) return 0;
    v.file = build_file_of(b, t);
    v.file_off = t->offset;
    b->weight_bytes += elements * 4;
    return program_vector(b->p, &v, t->name);
}

/* ---- whole numbers ---- */

/* compressed-tensors: [rows][cols / 8] words, and words of 8 rows' zero points for each group of columns. */
static void find_zeros(struct build *b, struct plan_matrix *m, const char *name)
{
    uint32_t pack = form_zero_pack(m->form);
    uint64_t columns = (m->cols + m->block_cols - 1) / m->block_cols;
    uint64_t shape[2] = {(m->rows + pack - 1) / pack, columns};
    const struct tensor *z = beside(b, name, "_zero_point");

    if (!z && !b->quant.zeros) return;
    z = need(b, name, "_zero_point", pack > 1 ? TENSOR_I32 : TENSOR_I8, shape, 2);
    if (!z || !build_ok(b)) return;
    if (m->block_rows != 1) refuse(b, z, "zero points of more than a row are not supported");
    if (!shaped(z, shape[0], shape[1]) && !(pack == 1 && columns == 1 && z->dims == 1 && z->shape[0] == m->rows))
        build_shape_fault(b, z, shape, 2);
    if (z->dtype != (pack > 1 ? TENSOR_I32 : TENSOR_I8)) refuse(b, z, "zero points of this type are not supported");
    if (!build_ok(b)) return;
    m->zero_rows = pack;
    m->zero_row_bytes = columns * (pack > 1 ? 4 : 1);
    m->zero_off = z->offset;
    m->zero_file = build_file_of(b, z);
}

static void mark_used(struct build *b, const char *name, const char *end)
{
    struct tensor *t = (struct tensor *)(uintptr_t)beside(b, name, end);

    if (t) t->used = true;
}

static void whole_numbers(struct build *b, struct plan_matrix *m, const char *name, const char *end)
{
    uint32_t bits = b->quant.bits == 8 ? 8 : 4;
    uint64_t shape[2] = {m->rows, *end ? m->cols * bits / 32 : m->cols};
    const struct tensor *t = need(b, name, end, *end ? TENSOR_I32 : TENSOR_I8, shape, 2);

    if (!t || !build_ok(b)) return;
    if (beside(b, name, "_g_idx"))
        refuse(b, t, "columns whose groups are out of order (weight_g_idx) are not supported");
    m->form = FORM_I8;
    if (*end) m->form = shaped(t, m->rows, m->cols / 4) && m->cols % 4 == 0 ? FORM_I8_PACKED : FORM_I4_PACKED;
    if (!shaped(t, m->rows, m->cols / form_elements(m->form)) || m->cols % form_elements(m->form))
        build_shape_fault(b, t, shape, 2);
    if (!build_ok(b)) return;
    m->row_bytes = form_row_bytes(m->form, m->cols);
    m->file_off = t->offset;
    m->file = build_file_of(b, t);
    build_scales(b, m, name, 0, 1);
    if (build_ok(b) && m->block_cols) find_zeros(b, m, name);
    mark_used(b, name, "_shape");
}

/* ---- numbers e2m1 with a scale e4m3 for each 16 of a row, and one for all ---- */

static void nvfp4(struct build *b, struct plan_matrix *m, const char *name, const char *end)
{
    bool modelopt = !*end;
    uint64_t shape[2] = {m->rows, m->cols / 2}, scales[2] = {m->rows, m->cols / 16};
    const struct tensor *t = need(b, name, end, TENSOR_U8, shape, 2), *s;

    if (!t || !build_ok(b)) return;
    if (m->cols % 16 || !shaped(t, shape[0], shape[1])) build_shape_fault(b, t, shape, 2);
    if (!build_ok(b)) return;
    m->form = FORM_NVFP4_GRID;
    m->row_bytes = form_row_bytes(m->form, m->cols);
    m->file_off = t->offset;
    m->file = build_file_of(b, t);
    s = need(b, name, "_scale", TENSOR_F8_E4M3, scales, 2);
    if (!s || !build_ok(b)) return;
    if (!shaped(s, scales[0], scales[1])) build_shape_fault(b, s, scales, 2);
    if (s->dtype != TENSOR_F8_E4M3) refuse(b, s, "scales of this type are not supported for weights in NVFP4");
    if (!build_ok(b)) return;
    m->scale_form = FORM_F8_E4M3;
    m->block_rows = 1;
    m->block_cols = 16;
    m->scale_row_bytes = m->cols / 16;
    m->scale_off = s->offset;
    m->scale_file = build_file_of(b, s);
    m->flags = modelopt ? MATRIX_WHOLE : MATRIX_WHOLE | MATRIX_DIVIDED;
    m->vector[0] = own_vector(b, name, modelopt ? "_scale_2" : "_global_scale", 1);
}

/* ---- bitsandbytes ---- */

/* The first bytes of a tensor, wherever a packed file has them; false: they cannot be read. */
static bool read_bytes(struct build *b, const struct tensor *t, void *to, size_t bytes)
{
    const struct packed *packed = b->t->files[t->file].packed;
    const struct packed_segment *s = packed ? packed_find(packed, t->offset) : NULL;
    uint64_t offset = t->offset;
    struct stat st;
    int fd = -1;
    bool ok = t->bytes >= bytes && (!packed || (s && !s->unit_rows && s->raw_bytes - (offset - s->raw_off) >= bytes));

    if (ok && s) offset = s->stored_off + (offset - s->raw_off);
    ok = ok && !file_open(tensors_path(b->t, t), &fd, &st, b->e) && !file_read_at(fd, to, bytes, offset);
    if (fd >= 0) close(fd);
    if (!ok) build_fault(b, "%s: tensor %s cannot be read", tensors_path(b->t, t), t->name);
    return ok;
}

struct bnb {
    bool nested;
    uint32_t block, nested_block;
    float offset;
};

static void read_state(struct build *b, const struct tensor *t, uint64_t rows, uint64_t cols, struct bnb *s)
{
    char text[STATE_BYTES];
    json_t *o = NULL, *shape;

    if (t->bytes >= sizeof text || !read_bytes(b, t, text, t->bytes)) {
        if (build_ok(b)) refuse(b, t, "a state of this length is not known");
        return;
    }
    if (json_read_text(&o, text, t->bytes, t->name, 0, b->e)) return;
    shape = json_object_get(o, "shape");
    if (json_array_size(shape) != 2 || (uint64_t)json_integer_value(json_array_get(shape, 0)) != rows ||
        (uint64_t)json_integer_value(json_array_get(shape, 1)) != cols)
        refuse(b, t, "its shape is not that of the matrix");
    s->block = (uint32_t)json_integer_value(json_object_get(o, "blocksize"));
    s->nested = json_object_get(o, "nested_blocksize") != NULL;
    s->nested_block = (uint32_t)json_integer_value(json_object_get(o, "nested_blocksize"));
    s->offset = (float)json_number_value(json_object_get(o, "nested_offset"));
    if (!s->block || cols % s->block) refuse(b, t, "blocks that end within a row are not supported");
    if (s->nested && s->nested_block != MATRIX_NESTING)
        refuse(b, t, "scales nested in blocks but 256 are not supported");
    json_decref(o);
}

static void levels_are_known(struct build *b, const struct tensor *t, bool nf4)
{
    static const float want[2][16] = {{FORM_FP4_LEVELS}, {FORM_NF4_LEVELS}};
    float have[16];

    if (!read_bytes(b, t, have, sizeof have)) return;
    for (int i = 0; i < 16; i++)
        if (!(have[i] - want[nf4][i] < 1e-6f && want[nf4][i] - have[i] < 1e-6f)) {
            refuse(b, t, "levels of its own are not supported");
            return;
        }
}

static void find_absmax(struct build *b, struct plan_matrix *m, const char *name, const struct bnb *state)
{
    uint64_t n = m->rows * (m->cols / state->block);
    const struct tensor *t = need(b, name, ".absmax", state->nested ? TENSOR_U8 : TENSOR_F32, &n, 1);

    if (!t || !build_ok(b)) return;
    if (t->dims != 1 || t->shape[0] != n) build_shape_fault(b, t, &n, 1);
    if (t->dtype != (state->nested ? TENSOR_U8 : TENSOR_F32)) refuse(b, t, "scales of this type are not supported");
    if (!build_ok(b)) return;
    m->scale_form = state->nested ? FORM_BYTES : FORM_F32;
    m->block_rows = 1;
    m->block_cols = state->block;
    m->scale_row_bytes = m->cols / state->block * (state->nested ? 1 : 4);
    m->scale_off = t->offset;
    m->scale_file = build_file_of(b, t);
    if (!state->nested) return;
    m->flags = MATRIX_NESTED;
    m->offset = state->offset;
    m->vector[0] = own_vector(b, name, ".nested_quant_map", 256);
    m->vector[1] = own_vector(b, name, ".nested_absmax", (n + MATRIX_NESTING - 1) / MATRIX_NESTING);
}

static void bitsandbytes(struct build *b, struct plan_matrix *m, const char *name)
{
    uint64_t shape[2] = {m->rows * m->cols / 2, 1}, levels = 16;
    const struct tensor *t, *s = beside(b, name, ".quant_state.bitsandbytes__nf4");
    struct bnb state = {.nested = b->quant.nested, .block = 64, .nested_block = MATRIX_NESTING};
    bool nf4 = s != NULL || !beside(b, name, ".quant_state.bitsandbytes__fp4");

    if (!s) s = beside(b, name, ".quant_state.bitsandbytes__fp4");
    if (s && s->bytes && !b->t->assumed && b->t->source == TENSORS_FILES) read_state(b, s, m->rows, m->cols, &state);
    if (!build_ok(b)) return;
    if (m->cols % state.block || m->cols % 2) {
        build_fault(b, "%s: %s: rows of %llu are not whole blocks of %u, which is not supported", b->c->path, name,
                    (unsigned long long)m->cols, state.block);
        return;
    }
    t = need(b, name, "", TENSOR_U8, shape, 2);
    if (!t || !build_ok(b)) return;
    if (!shaped(t, shape[0], 1)) build_shape_fault(b, t, shape, 2);
    if (t->dtype != TENSOR_U8) refuse(b, t, "weights of bitsandbytes in other words than U8 are not supported");
    if (!build_ok(b)) return;
    m->form = nf4 ? FORM_NF4 : FORM_FP4;
    m->row_bytes = form_row_bytes(m->form, m->cols);
    m->file_off = t->offset;
    m->file = build_file_of(b, t);
    t = need(b, name, ".quant_map", TENSOR_F32, &levels, 1);
    if (t && b->t->source == TENSORS_FILES && !b->t->assumed) levels_are_known(b, t, nf4);
    if (build_ok(b)) find_absmax(b, m, name, &state);
    mark_used(b, name, nf4 ? ".quant_state.bitsandbytes__nf4" : ".quant_state.bitsandbytes__fp4");
}

/* ---- which ---- */

/* Of a folder whose names are not known: would this matrix be quantized? */
static bool by_config(const struct build *b, const char *name)
{
    static const char *const ends[] = {"_proj.weight", ".w1.weight", ".w2.weight", ".w3.weight"};
    bool linear = false;

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) linear |= tensors_name_ends(name, ends[i]);
    return linear && !quant_leaves_out(&b->quant, name);
}

/* ModelOpt's AWQ divides weights by what the inputs are multiplied with. */
static void refuse_scaled_inputs(struct build *b, const char *name)
{
    char full[BUILD_NAME_BYTES + 48];
    const struct tensor *t;

    snprintf(full, sizeof full, "%.*s.pre_quant_scale", (int)(strlen(name) - strlen(".weight")), name);
    t = tensors_name_ends(name, ".weight") ? tensors_find(b->t, full) : NULL;
    if (t) refuse(b, t, "inputs that are scaled before a product (AWQ) are not supported");
}

bool build_packed(struct build *b, const char *name, uint64_t rows, uint64_t cols, uint32_t *matrix)
{
    bool named = b->t->names_known || !b->t->assumed, ct = b->quant.kind == QUANT_COMPRESSED;
    const struct tensor *t = tensors_find(b->t, name), *packed = ct ? beside(b, name, "_packed") : NULL;
    struct plan_matrix m = {.rows = rows, .cols = cols, .scale_file = PLAN_NONE};
    enum quant_numbers n = b->quant.numbers;

    if (b->t->gguf || !build_ok(b) || b->quant.kind < QUANT_COMPRESSED) return false;
    if (b->quant.kind >= QUANT_GPTQ) {
        if (named ? !build_has_words(b, name) : !by_config(b, name)) return false;
        build_words(b, &m, name);
        *matrix = build_ok(b) && m.block_cols ? build_put_matrix(b, &m, name) : 0;
        return true;
    }
    refuse_scaled_inputs(b, name);
    if (named) { /* the types, where they are known; an index names only */
        bool u8 = t && t->dims && t->dtype == TENSOR_U8, i8 = t && t->dims && t->dtype == TENSOR_I8;

        if (packed && packed->dims)
            n = packed->dtype == TENSOR_U8 ? QUANT_E2M1 : QUANT_INTEGERS;
        else if (beside(b, name, ".absmax"))
            n = QUANT_LEVELS;
        else if (!packed && (i8 || u8))
            n = i8 && ct ? QUANT_INTEGERS : u8 && beside(b, name, "_scale_2") ? QUANT_E2M1 : QUANT_FLOATS;
        else if (!packed && (!b->t->assumed || !beside(b, name, "_scale")))
            n = QUANT_FLOATS;
    } else if (!by_config(b, name)) {
        return false;
    }
    switch (n) {
    case QUANT_INTEGERS: whole_numbers(b, &m, name, (named ? packed != NULL : b->quant.packed) ? "_packed" : ""); break;
    case QUANT_E2M1: nvfp4(b, &m, name, ct ? "_packed" : ""); break;
    case QUANT_LEVELS: bitsandbytes(b, &m, name); break;
    default: return false;
    }
    *matrix = build_ok(b) && m.block_cols ? build_put_matrix(b, &m, name) : 0;
    return true;
}

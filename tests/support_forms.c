#include "tests/support_forms.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/scalar.h"

static uint32_t number(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ z >> 31) >> 32);
}

static float uniform(uint64_t *seed) /* in [-1, 1) */
{
    return (float)(number(seed) >> 8) * 0x1p-23f - 1.0f;
}

static uint32_t any_scale_form(const struct form_info *f)
{
    return f->scale_forms ? (uint32_t)__builtin_ctzll(f->scale_forms) : FORM_BYTES;
}

/* What comes with these: numbers that make scales, and zero points where a row has scales of its own. */
static void settle(struct form_shape *h)
{
    h->flags = h->scale_form == FORM_BYTES  ? MATRIX_NESTED
               : h->form == FORM_NVFP4_GRID ? (h->cols % 32 ? MATRIX_WHOLE | MATRIX_DIVIDED : MATRIX_WHOLE)
                                            : 0;
    h->zeros = form_zero_pack(h->form) && h->block_rows == 1;
}

size_t form_turned_shapes(uint32_t form, struct form_shape *out)
{
    static const struct form_shape shapes[] = {
        {.rows = 5, .cols = 8, .block_rows = 5, .zeros = true, .flags = MATRIX_ZEROS_LESS},
        {.rows = 16, .cols = 40, .block_rows = 4, .zeros = true},
        {.rows = 33, .cols = 136, .block_rows = 8, .zeros = true, .flags = MATRIX_ZEROS_LESS},
        {.rows = 7, .cols = 16, .block_rows = 16},
        {.rows = 70, .cols = 600, .block_rows = 10, .zeros = true},
        {.rows = 21, .cols = 1040, .block_rows = 4, .zeros = true, .flags = MATRIX_GROUPED},
        {.rows = 40, .cols = 72, .block_rows = 1, .zeros = true, .flags = MATRIX_GROUPED | MATRIX_ZEROS_LESS},
        {.rows = 2100, .cols = 24, .block_rows = 2, .zeros = true, .flags = MATRIX_GROUPED},
    };
    size_t n = sizeof shapes / sizeof *shapes;

    for (size_t i = 0; i < n; i++) {
        out[i] = shapes[i];
        out[i].form = form;
        out[i].block_cols = 1;
        out[i].scale_form = i % 2 ? FORM_BF16 : FORM_F16;
    }
    return n;
}

struct form_shape form_shape_of(uint32_t form, uint32_t rows, uint32_t cols, uint32_t block_rows, uint32_t block_cols)
{
    const struct form_info *f = form_info(form);
    struct form_shape h = {.form = form,
                           .rows = rows,
                           .cols = (cols + f->elements - 1) / f->elements * f->elements,
                           .scale_form = any_scale_form(f)};

    if (f->scales != FORM_SCALES_GRID) return h;
    h.block_rows = f->grid_rows ? f->grid_rows : block_rows;
    h.block_cols = f->grid_cols ? f->grid_cols : block_cols;
    settle(&h);
    return h;
}

size_t form_shapes(uint32_t form, struct form_shape *out)
{
    static const struct {
        uint32_t rows, cols, block_rows, block_cols;
    } sizes[] = {{37, 75, 32, 128}, {5, 1, 128, 128},   {33, 130, 5, 7}, {1, 16, 4, 48},  {67, 515, 1, 4096},
                 {70, 64, 128, 64}, {19, 1040, 16, 16}, {3, 15, 1, 1},   {21, 192, 1, 32}};
    uint32_t scale_form = 0;
    size_t n = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (form_scales(form) == FORM_SCALES_INSIDE && i) break; /* there are many: test_blocks.c has longer rows */
        out[n] = form_shape_of(form, sizes[i].rows, sizes[i].cols, sizes[i].block_rows, sizes[i].block_cols);
        if (form_scales(form) != FORM_SCALES_GRID) {
            n++;
            continue;
        }
        do scale_form = (scale_form + 1) % FORMS;
        while (!form_scaled_by(form, scale_form));
        out[n].scale_form = scale_form;
        settle(&out[n++]);
    }
    return n;
}

const char *form_shape_name(const struct form_shape *h)
{
    static char text[120];

    snprintf(text, sizeof text, "%s, %u x %u", form_name(h->form), h->rows, h->cols);
    if (form_scales(h->form) == FORM_SCALES_GRID)
        snprintf(text + strlen(text), sizeof text - strlen(text), ", %s scales of %u x %u", form_name(h->scale_form),
                 h->block_rows, h->block_cols);
    return text;
}

/* A floating-point number of 16 or 32 bits by itself. */
static void fill_numbers(unsigned char *p, uint32_t form, size_t count, uint64_t *seed)
{
    for (size_t i = 0; i < count; i++, p += form_bytes(form)) {
        float x = uniform(seed);
        uint16_t half = form == FORM_F16 ? half_of_float(i % 7 ? x : x * 1e-5f) : bf16_of_float(x);

        memcpy(p, form == FORM_F32 ? (const void *)&x : &half, form_bytes(form));
    }
}

/* Any codes; those that can be no number are made ordinary ones. */
static void fill_blocks(unsigned char *p, const struct form_info *f, size_t blocks, uint64_t *seed)
{
    for (size_t b = 0; b < blocks; b++, p += f->bytes) {
        for (uint32_t i = 0; i < f->bytes; i++) p[i] = (unsigned char)number(seed);
        for (uint32_t i = 0; i < f->codes; i++) {
            unsigned char *code = p + f->code_off + i * f->code_bytes;

            if (f->code_bytes ==
                2) /* a scale of a block: 2^-5 to 2^-3, either sign; one in 16 is smaller than normal */
                code[1] = (unsigned char)((code[1] & 0x80) | (number(seed) % 16 ? 0x28 : 0) | (code[1] & 7));
            else if (f->code_bytes == 1 && f->scales == FORM_SCALES_INSIDE) /* an exponent */
                *code = (unsigned char)(118 + number(seed) % 12);
            else if (form_kind(f, form_code(f, p, i)) != FORM_FINITE)
                memset(code, f->filler, f->code_bytes);
        }
    }
}

static void fill_scales(unsigned char *p, uint32_t form, size_t count, uint64_t *seed)
{
    for (size_t i = 0; i < count; i++, p += form_bytes(form)) {
        float x = 0.01f + fabsf(uniform(seed));
        uint16_t half = form == FORM_F16 ? half_of_float(x) : bf16_of_float(x);
        unsigned char exponent = (unsigned char)(118 + number(seed) % 12);

        switch (form) {
        case FORM_F32: memcpy(p, &x, 4); break;
        case FORM_F16:
        case FORM_BF16: memcpy(p, &half, 2); break;
        case FORM_F8_E8M0: *p = exponent; break;
        case FORM_F8_E4M3: *p = (unsigned char)(0x20 + number(seed) % 0x20); break;
        case FORM_BYTES: *p = (unsigned char)number(seed); break;
        default: fprintf(stderr, "no scales are made in %s\n", form_name(form)); abort();
        }
    }
}

static unsigned char *at_an_odd_byte(uint64_t bytes, unsigned char **alloc)
{
    *alloc = malloc(bytes + 1);
    if (!*alloc) abort();
    return *alloc + 1;
}

static void make_zeros(struct stored *s, const struct form_shape *h, uint64_t *seed)
{
    uint32_t pack = form_zero_pack(h->form);

    if (!h->zeros) return;
    if (form_turned_pack(h->form)) {
        s->m.zero_rows = h->block_rows;
        s->m.zero_row_bytes = h->cols / form_turned_pack(h->form) * 4;
    } else {
        s->m.zero_rows = pack;
        s->m.zero_row_bytes = (h->cols + h->block_cols - 1) / h->block_cols * (pack > 1 ? 4u : 1u);
    }
    s->zero_bytes = (h->rows + s->m.zero_rows - 1) / s->m.zero_rows * s->m.zero_row_bytes;
    s->zero = at_an_odd_byte(s->zero_bytes, &s->zero_alloc);
    for (uint64_t i = 0; i < s->zero_bytes; i++) s->zero[i] = (unsigned char)number(seed);
}

static void make_vectors(struct stored *s, const struct form_shape *h, uint64_t *seed)
{
    s->m.flags = h->flags;
    s->m.offset = h->flags & MATRIX_NESTED ? 0.375f : 0;
    if (h->flags & (MATRIX_NESTED | MATRIX_WHOLE)) s->vector_count[0] = h->flags & MATRIX_NESTED ? 256 : 1;
    if (h->flags & MATRIX_NESTED) s->vector_count[1] = s->scale_bytes / MATRIX_NESTING + 1;
    if (h->flags & MATRIX_GROUPED) s->vector_count[0] = plan_matrix_inputs(&s->m);
    for (int i = 0; i < 2; i++) {
        if (!s->vector_count[i]) continue;
        s->vector[i] = malloc(s->vector_count[i] * sizeof **s->vector);
        if (!s->vector[i]) abort();
        for (uint64_t k = 0; k < s->vector_count[i]; k++) {
            uint32_t group;

            s->vector[i][k] = 0.3f + fabsf(uniform(seed));
            if (!(h->flags & MATRIX_GROUPED)) continue;
            group = number(seed) % ((h->rows + h->block_rows - 1) / h->block_rows);
            memcpy(&s->vector[i][k], &group, sizeof group);
        }
    }
}

void stored_make(struct stored *s, const struct form_shape *h, uint64_t seed)
{
    const struct form_info *f = form_info(h->form);
    uint64_t scale_rows, each;

    *s = (struct stored){.m = {.rows = h->rows,
                               .cols = h->cols,
                               .form = (uint16_t)h->form,
                               .block_rows = h->block_rows,
                               .block_cols = h->block_cols,
                               .scale_form = (uint16_t)h->scale_form,
                               .row_bytes = form_row_bytes(h->form, h->cols)}};
    s->data_bytes = h->rows * s->m.row_bytes;
    s->data = at_an_odd_byte(s->data_bytes, &s->data_alloc);
    if (f->elements == 1 && f->bytes > 1 && !form_turned_pack(h->form))
        fill_numbers(s->data, h->form, (size_t)h->rows * h->cols, &seed);
    else
        fill_blocks(s->data, f, s->data_bytes / f->bytes, &seed);
    if (f->scales == FORM_SCALES_GRID) {
        scale_rows = (h->rows + h->block_rows - 1) / h->block_rows;
        each = (h->cols + h->block_cols - 1) / h->block_cols;
        s->m.scale_row_bytes = form_row_bytes(h->scale_form, each);
        s->scale_bytes = scale_rows * s->m.scale_row_bytes;
        s->scale = at_an_odd_byte(s->scale_bytes, &s->scale_alloc);
        fill_scales(s->scale, h->scale_form, scale_rows * each, &seed);
    }
    make_zeros(s, h, &seed);
    make_vectors(s, h, &seed);
    s->w = (struct ops_weight){.matrix = &s->m,
                               .data = s->data,
                               .scale = s->scale,
                               .rows = h->rows,
                               .zero = s->zero,
                               .vector = {s->vector[0], s->vector[1]}};
}

void stored_free(struct stored *s)
{
    free(s->data_alloc);
    free(s->scale_alloc);
    free(s->zero_alloc);
    free(s->vector[0]);
    free(s->vector[1]);
}

struct ops_weight stored_rows(const struct stored *s, uint64_t r0, uint64_t r1)
{
    struct ops_weight w = s->w;

    w.data = s->data + r0 * s->m.row_bytes;
    w.row0 = r0;
    w.rows = r1 - r0;
    if (!s->scale) return w;
    w.scale_row0 = plan_scale_rows(&s->m, r0, r1 - r0).first;
    w.scale = s->scale + w.scale_row0 * s->m.scale_row_bytes;
    if (!s->zero) return w;
    w.zero_row0 = plan_zero_rows(&s->m, r0, r1 - r0).first;
    w.zero = s->zero + w.zero_row0 * s->m.zero_row_bytes;
    return w;
}

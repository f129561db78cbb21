/* Every stored form of the table: sizes, codes that are no finite number, fillers; and plans with matrices of it, which are
 * refused once anything about the form is not as the table says. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "proto/form.h"
#include "proto/plan.h"
#include "tests/support_program.h"
#include "tests/support_walk.h"

#define UNKNOWN 99u /* no form */

static const struct form_info *weights(uint32_t form)
{
    return form_can_be(form, FORM_WEIGHT) ? form_info(form) : NULL;
}

static void row_bytes_are_whole_blocks(void **state)
{
    static const struct {
        uint32_t form;
        uint64_t cols, bytes;
    } known[] = {{FORM_F32, 3, 12},    {FORM_F16, 3, 6},     {FORM_BF16, 3, 6},     {FORM_F8_E4M3, 3, 3},
                 {FORM_MXFP4, 64, 32}, {FORM_MXFP4, 65, 0},  {FORM_MXFP4, 1, 0},    {FORM_F8_E8M0, 5, 5},
                 {FORM_F64, 2, 16},    {FORM_Q8_0, 96, 102}, {FORM_Q4_K, 512, 288}, {FORM_Q4_K, 128, 0},
                 {FORM_BYTES, 17, 17}, {UNKNOWN, 64, 0},     {UINT32_MAX, 64, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(form_row_bytes(known[i].form, known[i].cols), known[i].bytes);
    for (uint32_t form = 0; form < FORMS; form++) {
        const struct form_info *f = form_info(form);

        for (uint64_t cols = 0; cols < 4u * f->elements + 3; cols++)
            assert_int_equal(form_row_bytes(form, cols), cols % f->elements ? 0 : cols / f->elements * f->bytes);
        if (f->bytes > f->elements) assert_int_equal(form_row_bytes(form, UINT64_MAX / f->elements * f->elements), 0);
    }
    assert_int_equal(form_elements(FORM_MXFP4), 32);
    assert_int_equal(form_bytes(FORM_MXFP4), 16);
    assert_int_equal(form_scales(FORM_Q6_K), FORM_SCALES_INSIDE);
    assert_int_equal(form_elements(99) + form_bytes(99) + form_scales(99), 0);
}

static void names_tell_them_apart(void **state)
{
    (void)state;
    for (uint32_t a = 0; a < FORMS; a++) {
        assert_non_null(form_info(a));
        assert_true(strlen(form_name(a)) > 1);
        for (uint32_t b = 0; b < a; b++) assert_string_not_equal(form_name(a), form_name(b));
    }
    for (uint32_t form = FORMS; form < FORMS + 40; form++) {
        assert_null(form_info(form));
        assert_string_equal(form_name(form), "unknown");
        assert_false(form_can_be(form, FORM_WEIGHT | FORM_SCALE));
        assert_false(form_can_be_vector(form) || form_can_be_table(form));
        assert_false(form_scaled_by(FORM_F8_E4M3, form) || form_scaled_by(form, FORM_F32));
    }
}

/* What a row of the table says has to be possible. */
static void rows_are_sound(void **state)
{
    (void)state;
    for (uint32_t form = 0; form < FORMS; form++) {
        const struct form_info *f = form_info(form);

        assert_true(f->code_off + f->codes * f->code_bytes <= f->bytes);
        assert_true(!f->codes || (f->special && f->code_bytes <= 8 && !(f->special & f->fraction)));
        assert_true(PLAN_PAGE % f->align == 0 && PLAN_DEVICE_ALIGN % f->align == 0);
        assert_int_equal(f->scales == FORM_SCALES_GRID, f->scale_forms != 0);
        for (uint32_t s = 0; s < FORMS; s++)
            if (form_scaled_by(form, s)) assert_true(form_can_be(s, FORM_SCALE) && form_info(s)->elements == 1);
        if (weights(form)) assert_true(f->to == FORM_F32 || f->to == FORM_BF16);
    }
}

/* ---- codes ---- */

/* A block by itself, with scales of 1 where these lie elsewhere. */
struct block {
    struct plan_matrix m;
    struct ops_weight w;
    uint8_t bytes[FORM_BLOCK_MOST], scale[4];
};

static void block_of(struct block *b, uint32_t form)
{
    const struct form_info *f = form_info(form);

    *b = (struct block){.m = {.rows = 1, .cols = f->elements, .row_bytes = f->bytes, .form = (uint16_t)form}};
    b->w = (struct ops_weight){.matrix = &b->m, .data = b->bytes, .rows = 1};
    if (f->scales != FORM_SCALES_GRID) return;
    b->m.block_rows = 1;
    b->m.block_cols = f->elements;
    b->m.scale_form = form_scaled_by(form, FORM_F8_E8M0)   ? FORM_F8_E8M0
                      : form_scaled_by(form, FORM_F8_E4M3) ? FORM_F8_E4M3
                                                           : FORM_F32;
    b->m.scale_row_bytes = form_info(b->m.scale_form)->bytes;
    memcpy(b->scale,
           b->m.scale_form == FORM_F32       ? "\0\0\x80\x3f"
           : b->m.scale_form == FORM_F8_E4M3 ? "\x38"
                                             : "\x7f",
           form_info(b->m.scale_form)->bytes);
    b->w.scale = b->scale;
}

/* A block holds no finite numbers alone where one of its codes is none, and for no other reason. */
static void codes_tell_what_is_no_number(void **state)
{
    uint64_t seed = 1;
    struct block b;

    (void)state;
    for (uint32_t form = 0; form < FORMS; form++) {
        const struct form_info *f = weights(form);
        uint32_t bad_blocks = 0;

        if (!f) continue;
        block_of(&b, form);
        for (uint32_t round = 0; round < (f->elements > 32 ? 7000 : 70000); round++) {
            bool bad = false, finite = true;

            for (uint32_t i = 0; i < f->bytes; i++) {
                seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
                b.bytes[i] = (uint8_t)(seed >> 56);
            }
            if (f->codes && round % 8 == 0) /* exponents of ones are rare in wide codes */
                for (uint32_t i = 0; i < f->code_bytes; i++) b.bytes[f->code_off + i] |= (uint8_t)(f->special >> 8 * i);
            for (uint32_t i = 0; i < f->codes; i++) bad |= form_kind(f, form_code(f, b.bytes, i)) != FORM_FINITE;
            for (uint32_t k = 0; k < f->elements; k++) finite &= isfinite(reference_stored(form, b.bytes, k)) != 0;
            if (bad == finite)
                fail_msg("%s: a block is%s bad, its elements are%s", f->name, bad ? "" : " not", finite ? " not" : "");
            bad_blocks += bad;
        }
        assert_int_equal(bad_blocks != 0, f->codes != 0);
    }
    assert_int_equal(form_kind(form_info(FORM_F32), 0x7f800000), FORM_INFINITE);
    assert_int_equal(form_kind(form_info(FORM_F32), 0xff800001), FORM_NOT_A_NUMBER);
    assert_int_equal(form_kind(form_info(FORM_F8_E4M3), 0xff), FORM_NOT_A_NUMBER);
    assert_int_equal(form_kind(form_info(FORM_F8_E4M3), 0xfe), FORM_FINITE);
    assert_int_equal(form_kind(form_info(FORM_F8_E5M2), 0xfc), FORM_INFINITE);
    assert_int_equal(form_kind(form_info(FORM_MXFP4), 0xff), FORM_FINITE);
}

static void fillers_are_small_numbers(void **state)
{
    struct block b;

    (void)state;
    for (uint32_t form = 0; form < FORMS; form++) {
        const struct form_info *f = weights(form);

        if (!f) continue;
        block_of(&b, form);
        memset(b.bytes, f->filler, f->bytes);
        for (uint32_t k = 0; k < f->elements; k++) {
            float x = fabsf(reference_weight(&b.w, 0, k));

            if (!(x > 1e-4f && x < 4)) fail_msg("%s: filler 0x%02x makes %g", f->name, f->filler, (double)x);
        }
    }
}

/* ---- plans ---- */

static struct plan_shm *plan_of(uint32_t form)
{
    struct test_shape shape = {.layers = 1,
                               .hidden = 256,
                               .inter = 512,
                               .heads = 4,
                               .kv_heads = 4,
                               .head_dim = 64,
                               .vocab = 97,
                               .context = 64,
                               .form = form,
                               .block = 48};
    struct plan_settings s = test_settings(UINT64_C(1) << 30);
    struct plan_shm *plan = NULL, *p = test_image(&shape);
    struct error e = {0};
    uint64_t bytes;

    s.slot_bytes = 65536; /* several tiles a matrix */
    if (plan_build(&plan, &bytes, p, &s, &e)) fail_msg("%s: %s", form_name(form), e.text);
    free(p);
    return plan;
}

static void expect_refused(struct plan_shm *p, const char *name, const char *text)
{
    struct error e = {0};

    if (plan_check(p, p->bytes, &e) != -EPROTO) fail_msg("%s: a plan passed that should be refused: %s", name, text);
    if (!strstr(e.text, text)) fail_msg("%s: \"%s\" does not say \"%s\"", name, e.text, text);
}

#define FAULT(lvalue, value, text)                                                                                     \
    do {                                                                                                               \
        __typeof__(lvalue) keep = lvalue;                                                                              \
        lvalue = (__typeof__(lvalue))(value);                                                                          \
        expect_refused(p, f->name, text);                                                                              \
        lvalue = keep;                                                                                                 \
    } while (0)

static void damage_matrix(struct plan_shm *p, const struct form_info *f, struct plan_matrix *m)
{
    FAULT(m->form, UNKNOWN, "form 99 (unknown)");
    FAULT(m->form, FORM_F8_E8M0, "(F8_E8M0)");
    FAULT(m->form, FORM_F64, "(F64)");
    FAULT(m->row_bytes, m->row_bytes + f->bytes, "rows of");
    FAULT(m->row_bytes, m->row_bytes - 1, "rows of");
    FAULT(m->rows, m->rows + (UINT64_C(1) << 31), "beyond the end");
    if (f->scales != FORM_SCALES_GRID) {
        FAULT(m->scale_file, 0, "has scales");
        return;
    }
    FAULT(m->scale_file, PLAN_NONE, "has no scales");
    FAULT(m->scale_form, UNKNOWN, "form 99 (unknown)");
    FAULT(m->scale_form, FORM_F64, "(F64)");
    FAULT(m->scale_row_bytes, m->scale_row_bytes + 1, "of scales a row");
    FAULT(m->block_cols, 0, "blocks of no size");
    if (f->grid_cols) FAULT(m->block_cols, f->grid_cols * 2u, "one scale for");
    if (f->grid_rows) FAULT(m->block_rows, f->grid_rows * 2u, "one scale for");
}

static void plans_of_every_form(void **state)
{
    (void)state;
    for (uint32_t form = 0; form < FORMS; form++) {
        const struct form_info *f = weights(form);
        struct plan_shm *p;
        struct plan_part *part, *end;
        struct plan_matrix *m;

        if (!f) continue;
        p = plan_of(form);
        part = (struct plan_part *)(void *)((char *)p + p->parts.offset);
        end = part + p->parts.count;
        m = (struct plan_matrix *)(void *)((char *)p + p->matrices.offset);
        plan_walk(p);
        while (m->form != form || m == plan_matrices(p) + p->spec.embed_matrix) m++;
        damage_matrix(p, f, m);
        while (part->role != PART_WEIGHT || plan_matrices(p)[part->index].form != form) part++;
        FAULT(part->form, UNKNOWN, "form 99 (unknown)");
        FAULT(part->form, form == FORM_F16 ? FORM_BF16 : FORM_F16, "is stored in form");
        FAULT(part->bytes, part->bytes - f->bytes, "not its rows");
        for (; part < end; part++) {
            if (part->role == PART_SCALE) FAULT(part->form, form, "is stored in form");
            if (part->role == PART_VECTOR) FAULT(part->form, FORM_MXFP4, "is stored in form");
        }
        plan_walk(p);
        free(p);
    }
}

static void other_records_of_a_plan(void **state)
{
    const struct form_info *f = form_info(FORM_BF16);
    struct plan_shm *p = plan_of(FORM_MXFP4);
    struct plan_vector *v = (struct plan_vector *)(void *)((char *)p + p->vectors.offset);
    struct plan_matrix *m = (struct plan_matrix *)(void *)((char *)p + p->matrices.offset) + p->spec.embed_matrix;

    (void)state;
    FAULT(p->run.kv_form, UNKNOWN, "form 99 (unknown)");
    FAULT(p->run.kv_form, FORM_MXFP4, "no KV cache is kept in form");
    FAULT(v->form, UNKNOWN, "form 99 (unknown)");
    FAULT(v->form, FORM_MXFP4, "(MXFP4), which is not for vectors");
    FAULT(v->form, FORM_F8_E4M3, "(F8_E4M3), which is not for vectors");
    /* a table whose scales lie elsewhere: they would not be gathered with its rows */
    m->form = FORM_F8_E4M3, m->row_bytes = m->cols, m->scale_file = m->file, m->scale_form = FORM_F32;
    m->block_rows = (uint32_t)m->rows, m->block_cols = (uint32_t)m->cols, m->scale_row_bytes = 4;
    expect_refused(p, "F8_E4M3", "tokens of width");
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_bytes_are_whole_blocks),
        cmocka_unit_test(names_tell_them_apart),
        cmocka_unit_test(rows_are_sound),
        cmocka_unit_test(codes_tell_what_is_no_number),
        cmocka_unit_test(fillers_are_small_numbers),
        cmocka_unit_test(plans_of_every_form),
        cmocka_unit_test(other_records_of_a_plan),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

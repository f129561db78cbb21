/* Programs that do not hang together are refused with the operation's name, before anything is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "coordinator/plan/program.h"

static struct program p;
static struct plan_view a, b; /* of 8 and of 12 columns */
static uint32_t matrix, vector;

static int setup(void **state)
{
    struct plan_matrix m = {.rows = 12, .cols = 8, .row_bytes = 16, .form = FORM_BF16, .scale_file = PLAN_NONE};
    float eight[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    (void)state;
    program_init(&p);
    a = (struct plan_view){.buf = program_buffer(&p, 8)};
    b = (struct plan_view){.buf = program_buffer(&p, 12)};
    matrix = program_matrix(&p, &m, "m");
    vector = program_constants(&p, eight, 8, "v");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    program_free(&p);
    return 0;
}

static void refuse(const char *words)
{
    struct error e = {0};

    assert_true(program_check(&p, &e) < 0);
    if (!strstr(e.text, words)) fail_msg("\"%s\" does not say \"%s\"", e.text, words);
    p.ops.count = 0;
}

static void accept(void)
{
    struct error e = {0};

    if (program_check(&p, &e)) fail_msg("%s", e.text);
    p.ops.count = 0;
}

static void matmul(struct plan_view src, struct plan_view dst, uint32_t m, uint32_t bias)
{
    program_op(&p, OP_MATMUL, 3)->matmul = (struct op_matmul){.src = src, .dst = dst, .matrix = m, .bias = bias};
}

static void products(void **state)
{
    struct plan_view right = {.buf = b.buf, .col = 1};

    (void)state;
    matmul(a, b, matrix, PLAN_NONE);
    accept();
    matmul(b, a, matrix, PLAN_NONE);
    refuse("(matmul, layer 3): destination");
    matmul(a, right, matrix, PLAN_NONE);
    refuse("destination: 13, expected 12");
    matmul(a, b, 7, PLAN_NONE);
    refuse("matrix");
    matmul(a, b, matrix, vector);
    refuse("bias");
    matmul(b, b, matrix, PLAN_NONE);
    refuse("source and destination");
    matmul((struct plan_view){.buf = 99}, b, matrix, PLAN_NONE);
    refuse("source");
}

static void norms_and_ropes(void **state)
{
    struct op_norm n = {.src = a,
                        .dst = a,
                        .groups = 2,
                        .width = 4,
                        .src_stride = 4,
                        .dst_stride = 4,
                        .weight = PLAN_NONE,
                        .bias = PLAN_NONE};
    float f[2] = {1, 0.5f};
    uint32_t rope = program_rope(&p, f, 4, 1);

    (void)state;
    assert_int_equal(program_rope(&p, f, 4, 1), rope);
    assert_int_not_equal(program_rope(&p, f, 4, 2), rope);
    program_op(&p, OP_NORM, 0)->norm = n;
    accept();
    n.groups = 3;
    program_op(&p, OP_NORM, 0)->norm = n;
    refuse("norm");
    n.groups = 2;
    n.weight = vector; /* eight elements for groups of four */
    program_op(&p, OP_NORM, 0)->norm = n;
    refuse("weight: 8, expected 4");
    program_op(&p, OP_ROPE, 0)->rope = (struct op_rope){.x = a, .heads = 2, .head_stride = 4, .dim = 4, .rope = rope};
    accept();
    program_op(&p, OP_ROPE, 0)->rope = (struct op_rope){.x = a, .heads = 2, .head_stride = 4, .dim = 2, .rope = rope};
    refuse("rope");
}

static void attention_and_its_cache(void **state)
{
    struct op_attention o = {.q = a,
                             .k = b,
                             .v = b,
                             .dst = a,
                             .heads = 2,
                             .kv_heads = 1,
                             .dk = 4,
                             .dv = 4,
                             .sinks = PLAN_NONE,
                             .alibi = PLAN_NONE};

    (void)state;
    o.cache = program_cache(&p, 4, 4);
    program_op(&p, OP_ATTENTION, 0)->attention = o;
    accept();
    o.kv_heads = 0;
    program_op(&p, OP_ATTENTION, 0)->attention = o;
    refuse("heads");
    o.kv_heads = 1;
    o.cache = program_cache(&p, 4, 3);
    program_op(&p, OP_ATTENTION, 0)->attention = o;
    refuse("cached value columns");
    program_op(&p, OP_KINDS, 0);
    refuse("unknown operation");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(products, setup, teardown),
        cmocka_unit_test_setup_teardown(norms_and_ropes, setup, teardown),
        cmocka_unit_test_setup_teardown(attention_and_its_cache, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

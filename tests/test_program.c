/* Programs that do not hang together are refused with the operation's name, before anything is cut; what passes is laid out as one image, the same one each time. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "coordinator/arch/program.h"

static struct program p;
static struct plan_view a, b, chosen; /* of 8, of 12 and of 8 columns */
static uint32_t matrix, vector;

static int setup(void **state)
{
    struct plan_file file = {.bytes = 1000};
    struct plan_matrix m = {.rows = 12, .cols = 8, .row_bytes = 16, .form = FORM_BF16, .scale_file = PLAN_NONE};
    float eight[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    (void)state;
    program_init(&p);
    p.spec = (struct plan_spec){.layers = 1, .hidden = 8, .vocab = 12, .context = 16};
    m.file = program_file(&p, &file, "/nowhere/model.safetensors");
    a = (struct plan_view){.buf = program_buffer(&p, 8)};
    b = (struct plan_view){.buf = program_buffer(&p, 12)};
    chosen = (struct plan_view){.buf = program_buffer(&p, 8)};
    matrix = program_matrix(&p, &m, "m");
    vector = program_constants(&p, eight, 8, "v");
    program_op(&p, OP_EMBED, 0)->embed = (struct op_embed){.dst = a, .matrix = matrix, .width = 8, .scale = 1};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    program_free(&p);
    return 0;
}

/* What was added lies between the embedding and the logits; both it and they are gone afterwards. */
static int check(struct error *e)
{
    struct plan_shm *image;
    int rc;

    program_op(&p, OP_SELECT, 1)->select = (struct op_select){.src = a, .dst = chosen, .width = 8};
    program_op(&p, OP_LOGITS, 1)->logits = (struct op_logits){.src = b, .width = 12};
    assert_int_equal(program_image(&image, &p, e), 0);
    rc = program_check(image, image->bytes, e);
    free(image);
    p.ops.count = 1;
    return rc;
}

static void refuse(const char *words)
{
    struct error e = {0};

    assert_int_equal(check(&e), -EPROTO);
    if (!strstr(e.text, words)) fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

static void accept(void)
{
    struct error e = {0};

    if (check(&e)) fail_msg("%s", e.text);
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
    refuse("destination: 1 x 12 columns, 0 apart, from 1 on");
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
    refuse("weight: vector 0 has 8 elements, not 4");
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
    refuse("cache of 4 + 3 columns, not 4 + 4");
    program_op(&p, OP_KINDS, 0);
    refuse("unknown kind");
}

/* Attention believes a list: it must be the one that an index has made, and nothing else may write there. */
static void an_index_and_its_lists(void **state)
{
    struct plan_view lists = {.buf = program_buffer(&p, 6)};
    struct op_index x = {.q = a, .k = b, .w = b, .dst = lists, .heads = 2, .groups = 2, .dim = 4, .block = 3, .top = 2};
    struct op_attention o = {.q = a,
                             .k = b,
                             .v = b,
                             .dst = a,
                             .heads = 2,
                             .kv_heads = 2,
                             .dk = 4,
                             .dv = 4,
                             .sinks = PLAN_NONE,
                             .alibi = PLAN_NONE,
                             .chosen = lists,
                             .chosen_groups = 2,
                             .chosen_top = 2,
                             .chosen_block = 3};
    struct op_copy over = {.src = a, .dst = lists, .blocks = 1, .width = 2};

    (void)state;
    x.cache = program_cache(&p, 4, 0);
    o.cache = program_cache(&p, 8, 8);
    program_op(&p, OP_INDEX, 0)->index = x;
    program_op(&p, OP_ATTENTION, 0)->attention = o;
    program_op(&p, OP_ATTENTION, 1)->attention = o; /* a later layer may look at the same lists */
    accept();
    program_op(&p, OP_ATTENTION, 0)->attention = o;
    refuse("no index listed 2 blocks of 3 for 2 groups before");
    program_op(&p, OP_INDEX, 0)->index = x;
    o.chosen_block = 4;
    program_op(&p, OP_ATTENTION, 0)->attention = o;
    refuse("no index listed 2 blocks of 4 for 2 groups before");
    o.chosen_block = 3;
    o.window = 5;
    program_op(&p, OP_INDEX, 0)->index = x;
    program_op(&p, OP_ATTENTION, 0)->attention = o;
    refuse("window 5");
    program_op(&p, OP_INDEX, 0)->index = x;
    program_op(&p, OP_COPY, 0)->copy = over;
    refuse("which holds lists");
    x.top = 3;
    program_op(&p, OP_INDEX, 0)->index = x;
    refuse("destination");
    x.top = 2;
    x.local = 3;
    program_op(&p, OP_INDEX, 0)->index = x;
    refuse("3 local ones");
    x.local = 0;
    x.cache = o.cache;
    program_op(&p, OP_INDEX, 0)->index = x;
    refuse("cache of 8 + 8 columns, not 4 + 0");
}

/* The image holds what was added, leads where it says, and the program may go on growing after it was made. */
static void image_of_a_program(void **state)
{
    struct plan_shm *first, *again;
    struct error e = {0};
    uint32_t later;

    (void)state;
    assert_int_equal(program_image(&first, &p, &e), 0);
    assert_int_equal(program_image(&again, &p, &e), 0);
    assert_int_equal(first->bytes, again->bytes);
    assert_memory_equal(first, again, first->bytes);
    assert_int_equal(first->matrices.count, 1);
    assert_int_equal(plan_matrices(first)[matrix].rows, 12);
    assert_string_equal(plan_string(first, plan_files(first)->name), "/nowhere/model.safetensors");
    assert_string_equal(plan_string(first, plan_matrices(first)[matrix].name), "m");
    assert_int_equal(plan_buffers(first)[b.buf], 12);
    assert_true(plan_constants(first)[7] == 8);
    assert_int_equal(first->spec.resident_floats, 64); /* vectors begin at multiples of 256 bytes */
    assert_int_equal(first->tiles.count + first->parts.count + first->expert_tiles.count, 0);
    later = program_constants(&p, (float[]){9}, 1, "later");
    free(again);
    assert_int_equal(program_image(&again, &p, &e), 0);
    assert_int_equal(plan_vectors(again)[later].at, 64);
    assert_int_equal(again->spec.resident_floats, 128);
    free(again);
    free(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(products, setup, teardown),
        cmocka_unit_test_setup_teardown(norms_and_ropes, setup, teardown),
        cmocka_unit_test_setup_teardown(attention_and_its_cache, setup, teardown),
        cmocka_unit_test_setup_teardown(an_index_and_its_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(image_of_a_program, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

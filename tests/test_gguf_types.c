/* The types of GGUF files: each form has their blocks' sizes, no two types share one, what is no type is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "coordinator/source/gguf_types.h"
#include "proto/form.h"

#define ABOVE 100u /* all types' numbers */

static void known_types(void **state)
{
    static const struct {
        uint32_t type;
        const char *name;
        uint32_t elements, bytes;
    } known[] = {{0, "F32", 1, 4},       {1, "F16", 1, 2},       {2, "Q4_0", 32, 18},      {8, "Q8_0", 32, 34},
                 {12, "Q4_K", 256, 144}, {14, "Q6_K", 256, 210}, {23, "IQ4_XS", 256, 136}, {29, "IQ1_M", 256, 56},
                 {30, "BF16", 1, 2},     {35, "TQ2_0", 256, 66}, {39, "MXFP4", 32, 17},    {40, "NVFP4", 64, 36}};

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct gguf_type *t = gguf_type(known[i].type);

        assert_non_null(t);
        assert_string_equal(t->name, known[i].name);
        assert_string_equal(gguf_type_name(known[i].type), known[i].name);
        assert_int_equal(t->elements, known[i].elements);
        assert_int_equal(t->bytes, known[i].bytes);
    }
    assert_int_equal(form_of_ggml_type(0), FORM_F32);
    assert_int_equal(form_of_ggml_type(1), FORM_F16);
    assert_int_equal(form_of_ggml_type(28), FORM_F64);
    assert_int_equal(form_of_ggml_type(30), FORM_BF16);
    assert_int_equal(form_of_ggml_type(14), FORM_Q6_K);
    assert_int_equal(form_of_ggml_type(39), FORM_MXFP4_BLOCK);
}

static void forms_are_as_the_types(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < ABOVE; type++) {
        const struct gguf_type *t = gguf_type(type);

        assert_int_equal(form_of_ggml_type(type), t ? t->form : -1);
        if (!t || t->form < 0 || t->form == FORM_BYTES) continue;
        assert_int_equal(form_elements((uint32_t)t->form), t->elements);
        assert_int_equal(form_bytes((uint32_t)t->form), t->bytes);
        for (uint32_t other = 0; other < type; other++) assert_int_not_equal(form_of_ggml_type(other), t->form);
    }
}

static void what_is_no_type(void **state)
{
    static const uint32_t none[] = {43, 64, ABOVE, 0x7fffffff, 0xffffffff};

    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_null(gguf_type(none[i]));
        assert_string_equal(gguf_type_name(none[i]), "unknown");
        assert_int_equal(form_of_ggml_type(none[i]), -1);
    }
    for (uint32_t type = 0; type < ABOVE; type++) /* no longer written: a name to say, and nothing else */
        if (gguf_type(type) && !gguf_type(type)->elements) {
            assert_int_equal(gguf_type(type)->bytes, 0);
            assert_int_equal(form_of_ggml_type(type), -1);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_types),
        cmocka_unit_test(forms_are_as_the_types),
        cmocka_unit_test(what_is_no_type),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Thinking told apart from the answer, by tags and channels that come in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "coordinator/chat/think.h"

struct parts {
    char thought[256], told[256];
};

static int gather(void *arg, bool thinking, const char *text, size_t bytes, struct error *e)
{
    struct parts *p = arg;

    (void)e;
    strncat(thinking ? p->thought : p->told, text, bytes);
    return 0;
}

static void told_apart(const char *text, bool inside, const char *thought, const char *told)
{
    struct error e;

    for (size_t step = 1; step < 40; step += 6) {
        struct parts p = {{0}, {0}};
        struct think t = {.kinds = ~0u, .text = gather, .arg = &p};

        think_begin(&t, inside);
        for (size_t at = 0; at < strlen(text); at += step)
            assert_int_equal(think_push(&t, text + at, strlen(text + at) < step ? strlen(text + at) : step, &e), 0);
        assert_int_equal(think_end(&t, &e), 0);
        assert_string_equal(p.thought, thought);
        assert_string_equal(p.told, told);
    }
}

static void thinking_told_apart(void **state)
{
    (void)state;
    told_apart("Hello <b> [1] <th", false, "", "Hello <b> [1] <th");
    told_apart("<think>\nhm\n</think>\n\nYes.", false, "hm\n", "Yes.");
    told_apart("hm\n</think>\n\nYes.", true, "hm\n", "Yes.");
    told_apart("\n<think>a < b</think>c <think> d", false, "a < b", "\nc <think> d"); /* a word by now */
    told_apart("Yes. </think>", false, "", "Yes. </think>");
    told_apart("<seed:think>x</seed:think>y", false, "x", "y");
    told_apart("[THINK]x[/THINK]y", false, "x", "y");
    told_apart("<|START_THINKING|>x<|END_THINKING|><|START_RESPONSE|>y<|END_RESPONSE|>", false, "x", "y");
    told_apart("<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>y", false, "x", "y");
    told_apart("<think>never closed", false, "never closed", "");
}

static void thinking_left_open(void **state)
{
    struct think t = {.kinds = ~0u};

    (void)state;
    assert_string_equal(think_left_open(&t, "a<think>\n", 9), "</think>");
    assert_null(think_left_open(&t, "a<think>b</think>", 17));
    assert_string_equal(think_left_open(&t, "<think>b</think><seed:think>", 28), "</seed:think>");
    assert_null(think_left_open(&t, "", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thinking_told_apart),
        cmocka_unit_test(thinking_left_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

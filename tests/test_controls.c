/* What a terminal would obey, in an answer or in what a folder holds, reaches none; a pipe gets every byte. And the line of
 * progress, where it may be shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_recite.h"
#include "tests/support_terminal.h"

#define DEMO "tests/data/demo-model"

static char *scratch; /* where a chat's history lies */
static char state_home[256], home[256];

static int setup(void **state)
{
    (void)state;
    scratch = scratch_make();
    snprintf(state_home, sizeof state_home, "XDG_STATE_HOME=%s", scratch);
    snprintf(home, sizeof home, "HOME=%s", scratch);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(scratch);
    return 0;
}

#define OBEYED "\033]0;title\007\033[31mred\tand \302\233 1m\177\r"

static void nothing_obeyed(const char *command)
{
    static const char *const said[] = {"A:", OBEYED, "\nthe end", NULL};
    char *folder = recite_make(said, NULL, "{% for m in messages %}{{ m.content }}{% endfor %}A:");
    const char *const run[] = {command, folder, "--temperature", "0", "-q", "-p", "A:", NULL};
    const char *const chat[] = {command, folder, "--temperature", "0", "-q", NULL};
    bool is_run = !strcmp(command, "run");
    struct process_result r = process_run("sluice", is_run ? run : chat, is_run ? "" : "Say\n", is_run ? 0 : 4, 20);
    struct terminal t = terminal_start("sluice", is_run ? run : chat, (const char *const[]){state_home, home, NULL});

    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, OBEYED "\nthe end\n"); /* a pipe gets what was said */
    if (!is_run) {
        terminal_wait(&t, "> ");
        terminal_type(&t, "Say\n");
    }
    terminal_wait(&t, "the end");
    assert_null(strstr(t.raw, "\033]"));
    assert_null(strstr(t.raw, "\033[31m"));
    assert_null(strchr(t.raw, '\007'));
    assert_null(strchr(t.raw, '\177'));
    assert_null(strstr(t.raw, "\302\233"));
    assert_non_null(strstr(t.raw, "\357\277\275[31mred\tand \357\277\275 1m\357\277\275\357\277\275\r\nthe end"));
    if (!is_run) terminal_type(&t, "\004");
    assert_int_equal(terminal_end(&t), 0);
    process_result_free(&r);
    scratch_remove(folder);
}

static void controls_in_an_answer(void **state)
{
    (void)state;
    nothing_obeyed("run");
    nothing_obeyed("chat");
}

/* What else prints what a folder holds. */
static void controls_in_a_template(void **state)
{
    static const char *const said[] = {"A:", OBEYED, NULL};
    char *folder = recite_make(said, NULL, "\033[31m{{ messages[0].content }}");
    const char *messages = scratch_path(folder, "messages.json"), *const none[] = {NULL};
    const char *const template[] = {"template", folder, "-f", messages, NULL}, *const back[] = {"detokenize", folder,
                                                                                                NULL};
    struct process_result r;
    struct terminal t;

    (void)state;
    scratch_write(folder, "messages.json", "[{\"role\":\"user\",\"content\":\"the end\"}]");
    r = process_run("sluice", template, NULL, 0, 20);
    assert_string_equal(r.out, "\033[31mthe end");
    process_result_free(&r);
    t = terminal_start("sluice", template, none);
    terminal_wait(&t, "the end");
    assert_null(strchr(t.raw, '\033'));
    assert_int_equal(terminal_end(&t), 0);
    r = process_run("sluice", back, "3", 1, 20);
    assert_string_equal(r.out, OBEYED);
    process_result_free(&r);
    t = terminal_start("sluice", back, none);
    terminal_type(&t, "3\n\004");
    terminal_wait(&t, "red");
    assert_null(strchr(t.raw, '\033'));
    assert_int_equal(terminal_end(&t), 0);
    scratch_remove(folder);
}

/* The line of progress: dim, plain where no colours are wanted, absent where the terminal knows no sequences. */
static void progress_line(void **state)
{
    static const char *const env[][2] = {{"A=1", NULL}, {"NO_COLOR=1", NULL}, {"TERM=dumb", NULL}};
    const char *const arg[] = {"run",          DEMO, "--temperature",    "0", "-n", "200",
                               "--ignore-eos", "-p", "Once upon a time", NULL};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct terminal t = terminal_start("sluice", arg, env[i]);

        if (i < 2)
            terminal_wait(&t, " ETA ");
        else
            terminal_wait(&t, "there was");
        terminal_peek(&t, 300);
        assert_int_equal(strstr(t.raw, "\033[2m") != NULL, i == 0);
        assert_int_equal(strchr(t.raw, '\033') != NULL, i < 2);
        assert_int_equal(strstr(t.text, " ETA ") != NULL, i < 2);
        terminal_type(&t, "\003");
        terminal_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_in_an_answer),
        cmocka_unit_test(controls_in_a_template),
        cmocka_unit_test(progress_line),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

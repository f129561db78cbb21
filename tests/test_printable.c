/* What others wrote never commands a terminal: the filter itself, and every way on which text comes out of the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/log.h"
#include "proto/base/printable.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_recite.h"
#include "tests/support_temporary.h"
#include "tests/support_terminal.h"

#define DEMO "tests/data/demo-model"
#define BAD  "\xEF\xBF\xBD"

static char folder[TEMPORARY_BYTES], state_home[128], home[128];

static int setup(void **state)
{
    (void)state;
    if (!temporary_make(folder, NULL)) return -1;
    snprintf(state_home, sizeof state_home, "XDG_STATE_HOME=%s", folder);
    snprintf(home, sizeof home, "HOME=%s", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temporary_remove(folder);
    return 0;
}

/* ---- the filter ---- */

static const struct {
    const char *in, *out;
} cases[] = {
    {"plain text\n\tand a tab", "plain text\n\tand a tab"},
    {"\033[31mred\033]0;title\007", BAD "[31mred" BAD "]0;title" BAD},
    {"over\rwritten", "over" BAD "written"},
    {"a\177b\bc", "a" BAD "b" BAD "c"},
    {"\302\233 1m \302\200\302\237\302\240",
     BAD " 1m " BAD BAD "\302\240"}, /* C1 as characters; no-break space is none */
    {"\233 1m\200", BAD " 1m" BAD},  /* and as bytes */
    {"\303\244\346\227\245\360\237\216\211", "\303\244\346\227\245\360\237\216\211"},
    {"\303(\340\200\200\355\240\200\370\210", BAD "(" BAD BAD BAD BAD BAD BAD BAD BAD}, /* no UTF-8 */
    {"\342\200\252\342\200\256x\342\201\246\342\201\251", BAD BAD "x" BAD BAD}, /* embeddings, overrides, isolates */
    {"\342\200\216\342\200\217\330\234\342\200\215",
     "\342\200\216\342\200\217\330\234\342\200\215"}, /* marks, a joiner */
    {"cut \346\227", "cut " BAD},
};

static void filtered(void **state)
{
    char out[256];
    size_t used;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = printable_copy(out, sizeof out, cases[i].in, strlen(cases[i].in), false, &used);

        assert_int_equal(used, strlen(cases[i].in));
        assert_int_equal(n, strlen(cases[i].out));
        assert_memory_equal(out, cases[i].out, n);
        for (size_t room = 0; room < n; room++) { /* whole characters, whatever fits */
            size_t m = printable_copy(out, room, cases[i].in, strlen(cases[i].in), false, &used);

            assert_true(m <= room && room - m < 4);
            assert_memory_equal(out, cases[i].out, m);
        }
    }
    for (int c = 0; c < 256; c++) { /* no single byte gets through that is obeyed */
        char in[2] = {(char)c, 0};
        size_t n = printable_copy(out, sizeof out, in, 1, false, &used);

        if (c == '\n' || c == '\t' || (c >= ' ' && c < 127))
            assert_true(n == 1 && out[0] == c);
        else
            assert_true(n == 3 && !memcmp(out, BAD, 3));
    }
    printable_line(out, sizeof out, "two\nlines\tof\033 text");
    assert_string_equal(out, "two lines of" BAD " text");
    printable_line(out, 9, "12345\033\033");
    assert_string_equal(out, "12345" BAD);
    assert_int_equal(printable_copy(out, sizeof out, "ab\346\227", 4, true, &used), 2); /* more may come */
    assert_int_equal(used, 2);
}

/* A line of a stage or of the coordinator: one line, whatever stands in a name. */
static void log_lines(void **state)
{
    char text[512];
    int pipes[2], had = dup(STDERR_FILENO);
    ssize_t n;

    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    dup2(pipes[1], STDERR_FILENO);
    log_setup("sluice-test", LOG_WARN);
    log_warn("%s: 1", "/models/a\033[2J\302\233\233\nsluice: all is well\342\200\256");
    dup2(had, STDERR_FILENO);
    close(had);
    close(pipes[1]);
    n = read(pipes[0], text, sizeof text - 1);
    close(pipes[0]);
    assert_true(n > 0);
    text[n] = 0;
    assert_string_equal(text, "sluice-test: /models/a" BAD "[2J" BAD BAD " sluice: all is well" BAD ": 1\n");
}

/* ---- the program ---- */

/* What an attacker would like to do, each followed by a letter that must come out. */
#define EVIL_TEXT                                                                                                      \
    "e\033]0;title\007f\302\233"                                                                                       \
    "31mgh\342\200\256i\rj"
#define EVIL EVIL_TEXT "\233h" /* names may be no UTF-8 */

static char *evil_link(const char *to)
{
    static char path[TEMPORARY_BYTES + 64];
    char cwd[PATH_MAX / 2], target[PATH_MAX];

    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(target, sizeof target, "%s%s%s", *to == '/' ? "" : cwd, *to == '/' ? "" : "/", to);
    snprintf(path, sizeof path, "%s/" EVIL, folder);
    unlink(path);
    assert_int_equal(symlink(target, path), 0);
    return path;
}

/* Nothing of it reached the terminal, but its letters. */
static void harmless(const struct terminal *t, const char *what)
{
    static const char *const parts[] = {"\033]", "\007", "\302\233", "\233h", "\342\200\256", "i\rj"};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(t->raw, parts[i])) fail_msg("%s: part %zu came through: %s", what, i, t->raw);
    if (!strstr(t->raw, BAD)) fail_msg("%s: the name was not told: %s", what, t->raw);
}

static void from_a_terminal(const char *const *arg, const char *what)
{
    struct terminal t = terminal_start("sluice", arg, (const char *const[]){state_home, home, NULL});

    for (int i = 0; i < 400 && !strstr(t.raw, BAD); i++) terminal_peek(&t, 50);
    terminal_peek(&t, 200);
    harmless(&t, what);
    terminal_end(&t);
}

#define FROM(what, ...) from_a_terminal((const char *const[]){__VA_ARGS__, NULL}, what)

static void names_of_folders(void **state)
{
    char *path = evil_link(DEMO), missing[PATH_MAX];

    (void)state;
    snprintf(missing, sizeof missing, "%s/none", path);
    FROM("an error", "run", missing, "-p", "x");
    FROM("verify", "verify", missing);
    FROM("doctor", "doctor", missing);
    FROM("plan", "plan", missing);
    FROM("a flag", "run", DEMO, "--" EVIL);
    FROM("a command", EVIL);
    FROM("a number", "run", DEMO, "-n", EVIL);
    FROM("a template that is missing", "template", missing);
    unlink(path);
}

static void templates(void **state)
{
    static const char *const said[] = {"A:", "x", NULL};
    char *model = recite_make(said, NULL, "{{ raise_exception('" EVIL_TEXT "') }}");
    char messages[TEMPORARY_BYTES + 16];

    (void)state;
    scratch_write(folder, "m.json", "[{\"role\":\"user\",\"content\":\"x\"}]");
    snprintf(messages, sizeof messages, "%s/m.json", folder);
    FROM("a template's exception", "template", model, "-f", messages);
    FROM("run --chat", "run", model, "--chat", "-p", "x");
    scratch_remove(model);
    model = recite_make(said, NULL, "{{ '" EVIL_TEXT "' }}A:");
    FROM("a template's text", "template", model, "-f", messages);
    scratch_remove(model);
}

static void in_the_chat(void **state)
{
    char *path = evil_link(DEMO), line[PATH_MAX], file[PATH_MAX];
    struct terminal t = terminal_start("sluice", (const char *const[]){path, "--temperature", "0", NULL},
                                       (const char *const[]){state_home, home, NULL});
    FILE *f;

    (void)state;
    terminal_wait(&t, "> ");
    harmless(&t, "the greeting");
    snprintf(file, sizeof file, "%s/list-" EVIL, folder);
    for (int i = 0; i < 2; i++) {
        strcat(file, i ? "1" : "2");
        f = fopen(file, "w");
        assert_non_null(f);
        fputs("no list", f);
        fclose(f);
    }
    snprintf(line, sizeof line, "/load %s/list-\t\t", folder); /* names to choose from */
    terminal_type(&t, line);
    terminal_wait(&t, BAD);
    terminal_peek(&t, 300);
    harmless(&t, "names of files");
    terminal_type(&t, "\025");
    terminal_peek(&t, 100);
    terminal_type(&t, "/load list.json\n");
    terminal_wait(&t, "list.json");
    terminal_type(&t, "\004");
    terminal_end(&t);
    unlink(path);
}

/* A pipe gets the bytes: they are data there. */
static void a_pipe_is_no_terminal(void **state)
{
    static const char *const said[] = {"A:", EVIL_TEXT, NULL};
    char *model = recite_make(said, NULL, "{{ messages[0].content }}A:");
    const char *const run[] = {"run", model, "-p", "A:", "--temperature", "0", NULL};
    struct process_result r = process_run("sluice", run, NULL, 0, 20);

    (void)state;
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "\033]0;title\007"));
    process_result_free(&r);
    scratch_remove(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filtered),  cmocka_unit_test(log_lines),   cmocka_unit_test(names_of_folders),
        cmocka_unit_test(templates), cmocka_unit_test(in_the_chat), cmocka_unit_test(a_pipe_is_no_terminal),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

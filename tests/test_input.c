/* What people give to be read: it is bounded by what the context can hold before it is read whole, so that a pipe that never
 * ends, or a file that is no prompt, ends in one line and not in all of the memory. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/cli/input_lines.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define DEMO "tests/data/demo-model"

/* ---- by themselves ---- */

static const struct input_limit hundred = {.bytes = 100, .why = "so says the test"};

static void fill_file(const char *path, size_t bytes)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    for (size_t i = 0; i < bytes; i++) fputc(i % 10 == 9 ? '\n' : 'x', f);
    fclose(f);
}

static void a_text_of_the_limit_is_read_and_one_byte_more_is_not(void **state)
{
    char *folder = scratch_make(), *path = strdup(scratch_path(folder, "text")), *text;
    struct error e = {0};
    size_t bytes;

    (void)state;
    for (size_t n = 0; n <= 100; n += 50) {
        fill_file(path, n);
        assert_int_equal(input_read(path, &hundred, &text, &bytes, &e), 0);
        assert_int_equal(bytes, n);
        assert_int_equal(strlen(text), n);
        free(text);
    }
    fill_file(path, 101);
    assert_int_equal(input_read(path, &hundred, &text, &bytes, &e), -E2BIG);
    assert_null(text);
    assert_non_null(strstr(e.text, path));
    assert_non_null(strstr(e.text, "longer than 100 bytes: so says the test"));
    free(path);
    scratch_remove(folder);
}

/* The same through a pipe, whose length nobody knows beforehand. */
static void a_pipe_is_read_to_the_limit_and_no_further(void **state)
{
    char *text, block[70000];
    struct error e = {0};
    size_t bytes;

    (void)state;
    memset(block, 'y', sizeof block);
    for (size_t n = 65535; n <= 65537; n++) {
        const struct input_limit most = {.bytes = 65536, .why = "so says the test"};
        char name[32];
        int fd[2], rc;
        pid_t pid;

        assert_int_equal(pipe(fd), 0);
        pid = fork();
        if (!pid) {
            close(fd[0]);
            _exit(write(fd[1], block, n) != (ssize_t)n);
        }
        close(fd[1]);
        snprintf(name, sizeof name, "/dev/fd/%d", fd[0]);
        rc = input_read(name, &most, &text, &bytes, &e);
        assert_int_equal(rc, n > 65536 ? -E2BIG : 0);
        if (!rc) assert_int_equal(bytes, n);
        free(text);
        close(fd[0]);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
}

static void lines_of_every_length(void **state)
{
    char *folder = scratch_make(), *path = strdup(scratch_path(folder, "lines"));
    const struct input_limit most = {.bytes = 20000, .why = "so says the test"};
    struct input_lines l;
    struct error e = {0};
    const char *line;
    size_t bytes, lines = 0;
    FILE *f = fopen(path, "w");
    int rc;

    (void)state;
    assert_non_null(f);
    for (size_t n = 0; n < 20000; n += 1 + n / 3) {
        for (size_t i = 0; i < n; i++) fputc('a' + (int)(i % 26), f);
        fputc('\n', f);
    }
    fputs("no newline", f);
    fclose(f);
    assert_int_equal(input_lines_open(&l, path, &most, &e), 0);
    for (size_t n = 0; n < 20000; n += 1 + n / 3, lines++) {
        assert_int_equal(input_lines_next(&l, &line, &bytes, &e), 0);
        assert_int_equal(bytes, n + 1);
        assert_int_equal(line[n], '\n');
        for (size_t i = 0; i < n; i++) assert_int_equal(line[i], 'a' + (int)(i % 26));
    }
    assert_int_equal(input_lines_next(&l, &line, &bytes, &e), 0);
    assert_int_equal(bytes, 10);
    assert_memory_equal(line, "no newline", 10);
    assert_int_equal(input_lines_next(&l, &line, &bytes, &e), -ENODATA);
    input_lines_close(&l);
    assert_true(lines > 20);

    assert_int_equal(input_lines_open(&l, path, &hundred, &e), 0);
    while (!(rc = input_lines_next(&l, &line, &bytes, &e))) assert_true(bytes <= 101);
    assert_int_equal(rc, -E2BIG);
    assert_non_null(strstr(e.text, "a line of "));
    assert_true(l.room < 20000);
    input_lines_close(&l);
    free(path);
    scratch_remove(folder);
}

/* ---- as a user ---- */

#ifdef __SANITIZE_ADDRESS__
#define LIMIT   "" /* the sanitizer reserves addresses by the terabyte, and is slow */
#define SECONDS 120
#else
#define SECONDS 20
#define LIMIT   "ulimit -v 3000000; "
#endif

/* What never ends goes into the command, which may have a gigabyte of addresses: where it reads on, it ends otherwise. */
static void ends_with(const char *endless, const char *command, const char *says)
{
    char line[8192];
    struct process_result r;

    snprintf(line, sizeof line, LIMIT "%s | '%s/sluice' %s", endless, process_build(), command);
    r = process_run("/bin/sh", (const char *const[]){"-c", line, NULL}, NULL, 0, SECONDS);
    if (r.status != 1 || !strstr(r.err, says))
        fail_msg("%s | sluice %s: exit %d: %s", endless, command, r.status, r.err);
    if (strchr(r.err, '\n') != r.err + strlen(r.err) - 1) fail_msg("not one line: %s", r.err);
    process_result_free(&r);
}

static void what_never_ends_ends_soon(void **state)
{
    (void)state;
    ends_with("yes", "run " DEMO, "standard input is longer than 409600 bytes: the context has 1024 positions");
    ends_with("yes", "run " DEMO " -f -", "standard input is longer than");
    ends_with("yes", "run " DEMO " -f /dev/stdin", "/dev/stdin is longer than");
    ends_with("yes", "run " DEMO " --chat --context 64", "the context has 64 positions");
    ends_with(":", "run " DEMO " -f /dev/zero", "/dev/zero is longer than");
    ends_with("yes | tr -d '\\n'", "chat " DEMO, "a line of standard input is longer than");
    ends_with("yes '\\\\'", "chat " DEMO, "the message is longer than");
    ends_with("yes | tr -d '\\n'", "run " DEMO " --prompts -", "a line of standard input is longer than");
    ends_with("yes", "run " DEMO " --prompts - --host-memory 120M", "give them in parts");
    ends_with("yes '['", "template " DEMO, "no list of messages");
    ends_with("yes", "run " DEMO " --host-memory 1M", "that is a 16th of --host-memory");
}

/* A prompt of a line has the same bound however it is spelled. */
static void a_long_line_is_named(void **state)
{
    char *folder = scratch_make(), *path = strdup(scratch_path(folder, "prompts")), *text = malloc(500000);
    const char *arg[] = {"run", DEMO, "--prompts", path, "-n", "1", NULL};
    struct process_result r;

    (void)state;
    for (int json = 0; json < 2; json++) {
        size_t n = 0;

        n += (size_t)sprintf(text, "Once\n%s", json ? "\"" : "");
        memset(text + n, 'x', 409601);
        strcpy(text + n + 409601, json ? "\"\n" : "\n");
        scratch_write(folder, "prompts", text);
        r = process_run("sluice", arg, NULL, 0, 20);
        assert_int_equal(r.status, 1);
        if (!strstr(r.err, "line 2: the prompt is longer than 409600 bytes")) fail_msg("%s", r.err);
        process_result_free(&r);
    }
    free(text);
    free(path);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_of_the_limit_is_read_and_one_byte_more_is_not),
        cmocka_unit_test(a_pipe_is_read_to_the_limit_and_no_further),
        cmocka_unit_test(lines_of_every_length),
        cmocka_unit_test(what_never_ends_ends_soon),
        cmocka_unit_test(a_long_line_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A chat that waits for its user: no process of it wakes up, and what becomes of a stage meanwhile is noticed when
 * there is something to do again. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_process.h"
#include "tests/support_temporary.h"
#include "tests/support_terminal.h"
#include "tests/support_victims.h"

#define DEMO     "tests/data/demo-model"
#define QUESTION "Please tell me about Karl and the bell."
#define LAST     "A friend is worth more than any bell."

static char folder[TEMPORARY_BYTES], state_home[128];

static int setup(void **state)
{
    (void)state;
    if (!temporary_make(folder, NULL)) return -1;
    snprintf(state_home, sizeof state_home, "XDG_STATE_HOME=%s", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temporary_remove(folder);
    return 0;
}

static struct terminal chat(const char *flag, const char *value)
{
    struct terminal t =
        terminal_start("sluice", (const char *const[]){DEMO, "--temperature", "0", "-q", flag, value, NULL},
                       (const char *const[]){state_home, NULL});

    terminal_wait(&t, "> ");
    return t;
}

static void ask(struct terminal *t)
{
    terminal_type(t, QUESTION "\n");
    terminal_wait(t, LAST);
    terminal_wait(t, "\n> ");
}

static void leave(struct terminal *t)
{
    terminal_type(t, "\004");
    assert_int_equal(terminal_end(t), 0);
}

/* How often the threads of a process have come to run so far. */
static unsigned long switches(pid_t pid)
{
    char path[300], line[128];
    unsigned long n, sum = 0;
    struct dirent *x;
    DIR *d;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    d = opendir(path);
    while (d && (x = readdir(d))) {
        FILE *f;

        if (x->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, x->d_name);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof line, f))
            if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1) sum += n;
        if (f) fclose(f);
    }
    if (d) closedir(d);
    return sum;
}

static unsigned long all_switches(pid_t coordinator)
{
    unsigned long sum = switches(coordinator);

    for (int i = 0; i < VICTIM_STAGES; i++) {
        pid_t stage = victim_wait(coordinator, i, 5000);

        assert_true(stage > 0);
        sum += switches(stage);
    }
    return sum;
}

/* Once what was going on is over, nothing does. A machine that is busy may take its time for the end of it. */
static void sleeps(pid_t coordinator, const char *what)
{
    unsigned long before, after = 0;

    for (int i = 0; i < 10; i++) {
        nap_ms(200);
        before = all_switches(coordinator);
        nap_ms(800);
        after = all_switches(coordinator) - before;
        if (after <= 4) return;
    }
    fail_msg("%s: %lu wake-ups in 0.8 s", what, after);
}

static void nobody_wakes_up(void **state)
{
    struct terminal t = chat("-n", "1000");

    (void)state;
    sleeps(t.pid, "before the first question");
    ask(&t);
    sleeps(t.pid, "after an answer");
    terminal_type(&t, "half a question");
    terminal_wait(&t, "question");
    sleeps(t.pid, "with something typed");
    terminal_type(&t, "\003");
    terminal_wait(&t, "^C");
    sleeps(t.pid, "after Ctrl-C");
    ask(&t);
    leave(&t);
}

static void nor_with_a_trace(void **state)
{
    char path[TEMPORARY_BYTES + 16], line[256];
    struct terminal t;
    FILE *f;
    int reader = 0, compute = 0;

    (void)state;
    snprintf(path, sizeof path, "%s/trace", folder);
    t = chat("--trace", path);
    sleeps(t.pid, "traced, before the first question");
    ask(&t);
    sleeps(t.pid, "traced");
    ask(&t);
    leave(&t);
    f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        reader += strstr(line, "reader") != NULL;
        compute += strstr(line, "compute") != NULL;
    }
    fclose(f);
    assert_true(reader > 0 && compute > 0);
}

static void nor_in_a_pipe(void **state)
{
    const char *const arg[] = {"chat", DEMO, "--temperature", "0", NULL};
    struct process p = process_start("sluice", arg);
    struct process_result r;

    (void)state;
    sleeps(p.pid, "a pipe without a line");
    assert_int_equal(write(p.in, QUESTION "\n", strlen(QUESTION) + 1), strlen(QUESTION) + 1);
    nap_ms(500);
    sleeps(p.pid, "a pipe after a line");
    r = process_finish(&p, QUESTION "\n", strlen(QUESTION) + 1, 20);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(strstr(r.out, LAST) + 1, LAST)); /* both answers */
    process_result_free(&r);
}

/* Killed, or stopped for good, before the first question or between two: the answer is the same. */
static void what_happens_meanwhile(void **state)
{
    static const int signals[] = {SIGKILL, SIGSTOP};

    (void)state;
    for (int stage = 0; stage < VICTIM_STAGES; stage++) {
        for (int asked = 0; asked < 2; asked++) {
            struct terminal t = chat("-n", "1000");
            int signal = signals[(stage + asked) % 2];
            pid_t victim;

            if (asked) ask(&t);
            nap_ms(200);
            victim = victim_wait(t.pid, stage, 5000);
            assert_true(victim > 0);
            kill(victim, signal);
            nap_ms(100);
            ask(&t);
            assert_true(victim_gone(victim));
            if (stage == 1) sleeps(t.pid, "in a new epoch");
            leave(&t);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nobody_wakes_up), cmocka_unit_test(nor_with_a_trace),
                                       cmocka_unit_test(nor_in_a_pipe), cmocka_unit_test(what_happens_meanwhile)};

    return cmocka_run_group_tests(tests, setup, teardown);
}

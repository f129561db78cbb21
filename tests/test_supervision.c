/* Stages that die, hang, are stopped or do not start: the answer goes on as if nothing had happened, or ends with a clear
 * error, and nothing is left. At known moments here; at random ones in test_kill.c. */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_victims.h"

#define DEMO   "tests/data/demo-model"
#define GREEDY "run", DEMO, "-p", "Once upon a time", "--temperature", "0", "-n", "400", "--ignore-eos", "-v"
#define SAMPLED                                                                                                        \
    "run", DEMO, "-p", "Once upon a time", "--temperature", "1", "--seed", "7", "-n", "400", "--ignore-eos", "-v"
#define CHAT                                                                                                           \
    "run", DEMO, "--chat", "-p", "Please tell me about Karl and the bell.", "--temperature", "0", "-n", "400",         \
        "--ignore-eos", "-v"
#define SECONDS 30

static const char *const greedy[] = {GREEDY, NULL}, *const sampled[] = {SAMPLED, NULL}, *const chat[] = {CHAT, NULL};
static const char *const *const ways[] = {greedy, sampled, chat};

/* ---- what an undisturbed run says ---- */

static const char *wanted(const char *const *args)
{
    static const char *const *of[3];
    static char *text[3];
    int i = 0;

    while (of[i] && of[i] != args) i++;
    if (!of[i]) {
        struct process_result r = process_run("sluice", args, NULL, 0, SECONDS);

        if (r.status || strstr(r.err, "starting the stages again")) fail_msg("%d: %s", r.status, r.err);
        of[i] = args;
        text[i] = strdup(r.out);
        process_result_free(&r);
    }
    return text[i];
}

/* ---- a run that something is done to ---- */

struct patient {
    struct process p;
    const char *const *args;
    char first[16]; /* text that was read before the blow */
    size_t first_bytes;
    pid_t stage[VICTIM_STAGES];
};

/* Returns when the answer has begun. */
static void begin(struct patient *x, const char *const *args)
{
    ssize_t n;

    *x = (struct patient){.args = args};
    wanted(args);
    x->p = process_start("sluice", args);
    n = read(x->p.out, x->first, sizeof x->first);
    assert_true(n > 0);
    x->first_bytes = (size_t)n;
    for (int i = 0; i < VICTIM_STAGES; i++)
        if (!(x->stage[i] = victim_find(x->p.pid, i))) fail_msg("there is no %s stage", victim_stage[i]);
}

static void expect_nothing_left(const struct patient *x)
{
    char what[256];

    if (victim_leftovers(x->p.pid, x->stage, VICTIM_STAGES, 1000, what, sizeof what)) fail_msg("left behind: %s", what);
}

/* The same text, with the stages started again `most` times at most: an answer may have ended before the blow reached it.
 * Returns how often they were. */
static int expect_same_text(struct patient *x, int most)
{
    struct process_result r = process_finish(&x->p, NULL, 0, SECONDS);
    const char *want = wanted(x->args);
    int found = 0;

    for (const char *at = r.err; (at = strstr(at, "starting the stages again")); at++) found++;
    if (r.status || strncmp(want, x->first, x->first_bytes) || strcmp(want + x->first_bytes, r.out))
        fail_msg("status %d, \"%.*s%s\"\n%s", r.status, (int)x->first_bytes, x->first, r.out, r.err);
    if (found > most) fail_msg("started again %d times: %s", found, r.err);
    expect_nothing_left(x);
    process_result_free(&r);
    return found;
}

static void killed_amid_an_answer(void **state)
{
    struct patient x;
    int hits = 0;

    (void)state;
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        for (int i = 0; i < VICTIM_STAGES; i++) {
            begin(&x, ways[way]);
            kill(x.stage[i], SIGKILL);
            hits += expect_same_text(&x, 1);
        }
    }
    assert_true(hits > 0);
}

static void ended_by_other_signals(void **state)
{
#ifdef __SANITIZE_ADDRESS__ /* takes the others for an exit */
    static const int signals[] = {SIGTERM, SIGQUIT, SIGALRM};
#else
    static const int signals[] = {SIGTERM, SIGSEGV, SIGABRT, SIGBUS};
#endif
    struct patient x;

    (void)state;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        begin(&x, greedy);
        kill(x.stage[i % VICTIM_STAGES], signals[i]);
        expect_same_text(&x, 1);
    }
}

static void several_at_once(void **state)
{
    struct patient x;

    (void)state;
    for (int spared = 0; spared <= VICTIM_STAGES; spared++) {
        begin(&x, greedy);
        for (int i = 0; i < VICTIM_STAGES; i++)
            if (i != spared) kill(x.stage[i], SIGKILL);
        expect_same_text(&x, 1);
    }
}

static void stopped_for_a_moment_goes_on(void **state)
{
    struct patient x;

    (void)state;
    for (int i = 0; i < VICTIM_STAGES; i++) {
        begin(&x, greedy);
        kill(x.stage[i], SIGSTOP);
        nap_ms(500);
        kill(x.stage[i], SIGCONT);
        expect_same_text(&x, 0);
    }
}

static void stopped_for_good_is_a_hang(void **state)
{
    struct patient x;

    (void)state;
    begin(&x, greedy);
    kill(x.stage[2], SIGSTOP);
    assert_int_equal(expect_same_text(&x, 1), 1);
}

/* Ctrl-Z and fg; a lid that is closed and opened. */
static void stopping_all_is_no_death(void **state)
{
    struct patient x;

    (void)state;
    begin(&x, greedy);
    kill(-x.p.pid, SIGSTOP);
    nap_ms(3000);
    kill(-x.p.pid, SIGCONT);
    expect_same_text(&x, 0);
}

/* A coordinator that is held up (a debugger, a terminal that takes no more) is not one whose stages hang. */
static void a_stopped_coordinator_goes_on(void **state)
{
    struct patient x;

    (void)state;
    begin(&x, greedy);
    kill(x.p.pid, SIGSTOP);
    nap_ms(2500);
    kill(x.p.pid, SIGCONT);
    expect_same_text(&x, 0);
}

static void the_coordinator_takes_its_stages_along(void **state)
{
    static const int signals[] = {SIGKILL, SIGTERM, SIGINT, SIGHUP};

    (void)state;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct process_result r;
        struct patient x;

        begin(&x, greedy);
        if (!i) kill(x.stage[1], SIGSTOP); /* even one that cannot run */
        kill(x.p.pid, signals[i]);
        expect_nothing_left(&x);
        r = process_finish(&x.p, NULL, 0, SECONDS);
        assert_int_equal(r.status, i ? 130 : 128 + SIGKILL);
        assert_int_equal(strncmp(wanted(greedy), x.first, x.first_bytes), 0);
        assert_int_equal(
            strncmp(wanted(greedy) + x.first_bytes, r.out, i && r.out_bytes ? r.out_bytes - 1 : r.out_bytes), 0);
        process_result_free(&r);
    }
}

/* A reader that takes no more, as a pager that waits, does not keep Ctrl-C from ending the program. */
static void interrupted_while_nobody_reads(void **state)
{
    static char full[4096];
    char script[PATH_MAX + 256], what[256];
    const char *const args[] = {"-c", script, NULL};
    struct process p;
    pid_t child = 0;
    int pipe_fd[2], status;

    (void)state;
    assert_int_equal(pipe(pipe_fd), 0);
    assert_true(fcntl(pipe_fd[1], F_SETPIPE_SZ, (int)sizeof full) >= 0);
    assert_int_equal(write(pipe_fd[1], full, sizeof full), sizeof full);
    snprintf(script, sizeof script, "exec %s/sluice run " DEMO " -p x -n 50 >&%d", process_build(), pipe_fd[1]);
    p = process_start("/bin/sh", args);
    child = victim_wait(p.pid, 2, 5000);
    assert_true(child);
    nap_ms(300);
    kill(p.pid, SIGINT);
    struct process_result r = process_finish(&p, NULL, 0, 5);
    status = r.status;
    process_result_free(&r);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
    assert_int_equal(status, 130);
    if (victim_leftovers(p.pid, &child, 1, 1000, what, sizeof what)) fail_msg("left behind: %s", what);
}

/* ---- stages that are not what they should be: scripts in the place of their programs ---- */

static char *theatre; /* a folder with the program, and stages to be replaced */

static const char *real(const char *name)
{
    static char path[2][PATH_MAX];
    static int i;

    i = !i;
    snprintf(path[i], sizeof path[i], "%s/%s", process_build(), name);
    return path[i];
}

static void copy(const char *from, const char *to)
{
    char buffer[65536];
    FILE *in = fopen(from, "re"), *out = fopen(to, "we");
    size_t n;

    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(buffer, 1, sizeof buffer, in))) assert_int_equal(fwrite(buffer, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(to, 0700), 0);
}

static int setup(void **state)
{
    static const char *const names[] = {"sluice-reader", "sluice-transfer-cpu", "sluice-compute-cpu"};

    (void)state;
    theatre = scratch_make();
    copy(real("sluice"), scratch_path(theatre, "sluice"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(symlink(real(names[i]), scratch_path(theatre, names[i])), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(theatre);
    return 0;
}

/* body: a shell script that runs before the real stage "$real"; FOLDER/seen counts how often it was started. */
static void play(const char *name, const char *body)
{
    char text[4096];

    remove(scratch_path(theatre, "seen"));
    remove(scratch_path(theatre, name));
    snprintf(text, sizeof text,
             "#!/bin/sh\nreal=%s\nseen=%s/seen\necho >>$seen\ncount=$(wc -l <$seen)\n%s\nexec $real \"$@\"\n",
             real(name), theatre, body);
    scratch_write(theatre, name, text);
    assert_int_equal(chmod(scratch_path(theatre, name), 0700), 0);
}

static void stub_over(const char *name)
{
    remove(scratch_path(theatre, name));
    assert_int_equal(symlink(real(name), scratch_path(theatre, name)), 0);
}

static void expect_stub(const char *name, const char *body, int status, const char *words)
{
    struct process_result r;
    const char *want = wanted(greedy);
    char program[PATH_MAX], what[256];
    struct process p;

    play(name, body);
    snprintf(program, sizeof program, "%s/sluice", theatre);
    p = process_start(program, greedy);
    r = process_finish(&p, NULL, 0, SECONDS);
    if (r.status != status || (!status && strcmp(r.out, want)) || !strstr(r.err, words))
        fail_msg("status %d: %s", r.status, r.err);
    if (victim_leftovers(p.pid, NULL, 0, 1000, what, sizeof what)) fail_msg("left behind: %s", what);
    process_result_free(&r);
    stub_over(name);
}

static void dead_before_they_said_hello(void **state)
{
    (void)state;
    expect_stub("sluice-reader", "[ $count -gt 1 ] || kill -KILL $$", 0, "starting the stages again");
    expect_stub("sluice-transfer-cpu", "[ $count -gt 2 ] || kill -KILL $$", 0, "starting the stages again");
    expect_stub("sluice-compute-cpu", "[ $count -gt 1 ] || kill -TERM $$", 0, "killed by signal 15");
}

static void stopped_before_they_said_hello(void **state)
{
    (void)state;
    expect_stub("sluice-reader", "[ $count -gt 1 ] || kill -STOP $$", 0, "was stopped");
    expect_stub("sluice-compute-cpu", "[ $count -gt 1 ] || { (sleep 1; kill -CONT $$) & kill -STOP $$; }", 0, "");
}

static void three_deaths_are_enough(void **state)
{
    (void)state;
    expect_stub("sluice-transfer-cpu", "kill -KILL $$", 1,
                "gave up after 3 failures in a row without a new token: the transfer stage");
    expect_stub("sluice-compute-cpu", "kill -SEGV $$", 1, "killed by signal 11");
}

static void an_exit_without_a_word_is_named(void **state)
{
    (void)state;
    expect_stub("sluice-reader", "exit 3", 1, "the reader stage");
    expect_stub("sluice-compute-cpu", "exit 3", 1, "exit status 3");
}

/* One that does not end when it is told to is ended. */
static void hanging_at_the_end(void **state)
{
    (void)state;
    expect_stub("sluice-compute-cpu", "$real \"$1\" \"$2\" --parent $$ \"$5\" \"$6\"; exec sleep 60", 0, "");
}

/* A shell that ignores SIGCHLD hands that on. */
static void children_that_nobody_waits_for(void **state)
{
    struct patient x;

    (void)state;
    signal(SIGCHLD, SIG_IGN);
    x.p = process_start("sluice", greedy);
    signal(SIGCHLD, SIG_DFL);
    nap_ms(30);
    x = (struct patient){.p = x.p, .args = greedy};
    expect_same_text(&x, 0);
}

/* ---- memory ---- */

/* A memory group for one process; false where this user or system has none. */
static bool group_make(char *path, size_t room, const char *limit)
{
    static const char *const kinds[][2] = {{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
                                           {"/sys/fs/cgroup", "memory.max"}};
    char file[256];

    for (size_t i = 0; i < 2; i++) {
        FILE *f;

        snprintf(path, room, "%s/sluice-test-%d", kinds[i][0], getpid());
        if (mkdir(path, 0700)) continue;
        snprintf(file, sizeof file, "%s/%s", path, kinds[i][1]);
        if ((f = fopen(file, "r+e"))) {
            fputs(limit, f);
            if (!fclose(f)) return true;
        }
        rmdir(path);
    }
    return false;
}

/* The kernel kills a stage for want of memory: it is started again, and when that does not help the message says so. */
static void out_of_memory(void **state)
{
    char group[128], body[512];

    (void)state;
    if (!group_make(group, sizeof group, "1500000")) {
        print_message("skipped: memory groups cannot be made here (needs root and the memory controller)\n");
        skip();
    }
    snprintf(body, sizeof body, "[ $count -gt 1 ] || echo $$ >%s/cgroup.procs", group);
    expect_stub("sluice-compute-cpu", body, 0, "out of memory?");
    snprintf(body, sizeof body, "echo $$ >%s/cgroup.procs", group);
    expect_stub("sluice-reader", body, 1, "out of memory? Lower --host-memory");
    rmdir(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_amid_an_answer),
        cmocka_unit_test(ended_by_other_signals),
        cmocka_unit_test(several_at_once),
        cmocka_unit_test(stopped_for_a_moment_goes_on),
        cmocka_unit_test(stopped_for_good_is_a_hang),
        cmocka_unit_test(stopping_all_is_no_death),
        cmocka_unit_test(a_stopped_coordinator_goes_on),
        cmocka_unit_test(the_coordinator_takes_its_stages_along),
        cmocka_unit_test(interrupted_while_nobody_reads),
        cmocka_unit_test(dead_before_they_said_hello),
        cmocka_unit_test(stopped_before_they_said_hello),
        cmocka_unit_test(three_deaths_are_enough),
        cmocka_unit_test(an_exit_without_a_word_is_named),
        cmocka_unit_test(hanging_at_the_end),
        cmocka_unit_test(children_that_nobody_waits_for),
        cmocka_unit_test(out_of_memory),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

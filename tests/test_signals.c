/* What a program meets whose parent and neighbours are none of its own: signals that come while it waits, or were
 * blocked or ignored for it, descriptors that do not block, and pipes and devices where files are expected. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_process.h"
#include "tests/support_temporary.h"
#include "tests/support_terminal.h"
#include "tests/support_victims.h"

#define DEMO    "tests/data/demo-model"
#define SECONDS 20
#define STORY   "Once upon a time"

static char folder[TEMPORARY_BYTES], self[PATH_MAX], sluice[PATH_MAX], state_home[256], cache_home[256], home[256];

static int setup(void **state)
{
    (void)state;
    if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0 || !temporary_make(folder, NULL)) return -1;
    snprintf(sluice, sizeof sluice, "%s/sluice", process_build());
    snprintf(state_home, sizeof state_home, "XDG_STATE_HOME=%s/state", folder);
    snprintf(cache_home, sizeof cache_home, "XDG_CACHE_HOME=%s/cache", folder);
    snprintf(home, sizeof home, "HOME=%s", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temporary_remove(folder);
    return 0;
}

/* ---- a strange parent: test_signals --blocked|--ignored|--nonblocking PROGRAM ARG... ---- */

static int be_strange(const char *how, char **argv)
{
    static const int signals[] = {SIGINT,   SIGTERM, SIGPIPE, SIGCHLD, SIGXFSZ,
                                  SIGWINCH, SIGCONT, SIGTSTP, SIGHUP,  SIGQUIT};
    sigset_t all;

    sigfillset(&all);
    if (!strcmp(how, "--blocked")) sigprocmask(SIG_SETMASK, &all, NULL);
    for (size_t i = 0; !strcmp(how, "--ignored") && i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_IGN);
    for (int fd = 0; !strcmp(how, "--nonblocking") && fd < 3; fd++) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    execv(argv[0], argv);
    _exit(99);
}

static struct process strange(const char *how, const char *const *arg)
{
    const char *all[32] = {how, sluice};
    int n = 2;

    while (*arg) all[n++] = *arg++;
    return process_start(self, all);
}

#define STRANGE(how, ...) strange(how, (const char *const[]){__VA_ARGS__, NULL})

static char *answer_of(const char *const *arg)
{
    struct process_result r = process_run("sluice", arg, NULL, 0, SECONDS);

    assert_int_equal(r.status, 0);
    free(r.err);
    return r.out;
}

#define ANSWER(...) answer_of((const char *const[]){__VA_ARGS__, NULL})

/* ---- signals ---- */

/* Does the process sleep, so that the signal does not come on the way there? */
static void wait_until_it_waits(pid_t pid)
{
    for (int calm = 0, i = 0; calm < 5 && i < 500; i++) {
        char path[64], text[256] = "", state = 0;
        FILE *f;

        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        f = fopen(path, "re");
        if (f && fgets(text, sizeof text, f)) sscanf(strrchr(text, ')'), ") %c", &state);
        if (f) fclose(f);
        calm = state == 'S' ? calm + 1 : 0;
        nap_ms(20);
    }
}

static void ended_by(struct process p, int signal, const char *what)
{
    struct process_result r;
    uint64_t start;

    wait_until_it_waits(p.pid);
    start = now_ns();
    kill(p.pid, signal);
    for (int i = 0; i < 500 && !victim_gone(p.pid); i++) nap_ms(10);
    if (!victim_gone(p.pid)) fail_msg("%s: did not end after signal %d", what, signal);
    assert_true(now_ns() - start < UINT64_C(4000000000));
    r = process_finish(&p, NULL, 0, SECONDS);
    if (r.status != 130 || r.out_bytes || r.err_bytes) fail_msg("%s: status %d, %s", what, r.status, r.err);
    process_result_free(&r);
}

static void waiting_for_the_prompt(void **state)
{
    static const char *const ways[] = {"--blocked", "--ignored", "--usual"};
    static const int signals[] = {SIGINT, SIGTERM};
    char fifo[TEMPORARY_BYTES + 16];

    (void)state;
    snprintf(fifo, sizeof fifo, "%s/prompt", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    for (size_t w = 0; w < 3; w++)
        for (size_t i = 0; i < 2; i++) {
            ended_by(STRANGE(ways[w], "run", DEMO), signals[i], "run, standard input");
            ended_by(STRANGE(ways[w], "run", DEMO, "-f", fifo), signals[i], "run -f, a pipe without a writer");
            ended_by(STRANGE(ways[w], "run", DEMO, "--prompts", fifo), signals[i],
                     "run --prompts, a pipe without a writer");
            ended_by(STRANGE(ways[w], "chat", DEMO), signals[i], "chat, fed by a pipe");
        }
    unlink(fifo);
}

static void handed_on(void **state)
{
    static const char *const ways[] = {"--blocked", "--ignored"};
    char *want = ANSWER("run", DEMO, "-p", STORY, "--temperature", "0", "-n", "20");

    (void)state;
    for (size_t w = 0; w < 2; w++) {
        struct process p = STRANGE(ways[w], "run", DEMO, "-p", STORY, "--temperature", "0", "-n", "20");
        struct process_result r = process_finish(&p, NULL, 0, SECONDS);

        assert_int_equal(r.status, 0);
        assert_string_equal(r.out, want);
        process_result_free(&r);
        /* nobody reads: an error, and no run for ever */
        p = STRANGE(ways[w], "run", DEMO, "-p", STORY, "--temperature", "0", "-n", "100000", "--ignore-eos", "-c",
                    "512");
        close(p.out);
        p.out = open("/dev/null", O_RDONLY | O_CLOEXEC);
        r = process_finish(&p, NULL, 0, SECONDS);
        assert_int_equal(r.status, 1);
        process_result_free(&r);
    }
    free(want);
}

/* ---- descriptors that do not block ---- */

static void output_that_is_full(void **state)
{
    static char text[400000];
    struct process_result r, want;
    const char *const tokenize[] = {"tokenize", DEMO, NULL};
    struct process p;

    (void)state;
    for (size_t i = 0; i < sizeof text; i++) text[i] = "abc de\n"[i % 7];
    want = process_run("sluice", tokenize, text, sizeof text, SECONDS);
    assert_int_equal(want.status, 0);
    assert_true(want.out_bytes > 200000); /* more than a pipe holds */
    p = STRANGE("--nonblocking", "tokenize", DEMO);
    nap_ms(50);
    r = process_finish(&p, text, sizeof text, SECONDS);
    assert_int_equal(r.status, 0);
    assert_int_equal(r.out_bytes, want.out_bytes);
    assert_memory_equal(r.out, want.out, r.out_bytes);
    process_result_free(&r);
    process_result_free(&want);
}

/* Somebody who reads late gets all of the answer, and of the messages. */
static void a_late_reader(void **state)
{
    char *want = ANSWER("run", DEMO, "-p", STORY, "--temperature", "0", "--ignore-eos", "-c", "512", "--json");
    char *begin = strstr(want, "\"text\"");
    struct process p =
        STRANGE("--nonblocking", "run", DEMO, "-p", STORY, "--temperature", "0", "--ignore-eos", "-c", "512", "--json");
    struct process_result r;

    (void)state;
    fcntl(p.out, F_SETPIPE_SZ, 4096);
    nap_ms(600);
    r = process_finish(&p, NULL, 0, SECONDS);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "\"text\""));
    assert_memory_equal(strstr(r.out, "\"text\""), begin, 500);
    assert_int_equal(r.out[r.out_bytes - 2], '}');
    process_result_free(&r);
    free(want);
}

static void send_slowly(int fd, const char *text)
{
    for (const char *p = text; *p; p += 5) {
        size_t n = strnlen(p, 5);

        assert_int_equal(write(fd, p, n), n);
        nap_ms(15);
        if (n < 5) break;
    }
}

static void input_that_is_late(void **state)
{
    char *want = ANSWER("run", DEMO, "-p", STORY, "--temperature", "0", "-n", "20"), *both = NULL;
    char *chat = ANSWER("run", DEMO, "--chat", "-p", "Please tell me about Karl and the bell.", "--temperature", "0");
    struct process p = STRANGE("--nonblocking", "run", DEMO, "--temperature", "0", "-n", "20");
    struct process_result r;

    (void)state;
    nap_ms(300);
    send_slowly(p.in, STORY "\n");
    r = process_finish(&p, NULL, 0, SECONDS);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, want);
    process_result_free(&r);
    p = STRANGE("--nonblocking", "chat", DEMO, "--temperature", "0");
    nap_ms(300);
    send_slowly(p.in, "Please tell me about Karl and the bell.\n");
    r = process_finish(&p, NULL, 0, SECONDS);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, chat);
    process_result_free(&r);
    free(both);
    free(chat);
    free(want);
}

/* ---- newlines ---- */

/* What echo adds is not part of the prompt; whatever else is there is. */
static void one_newline(void **state)
{
    static const struct {
        const char *in, *same;
    } cases[] = {{STORY "\n", STORY},
                 {STORY "\r\n", STORY},
                 {STORY, STORY},
                 {STORY "\n\n", STORY "\n"},
                 {STORY " \n", STORY " "}};
    char file[TEMPORARY_BYTES + 16];

    (void)state;
    snprintf(file, sizeof file, "%s/file", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const piped[] = {"run", DEMO, "--temperature", "0", "-n", "12", "--json", NULL};
        const char *const from_file[] = {"run", DEMO, "-f", file, "--temperature", "0", "-n", "12", "--json", NULL};
        char *want = ANSWER("run", DEMO, "-p", cases[i].same, "--temperature", "0", "-n", "12", "--json");
        size_t n = strcspn(strstr(want, "\"prompt_tokens\""), ",");
        FILE *f = fopen(file, "w");

        fputs(cases[i].in, f);
        fclose(f);
        for (int k = 0; k < 2; k++) {
            struct process_result r = process_run("sluice", k ? from_file : piped, k ? NULL : cases[i].in,
                                                  k ? 0 : strlen(cases[i].in), SECONDS);

            assert_int_equal(r.status, 0);
            assert_memory_equal(strstr(r.out, "\"prompt_tokens\""), strstr(want, "\"prompt_tokens\""), n);
            process_result_free(&r);
        }
        free(want);
    }
    unlink(file);
}

/* ---- what is no file ---- */

static const char *in_folder(const char *name)
{
    static char path[TEMPORARY_BYTES + 64];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void make_socket(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
}

static void says(const char *words, const char *const *arg)
{
    struct process_result r = process_run("sluice", arg, NULL, 0, SECONDS);

    if (r.status != 1 || !strstr(r.err, words)) fail_msg("\"%s\" expected: status %d, %s", words, r.status, r.err);
    process_result_free(&r);
}

#define SAYS(words, ...) says(words, (const char *const[]){__VA_ARGS__, NULL})

static void named_by_a_person(void **state)
{
    char fifo[256], sock[256], *want = ANSWER("run", DEMO, "-p", STORY, "--temperature", "0", "-n", "20");
    const char *const args[] = {"run", DEMO, "-f", fifo, "--temperature", "0", "-n", "20", NULL};
    struct process_result r;
    struct process p;
    int fd;

    (void)state;
    snprintf(fifo, sizeof fifo, "%s", in_folder("fifo"));
    snprintf(sock, sizeof sock, "%s", in_folder("sock"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    make_socket(sock);
    SAYS("it is a socket", "run", DEMO, "-f", sock);
    SAYS("it is a folder", "run", DEMO, "-f", folder);
    SAYS("it is a socket", "template", DEMO, "-f", sock);
    SAYS("it is a socket", "run", DEMO, "--prompts", sock);
    SAYS("not a file but a socket", "trace", sock, "--svg", in_folder("x.svg"));
    SAYS("an empty file is no trace", "trace", fifo, "--svg", in_folder("x.svg"));
    SAYS("no manifest", "verify", DEMO, "--baseline", fifo);
    SAYS("not a file but a socket", "verify", DEMO, "--baseline", sock);
    /* a writer that comes late, and writes in two pieces */
    p = process_start("sluice", args);
    nap_ms(300);
    fd = open(fifo, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, STORY, 5), 5);
    nap_ms(100);
    assert_int_equal(write(fd, STORY + 5, strlen(STORY) - 5), strlen(STORY) - 5);
    close(fd);
    r = process_finish(&p, NULL, 0, SECONDS);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, want);
    process_result_free(&r);
    free(want);
    unlink(fifo);
    unlink(sock);
}

static void make_folder(const char *name)
{
    assert_int_equal(mkdir(in_folder(name), 0700), 0);
}

/* In the place of the program's own files: nothing waits for them, and nothing replaces them. */
static void in_place_of_own_files(void **state)
{
    static const char *const kinds[] = {"fifo", "socket", "folder", "null"};
    static const char *const places[] = {"cache/sluice/speeds.json", "state/sluice/history", ".editrc"};
    char path[256];
    struct stat before, after;

    (void)state;
    make_folder("cache");
    make_folder("cache/sluice");
    make_folder("state");
    make_folder("state/sluice");
    for (size_t k = 0; k < 4; k++) {
        struct terminal t;

        for (size_t i = 0; i < 3; i++) {
            snprintf(path, sizeof path, "%s", in_folder(places[i]));
            if (k == 0) assert_int_equal(mkfifo(path, 0600), 0);
            if (k == 1) make_socket(path);
            if (k == 2) assert_int_equal(mkdir(path, 0700), 0);
            if (k == 3) assert_int_equal(symlink("/dev/null", path), 0);
        }
        assert_int_equal(lstat(in_folder(places[0]), &before), 0);
        t = terminal_start("sluice", (const char *const[]){"chat", DEMO, "--temperature", "0", "-q", NULL},
                           (const char *const[]){state_home, cache_home, home, NULL});
        terminal_wait(&t, "> ");
        terminal_type(&t, "Please tell me about Karl and the bell.\n");
        terminal_wait(&t, "than any bell.");
        terminal_wait(&t, "\n> ");
        terminal_type(&t, "\004");
        if (terminal_end(&t)) fail_msg("a %s", kinds[k]);
        assert_int_equal(lstat(in_folder(places[0]), &after), 0);
        assert_int_equal(before.st_mode, after.st_mode);
        assert_int_equal(before.st_ino, after.st_ino);
        for (size_t i = 0; i < 3; i++) assert_int_equal(remove(in_folder(places[i])), 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_for_the_prompt), cmocka_unit_test(handed_on),
        cmocka_unit_test(output_that_is_full),    cmocka_unit_test(a_late_reader),
        cmocka_unit_test(input_that_is_late),     cmocka_unit_test(one_newline),
        cmocka_unit_test(named_by_a_person),      cmocka_unit_test(in_place_of_own_files),
    };

    if (argc > 2 && !strncmp(argv[1], "--", 2)) return be_strange(argv[1], argv + 2);
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* Strangers on the control socket: bytes that are no message, messages that were never sent, other users. */
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>
#include <cmocka.h>

#include "proto/control.h"
#include "tests/support_process.h"

#define DEMO     "tests/data/demo-model"
#define NOBODY   65534
#define GREETING 10 /* bytes that ZeroMQ says first */

/* splitmix64: the same numbers everywhere */
static uint64_t random64(void)
{
    static uint64_t state = 7;
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

/* ---- a stage whose coordinator is hostile ---- */

struct letter {
    uint8_t data[2048];
    size_t bytes;
};

/* Good messages of types that are not expected, broken ones, and noise. */
static void write_letter(struct letter *l, unsigned kind)
{
    static const struct sweep_position position = {1, 0, 0, 0, ROW_NONE, 0, 0};
    const struct control_message m[] = {
        {.type = CONTROL_SETUP, .setup = {0, 1, 2, -1, -1}},         /* not segments */
        {.type = CONTROL_SETUP, .setup = {900, 901, 902, 903, 904}}, /* not open */
        {.type = CONTROL_SETUP, .setup = {-1, -1, -1, -1, -1}},
        {.type = CONTROL_SWEEP, .sweep = {0, 0, 1, 1, &position}},
        {.type = CONTROL_DONE},
        {.type = CONTROL_HELLO, .hello = {77, 99, 1, "x"}},
        {.type = CONTROL_EXPORT, .export = {STAGE_COMPUTE, 3, 0, NULL}},
    };
    struct error e;
    void *data;

    l->bytes = random64() % sizeof l->data;
    for (size_t i = 0; i < l->bytes; i++) l->data[i] = (uint8_t)random64();
    if (kind % 2) return;
    assert_int_equal(control_encode(&m[kind / 2 % (sizeof m / sizeof *m)], &data, &l->bytes, &e), 0);
    assert_true(l->bytes <= sizeof l->data);
    memcpy(l->data, data, l->bytes);
    free(data);
}

/* Waits for its hello; what stages before it said last may come first. */
static void wait_for_hello(void *router, pid_t pid)
{
    zmq_pollitem_t item = {.socket = router, .events = ZMQ_POLLIN};
    struct control_scratch scratch = {0};
    struct control_message m = {0};
    struct error e;
    uint8_t data[2048];
    char who[32];
    int n;

    while (m.type != CONTROL_HELLO || m.hello.pid != (uint64_t)pid) {
        assert_int_equal(zmq_poll(&item, 1, 20000), 1);
        assert_true(zmq_recv(router, who, sizeof who, 0) > 0);
        n = zmq_recv(router, data, sizeof data, 0);
        assert_true(n > 0 && n <= (int)sizeof data);
        assert_int_equal(control_decode(&m, data, (size_t)n, &scratch, &e), 0);
    }
    free(scratch.data);
}

static void stage_meets(const char *program, const char *name, void *router, const char *address, unsigned kind)
{
    char parent[24];
    const char *arg[] = {"--control", address, "--parent", parent, NULL};
    struct process_result r;
    struct process p;
    struct letter l;

    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    p = process_start(program, arg);
    wait_for_hello(router, p.pid);
    write_letter(&l, kind);
    assert_true(zmq_send(router, name, strlen(name), ZMQ_SNDMORE) > 0);
    assert_true(zmq_send(router, l.data, l.bytes, 0) >= 0);
    r = process_finish(&p, NULL, 0, 20);
    if (r.status != 1) fail_msg("%s ended with status %d after letter %u: %s", program, r.status, kind, r.err);
    process_result_free(&r);
}

static void stages_refuse_what_is_no_setup(void **state)
{
    static const char *const program[STAGES] = {"sluice-reader", "sluice-transfer-cpu", "sluice-compute-cpu"};
    void *context = zmq_ctx_new(), *router = zmq_socket(context, ZMQ_ROUTER);
    char address[64];
    int one = 1;

    (void)state;
    snprintf(address, sizeof address, "ipc://@sluice-test-hostile-%ld", (long)getpid());
    zmq_setsockopt(router, ZMQ_ROUTER_HANDOVER, &one, sizeof one);
    assert_int_equal(zmq_bind(router, address), 0);
    for (int s = 0; s < STAGES; s++)
        for (unsigned kind = 0; kind < 16; kind++)
            stage_meets(program[s], stage_name((enum stage_id)s), router, address, kind);
    zmq_close(router);
    zmq_ctx_term(context);
}

/* ---- a run and strangers ---- */

/* The abstract address of a running coordinator, without its leading NUL; false while there is none. */
static bool find_address(pid_t pid, char *name, size_t room)
{
    char line[512], wanted[48];
    bool found = false;
    FILE *f = fopen("/proc/net/unix", "re");

    snprintf(wanted, sizeof wanted, "@sluice-%ld-", (long)pid);
    while (f && !found && fgets(line, sizeof line, f)) {
        char *at = strstr(line, wanted);

        if (!at) continue;
        at[strcspn(at, "\n")] = 0;
        snprintf(name, room, "%.100s", at + 1);
        found = true;
    }
    if (f) fclose(f);
    return found;
}

static int connect_to(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t n = strlen(name);

    memcpy(a.sun_path + 1, name, n);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n))) {
        close(fd);
        return -1;
    }
    return fd;
}

/* What the other end says within a while: bytes, 0 where it hangs up, -1 where it says nothing. */
static ssize_t first_words(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char text[64];

    return poll(&p, 1, 3000) == 1 ? read(fd, text, sizeof text) : -1;
}

static struct process start_run(char *name, size_t room)
{
    static const char *const arg[] = {"chat", DEMO, "--temperature", "0", "--max-tokens", "30", NULL};
    struct process p = process_start("sluice", arg);

    for (int i = 0; i < 1000 && !find_address(p.pid, name, room); i++) nap();
    assert_true(find_address(p.pid, name, room));
    return p;
}

static struct process_result answer(struct process *p)
{
    return process_finish(p, "Tell me about Karl.\n", 20, 30);
}

static void noise(const char *name)
{
    char bytes[4096];
    int fd = connect_to(name);

    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)random64();
    if (random64() % 2) memcpy(bytes, "\377\0\0\0\0\0\0\0\1\177\3\0NULL", 16); /* begins as ZeroMQ does */
    send(fd, bytes, 1 + random64() % sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

/* A peer that speaks ZeroMQ under a name that no stage has. */
static void stranger(const char *name)
{
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER);
    char address[160];
    struct letter l;
    int linger = 200;

    snprintf(address, sizeof address, "ipc://@%s", name);
    zmq_setsockopt(dealer, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(dealer, ZMQ_ROUTING_ID, "eve", 3);
    assert_int_equal(zmq_connect(dealer, address), 0);
    for (unsigned kind = 0; kind < 16; kind++) {
        write_letter(&l, kind);
        assert_true(zmq_send(dealer, l.data, l.bytes, random64() % 4 ? 0 : ZMQ_SNDMORE) >= 0);
    }
    zmq_send(dealer, "", 0, 0);
    zmq_close(dealer);
    zmq_ctx_term(context);
}

static void a_run_does_not_mind_strangers(void **state)
{
    struct process_result r, quiet;
    char name[128];
    struct process p = start_run(name, sizeof name);

    (void)state;
    quiet = answer(&p);
    assert_int_equal(quiet.status, 0);
    p = start_run(name, sizeof name);
    for (int i = 0; i < 50; i++) noise(name);
    stranger(name);
    assert_int_equal(write(p.in, "Tell me about Karl.\n", 20), 20);
    for (int i = 0; i < 50; i++) noise(name);
    stranger(name);
    r = process_finish(&p, NULL, 0, 30);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, quiet.out);
    process_result_free(&r);
    process_result_free(&quiet);
}

/* ---- another process of the same user, under a stage's name ---- */

struct impostor {
    void *context, *socket[STAGES];
};

static struct impostor take_names(const char *name)
{
    struct impostor x = {.context = zmq_ctx_new()};
    char address[160];
    int linger = 0;

    snprintf(address, sizeof address, "ipc://@%s", name);
    for (int s = 0; s < STAGES; s++) {
        const char *stage = stage_name((enum stage_id)s);

        x.socket[s] = zmq_socket(x.context, ZMQ_DEALER);
        zmq_setsockopt(x.socket[s], ZMQ_LINGER, &linger, sizeof linger);
        zmq_setsockopt(x.socket[s], ZMQ_ROUTING_ID, stage, strlen(stage));
        assert_int_equal(zmq_connect(x.socket[s], address), 0);
    }
    return x;
}

static void say(struct impostor *x, const struct control_message *m)
{
    struct error e;
    size_t bytes;
    void *data;

    assert_int_equal(control_encode(m, &data, &bytes, &e), 0);
    for (int s = 0; s < STAGES; s++) zmq_send(x->socket[s], data, bytes, ZMQ_DONTWAIT);
    free(data);
}

static void let_go(struct impostor *x)
{
    for (int s = 0; s < STAGES; s++) zmq_close(x->socket[s]);
    zmq_ctx_term(x->context);
}

/* Names belong to who has them: no word of an impostor is heard, and none that is meant for a stage goes to it. */
static void a_stage_keeps_its_name(void **state)
{
    const struct control_message error = {.type = CONTROL_ERROR, .error = {.code = 5, .text = "I am broken"}},
                                 done = {.type = CONTROL_DONE};
    struct process_result r, quiet;
    char name[128], byte;
    struct process p = start_run(name, sizeof name);
    struct impostor x;

    (void)state;
    quiet = answer(&p);
    p = start_run(name, sizeof name);
    assert_int_equal(write(p.in, "Tell me about Karl.\n", 20), 20);
    assert_int_equal(read(p.out, &byte, 1), 1); /* it answers: the stages are all there */
    x = take_names(name);
    for (int i = 0; i < 20; i++) {
        say(&x, &error);
        say(&x, &done);
        nap();
    }
    assert_int_equal(write(p.in, "Tell me about Karl.\n", 20), 20);
    r = process_finish(&p, NULL, 0, 30);
    for (int s = 0; s < STAGES; s++) assert_int_equal(zmq_recv(x.socket[s], &byte, 1, ZMQ_DONTWAIT), -1);
    let_go(&x);
    if (r.status || strstr(r.err, "broken")) fail_msg("status %d: %s", r.status, r.err);
    assert_true(r.out_bytes > 0 && !strncmp(r.out, quiet.out + 1, quiet.out_bytes - 1));
    process_result_free(&r);
    process_result_free(&quiet);
}

/* One that is there before the stages gets their names. The run is begun again under another address; whoever follows it
 * there ends it, with a word about who that is. */
static void names_that_were_taken_before(void **state)
{
    const struct control_message hello = {.type = CONTROL_HELLO,
                                          .hello = {CONTROL_VERSION, STAGE_READER, 1, SLUICE_VERSION}};
    static const char *const arg[] = {"run", DEMO, "-p", "Once", "--temperature", "0", "-n", "5", NULL};
    struct process p = process_start("sluice", arg);
    struct process_result r;
    char name[128] = "", last[128] = "";
    struct impostor x[8];
    size_t n = 0;

    (void)state;
    for (int i = 0; i < 3000 && n < 8; i++) { /* as soon as an address is seen */
        if (find_address(p.pid, name, sizeof name) && strcmp(name, last)) {
            x[n] = take_names(name);
            say(&x[n++], &hello);
            memcpy(last, name, sizeof last);
        }
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    r = process_finish(&p, NULL, 0, 30);
    while (n) let_go(&x[--n]);
    if (r.status != 0 && (r.status != 1 || !strstr(r.err, "which does not belong to this run")))
        fail_msg("status %d: %s", r.status, r.err);
    print_message("the impostor %s\n", r.status ? "came first each time" : "came late");
    process_result_free(&r);
}

/* In a process of another user: 0 where it was hung up on. */
static int as_nobody(const char *name)
{
    int fd;

    if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY)) return 77;
    fd = connect_to(name);
    return fd < 0 ? 0 : first_words(fd) <= 0 ? 0 : 1;
}

static void another_user_is_not_heard(void **state)
{
    char name[128];
    struct process p = start_run(name, sizeof name);
    struct process_result r;
    int status = 0, fd = connect_to(name);
    ssize_t own;
    pid_t child;

    (void)state;
    assert_true(fd >= 0);
    own = first_words(fd); /* the same user is greeted: so the silence towards others means something */
    close(fd);
    child = fork();
    if (!child) _exit(as_nobody(name));
    assert_int_equal(waitpid(child, &status, 0), child);
    r = answer(&p);
    assert_int_equal(r.status, 0);
    assert_true(r.out_bytes > 0);
    process_result_free(&r);
    assert_true(own >= GREETING);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("skipped: only root can try it as another user\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_refuse_what_is_no_setup), cmocka_unit_test(a_run_does_not_mind_strangers),
        cmocka_unit_test(a_stage_keeps_its_name),         cmocka_unit_test(names_that_were_taken_before),
        cmocka_unit_test(another_user_is_not_heard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

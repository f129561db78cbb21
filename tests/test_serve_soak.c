/* Endurance of the server: thousands of requests of all kinds, some refused, some of clients that leave. Memory, descriptors
 * and threads are in the end what they were after the first part.
 *
 *   test_serve_soak [REQUESTS]     without it a short form (make soak: 10000) */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_serve.h"
#include "tests/support_usage.h"
#include "tests/support_victims.h"

#define CLIENTS 4
#define PARTS   5 /* the first fills caches and heaps, the rest may not add to them */
/* What a process may grow by over the other parts: what an allocator's arenas leave lying. */
#ifdef __SANITIZE_ADDRESS__
#define ROOM_KIB 1e9
#else
#define ROOM_KIB 2048.0
#endif

static struct server server;
static unsigned requests = 400;
static atomic_uint next, end, wrong;

struct usage {
    double kib[1 + VICTIM_STAGES], fds[1 + VICTIM_STAGES], threads[1 + VICTIM_STAGES];
};

static void look(struct usage *u)
{
    for (int i = 0; i <= VICTIM_STAGES; i++) {
        pid_t pid = i ? victim_find(server.process.pid, i - 1) : server.process.pid;

        assert_true(pid > 0);
        u->kib[i] = usage_kib(pid);
        u->fds[i] = usage_descriptors(pid);
        u->threads[i] = usage_threads(pid);
    }
}

/* Request number n: what it asks, and what comes of it. */
static void ask(unsigned n)
{
    static const struct {
        const char *path, *body;
        int status;
    } kinds[] = {
        {"/v1/completions", "{\"prompt\":\"Once upon a time\",\"max_tokens\":4}", 200},
        {"/v1/completions", "{\"prompt\":[\"Karl\",\"The bell\"],\"max_tokens\":2,\"n\":2,\"stream\":true}", 200},
        {"/v1/completions", "{\"prompt\":\"Once\",\"max_tokens\":0,\"echo\":true,\"logprobs\":2}", 200},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"Tell me about Karl.\"}],\"max_tokens\":3,\"stream\":true}",
         200},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"Karl?\"}],\"max_tokens\":8,\"response_format\":{\"type\":"
         "\"json_object\"}}",
         200},
        {"/v1/messages", "{\"messages\":[{\"role\":\"user\",\"content\":\"Karl?\"}],\"max_tokens\":3}", 200},
        {"/v1/responses", "{\"input\":\"Karl?\",\"max_output_tokens\":3}", 200},
        {"/tokenize", "{\"content\":\"Once upon a time\"}", 200},
        {"/v1/chat/completions", "{\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}", 400},
        {"/v1/completions", "{\"prompt\":", 400},
        {"/v1/embeddings", "{\"input\":\"x\"}", 501},
    };
    char body[512];
    struct reply r;
    size_t k = n % (sizeof kinds / sizeof *kinds);

    /* a word of its own now and then, so that no cache of prefixes serves all */
    snprintf(body, sizeof body, "%s", kinds[k].body);
    if (k == 0) snprintf(body, sizeof body, "{\"prompt\":\"Number %u\",\"max_tokens\":4}", n);
    if (n % 7 == 3) {
        int fd = client_connect(&server);

        dprintf(fd, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%.*s", kinds[k].path,
                strlen(body), n % 14 == 3 ? (int)strlen(body) / 2 : (int)strlen(body), body);
        close(fd);
        return;
    }
    r = client_post(&server, kinds[k].path, body);
    if (r.status != kinds[k].status && !atomic_fetch_add(&wrong, 1))
        printf("%s: %d instead of %d: %.300s\n", kinds[k].path, r.status, kinds[k].status, r.body ? r.body : "");
    reply_free(&r);
}

static void *client(void *arg)
{
    (void)arg;
    for (unsigned n; (n = atomic_fetch_add(&next, 1)) < atomic_load(&end);) ask(n);
    return NULL;
}

/* Until those are forgotten whose clients have left. */
static void settle(void)
{
    for (int i = 0; i < 200; i++) {
        if (server_metric(&server, "sluice:num_requests_running ") == 0 &&
            server_metric(&server, "sluice:num_requests_waiting ") == 0 &&
            server_metric(&server, "sluice:connections ") <= 1)
            return;
        nap_ms(50);
    }
    fail_msg("requests or connections are left");
}

static void stays_as_it_is(void **state)
{
    static const char *const name[] = {"sluice", "reader", "transfer", "compute"};
    struct usage first, last;
    pthread_t thread[CLIENTS];

    (void)state;
    server = server_start((const char *const[]){"--parallel", "4", NULL});
    for (unsigned part = 1; part <= PARTS; part++) {
        atomic_store(&next, requests / PARTS * (part - 1));
        atomic_store(&end, requests / PARTS * part);
        for (int i = 0; i < CLIENTS; i++) assert_int_equal(pthread_create(&thread[i], NULL, client, NULL), 0);
        for (int i = 0; i < CLIENTS; i++) pthread_join(thread[i], NULL);
        settle();
        look(part == 1 ? &first : &last);
    }
    for (int i = 0; i <= VICTIM_STAGES; i++) {
        printf("%-9s memory %.0f to %.0f KiB, descriptors %.0f to %.0f, threads %.0f to %.0f\n", name[i], first.kib[i],
               last.kib[i], first.fds[i], last.fds[i], first.threads[i], last.threads[i]);
        assert_true(last.kib[i] <= first.kib[i] + ROOM_KIB);
        assert_true(last.fds[i] <= first.fds[i] + 1);
        assert_true(last.threads[i] <= first.threads[i] + 1); /* of a connection that is closing */
    }
    assert_int_equal(atomic_load(&wrong), 0);
    assert_int_equal(server_stop(&server, SIGTERM), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stays_as_it_is)};

    if (argc > 1) requests = (unsigned)atoi(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

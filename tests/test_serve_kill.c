/* Stages are killed while many clients are served, some of which leave: every answer that comes to its end is right.
 *
 *   test_serve_kill [kills [seed]]     12 kills where nothing is said */
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
#include "tests/support_victims.h"

#define CLIENTS 10
#define SEEDS   8

static struct server server;
static char *want[SEEDS];
static atomic_bool over;
static atomic_int answered, wrong, failed;
static int kills = 12;
static unsigned seed = 1;

static unsigned chance(unsigned *state, unsigned n)
{
    *state = *state * 1103515245u + 12345u;
    return (*state >> 16) % n;
}

static void body_of(char *out, unsigned number, bool stream)
{
    sprintf(out,
            "{\"prompt\":\"Once upon a time\",\"max_tokens\":120,\"temperature\":1,\"ignore_eos\":true,\"seed\":%u,"
            "\"stream\":%s}",
            number, stream ? "true" : "false");
}

static char *whole_text(const struct reply *r)
{
    json_t *o = r->status == 200 ? json_loadb(r->body, r->bytes, 0, NULL) : NULL;
    const char *s = json_string_value(json_object_get(json_array_get(json_object_get(o, "choices"), 0), "text"));
    char *text = s ? strdup(s) : NULL;

    json_decref(o);
    return text;
}

/* Asks, again and again; every fourth time it leaves in the middle. */
static void *client(void *arg)
{
    unsigned state = (unsigned)(uintptr_t)arg * 7919u + seed;

    while (!atomic_load(&over)) {
        unsigned number = chance(&state, SEEDS);
        bool stream = chance(&state, 2);
        const char *finish;
        struct reply r;
        char body[256], *text;

        body_of(body, number, stream);
        if (!chance(&state, 4)) {
            int fd = client_connect(&server);

            dprintf(fd, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                    strlen(body), body);
            nap_ms((int)chance(&state, 60));
            close(fd);
            continue;
        }
        r = client_post(&server, "/v1/completions", body);
        text = !stream                                                         ? whole_text(&r)
               : r.status == 200 && strstr(r.body, "data: [DONE]\n\n") != NULL ? stream_text(&r, 0, &finish)
                                                                               : NULL;
        if (!text) atomic_fetch_add(&failed, 1);
        if (text) atomic_fetch_add(strcmp(text, want[number]) ? &wrong : &answered, 1);
        free(text);
        reply_free(&r);
    }
    return NULL;
}

static void survivors_are_right(void **state)
{
    pthread_t thread[CLIENTS];
    unsigned turn = seed;
    int killed = 0;
    struct reply r;

    (void)state;
    atomic_store(&over, false);
    server = server_start((const char *const[]){"--parallel", "6", NULL});
    for (unsigned i = 0; i < SEEDS; i++) {
        char body[256];

        body_of(body, i, false);
        r = client_post(&server, "/v1/completions", body);
        assert_non_null(want[i] = whole_text(&r));
        reply_free(&r);
    }
    for (uintptr_t i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, client, (void *)(i + 1)), 0);
    for (int i = 0; i < kills; i++) {
        int had;
        pid_t pid;

        nap_ms((int)chance(&turn, 200));
        pid = victim_find(server.process.pid, (int)chance(&turn, VICTIM_STAGES));
        had = atomic_load(&answered);
        killed += pid > 0 && !kill(pid, SIGKILL);
        for (int k = 0; k < 1000 && atomic_load(&answered) == had; k++) nap_ms(20); /* answers go on */
        if (atomic_load(&answered) == had) fail_msg("kill %d: no answer for 20 s", i);
    }
    atomic_store(&over, true);
    for (int i = 0; i < CLIENTS; i++) pthread_join(thread[i], NULL);
    printf("%d kills, %d answers right, %d wrong, %d failed\n", killed, atomic_load(&answered), atomic_load(&wrong),
           atomic_load(&failed));
    assert_int_equal(atomic_load(&wrong), 0);
    assert_true(atomic_load(&answered) >= kills);
    assert_true(atomic_load(&failed) * 20 <= atomic_load(&answered)); /* three deaths without a token end an answer */
    assert_int_equal(server_stop(&server, SIGTERM), 0);
    for (int i = 0; i < SEEDS; i++) free(want[i]);
}

/* Kills whatever stages there are until it is told to stop. */
static void *murderer(void *arg)
{
    const struct server *s = arg;

    for (int i = 0; !atomic_load(&over); i++) {
        pid_t pid = victim_find(s->process.pid, i % VICTIM_STAGES);

        if (pid > 0) kill(pid, SIGKILL);
        nap_ms(2);
    }
    return NULL;
}

/* An answer is given up where its stages die again and again; those to come are answered. */
static void a_given_up_answer_is_not_the_last(void **state)
{
    struct server s = server_start(NULL);
    char body[256], *text, *again;
    int status = 200;
    pthread_t thread;
    struct reply r;

    (void)state;
    body_of(body, 1, false);
    r = client_post(&s, "/v1/completions", body);
    assert_non_null(text = whole_text(&r));
    reply_free(&r);
    for (int round = 0; round < 2; round++) {
        atomic_store(&over, false);
        assert_int_equal(pthread_create(&thread, NULL, murderer, &s), 0);
        do {
            r = client_post(&s, "/v1/completions", body);
            status = r.status;
            if (status != 200) assert_non_null(strstr(r.body, "gave up after 3 failures"));
            reply_free(&r);
        } while (status == 200);
        assert_int_equal(status, 500);
        atomic_store(&over, true);
        pthread_join(thread, NULL);
        r = client_post(&s, "/v1/completions", body);
        assert_non_null(again = whole_text(&r));
        assert_string_equal(again, text);
        free(again);
        reply_free(&r);
    }
    free(text);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_given_up_answer_is_not_the_last),
                                       cmocka_unit_test(survivors_are_right)};

    if (argc > 1) kills = atoi(argv[1]);
    if (argc > 2) seed = (unsigned)atoi(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

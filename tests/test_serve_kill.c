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
    struct reply r;

    (void)state;
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
        pid_t pid = victim_find(server.process.pid, (int)chance(&turn, VICTIM_STAGES));

        if (pid > 0) kill(pid, SIGKILL);
        nap_ms(250 + (int)chance(&turn, 200));
    }
    atomic_store(&over, true);
    for (int i = 0; i < CLIENTS; i++) pthread_join(thread[i], NULL);
    printf("%d answers right, %d wrong, %d failed\n", atomic_load(&answered), atomic_load(&wrong),
           atomic_load(&failed));
    assert_int_equal(atomic_load(&wrong), 0);
    assert_true(atomic_load(&answered) > kills);
    assert_true(atomic_load(&failed) * 20 <= atomic_load(&answered)); /* three deaths without a token end an answer */
    assert_int_equal(server_stop(&server, SIGTERM), 0);
    for (int i = 0; i < SEEDS; i++) free(want[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(survivors_are_right)};

    if (argc > 1) kills = atoi(argv[1]);
    if (argc > 2) seed = (unsigned)atoi(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Memory for requests: its shares, its account, and a server that keeps to it whatever it is sent. */
#include <malloc.h>
#include <pthread.h>
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

#include "coordinator/serve/body.h"
#include "coordinator/serve/room.h"
#include "tests/support_serve.h"
#include "tests/support_usage.h"
#include "tests/support_victims.h"

/* ---- shares ---- */

static void shares_are_no_more_than_the_whole(void **state)
{
    struct room_share last = {0};

    (void)state;
    for (uint64_t bytes = ROOM_LEAST; bytes <= ROOM_MOST; bytes += 123457) {
        struct room_share s = room_share(bytes);
        uint64_t all = (s.connections + ROOM_SPARE) * ROOM_CONNECTION_BYTES + s.account + s.answers;

        assert_true(all <= bytes);
        assert_true(s.connections >= 24 && s.connections <= 512);
        assert_true(s.account >= (4u << 20) && s.answers >= (512u << 10) && s.answers <= (8u << 20));
        assert_true(s.connections >= last.connections);
        last = s;
    }
    assert_int_equal(room_share(ROOM_MOST).connections, 512);
}

/* ---- the account ---- */

struct kept { /* that can be given back, piece by piece */
    struct room *room;
    int pieces;
};

static bool give_one(void *arg)
{
    struct kept *k = arg;

    if (!k->pieces) return false;
    k->pieces--;
    room_give(k->room, 10);
    return true;
}

static void what_is_taken_stays_within(void **state)
{
    struct kept k = {0};
    struct room *r = room_open(100, give_one, &k);
    size_t held = 0;

    (void)state;
    k.room = r;
    assert_true(room_take(r, 60, 0));
    assert_false(room_take(r, 41, 0));
    assert_true(room_hold(r, &held, 40));
    assert_false(room_hold(r, &held, 41));
    assert_int_equal(held, 40);
    assert_true(room_hold(r, &held, 20));
    assert_int_equal(room_used(r), 80);
    k.pieces = 3; /* of the first 60 */
    assert_true(room_take(r, 45, 0));
    assert_int_equal(k.pieces, 0);
    assert_int_equal(room_used(r), 95);
    assert_false(room_take(r, 101, 60000)); /* never: nobody waits for it */
    assert_true(room_hold(r, &held, 0));
    assert_int_equal(room_used(r), 75);
    room_give(r, 75);
    room_close(r);
    assert_true(room_take(NULL, SIZE_MAX, 0)); /* one without an end */
    assert_true(room_most(NULL) == SIZE_MAX);
}

static void *give_later(void *arg)
{
    nap_ms(50);
    room_give(arg, 100);
    return NULL;
}

static void who_waits_is_woken(void **state)
{
    struct room *r = room_open(100, NULL, NULL);
    pthread_t thread;

    (void)state;
    assert_true(room_take(r, 100, 0));
    assert_false(room_take(r, 1, 10));
    assert_int_equal(pthread_create(&thread, NULL, give_later, r), 0);
    assert_true(room_take(r, 100, 20000));
    pthread_join(thread, NULL);
    room_give(r, 100);
    room_close(r);
}

/* ---- what a body may come to ---- */

static size_t now, peak;

static void *counted(size_t bytes)
{
    void *p = malloc(bytes);

    if (p) now += malloc_usable_size(p) + 8;
    if (now > peak) peak = now;
    return p;
}

static void uncounted(void *p)
{
    if (p) now -= malloc_usable_size(p) + 8;
    free(p);
}

static size_t cost_of(const char *text, size_t bytes)
{
    struct fault f = {0};
    json_t *body = NULL;

    now = peak = 0;
    json_set_alloc_funcs(counted, uncounted);
    if (!body_read(&body, text, bytes, &f)) json_decref(body);
    json_set_alloc_funcs(malloc, free);
    return peak;
}

/* The same piece many times, in a list or an object; %d is its number. */
static char *many(const char *piece, unsigned n, bool object)
{
    char *text = malloc(64 + n * (strlen(piece) + 12)), *to = text;

    to += sprintf(to, object ? "{\"a\":{" : "{\"a\":[");
    for (unsigned i = 0; i < n; i++) {
        if (i) *to++ = ',';
        to += sprintf(to, piece, i);
    }
    sprintf(to, object ? "}}" : "]}");
    return text;
}

static void weights_are_bounds(void **state)
{
    static const char *const pieces[] = {"{}",
                                         "[]",
                                         "\"\"",
                                         "1",
                                         "1.5",
                                         "null",
                                         "true",
                                         "[[[[[[[[]]]]]]]]",
                                         "[1]",
                                         "%d",
                                         "\"%d\"",
                                         "{\"\":{}}",
                                         "{\"a\":\"b\"}",
                                         "[\"\",{}]",
                                         "-1",
                                         "1e999",
                                         "NaN",
                                         "-Infinity",
                                         "123456789012345678901",
                                         "12345678901234567",
                                         " 1",
                                         "\"\\u00e9\"",
                                         "{\"a\":1,\"b\":[2,3],\"c\":{\"d\":null}}"};
    static const char *const members[] = {"\"%d\":{}",   "\"%d\":[]",
                                          "\"%d\":\"\"", "\"%d\":1",
                                          "\"%d\":null", "\"a long name of a member %d\":\"and its text\""};

    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces + sizeof members / sizeof *members; i++)
        for (unsigned n = 1; n < 100000; n = n * 3 + 1) {
            bool object = i >= sizeof pieces / sizeof *pieces;
            char *text = many(object ? members[i - sizeof pieces / sizeof *pieces] : pieces[i], n, object);
            size_t bytes = strlen(text), cost = cost_of(text, bytes);

            if (cost > body_weight(text, bytes) + 1024)
                fail_msg("%.60s: %u times take %zu, and %zu is the bound", text, n, cost, body_weight(text, bytes));
            free(text);
        }
}

/* ---- a server ---- */

#define CLIENTS 16

static struct server server;

static void ask(char *body, const char *path)
{
    struct reply r = client_ask(&server, "POST", path, "", body, strlen(body));

    if (r.status != 200 && (r.status < 400 || r.status > 503)) fail_msg("%d: %s", r.status, r.body);
    reply_free(&r);
    free(body);
}

static char *chat_of(size_t bytes)
{
    char *text = malloc(bytes + 128), *to = text;

    to += sprintf(to, "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (size_t i = 0; i < bytes; i++) *to++ = "the bell rang, "[i % 15];
    strcpy(to, "\"}]}");
    return text;
}

static void *flood(void *arg)
{
    for (int i = 0; i < 3; i++) {
        ask(chat_of(60000 << ((uintptr_t)arg % 5)), "/v1/chat/completions");
        ask(many("{}", 20000u << ((uintptr_t)arg % 5), false), "/v1/completions");
        ask(chat_of(30000), "/v1/chat/completions/input_tokens");
        ask(many("%d", 100000, false), "/detokenize");
    }
    return NULL;
}

/* The budget that a refusal names, in MB. */
static unsigned named(const char *budget)
{
    static const char says[] = "the smallest that would do is ";
    struct process_result r =
        process_run("sluice", (const char *const[]){"serve", SERVE_DEMO, "--port", "0", "--host-memory", budget, NULL},
                    NULL, 0, 20);
    const char *at = strstr(r.err, says);
    unsigned n = at ? (unsigned)atoi(at + sizeof says - 1) : 0;

    if (r.status != 1 || !n) fail_msg("%s: %d: %s", budget, r.status, r.err);
    process_result_free(&r);
    return n;
}

static void the_budget_that_is_named_does(void **state)
{
    unsigned n = named("1M"), m;
    char text[16];
    struct reply r;

    (void)state;
    assert_true(n * 1000000ull > ROOM_LEAST);
    snprintf(text, sizeof text, "%uM", n * 3 / 4);
    m = named(text);
    assert_true(m >= n - 2 && m <= n + 2);
    snprintf(text, sizeof text, "%uM", n + 1);
    server = server_start((const char *const[]){"--host-memory", text, NULL});
    r = client_post(&server, "/v1/completions", "{\"prompt\":\"Once\",\"max_tokens\":2}");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    assert_int_equal(server_stop(&server, SIGTERM), 0);
}

static double used(void)
{
    struct reply r = client_get(&server, "/props");
    json_t *o = reply_json(&r);
    double bytes = json_number_value(json_object_get(o, "request_bytes_used"));

    json_decref(o);
    reply_free(&r);
    return bytes;
}

static void a_server_keeps_to_its_room(void **state)
{
    pthread_t thread[CLIENTS];
    struct reply r;
    json_t *o;
    double room, first, last;

    (void)state;
    server = server_start((const char *const[]){"--host-memory", "300M", NULL});
    r = client_get(&server, "/props");
    o = reply_json(&r);
    room = json_number_value(json_object_get(o, "request_bytes")) / 1024;
    assert_true(room > 4000 && room < 16384);
    assert_true(json_integer_value(json_object_get(o, "connections")) >= 24);
    json_decref(o);
    reply_free(&r);
    first = usage_kib(server.process.pid);
    for (uintptr_t i = 0; i < CLIENTS; i++) assert_int_equal(pthread_create(&thread[i], NULL, flood, (void *)i), 0);
    for (int i = 0; i < CLIENTS; i++) pthread_join(thread[i], NULL);
    last = usage_peak_kib(server.process.pid);
    printf("room %.0f KiB, memory %.0f to %.0f KiB at most\n", room, first, last);
#ifndef __SANITIZE_ADDRESS__
    assert_true(last <= first + 16384);
#endif
    for (int i = 0; i < 200 && used() > 65536; i++) nap_ms(50); /* threads of connections may still be ending */
    assert_true(used() <= 65536);
    r = client_post(&server, "/v1/completions", "{\"prompt\":\"Once\",\"max_tokens\":2}");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    assert_int_equal(server_stop(&server, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_no_more_than_the_whole),
        cmocka_unit_test(what_is_taken_stays_within),
        cmocka_unit_test(who_waits_is_woken),
        cmocka_unit_test(weights_are_bounds),
        cmocka_unit_test(the_budget_that_is_named_does),
        cmocka_unit_test(a_server_keeps_to_its_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Prompts that begin as others did: their rows are shared, and the texts are what they would be without. */
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

#include "tests/support_serve.h"
#include "tests/support_victims.h"

struct answer {
    char *text;
    json_int_t cached, prompt;
};

/* A prompt of n made-up tokens of this kind, then one more. */
static struct answer ask(const struct server *s, int kind, int n, int last, const char *more)
{
    char *body = malloc(16384);
    struct answer a;
    struct reply r;
    json_t *o, *u;

    strcpy(body, "{\"prompt\":[0");
    for (int i = 1; i < n; i++) sprintf(body + strlen(body), ",%d", 10 + (i * 7 + kind * 131 + i * i % 13) % 700);
    sprintf(body + strlen(body), ",%d],\"max_tokens\":24,\"temperature\":1,\"seed\":5,\"ignore_eos\":true%s}", last,
            more);
    r = client_post(s, "/v1/completions", body);
    if (r.status != 200) fail_msg("%d: %s", r.status, r.body);
    o = reply_json(&r);
    u = json_object_get(o, "usage");
    a.cached = json_integer_value(json_object_get(json_object_get(u, "prompt_tokens_details"), "cached_tokens"));
    a.prompt = json_integer_value(json_object_get(u, "prompt_tokens"));
    a.text = json_dumps(json_object_get(o, "choices"), JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);
    reply_free(&r);
    free(body);
    return a;
}

/* The same on a server that has answered nothing before. */
static void expect(const struct answer *got, const char *const *args, int kind, int n, int last, const char *more)
{
    struct server cold = server_start(args);
    struct answer want = ask(&cold, kind, n, last, more);

    assert_int_equal(want.cached, 0);
    assert_string_equal(got->text, want.text);
    free(want.text);
    assert_int_equal(server_stop(&cold, SIGTERM), 0);
}

static void what_is_kept_is_not_computed_again(void **state)
{
    static const char *const plain[] = {"--speculate", "off", NULL}; /* guesses are positions too */
    struct server s = server_start(plain);
    struct answer a = ask(&s, 1, 200, 33, ""), b;
    double had = server_metric(&s, "sluice:sweep_positions_total ");

    (void)state;
    assert_int_equal(a.prompt, 201);
    assert_int_equal(a.cached, 0);
    b = ask(&s, 1, 200, 44, "");
    assert_int_equal(b.cached, 200);
    assert_true(server_metric(&s, "sluice:sweep_positions_total ") - had <= 1 + 24);
    expect(&b, NULL, 1, 200, 44, "");
    free(b.text);
    b = ask(&s, 1, 200, 33, ""); /* the same: its last token is computed again */
    assert_int_equal(b.cached, 200);
    assert_string_equal(a.text, b.text);
    free(b.text);
    b = ask(&s, 1, 90, 44, ""); /* shorter */
    assert_int_equal(b.cached, 90);
    expect(&b, NULL, 1, 90, 44, "");
    free(b.text);
    b = ask(&s, 2, 90, 44, ""); /* another */
    assert_int_equal(b.cached, 0);
    free(b.text);
    /* a prompt that is scored wants all its rows */
    b = ask(&s, 1, 90, 44, ",\"echo\":true,\"logprobs\":1");
    assert_int_equal(b.cached, 0);
    expect(&b, NULL, 1, 90, 44, ",\"echo\":true,\"logprobs\":1");
    free(b.text);
    free(a.text);
    assert_true(server_metric(&s, "sluice:prefix_cache_hits_total ") == 490);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

static void a_lost_cache_is_noticed(void **state)
{
    struct server s = server_start(NULL);
    struct answer a = ask(&s, 3, 150, 7, ""), b;

    (void)state;
    kill(victim_find(s.process.pid, 2), SIGKILL);
    b = ask(&s, 3, 150, 7, "");
    assert_string_equal(a.text, b.text);
    free(b.text);
    b = ask(&s, 3, 150, 7, "");
    assert_string_equal(a.text, b.text);
    assert_int_equal(b.cached, 150);
    free(a.text);
    free(b.text);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

/* Room for two sequences: what is kept gives way, and no request fails. */
static void room_is_given_back(void **state)
{
    static const char *const args[] = {"--context", "256", "--parallel", "2", NULL};
    struct server s = server_start(args);
    struct answer a, b;

    (void)state;
    for (int i = 0; i < 40; i++) {
        a = ask(&s, i % 5, 150 + i, 9, i % 3 ? "" : ",\"n\":3");
        free(a.text);
    }
    a = ask(&s, 3, 210, 9, ",\"n\":4");
    b = ask(&s, 3, 210, 9, ",\"n\":4");
    assert_string_equal(a.text, b.text);
    expect(&a, args, 3, 210, 9, ",\"n\":4");
    free(a.text);
    free(b.text);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

static void choices_read_a_prompt_once(void **state)
{
    static const char *const plain[] = {"--speculate", "off", NULL}; /* guesses are positions too */
    struct server s = server_start(plain);
    struct answer a = ask(&s, 6, 400, 9, ",\"n\":8");
    double computed = server_metric(&s, "sluice:sweep_positions_total ");

    (void)state;
    assert_true(computed <= 401 + 8 * 30);
    assert_true(server_metric(&s, "sluice:generation_tokens_total ") == 8 * 24);
    free(a.text);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_is_not_computed_again),
        cmocka_unit_test(a_lost_cache_is_noticed),
        cmocka_unit_test(room_is_given_back),
        cmocka_unit_test(choices_read_a_prompt_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

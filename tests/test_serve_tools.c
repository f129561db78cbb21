/* Tools: calls that a request forces are valid, told in the shapes of the API, and refused by name where they cannot be. */
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

#include "tests/support_model.h"
#include "tests/support_serve.h"

#define TOOLS                                                                                                          \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"description\":\"x\",\"parameters\":{"  \
    "\"type\":\"object\",\"properties\":{\"city\":{\"enum\":[\"Oslo\",\"Rome\"]},\"days\":{\"type\":\"integer\","      \
    "\"minimum\":1,\"maximum\":9}},\"required\":[\"city\",\"days\"]}}},{\"type\":\"function\",\"function\":{"          \
    "\"name\":\"now\"}}]"
#define QUESTION "\"messages\":[{\"role\":\"user\",\"content\":\"Please tell me about Karl and the bell.\"}]"

static struct server server;
static char *folder;

/* The demo model with a template that has tools as Hermes has them. */
static int open_server(void **state)
{
    static const char text[] =
        "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"bos_token\":\"<|begin_of_text|>\",\"eos_token\":\"<|end|>"
        "\","
        "\"chat_template\":\"{{ bos_token }}{% if tools %}<|user|>\\n{% for t in tools %}{{ t | tojson }}{% endfor %}"
        "<tool_call>\\n{\\\"name\\\": n, \\\"arguments\\\": a}\\n</tool_call><|end|>\\n{% endif %}{% for m in messages "
        "%}"
        "{{ '<|' + m['role'] + '|>\\n' + (m['content'] or '') | trim }}{% for c in m.tool_calls or [] %}<tool_call>"
        "{{ c.function.arguments.city }}</tool_call>{% endfor %}{{ '<|end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}\"}";

    (void)state;
    folder = server_model(text);
    server = server_start_model(folder, NULL);
    return 0;
}

static int close_server(void **state)
{
    int status = server_stop(&server, SIGTERM);

    (void)state;
    scratch_remove(folder);
    return status;
}

static json_t *post(const struct server *s, const char *body, int status)
{
    struct reply r = client_post(s, "/v1/chat/completions", body);
    json_t *o;

    if (r.status != status) fail_msg("%d instead of %d for %s: %s", r.status, status, body, r.body);
    o = reply_json(&r);
    reply_free(&r);
    return o;
}

static const char *string_at(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static void check_call(const json_t *call, const char *name)
{
    json_t *function = json_object_get(call, "function"), *a;
    const char *city;

    assert_string_equal(string_at(call, "type"), "function");
    assert_int_equal(strncmp(string_at(call, "id"), "call_", 5), 0);
    if (name) assert_string_equal(string_at(function, "name"), name);
    a = json_loads(string_at(function, "arguments"), 0, NULL);
    assert_true(json_is_object(a));
    if (!strcmp(string_at(function, "name"), "get_weather")) {
        city = string_at(a, "city");
        assert_true(!strcmp(city, "Oslo") || !strcmp(city, "Rome"));
        assert_true(json_integer_value(json_object_get(a, "days")) >= 1);
    }
    json_decref(a);
}

static void forced_calls_are_valid(void **state)
{
    static const char *const choices[] = {"\"required\"",
                                          "{\"type\":\"function\",\"function\":{\"name\":\"get_weather\"}}",
                                          "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}"};

    (void)state;
    for (size_t i = 0; i < 9; i++) {
        char body[2048];
        json_t *o, *c, *m, *calls;

        snprintf(body, sizeof body,
                 "{" QUESTION "," TOOLS ",\"tool_choice\":%s,\"seed\":%zu,\"temperature\":1,\"max_tokens\":900,"
                 "\"parallel_tool_calls\":false}",
                 choices[i % 3], i);
        o = post(&server, body, 200);
        c = json_array_get(json_object_get(o, "choices"), 0);
        m = json_object_get(c, "message");
        calls = json_object_get(m, "tool_calls");
        assert_string_equal(string_at(c, "finish_reason"), "tool_calls");
        assert_int_equal(json_array_size(calls), 1);
        assert_true(json_is_null(json_object_get(m, "content")));
        check_call(json_array_get(calls, 0), i % 3 == 1 ? "get_weather" : i % 3 == 2 ? "now" : NULL);
        json_decref(o);
    }
}

static void streams_tell_calls(void **state)
{
    struct reply r =
        client_post(&server, "/v1/chat/completions",
                    "{" QUESTION "," TOOLS ",\"stream\":true,\"seed\":1,\"max_tokens\":900,\"tool_choice\":"
                    "{\"type\":\"function\",\"function\":{\"name\":\"get_weather\"}}}");
    const char *finish;
    char *text, *at, *end;
    json_t *o, *delta;

    (void)state;
    assert_int_equal(r.status, 200);
    text = stream_text(&r, 0, &finish);
    assert_string_equal(text, "");
    assert_string_equal(finish, "tool_calls");
    assert_non_null(at = strstr(r.body, "\"tool_calls\":[{\"index\":0,"));
    while (strncmp(at, "data: ", 6)) at--;
    end = strstr(at, "\n\n");
    o = json_loadb(at + 6, (size_t)(end - at - 6), 0, NULL);
    delta = json_object_get(json_array_get(json_object_get(o, "choices"), 0), "delta");
    check_call(json_array_get(json_object_get(delta, "tool_calls"), 0), "get_weather");
    json_decref(o);
    free(text);
    reply_free(&r);
}

static void conversations_with_calls_go_on(void **state)
{
    json_t *o = post(&server,
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":null,"
                     "\"tool_calls\":[{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
                     "\"arguments\":\"{\\\"city\\\":\\\"Oslo\\\",\\\"days\\\":1}\"}}]},{\"role\":\"tool\","
                     "\"tool_call_id\":\"call_1\",\"content\":\"rain\"}]," TOOLS ",\"max_tokens\":4}",
                     200);

    (void)state;
    json_decref(o);
}

static void what_cannot_be_called_is_refused(void **state)
{
    static const struct {
        const char *more, *param;
    } cases[] = {
        {"\"tools\":{}", "tools"},
        {"\"tools\":[1]", "tools"},
        {"\"tools\":[{\"type\":\"web_search\"}]", "tools"},
        {"\"tools\":[{\"type\":\"function\",\"function\":{}}]", "tools"},
        {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"not\":{}}}}],\"tool_"
         "choice\":"
         "\"required\"",
         "tools"},
        {"\"tool_choice\":\"required\"", "tool_choice"},
        {TOOLS ",\"tool_choice\":\"maybe\"", "tool_choice"},
        {TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"nobody\"}}", "tools"},
        {TOOLS ",\"response_format\":{\"type\":\"json_object\"}", "response_format"},
    };
    struct server plain;
    json_t *o;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[2048];

        snprintf(body, sizeof body, "{" QUESTION ",%s}", cases[i].more);
        o = post(&server, body, 400);
        if (strcmp(string_at(json_object_get(o, "error"), "param"), cases[i].param))
            fail_msg("%s: %s", body, string_at(json_object_get(o, "error"), "param"));
        json_decref(o);
    }
    json_decref(post(&server, "{" QUESTION "," TOOLS ",\"tool_choice\":\"none\",\"max_tokens\":3}", 200));
    json_decref(post(&server, "{" QUESTION "," TOOLS ",\"tool_choice\":\"auto\",\"max_tokens\":3}", 200));
    plain = server_start(NULL); /* a template without tools */
    o = post(&plain, "{" QUESTION "," TOOLS "}", 400);
    assert_string_equal(string_at(json_object_get(o, "error"), "param"), "tools");
    json_decref(o);
    assert_int_equal(server_stop(&plain, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forced_calls_are_valid),
        cmocka_unit_test(streams_tell_calls),
        cmocka_unit_test(conversations_with_calls_go_on),
        cmocka_unit_test(what_cannot_be_called_is_refused),
    };

    return cmocka_run_group_tests(tests, open_server, close_server);
}

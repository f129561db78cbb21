/* The other ways to ask: Anthropic's /v1/messages and OpenAI's /v1/responses say what a chat says, in their own words. */
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

#define QUESTION "Please tell me about Karl and the bell."
#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"" QUESTION "\"}]"

static struct server server;

static int open_server(void **state)
{
    (void)state;
    server = server_start(NULL);
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    return server_stop(&server, SIGTERM);
}

static json_t *post(const char *path, const char *body, int status)
{
    return client_post_json(&server, path, body, status);
}

static const char *string_at(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static json_int_t number_at(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

/* What the chat says. */
static char *chat_text(void)
{
    json_t *o = post("/v1/chat/completions", "{" MESSAGES ",\"temperature\":0,\"max_tokens\":40}", 200);
    json_t *m = json_object_get(json_array_get(json_object_get(o, "choices"), 0), "message");
    char *text = strdup(string_at(m, "content"));

    json_decref(o);
    return text;
}

/* The events of a stream: their names, separated by spaces, those that follow each other once; the texts of their deltas. */
static void read_events(const struct reply *r, const char *delta, char *names, char *text, bool numbered)
{
    int number = 0;
    json_t *o = NULL;

    *names = *text = 0;
    for (const char *at = r->body, *end; *at; at = end + 2) {
        const char *data, *piece;
        char name[64];

        assert_non_null(end = strstr(at, "\n\n"));
        assert_int_equal(sscanf(at, "event: %63s", name), 1);
        data = strstr(at, "\ndata: ") + 7;
        assert_non_null(o = json_loadb(data, (size_t)(end - data), 0, NULL));
        assert_string_equal(string_at(o, "type"), name);
        if (numbered) assert_int_equal(number_at(o, "sequence_number"), number++);
        if (strlen(names) < strlen(name) || strcmp(names + strlen(names) - strlen(name), name))
            sprintf(names + strlen(names), " %s", name);
        piece = string_at(json_object_get(o, "delta"), delta);
        if (!piece && !strcmp(name, "response.output_text.delta")) piece = string_at(o, "delta");
        if (piece) strcat(text, piece);
        json_decref(o);
    }
}

/* Strict clients refuse an answer that lacks one of these, though most are null. */
static void assert_keys(const json_t *o, const char *const *key)
{
    for (; *key; key++)
        if (!json_object_get(o, *key)) fail_msg("the answer has no \"%s\"", *key);
}

/* ---- messages ---- */

static void messages_say_what_a_chat_says(void **state)
{
    char *want = chat_text(), names[2048], *text = calloc(1, 65536);
    json_t *o =
        post("/v1/messages", "{\"model\":\"demo-model\"," MESSAGES ",\"temperature\":0,\"max_tokens\":40}", 200);
    json_t *block = json_array_get(json_object_get(o, "content"), 0), *usage = json_object_get(o, "usage");
    struct reply r;

    (void)state;
    assert_string_equal(string_at(o, "type"), "message");
    assert_string_equal(string_at(o, "stop_reason"), "max_tokens");
    assert_string_equal(string_at(block, "type"), "text");
    assert_string_equal(string_at(block, "text"), want);
    assert_int_equal(number_at(usage, "input_tokens") + number_at(usage, "cache_read_input_tokens"), 16);
    assert_int_equal(number_at(usage, "output_tokens"), 40);
    assert_keys(o, (const char *const[]){"id", "role", "model", "container", "stop_details", "stop_sequence", NULL});
    assert_keys(usage, (const char *const[]){"cache_creation", "cache_creation_input_tokens", "inference_geo",
                                             "output_tokens_details", "server_tool_use", "service_tier", NULL});
    assert_keys(block, (const char *const[]){"citations", NULL});
    json_decref(o);
    r = client_post(&server, "/v1/messages",
                    "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"" QUESTION
                    "\",\"cache_control\":{\"type\":\"ephemeral\"}}]}],\"temperature\":0,\"max_tokens\":40,"
                    "\"stream\":true}");
    assert_int_equal(r.status, 200);
    read_events(&r, "text", names, text, false);
    assert_string_equal(names,
                        " message_start content_block_start content_block_delta content_block_stop message_delta "
                        "message_stop");
    assert_string_equal(text, want);
    reply_free(&r);
    o = post("/v1/messages",
             "{" MESSAGES ",\"temperature\":0,\"max_tokens\":40,\"stop_sequences\":[\"zz\",\" named\"]}", 200);
    assert_string_equal(string_at(o, "stop_reason"), "stop_sequence");
    assert_string_equal(string_at(o, "stop_sequence"), " named");
    json_decref(o);
    o = post("/v1/messages/count_tokens", "{" MESSAGES ",\"system\":[{\"type\":\"text\",\"text\":\"Be kind.\"}]}", 200);
    assert_true(number_at(o, "input_tokens") > 16);
    json_decref(o);
    free(text);
    free(want);
}

static void messages_refuse_by_name(void **state)
{
    static const char *const bodies[] = {
        "{" MESSAGES "}", /* no max_tokens */
        "{\"max_tokens\":5}",
        "{\"max_tokens\":5,\"messages\":[]}",
        "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":5}]}",
        "{\"max_tokens\":5,\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}",
        "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{}}]}]}",
        "{\"max_tokens\":5," MESSAGES ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000}}",
        "{\"max_tokens\":5," MESSAGES ",\"thinking\":{\"type\":\"enabled\"}}", /* the template has none */
        "{\"max_tokens\":5," MESSAGES ",\"thinking\":{\"type\":\"disabled\",\"odd\":1}}",
        "{\"max_tokens\":5," MESSAGES ",\"tool_choice\":{\"type\":\"auto\",\"odd\":1}}",
        "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"odd\":1}]}",
        "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\","
        "\"citations\":[]}]}]}",
        "{\"max_tokens\":5," MESSAGES ",\"system\":[{\"type\":\"text\",\"text\":\"x\",\"odd\":1}]}",
        "{\"max_tokens\":5," MESSAGES ",\"tools\":[{\"name\":\"f\",\"input_schema\":{},\"odd\":1}]}",
        "{\"max_tokens\":5," MESSAGES ",\"n\":2}",
        "{\"max_tokens\":5," MESSAGES ",\"system\":5}",
        "{\"max_tokens\":5," MESSAGES ",\"stop_sequences\":[1]}",
        "{\"max_tokens\":5," MESSAGES ",\"tools\":[{\"name\":\"f\",\"input_schema\":{}}]}", /* the template has none */
    };

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        json_t *o = post("/v1/messages", bodies[i], 400);

        assert_string_equal(string_at(o, "type"), "error");
        assert_string_equal(string_at(json_object_get(o, "error"), "type"), "invalid_request_error");
        assert_non_null(string_at(json_object_get(o, "error"), "message"));
        json_decref(o);
    }
}

/* ---- responses ---- */

static void responses_say_what_a_chat_says(void **state)
{
    char *want = chat_text(), names[2048], *text = calloc(1, 65536);
    json_t *o = post("/v1/responses",
                     "{\"input\":\"" QUESTION "\",\"temperature\":0,\"max_output_tokens\":40,"
                     "\"metadata\":{\"a\":\"b\"},\"store\":false}",
                     200);
    json_t *item = json_array_get(json_object_get(o, "output"), 0);
    struct reply r;

    (void)state;
    assert_string_equal(string_at(o, "object"), "response");
    assert_string_equal(string_at(o, "status"), "incomplete");
    assert_string_equal(string_at(json_object_get(o, "incomplete_details"), "reason"), "max_output_tokens");
    assert_string_equal(string_at(json_object_get(o, "metadata"), "a"), "b");
    assert_string_equal(string_at(item, "type"), "message");
    assert_string_equal(string_at(json_array_get(json_object_get(item, "content"), 0), "text"), want);
    assert_int_equal(number_at(json_object_get(o, "usage"), "input_tokens"), 16);
    assert_keys(o, (const char *const[]){"created_at",
                                         "completed_at",
                                         "error",
                                         "instructions",
                                         "max_tool_calls",
                                         "parallel_tool_calls",
                                         "presence_penalty",
                                         "frequency_penalty",
                                         "reasoning",
                                         "previous_response_id",
                                         "prompt_cache_key",
                                         "safety_identifier",
                                         "text",
                                         "service_tier",
                                         "temperature",
                                         "tool_choice",
                                         "tools",
                                         "top_logprobs",
                                         "top_p",
                                         "truncation",
                                         "store",
                                         "background",
                                         NULL});
    json_decref(o);
    r = client_post(&server, "/v1/responses",
                    "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"" QUESTION
                    "\"}]}],\"temperature\":0,\"max_output_tokens\":40,\"stream\":true}");
    assert_int_equal(r.status, 200);
    read_events(&r, "text", names, text, true);
    assert_string_equal(names, " response.created response.in_progress response.output_item.added "
                               "response.content_part.added response.output_text.delta response.output_text.done "
                               "response.content_part.done response.output_item.done response.incomplete");
    assert_string_equal(text, want);
    reply_free(&r);
    free(text);
    free(want);
}

static void responses_refuse_by_name(void **state)
{
    static const struct {
        const char *body, *param;
    } cases[] = {{"{}", "input"},
                 {"{\"input\":[]}", "input"},
                 {"{\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]}", "input"},
                 {"{\"input\":\"x\",\"previous_response_id\":\"y\"}", "previous_response_id"},
                 {"{\"input\":\"x\",\"conversation\":\"y\"}", "conversation"},
                 {"{\"input\":\"x\",\"background\":true}", "background"},
                 {"{\"input\":\"x\",\"truncation\":\"auto\"}", "truncation"},
                 {"{\"input\":\"x\",\"max_output_tokens\":0}", "max_output_tokens"},
                 {"{\"input\":\"x\",\"text\":{\"format\":{\"type\":\"xml\"}}}", "text"},
                 {"{\"input\":\"x\",\"text\":{\"verbosity\":\"low\"}}", "text"},
                 {"{\"input\":\"x\",\"tools\":[{\"type\":\"web_search\"}]}", "tools"},
                 {"{\"input\":\"x\",\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"odd\":1}]}", "tools"},
                 {"{\"input\":\"x\",\"include\":[\"message.output_text.logprobs\"]}", "include"},
                 {"{\"input\":\"x\",\"include\":\"y\"}", "include"},
                 {"{\"input\":\"x\",\"reasoning\":{\"summary\":\"detailed\"}}", "reasoning"},
                 {"{\"input\":\"x\",\"reasoning\":{\"effort\":\"high\"}}", "reasoning"},
                 {"{\"input\":\"x\",\"reasoning\":{\"odd\":1}}", "reasoning"},
                 {"{\"input\":\"x\",\"stream\":true,\"stream_options\":{\"odd\":1}}", "stream_options"},
                 {"{\"input\":\"x\",\"odd\":1}", "odd"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *o = post("/v1/responses", cases[i].body, 400), *e = json_object_get(o, "error");

        if (!string_at(e, "param") || strcmp(string_at(e, "param"), cases[i].param))
            fail_msg("%s: %s", cases[i].body, string_at(e, "param"));
        json_decref(o);
    }
    json_decref(post("/v1/responses/resp_1/cancel", "{}", 501));
    /* what agents send */
    json_decref(
        post("/v1/responses",
             "{\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":"
             "\"x\"}]},{\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":"
             "\"t\"}]},{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":"
             "\"y\"}]},{\"role\":\"user\",\"content\":\"z\"}],\"include\":[\"reasoning.encrypted_content\"],"
             "\"reasoning\":{\"summary\":\"auto\"},\"store\":false,\"max_output_tokens\":2}",
             200));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_say_what_a_chat_says),
        cmocka_unit_test(messages_refuse_by_name),
        cmocka_unit_test(responses_say_what_a_chat_says),
        cmocka_unit_test(responses_refuse_by_name),
    };

    return cmocka_run_group_tests(tests, open_server, close_server);
}

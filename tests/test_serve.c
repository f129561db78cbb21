/* sluice serve: what its answers say, and in which form. One server of the demo model for all tests. */
#include <math.h>
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

static struct server server;

static int open_server(void **state)
{
    (void)state;
    server = server_start((const char *const[]){"--alias", "other", NULL});
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

static json_t *choice_at(const json_t *o, size_t i)
{
    return json_array_get(json_object_get(o, "choices"), i);
}

static json_int_t usage_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(o, "usage"), key));
}

/* ---- texts ---- */

#define STORY "Once upon a time"

static void texts_are_those_of_run(void **state)
{
    static const struct {
        const char *temperature, *seed, *tokens;
    } cases[] = {{"0", "1", "60"}, {"0.8", "7", "60"}, {"1.5", "123456789", "40"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *want = run_text((const char *const[]){"-p", STORY, "-n", cases[i].tokens, "--temperature",
                                                    cases[i].temperature, "--seed", cases[i].seed, NULL});
        char body[256];
        const char *finish;
        struct reply r;
        json_t *o;
        char *got;

        snprintf(body, sizeof body, "{\"prompt\":\"" STORY "\",\"max_tokens\":%s,\"temperature\":%s,\"seed\":%s",
                 cases[i].tokens, cases[i].temperature, cases[i].seed);
        strcat(body, "}");
        o = post("/v1/completions", body, 200);
        assert_string_equal(string_at(choice_at(o, 0), "text"), want);
        json_decref(o);
        body[strlen(body) - 1] = 0;
        strcat(body, ",\"stream\":true}");
        r = client_post(&server, "/v1/completions", body);
        assert_int_equal(r.status, 200);
        got = stream_text(&r, 0, &finish);
        assert_string_equal(got, want);
        free(got);
        free(want);
        reply_free(&r);
    }
}

#define QUESTION "Please tell me about Karl and the bell."

static void chats_are_those_of_run(void **state)
{
    char *want = run_text(
        (const char *const[]){"--chat", "-p", QUESTION, "-n", "300", "--temperature", "0.7", "--seed", "3", NULL});
    const char *finish;
    struct reply r;
    char *got;
    json_t *o = post("/v1/chat/completions",
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"" QUESTION "\"}],\"max_tokens\":300,"
                     "\"temperature\":0.7,\"seed\":3}",
                     200);
    json_t *m = json_object_get(choice_at(o, 0), "message");

    (void)state;
    assert_string_equal(string_at(m, "content"), want);
    assert_string_equal(string_at(m, "role"), "assistant");
    assert_true(json_is_null(json_object_get(m, "refusal")));
    assert_true(json_is_null(json_object_get(choice_at(o, 0), "logprobs")));
    assert_string_equal(string_at(o, "object"), "chat.completion");
    json_decref(o);
    /* parts, and the newer name of the limit */
    r = client_post(&server, "/v1/chat/completions",
                    "{\"model\":\"other\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                    "\"text\":\"" QUESTION "\"}]}],\"max_completion_tokens\":300,\"temperature\":0.7,\"seed\":3,"
                    "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"user\":\"me\",\"top_p\":null}");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "Content-Type: text/event-stream"));
    got = stream_text(&r, 0, &finish);
    assert_string_equal(got, want);
    assert_int_equal(strncmp(r.body, "data: {\"id\":\"chatcmpl-", 22), 0);
    assert_non_null(strstr(r.body, "\"delta\":{\"role\":\"assistant\""));
    assert_non_null(strstr(r.body, "\"choices\":[],\"usage\":{\"prompt_tokens\":16,"));
    assert_non_null(strstr(r.body, "\"model\":\"other\""));
    free(got);
    free(want);
    reply_free(&r);
}

static void several_choices_have_seeds_of_their_own(void **state)
{
    json_t *o =
        post("/v1/completions",
             "{\"prompt\":[\"" STORY "\",\"The fox\"],\"n\":3,\"max_tokens\":20,\"temperature\":1,\"seed\":40}", 200);
    json_int_t tokens = usage_of(o, "completion_tokens");

    (void)state;
    assert_int_equal(json_array_size(json_object_get(o, "choices")), 6);
    for (size_t i = 0; i < 6; i++) {
        char seed[8];
        char *want;

        snprintf(seed, sizeof seed, "%zu", 40 + i % 3);
        want = run_text((const char *const[]){"-p", i < 3 ? STORY : "The fox", "-n", "20", "--temperature", "1",
                                              "--seed", seed, NULL});
        assert_int_equal(json_integer_value(json_object_get(choice_at(o, i), "index")), i);
        assert_string_equal(string_at(choice_at(o, i), "text"), want);
        free(want);
    }
    assert_true(tokens > 100 && tokens <= 120);
    json_decref(o);
}

static void stop_texts_end_and_leave_nothing(void **state)
{
    static const char *const bodies[] = {
        "{\"prompt\":\"" STORY "\",\"max_tokens\":60,\"temperature\":0,\"stop\":\"named Ne\",\"stream\":true}",
        "{\"prompt\":\"" STORY
        "\",\"max_tokens\":60,\"temperature\":0,\"stop\":[\"zzz\",\"named Ne\"],\"stream\":true}"};
    const char *finish;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct reply r = client_post(&server, "/v1/completions", bodies[i]);
        char *text = stream_text(&r, 0, &finish);

        assert_string_equal(text, " there was a sleepy hedgehog ");
        assert_string_equal(finish, "stop");
        free(text);
        reply_free(&r);
    }
}

/* ---- numbers ---- */

static void biases_and_penalties_count(void **state)
{
    json_t *o = post("/v1/completions",
                     "{\"prompt\":\"" STORY "\",\"max_tokens\":5,\"temperature\":0,\"logit_bias\":{\"84\":100}}", 200);

    (void)state;
    assert_string_equal(string_at(choice_at(o, 0), "text"), "ooooo");
    json_decref(o);
    o = post("/v1/completions",
             "{\"prompt\":\"" STORY
             "\",\"max_tokens\":5,\"temperature\":0,\"logit_bias\":{\"84\":20},\"presence_penalty\":2,"
             "\"frequency_penalty\":2}",
             200);
    assert_string_not_equal(string_at(choice_at(o, 0), "text"), "ooooo");
    json_decref(o);
    o = post("/v1/completions", "{\"prompt\":[1,2,3],\"max_tokens\":300,\"ignore_eos\":true}", 200);
    assert_int_equal(usage_of(o, "completion_tokens"), 300);
    assert_int_equal(usage_of(o, "prompt_tokens"), 3);
    assert_string_equal(string_at(choice_at(o, 0), "finish_reason"), "length");
    json_decref(o);
}

/* A stream of an echo begins with the prompt; text and logarithms are those of the whole answer. */
static void a_stream_echoes_too(void **state)
{
    static const char *const more[] = {"\"max_tokens\":3", "\"max_tokens\":0", "\"max_tokens\":3,\"logprobs\":1",
                                       "\"max_tokens\":0,\"logprobs\":1"};

    (void)state;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        char body[256], *text;
        size_t tokens = 0, streamed = 0;
        const char *finish;
        struct reply r;
        json_t *o;

        snprintf(body, sizeof body, "{\"prompt\":\"Once upon a time\",\"temperature\":0,\"echo\":true,%s}", more[i]);
        o = post("/v1/completions", body, 200);
        tokens = json_array_size(json_object_get(json_object_get(choice_at(o, 0), "logprobs"), "tokens"));
        snprintf(body, sizeof body,
                 "{\"prompt\":\"Once upon a time\",\"temperature\":0,\"echo\":true,\"stream\":true,%s}", more[i]);
        r = client_post(&server, "/v1/completions", body);
        assert_int_equal(r.status, 200);
        text = stream_text(&r, 0, &finish);
        assert_string_equal(text, json_string_value(json_object_get(choice_at(o, 0), "text")));
        assert_string_equal(finish, "length");
        for (const char *at = r.body; (at = strstr(at, "data: {")); at++) {
            json_t *event = json_loads(at + 6, JSON_DISABLE_EOF_CHECK, NULL);

            streamed += json_array_size(json_object_get(json_object_get(choice_at(event, 0), "logprobs"), "tokens"));
            json_decref(event);
        }
        assert_int_equal(streamed, tokens);
        free(text);
        reply_free(&r);
        json_decref(o);
    }
}

/* Logarithms of the prompt's tokens beside the numbers of `sluice logits`. */
static void scores_are_those_of_logits(void **state)
{
    static const char ids[] = "0 46 84 300 546 84 45 300 12 99";
    char *folder = scratch_make(), *out = strdup(scratch_path(folder, "logits"));
    const char *arg[] = {"logits", SERVE_DEMO, "--tokens", ids, "--out", out, NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, 20);
    json_t *o = post("/v1/completions",
                     "{\"prompt\":[0,46,84,300,546,84,45,300,12,99],\"max_tokens\":1,\"echo\":true,\"logprobs\":2,"
                     "\"temperature\":0}",
                     200);
    json_t *l = json_object_get(choice_at(o, 0), "logprobs"), *list = json_object_get(l, "token_logprobs");
    float *logits = malloc(10 * 768 * sizeof *logits);
    FILE *f = fopen(out, "r");
    uint32_t token[10] = {0, 46, 84, 300, 546, 84, 45, 300, 12, 99};

    (void)state;
    assert_int_equal(r.status, 0);
    assert_int_equal(fread(logits, 4, 10 * 768, f), 10 * 768);
    assert_int_equal(json_array_size(list), 11);
    assert_int_equal(json_array_size(json_object_get(l, "tokens")), 11);
    assert_int_equal(json_array_size(json_object_get(l, "top_logprobs")), 11);
    assert_int_equal(json_array_size(json_object_get(l, "text_offset")), 11);
    assert_true(json_is_null(json_array_get(list, 0)));
    for (size_t i = 1; i < 10; i++) {
        const float *x = logits + (i - 1) * 768;
        double sum = 0;

        for (size_t k = 0; k < 768; k++) sum += exp((double)x[k]);
        assert_true(fabs(json_number_value(json_array_get(list, i)) - (x[token[i]] - log(sum))) < 1e-4);
        assert_int_equal(json_object_size(json_array_get(json_object_get(l, "top_logprobs"), i)), 2);
    }
    fclose(f);
    free(logits);
    json_decref(o);
    process_result_free(&r);
    scratch_remove(folder);
    free(out);
}

static void chats_tell_logarithms(void **state)
{
    json_t *o = post("/v1/chat/completions",
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"" QUESTION
                     "\"}],\"max_tokens\":8,\"temperature\":0,\"logprobs\":true,\"top_logprobs\":3}",
                     200);
    json_t *list = json_object_get(json_object_get(choice_at(o, 0), "logprobs"), "content"), *x;
    const char *text = string_at(json_object_get(choice_at(o, 0), "message"), "content");
    char joined[256] = "";
    size_t i;

    (void)state;
    assert_int_equal(json_array_size(list), 8);
    json_array_foreach(list, i, x)
    {
        json_t *top = json_object_get(x, "top_logprobs");

        strcat(joined, string_at(x, "token"));
        assert_int_equal(json_array_size(top), 3);
        assert_int_equal(json_array_size(json_object_get(x, "bytes")), strlen(string_at(x, "token")));
        assert_string_equal(string_at(json_array_get(top, 0), "token"), string_at(x, "token")); /* greedy */
        assert_true(json_number_value(json_object_get(x, "logprob")) <= 0);
    }
    assert_string_equal(joined, text);
    json_decref(o);
}

/* ---- what is refused, by name ---- */

static void refusals_name_the_parameter(void **state)
{
#define CHAT "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
    static const struct {
        const char *path, *body, *param;
        int status;
    } cases[] = {
        {"completions", "", NULL, 400},
        {"completions", "{", NULL, 400},
        {"completions", "[]", NULL, 400},
        {"completions", "\"x\"", NULL, 400},
        {"completions", "{}", "prompt", 400},
        {"completions", "{\"prompt\":\"\\ud800\",\"bogus\":1}", "bogus", 400},
        {"completions", "{\"prompt\":\"\xff\"}", NULL, 400},
        {"completions", "{\"prompt\":5}", "prompt", 400},
        {"completions", "{\"prompt\":[]}", "prompt", 400},
        {"completions", "{\"prompt\":[768]}", "prompt", 400},
        {"completions", "{\"prompt\":[-1]}", "prompt", 400},
        {"completions", "{\"prompt\":[\"a\",{}]}", "prompt", 400},
        {"completions", "{\"prompt\":\"x\",\"model\":\"gpt-4\"}", "model", 404},
        {"completions", "{\"prompt\":\"x\",\"model\":5}", "model", 400},
        {"completions", "{\"prompt\":\"x\",\"temperature\":-1}", "temperature", 400},
        {"completions", "{\"prompt\":\"x\",\"temperature\":\"1\"}", "temperature", 400},
        {"completions", "{\"prompt\":\"x\",\"temperature\":NaN}", "temperature", 400},
        {"completions", "{\"prompt\":\"x\",\"top_p\":0}", "top_p", 400},
        {"completions", "{\"prompt\":\"x\",\"top_p\":2}", "top_p", 400},
        {"completions", "{\"prompt\":\"x\",\"max_tokens\":1.5}", "max_tokens", 400},
        {"completions", "{\"prompt\":\"x\",\"max_tokens\":-1}", "max_tokens", 400},
        {"completions", "{\"prompt\":\"x\",\"max_tokens\":0}", "max_tokens", 400},
        {"completions", "{\"prompt\":\"x\",\"max_tokens\":1e30}", "max_tokens", 400},
        {"completions", "{\"prompt\":\"x\",\"n\":0}", "n", 400},
        {"completions", "{\"prompt\":\"x\",\"n\":129}", "n", 400},
        {"completions", "{\"prompt\":\"x\",\"stop\":{}}", "stop", 400},
        {"completions", "{\"prompt\":\"x\",\"stop\":\"\"}", "stop", 400},
        {"completions", "{\"prompt\":\"x\",\"stop\":[1]}", "stop", 400},
        {"completions",
         "{\"prompt\":\"x\",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\","
         "\"c\",\"d\",\"e\",\"f\",\"g\",\"h\"]}",
         "stop", 400},
        {"completions", "{\"prompt\":\"x\",\"logit_bias\":{\"768\":1}}", "logit_bias", 400},
        {"completions", "{\"prompt\":\"x\",\"logit_bias\":{\"5\":101}}", "logit_bias", 400},
        {"completions", "{\"prompt\":\"x\",\"logit_bias\":[]}", "logit_bias", 400},
        {"completions", "{\"prompt\":\"x\",\"presence_penalty\":3}", "presence_penalty", 400},
        {"completions", "{\"prompt\":\"x\",\"stream\":1}", "stream", 400},
        {"completions", "{\"prompt\":\"x\",\"stream_options\":{}}", "stream_options", 400},
        {"completions", "{\"prompt\":\"x\",\"logprobs\":21}", "logprobs", 400},
        {"completions", "{\"prompt\":\"x\",\"seed\":0.5}", "seed", 400},
        {"completions", "{\"prompt\":\"x\",\"suffix\":\"y\"}", "suffix", 400},
        {"completions", "{\"prompt\":\"x\",\"best_of\":2}", "best_of", 400},
        {"completions", "{\"prompt\":\"x\",\"grammar\":\"root ::= x\"}", "grammar", 400},
        {"chat/completions", "{}", "messages", 400},
        {"chat/completions", "{\"messages\":[]}", "messages", 400},
        {"chat/completions", "{\"messages\":{}}", "messages", 400},
        {"chat/completions", "{\"messages\":[1]}", "messages", 400},
        {"chat/completions", "{\"messages\":[{\"role\":\"user\"}]}", "messages", 400},
        {"chat/completions", "{\"messages\":[{\"content\":\"x\"}]}", "messages", 400},
        {"chat/completions", "{\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}", "messages", 400},
        {"chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"odd\":1}]}", "messages", 400},
        {"chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]}",
         "messages", 400},
        {"chat/completions", "{" CHAT ",\"top_logprobs\":2}", "top_logprobs", 400},
        {"chat/completions", "{" CHAT ",\"functions\":[]}", "functions", 400},
        {"chat/completions", "{" CHAT ",\"web_search_options\":{}}", "web_search_options", 400},
        {"chat/completions", "{" CHAT ",\"max_tokens\":0}", "max_tokens", 400},
        {"chat/completions", "{" CHAT ",\"chat_template_kwargs\":{\"messages\":[]}}", "chat_template_kwargs", 400},
        /* what the template never looks at */
        {"chat/completions", "{" CHAT ",\"chat_template_kwargs\":{\"mess\":1}}", "chat_template_kwargs", 400},
        {"chat/completions", "{" CHAT ",\"chat_template_kwargs\":{\"enable_thinking\":true}}", "chat_template_kwargs",
         400},
        {"chat/completions", "{" CHAT ",\"reasoning_effort\":\"high\"}", "reasoning_effort", 400},
        {"chat/completions", "{" CHAT ",\"return_progress\":true}", "return_progress", 400},
        {"chat/completions", "{" CHAT ",\"modalities\":[\"text\",\"audio\"]}", "modalities", 400},
        {"chat/completions", "{" CHAT ",\"modalities\":\"text\"}", "modalities", 400},
        {"chat/completions", "{" CHAT ",\"response_format\":{\"type\":\"json_object\",\"odd\":1}}", "response_format",
         400},
        {"chat/completions",
         "{" CHAT ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{},\"odd\":1}}}",
         "response_format", 400},
        {"chat/completions", "{" CHAT ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"odd\":1}}]}",
         "tools", 400},
        {"chat/completions/input_tokens", "{" CHAT ",\"odd\":1}", "odd", 400},
        {"chat/completions/input_tokens", "{" CHAT ",\"model\":\"gpt-4\"}", "model", 404},
        {"chat/completions/input_tokens",
         "{" CHAT ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}", "tools", 400},
        {"../apply-template", "{" CHAT ",\"odd\":1}", "odd", 400},
        {"../tokenize", "{" CHAT ",\"content\":\"x\"}", "messages", 400},
        {"../tokenize", "{" CHAT ",\"add_special\":true}", "add_special", 400},
        {"../detokenize", "{\"tokens\":[1],\"model\":\"gpt-4\"}", "model", 404},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[64];
        json_t *o, *e;

        if (strncmp(cases[i].path, "../", 3))
            snprintf(path, sizeof path, "/v1/%s", cases[i].path);
        else
            snprintf(path, sizeof path, "%s", cases[i].path + 2);
        o = post(path, cases[i].body, cases[i].status);
        e = json_object_get(o, "error");
        assert_non_null(string_at(e, "message"));
        assert_non_null(string_at(e, "type"));
        if (cases[i].param && (!string_at(e, "param") || strcmp(string_at(e, "param"), cases[i].param)))
            fail_msg("%s: param %s", cases[i].body, string_at(e, "param"));
        json_decref(o);
    }
}

/* What asks for what is so anyway, and two bounds of one length. */
static void what_is_so_is_taken(void **state)
{
    static const char *const more[] = {"\"reasoning_effort\":\"none\",\"modalities\":[\"text\"]",
                                       "\"chat_template_kwargs\":{\"enable_thinking\":false}",
                                       "\"max_completion_tokens\":2,\"max_tokens\":30",
                                       "\"max_completion_tokens\":30,\"max_tokens\":2"};

    (void)state;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        char body[512];
        json_t *o, *usage;

        snprintf(body, sizeof body, "{\"ignore_eos\":true," CHAT ",%s%s}", more[i], i < 2 ? ",\"max_tokens\":2" : "");
        o = post("/v1/chat/completions", body, 200);
        usage = json_object_get(o, "usage");
        assert_int_equal(json_integer_value(json_object_get(usage, "completion_tokens")), 2);
        json_decref(o);
    }
}

static void a_prompt_too_long_is_told(void **state)
{
    char *body = calloc(1, 20000);
    json_t *o, *e;

    (void)state;
    strcpy(body, "{\"prompt\":[1");
    for (int i = 1; i < 1024; i++) strcat(body, ",1");
    strcat(body, "],\"stream\":true}");
    o = post("/v1/completions", body, 400);
    e = json_object_get(o, "error");
    assert_string_equal(string_at(e, "code"), "context_length_exceeded");
    assert_int_equal(json_integer_value(json_object_get(e, "n_prompt_tokens")), 1024);
    assert_int_equal(json_integer_value(json_object_get(e, "n_ctx")), 1024);
    json_decref(o);
    free(body);
}

/* ---- beside answers ---- */

static void models_tokens_and_templates(void **state)
{
    struct reply r = client_get(&server, "/v1/models");
    json_t *o = reply_json(&r), *m = json_array_get(json_object_get(o, "data"), 0);

    (void)state;
    assert_string_equal(string_at(m, "id"), "demo-model");
    assert_int_equal(json_integer_value(json_object_get(m, "max_model_len")), 1024);
    assert_int_equal(json_array_size(json_object_get(o, "data")), 2);
    json_decref(o);
    reply_free(&r);
    r = client_get(&server, "/v1/models/other");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    r = client_get(&server, "/v1/models/nobody");
    assert_int_equal(r.status, 404);
    reply_free(&r);
    o = post("/tokenize", "{\"content\":\"Once upon a time\"}", 200);
    assert_int_equal(json_array_size(json_object_get(o, "tokens")), 6);
    json_decref(o);
    o = post("/tokenize", "{\"content\":\"Once upon a time\",\"add_special\":true,\"with_pieces\":true}", 200);
    assert_int_equal(json_array_size(json_object_get(o, "tokens")), 7);
    json_decref(o);
    o = post("/detokenize", "{\"tokens\":[45,300,84,546]}", 200);
    assert_string_equal(string_at(o, "content"), "Hello there");
    json_decref(o);
    o = post("/apply-template", "{\"messages\":[{\"role\":\"user\",\"content\":\" hi \"}]}", 200);
    assert_string_equal(string_at(o, "prompt"), "<|begin_of_text|><|user|>\nhi<|end|>\n<|assistant|>\n");
    json_decref(o);
    o = post("/v1/chat/completions/input_tokens", "{\"messages\":[{\"role\":\"user\",\"content\":\"" QUESTION "\"}]}",
             200);
    assert_int_equal(json_integer_value(json_object_get(o, "input_tokens")), 16);
    json_decref(o);
    json_decref(post("/v1/embeddings", "{\"input\":\"x\"}", 501));
    json_decref(post("/v1/nowhere", "{}", 404));
    json_decref(post("/health", "{}", 405));
    r = client_get(&server, "/slots");
    o = reply_json(&r);
    assert_int_equal(json_array_size(o), 64);
    json_decref(o);
    reply_free(&r);
    assert_true(server_metric(&server, "sluice:sweeps_total ") > 0);
    assert_true(server_metric(&server, "sluice:time_to_first_token_seconds_count ") > 0);
}

static void a_message_is_continued(void **state)
{
    json_t *o = post("/v1/chat/completions",
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"" QUESTION
                     "\"},{\"role\":\"assistant\",\"content\":\"Once upon a\"}],\"continue_final_message\":true,"
                     "\"temperature\":0,\"max_tokens\":4}",
                     200);
    const char *text = string_at(json_object_get(choice_at(o, 0), "message"), "content");

    (void)state;
    assert_int_equal(strncmp(text, " time", 5), 0);
    json_decref(o);
}

/* ---- thoughts ---- */

/* A template that opens a thought, as some models' do: what is said before its end is no content. */
static void thoughts_are_told_apart(void **state)
{
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"" QUESTION "\"}],\"max_tokens\":12,\"temperature\":0%s}";
    char *folder = server_model("{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"bos_token\":\"<|begin_of_text|>\","
                                "\"eos_token\":\"<|end|>\",\"chat_template\":\"{{ bos_token }}<|user|>\\n{{ messages[0]"
                                "['content'] }}<|end|>\\n<|assistant|>\\n<think>\\n\"}");
    struct server s = server_start_model(folder, NULL);
    char text[512];
    struct reply r;
    json_t *o, *m;
    char *thought;

    (void)state;
    snprintf(text, sizeof text, body, "");
    r = client_post(&s, "/v1/chat/completions", text);
    o = reply_json(&r);
    m = json_object_get(choice_at(o, 0), "message");
    assert_string_equal(string_at(m, "content"), "");
    thought = strdup(string_at(m, "reasoning_content"));
    assert_true(strlen(thought) > 5);
    json_decref(o);
    reply_free(&r);
    snprintf(text, sizeof text, body, ",\"reasoning_format\":\"none\"");
    r = client_post(&s, "/v1/chat/completions", text);
    o = reply_json(&r);
    m = json_object_get(choice_at(o, 0), "message");
    assert_string_equal(string_at(m, "content"), thought);
    assert_null(json_object_get(m, "reasoning_content"));
    json_decref(o);
    reply_free(&r);
    snprintf(text, sizeof text, body, ",\"stream\":true");
    r = client_post(&s, "/v1/chat/completions", text);
    assert_non_null(strstr(r.body, "\"delta\":{\"reasoning_content\":"));
    assert_null(strstr(r.body, "\"delta\":{\"content\":"));
    reply_free(&r);
    free(thought);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    scratch_remove(folder);
}

/* ---- answers of a form ---- */

static json_t *spoken_json(const char *format, bool stream)
{
    char body[2048];
    const char *finish, *said;
    struct reply r;
    json_t *o = NULL, *v;
    char *text = NULL;

    snprintf(body, sizeof body,
             "{\"messages\":[{\"role\":\"user\",\"content\":\"" QUESTION
             "\"}],\"max_tokens\":800,\"seed\":5,\"temperature\":0.7,\"response_format\":%s%s}",
             format, stream ? ",\"stream\":true" : "");
    r = client_post(&server, "/v1/chat/completions", body);
    if (r.status != 200) fail_msg("%d: %s", r.status, r.body);
    if (stream) {
        said = text = stream_text(&r, 0, &finish);
    } else {
        o = reply_json(&r);
        said = string_at(json_object_get(choice_at(o, 0), "message"), "content");
        finish = string_at(choice_at(o, 0), "finish_reason");
    }
    assert_string_equal(finish, "stop");
    v = json_loads(said, JSON_DECODE_ANY, NULL);
    if (!v) fail_msg("no JSON: %s", said);
    json_decref(o);
    free(text);
    reply_free(&r);
    return v;
}

static void answers_have_their_form(void **state)
{
    static const char schema[] =
        "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"animal\",\"strict\":true,\"schema\":{\"type\":"
        "\"object\","
        "\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":20},\"age\":{\"type\":\"integer\",\"minimum\":0,"
        "\"maximum\":99},\"kind\":{\"enum\":[\"fox\",\"frog\"]}},\"required\":[\"name\",\"age\",\"kind\"],"
        "\"additionalProperties\":false}}}";

    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        json_t *v = spoken_json(schema, stream);
        const char *kind = string_at(v, "kind");
        json_int_t age = json_integer_value(json_object_get(v, "age"));

        assert_int_equal(json_object_size(v), 3);
        assert_true(!strcmp(kind, "fox") || !strcmp(kind, "frog"));
        assert_true(age >= 0 && age <= 99);
        json_decref(v);
    }
    json_decref(post("/v1/completions",
                     "{\"prompt\":\"x\",\"max_tokens\":5,\"response_format\":{\"type\":\"json_object\"}}", 200));
}

static void forms_are_refused_by_name(void **state)
{
    static const char *const formats[] = {
        "{}",
        "\"json\"",
        "{\"type\":\"xml\"}",
        "{\"type\":\"json_schema\"}",
        "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\"}}",
        "{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"thing\"}}}",
        "{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"not\":{}}}}"};

    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        char body[512];
        json_t *o;

        snprintf(body, sizeof body, "{\"prompt\":\"x\",\"response_format\":%s}", formats[i]);
        o = post("/v1/completions", body, 400);
        assert_string_equal(string_at(json_object_get(o, "error"), "param"), "response_format");
        json_decref(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_those_of_run),
        cmocka_unit_test(chats_are_those_of_run),
        cmocka_unit_test(several_choices_have_seeds_of_their_own),
        cmocka_unit_test(stop_texts_end_and_leave_nothing),
        cmocka_unit_test(biases_and_penalties_count),
        cmocka_unit_test(a_stream_echoes_too),
        cmocka_unit_test(scores_are_those_of_logits),
        cmocka_unit_test(chats_tell_logarithms),
        cmocka_unit_test(refusals_name_the_parameter),
        cmocka_unit_test(what_is_so_is_taken),
        cmocka_unit_test(a_prompt_too_long_is_told),
        cmocka_unit_test(models_tokens_and_templates),
        cmocka_unit_test(a_message_is_continued),
        cmocka_unit_test(thoughts_are_told_apart),
        cmocka_unit_test(answers_have_their_form),
        cmocka_unit_test(forms_are_refused_by_name),
    };

    return cmocka_run_group_tests(tests, open_server, close_server);
}

/* Chats that bring an answer's text back: the tokens that were said go on, not another way to write the same text. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support_serve.h"

#define QUESTION "Tell me of the sea, of the ships on it, and of the people who live there."

struct turn {
    char *text;
    json_int_t cached, prompt;
};

static void turn_free(struct turn *t)
{
    free(t->text);
}

/* The ids of a text, as "1,5,9"; the caller's. */
static char *ids_of(const struct server *s, const char *text)
{
    json_t *body = json_pack("{s:s}", "content", text), *o, *list, *v;
    char *sent = json_dumps(body, 0), *out = calloc(1, 65536);
    size_t i;

    o = client_post_json(s, "/tokenize", sent, 200);
    list = json_object_get(o, "tokens");
    json_array_foreach(list, i, v) sprintf(out + strlen(out), "%s%d", i ? "," : "", (int)json_integer_value(v));
    json_decref(o);
    json_decref(body);
    free(sent);
    return out;
}

/* Appends a message. */
static void say(json_t *messages, const char *role, const char *text)
{
    assert_int_equal(json_array_append_new(messages, json_pack("{s:s,s:s}", "role", role, "content", text)), 0);
}

/* bias: a JSON object's text, or NULL. */
static struct turn chat(const struct server *s, json_t *messages, int tokens, const char *bias)
{
    json_t *body = json_pack("{s:O,s:i,s:i,s:i,s:b}", "messages", messages, "max_tokens", tokens, "seed", 7,
                             "temperature", 1, "ignore_eos", 1),
           *o, *u;
    struct turn t;
    char *sent;

    if (bias) json_object_set_new(body, "logit_bias", json_loads(bias, 0, NULL));
    sent = json_dumps(body, 0);
    o = client_post_json(s, "/v1/chat/completions", sent, 200);
    u = json_object_get(o, "usage");
    t.cached = json_integer_value(json_object_get(json_object_get(u, "prompt_tokens_details"), "cached_tokens"));
    t.prompt = json_integer_value(json_object_get(u, "prompt_tokens"));
    t.text = strdup(json_string_value(
        json_object_get(json_object_get(json_array_get(json_object_get(o, "choices"), 0), "message"), "content")));
    json_decref(o);
    json_decref(body);
    free(sent);
    return t;
}

/* Biases that leave nothing but these texts' tokens, each of which must be one token. */
static char *only(const struct server *s, const char *const *text)
{
    char *out = calloc(1, 4096), *id;

    strcpy(out, "{");
    for (; *text; text++) {
        id = ids_of(s, *text);
        assert_null(strchr(id, ','));
        sprintf(out + strlen(out), "%s\"%s\":100", out[1] ? "," : "", id);
        free(id);
    }
    strcat(out, "}");
    return out;
}

static int count_of(const struct server *s, json_t *messages)
{
    json_t *body = json_pack("{s:O}", "messages", messages);
    char *sent = json_dumps(body, 0);
    json_t *o = client_post_json(s, "/v1/chat/completions/input_tokens", sent, 200);
    int n = (int)json_integer_value(json_object_get(o, "input_tokens"));

    json_decref(o);
    json_decref(body);
    free(sent);
    return n;
}

static const char *const letters[] = {"t", "h", "e", NULL}; /* words that the tokenizer writes with fewer tokens */

/* A conversation of three questions whose answers are spelled letter by letter. */
static void what_was_said_goes_on(void **state)
{
    struct server s = server_start(NULL), off = server_start((const char *const[]){"--match-answers", "off", NULL});
    char *bias = only(&s, letters);
    json_t *m = json_array();
    struct turn a, b, c, d;
    struct reply r;

    (void)state;
    say(m, "user", QUESTION);
    a = chat(&s, m, 40, bias);
    assert_int_equal(strlen(a.text), 40); /* one letter each */
    d = chat(&off, m, 40, bias);
    assert_string_equal(a.text, d.text);
    turn_free(&d);
    say(m, "assistant", a.text);
    say(m, "user", "And then?");
    d = chat(&off, m, 40, bias);
    assert_true(d.prompt < a.prompt + 40); /* the tokenizer's own way is shorter */
    assert_int_equal(count_of(&off, m), d.prompt);
    assert_true(count_of(&s, m) > a.prompt + 40);
    b = chat(&s, m, 40, bias);
    assert_true(b.prompt > a.prompt + 40);
    assert_true(b.cached >= a.prompt + 38); /* the last token's row was never computed */
    assert_true(d.cached < b.cached);
    say(m, "assistant", b.text);
    say(m, "user", "And at last?");
    c = chat(&s, m, 10, NULL);
    assert_true(c.cached >= b.prompt + 38);
    r = client_get(&s, "/props");
    assert_non_null(strstr(r.body, "\"match_answers\":true"));
    reply_free(&r);
    r = client_get(&off, "/props");
    assert_non_null(strstr(r.body, "\"match_answers\":false"));
    reply_free(&r);
    turn_free(&a);
    turn_free(&b);
    turn_free(&c);
    turn_free(&d);
    free(bias);
    json_decref(m);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    assert_int_equal(server_stop(&off, SIGTERM), 0);
}

/* The answer is that to the very tokens: a prompt of ids says the same. */
static void it_is_the_answer_to_those_tokens(void **state)
{
    struct server s = server_start(NULL), cold = server_start(NULL);
    json_t *m = json_array(), *o;
    char *bias = only(&s, letters), *body = calloc(1, 65536), head[512], tail[256], *id;
    struct turn a, b;

    (void)state;
    say(m, "user", QUESTION);
    a = chat(&s, m, 40, bias);
    say(m, "assistant", a.text);
    say(m, "user", "And then?");
    b = chat(&s, m, 20, NULL);
    snprintf(head, sizeof head, "<|begin_of_text|><|user|>\n%s<|end|>\n<|assistant|>\n", QUESTION);
    snprintf(tail, sizeof tail, "<|end|>\n<|user|>\nAnd then?<|end|>\n<|assistant|>\n");
    strcpy(body, "{\"seed\":7,\"temperature\":1,\"ignore_eos\":true,\"max_tokens\":20,\"prompt\":[");
    id = ids_of(&s, head);
    strcat(body, id);
    free(id);
    for (const char *c = a.text; *c; c++) {
        id = ids_of(&s, (char[]){*c, 0});
        sprintf(body + strlen(body), ",%s", id);
        free(id);
    }
    id = ids_of(&s, tail);
    sprintf(body + strlen(body), ",%s]}", id);
    free(id);
    o = client_post_json(&cold, "/v1/completions", body, 200);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(o, "choices"), 0), "text")),
                        b.text);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "usage"), "prompt_tokens")), b.prompt);
    json_decref(o);
    turn_free(&a);
    turn_free(&b);
    free(bias);
    free(body);
    json_decref(m);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    assert_int_equal(server_stop(&cold, SIGTERM), 0);
}

/* Another history, another text: the tokenizer's own tokens, as on a server that has said nothing. */
static void others_are_left_alone(void **state)
{
    struct server s = server_start(NULL), off = server_start((const char *const[]){"--match-answers", "off", NULL});
    char *bias = only(&s, letters), changed[128];
    json_t *m = json_array(), *others[4];
    struct turn a;

    (void)state;
    say(m, "user", QUESTION);
    a = chat(&s, m, 40, bias);
    for (size_t i = 0; i < 4; i++) {
        snprintf(changed, sizeof changed, "%s", a.text);
        others[i] = json_array();
        if (i == 0) say(others[i], "system", "Be brief.");
        say(others[i], "user", i == 1 ? "Tell me more." : QUESTION);
        if (i == 2) memcpy(changed, "xyz", 3);              /* edited at the front */
        if (i == 3) memcpy(changed + 30, " and so on", 10); /* cut within, and goes on in another way */
        say(others[i], "assistant", changed);
        say(others[i], "user", "And then?");
        assert_int_equal(count_of(&s, others[i]), count_of(&off, others[i]));
    }
    /* cut between two tokens, as by a client that stopped it: what it has of them is theirs */
    changed[20] = 0;
    memcpy(changed, a.text, 20);
    json_array_clear(others[0]);
    say(others[0], "user", QUESTION);
    say(others[0], "assistant", changed);
    say(others[0], "user", "And then?");
    assert_true(count_of(&s, others[0]) > count_of(&off, others[0]));
    for (size_t i = 0; i < 4; i++) json_decref(others[i]);
    turn_free(&a);
    free(bias);
    json_decref(m);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    assert_int_equal(server_stop(&off, SIGTERM), 0);
}

/* A control token that was answered leaves no text, and comes from no client's text; letters that spell one stay letters. */
static void control_tokens_stay_apart(void **state)
{
    static const char *const end[] = {"<|end|>", NULL};
    struct server s = server_start(NULL), off = server_start((const char *const[]){"--match-answers", "off", NULL});
    char *bias = only(&s, end);
    json_t *m = json_array(), *copy, *o;
    const char *text;
    struct turn a;

    (void)state;
    say(m, "user", QUESTION);
    a = chat(&s, m, 30, bias); /* nothing but ends of turns, which are no text */
    assert_string_equal(a.text, "");
    copy = json_deep_copy(m);
    say(copy, "assistant", "");
    say(copy, "user", "And then?");
    assert_int_equal(count_of(&s, copy), count_of(&off, copy));
    json_decref(copy);
    copy = json_deep_copy(m);
    say(copy, "assistant", "<|end|><|end|><|end|>");
    say(copy, "user", "And then?");
    assert_int_equal(count_of(&s, copy), count_of(&off, copy));
    json_decref(copy);
    turn_free(&a);
    free(bias);
    /* an answer that spells an end of a turn with letters: they stay letters, where the tokenizer would make it one */
    o = client_post_json(
        &s, "/v1/chat/completions",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"" QUESTION "\"}],\"response_format\":"
        "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":{\"const\":\"<|end|>\"}}}}",
        200);
    text = json_string_value(
        json_object_get(json_object_get(json_array_get(json_object_get(o, "choices"), 0), "message"), "content"));
    assert_string_equal(text, "\"<|end|>\"");
    copy = json_deep_copy(m);
    say(copy, "assistant", text);
    say(copy, "user", "And then?");
    assert_true(count_of(&s, copy) > count_of(&off, copy));
    json_decref(copy);
    json_decref(o);
    json_decref(m);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    assert_int_equal(server_stop(&off, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_said_goes_on),
        cmocka_unit_test(it_is_the_answer_to_those_tokens),
        cmocka_unit_test(others_are_left_alone),
        cmocka_unit_test(control_tokens_stay_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

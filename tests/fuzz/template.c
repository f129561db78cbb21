/* A chat template, parsed and rendered with a conversation. First byte: which of them. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/jinja/jinja.h"
#include "coordinator/text/utf8.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

static json_t *variables(unsigned which)
{
    static const char *const texts[] = {
        "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Hi <\\u00e4> "
        "'\\\"'\"},{\"role\":\"assistant\",\"content\":"
        "\"<think>x</"
        "think>Hello\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"2+2?\"}]}],\"tools\":null,\"bos_"
        "token\":\"<s>\",\"eos_token\":\"</s>\","
        "\"add_generation_prompt\":true}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"weather\"},{\"role\":\"assistant\",\"content\":null,\"tool_"
        "calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":"
        "{\"name\":\"f\",\"arguments\":{\"city\":\"Oslo\",\"n\":3,\"x\":1.5,\"l\":[1,null,true]}}}]},{\"role\":"
        "\"tool\",\"name\":\"f\",\"content\":\"{\\\"t\\\":3}\"}],\"tools\":"
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":"
        "\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},"
        "\"required\":[\"city\"]}}}],\"bos_token\":\"<s>\",\"eos_token\":\"</"
        "s>\",\"add_generation_prompt\":false,\"enable_thinking\":true}",
    };
    static json_t *made[2], *cases;
    json_error_t why;

    which %= 3;
    if (which == 2) {
        if (!cases) cases = json_load_file("tests/data/templates/cases.json", 0, &why);
        return json_object_get(cases, "vars");
    }
    if (!made[which]) made[which] = json_loads(texts[which], 0, &why);
    return made[which];
}

static void run(const uint8_t *data, size_t bytes)
{
    static const struct tm date = {
        .tm_year = 125, .tm_mon = 6, .tm_mday = 10, .tm_hour = 12, .tm_wday = 4, .tm_yday = 190};
    /* A hundredth of what is granted outside: as many ways to fail, a hundred times as often. */
    struct jinja_limits limits = jinja_limits_default();
    struct jinja *t;
    struct error e = {0};
    size_t n = 0;
    char *text;

    if (!bytes || !variables(*data)) return;
    limits.steps = 200000;
    limits.held_bytes = 16 << 20;
    limits.text_bytes = 1 << 20;
    if (jinja_parse(&t, (const char *)data + 1, bytes - 1, &e)) {
        if (strlen(e.text) < 5) fuzz_fail("an error without a message");
        return;
    }
    if (!jinja_render(t, variables(*data), &date, &limits, &text, &n, &e)) {
        if (n > limits.text_bytes) fuzz_fail("a text beyond its limit");
        if (utf8_valid_bytes(text, n) != n) fuzz_fail("a text that is not UTF-8");
        free(text);
    } else if (strlen(e.text) < 5) {
        fuzz_fail("an error without a message");
    }
    jinja_free(t);
}

static void seed_file(void *arg, const char *path)
{
    struct fuzz_sink *s = arg;

    for (s->head[0] = '0'; s->head[0] < '2'; s->head[0]++) fuzz_seed_file(s, path);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    struct fuzz_sink s = {emit, arg, {'2'}, 1};
    size_t bytes;
    char *text = fuzz_read("tests/data/templates/cases.json", &bytes);
    json_t *root = json_loadb(text, bytes, 0, NULL), *list = json_object_get(root, "cases");

    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *t = json_object_get(json_array_get(list, i), "template");

        if (t) fuzz_seed(&s, json_string_value(t), json_string_length(t));
    }
    json_decref(root);
    free(text);
    fuzz_glob("tests/data/templates/*.jinja", seed_file, &s);
}

const struct fuzz_target fuzz_template = {"template", run, seeds, -1};

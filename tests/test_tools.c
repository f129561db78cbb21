/* Calls of tools: forms recognised in templates, calls read from texts however they are cut, and forced calls that the reader
 * understands. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/grammar/constraint.h"
#include "coordinator/grammar/states.h"
#include "coordinator/text/buffer.h"
#include "coordinator/text/json.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "coordinator/tools/form.h"
#include "tests/support_schema.h"

#define PUBLISHED "../shared/data/chat/"

static const char tools_text[] = "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{"
                                 "\"type\":\"object\",\"properties\":{"
                                 "\"place\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\",\"minimum\":0,"
                                 "\"maximum\":99},\"tags\":{\"type\":\"array\",\"items\":{"
                                 "\"enum\":[\"a\",\"b\"]},\"maxItems\":3}},\"required\":[\"place\"]}}},"
                                 "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

static json_t *tools(void)
{
    json_t *v = json_loads(tools_text, 0, NULL);

    assert_non_null(v);
    return v;
}

/* ---- forms ---- */

static void published_templates_have_their_forms(void **state)
{
    static const struct {
        const char *name;
        enum tools_form form;
    } files[] = {{"Llama-3.2-1B-Instruct", TOOLS_LLAMA},
                 {"cogito-qwen-14b", TOOLS_HERMES},
                 {"gemma-2b", TOOLS_NONE},
                 {"gpt-oss", TOOLS_HARMONY},
                 {"granite-3.1", TOOLS_GRANITE},
                 {"llama3-8B-instruct", TOOLS_NONE},
                 {"mistral-7b-v0.3", TOOLS_MISTRAL},
                 {"phi-3-mini", TOOLS_NONE},
                 {"phi-4", TOOLS_NONE},
                 {"qwen2.5", TOOLS_HERMES},
                 {"qwen3.5-25b-reap", TOOLS_XML},
                 {"qwen3", TOOLS_HERMES},
                 {"smollm3", TOOLS_HERMES}};

    (void)state;
    if (access(PUBLISHED, R_OK)) {
        print_message("skipped: there are no published templates in %s\n", PUBLISHED);
        skip();
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[256];
        const json_t *text;
        json_t *o;

        snprintf(path, sizeof path, PUBLISHED "%s.json", files[i].name);
        o = json_load_file(path, 0, NULL);
        text = json_object_get(o, "template");
        assert_non_null(text);
        if (tools_form_of(json_string_value(text), json_string_length(text)) != files[i].form)
            fail_msg("%s: %s", files[i].name,
                     tools_form_name(tools_form_of(json_string_value(text), json_string_length(text))));
        json_decref(o);
    }
}

static void forms_are_told_by_what_is_written(void **state)
{
    static const struct {
        const char *text;
        enum tools_form form;
    } cases[] = {
        {"{% for m in messages %}<tool_call>{% endfor %}", TOOLS_NONE}, /* nothing is said of them */
        {"{{ tools }}{{ messages }}", TOOLS_NONE},
        {"{% if tools %}<tool_call>{% endif %}", TOOLS_HERMES},
        {"{% if tools %}<tool_call>{{ name }}\n<arg_key>{% endif %}", TOOLS_GLM},
        {"{{ tools }}" DEEPSEEK_CALLS DEEPSEEK_SEP "```json", TOOLS_DEEPSEEK},
        {"{{ tools }}" DEEPSEEK_CALLS DEEPSEEK_SEP, TOOLS_DEEPSEEK_31},
        {"{{ tools }}[TOOL_CALLS]{{ name }}[ARGS]", TOOLS_MISTRAL_ARGS},
        {"{{ tools }}<|tool_calls_section_begin|><|tool_call_argument_begin|>", TOOLS_KIMI},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(tools_form_of(cases[i].text, strlen(cases[i].text)), cases[i].form);
    for (int f = 0; f < TOOLS_FORMS; f++) {
        assert_non_null(tools_form_name(f));
        assert_non_null(tools_marks(f));
    }
}

/* ---- reading ---- */

struct heard {
    struct buffer content, calls;
};

static int on_content(void *arg, const char *text, size_t bytes, struct error *e)
{
    (void)e;
    buffer_append(&((struct heard *)arg)->content, text, bytes);
    return 0;
}

static int on_call(void *arg, const char *name, const char *arguments, struct error *e)
{
    struct heard *h = arg;
    json_t *v = json_loads(arguments, 0, NULL);

    (void)e;
    if (!json_is_object(v)) fail_msg("%s: %s is no object", name, arguments);
    json_decref(v);
    buffer_append_text(&h->calls, name);
    buffer_append_text(&h->calls, arguments);
    buffer_append_byte(&h->calls, ';');
    return 0;
}

/* The text in pieces of so many bytes. */
static void hear(enum tools_form f, const char *text, size_t piece, struct heard *h)
{
    const struct tools_listener l = {on_content, on_call, h};
    struct tools_parser *p;
    struct error e = {0};
    json_t *list = tools();
    size_t n = strlen(text);

    h->content.bytes = h->calls.bytes = 0;
    assert_int_equal(tools_open(&p, f, list, &l, &e), 0);
    json_decref(list);
    for (size_t i = 0; i < n; i += piece)
        assert_int_equal(tools_push(p, text + i, n - i < piece ? n - i : piece, &e), 0);
    assert_int_equal(tools_finish(p, &e), 0);
    tools_close(p);
    buffer_append_byte(&h->content, 0);
    buffer_append_byte(&h->calls, 0);
}

static const struct {
    enum tools_form form;
    const char *text, *content, *calls;
} heard[] = {
    {TOOLS_HERMES, "just text, 1 < 2", "just text, 1 < 2", ""},
    {TOOLS_HERMES,
     "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"place\": \"\\u0141\\\"}\", \"days\": "
     "2}}\n</tool_call>",
     "", "get_weather{\"place\": \"\\u0141\\\"}\", \"days\": 2};"},
    {TOOLS_HERMES,
     "I "
     "look.\n\n<tool_call>{\"arguments\":{},\"name\":\"now\"}</"
     "tool_call>\n<tool_call>\n{\"name\":\"x\",\"arguments\":{\"y\":[1]}}\n</tool_call>\n",
     "I look.", "now{};x{\"y\":[1]};"},
    {TOOLS_HERMES, "<tool_call>{\"name\":\"now\"}", "", "now{};"},
    {TOOLS_HERMES, "<tool_call>{\"name\":\"now\",\"arguments\":\"{\\\"a\\\":1}\"}</tool_call> Done.", "Done.",
     "now{\"a\":1};"},
    {TOOLS_HERMES, "<tool_call>not JSON</tool_call>", "<tool_call>not JSON</tool_call>", ""},
    {TOOLS_HERMES, "<tool_call>{\"name\":\"now\",\"argum", "<tool_call>{\"name\":\"now\",\"argum", ""},
    {TOOLS_HERMES, "a <tool_c b <tool_", "a <tool_c b <tool_", ""},
    {TOOLS_HERMES, "<tool_call>{\"no name\":1}</tool_call>", "<tool_call>{\"no name\":1}</tool_call>", ""},
    {TOOLS_HERMES, "  leading and trailing \n", "  leading and trailing \n", ""},
    {TOOLS_XML,
     "So:\n<tool_call>\n<function=get_weather>\n<parameter=place>\n17\n</parameter>\n<parameter=days>\n2\n</"
     "parameter>\n<parameter=tags>\n[\"a\"]\n</parameter>\n<parameter=more>\nx < "
     "\"y\"\nz\n</parameter>\n</function>\n</tool_call>",
     "So:", "get_weather{\"place\": \"17\", \"days\": 2, \"tags\": [\"a\"], \"more\": \"x < \\\"y\\\"\\nz\"};"},
    {TOOLS_XML,
     "<tool_call>\n<function=now>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
     "", "now{};now{};"},
    {TOOLS_XML, "<tool_call>\n<function>\n</tool_call>", "<tool_call>\n<function>\n</tool_call>", ""},
    {TOOLS_GLM,
     "Hm.<tool_call>get_weather\n<arg_key>place</arg_key>\n<arg_value>\xc5\x81\xc3\xb3"
     "d\xc5\xba</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
     "Hm.",
     "get_weather{\"place\": \"\xc5\x81\xc3\xb3"
     "d\xc5\xba\", \"days\": 2};"},
    {TOOLS_GLM, "<tool_call>now</tool_call>", "", "now{};"},
    {TOOLS_LLAMA, "{\"name\": \"get_weather\", \"parameters\": {\"place\": \"x;y\"}}", "",
     "get_weather{\"place\": \"x;y\"};"},
    {TOOLS_LLAMA,
     "<|python_tag|>{\"type\":\"function\",\"name\":\"now\",\"parameters\":{}}; "
     "{\"name\":\"now\",\"parameters\":{\"a\":1}}",
     "", "now{};now{\"a\":1};"},
    {TOOLS_LLAMA, "{\"name\": \"somebody\", \"parameters\": {}}", "{\"name\": \"somebody\", \"parameters\": {}}", ""},
    {TOOLS_LLAMA, "{\"a\": [1, 2]} is JSON", "{\"a\": [1, 2]} is JSON", ""},
    {TOOLS_LLAMA, "text {\"name\": \"now\", \"parameters\": {}}", "text {\"name\": \"now\", \"parameters\": {}}", ""},
    {TOOLS_LLAMA, "{", "{", ""},
    {TOOLS_MISTRAL,
     "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}, \"id\": \"abcdef123\"}, {\"name\": \"x\", \"arguments\": "
     "{\"k\": \"]\"}}]",
     "", "now{};x{\"k\": \"]\"};"},
    {TOOLS_MISTRAL, "Yes. [TOOL_CALLS][{\"name\":\"now\",\"arguments\":{}}]", "Yes.", "now{};"},
    {TOOLS_MISTRAL, "[TOOL_CALLS] none", "[TOOL_CALLS] none", ""},
    {TOOLS_MISTRAL, "[TOOL_CALLS]", "[TOOL_CALLS]", ""},
    {TOOLS_MISTRAL_ARGS, "[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]get_weather[CALL_ID]abc[ARGS]{\"place\":\"{\"}", "",
     "now{};get_weather{\"place\":\"{\"};"},
    {TOOLS_GRANITE, "<|tool_call|>[{\"name\": \"now\", \"arguments\": {\"a\": null}}]", "", "now{\"a\": null};"},
    {TOOLS_DEEPSEEK,
     "Let me see." DEEPSEEK_CALLS DEEPSEEK_CALL "function" DEEPSEEK_SEP
     "get_weather\n```json\n{\"place\": \"```\"}\n```" DEEPSEEK_CALL_END "\n" DEEPSEEK_CALL "function" DEEPSEEK_SEP
     "now\n```json\n{}\n```" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END,
     "Let me see.", "get_weather{\"place\": \"```\"};now{};"},
    {TOOLS_DEEPSEEK_31,
     DEEPSEEK_CALLS DEEPSEEK_CALL "now" DEEPSEEK_SEP "{\"a\": 1}" DEEPSEEK_CALL_END DEEPSEEK_CALL "now" DEEPSEEK_SEP
                                  "{}" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END,
     "", "now{\"a\": 1};now{};"},
    {TOOLS_DEEPSEEK_31, DEEPSEEK_CALLS DEEPSEEK_CALL "now" DEEPSEEK_SEP "{}", "", "now{};"},
    {TOOLS_KIMI,
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{\"place\": "
     "\"P\"}<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_"
     "calls_section_end|>",
     "", "get_weather{\"place\": \"P\"};now{};"},
    {TOOLS_HARMONY,
     "<|channel|>analysis<|message|>think<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
     "<|constrain|>json<|message|>{\"place\":\"P\"}<|call|>",
     "<|channel|>analysis<|message|>think<|end|><|start|>assistant", "get_weather{\"place\":\"P\"};"},
    {TOOLS_HARMONY,
     "<|channel|>analysis<|message|>t<|end|><|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}",
     "<|channel|>analysis<|message|>t<|end|>", "now{};"},
    {TOOLS_HARMONY, " to=functions.now<|channel|>commentary json<|message|>{}<|call|>", "", "now{};"},
    {TOOLS_HARMONY, "<|channel|>final<|message|>Hello to=functions.now",
     "<|channel|>final<|message|>Hello to=functions.now", ""},
};

static void calls_are_heard_however_text_is_cut(void **state)
{
    struct heard h = {0};

    (void)state;
    for (size_t i = 0; i < sizeof heard / sizeof *heard; i++)
        for (size_t piece = 1; piece < 600; piece = piece < 12 ? piece + 1 : piece * 3) {
            hear(heard[i].form, heard[i].text, piece, &h);
            if (strcmp(h.content.data, heard[i].content) || strcmp(h.calls.data, heard[i].calls))
                fail_msg("%s in pieces of %zu: \"%s\" and \"%s\"", heard[i].text, piece, h.content.data, h.calls.data);
        }
    buffer_free(&h.content);
    buffer_free(&h.calls);
}

/* Whatever comes: all of it is content or part of a call, and nothing is read twice or beyond its end. */
static void any_text_is_taken(void **state)
{
    struct chance c = {123};
    struct heard h = {0};
    struct buffer text = {0};

    (void)state;
    for (int round = 0; round < 4000; round++) {
        const char *from = heard[chance_below(&c, sizeof heard / sizeof *heard)].text;
        enum tools_form f = 1 + chance_below(&c, TOOLS_FORMS - 1);
        size_t n = strlen(from);

        text.bytes = 0;
        for (uint32_t cut = 0; cut < 1 + chance_below(&c, 4); cut++) {
            size_t at = chance_below(&c, (uint32_t)n), most = n - at;

            if (chance_below(&c, 2)) at = 0, most = n;
            buffer_append(&text, from + at, chance_below(&c, (uint32_t)most + 1));
        }
        buffer_append_byte(&text, 0);
        hear(f, text.data, 1 + chance_below(&c, 9), &h);
        if (!*h.calls.data && h.content.bytes + 16 < text.bytes && f != TOOLS_LLAMA)
            fail_msg("%s: \"%s\" became \"%s\"", tools_form_name(f), text.data, h.content.data);
    }
    buffer_free(&h.content);
    buffer_free(&h.calls);
    buffer_free(&text);
}

/* ---- forcing ---- */

static struct tokenizer *tokenizer;

static int force(struct grammar **g, struct tools_force f, struct error *e)
{
    json_t *list = f.tools ? json_incref((json_t *)(uintptr_t)f.tools) : tools();
    int rc;

    f.tools = list;
    f.tokenizer = tokenizer;
    rc = tools_force(g, &f, e);
    json_decref(list);
    return rc;
}

static bool allows(const struct grammar *g, const char *text)
{
    struct grammar_states *s;
    struct error e = {0};
    uint32_t at;
    bool fine;

    assert_int_equal(grammar_states_open(&s, g, &e), 0);
    assert_int_equal(grammar_start(s, &at, &e), 0);
    assert_int_equal(grammar_advance(s, &at, text, strlen(text), &e), 0);
    fine = grammar_may_end(s, at);
    grammar_states_close(s);
    return fine;
}

static void forced_calls_are_as_templates_write_them(void **state)
{
    static const struct {
        struct tools_force f;
        const char *yes[2], *no[4];
    } cases[] = {
        {{.form = TOOLS_HERMES, .most = 2},
         {"<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"place\": \"P\", \"days\": 2}}\n</tool_call>",
          "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", "
          "\"arguments\": {}}\n</tool_call>"},
         {"Hello", "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>",
          "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"days\": 2}}\n</tool_call>",
          "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"a\": 1}}\n</tool_call>"}},
        {{.form = TOOLS_HERMES, .most = 1, .only = "now", .lead = "</think>"},
         {"Well </think><tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"},
         {"<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
          "</think><tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"place\": \"P\"}}\n</tool_call>",
          "</think><tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", "
          "\"arguments\": {}}\n</tool_call>"}},
        {{.form = TOOLS_XML, .most = 1},
         {"<tool_call>\n<function=get_weather>\n<parameter=place>\nany "
          "\"text\"\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
          "<tool_call>\n<function=now>\n</function>\n</tool_call>"},
         {"<tool_call>\n<function=get_weather>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
          "<tool_call>\n<function=get_weather>\n<parameter=place>\nx\n</parameter>\n<parameter=days>\n200\n</"
          "parameter>\n</function>\n</tool_call>"}},
        {{.form = TOOLS_GLM, .most = 1},
         {"<tool_call>get_weather\n<arg_key>place</arg_key>\n<arg_value>P</arg_value>\n<arg_key>tags</"
          "arg_key>\n<arg_value>[\"a\"]</arg_value>\n</tool_call>"},
         {"<tool_call>get_weather\n</tool_call>"}},
        {{.form = TOOLS_LLAMA, .most = 3}, {"{\"name\": \"now\", \"parameters\": {}}"}, {"<|python_tag|>x"}},
        {{.form = TOOLS_MISTRAL, .most = 2},
         {"[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}]",
          "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\", \"arguments\": {}}]"},
         {"[TOOL_CALLS] []"}},
        {{.form = TOOLS_DEEPSEEK, .most = 1},
         {DEEPSEEK_CALLS DEEPSEEK_CALL "function" DEEPSEEK_SEP
                                       "now\n```json\n{}\n```" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END},
         {DEEPSEEK_CALLS DEEPSEEK_CALLS_END}},
        {{.form = TOOLS_HARMONY, .most = 1},
         {"<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}"},
         {"<|channel|>final<|message|>{}"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct grammar *g;
        struct error e = {0};

        if (force(&g, cases[i].f, &e)) fail_msg("%s: %s", tools_form_name(cases[i].f.form), e.text);
        for (int k = 0; k < 2 && cases[i].yes[k]; k++)
            if (!allows(g, cases[i].yes[k])) fail_msg("%s is refused", cases[i].yes[k]);
        for (int k = 0; k < 4 && cases[i].no[k]; k++)
            if (allows(g, cases[i].no[k])) fail_msg("%s is allowed", cases[i].no[k]);
        grammar_close(g);
    }
}

#define TOKENS 140

/* Every form, a model without a mind: what it says is one call or more, of tools that there are. */
static void forced_calls_are_heard(void **state)
{
    static const char *const more[] = {"\n</parameter>", "</arg_value>", "</s>"};
    static char single[127][2];
    const char *list[TOKENS];
    size_t bytes[TOKENS], n = 0;
    struct chance c = {9};
    struct grammar_vocabulary *v;
    struct heard h = {0};
    struct error e = {0};

    (void)state;
    for (int b = 0; b < 127; b++) {
        single[b][0] = (char)b;
        if (b != '\n' && b < ' ') continue;
        list[n] = single[b];
        bytes[n++] = 1;
    }
    for (const char *s = DEEPSEEK_CALLS; *s; s++) /* their bytes, one by one */
        if ((uint8_t)*s >= 0x80) {
            list[n] = s;
            bytes[n++] = 1;
        }
    for (int i = 0; i < 3; i++) {
        list[n] = more[i];
        bytes[n++] = strlen(more[i]);
    }
    assert_true(n <= TOKENS);
    assert_int_equal(grammar_vocabulary_list(&v, list, bytes, (uint32_t)n, &e), 0);
    for (int round = 0; round < 12 * (TOOLS_FORMS - 1); round++) {
        enum tools_form f = 1 + round % (TOOLS_FORMS - 1);
        struct grammar *g;
        struct constraint *k;
        struct buffer text = {0};
        uint32_t made[6000], m = 0, end = (uint32_t)n - 1;
        const uint64_t *bits;

        if (force(&g, (struct tools_force){.form = f, .most = 1 + round % 3}, &e)) fail_msg("%s", e.text);
        if (constraint_open(&k, g, v, &end, 1, &e)) fail_msg("%s: %s", tools_form_name(f), e.text);
        while (m < 6000 && !constraint_complete(k, made, m)) {
            uint32_t may[TOKENS], count = 0;

            constraint_mask(k, made, m, &bits, &e);
            if (constraint_error(k)->code)
                fail_msg("%s: %.*s: %s", tools_form_name(f), (int)text.bytes, text.data, constraint_error(k)->text);
            for (uint32_t t = 0; t < n; t++)
                if ((bits[t / 64] >> t % 64 & 1) &&
                    ((uint8_t)list[t][0] < 0x80 || strstr(tools_form_name(f), "deepseek")))
                    may[count++] = t;
            made[m] = may[chance_below(&c, count)];
            if (made[m] == end) break;
            buffer_append(&text, list[made[m]], bytes[made[m]]);
            m++;
        }
        buffer_append_byte(&text, 0);
        if (m < 6000) {
            hear(f, text.data, 5, &h);
            if (strncmp(h.calls.data, "get_weather{", 12) && strncmp(h.calls.data, "now{", 4))
                fail_msg("%s: \"%s\" is heard as \"%s\"", tools_form_name(f), text.data, h.calls.data);
            if (*h.content.data)
                fail_msg("%s: \"%s\" has content \"%s\"", tools_form_name(f), text.data, h.content.data);
        }
        constraint_close(k);
        grammar_close(g);
        buffer_free(&text);
    }
    grammar_vocabulary_close(v);
    buffer_free(&h.content);
    buffer_free(&h.calls);
}

static void what_cannot_be_forced_is_named(void **state)
{
    static const struct {
        const char *tools;
        struct tools_force f;
        int code;
        const char *says;
    } cases[] = {
        {NULL, {.form = TOOLS_NONE, .most = 1}, ENOTSUP, "no form of calls"},
        {NULL, {.form = TOOLS_HERMES, .only = "never", .most = 1}, EINVAL, "tool_choice names never"},
        {"[]", {.form = TOOLS_HERMES, .most = 1}, EINVAL, "there are no tools"},
        {"{}", {.form = TOOLS_HERMES, .most = 1}, EINVAL, "tools must be a list"},
        {"[{\"function\":{}}]", {.form = TOOLS_HERMES, .most = 1}, EINVAL, "tools[0].function.name"},
        {"[{\"function\":{\"name\":\"a\\\"b\"}}]", {.form = TOOLS_HERMES, .most = 1}, EINVAL, "tools[0].function.name"},
        {"[{\"function\":{\"name\":\"a\",\"parameters\":{\"properties\":{\"x\":{\"not\":{}}}}}}]",
         {.form = TOOLS_HERMES, .most = 1},
         EINVAL,
         "tools[0].function.parameters.properties.x.not is not supported"},
        {"[{\"function\":{\"name\":\"a\",\"parameters\":{\"properties\":{\"x\":{\"type\":\"array\",\"contains\":{}}}}}}"
         "]",
         {.form = TOOLS_XML, .most = 1},
         EINVAL,
         "tools[0].function.parameters.properties.x.contains is not supported"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tools_force f = cases[i].f;
        struct grammar *g;
        struct error e = {0};
        json_t *list = cases[i].tools ? json_loads(cases[i].tools, 0, NULL) : NULL;

        f.tools = list;
        assert_int_equal(force(&g, f, &e), -cases[i].code);
        if (!strstr(e.text, cases[i].says)) fail_msg("%s", e.text);
        json_decref(list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_templates_have_their_forms),     cmocka_unit_test(forms_are_told_by_what_is_written),
        cmocka_unit_test(calls_are_heard_however_text_is_cut),      cmocka_unit_test(any_text_is_taken),
        cmocka_unit_test(forced_calls_are_as_templates_write_them), cmocka_unit_test(forced_calls_are_heard),
        cmocka_unit_test(what_cannot_be_forced_is_named),
    };
    struct error e = {0};
    int rc;

    if (tokenizer_open(&tokenizer, "tests/data/demo-model", &e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_close(tokenizer);
    return rc;
}

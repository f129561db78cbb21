/* Any text of a model in any form of calls: taken whole and in pieces alike, and what is called a call's arguments is an object. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/buffer.h"
#include "coordinator/text/json.h"
#include "coordinator/tools/form.h"
#include "tests/fuzz/fuzz.h"

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"now\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"s\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}}}}}]";

static int on_content(void *arg, const char *text, size_t bytes, struct error *e)
{
    (void)e;
    buffer_append((struct buffer *)arg, text, bytes);
    return 0;
}

static int on_call(void *arg, const char *name, const char *arguments, struct error *e)
{
    struct buffer *b = arg;
    json_t *v;

    if (json_read_text(&v, arguments, strlen(arguments), "arguments", 0, e)) fuzz_fail(e->text);
    json_decref(v);
    buffer_append_byte(b, 1);
    buffer_append_text(b, name);
    buffer_append_text(b, arguments);
    buffer_append_byte(b, 2);
    return 0;
}

static void hear(enum tools_form f, const json_t *tools, const uint8_t *data, size_t bytes, size_t piece,
                 struct buffer *out)
{
    const struct tools_listener l = {on_content, on_call, out};
    struct tools_parser *p;
    struct error e = {0};

    if (tools_open(&p, f, tools, &l, &e)) fuzz_fail(e.text);
    for (size_t i = 0; i < bytes; i += piece)
        if (tools_push(p, (const char *)data + i, bytes - i < piece ? bytes - i : piece, &e)) fuzz_fail(e.text);
    if (tools_finish(p, &e)) fuzz_fail(e.text);
    tools_close(p);
}

static void run(const uint8_t *data, size_t bytes)
{
    struct buffer whole = {0}, pieces = {0};
    json_t *tools;
    enum tools_form f;

    if (bytes < 2 || bytes > 4096 || memchr(data + 1, 0, bytes - 1)) return;
    tools = json_loads(tools_text, 0, NULL);
    f = 1 + *data % (TOOLS_FORMS - 1);
    hear(f, tools, data + 1, bytes - 1, bytes, &whole);
    hear(f, tools, data + 1, bytes - 1, 1 + *data / 32, &pieces);
    if (whole.bytes != pieces.bytes || (whole.bytes && memcmp(whole.data, pieces.data, whole.bytes)))
        fuzz_fail("in pieces it is another text");
    (void)tools_form_of((const char *)data, bytes);
    buffer_free(&whole);
    buffer_free(&pieces);
    json_decref(tools);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const texts[TOOLS_FORMS] = {
        [TOOLS_HERMES] = "So. <tool_call>\n{\"name\": \"now\", \"arguments\": {\"s\": \"}\", \"n\": 2}}\n</tool_call>",
        [TOOLS_XML] = "<tool_call>\n<function=now>\n<parameter=s>\n17\n</parameter>\n</function>\n</tool_call>",
        [TOOLS_GLM] = "<tool_call>now\n<arg_key>n</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
        [TOOLS_LLAMA] = "<|python_tag|>{\"name\":\"now\",\"parameters\":{}}; {\"name\":\"now\",\"parameters\":{}}",
        [TOOLS_MISTRAL] = "[TOOL_CALLS] [{\"name\":\"now\",\"arguments\":{}}, {\"name\":\"x\",\"arguments\":{}}]",
        [TOOLS_MISTRAL_ARGS] = "[TOOL_CALLS]now[ARGS]{\"s\":\"a\"}[TOOL_CALLS]now[ARGS]{}",
        [TOOLS_GRANITE] = "<|tool_call|>[{\"name\":\"now\",\"arguments\":{}}]",
        [TOOLS_DEEPSEEK] = DEEPSEEK_CALLS DEEPSEEK_CALL "function" DEEPSEEK_SEP
                                                        "now\n```json\n{}\n```" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END,
        [TOOLS_DEEPSEEK_31] = DEEPSEEK_CALLS DEEPSEEK_CALL "now" DEEPSEEK_SEP "{}" DEEPSEEK_CALL_END DEEPSEEK_CALLS_END,
        [TOOLS_KIMI] = "<|tool_calls_section_begin|><|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>{}"
                       "<|tool_call_end|><|tool_calls_section_end|>",
        [TOOLS_HARMONY] = "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>",
    };
    char text[512];

    for (int f = 1; f < TOOLS_FORMS; f++) {
        text[0] = (char)(f - 1 + (TOOLS_FORMS - 1) * 3);
        memcpy(text + 1, texts[f], strlen(texts[f]));
        emit(arg, text, strlen(texts[f]) + 1);
    }
}

const struct fuzz_target fuzz_tools = {"tools", run, seeds, -1};

#include <string.h>

#include "coordinator/tools/form.h"

static const char *const hermes_marks[] = {"<tool_call>", "</tool_call>", NULL};
static const char *const glm_marks[] = {"<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>",
                                        "<arg_value>", "</arg_value>", NULL};
static const char *const llama_marks[] = {"<|python_tag|>", NULL};
static const char *const mistral_marks[] = {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", NULL};
static const char *const granite_marks[] = {"<|tool_call|>", NULL};
static const char *const deepseek_marks[] = {DEEPSEEK_CALLS,    DEEPSEEK_CALLS_END, DEEPSEEK_CALL,
                                             DEEPSEEK_CALL_END, DEEPSEEK_SEP,       NULL};
static const char *const kimi_marks[] = {
    "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>", "<|tool_call_end|>",          NULL};
static const char *const harmony_marks[] = {"<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>",
                                            "<|call|>",    NULL};
static const char *const no_marks[] = {NULL};

const struct tools_shape tools_shapes[TOOLS_FORMS] = {
    [TOOLS_NONE] = {.name = "none", .marks = no_marks},
    [TOOLS_HERMES] = {"hermes", BODY_JSON, .begin = "<tool_call>", .end = "</tool_call>", .marks = hermes_marks},
    [TOOLS_XML] = {"xml", BODY_XML, .begin = "<tool_call>", .end = "</tool_call>", .marks = hermes_marks},
    [TOOLS_GLM] = {"glm", BODY_GLM, .begin = "<tool_call>", .end = "</tool_call>", .marks = glm_marks},
    [TOOLS_LLAMA] = {"llama", BODY_JSON, .begin = "<|python_tag|>", .marks = llama_marks},
    [TOOLS_MISTRAL] = {"mistral", BODY_LIST, .section = "[TOOL_CALLS]", .marks = mistral_marks},
    [TOOLS_MISTRAL_ARGS] = {"mistral-args", BODY_NAME, .begin = "[TOOL_CALLS]", .behind_name = "[ARGS]",
                            .marks = mistral_marks},
    [TOOLS_GRANITE] = {"granite", BODY_LIST, .section = "<|tool_call|>", .marks = granite_marks},
    [TOOLS_DEEPSEEK] = {"deepseek", BODY_NAME, DEEPSEEK_CALLS, DEEPSEEK_CALLS_END, DEEPSEEK_CALL, DEEPSEEK_CALL_END,
                        "function" DEEPSEEK_SEP, "\n```json\n", "\n```", deepseek_marks},
    [TOOLS_DEEPSEEK_31] = {"deepseek-3.1", BODY_NAME, DEEPSEEK_CALLS, DEEPSEEK_CALLS_END, DEEPSEEK_CALL,
                           DEEPSEEK_CALL_END, .behind_name = DEEPSEEK_SEP, .marks = deepseek_marks},
    [TOOLS_KIMI] = {"kimi", BODY_NAME, "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>",
                    "<|tool_call_begin|>", "<|tool_call_end|>", "functions.", "<|tool_call_argument_begin|>",
                    .marks = kimi_marks},
    [TOOLS_HARMONY] = {"harmony", BODY_NAME, .begin = "<|channel|>commentary to=functions.", .end = "<|call|>",
                       .behind_name = "<|message|>", .marks = harmony_marks},
};

const char *tools_form_name(enum tools_form f)
{
    return tools_shapes[f].name;
}

const char *const *tools_marks(enum tools_form f)
{
    return tools_shapes[f].marks;
}

bool tools_before_thoughts(enum tools_form f)
{
    return f == TOOLS_HARMONY;
}

enum tools_form tools_form_of(const char *text, size_t bytes)
{
    /* the first whose marks are all there */
    static const struct {
        const char *has[2];
        enum tools_form form;
    } known[] = {
        {{"<function=", "<parameter="}, TOOLS_XML},
        {{"<arg_key>", "<tool_call>"}, TOOLS_GLM},
        {{"<tool_call>", "tools"}, TOOLS_HERMES},
        {{"<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>"}, TOOLS_KIMI},
        {{DEEPSEEK_CALLS, "```json"}, TOOLS_DEEPSEEK},
        {{DEEPSEEK_CALLS, DEEPSEEK_SEP}, TOOLS_DEEPSEEK_31},
        {{"[TOOL_CALLS]", "[ARGS]"}, TOOLS_MISTRAL_ARGS},
        {{"[TOOL_CALLS]", "tools"}, TOOLS_MISTRAL},
        {{"<|tool_call|>", "tools"}, TOOLS_GRANITE},
        {{"<|channel|>commentary", "functions."}, TOOLS_HARMONY},
        {{"ipython", "\"parameters\": "}, TOOLS_LLAMA},
    };

    if (!memmem(text, bytes, "tools", 5)) return TOOLS_NONE;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (memmem(text, bytes, known[i].has[0], strlen(known[i].has[0])) &&
            memmem(text, bytes, known[i].has[1], strlen(known[i].has[1])))
            return known[i].form;
    return TOOLS_NONE;
}

const json_t *tools_function(const json_t *tools, const char *name, size_t bytes)
{
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *f = json_object_get(json_array_get(tools, i), "function");
        const char *own = json_string_value(json_object_get(f, "name"));

        if (own && strlen(own) == bytes && !memcmp(own, name, bytes)) return f;
    }
    return NULL;
}

const char *tools_type_of(const json_t *function, const char *key)
{
    const json_t *p = json_object_get(json_object_get(function, "parameters"), "properties");
    const json_t *type = json_object_get(json_object_get(p, key), "type");

    return json_string_value(json_is_array(type) ? json_array_get(type, 0) : type);
}

/* OpenAI's /v1/responses, without a state: its body becomes one of a chat. */
#include <stdio.h>
#include <string.h>

#include "coordinator/serve/ask.h"
#include "coordinator/serve/body.h"

static const char *const known[] = {"model", "input", "instructions", "max_output_tokens", "temperature", "top_p",
                                    "stream", "tools", "tool_choice", "text", "reasoning", "parallel_tool_calls",
                                    "truncation", "timeout_s", "seed", "chat_template_kwargs",
                                    /* taken and without a meaning here */
                                    "store", "metadata", "include", "user", "service_tier", "prompt_cache_key",
                                    "safety_identifier", "background", "top_logprobs", "stream_options", NULL};

static int memory(struct fault *f)
{
    return fault_set(f, 500, NULL, NULL, "out of memory");
}

static int add(json_t *list, json_t *message, struct fault *f)
{
    return !message || json_array_append_new(list, message) ? memory(f) : 0;
}

static int bad_item(struct fault *f, size_t number, const char *type)
{
    return fault_set(f, 400, "input", NULL, "input[%zu]: an item of the type %.40s is not supported", number,
                     type ? type : "nothing");
}

static json_t *last(const json_t *list)
{
    return json_array_get(list, json_array_size(list) - 1);
}

/* Calls that follow each other belong to one message. */
static int add_call(json_t *list, const json_t *item, size_t number, struct fault *f)
{
    json_t *m = last(list), *calls = json_object_get(m, "tool_calls");
    const char *role = json_string_value(json_object_get(m, "role"));
    const char *id = json_string_value(body_field(item, "call_id"));
    const char *name = json_string_value(body_field(item, "name"));
    const char *arguments = json_string_value(body_field(item, "arguments"));

    if (!id || !name || !arguments)
        return fault_set(f, 400, "input", NULL, "input[%zu]: a function_call needs call_id, name and arguments",
                         number);
    if (!role || strcmp(role, "assistant")) {
        if (add(list, json_pack("{s:s,s:s}", "role", "assistant", "content", ""), f)) return -1;
        m = last(list);
    }
    if (!calls && json_object_set_new(m, "tool_calls", calls = json_array())) return memory(f);
    return add(calls,
               json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", id, "type", "function", "function", "name", name, "arguments",
                         arguments),
               f);
}

static int add_output(json_t *list, const json_t *item, size_t number, struct fault *f)
{
    json_t *output = body_field(item, "output");
    const char *id = json_string_value(body_field(item, "call_id"));

    if (!id || (!json_is_string(output) && !json_is_array(output)))
        return fault_set(f, 400, "input", NULL, "input[%zu]: a function_call_output needs call_id and output", number);
    return add(list, json_pack("{s:s,s:s,s:O}", "role", "tool", "tool_call_id", id, "content", output), f);
}

/* What was thought belongs to the answer or the calls behind it. */
static int add_thought(json_t *list, const json_t *item, size_t number, struct fault *f)
{
    json_t *content = body_field(item, "content"), *part, *m;
    struct buffer text = {0};
    size_t i;

    if (content && !json_is_array(content))
        return fault_set(f, 400, "input", NULL, "input[%zu]: content must be a list", number);
    json_array_foreach(content, i, part)
    {
        json_t *t = body_field(part, "text");

        buffer_append(&text, json_is_string(t) ? json_string_value(t) : "", json_string_length(t));
    }
    if (!text.bytes && !text.failed) return 0;
    m = text.failed ? NULL
                    : json_pack("{s:s,s:s,s:s%}", "role", "assistant", "content", "", "reasoning_content",
                                text.data ? text.data : "", text.bytes);
    buffer_free(&text);
    return add(list, m, f);
}

static bool is_thought(const json_t *m)
{
    return json_object_get(m, "reasoning_content") && !json_object_get(m, "tool_calls") &&
           !json_string_length(json_object_get(m, "content"));
}

static int add_message(json_t *list, json_t *role, json_t *content, struct fault *f)
{
    json_t *m = last(list);

    if (is_thought(m) && json_is_string(role) && !strcmp(json_string_value(role), "assistant"))
        return json_object_set(m, "content", content) ? memory(f) : 0;
    return add(list, json_pack("{s:O,s:O}", "role", role, "content", content), f);
}

static int add_item(json_t *list, const json_t *item, size_t number, struct fault *f)
{
    const char *type = json_string_value(body_field(item, "type"));
    json_t *role = body_field(item, "role"), *content = body_field(item, "content");

    if (type && !strcmp(type, "function_call")) return add_call(list, item, number, f);
    if (type && !strcmp(type, "function_call_output")) return add_output(list, item, number, f);
    if (type && !strcmp(type, "reasoning")) return add_thought(list, item, number, f);
    if (type && strcmp(type, "message")) return bad_item(f, number, type);
    if (!role || !content) return bad_item(f, number, "message without role or content");
    return add_message(list, role, content, f);
}

static int read_input(json_t *chat, const json_t *body, struct fault *f)
{
    json_t *input = body_field(body, "input"), *instructions = body_field(body, "instructions"), *item;
    json_t *list = json_array();
    size_t i;

    if (!list || json_object_set_new(chat, "messages", list)) return memory(f);
    if (instructions && !json_is_string(instructions))
        return fault_set(f, 400, "instructions", NULL, "instructions must be a text");
    if (instructions && add(list, json_pack("{s:s,s:O}", "role", "system", "content", instructions), f)) return -1;
    if (json_is_string(input)) return add(list, json_pack("{s:s,s:O}", "role", "user", "content", input), f);
    if (!json_is_array(input) || !json_array_size(input))
        return fault_set(f, 400, "input", NULL, "input must be a text, or a list of items that is not empty");
    json_array_foreach(input, i, item) if (add_item(list, item, i, f)) return -1;
    return 0;
}

/* Tools are flat here. */
static int read_tools(json_t *chat, const json_t *body, struct fault *f)
{
    static const char *const keys[] = {"name", "description", "parameters", "strict", "type", NULL};
    json_t *tools = body_field(body, "tools"), *choice = body_field(body, "tool_choice"), *tool, *list = NULL;
    size_t i;

    if (tools && !json_is_array(tools)) return fault_set(f, 400, "tools", NULL, "tools must be a list");
    if (tools && (!(list = json_array()) || json_object_set_new(chat, "tools", list))) return memory(f);
    json_array_foreach(tools, i, tool)
    {
        const char *type = json_string_value(body_field(tool, "type"));
        json_t *function = json_object();

        if (type && !strcmp(type, "function") && body_part_known(tool, "tools", keys, f)) {
            json_decref(function);
            return -1;
        }
        for (size_t k = 0; keys[k + 1]; k++)
            if (body_field(tool, keys[k])) json_object_set(function, keys[k], body_field(tool, keys[k]));
        if (add(list, json_pack("{s:s,s:o}", "type", type ? type : "", "function", function), f)) return -1;
    }
    if (json_is_object(choice) && body_field(choice, "name")) {
        choice = json_pack("{s:s,s:{s:O}}", "type", "function", "function", "name", body_field(choice, "name"));
        return !choice || json_object_set_new(chat, "tool_choice", choice) ? memory(f) : 0;
    }
    return choice && json_object_set(chat, "tool_choice", choice) ? memory(f) : 0;
}

static int read_format(json_t *chat, const json_t *body, struct fault *f)
{
    static const char *const known_text[] = {"format", "verbosity", NULL};
    json_t *text = body_field(body, "text"), *format = body_field(text, "format"), *own;
    const char *type = json_string_value(body_field(format, "type"));

    if (text && (!json_is_object(text) || body_known(text, known_text, f)))
        return fault_set(f, 400, "text", NULL, "text must be an object with a format");
    if (body_field(text, "verbosity"))
        return fault_set(f, 400, "text", "unsupported_parameter", "text: verbosity is not supported by this server");
    if (!format) return 0;
    if (type && !strcmp(type, "json_schema"))
        own = json_pack("{s:s,s:O}", "type", "json_schema", "json_schema", format);
    else
        own = json_incref(format);
    return !own || json_object_set_new(chat, "response_format", own) ? memory(f) : 0;
}

static int check_reasoning(json_t *chat, const json_t *body, struct fault *f)
{
    static const char *const known_parts[] = {"effort", "summary", NULL};
    json_t *reasoning = body_field(body, "reasoning"), *effort, *summary;

    if (body_part_known(reasoning, "reasoning", known_parts, f)) return -1;
    effort = body_field(reasoning, "effort");
    summary = body_field(reasoning, "summary");
    if (summary && (!json_is_string(summary) || strcmp(json_string_value(summary), "auto")))
        return fault_set(f, 400, "reasoning", "unsupported_parameter",
                         "reasoning: summary may be auto: what was thought is told whole, and not summed up");
    return effort && json_object_set(chat, "reasoning_effort", effort) ? memory(f) : 0;
}

/* What was thought is told as it is, so that nothing encrypted has to be kept. */
static int check_include(const json_t *body, struct fault *f)
{
    json_t *include = body_field(body, "include"), *v;
    size_t i;

    if (include && !json_is_array(include)) return fault_set(f, 400, "include", NULL, "include must be a list");
    json_array_foreach(include, i, v)
    {
        const char *what = json_string_value(v);

        if (!what || strcmp(what, "reasoning.encrypted_content"))
            return fault_set(f, 400, "include", "unsupported_parameter", "include: %.60s is not supported here",
                             what ? what : "what is no text");
    }
    return 0;
}

static int check_rest(json_t *chat, const json_t *body, struct fault *f)
{
    static const char *const streaming[] = {"include_obfuscation", NULL};
    const char *truncation = "disabled";
    bool background = false;

    if (check_include(body, f) || body_part_known(body_field(body, "stream_options"), "stream_options", streaming, f))
        return -1;
    if (body_bool(body, "background", &background, f) || body_text(body, "truncation", &truncation, f)) return -1;
    if (background)
        return fault_set(f, 400, "background", NULL,
                         "background: nothing is kept here, so that nothing could be fetched");
    if (strcmp(truncation, "disabled"))
        return fault_set(f, 400, "truncation", NULL,
                         "truncation: only disabled is supported: nothing is cut off silently");
    if (body_field(body, "top_logprobs"))
        return fault_set(f, 400, "top_logprobs", NULL,
                         "top_logprobs is not supported here: /v1/chat/completions has it");
    return check_reasoning(chat, body, f);
}

static int make_chat(json_t *chat, const json_t *body, struct fault *f)
{
    static const char *const same[][2] = {{"model", "model"},
                                          {"max_output_tokens", "max_tokens"},
                                          {"temperature", "temperature"},
                                          {"top_p", "top_p"},
                                          {"stream", "stream"},
                                          {"parallel_tool_calls", "parallel_tool_calls"},
                                          {"timeout_s", "timeout_s"},
                                          {"seed", "seed"},
                                          {"chat_template_kwargs", "chat_template_kwargs"}};

    if (body_field(body, "previous_response_id") || body_field(body, "conversation"))
        return fault_set(f, 400, body_field(body, "conversation") ? "conversation" : "previous_response_id",
                         "unsupported_parameter", "nothing is kept here: send the whole conversation as input");
    if (body_known(body, known, f)) return -1;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (body_field(body, same[i][0]) && json_object_set(chat, same[i][1], body_field(body, same[i][0])))
            return memory(f);
    if (read_input(chat, body, f) || read_tools(chat, body, f) || read_format(chat, body, f)) return -1;
    return check_rest(chat, body, f);
}

/* What the answer repeats of the request. */
static json_t *frame_of(const json_t *body)
{
    static const char *const keys[] = {"instructions",
                                       "metadata",
                                       "parallel_tool_calls",
                                       "tool_choice",
                                       "tools",
                                       "max_output_tokens",
                                       "reasoning",
                                       "text",
                                       "truncation",
                                       "user",
                                       "prompt_cache_key",
                                       "safety_identifier",
                                       NULL};
    json_t *o = json_object();

    for (size_t i = 0; keys[i] && o; i++)
        if (body_field(body, keys[i])) json_object_set(o, keys[i], body_field(body, keys[i]));
    return o;
}

/* Names of parameters as this API has them. */
static void rename_param(struct fault *f)
{
    static const char *const names[][2] = {{"messages", "input"},
                                           {"max_tokens", "max_output_tokens"},
                                           {"response_format", "text"},
                                           {"reasoning_effort", "reasoning"}};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(f->param, names[i][0])) {
            snprintf(f->param, sizeof f->param, "%s", names[i][1]);
            return;
        }
}

int ask_responses(struct ask **out, const struct facts *x, const json_t *body, struct fault *f)
{
    json_t *chat = json_object();
    int rc = chat ? make_chat(chat, body, f) : memory(f);

    if (!rc) rc = ask_chat(out, x, chat, f);
    json_decref(chat);
    if (rc) {
        rename_param(f);
        return rc;
    }
    (*out)->api = ASK_RESPONSES;
    (*out)->frame = frame_of(body);
    return 0;
}

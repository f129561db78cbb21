/* Anthropic's /v1/messages: its body becomes one of a chat. */
#include <stdio.h>
#include <string.h>

#include "coordinator/serve/ask.h"
#include "coordinator/serve/body.h"

static const char *const known[] = {"model", "messages", "max_tokens", "system", "stop_sequences", "temperature",
                                    "top_p", "top_k", "stream", "tools", "tool_choice", "thinking", "timeout_s", "seed",
                                    "chat_template_kwargs",
                                    /* taken and without a meaning here */
                                    "metadata", "service_tier", NULL};

static int memory(struct fault *f)
{
    return fault_set(f, 500, NULL, NULL, "out of memory");
}

/* What a block may have; cache_control: what can be shared is shared anyway. NULL: there is no such block. */
static const char *const *block_keys(const char *type)
{
    static const char *const text[] = {"type", "text", "cache_control", NULL};
    static const char *const result[] = {"type", "tool_use_id", "content", "is_error", "cache_control", NULL};
    static const char *const use[] = {"type", "id", "name", "input", "caller", "cache_control", NULL};
    static const char *const thinking[] = {"type", "thinking", "signature", NULL};
    static const char *const redacted[] = {"type", "data", NULL};

    if (!type) return NULL;
    return !strcmp(type, "text")                ? text
           : !strcmp(type, "tool_result")       ? result
           : !strcmp(type, "tool_use")          ? use
           : !strcmp(type, "thinking")          ? thinking
           : !strcmp(type, "redacted_thinking") ? redacted
                                                : NULL;
}

static int check_block(const json_t *block, const char *param, struct fault *f)
{
    const char *const *keys = block_keys(json_string_value(body_field(block, "type")));

    return keys ? body_part_known(block, param, keys, f) : 0; /* others are refused where they are met */
}

/* A text, or the texts of a list of blocks; NULL: f says why. */
static json_t *text_of(const json_t *content, const char *param, struct fault *f)
{
    struct buffer text = {0};
    json_t *block, *joined;
    size_t i;

    if (json_is_string(content)) return json_incref((json_t *)content);
    json_array_foreach(content, i, block)
    {
        const char *type = json_string_value(body_field(block, "type"));
        json_t *t = body_field(block, "text");

        if (!type || strcmp(type, "text") || !json_is_string(t)) {
            buffer_free(&text);
            fault_set(f, 400, param, NULL, "%s: a block of the type %.40s is not supported: texts only", param,
                      type ? type : "nothing");
            return NULL;
        }
        if (check_block(block, param, f)) {
            buffer_free(&text);
            return NULL;
        }
        if (i) buffer_append_byte(&text, '\n');
        buffer_append(&text, json_string_value(t), json_string_length(t));
    }
    joined = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.bytes);
    buffer_free(&text);
    if (!joined) memory(f);
    return joined;
}

static int add(json_t *list, json_t *message, struct fault *f)
{
    return !message || json_array_append_new(list, message) ? memory(f) : 0;
}

/* What a message's blocks hold, gathered. */
struct gathered {
    struct buffer text, thought;
    json_t *calls;
};

static int gather_call(struct gathered *g, const json_t *block, struct fault *f)
{
    json_t *input = body_field(block, "input"), *call;
    const char *name = json_string_value(body_field(block, "name")), *id = json_string_value(body_field(block, "id"));

    if (!name || !id || !json_is_object(input))
        return fault_set(f, 400, "messages", NULL, "messages: a tool_use needs id, name and input");
    call =
        json_pack("{s:s,s:s,s:{s:s,s:O}}", "id", id, "type", "function", "function", "name", name, "arguments", input);
    if (!g->calls) g->calls = json_array();
    return add(g->calls, call, f);
}

static int add_result(json_t *list, const json_t *block, struct fault *f)
{
    const char *id = json_string_value(body_field(block, "tool_use_id"));
    json_t *content = body_field(block, "content"), *text;

    if (!id) return fault_set(f, 400, "messages", NULL, "messages: a tool_result needs tool_use_id");
    text = content ? text_of(content, "messages", f) : json_string("");
    if (!text) return -1;
    return add(list, json_pack("{s:s,s:s,s:o}", "role", "tool", "tool_call_id", id, "content", text), f);
}

static int gather(struct gathered *g, json_t *list, const json_t *block, bool user, struct fault *f)
{
    const char *type = json_string_value(body_field(block, "type"));
    json_t *text = body_field(block, type && !strcmp(type, "thinking") ? "thinking" : "text");

    if (check_block(block, "messages", f)) return -1;
    if (type && !strcmp(type, "text") && json_is_string(text)) {
        if (g->text.bytes) buffer_append_byte(&g->text, '\n');
        buffer_append(&g->text, json_string_value(text), json_string_length(text));
        return 0;
    }
    if (type && !strcmp(type, "tool_result") && user) return add_result(list, block, f);
    if (type && !strcmp(type, "tool_use") && !user) return gather_call(g, block, f);
    if (type && !strcmp(type, "redacted_thinking") && !user) return 0;
    if (type && !strcmp(type, "thinking") && !user && json_is_string(text)) {
        buffer_append(&g->thought, json_string_value(text), json_string_length(text));
        return 0;
    }
    return fault_set(f, 400, "messages", NULL, "messages: a block of the type %.40s is not supported here",
                     type ? type : "nothing");
}

static int finish(struct gathered *g, json_t *list, const char *role, bool result, struct fault *f)
{
    json_t *m;

    if (g->text.failed || g->thought.failed) return memory(f);
    if (result && !g->text.bytes) return 0; /* results alone are messages of their own */
    m = json_pack("{s:s,s:s%}", "role", role, "content", g->text.data ? g->text.data : "", g->text.bytes);
    if (m && g->calls) json_object_set(m, "tool_calls", g->calls);
    if (m && g->thought.bytes)
        json_object_set_new(m, "reasoning_content", json_stringn(g->thought.data, g->thought.bytes));
    return add(list, m, f);
}

static int add_message(json_t *list, const json_t *m, size_t number, struct fault *f)
{
    static const char *const keys[] = {"role", "content", NULL};
    const char *role = json_string_value(body_field(m, "role"));
    json_t *content = body_field(m, "content"), *block;
    bool user = role && !strcmp(role, "user"), result = false;
    struct gathered g = {0};
    size_t i;
    int rc = 0;

    if (!user && (!role || (strcmp(role, "assistant") && strcmp(role, "system"))))
        return fault_set(f, 400, "messages", NULL, "messages[%zu]: role must be user or assistant", number);
    if (!json_is_string(content) && !json_is_array(content))
        return fault_set(f, 400, "messages", NULL, "messages[%zu]: content must be a text or a list of blocks", number);
    if (body_part_known(m, "messages", keys, f)) return -1;
    if (json_is_string(content)) return add(list, json_pack("{s:s,s:O}", "role", role, "content", content), f);
    json_array_foreach(content, i, block)
    {
        const char *type = json_string_value(body_field(block, "type"));

        result |= type && !strcmp(type, "tool_result");
        if ((rc = gather(&g, list, block, user, f))) break;
    }
    if (!rc) rc = finish(&g, list, role, result, f);
    buffer_free(&g.text);
    buffer_free(&g.thought);
    json_decref(g.calls);
    return rc;
}

static int read_tools(json_t *chat, const json_t *body, struct fault *f)
{
    static const char *const keys[] = {"type", "name", "description", "input_schema", "strict", "cache_control", NULL};
    json_t *tools = body_field(body, "tools"), *tool, *list;
    size_t i;

    if (!tools) return 0;
    if (!json_is_array(tools)) return fault_set(f, 400, "tools", NULL, "tools must be a list");
    if (!(list = json_array()) || json_object_set_new(chat, "tools", list)) return memory(f);
    json_array_foreach(tools, i, tool)
    {
        json_t *schema = body_field(tool, "input_schema"), *name = body_field(tool, "name");
        json_t *about = body_field(tool, "description"), *function;
        const char *type = json_string_value(body_field(tool, "type"));

        if (!json_is_string(name) || (type && strcmp(type, "custom")))
            return fault_set(f, 400, "tools", NULL, "tools[%zu]: a name and an input_schema are needed", i);
        if (body_part_known(tool, "tools", keys, f)) return -1;
        function = json_pack("{s:O}", "name", name);
        if (function && schema) json_object_set(function, "parameters", schema);
        if (function && about) json_object_set(function, "description", about);
        if (add(list, json_pack("{s:s,s:o}", "type", "function", "function", function), f)) return -1;
    }
    return 0;
}

static int read_choice(json_t *chat, const json_t *body, struct fault *f)
{
    static const char *const keys[] = {"type", "name", "disable_parallel_tool_use", NULL};
    json_t *choice = body_field(body, "tool_choice"), *value, *one;
    const char *type = json_string_value(body_field(choice, "type"));

    if (!choice) return 0;
    if (body_part_known(choice, "tool_choice", keys, f)) return -1;
    if (!type) return fault_set(f, 400, "tool_choice", NULL, "tool_choice must be an object with a type");
    one = body_field(choice, "disable_parallel_tool_use");
    if (one && json_is_true(one)) json_object_set_new(chat, "parallel_tool_calls", json_false());
    if (!strcmp(type, "tool"))
        value = json_pack("{s:s,s:{s:O?}}", "type", "function", "function", "name", body_field(choice, "name"));
    else
        value = json_string(!strcmp(type, "any") ? "required" : type);
    return !value || json_object_set_new(chat, "tool_choice", value) ? memory(f) : 0;
}

static int read_thinking(json_t *chat, const json_t *body, struct fault *f)
{
    static const char *const keys[] = {"type", "budget_tokens", NULL};
    json_t *thinking = body_field(body, "thinking"), *vars = NULL;
    json_t *given = json_object_get(chat, "chat_template_kwargs");
    const char *type = json_string_value(body_field(thinking, "type"));

    if (!thinking) return 0;
    if (body_part_known(thinking, "thinking", keys, f)) return -1;
    if (!type || (strcmp(type, "enabled") && strcmp(type, "disabled") && strcmp(type, "adaptive")))
        return fault_set(f, 400, "thinking", NULL, "thinking: type must be enabled, adaptive or disabled");
    if (body_field(thinking, "budget_tokens"))
        return fault_set(f, 400, "thinking", "unsupported_parameter",
                         "thinking: budget_tokens is not supported by this server; max_tokens bounds the whole answer");
    if (!strcmp(type, "adaptive")) return 0;       /* as the model does by itself */
    if (given && !json_is_object(given)) return 0; /* refused where it is read */
    vars = given ? json_copy(given) : json_object();
    if (!vars || json_object_set_new(vars, "enable_thinking", json_boolean(strcmp(type, "disabled") != 0)) ||
        json_object_set_new(chat, "chat_template_kwargs", vars))
        return memory(f);
    return 0;
}

static int read_messages(json_t *chat, const json_t *body, struct fault *f)
{
    json_t *messages = body_field(body, "messages"), *system = body_field(body, "system"), *m, *list = json_array();
    size_t i;

    if (!list || json_object_set_new(chat, "messages", list)) return memory(f);
    if (!json_is_array(messages) || !json_array_size(messages))
        return fault_set(f, 400, "messages", NULL, "messages must be a list, and not empty");
    if (system) {
        json_t *text = json_is_string(system) || json_is_array(system) ? text_of(system, "system", f) : NULL;

        if (!text && !f->status) fault_set(f, 400, "system", NULL, "system must be a text or a list of blocks");
        if (!text || add(list, json_pack("{s:s,s:o}", "role", "system", "content", text), f)) return -1;
    }
    json_array_foreach(messages, i, m) if (add_message(list, m, i, f)) return -1;
    return 0;
}

int ask_messages_chat(json_t **chat, const json_t *body, bool count, struct fault *f)
{
    static const char *const same[] = {"model",     "max_tokens", "temperature",          "top_p", "top_k", "stream",
                                       "timeout_s", "seed",       "chat_template_kwargs", NULL};
    json_t *o = json_object(), *stop = body_field(body, "stop_sequences");
    int rc = o ? body_known(body, known, f) : memory(f);

    if (!rc && !count && !body_field(body, "max_tokens"))
        rc = fault_set(f, 400, "max_tokens", NULL, "max_tokens is missing");
    for (size_t i = 0; same[i] && !rc; i++)
        if (body_field(body, same[i]) && json_object_set(o, same[i], body_field(body, same[i]))) rc = memory(f);
    if (!rc && stop && json_object_set(o, "stop", stop)) rc = memory(f);
    if (!rc) rc = read_messages(o, body, f);
    if (!rc) rc = read_tools(o, body, f);
    if (!rc) rc = read_choice(o, body, f);
    if (!rc) rc = read_thinking(o, body, f);
    if (rc)
        json_decref(o);
    else
        *chat = o;
    return rc;
}

int ask_messages(struct ask **out, const struct facts *x, const json_t *body, struct fault *f)
{
    json_t *chat;
    int rc = ask_messages_chat(&chat, body, false, f);

    if (!rc) {
        rc = ask_chat(out, x, chat, f);
        json_decref(chat);
    }
    if (!rc) (*out)->api = ASK_MESSAGES;
    if (rc && !strcmp(f->param, "stop")) snprintf(f->param, sizeof f->param, "stop_sequences");
    if (rc && !strcmp(f->param, "chat_template_kwargs") && body_field(body, "thinking") &&
        !body_field(body, "chat_template_kwargs"))
        snprintf(f->param, sizeof f->param, "thinking");
    return rc;
}

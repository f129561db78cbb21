/* tools and tool_choice: which may be called, and whether one must be. */
#include <errno.h>
#include <string.h>

#include "coordinator/serve/ask.h"
#include "coordinator/serve/body.h"
#include "coordinator/serve/forms.h"

#define TOOLS_MAX 128
#define CALLS_MAX 16 /* of one answer, where they are forced */

static int check_tool(const json_t *tool, size_t i, struct fault *f)
{
    static const char *const known[] = {"type", "function", NULL};
    static const char *const inside[] = {"name", "description", "parameters", "strict", NULL};
    json_t *function = body_field(tool, "function");
    const char *type = json_string_value(body_field(tool, "type"));
    json_t *parameters = body_field(function, "parameters");

    if (!type || strcmp(type, "function"))
        return fault_set(f, 400, "tools", NULL, "tools[%zu]: only tools of the type function can be called", i);
    if (!json_is_string(body_field(function, "name")) || !*json_string_value(body_field(function, "name")))
        return fault_set(f, 400, "tools", NULL, "tools[%zu]: function.name is missing", i);
    if (parameters && !json_is_object(parameters))
        return fault_set(f, 400, "tools", NULL, "tools[%zu]: function.parameters must be a schema", i);
    if (body_part_known(tool, "tools", known, f)) return -1;
    return body_part_known(function, "tools", inside, f);
}

/* "required", or the name that must be called. false: neither. */
static int read_choice(struct ask *a, const json_t *body, bool *required, bool *none, struct fault *f)
{
    json_t *choice = body_field(body, "tool_choice");
    const char *word = json_string_value(choice), *type = json_string_value(body_field(choice, "type"));
    const char *name = json_string_value(body_field(body_field(choice, "function"), "name"));

    if (!choice || (word && !strcmp(word, "auto"))) return 0;
    *none = word && !strcmp(word, "none");
    *required = (word && !strcmp(word, "required")) || (type && !strcmp(type, "function") && name);
    a->only = word ? NULL : name;
    if (*none || *required) return 0;
    return fault_set(
        f, 400, "tool_choice", NULL,
        "tool_choice must be none, auto, required, or {\"type\":\"function\",\"function\":{\"name\":...}}");
}

int ask_tools(struct ask *a, const struct facts *x, const json_t *body, bool *forced, struct fault *f)
{
    json_t *tools = body_field(body, "tools"), *tool;
    bool none = false;
    size_t i;

    *forced = false;
    if (read_choice(a, body, forced, &none, f)) return -1;
    if (tools && !json_is_array(tools)) return fault_set(f, 400, "tools", NULL, "tools must be a list");
    if (!json_array_size(tools)) {
        if (*forced) return fault_set(f, 400, "tool_choice", NULL, "tool_choice: there are no tools");
        return 0;
    }
    if (json_array_size(tools) > TOOLS_MAX)
        return fault_set(f, 400, "tools", NULL, "%zu tools, and %d are allowed", json_array_size(tools), TOOLS_MAX);
    json_array_foreach(tools, i, tool) if (check_tool(tool, i, f)) return -1;
    if (none) return 0;
    if (x->tools_form == TOOLS_NONE)
        return fault_set(f, 400, "tools", NULL,
                         "this model's chat template has no tools, or writes their calls in a way that is not known");
    a->tools = json_incref(tools);
    return 0;
}

int ask_force(struct ask *a, const struct facts *x, const json_t *body, const char *lead, struct fault *f)
{
    bool several = true;
    struct tools_force force = {.form = x->tools_form,
                                .tokenizer = x->tokenizer,
                                .tools = a->tools,
                                .only = a->only,
                                .most = CALLS_MAX,
                                .lead = lead};
    struct error e = {0};

    if (body_bool(body, "parallel_tool_calls", &several, f)) return -1;
    if (!several || a->only) force.most = 1;
    if (tools_force(&a->grammar, &force, &e))
        return fault_set(f, e.code == ENOMEM ? 500 : 400, "tools", NULL, "%.480s", e.text);
    return forms_try(a->grammar, x, "tools", f);
}

#include "coordinator/cli/template_vars.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cli/input.h"

static int add_tools(const struct options *o, json_t *vars, struct error *e)
{
    struct input_limit limit = input_limit_json();
    json_t *tools;
    char *text;
    size_t bytes;
    int rc;

    if (!o->tools_file) return 0;
    rc = input_read(o->tools_file, &limit, &text, &bytes, e);
    if (rc) {
        error_prefix(e, "--tools");
        return rc;
    }
    rc = json_read_text(&tools, text, bytes, o->tools_file, JSON_READ_ANY, e);
    free(text);
    if (rc) return rc;
    if (!json_is_array(tools)) {
        json_decref(tools);
        return error_set(e, EINVAL, "%s: tools are a JSON list, one object for each", o->tools_file);
    }
    return json_object_set_new(vars, "tools", tools) ? error_set(e, ENOMEM, "out of memory") : 0;
}

static int add_var(const char *pair, json_t *vars, struct error *e)
{
    const char *is = strchr(pair, '=');
    struct error unread = {0};
    json_t *value = NULL;
    char name[128];
    int rc;

    if (!is || is == pair || (size_t)(is - pair) >= sizeof name)
        return error_set(e, EINVAL, "--var wants name=value, not \"%s\"", pair);
    memcpy(name, pair, (size_t)(is - pair));
    name[is - pair] = 0;
    rc = json_read_text(&value, is + 1, strlen(is + 1), name, JSON_READ_ANY, &unread);
    if (rc == -ENOMEM) return error_set(e, ENOMEM, "out of memory");
    if (rc) value = json_string(is + 1);
    if (!value || json_object_set_new(vars, name, value))
        return error_set(e, EINVAL, "--var %s: the value is not UTF-8", name);
    return 0;
}

int template_vars_given(const struct options *o, json_t *vars, struct error *e)
{
    int rc = 0;

    if (o->think == THINK_OFF && json_object_set_new(vars, "enable_thinking", json_false()))
        return error_set(e, ENOMEM, "out of memory");
    rc = add_tools(o, vars, e);
    for (size_t i = 0; i < o->vars && !rc; i++) rc = add_var(o->var[i], vars, e);
    return rc;
}

int template_vars(const struct options *o, json_t *messages, bool generation_prompt, json_t **vars, struct error *e)
{
    json_t *v = json_pack("{s:O,s:b}", "messages", messages, "add_generation_prompt", generation_prompt);
    int rc;

    if (!v) return error_set(e, ENOMEM, "out of memory");
    rc = template_vars_given(o, v, e);
    if (rc)
        json_decref(v);
    else
        *vars = v;
    return rc;
}

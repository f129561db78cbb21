/* sluice template: a chat template filled in. */
#include "coordinator/cli/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "coordinator/cli/input.h"
#include "coordinator/cli/template_vars.h"
#include "coordinator/cli/values.h"
#include "coordinator/source/source.h"
#include "coordinator/view/terminal.h"

static int read_json(const char *path, json_t **out, struct error *e)
{
    struct input_limit limit = input_limit_json();
    const char *name = input_name(path);
    char *text;
    size_t bytes;
    int rc = input_read(path, &limit, &text, &bytes, e);

    if (rc) return rc;
    rc = json_read_text(out, text, bytes, name, JSON_READ_ANY, e);
    free(text);
    return rc;
}

/* A list is the messages; an object is all variables. *json becomes an object, or NULL without memory. */
static int to_variables(json_t **json, const char *path, struct error *e)
{
    const char *name = input_name(path);
    json_t *vars;

    if (json_is_array(*json)) *json = json_pack("{s:o}", "messages", *json);
    if (!*json) return error_set(e, ENOMEM, "no memory for the messages");
    vars = *json;
    if (!json_is_members(vars))
        return error_set(e, EINVAL, "%s: must be a list of messages, or an object with messages in it", name);
    if (!json_is_array(json_object_get(vars, "messages")))
        return error_set(e, EINVAL, "%s: \"messages\" must be a list of messages", name);
    if (!json_object_get(vars, "add_generation_prompt") &&
        json_object_set_new(vars, "add_generation_prompt", json_true()))
        return error_set(e, ENOMEM, "no memory for the messages");
    return 0;
}

static int variables(json_t **vars, const struct options *o, struct error *e)
{
    int rc = read_json(o->messages_file, vars, e);

    if (!rc) rc = to_variables(vars, o->messages_file, e);
    return rc ? rc : template_vars_given(o, *vars, e);
}

int command_template(const struct options *o, struct error *e)
{
    struct template *t = NULL;
    json_t *vars = NULL;
    char *text = NULL;
    struct tm date;
    size_t bytes;
    int rc;

    rc = source_template(o->source, o->template_name, &t, e);
    if (!rc) rc = variables(&vars, o, e);
    if (!rc && o->date) value_date(o->date, &date); /* was checked */
    if (!rc) rc = template_render(t, vars, o->date ? &date : NULL, &text, &bytes, e);
    if (!rc) {
        fwrite(text, 1, bytes, stdout);
        if (terminal_is(1) && (!bytes || text[bytes - 1] != '\n')) putchar('\n');
    }
    free(text);
    json_decref(vars);
    template_close(t);
    return rc;
}

#include "coordinator/cli/prompt.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/cli/input.h"
#include "coordinator/cli/template_vars.h"
#include "coordinator/cli/values.h"
#include "coordinator/source/template.h"

int prompt_read(const struct options *o, char **text, size_t *bytes, struct error *e)
{
    if (o->prompt) {
        *text = strdup(o->prompt);
        *bytes = strlen(o->prompt);
        return *text ? 0 : error_set(e, ENOMEM, "out of memory");
    }
    if (!o->prompt_file && isatty(STDIN_FILENO) && !o->quiet)
        fputs("sluice: type the prompt, end with Ctrl-D\n", stderr);
    return input_read(o->prompt_file, text, bytes, e);
}

void prompt_trim(const struct options *o, char *text, size_t *bytes)
{
    if (o->prompt || !*bytes || text[*bytes - 1] != '\n') return;
    --*bytes;
    if (*bytes && text[*bytes - 1] == '\r') --*bytes;
    text[*bytes] = 0;
}

static int render_chat(const struct options *o, struct template *t, const char *text, size_t bytes, char **out,
                       size_t *out_bytes, struct error *e)
{
    json_t *messages = json_array(), *vars = NULL;
    struct tm date;
    int rc;

    if (o->system) json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "system", "content", o->system));
    json_array_append_new(messages, json_pack("{s:s,s:s%}", "role", "user", "content", text, bytes));
    rc = template_vars(o, messages, true, &vars, e);
    if (o->date) value_date(o->date, &date); /* was checked */
    if (!rc) rc = template_render(t, vars, o->date ? &date : NULL, out, out_bytes, e);
    json_decref(vars);
    json_decref(messages);
    return rc;
}

int prompt_encode(const struct instance *i, const char *text, size_t bytes, struct token_ids *out, struct error *e)
{
    const struct options *o = instance_options(i);
    const struct tokenizer *t = instance_tokenizer(i);
    char *rendered;
    size_t n;
    int rc;

    if (!o->chat) return tokenizer_encode(t, text, bytes, true, out, e);
    if ((rc = render_chat(o, instance_template(i), text, bytes, &rendered, &n, e))) return rc;
    rc = tokenizer_encode(t, rendered, n, false, out, e);
    free(rendered);
    return rc;
}

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
#include "coordinator/plan/machine.h"
#include "coordinator/source/template.h"

#define MEMORY_SHARE 16u

uint64_t prompt_memory(const struct instance *i)
{
    const struct options *o = instance_options(i);
    struct machine m;

    if (o->host_memory != UINT64_MAX) return o->host_memory / MEMORY_SHARE;
    machine_look(&m);
    return m.free_bytes / MEMORY_SHARE;
}

struct input_limit prompt_limit(const struct instance *i, uint32_t positions)
{
    const struct options *o = instance_options(i);
    size_t longest = tokenizer_longest(instance_tokenizer(i));
    uint64_t share = prompt_memory(i);
    struct input_limit l;

    if (!positions) positions = o->context ? (uint32_t)o->context : model_positions(instance_model(i));
    l.bytes = (size_t)positions * longest;
    snprintf(l.why, sizeof l.why,
             "the context has %u positions, and a token of this model is at most %zu bytes of text", positions,
             longest);
    if (l.bytes <= share) return l;
    l.bytes = share;
    snprintf(l.why, sizeof l.why, "that is a %uth of %s, the rest is for the model", MEMORY_SHARE,
             o->host_memory == UINT64_MAX ? "the free memory" : "--host-memory");
    return l;
}

int prompt_read(const struct instance *i, char **text, size_t *bytes, struct error *e)
{
    const struct options *o = instance_options(i);
    struct input_limit limit;

    if (o->prompt) {
        *text = strdup(o->prompt);
        *bytes = strlen(o->prompt);
        return *text ? 0 : error_set(e, ENOMEM, "out of memory");
    }
    if (!o->prompt_file && isatty(STDIN_FILENO) && !o->quiet)
        fputs("sluice: type the prompt, end with Ctrl-D\n", stderr);
    limit = prompt_limit(i, 0);
    return input_read(o->prompt_file, &limit, text, bytes, e);
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

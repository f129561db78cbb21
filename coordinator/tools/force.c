/* Calls of tools as a grammar. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/buffer.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "coordinator/tools/form.h"

#define PIECES_MAX 4096

/* Pieces and texts of all forms, which live until the grammar is made. */
struct making {
    const struct tools_force *f;
    const struct tools_shape *shape;
    char **text;
    size_t texts, text_room;
    struct grammar_form *form; /* one a tool */
    size_t forms;
    struct grammar_form *part; /* parameters that may be left out */
    size_t parts;
    json_t *nothing; /* parameters of a function that names none */
    bool failed;
};

/* The pieces of one form while they are put together. */
struct pieces {
    struct making *m;
    struct grammar_piece *piece;
    size_t count, room;
};

static const char *keep(struct making *m, char *text)
{
    char **more = array_grow(m->text, sizeof *more, &m->text_room, m->texts + 1);

    if (!text || !more) {
        free(text);
        m->failed = true;
        return "";
    }
    m->text = more;
    m->text[m->texts++] = text;
    return text;
}

static void add(struct pieces *p, struct grammar_piece piece)
{
    struct grammar_piece *more = array_grow(p->piece, sizeof *more, &p->room, p->count + 1);

    if (!more) {
        p->m->failed = true;
        return;
    }
    p->piece = more;
    p->piece[p->count++] = piece;
}

static void text(struct pieces *p, const char *s)
{
    add(p, (struct grammar_piece){.text = s});
}

static bool is_special(const struct tokenizer *t, const char *s)
{
    int64_t id = tokenizer_token_id(t, s);

    return id >= 0 && tokenizer_is_special(t, (uint32_t)id);
}

/* A mark is the special token where the tokenizer has one, else its bytes. */
static void mark(struct pieces *p, const char *s)
{
    if (is_special(p->m->f->tokenizer, s))
        add(p, (struct grammar_piece){.special = s});
    else
        text(p, s);
}

/* before NAME behind, as one text. */
static void named(struct pieces *p, const char *before, const char *name, const char *behind)
{
    char *s = NULL;

    if (asprintf(&s, "%s%s%s", before, name, behind) < 0) s = NULL;
    text(p, keep(p->m, s));
}

static const json_t *parameters(struct making *m, const json_t *function)
{
    const json_t *s = json_object_get(function, "parameters");

    if (s && !json_is_null(s)) return s;
    if (!m->nothing) m->nothing = json_pack("{sssb}", "type", "object", "additionalProperties", 0);
    if (!m->nothing) m->failed = true;
    return m->nothing;
}

static void schema(struct pieces *p, const json_t *s, const json_t *root, size_t tool, const char *key)
{
    char *name = NULL;

    if (asprintf(&name, "tools[%zu].function.parameters%s%.200s", tool, key ? ".properties." : "", key ? key : "") < 0)
        name = NULL;
    add(p, (struct grammar_piece){.schema = s, .root = root, .name = keep(p->m, name)});
}

/* The name as it stands in a JSON string. */
static const char *json_name(struct making *m, const char *name)
{
    json_t *v = json_string(name);
    char *said = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;

    json_decref(v);
    return keep(m, said);
}

/* ---- forms without JSON: a parameter at a time ---- */

static bool is_required(const json_t *s, const char *key)
{
    const json_t *list = json_object_get(s, "required");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name && !strcmp(name, key)) return true;
    }
    return false;
}

static void value(struct pieces *p, const json_t *function, const json_t *s, const char *key, size_t tool,
                  const char *end)
{
    const char *type = tools_type_of(function, key);
    bool special = is_special(p->m->f->tokenizer, end);

    if (type && !strcmp(type, "string")) {
        add(p, (struct grammar_piece){.until = end, .until_special = special});
        return;
    }
    schema(p, s, parameters(p->m, function), tool, key);
    if (p->m->shape->body == BODY_XML) text(p, "\n");
    mark(p, end);
}

static void parameter(struct pieces *p, const json_t *function, const json_t *s, const char *key, size_t tool)
{
    if (p->m->shape->body == BODY_XML) {
        named(p, "<parameter=", key, ">\n");
        value(p, function, s, key, tool, "</parameter>");
        text(p, "\n");
    } else { /* the marks of values may be special tokens */
        mark(p, "<arg_key>");
        text(p, key);
        mark(p, "</arg_key>");
        text(p, "\n");
        mark(p, "<arg_value>");
        value(p, function, s, key, tool, "</arg_value>");
        text(p, "\n");
    }
}

static int parameter_list(struct pieces *p, const json_t *function, size_t tool, struct error *e)
{
    struct making *m = p->m;
    const json_t *all = parameters(m, function);
    const char *key;
    json_t *s;

    json_object_foreach(json_object_get(all, "properties"), key, s)
    {
        struct pieces own = {.m = m};

        if (m->parts == PIECES_MAX)
            return error_set(e, EINVAL, "tools[%zu].function.parameters: too many of them", tool);
        if (is_required(all, key)) {
            parameter(p, function, s, key, tool);
            continue;
        }
        parameter(&own, function, s, key, tool);
        m->part[m->parts] = (struct grammar_form){own.piece, own.count};
        add(p, (struct grammar_piece){.perhaps = &m->part[m->parts++]});
    }
    return 0;
}

/* ---- one call ---- */

static int call(struct pieces *p, const json_t *function, const char *name, size_t tool, struct error *e)
{
    struct making *m = p->m;
    const struct tools_shape *f = m->shape;
    int rc = 0;

    switch (f->body) {
    case BODY_XML:
        mark(p, f->begin);
        named(p, "\n<function=", name, ">\n");
        rc = parameter_list(p, function, tool, e);
        text(p, "</function>\n");
        mark(p, f->end);
        break;
    case BODY_GLM:
        mark(p, f->begin);
        named(p, "", name, "\n");
        rc = parameter_list(p, function, tool, e);
        mark(p, f->end);
        break;
    case BODY_NAME:
        if (m->f->form == TOOLS_HARMONY) {
            mark(p, "<|channel|>");
            named(p, "commentary to=functions.", name, " ");
            mark(p, "<|constrain|>");
            text(p, "json");
        } else {
            mark(p, f->begin);
            if (m->f->form == TOOLS_DEEPSEEK) {
                text(p, "function");
                mark(p, DEEPSEEK_SEP);
            } else if (f->before_name) {
                text(p, f->before_name);
            }
            named(p, "", name, m->f->form == TOOLS_KIMI ? ":0" : "");
        }
        mark(p, f->behind_name);
        schema(p, parameters(m, function), NULL, tool, NULL);
        if (f->behind_json) text(p, f->behind_json);
        if (f->end && m->f->form != TOOLS_HARMONY) mark(p, f->end); /* harmony's ends the turn: the model says it */
        break;
    default:
        if (f->begin && m->f->form != TOOLS_LLAMA) {
            mark(p, f->begin);
            text(p, "\n");
        }
        named(p, "{\"name\": ", json_name(m, name),
              m->f->form == TOOLS_LLAMA ? ", \"parameters\": " : ", \"arguments\": ");
        schema(p, parameters(m, function), NULL, tool, NULL);
        text(p, "}");
        if (f->end) {
            text(p, "\n");
            mark(p, f->end);
        }
    }
    return rc;
}

/* Names go into marks: they must not end them. */
static bool plain(const char *name)
{
    return *name && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == strlen(name);
}

static int calls(struct making *m, struct error *e)
{
    for (size_t i = 0; i < json_array_size(m->f->tools); i++) {
        const json_t *function = json_object_get(json_array_get(m->f->tools, i), "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        struct pieces p = {.m = m};
        int rc;

        if (!name) return error_set(e, EINVAL, "tools[%zu].function.name must be a string", i);
        if (m->f->only && strcmp(name, m->f->only)) continue;
        if (!plain(name))
            return error_set(e, EINVAL, "tools[%zu].function.name may have letters, digits, _, - and . only", i);
        rc = call(&p, function, name, i, e);
        m->form[m->forms++] = (struct grammar_form){p.piece, p.count};
        if (rc) return rc;
    }
    if (m->forms) return 0;
    if (m->f->only) return error_set(e, EINVAL, "tool_choice names %.100s, which is none of the tools", m->f->only);
    return error_set(e, EINVAL, "tool_choice asks for a call, and there are no tools");
}

/* ---- around all calls ---- */

static void around(struct making *m, struct pieces *before, struct pieces *behind, struct grammar_config *c)
{
    const struct tools_shape *f = m->shape;

    if (f->section) mark(before, f->section);
    if (f->body == BODY_LIST) {
        text(before, m->f->form == TOOLS_MISTRAL ? " [" : "[");
        text(behind, "]");
    }
    if (f->section_end) mark(behind, f->section_end);
    c->before = (struct grammar_form){before->piece, before->count};
    c->behind = (struct grammar_form){behind->piece, behind->count};
    if (m->f->most < 2) return;
    c->most = m->f->most;
    switch (m->f->form) {
    case TOOLS_LLAMA: /* one call at a time */
    case TOOLS_KIMI:
    case TOOLS_HARMONY: c->most = 1; break;
    case TOOLS_MISTRAL:
    case TOOLS_GRANITE: c->separator = ", "; break;
    case TOOLS_MISTRAL_ARGS:
    case TOOLS_DEEPSEEK_31: c->separator = ""; break;
    default: c->separator = "\n";
    }
}

static void clean(struct making *m, struct pieces *before, struct pieces *behind)
{
    for (size_t i = 0; i < m->texts; i++) free(m->text[i]);
    for (size_t i = 0; i < m->forms; i++) free((void *)(uintptr_t)m->form[i].piece);
    for (size_t i = 0; i < m->parts; i++) free((void *)(uintptr_t)m->part[i].piece);
    free(before->piece);
    free(behind->piece);
    free(m->text);
    free(m->form);
    free(m->part);
    json_decref(m->nothing);
}

int tools_force(struct grammar **out, const struct tools_force *f, struct error *e)
{
    struct making m = {.f = f, .shape = &tools_shapes[f->form]};
    struct pieces before = {.m = &m}, behind = {.m = &m};
    struct grammar_config c = {0};
    int rc = 0;

    if (f->form == TOOLS_NONE)
        return error_set(e, ENOTSUP, "the model's chat template has no form of calls that is known");
    if (!json_is_array(f->tools)) return error_set(e, EINVAL, "tools must be a list");
    m.form = calloc(json_array_size(f->tools) + 1, sizeof *m.form);
    m.part = calloc(PIECES_MAX, sizeof *m.part);
    m.failed = !m.form || !m.part;
    if (!m.failed) rc = calls(&m, e);
    if (!rc && !m.failed) around(&m, &before, &behind, &c);
    if (!rc && m.failed) rc = error_set(e, ENOMEM, "out of memory");
    c.form = m.form;
    c.forms = m.forms;
    c.lead = f->lead;
    c.lead_special = f->lead && is_special(f->tokenizer, f->lead);
    if (!rc) rc = grammar_open(out, &c, e);
    clean(&m, &before, &behind);
    return rc;
}

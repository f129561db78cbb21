/* Chat templates of model folders: finding them, the variables they are given, rendering. */
#include "coordinator/source/template.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/jinja/jinja.h"
#include "coordinator/text/json.h"
#include "proto/base/file.h"

enum { FILE_MAX = 256 << 20 };

struct template
{
    char *folder;                     /* or the file, of one that lies in a file */
    json_t *sources;                  /* name to text */
    json_t *tokens;                   /* special tokens, as the template sees them */
    struct jinja *usual, *with_tools; /* with_tools: NULL where usual serves both */
    const json_t *usual_text;         /* of sources */
};

static int no_memory(struct error *e)
{
    return error_set(e, ENOMEM, "out of memory for a chat template");
}

/* -- files -- */

static int path_of(char *path, size_t room, const char *folder, const char *name, struct error *e)
{
    if (snprintf(path, room, "%s/%s", folder, name) < (int)room) return 0;
    return error_set(e, ENAMETOOLONG, "the path %.200s... is too long", folder);
}

/* No such file: *e is as it was. */
static bool absent(int rc, struct error *e)
{
    if (rc != -ENOENT && rc != -ENOTDIR) return false;
    e->code = 0;
    return true;
}

/* *text stays NULL where there is no such file. */
static int read_file(const char *folder, const char *name, char **text, uint64_t *bytes, struct error *e)
{
    char path[4096];
    *text = NULL;
    int rc = path_of(path, sizeof path, folder, name, e);
    rc = rc ? rc : file_load(text, bytes, path, FILE_MAX, e);
    return absent(rc, e) ? 0 : rc;
}

/* *json stays NULL where there is no such file. */
static int read_json(const char *folder, const char *name, json_t **json, struct error *e)
{
    char path[4096];
    *json = NULL;
    int rc = path_of(path, sizeof path, folder, name, e);
    rc = rc ? rc : json_read_file(json, path, FILE_MAX, e);
    return absent(rc, e) ? 0 : rc;
}

/* -- templates -- */

/* A text, or a list of {"name": ..., "template": ...}. */
static int add_sources(struct template *t, const json_t *given, const char *file, struct error *e)
{
    if (json_is_string(given)) return json_object_set(t->sources, "default", (json_t *)given) ? no_memory(e) : 0;
    if (!json_is_array(given))
        return error_set(e, EINVAL, "%s/%s: chat_template must be a string or a list of named ones", t->folder, file);
    for (size_t i = 0; i < json_array_size(given); i++) {
        json_t *one = json_array_get(given, i), *text = json_object_get(one, "template");
        const char *name = json_string_value(json_object_get(one, "name"));
        if (!name || !json_is_string(text))
            return error_set(e, EINVAL, "%s/%s: chat_template[%zu] must have a name and a template", t->folder, file,
                             i);
        if (json_object_set(t->sources, name, text)) return no_memory(e);
    }
    return 0;
}

static int add_text(struct template *t, const char *name, const char *file, struct error *e)
{
    char *text;
    uint64_t bytes = 0;
    int rc = read_file(t->folder, file, &text, &bytes, e);
    if (rc || !text) return rc;
    json_t *source = json_stringn(text, bytes);
    free(text);
    if (!source) return error_set(e, EINVAL, "%s/%s is not UTF-8", t->folder, file);
    return json_object_set_new(t->sources, name, source) ? no_memory(e) : 0;
}

static int add_named_files(struct template *t, struct error *e)
{
    char path[4096], file[512];
    int rc = 0;
    if (snprintf(path, sizeof path, "%s/additional_chat_templates", t->folder) >= (int)sizeof path) return 0;
    DIR *d = opendir(path);
    for (struct dirent *entry; d && !rc && (entry = readdir(d));) {
        size_t n = strlen(entry->d_name), suffix = strlen(".jinja");
        if (n <= suffix || strcmp(entry->d_name + n - suffix, ".jinja")) continue;
        snprintf(file, sizeof file, "additional_chat_templates/%s", entry->d_name);
        entry->d_name[n - suffix] = 0;
        rc = add_text(t, entry->d_name, file, e);
    }
    if (d) closedir(d);
    return rc;
}

static int find_sources(struct template *t, const json_t *config, struct error *e)
{
    json_t *file = NULL, *given;
    int rc = add_text(t, "default", "chat_template.jinja", e);
    if (!rc) rc = add_named_files(t, e);
    if (rc || json_object_size(t->sources)) return rc;
    rc = read_json(t->folder, "chat_template.json", &file, e);
    if (!rc && (given = json_object_get(file, "chat_template"))) rc = add_sources(t, given, "chat_template.json", e);
    json_decref(file);
    given = json_object_get(config, "chat_template");
    if (rc || json_object_size(t->sources) || !given || json_is_null(given)) return rc;
    return add_sources(t, given, "tokenizer_config.json", e);
}

/* -- special tokens -- */

/* Published either as text or as what the tokenizers library has for one, {"content": text, ...}. */
static json_t *token_text(json_t *token)
{
    json_t *text = json_is_object(token) ? json_object_get(token, "content") : token;
    return json_is_string(text) ? text : NULL;
}

static int add_token_list(json_t *tokens, const char *key, const json_t *list, struct error *e)
{
    json_t *texts = json_array(), *text;
    for (size_t i = 0; texts && i < json_array_size(list); i++)
        if ((text = token_text(json_array_get(list, i))) && json_array_append(texts, text)) {
            json_decref(texts);
            texts = NULL;
        }
    return !texts || json_object_set_new(tokens, key, texts) ? no_memory(e) : 0;
}

/* The tokens of one file that are not known yet. */
static int add_tokens(json_t *tokens, const json_t *from, struct error *e)
{
    const char *key, *suffix = "_token";
    json_t *value, *text;
    int rc = 0;
    json_object_foreach((json_t *)from, key, value)
    {
        size_t n = strlen(key);
        if (rc || json_object_get(tokens, key)) continue;
        if (n > strlen(suffix) && !strcmp(key + n - strlen(suffix), suffix) && (text = token_text(value)))
            rc = json_object_set(tokens, key, text) ? no_memory(e) : 0;
        else if (!strcmp(key, "additional_special_tokens") && json_is_array(value))
            rc = add_token_list(tokens, key, value, e);
        else if (!strcmp(key, "extra_special_tokens") && json_is_members(value))
            rc = add_tokens(tokens, value, e);
    }
    return rc;
}

/* -- opening -- */

static int parse_source(struct template *t, const char *name, struct jinja **out, struct error *e)
{
    const json_t *source = json_object_get(t->sources, name);
    int rc = jinja_parse(out, json_string_value(source), json_string_length(source), e);
    if (rc) error_prefix(e, "%s: the chat template \"%s\"", t->folder, name);
    return rc;
}

static int no_such_template(const struct template *t, const char *none, const char *name, struct error *e)
{
    char known[256] = "";
    const char *key;
    json_t *value;
    json_object_foreach(t->sources, key, value)
    {
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", key);
    }
    if (!*known)
        return error_set(e, ENOENT, "%s has no chat template (%s); give the text as it is instead", t->folder, none);
    return error_set(e, ENOENT, "%s has no chat template \"%s\"; it has: %s", t->folder, name, known);
}

static int parse_wanted(struct template *t, const char *none, const char *name, struct error *e)
{
    const char *usual = name ? name : "default";
    if (!json_object_get(t->sources, usual)) return no_such_template(t, none, usual, e);
    int rc = parse_source(t, usual, &t->usual, e);
    t->usual_text = json_object_get(t->sources, usual);
    if (!rc && !name && json_object_get(t->sources, "tool_use")) rc = parse_source(t, "tool_use", &t->with_tools, e);
    return rc;
}

static int open_folder(struct template *t, const char *name, struct error *e)
{
    json_t *config = NULL, *map = NULL;
    int rc = read_json(t->folder, "tokenizer_config.json", &config, e);
    if (!rc) rc = read_json(t->folder, "special_tokens_map.json", &map, e);
    if (!rc) rc = find_sources(t, config, e);
    if (!rc) rc = add_tokens(t->tokens, config, e);
    if (!rc) rc = add_tokens(t->tokens, map, e);
    json_decref(config);
    json_decref(map);
    return rc ? rc : parse_wanted(t, "no chat_template.jinja, no chat_template in tokenizer_config.json", name, e);
}

static struct template *begin(const char *place)
{
    struct template *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->folder = strdup(place);
    t->sources = json_object();
    t->tokens = json_object();
    if (t->folder && t->sources && t->tokens) return t;
    template_close(t);
    return NULL;
}

static int end(struct template **out, struct template *t, int rc)
{
    if (rc)
        template_close(t);
    else
        *out = t;
    return rc;
}

int template_open(struct template **out, const char *folder, const char *name, struct error *e)
{
    struct template *t = begin(folder);
    *out = NULL;
    return t ? end(out, t, open_folder(t, name, e)) : no_memory(e);
}

int template_make(struct template **out, const char *place, const char *none, json_t *sources, json_t *tokens,
                  const char *name, struct error *e)
{
    struct template *t = begin(place);
    *out = NULL;
    if (!t) return no_memory(e);
    bool ok = !json_object_update(t->sources, sources) && !json_object_update(t->tokens, tokens);
    return end(out, t, ok ? parse_wanted(t, none, name, e) : no_memory(e));
}

void template_close(struct template *t)
{
    if (!t) return;
    jinja_free(t->usual);
    jinja_free(t->with_tools);
    json_decref(t->sources);
    json_decref(t->tokens);
    free(t->folder);
    free(t);
}

/* -- rendering -- */

/* Reasoning goes by several names; templates read the first of these, gpt-oss's the second. */
static const json_t *reasoning_of(const json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (size_t i = 0; i < 3; i++) {
        const json_t *v = json_object_get(message, names[i]);
        if (v && !json_is_null(v)) return v;
    }
    return NULL;
}

/* Gives *message the other names of its reasoning, in a copy; the order of its keys is that of transformers. */
static int alias_reasoning(json_t *messages, size_t at, struct error *e)
{
    json_t *message = json_array_get(messages, at);
    const json_t *reasoning = reasoning_of(message);
    if (!reasoning) return 0;
    json_t *copy = json_object();
    bool ok = copy && !json_object_set(copy, "thinking", (json_t *)reasoning) && !json_object_update(copy, message) &&
              !json_object_set(copy, "reasoning_content", (json_t *)reasoning) && !json_array_set(messages, at, copy);
    json_decref(copy);
    return ok ? 0 : no_memory(e);
}

static int check_messages(json_t *vars, struct error *e)
{
    const json_t *given = json_object_get(vars, "messages");
    if (!given) return 0;
    if (!json_is_array(given)) return error_set(e, EINVAL, "messages must be a list");
    json_t *messages = json_copy((json_t *)given);
    int rc = messages ? 0 : no_memory(e);
    for (size_t i = 0; !rc && i < json_array_size(messages); i++) {
        if (!json_is_members(json_array_get(messages, i)))
            rc = error_set(e, EINVAL, "messages[%zu] must be an object with a role and a content", i);
        else
            rc = alias_reasoning(messages, i, e);
    }
    if (rc) {
        json_decref(messages);
        return rc;
    }
    return json_object_set_new(vars, "messages", messages) ? no_memory(e) : 0;
}

/* The folder's tokens, what transformers always gives, and over them the caller's. */
static int gather(const struct template *t, json_t *given, json_t **out, struct error *e)
{
    json_t *vars = json_copy(t->tokens);
    bool ok = vars && !json_object_set_new(vars, "tools", json_null()) &&
              !json_object_set_new(vars, "documents", json_null()) &&
              !json_object_set_new(vars, "add_generation_prompt", json_false()) && !json_object_update(vars, given);
    int rc = ok ? check_messages(vars, e) : no_memory(e);
    if (rc)
        json_decref(vars);
    else
        *out = vars;
    return rc;
}

const char *template_text(const struct template *t, bool tools, size_t *bytes)
{
    const json_t *text = tools && t->with_tools ? json_object_get(t->sources, "tool_use") : t->usual_text;
    *bytes = json_string_length(text);
    return json_string_value(text);
}

int template_render(struct template *t, json_t *vars, const struct tm *date, char **text, size_t *bytes,
                    struct error *e)
{
    return template_render_within(t, vars, date, 0, text, bytes, e);
}

int template_render_within(struct template *t, json_t *vars, const struct tm *date, size_t held, char **text,
                           size_t *bytes, struct error *e)
{
    struct jinja_limits limits = jinja_limits_default();
    json_t *all = NULL;
    struct tm now;
    time_t seconds = time(NULL);
    if (!json_is_members(vars)) return error_set(e, EINVAL, "the variables of a chat template must be an object");
    int rc = gather(t, vars, &all, e);
    if (rc) return rc;
    if (held && held < limits.held_bytes) limits.held_bytes = held;
    if (!date) date = localtime_r(&seconds, &now);
    const json_t *tools = json_object_get(all, "tools");
    bool tool_use = t->with_tools && tools && !json_is_null(tools);
    rc = jinja_render(tool_use ? t->with_tools : t->usual, all, date, &limits, text, bytes, e);
    json_decref(all);
    if (rc) error_prefix(e, "chat template");
    return rc;
}

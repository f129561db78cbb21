#include "coordinator/source/config.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "coordinator/source/explain.h"

#define CONFIG_BYTES_MAX (UINT64_C(64) << 20)

int config_fault(const struct config *c, struct error *e, const char *key, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (e->code) return -e->code;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(e, EINVAL, "%s: %s: %s", c->path, key, text);
}

static int no_config(const char *folder, struct error *e)
{
    struct stat st;

    if (stat(folder, &st)) return explain_nothing(folder, e);
    return S_ISDIR(st.st_mode) ? explain_folder(folder, e) : explain_file(folder, e);
}

/* A server's answer of an error is JSON too, and half of a picture maker has a file of this name. */
static int check_kind(const struct config *c, struct error *e)
{
    const char *said = json_string_value(json_object_get(c->root, "error"));
    const char *part = json_string_value(json_object_get(c->root, "_class_name"));

    if (json_object_get(c->root, "model_type") || json_object_get(c->root, "architectures")) return 0;
    if (said)
        return error_set(e, EINVAL,
                         "%s: a server's message lies there instead of the file (\"%.80s\"): download it again",
                         c->path, said);
    if (part)
        return error_set(
            e, ENOTSUP, "%s: a part of a diffusion pipeline (%.60s), which makes pictures: sluice runs language models",
            c->path, part);
    return 0;
}

/* Multimodal folders keep the language model's fields in an object of their own. */
static json_t *text_part(json_t *root)
{
    static const char *const names[] = {"text_config", "llm_config", "language_config"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *t = json_object_get(root, names[i]);
        if (json_is_members(t) && json_object_size(t)) return t;
    }
    return root;
}

int config_open(struct config **out, const char *folder, struct error *e)
{
    struct config *c = calloc(1, sizeof *c);
    int rc;

    *out = NULL;
    if (!c || asprintf(&c->path, "%s/config.json", folder) < 0) {
        free(c);
        return error_set(e, ENOMEM, "no memory to read %s/config.json", folder);
    }
    rc = json_read_file(&c->root, c->path, CONFIG_BYTES_MAX, e);
    if (rc == -ENOENT || rc == -ENOTDIR) rc = no_config(folder, e);
    if (!rc) rc = check_kind(c, e);
    if (rc) {
        config_close(c);
        return rc;
    }
    c->text = text_part(c->root);
    *out = c;
    return 0;
}

void config_close(struct config *c)
{
    if (!c) return;
    json_decref(c->root);
    json_decref(c->defaults);
    free(c->path);
    free(c);
}

const json_t *config_field(const struct config *c, const char *key, bool from_root)
{
    const json_t *v = json_object_get(c->text, key);

    if ((!v || json_is_null(v)) && from_root && json_object_get(c->root, key)) v = json_object_get(c->root, key);
    if (!v) v = json_object_get(c->defaults, key);
    return v && !json_is_null(v) ? v : NULL;
}

bool config_gives(const struct config *c, const char *key)
{
    return json_object_get(c->text, key) != NULL;
}

static const char *type_name(const json_t *v)
{
    static const char *const names[] = {"an object", "a list", "a string", "a whole number",
                                        "a number",  "true",   "false",    "null"};

    return json_beyond(v) ? "a number" : names[json_typeof(v)];
}

/* The text of a small value, for messages. */
static void show(char *out, size_t bytes, const json_t *v)
{
    char *s = json_is_object(v) || json_is_array(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY);
    const char *beyond = json_beyond(v);

    snprintf(out, bytes, "%.40s", beyond ? beyond : s ? s : type_name(v));
    free(s);
}

static uint32_t as_size(const struct config *c, const json_t *v, const char *key, uint32_t least, uint32_t most,
                        uint32_t otherwise, struct error *e)
{
    char text[64];
    double x = json_numeric_value(v); /* NaN for what is no number */
    int64_t n = -1;

    show(text, sizeof text, v);
    if (!json_whole(v, &n) && x != floor(x)) { /* what is whole and not exact is past 2^53 */
        config_fault(c, e, key, "%s is not a whole number", text);
        return otherwise;
    }
    if (n < least || n > most) {
        config_fault(c, e, key, "%s is out of range, %u to %u make sense", text, least, most);
        return otherwise;
    }
    return (uint32_t)n;
}

uint32_t config_size_or(const struct config *c, const char *key, uint32_t least, uint32_t most, uint32_t otherwise,
                        struct error *e)
{
    const json_t *v = config_field(c, key, false);

    return e->code || !v ? otherwise : as_size(c, v, key, least, most, otherwise, e);
}

uint32_t config_size(const struct config *c, const char *key, uint32_t least, uint32_t most, struct error *e)
{
    const json_t *v = config_field(c, key, false);

    if (e->code) return least;
    if (!v) {
        config_fault(c, e, key, "this field is missing, and the model cannot be understood without it");
        return least;
    }
    return as_size(c, v, key, least, most, least, e);
}

uint32_t config_length_or(const struct config *c, const char *key, uint32_t otherwise, struct error *e)
{
    const json_t *v = config_field(c, key, false);

    if (e->code || !v || json_numeric_value(v) > (double)CONFIG_SIZE_MAX) return otherwise;
    return as_size(c, v, key, 1, CONFIG_SIZE_MAX, otherwise, e);
}

static double as_number(const struct config *c, const json_t *v, const char *key, double otherwise, struct error *e)
{
    char text[64];

    if (isfinite(json_numeric_value(v))) return json_numeric_value(v);
    show(text, sizeof text, v);
    config_fault(c, e, key, "%s is not a %snumber", text, json_is_numeric(v) ? "finite " : "");
    return otherwise;
}

double config_number_or(const struct config *c, const char *key, double otherwise, struct error *e)
{
    const json_t *v = config_field(c, key, false);

    return e->code || !v ? otherwise : as_number(c, v, key, otherwise, e);
}

double config_object_number(const struct config *c, const json_t *object, const char *where, const char *key,
                            double otherwise, struct error *e)
{
    const json_t *v = json_object_get(object, key);
    char name[160];

    if (e->code || !v || json_is_null(v)) return otherwise;
    snprintf(name, sizeof name, "%s.%s", where, key);
    return as_number(c, v, name, otherwise, e);
}

bool config_bool_or(const struct config *c, const char *key, bool otherwise, struct error *e)
{
    const json_t *v = config_field(c, key, false);
    char text[64];

    if (e->code || !v) return otherwise;
    if (json_is_boolean(v)) return json_is_true(v);
    if (json_is_numeric(v)) return json_numeric_value(v) != 0; /* Python's truth: Llama 4 says 4 */
    show(text, sizeof text, v);
    config_fault(c, e, key, "%s is neither true nor false", text);
    return otherwise;
}

const char *config_string_or(const struct config *c, const char *key, const char *otherwise, struct error *e)
{
    const json_t *v = config_field(c, key, false);
    char text[64];

    if (e->code || !v) return otherwise;
    if (json_is_string(v)) return json_string_value(v);
    show(text, sizeof text, v);
    config_fault(c, e, key, "%s is not a string", text);
    return otherwise;
}

/* The i-th entry; NULL where there is none. */
static const json_t *list_entry(const struct config *c, const char *key, size_t i, struct error *e)
{
    const json_t *v = config_field(c, key, false);

    if (e->code || !v) return NULL;
    if (!json_is_array(v)) {
        config_fault(c, e, key, "%s is not a list", type_name(v));
        return NULL;
    }
    return json_array_get(v, i);
}

const char *config_list_string(const struct config *c, const char *key, size_t i, struct error *e)
{
    const json_t *v = list_entry(c, key, i, e);

    if (!v) return NULL;
    if (!json_is_string(v)) config_fault(c, e, key, "entry %zu is not a string", i);
    return json_string_value(v);
}

int64_t config_list_int(const struct config *c, const char *key, size_t i, int64_t otherwise, struct error *e)
{
    const json_t *v = list_entry(c, key, i, e);
    int64_t n;

    if (!v) return otherwise;
    if (json_is_boolean(v)) return json_is_true(v);
    if (json_whole(v, &n)) return n;
    config_fault(c, e, key, "entry %zu is not a whole number", i);
    return otherwise;
}

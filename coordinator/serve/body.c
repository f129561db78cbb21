#include "coordinator/serve/body.h"

#include <math.h>

#include "coordinator/text/json.h"

/* Brackets outside of strings, deeper than what is allowed. Needs no valid JSON. */
static bool too_deep(const char *text, size_t bytes)
{
    unsigned depth = 0;
    bool string = false;

    for (size_t i = 0; i < bytes; i++) {
        if (string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            string = !string;
        else if (!string && (text[i] == '[' || text[i] == '{') && ++depth > BODY_DEPTH_MAX)
            return true;
        else if (!string && (text[i] == ']' || text[i] == '}') && depth)
            depth--;
    }
    return false;
}

int body_read(json_t **out, const char *text, size_t bytes, struct fault *f)
{
    struct error e = {0};
    json_t *v;

    if (!bytes) return fault_set(f, 400, NULL, NULL, "the body is empty: a JSON object is needed");
    if (too_deep(text, bytes))
        return fault_set(f, 400, NULL, NULL, "the body is nested more than %d deep", BODY_DEPTH_MAX);
    if (json_read_text(&v, text, bytes, "the body", JSON_READ_ANY, &e))
        return fault_set(f, e.code == ENOMEM ? 500 : 400, NULL, NULL, "%.480s", e.text);
    if (!json_is_members(v)) {
        json_decref(v);
        return fault_set(f, 400, NULL, NULL, "the body is no JSON object");
    }
    *out = v;
    return 0;
}

json_t *body_field(const json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);

    return v && !json_is_null(v) ? v : NULL;
}

int body_real(const json_t *o, const char *name, double least, double most, double *out, struct fault *f)
{
    json_t *v = body_field(o, name);
    double x;

    if (!v) return 0;
    x = json_is_number(v) ? json_number_value(v) : (double)NAN;
    if (!json_is_number(v)) return fault_set(f, 400, name, NULL, "%s must be a number", name);
    if (!(x >= least && x <= most))
        return fault_set(f, 400, name, NULL, "%s must be from %g to %g, not %g", name, least, most, x);
    *out = x;
    return 0;
}

int body_whole(const json_t *o, const char *name, int64_t least, int64_t most, int64_t *out, struct fault *f)
{
    json_t *v = body_field(o, name);
    int64_t x;

    if (!v) return 0;
    if (!json_is_number(v) || !json_whole(v, &x))
        return fault_set(f, 400, name, NULL, "%s must be a whole number", name);
    if (x < least || x > most)
        return fault_set(f, 400, name, NULL, "%s must be from %lld to %lld, not %lld", name, (long long)least,
                         (long long)most, (long long)x);
    *out = x;
    return 0;
}

int body_bool(const json_t *o, const char *name, bool *out, struct fault *f)
{
    json_t *v = body_field(o, name);

    if (!v) return 0;
    if (!json_is_boolean(v)) return fault_set(f, 400, name, NULL, "%s must be true or false", name);
    *out = json_is_true(v);
    return 0;
}

int body_text(const json_t *o, const char *name, const char **out, struct fault *f)
{
    json_t *v = body_field(o, name);

    if (!v) return 0;
    if (!json_is_string(v)) return fault_set(f, 400, name, NULL, "%s must be a text", name);
    *out = json_string_value(v);
    return 0;
}

int body_known(const json_t *o, const char *const *names, struct fault *f)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v)
    {
        size_t i = 0;

        if (json_is_null(v)) continue;
        while (names[i] && strcmp(names[i], key)) i++;
        if (!names[i])
            return fault_set(f, 400, key, "unsupported_parameter", "%.60s is not supported by this server", key);
    }
    return 0;
}

#include "coordinator/serve/body.h"

#include <math.h>
#include <string.h>

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

/* What jansson and the allocator take for a bracket, and for what follows it, a comma or a colon: an object with its table, a
 * list with its own, a text and its copy, a number, a pair of a table. */
#define OBJECT_BYTES 384u
#define LIST_BYTES   256u
#define TEXT_BYTES   112u
#define NUMBER_BYTES 64u
#define PAIR_BYTES   160u
#define DIGITS_64    18u /* what has more may be past 64 bits */

/* Of a number that only an object can hold: past 64 bits, with an exponent, or none (coordinator/text/json.h). */
static bool is_beyond(const char *text, size_t i, unsigned digits)
{
    bool digit = i && text[i - 1] >= '0' && text[i - 1] <= '9';

    return digits == DIGITS_64 || text[i] == 'N' || text[i] == 'I' || ((text[i] == 'e' || text[i] == 'E') && digit);
}

size_t body_weight(const char *text, size_t bytes)
{
    size_t weight = bytes;
    unsigned digits = 0;
    bool string = false;

    for (size_t i = 0; i < bytes; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';

        digits = digit && !string ? digits + 1 : 0;
        if (string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            string = !string;
        else if (string)
            continue;
        else if (text[i] == '{')
            weight += OBJECT_BYTES;
        else if (text[i] == '[')
            weight += LIST_BYTES;
        else if (text[i] == ':')
            weight += PAIR_BYTES + TEXT_BYTES;
        else if (text[i] == ',')
            weight += i + 1 < bytes && text[i + 1] >= '0' && text[i + 1] <= '9' ? NUMBER_BYTES : TEXT_BYTES;
        else if (is_beyond(text, i, digits))
            weight += OBJECT_BYTES + TEXT_BYTES;
    }
    return weight;
}

int body_check(const char *text, size_t bytes, struct fault *f)
{
    if (!bytes) return fault_set(f, 400, NULL, NULL, "the body is empty: a JSON object is needed");
    if (too_deep(text, bytes))
        return fault_set(f, 400, NULL, NULL, "the body is nested more than %d deep", BODY_DEPTH_MAX);
    return 0;
}

int body_read(json_t **out, const char *text, size_t bytes, struct fault *f)
{
    struct error e = {0};
    json_t *v;

    if (body_check(text, bytes, f)) return -1;
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

/* The first key that is not null and not among the names; NULL: there is none. */
static const char *unknown(const json_t *o, const char *const *names)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v)
    {
        size_t i = 0;

        if (json_is_null(v)) continue;
        while (names[i] && strcmp(names[i], key)) i++;
        if (!names[i]) return key;
    }
    return NULL;
}

int body_known(const json_t *o, const char *const *names, struct fault *f)
{
    const char *key = unknown(o, names);

    return key ? fault_set(f, 400, key, "unsupported_parameter", "%.60s is not supported by this server", key) : 0;
}

int body_part_known(const json_t *o, const char *param, const char *const *names, struct fault *f)
{
    const char *key;

    if (!o) return 0;
    if (!json_is_object(o)) return fault_set(f, 400, param, NULL, "%s must be an object", param);
    if (!(key = unknown(o, names))) return 0;
    return fault_set(f, 400, param, "unsupported_parameter", "%s: %.60s is not supported by this server", param, key);
}

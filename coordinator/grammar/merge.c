/* What several schemas say of one value, as one schema: $ref and allOf worked in. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/build.h"
#include "coordinator/text/json.h"

#define REFS_MAX 32 /* of a $ref that leads to a $ref, and of allOf in allOf */

bool grammar_describes(const char *key)
{
    static const char *const keys[] = {"title",    "description", "default", "examples",   "example",
                                       "$comment", "$schema",     "$id",     "$anchor",    "deprecated",
                                       "readOnly", "writeOnly",   "$defs",   "definitions"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) return true;
    return false;
}

bool grammar_restricts(const json_t *schema, const char *but_not, const char *nor)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)schema, key, v) if (!grammar_describes(key) &&
                                                                 (!but_not || strcmp(key, but_not)) &&
                                                                 (!nor || strcmp(key, nor))) return true;
    return false;
}

/* Takes the reference. NULL: no memory. */
static const json_t *keep(struct grammar_builder *b, json_t *made)
{
    if (!b->kept) b->kept = json_array();
    if (!made || !b->kept || json_array_append_new(b->kept, made)) return NULL;
    return made;
}

static int no_memory(struct grammar_builder *b)
{
    return error_set(b->e, ENOMEM, "out of memory");
}

/* ---- $ref ---- */

/* One step of a JSON pointer (RFC 6901), "%XX" and "~0" "~1" decoded. false: damaged. */
static bool pointer_step(const char **at, struct buffer *out)
{
    out->bytes = 0;
    for ((*at)++; **at && **at != '/'; (*at)++) {
        char c = **at, hex[3] = {0};

        if (c == '~') {
            c = *++*at;
            if (c != '0' && c != '1') return false;
            c = c == '0' ? '~' : '/';
        } else if (c == '%') {
            char *end;

            memcpy(hex, *at + 1, strnlen(*at + 1, 2));
            c = (char)strtol(hex, &end, 16);
            if (end != hex + 2 || !c) return false;
            *at += 2;
        }
        buffer_append_byte(out, c);
    }
    buffer_append_byte(out, 0);
    return !out->failed;
}

static const json_t *point_at(const json_t *root, const char *ref)
{
    const json_t *v = root;
    struct buffer step = {0};
    bool fine = *ref == '#';

    for (ref += fine; fine && v && *ref;) {
        char *end;

        fine = *ref == '/' && pointer_step(&ref, &step);
        if (!fine) break;
        if (json_is_array(v))
            v = json_array_get(v, strtoul(step.data, &end, 10));
        else
            v = json_object_get(v, step.data);
    }
    buffer_free(&step);
    return fine ? v : NULL;
}

int grammar_follow(struct grammar_builder *b, const json_t *ref, const json_t **out)
{
    const char *text = json_string_value(ref);

    if (!text) return grammar_refuse(b, "$ref", "must be a string");
    if (*text != '#') return grammar_refuse(b, "$ref", "is not supported where it leads out of the schema");
    *out = point_at(b->root, text);
    if (*out && (json_is_members(*out) || json_is_boolean(*out))) return 0;
    return grammar_refuse(b, "$ref", "leads to no schema");
}

/* ---- merging ---- */

static int set(struct grammar_builder *b, json_t *to, const char *key, json_t *value)
{
    return json_object_set_new_nocheck(to, key, value) ? no_memory(b) : 0;
}

static json_t *both(json_t *x, json_t *y)
{
    json_t *all = json_array(), *o = json_object();

    if (!all || !o || json_array_append(all, x) || json_array_append(all, y) ||
        json_object_set_new_nocheck(o, "allOf", all)) {
        json_decref(all);
        json_decref(o);
        return NULL;
    }
    return o;
}

/* Are all properties of y among those of x? */
static bool within(const json_t *x, const json_t *y)
{
    const json_t *known = json_object_get(x, "properties");
    const char *key;
    json_t *v;

    json_object_foreach(json_object_get(y, "properties"), key, v) if (!json_object_get(known, key)) return false;
    return true;
}

static int merge_properties(struct grammar_builder *b, json_t *to, json_t *x, json_t *y)
{
    json_t *all = json_is_object(x) && json_is_object(y) ? json_copy(x) : NULL, *v;
    const char *key;

    if (!all) return grammar_refuse(b, "properties", "must be an object");
    json_object_foreach(y, key, v)
    {
        json_t *old = json_object_get(all, key);

        if (json_object_set_new_nocheck(all, key, old ? both(old, v) : json_incref(v))) {
            json_decref(all);
            return no_memory(b);
        }
    }
    return set(b, to, "properties", all);
}

static bool listed(const json_t *list, const json_t *v)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), v)) return true;
    return false;
}

static int merge_required(struct grammar_builder *b, json_t *to, json_t *x, json_t *y)
{
    json_t *all = json_is_array(x) && json_is_array(y) ? json_copy(x) : NULL;

    if (!all) return grammar_refuse(b, "required", "must be a list");
    for (size_t i = 0; i < json_array_size(y); i++)
        if (!listed(all, json_array_get(y, i)) && json_array_append(all, json_array_get(y, i))) {
            json_decref(all);
            return no_memory(b);
        }
    return set(b, to, "required", all);
}

/* Types that both name; an integer is a number too. */
static int merge_types(struct grammar_builder *b, json_t *to, json_t *x, json_t *y)
{
    json_t *one = json_is_array(x) ? json_incref(x) : json_pack("[O]", x);
    json_t *other = json_is_array(y) ? json_incref(y) : json_pack("[O]", y), *all = json_array();
    bool fine = one && other && all;

    for (size_t i = 0; i < json_array_size(one) && fine; i++)
        for (size_t k = 0; k < json_array_size(other) && fine; k++) {
            json_t *p = json_array_get(one, i), *q = json_array_get(other, k), *same = NULL;
            const char *s = json_string_value(p), *t = json_string_value(q);

            if (json_equal(p, q) || (s && t && !strcmp(s, "integer") && !strcmp(t, "number")))
                same = p;
            else if (s && t && !strcmp(t, "integer") && !strcmp(s, "number"))
                same = q;
            if (same && !listed(all, same)) fine = !json_array_append(all, same);
        }
    json_decref(one);
    json_decref(other);
    if (fine) return set(b, to, "type", all);
    json_decref(all);
    return no_memory(b);
}

static int merge_values(struct grammar_builder *b, json_t *to, json_t *x, json_t *y)
{
    json_t *all = json_is_array(x) && json_is_array(y) ? json_array() : NULL;

    if (!all) return grammar_refuse(b, "enum", "must be a list");
    for (size_t i = 0; i < json_array_size(x); i++)
        if (listed(y, json_array_get(x, i)) && json_array_append(all, json_array_get(x, i))) {
            json_decref(all);
            return no_memory(b);
        }
    return set(b, to, "enum", all);
}

/* One keyword that both have. */
static int merge_key(struct grammar_builder *b, json_t *to, const char *key, json_t *x, json_t *y)
{
    bool least = !strncmp(key, "min", 3) || !strcmp(key, "exclusiveMinimum");
    bool most = !strncmp(key, "max", 3) || !strcmp(key, "exclusiveMaximum");

    if (grammar_describes(key) || json_equal(x, y)) return 0;
    if (!strcmp(key, "properties")) return merge_properties(b, to, x, y);
    if (!strcmp(key, "required")) return merge_required(b, to, x, y);
    if (!strcmp(key, "type")) return merge_types(b, to, x, y);
    if (!strcmp(key, "enum")) return merge_values(b, to, x, y);
    if (!strcmp(key, "items")) {
        json_t *v = both(x, y);
        return v ? set(b, to, key, v) : no_memory(b);
    }
    if (!strcmp(key, "additionalProperties") && (json_is_boolean(x) || json_is_boolean(y)))
        return set(b, to, key, json_incref(json_is_false(x) || json_is_true(y) ? x : y));
    if ((least || most) && json_is_numeric(x) && json_is_numeric(y))
        return set(b, to, key, json_incref((json_numeric_value(x) > json_numeric_value(y)) == least ? x : y));
    return grammar_refuse(b, key, "is not supported twice in what is said of one value (allOf, $ref, anyOf)");
}

/* const as a list of one; then both are known by one name. */
static int as_values(struct grammar_builder *b, json_t *o)
{
    json_t *v = json_object_get(o, "const"), *list;
    int rc;

    if (!v) return 0;
    if (!(list = json_pack("[O]", v))) return no_memory(b);
    if (json_object_get(o, "enum")) {
        rc = merge_values(b, o, json_object_get(o, "enum"), list);
        json_decref(list);
    } else {
        rc = set(b, o, "enum", list);
    }
    json_object_del(o, "const");
    return rc;
}

/* What merging costs, in members that are copied and pairs that are compared. */
static bool afford(struct grammar_builder *b, const json_t *one, const json_t *other)
{
    static const char *const lists[] = {"required", "enum", "type"};
    size_t cost = 1 + json_object_size(one) + json_object_size(other) +
                  json_object_size(json_object_get(one, "properties")) +
                  json_object_size(json_object_get(other, "properties"));

    for (int i = 0; i < 3; i++)
        cost += (json_array_size(json_object_get(one, lists[i])) + 1) *
                (json_array_size(json_object_get(other, lists[i])) + 1);
    b->merges = cost > GRAMMAR_MERGES_MAX - b->merges ? GRAMMAR_MERGES_MAX : b->merges + (unsigned)cost;
    return b->merges < GRAMMAR_MERGES_MAX;
}

int grammar_merge(struct grammar_builder *b, const json_t *one, const json_t *other, const json_t **out)
{
    json_t *x, *y, *v;
    const char *key;
    int rc = 0;

    if (!afford(b, one, other)) return grammar_refuse(b, NULL, "merges too many schemas, or without end");
    if (json_is_boolean(one) || json_is_boolean(other)) {
        *out = json_is_false(one) || json_is_true(other) ? one : other;
        return 0;
    }
    if (!json_is_members(one) || !json_is_members(other)) return grammar_refuse(b, NULL, "must be a schema");
    if ((json_is_false(json_object_get(one, "additionalProperties")) && !within(one, other)) ||
        (json_is_false(json_object_get(other, "additionalProperties")) && !within(other, one)) ||
        (json_is_object(json_object_get(one, "additionalProperties")) && json_object_get(other, "properties")) ||
        (json_is_object(json_object_get(other, "additionalProperties")) && json_object_get(one, "properties")))
        return grammar_refuse(b, "additionalProperties",
                              "is not supported beside properties of another schema (allOf, "
                              "$ref, anyOf)");
    x = json_copy((json_t *)(uintptr_t)one);
    y = json_copy((json_t *)(uintptr_t)other);
    if (!keep(b, x) || !y) {
        json_decref(y);
        return no_memory(b);
    }
    rc = as_values(b, x);
    if (!rc) rc = as_values(b, y);
    json_object_foreach(y, key, v)
    {
        json_t *old = json_object_get(x, key);

        if (rc) break;
        rc = old ? merge_key(b, x, key, old, v) : set(b, x, key, json_incref(v));
    }
    json_decref(y);
    *out = x;
    return rc;
}

/* ---- flat ---- */

static int flatten(struct grammar_builder *b, const json_t *schema, const json_t **out, unsigned depth);

static int flatten_into(struct grammar_builder *b, const json_t *part, const json_t **out, unsigned depth)
{
    const json_t *flat;
    int rc = flatten(b, part, &flat, depth + 1);

    return rc ? rc : grammar_merge(b, *out, flat, out);
}

static int flatten(struct grammar_builder *b, const json_t *schema, const json_t **out, unsigned depth)
{
    const json_t *ref = json_object_get(schema, "$ref"), *all = json_object_get(schema, "allOf"), *target;
    json_t *rest;
    int rc = 0;

    *out = schema;
    if (!json_is_members(schema) || (!ref && !all)) return 0;
    if (depth > REFS_MAX) return grammar_refuse(b, ref ? "$ref" : "allOf", "leads from one to the next without end");
    rest = json_copy((json_t *)(uintptr_t)schema);
    if (!keep(b, rest)) return no_memory(b);
    json_object_del(rest, "$ref");
    json_object_del(rest, "allOf");
    *out = rest;
    if (ref) rc = grammar_follow(b, ref, &target);
    if (ref && !rc) rc = flatten_into(b, target, out, depth);
    if (all && !rc && (!json_is_array(all) || !json_array_size(all)))
        rc = grammar_refuse(b, "allOf", "must be a list of schemas");
    for (size_t i = 0; i < json_array_size(all) && !rc; i++) rc = flatten_into(b, json_array_get(all, i), out, depth);
    return rc;
}

int grammar_flatten(struct grammar_builder *b, const json_t *schema, const json_t **out)
{
    return flatten(b, schema, out, 0);
}

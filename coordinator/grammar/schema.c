/* A JSON schema as a program: each schema is a rule. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/build.h"
#include "coordinator/text/json.h"
#include "coordinator/text/suggest.h"

/* ---- where we are ---- */

size_t grammar_path_enter(struct grammar_builder *b, const char *key)
{
    size_t at = b->path.bytes;

    buffer_append_byte(&b->path, '.');
    buffer_append(&b->path, key, strnlen(key, 100));
    return at;
}

size_t grammar_path_index(struct grammar_builder *b, const char *key, size_t index)
{
    size_t at = grammar_path_enter(b, key);
    char text[32];

    snprintf(text, sizeof text, "[%zu]", index);
    buffer_append_text(&b->path, text);
    return at;
}

void grammar_path_leave(struct grammar_builder *b, size_t at)
{
    b->path.bytes = at;
}

int grammar_refuse(struct grammar_builder *b, const char *key, const char *why)
{
    size_t most = 500, skip = b->path.bytes > most ? b->path.bytes - most : 0;

    while (skip && skip < b->path.bytes && ((uint8_t)b->path.data[skip] & 0xC0) == 0x80) skip++;
    return error_set(b->e, EINVAL, "%s%.*s%s%.100s %s", skip ? "..." : "", (int)(b->path.bytes - skip),
                     b->path.data + skip, key ? "." : "", key ? key : "", why ? why : "is not supported");
}

int grammar_count(struct grammar_builder *b, const json_t *schema, const char *key, uint32_t fallback, uint32_t *out)
{
    const json_t *v = json_object_get(schema, key);
    int64_t n;

    *out = fallback;
    if (!v) return 0;
    if (!json_whole(v, &n) || n < 0) return grammar_refuse(b, key, "must be a whole number, 0 or more");
    *out = n < GRAMMAR_ENDLESS - 1 ? (uint32_t)n : GRAMMAR_ENDLESS - 1;
    return 0;
}

/* ---- keywords ---- */

static const char *const honoured[] = {"type",
                                       "properties",
                                       "required",
                                       "additionalProperties",
                                       "items",
                                       "prefixItems",
                                       "minItems",
                                       "maxItems",
                                       "enum",
                                       "const",
                                       "anyOf",
                                       "oneOf",
                                       "allOf",
                                       "$ref",
                                       "minimum",
                                       "maximum",
                                       "exclusiveMinimum",
                                       "exclusiveMaximum",
                                       "minLength",
                                       "maxLength",
                                       "pattern",
                                       "format",
                                       "uniqueItems"};

static int check_keywords(struct grammar_builder *b, const json_t *schema)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)schema, key, v)
    {
        bool known = grammar_describes(key);

        for (size_t i = 0; i < sizeof honoured / sizeof *honoured && !known; i++) known = !strcmp(key, honoured[i]);
        if (!known) return grammar_refuse(b, key, NULL);
        if (!strcmp(key, "uniqueItems") && !json_is_false(v))
            return grammar_refuse(b, key, "is not supported (but for false)");
    }
    return 0;
}

/* ---- types ---- */

enum kind { KIND_OBJECT, KIND_ARRAY, KIND_STRING, KIND_NUMBER, KIND_INTEGER, KIND_BOOLEAN, KIND_NULL, KINDS };

static const char *const kind_names[KINDS] = {"object", "array", "string", "number", "integer", "boolean", "null"};

static int kind_of(struct grammar_builder *b, const json_t *name, enum kind *out)
{
    const char *text = json_string_value(name);

    for (unsigned k = 0; text && k < KINDS; k++)
        if (!strcmp(text, kind_names[k])) {
            *out = k;
            return 0;
        }
    return grammar_refuse(b, "type",
                          "must be object, array, string, number, integer, boolean or null, or a list of "
                          "these");
}

static int types(struct grammar_builder *b, const json_t *type, bool kinds[KINDS])
{
    enum kind k;
    int rc = 0;

    if (!json_is_array(type)) {
        rc = kind_of(b, type, &k);
        if (!rc) kinds[k] = true;
        return rc;
    }
    for (size_t i = 0; i < json_array_size(type) && !rc; i++)
        if (!(rc = kind_of(b, json_array_get(type, i), &k))) kinds[k] = true;
    return rc;
}

/* Without a type: the one that the other keywords are about; none: false. */
static bool implied(const json_t *schema, bool kinds[KINDS])
{
    static const struct {
        const char *key;
        enum kind kind;
    } about[] = {{"properties", KIND_OBJECT}, {"required", KIND_OBJECT},         {"additionalProperties", KIND_OBJECT},
                 {"items", KIND_ARRAY},       {"prefixItems", KIND_ARRAY},       {"minItems", KIND_ARRAY},
                 {"maxItems", KIND_ARRAY},    {"minLength", KIND_STRING},        {"maxLength", KIND_STRING},
                 {"pattern", KIND_STRING},    {"format", KIND_STRING},           {"minimum", KIND_NUMBER},
                 {"maximum", KIND_NUMBER},    {"exclusiveMinimum", KIND_NUMBER}, {"exclusiveMaximum", KIND_NUMBER}};
    bool any = false;

    for (size_t i = 0; i < sizeof about / sizeof *about; i++)
        if (json_object_get(schema, about[i].key)) any = kinds[about[i].kind] = true;
    return any;
}

static int one_kind(struct grammar_builder *b, const json_t *schema, enum kind k, uint32_t *start)
{
    struct grammar *g = b->g;
    struct grammar_word truth[] = {{"true", 4}, {"false", 5}};

    switch (k) {
    case KIND_OBJECT: return grammar_object_schema(b, schema, start);
    case KIND_ARRAY: return grammar_array_schema(b, schema, start);
    case KIND_STRING: return grammar_string_schema(b, schema, start);
    case KIND_NUMBER:
    case KIND_INTEGER: return grammar_number_schema(b, schema, k == KIND_INTEGER, start);
    case KIND_BOOLEAN: *start = grammar_words(g, truth, 2, grammar_return(g)); return 0;
    default: *start = grammar_text(g, "null", 4, grammar_return(g)); return 0;
    }
}

static int by_types(struct grammar_builder *b, const json_t *schema, uint32_t *start)
{
    const json_t *type = json_object_get(schema, "type");
    bool kinds[KINDS] = {false};
    uint32_t way[KINDS];
    size_t ways = 0;
    int rc = type ? types(b, type, kinds) : 0;

    if (rc) return rc;
    if (!type && !implied(schema, kinds)) {
        *start = grammar_call(b->g, grammar_any(b), grammar_return(b->g));
        return 0;
    }
    if (kinds[KIND_NUMBER]) kinds[KIND_INTEGER] = false;
    for (unsigned k = 0; k < KINDS && !rc; k++)
        if (kinds[k]) rc = one_kind(b, schema, k, &way[ways++]);
    if (!rc) *start = grammar_split(b->g, way, ways);
    return rc;
}

/* ---- enum, const ---- */

static bool is_kind(const json_t *v, enum kind k)
{
    int64_t n;

    switch (k) {
    case KIND_OBJECT: return json_is_members(v);
    case KIND_ARRAY: return json_is_array(v);
    case KIND_STRING: return json_is_string(v);
    case KIND_NUMBER: return json_is_numeric(v);
    case KIND_INTEGER: return json_whole(v, &n);
    case KIND_BOOLEAN: return json_is_boolean(v);
    default: return json_is_null(v);
    }
}

static bool is_of(const json_t *v, const bool kinds[KINDS])
{
    for (unsigned k = 0; k < KINDS; k++)
        if (kinds[k] && is_kind(v, k)) return true;
    return false;
}

/* The texts of the values that are of the schema's types. */
static int values(struct grammar_builder *b, const json_t *schema, const json_t *list, uint32_t *start)
{
    bool kinds[KINDS] = {false};
    size_t n = json_array_size(list), words = 0, *at = calloc(n + 1, sizeof *at);
    struct grammar_word *word = calloc(n + 1, sizeof *word);
    struct buffer text = {0};
    int rc = json_object_get(schema, "type") ? types(b, json_object_get(schema, "type"), kinds) : 0;

    if (!rc && (!at || !word)) rc = error_set(b->e, ENOMEM, "out of memory");
    for (size_t i = 0; i < n && !rc; i++) {
        const json_t *v = json_array_get(list, i);

        if (json_object_get(schema, "type") && !is_of(v, kinds)) continue;
        at[words++] = text.bytes;
        if (grammar_spell_value(&text, v, 0)) rc = grammar_refuse(b, "enum", "has a value that is too deep or large");
        if (!rc && text.bytes > GRAMMAR_NODES_MAX) rc = grammar_refuse(b, "enum", "has too many values");
    }
    if (!rc && text.failed) rc = error_set(b->e, ENOMEM, "out of memory");
    for (size_t i = 0; i < words && !rc; i++)
        word[i] = (struct grammar_word){text.data + at[i], (i + 1 < words ? at[i + 1] : text.bytes) - at[i]};
    if (!rc) *start = grammar_words(b->g, word, words, grammar_return(b->g));
    free(at);
    free(word);
    buffer_free(&text);
    return rc;
}

static int by_values(struct grammar_builder *b, const json_t *schema, uint32_t *start)
{
    const json_t *list = json_object_get(schema, "enum"), *value = json_object_get(schema, "const");
    const char *key;
    json_t *v, *one;
    int rc;

    json_object_foreach((json_t *)(uintptr_t)schema, key,
                        v) if (!grammar_describes(key) && strcmp(key, "enum") && strcmp(key, "const") &&
                               strcmp(key, "type")) return grammar_refuse(b, key,
                                                                          "is not supported beside enum or const");
    if (list && value) {
        const json_t *merged;
        rc = grammar_merge(b, schema, schema, &merged); /* const becomes a part of enum */
        return rc ? rc : by_values(b, merged, start);
    }
    if (list && !json_is_array(list)) return grammar_refuse(b, "enum", "must be a list");
    if (list) return values(b, schema, list, start);
    if (!(one = json_pack("[O]", value))) return error_set(b->e, ENOMEM, "out of memory");
    rc = values(b, schema, one, start);
    json_decref(one);
    return rc;
}

/* ---- anyOf, oneOf ---- */

static int alternative(struct grammar_builder *b, const json_t *base, const json_t *schema, uint32_t *node)
{
    const json_t *flat = schema;
    uint32_t rule;
    int rc = base ? grammar_flatten(b, schema, &flat) : 0;

    if (!rc && base) rc = grammar_merge(b, base, flat, &flat);
    if (!rc) rc = grammar_schema(b, flat, &rule);
    if (!rc) *node = grammar_call(b->g, rule, grammar_return(b->g));
    return rc;
}

static int by_alternatives(struct grammar_builder *b, const json_t *schema, uint32_t *start)
{
    const char *key = json_object_get(schema, "anyOf") ? "anyOf" : "oneOf";
    const json_t *list = json_object_get(schema, key);
    json_t *base = NULL;
    size_t n = json_array_size(list);
    uint32_t *node;
    int rc = 0;

    if (json_object_get(schema, "anyOf") && json_object_get(schema, "oneOf"))
        return grammar_refuse(b, "oneOf", "is not supported beside anyOf");
    if (!json_is_array(list) || !n) return grammar_refuse(b, key, "must be a list of schemas");
    if (grammar_restricts(schema, "anyOf", "oneOf")) { /* said of all of them */
        base = json_copy((json_t *)(uintptr_t)schema);
        if (!base) return error_set(b->e, ENOMEM, "out of memory");
        json_object_del(base, "anyOf");
        json_object_del(base, "oneOf");
    }
    if (!(node = calloc(n, sizeof *node))) rc = error_set(b->e, ENOMEM, "out of memory");
    for (size_t i = 0; i < n && !rc && !b->g->failed; i++) {
        size_t at = grammar_path_index(b, key, i);

        rc = alternative(b, base, json_array_get(list, i), &node[i]);
        grammar_path_leave(b, at);
    }
    if (!rc) *start = grammar_split(b->g, node, n);
    free(node);
    json_decref(base);
    return rc;
}

/* ---- rules ---- */

static size_t slot_of(const struct grammar_builder *b, const json_t *schema)
{
    uint64_t h = (uintptr_t)schema * UINT64_C(0x9E3779B97F4A7C15);
    size_t at = (size_t)(h >> 32) & (b->known_slots - 1);

    while (b->known[at].schema && b->known[at].schema != schema) at = (at + 1) & (b->known_slots - 1);
    return at;
}

static bool more_slots(struct grammar_builder *b)
{
    struct grammar_rule_of *old = b->known;
    size_t slots = b->known_slots;

    b->known_slots = slots ? 2 * slots : 64;
    b->known = calloc(b->known_slots, sizeof *b->known);
    if (!b->known) {
        b->known = old;
        b->known_slots = slots;
        return false;
    }
    for (size_t i = 0; i < slots; i++)
        if (old[i].schema) b->known[slot_of(b, old[i].schema)] = old[i];
    free(old);
    return true;
}

static int compile(struct grammar_builder *b, const json_t *schema, uint32_t *start)
{
    const json_t *flat;
    int rc;

    if (json_is_true(schema)) {
        *start = grammar_call(b->g, grammar_any(b), grammar_return(b->g));
        return 0;
    }
    if (json_is_false(schema)) {
        *start = grammar_split(b->g, NULL, 0);
        return 0;
    }
    if (!json_is_members(schema)) return grammar_refuse(b, NULL, "must be a schema: an object, true or false");
    if ((rc = check_keywords(b, schema)) || (rc = grammar_flatten(b, schema, &flat))) return rc;
    if (flat != schema && !json_is_members(flat)) return compile(b, flat, start);
    if (flat != schema && (rc = check_keywords(b, flat))) return rc;
    if (json_object_get(flat, "anyOf") || json_object_get(flat, "oneOf")) return by_alternatives(b, flat, start);
    if (json_object_get(flat, "enum") || json_object_get(flat, "const")) return by_values(b, flat, start);
    return by_types(b, flat, start);
}

/* A schema that is nothing but a $ref is what it leads to, so that a recursive one has one rule. */
static const json_t *lead(struct grammar_builder *b, const json_t *schema, int *rc)
{
    for (int i = 0; i < 64 && json_object_get(schema, "$ref") && !grammar_restricts(schema, "$ref", NULL); i++)
        if ((*rc = grammar_follow(b, json_object_get(schema, "$ref"), &schema))) return NULL;
    return schema;
}

int grammar_schema(struct grammar_builder *b, const json_t *schema, uint32_t *rule)
{
    uint32_t start = 0;
    size_t at;
    int rc = 0;

    *rule = 0;
    if (!(schema = lead(b, schema, &rc))) return rc;
    if (2 * b->knowns >= b->known_slots && !more_slots(b)) return error_set(b->e, ENOMEM, "out of memory");
    at = slot_of(b, schema);
    /* true and false are one value each in jansson, as is what they stand for */
    if (b->known[at].schema) {
        *rule = b->known[at].rule;
        return 0;
    }
    if (b->depth == GRAMMAR_SCHEMA_DEPTH) return grammar_refuse(b, NULL, "is nested too deep");
    *rule = grammar_rule(b->g);
    b->known[at] = (struct grammar_rule_of){schema, *rule};
    b->knowns++;
    b->depth++;
    rc = compile(b, schema, &start);
    b->depth--;
    if (!rc && !b->g->failed) b->g->rule[*rule] = start;
    return rc;
}

#include "tests/support_schema.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

uint32_t chance_below(struct chance *c, uint32_t n)
{
    c->state ^= c->state << 13;
    c->state ^= c->state >> 7;
    c->state ^= c->state << 17;
    return (uint32_t)(c->state >> 33) % n;
}

/* ---- schemas ---- */

static const char *const names[] = {"a",    "ab", "id",  "name", "\xc3\xa9t\xc3\xa9", "with \"quotes\"",
                                    "x\\y", "",   "n\n1"};
#define NAMES (sizeof names / sizeof *names)

/* Patterns, and texts that they allow. */
static const struct {
    const char *pattern, *text[3];
} patterns[] = {
    {"^[A-Z]{2}-\\d{1,4}$", {"AB-1", "ZZ-9999", "QX-42"}},
    {"^(yes|no|\\?)$", {"yes", "no", "?"}},
    {"^a*b+[^\"\\\\]?$", {"b", "aaabb", "b!"}},
    {"^\\w{0,5}\\.(txt|c)$", {"a.txt", ".c", "ab_c9.c"}},
};

static json_t *scalar(struct chance *c)
{
    uint32_t k = chance_below(c, 9);
    int64_t from = (int64_t)chance_below(c, 4000) - 2000, more = chance_below(c, 3000);

    switch (k) {
    case 0: return json_pack("{ss}", "type", "boolean");
    case 1: return json_pack("{ss}", "type", "integer");
    case 2:
        return json_pack("{sssIsI}", "type", "integer", "minimum", (json_int_t)from, "maximum",
                         (json_int_t)(from + more));
    case 3: return json_pack("{ss}", "type", "number");
    case 4:
        return json_pack("{sssIsI}", "type", "number", "exclusiveMinimum", (json_int_t)from, "maximum",
                         (json_int_t)(from + 1 + more));
    case 5:
        return json_pack("{sssisi}", "type", "string", "minLength", (int)chance_below(c, 3), "maxLength",
                         3 + (int)chance_below(c, 9));
    case 6: return json_pack("{ssss}", "type", "string", "pattern", patterns[chance_below(c, 4)].pattern);
    case 7: return json_pack("{s[s,i,n,b,s]}", "enum", "red", 7, 1, names[chance_below(c, NAMES)]);
    default: return json_pack("{s[s,s]}", "type", "null", "boolean");
    }
}

static json_t *any_schema(struct chance *c, int depth);

static json_t *object(struct chance *c, int depth)
{
    json_t *o = json_object(), *list = json_array();
    uint32_t first = chance_below(c, NAMES), n = chance_below(c, 5);
    json_t *s;

    for (uint32_t i = 0; i < n; i++) {
        const char *name = names[(first + i) % NAMES];

        json_object_set_new(o, name, any_schema(c, depth + 1));
        if (chance_below(c, 2)) json_array_append_new(list, json_string(name));
    }
    s = json_pack("{sssoso}", "type", "object", "properties", o, "required", list);
    if (chance_below(c, 3) == 0) json_object_set_new(s, "additionalProperties", json_false());
    if (chance_below(c, 4) == 0) json_object_set_new(s, "additionalProperties", scalar(c));
    return s;
}

static json_t *array(struct chance *c, int depth)
{
    json_t *s = json_pack("{sssosi}", "type", "array", "items", any_schema(c, depth + 1), "maxItems",
                          1 + (int)chance_below(c, 4));

    if (chance_below(c, 2)) json_object_set_new(s, "minItems", json_integer(1));
    if (chance_below(c, 3) == 0)
        json_object_set_new(s, "prefixItems", json_pack("[o,o]", scalar(c), any_schema(c, depth + 1)));
    return s;
}

static json_t *any_schema(struct chance *c, int depth)
{
    uint32_t k = chance_below(c, depth > 2 ? 3 : 9);
    json_t *other;

    switch (k) {
    case 3:
    case 4:
    case 5: return object(c, depth);
    case 6: return array(c, depth);
    case 7: return json_pack("{s[o,o,{ss}]}", "anyOf", scalar(c), object(c, depth + 1), "type", "null");
    case 8:
        other = object(c, 9);
        json_object_del(other, "additionalProperties");
        return json_pack("{s[{ss},o]}", "allOf", "$ref", "#/$defs/tree", other);
    default: return scalar(c);
    }
}

json_t *schema_by_chance(struct chance *c)
{
    json_t *s = any_schema(c, 0);
    json_t *tree =
        json_loads("{\"type\":\"object\",\"properties\":{\"leaf\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":9},"
                   "\"kids\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/tree\"},\"maxItems\":2}},"
                   "\"required\":[\"leaf\"]}",
                   0, NULL);

    json_object_set_new(s, "$defs", json_pack("{so}", "tree", tree));
    return s;
}

/* ---- values ---- */

static json_t *value_of(struct chance *c, const json_t *root, const json_t *s, int depth);

static json_t *text(struct chance *c, size_t least, size_t most)
{
    static const char *const characters[] = {"a", "Z",    " ", "\"", "\\", "\n", "\xc3\xa9", "\xf0\x9f\x98\x80",
                                             "/", "\x01", "0"};
    char out[256] = "";
    size_t n = least + chance_below(c, (uint32_t)(most - least) + 1);

    for (size_t i = 0; i < n; i++) strcat(out, characters[chance_below(c, 11)]);
    return json_string(out);
}

static int64_t number_of(const json_t *s, const char *key, int64_t otherwise)
{
    const json_t *v = json_object_get(s, key);

    return v ? json_integer_value(v) : otherwise;
}

static json_t *members(struct chance *c, const json_t *root, const json_t *s, int depth)
{
    json_t *o = json_object(), *p, *v;
    const char *name;

    json_object_foreach(json_object_get(s, "properties"), name, p)
    {
        bool must = false;

        for (size_t i = 0; i < json_array_size(json_object_get(s, "required")); i++)
            must |= !strcmp(json_string_value(json_array_get(json_object_get(s, "required"), i)), name);
        if (!must && (chance_below(c, 2) || depth > 6)) continue;
        if (!(v = value_of(c, root, p, depth + 1))) {
            json_decref(o);
            return NULL;
        }
        json_object_set_new(o, name, v);
    }
    p = json_object_get(s, "additionalProperties");
    if (json_is_object(p) && chance_below(c, 2) && (v = value_of(c, root, p, depth + 1)))
        json_object_set_new(o, "another \xe4\xb8\x80", v);
    return o;
}

static json_t *items(struct chance *c, const json_t *root, const json_t *s, int depth)
{
    const json_t *first = json_object_get(s, "prefixItems");
    int64_t least = number_of(s, "minItems", 0), most = number_of(s, "maxItems", 3), n;
    json_t *a = json_array(), *v;

    n = least + (depth > 6 ? 0 : chance_below(c, (uint32_t)(most - least) + 1));
    for (int64_t i = 0; i < n; i++) {
        const json_t *item =
            (size_t)i < json_array_size(first) ? json_array_get(first, (size_t)i) : json_object_get(s, "items");

        if (!(v = value_of(c, root, item, depth + 1))) {
            json_decref(a);
            return NULL;
        }
        json_array_append_new(a, v);
    }
    return a;
}

static json_t *string_of(struct chance *c, const json_t *s)
{
    const char *pattern = json_string_value(json_object_get(s, "pattern"));

    for (size_t i = 0; pattern && i < 4; i++)
        if (!strcmp(pattern, patterns[i].pattern)) return json_string(patterns[i].text[chance_below(c, 3)]);
    return text(c, (size_t)number_of(s, "minLength", 0), (size_t)number_of(s, "maxLength", 9));
}

static json_t *value_of(struct chance *c, const json_t *root, const json_t *s, int depth)
{
    const json_t *list;
    const char *type;

    if (json_object_get(s, "$ref")) s = json_object_get(json_object_get(root, "$defs"), "tree");
    if ((list = json_object_get(s, "anyOf")))
        return value_of(c, root, json_array_get(list, chance_below(c, (uint32_t)json_array_size(list))), depth);
    if (json_object_get(s, "allOf")) return NULL;
    if ((list = json_object_get(s, "enum")))
        return json_incref(json_array_get(list, chance_below(c, (uint32_t)json_array_size(list))));
    list = json_object_get(s, "type");
    type = json_string_value(
        json_is_array(list) ? json_array_get(list, chance_below(c, (uint32_t)json_array_size(list))) : list);
    if (!strcmp(type, "boolean")) return json_boolean(chance_below(c, 2));
    if (!strcmp(type, "null")) return json_null();
    if (!strcmp(type, "object")) return members(c, root, s, depth);
    if (!strcmp(type, "array")) return items(c, root, s, depth);
    if (!strcmp(type, "string")) return string_of(c, s);
    if (!strcmp(type, "integer")) {
        int64_t from = number_of(s, "minimum", -1000000), to = number_of(s, "maximum", 1000000);
        return json_integer(from + chance_below(c, (uint32_t)(to - from) + 1));
    }
    return json_real((double)number_of(s, "maximum", 5) - chance_below(c, 4) * 0.25);
}

json_t *value_by_chance(struct chance *c, const json_t *schema)
{
    return value_of(c, schema, schema, 0);
}

/* Objects, arrays, strings and numbers of a schema. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/build.h"
#include "coordinator/text/json.h"

#define NAME_BYTES_MAX 1024

/* ---- objects ---- */

struct property {
    const char *name;
    uint32_t rule;
    bool required, never;
};

struct object {
    struct property *property;
    size_t properties;
    bool others;    /* further ones may come */
    uint32_t other; /* rule of their values */
};

static struct property *find(struct object *o, const char *name)
{
    for (size_t i = 0; i < o->properties; i++)
        if (!strcmp(o->property[i].name, name)) return &o->property[i];
    return NULL;
}

static int read_properties(struct grammar_builder *b, const json_t *list, struct object *o)
{
    const char *name;
    json_t *v;
    int rc = 0;

    json_object_foreach((json_t *)(uintptr_t)list, name, v)
    {
        struct property *p = &o->property[o->properties++];
        size_t at = grammar_path_enter(b, "properties"), inner;

        inner = grammar_path_enter(b, name);
        *p = (struct property){.name = name, .never = json_is_false(v)};
        if (strlen(name) > NAME_BYTES_MAX) rc = grammar_refuse(b, NULL, "has a name of more than 1024 bytes");
        if (!rc) rc = grammar_schema(b, v, &p->rule);
        grammar_path_leave(b, inner);
        grammar_path_leave(b, at);
        if (rc || b->g->failed) return rc;
    }
    return 0;
}

/* Names that are required; such as are no properties are further ones that must come. */
static int read_required(struct grammar_builder *b, const json_t *list, struct object *o)
{
    if (json_array_size(list) > 10000 || json_array_size(list) * o->properties > 10000000)
        return grammar_refuse(b, "required", "has too many names");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        struct property *p;

        if (!name || strlen(name) > NAME_BYTES_MAX)
            return grammar_refuse(b, "required", "must be a list of names of at most 1024 bytes");
        if (!(p = find(o, name))) {
            p = &o->property[o->properties++];
            *p = (struct property){.name = name, .rule = o->other, .never = o->other == GRAMMAR_NONE};
        }
        p->required = true;
    }
    return 0;
}

static int read_others(struct grammar_builder *b, const json_t *schema, struct object *o)
{
    const json_t *more = json_object_get(schema, "additionalProperties");
    size_t at;
    int rc;

    o->other = GRAMMAR_NONE;
    o->others = more ? !json_is_false(more) : !json_object_get(schema, "properties");
    if (json_is_false(more)) return 0;
    if (!more || json_is_true(more)) {
        o->other = grammar_any(b);
        return 0;
    }
    at = grammar_path_enter(b, "additionalProperties");
    rc = grammar_schema(b, more, &o->other);
    grammar_path_leave(b, at);
    return rc;
}

/* "name": value, then next. */
static uint32_t member(struct grammar *g, const struct property *p, uint32_t next)
{
    struct buffer name = {0};
    uint32_t node = grammar_range(g, ':', ':', grammar_space(g, grammar_call(g, p->rule, next)));

    grammar_spell(&name, p->name, strlen(p->name), true);
    if (name.failed)
        g->failed = ENOMEM;
    else
        node = grammar_text(g, name.data, name.bytes, node);
    buffer_free(&name);
    return node;
}

static uint32_t comma(struct grammar *g, uint32_t next)
{
    return grammar_range(g, ',', ',', grammar_space(g, next));
}

/* Any number of further members: the first of all (first) or behind others (more). */
static void other_members(struct grammar *g, const struct object *o, uint32_t close, uint32_t *first, uint32_t *more)
{
    const char **name = calloc(o->properties + 1, sizeof *name);
    size_t *bytes = calloc(o->properties + 1, sizeof *bytes);
    uint32_t one, again = grammar_later(g);

    if (!name || !bytes) g->failed = ENOMEM;
    for (size_t i = 0; i < o->properties && !g->failed; i++) {
        name[i] = o->property[i].name;
        bytes[i] = strlen(name[i]);
    }
    if (!g->failed) {
        uint32_t value = grammar_range(g, ':', ':', grammar_space(g, grammar_call(g, o->other, again)));

        one = grammar_other_name(g, name, bytes, o->properties, value);
        grammar_set_later(g, again, (uint32_t[]){comma(g, one), grammar_space(g, close)}, 2);
        *first = grammar_either(g, one, close);
        *more = again;
    }
    free(name);
    free(bytes);
}

/* The members in their order, from the last to the first. */
static uint32_t members(struct grammar *g, const struct object *o)
{
    uint32_t close = grammar_range(g, '}', '}', grammar_return(g)), first = close, more = grammar_space(g, close);

    if (o->others) other_members(g, o, close, &first, &more);
    for (size_t i = o->properties; i-- > 0 && !g->failed;) {
        const struct property *p = &o->property[i];
        uint32_t own;

        if (p->never && !p->required) continue;
        if (p->never) return grammar_split(g, NULL, 0);
        own = member(g, p, more);
        first = p->required ? own : grammar_either(g, own, first);
        more = p->required ? comma(g, own) : grammar_either(g, comma(g, own), more);
    }
    return grammar_range(g, '{', '{', grammar_space(g, first));
}

int grammar_object_schema(struct grammar_builder *b, const json_t *schema, uint32_t *start)
{
    const json_t *list = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    struct object o = {0};
    int rc;

    if (list && !json_is_members(list)) return grammar_refuse(b, "properties", "must be an object");
    if (required && !json_is_array(required)) return grammar_refuse(b, "required", "must be a list of names");
    if (!list && !json_array_size(required) && !json_is_object(json_object_get(schema, "additionalProperties")) &&
        !json_is_false(json_object_get(schema, "additionalProperties"))) {
        *start = grammar_call(b->g, grammar_any_object(b), grammar_return(b->g));
        return 0;
    }
    o.property = calloc(json_object_size(list) + json_array_size(required) + 1, sizeof *o.property);
    if (!o.property) return error_set(b->e, ENOMEM, "out of memory");
    rc = read_properties(b, list, &o);
    if (!rc) rc = read_others(b, schema, &o);
    if (!rc) rc = read_required(b, required, &o);
    if (!rc) *start = members(b->g, &o);
    free(o.property);
    return rc;
}

/* ---- arrays ---- */

struct array {
    uint32_t *first; /* rules of the first items */
    size_t firsts;
    uint32_t item; /* rule of all further ones, GRAMMAR_NONE: there are none */
    uint32_t least, most;
};

static uint32_t items(struct grammar *g, const struct array *a)
{
    uint32_t end = grammar_range(g, ']', ']', grammar_return(g)), last = grammar_space(g, end), next = last;
    uint32_t n = (uint32_t)a->firsts, most = a->item == GRAMMAR_NONE && a->most > n ? n : a->most;
    uint32_t least = a->least;

    if (least > most) return grammar_split(g, NULL, 0);
    if (most > n) {
        /* the first of them stands before the loop, if one must come: so whoever comes in has room for it */
        uint32_t ahead = least > n || n == 0 ? 1 : 0;
        uint32_t loop = grammar_loop(g, least > n + ahead ? least - n - ahead : 0,
                                     most == GRAMMAR_ENDLESS ? most : most - n - ahead, last);

        grammar_set_body(g, loop, comma(g, grammar_call(g, a->item, loop)));
        next = loop;
        if (ahead) next = grammar_call(g, a->item, loop);
        if (ahead && n) next = comma(g, next);
    }
    for (uint32_t i = n < most ? n : most; i-- > 0;) {
        uint32_t own;

        if (i + 1 >= least && i + 1 < n && i + 1 < most) next = grammar_either(g, next, last);
        own = grammar_call(g, a->first[i], next);
        next = i ? comma(g, own) : own;
    }
    if (!most)
        next = end;
    else if (!least)
        next = grammar_either(g, next, end);
    return grammar_range(g, '[', '[', grammar_space(g, next));
}

static int read_items(struct grammar_builder *b, const json_t *schema, struct array *a)
{
    const json_t *first = json_object_get(schema, "prefixItems"), *item = json_object_get(schema, "items");
    int rc = 0;

    if (first && !json_is_array(first)) return grammar_refuse(b, "prefixItems", "must be a list of schemas");
    if (json_is_array(item)) return grammar_refuse(b, "items", "is not supported as a list: use prefixItems");
    a->firsts = json_array_size(first);
    if (!(a->first = calloc(a->firsts + 1, sizeof *a->first))) return error_set(b->e, ENOMEM, "out of memory");
    for (size_t i = 0; i < a->firsts && !rc && !b->g->failed; i++) {
        size_t at = grammar_path_index(b, "prefixItems", i);

        rc = grammar_schema(b, json_array_get(first, i), &a->first[i]);
        grammar_path_leave(b, at);
    }
    a->item = GRAMMAR_NONE;
    if (!rc && !item) a->item = grammar_any(b);
    if (!rc && item && !json_is_false(item)) {
        size_t at = grammar_path_enter(b, "items");

        rc = grammar_schema(b, item, &a->item);
        grammar_path_leave(b, at);
    }
    return rc;
}

int grammar_array_schema(struct grammar_builder *b, const json_t *schema, uint32_t *start)
{
    struct array a = {0};
    int rc = read_items(b, schema, &a);

    if (!rc) rc = grammar_count(b, schema, "minItems", 0, &a.least);
    if (!rc) rc = grammar_count(b, schema, "maxItems", GRAMMAR_ENDLESS, &a.most);
    if (!rc) *start = items(b->g, &a);
    free(a.first);
    return rc;
}

/* ---- numbers ---- */

/* A bound into x, the tighter of minimum and exclusiveMinimum (maximum and exclusiveMaximum). */
static int read_bound(struct grammar_builder *b, const json_t *schema, const char *key, bool low, bool out,
                      struct grammar_bounds *x)
{
    const json_t *v = json_object_get(schema, key);
    bool *has = low ? &x->has_least : &x->has_most, *strict = low ? &x->above_least : &x->below_most, tighter;
    int64_t *bound = low ? &x->least : &x->most, n;

    if (!v) return 0;
    if (!json_is_numeric(v)) return grammar_refuse(b, key, "must be a number");
    if (!json_whole(v, &n)) return grammar_refuse(b, key, "is not supported where it is no whole number of 64 bits");
    tighter = !*has || (low ? n > *bound : n < *bound) || (n == *bound && out);
    if (!tighter) return 0;
    *has = true;
    *strict = out;
    *bound = n;
    return 0;
}

static int read_bounds(struct grammar_builder *b, const json_t *schema, struct grammar_bounds *x)
{
    int rc = read_bound(b, schema, "minimum", true, false, x);

    if (!rc) rc = read_bound(b, schema, "exclusiveMinimum", true, true, x);
    if (!rc) rc = read_bound(b, schema, "maximum", false, false, x);
    return rc ? rc : read_bound(b, schema, "exclusiveMaximum", false, true, x);
}

int grammar_number_schema(struct grammar_builder *b, const json_t *schema, bool integer, uint32_t *start)
{
    struct grammar *g = b->g;
    struct grammar_bounds x = {0};
    int rc = read_bounds(b, schema, &x);

    if (rc) return rc;
    if (!integer) {
        *start = x.has_least || x.has_most ? grammar_bounded(g, &x, grammar_return(g))
                                           : grammar_number(g, grammar_return(g));
        return 0;
    }
    if (!x.has_least) x.least = INT64_MIN;
    if (!x.has_most) x.most = INT64_MAX;
    if ((x.above_least && x.least == INT64_MAX) || (x.below_most && x.most == INT64_MIN))
        *start = grammar_split(g, NULL, 0);
    else
        *start = grammar_integer(g, x.least + x.above_least, x.most - x.below_most, grammar_return(g));
    return 0;
}

/* ---- strings ---- */

static const char *format_pattern(const char *name)
{
#define DATE                                                                                                           \
    "[0-9]{4}-(((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01]))|((0[469]|11)-(0[1-9]|[12][0-9]|30))|(02-(0[1-9]|1[0-9]|2["  \
    "0-8"                                                                                                              \
    "])))"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    static const struct {
        const char *name, *pattern;
    } known[] = {
        {"date", "^" DATE "$"},
        {"time", "^" TIME "$"},
        {"date-time", "^" DATE "T" TIME "$"},
        {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
        {"ipv4", "^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$"},
        {"email", "^[a-zA-Z0-9_%+-]{1,32}(\\.[a-zA-Z0-9_%+-]{1,16}){0,3}@([a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9]"
                  ")?\\.){1,4}[a-zA-Z]{2,12}$"}};
#undef DATE
#undef TIME

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) return known[i].pattern;
    return NULL;
}

static int by_pattern(struct grammar_builder *b, const char *key, const char *pattern, size_t bytes, uint32_t *start)
{
    struct grammar *g = b->g;
    uint32_t node = 0;
    const char *why = grammar_pattern(g, pattern, bytes, grammar_range(g, '"', '"', grammar_return(g)), &node);

    if (why) return grammar_refuse(b, key, why);
    *start = grammar_range(g, '"', '"', node);
    return 0;
}

int grammar_string_schema(struct grammar_builder *b, const json_t *schema, uint32_t *start)
{
    const json_t *pattern = json_object_get(schema, "pattern"), *format = json_object_get(schema, "format");
    const char *known;
    uint32_t least, most;
    int rc = grammar_count(b, schema, "minLength", 0, &least);

    if (!rc) rc = grammar_count(b, schema, "maxLength", GRAMMAR_ENDLESS, &most);
    if (rc) return rc;
    if ((pattern || format) && (json_object_get(schema, "minLength") || json_object_get(schema, "maxLength")))
        return grammar_refuse(b, pattern ? "pattern" : "format",
                              "is not supported beside minLength and maxLength: say the length in a pattern");
    if (pattern && format) return grammar_refuse(b, "format", "is not supported beside pattern");
    if ((pattern && !json_is_string(pattern)) || (format && !json_is_string(format)))
        return grammar_refuse(b, pattern ? "pattern" : "format", "must be a string");
    if (pattern) return by_pattern(b, "pattern", json_string_value(pattern), json_string_length(pattern), start);
    if (format) {
        if (!(known = format_pattern(json_string_value(format))))
            return grammar_refuse(b, "format", "is supported for date, time, date-time, uuid, ipv4 and email only");
        return by_pattern(b, "format", known, strlen(known), start);
    }
    *start = least > most                        ? grammar_split(b->g, NULL, 0)
             : !least && most == GRAMMAR_ENDLESS ? grammar_call(b->g, grammar_any_string(b), grammar_return(b->g))
                                                 : grammar_string(b->g, least, most, grammar_return(b->g));
    return 0;
}

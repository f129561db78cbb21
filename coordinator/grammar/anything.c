/* Any value, and how values are spelled. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/build.h"
#include "coordinator/text/json.h"

/* ---- rules of anything ---- */

uint32_t grammar_any_string(struct grammar_builder *b)
{
    struct grammar *g = b->g;

    if (b->string == GRAMMAR_NONE) {
        b->string = grammar_rule(g);
        uint32_t start = grammar_string(g, 0, GRAMMAR_ENDLESS, grammar_return(g));
        if (!g->failed) g->rule[b->string] = start;
    }
    return b->string;
}

/* open [ item { , item } ] close, where item leads to what follows it. */
struct any_list {
    uint32_t after; /* an item */
    uint32_t end;   /* the closing byte, and the rule's end */
};

static struct any_list any_list(struct grammar *g, unsigned close)
{
    return (struct any_list){grammar_later(g), grammar_range(g, close, close, grammar_return(g))};
}

static uint32_t any_list_of(struct grammar *g, unsigned open, const struct any_list *l, uint32_t item)
{
    uint32_t again = grammar_range(g, ',', ',', grammar_space(g, item));

    grammar_set_later(g, l->after, (uint32_t[]){again, grammar_space(g, l->end)}, 2);
    return grammar_range(g, open, open, grammar_either(g, grammar_space(g, item), grammar_space(g, l->end)));
}

uint32_t grammar_any_object(struct grammar_builder *b)
{
    struct grammar *g = b->g;

    if (b->object == GRAMMAR_NONE) {
        uint32_t rule = b->object = grammar_rule(g), value = grammar_any(b), name = grammar_any_string(b);
        struct any_list l = any_list(g, '}');
        uint32_t colon = grammar_range(g, ':', ':', grammar_space(g, grammar_call(g, value, l.after)));
        uint32_t start = any_list_of(g, '{', &l, grammar_call(g, name, colon));
        if (!g->failed) g->rule[rule] = start;
    }
    return b->object;
}

uint32_t grammar_any_array(struct grammar_builder *b)
{
    struct grammar *g = b->g;

    if (b->array == GRAMMAR_NONE) {
        uint32_t rule = b->array = grammar_rule(g), value = grammar_any(b);
        struct any_list l = any_list(g, ']');
        uint32_t start = any_list_of(g, '[', &l, grammar_call(g, value, l.after));
        if (!g->failed) g->rule[rule] = start;
    }
    return b->array;
}

uint32_t grammar_any(struct grammar_builder *b)
{
    struct grammar *g = b->g;

    if (b->value == GRAMMAR_NONE) {
        uint32_t rule = b->value = grammar_rule(g), end = grammar_return(g);
        struct grammar_word word[] = {{"true", 4}, {"false", 5}, {"null", 4}};
        uint32_t to[] = {grammar_call(g, grammar_any_string(b), end), grammar_number(g, end),
                         grammar_call(g, grammar_any_object(b), end), grammar_call(g, grammar_any_array(b), end),
                         grammar_words(g, word, 3, end)};
        uint32_t start = grammar_split(g, to, 5);
        if (!g->failed) g->rule[rule] = start;
    }
    return b->value;
}

/* ---- spelling ---- */

void grammar_spell(struct buffer *out, const char *text, size_t bytes, bool quotes)
{
    static const char *const shorter[0x20] = {
        ['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t"};

    if (quotes) buffer_append_byte(out, '"');
    for (size_t i = 0; i < bytes; i++) {
        uint8_t c = (uint8_t)text[i];
        char escape[8];

        if (c == '"' || c == '\\') {
            buffer_append_byte(out, '\\');
            buffer_append_byte(out, (char)c);
        } else if (c >= 0x20) {
            buffer_append_byte(out, (char)c);
        } else if (shorter[c]) {
            buffer_append_text(out, shorter[c]);
        } else {
            snprintf(escape, sizeof escape, "\\u%04x", c);
            buffer_append_text(out, escape);
        }
    }
    if (quotes) buffer_append_byte(out, '"');
}

/* The shortest digits that are the same double. */
static void spell_real(struct buffer *out, double x)
{
    char text[40];

    for (int n = 1; n <= 17; n++) {
        snprintf(text, sizeof text, "%.*g", n, x);
        if (strtod(text, NULL) == x) break;
    }
    buffer_append_text(out, text);
}

static int spell_members(struct buffer *out, const json_t *v, unsigned depth)
{
    const char *key;
    json_t *x;
    int rc = 0;
    bool first = true;

    buffer_append_byte(out, '{');
    json_object_foreach((json_t *)(uintptr_t)v, key, x)
    {
        if (!first) buffer_append_byte(out, ',');
        first = false;
        grammar_spell(out, key, strlen(key), true);
        buffer_append_byte(out, ':');
        if ((rc = grammar_spell_value(out, x, depth + 1))) return rc;
    }
    buffer_append_byte(out, '}');
    return 0;
}

int grammar_spell_value(struct buffer *out, const json_t *v, unsigned depth)
{
    char text[32];
    int rc;

    if (depth > GRAMMAR_SCHEMA_DEPTH || out->bytes > GRAMMAR_NODES_MAX) return -EINVAL;
    if (json_beyond(v)) {
        if (!strchr("-0123456789", json_beyond(v)[0]) || json_beyond(v)[1] == 'I') return -EINVAL; /* NaN, infinities */
        buffer_append_text(out, json_beyond(v));
        return 0;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT: return spell_members(out, v, depth);
    case JSON_ARRAY:
        buffer_append_byte(out, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i) buffer_append_byte(out, ',');
            if ((rc = grammar_spell_value(out, json_array_get(v, i), depth + 1))) return rc;
        }
        buffer_append_byte(out, ']');
        return 0;
    case JSON_STRING: grammar_spell(out, json_string_value(v), json_string_length(v), true); return 0;
    case JSON_INTEGER:
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        buffer_append_text(out, text);
        return 0;
    case JSON_REAL: spell_real(out, json_real_value(v)); return 0;
    case JSON_TRUE: buffer_append_text(out, "true"); return 0;
    case JSON_FALSE: buffer_append_text(out, "false"); return 0;
    default: buffer_append_text(out, "null"); return 0;
    }
}

#include "tests/fuzz/json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define NODES 512

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A value and where it hangs. */
struct node {
    json_t *parent, *value;
    const char *key; /* of an object */
    size_t index;    /* of an array */
};

static size_t collect(json_t *v, struct node *node, size_t n, int depth)
{
    const char *key;
    json_t *x;
    size_t i;

    if (depth > 16) return n;
    json_object_foreach(v, key, x)
    {
        if (n == NODES) return n;
        node[n++] = (struct node){v, x, key, 0};
        n = collect(x, node, n, depth + 1);
    }
    json_array_foreach(v, i, x)
    {
        if (n == NODES) return n;
        node[n++] = (struct node){v, x, NULL, i};
        n = collect(x, node, n, depth + 1);
    }
    return n;
}

static json_t *odd_number(const json_t *now, uint64_t r)
{
    static const json_int_t values[] = {0,          1,          2,          3,        7,         16,
                                        31,         64,         127,        128,      256,       4096,
                                        65535,      65536,      1000000,    16777216, 999999999, 1000000000,
                                        2147483647, 4294967295, 4294967296, -1,       -2,        -2147483648LL,
                                        1LL << 40,  1LL << 53,  INT64_MAX,  INT64_MIN};
    json_int_t v = json_integer_value(now); /* 0 for a real */

    switch (r % 6) {
    case 0: return json_integer((json_int_t)((uint64_t)v + 1));
    case 1: return json_integer((json_int_t)((uint64_t)v - 1));
    case 2: return json_integer((json_int_t)((uint64_t)v * (2 + r / 6 % 7)));
    case 3: return json_integer(v / (json_int_t)(2 + r / 6 % 7));
    case 4: return json_real((double)v * 0.5 + (r / 6 % 3 ? 0.25 : 1e300));
    default: return json_integer(values[r / 6 % (sizeof values / sizeof *values)]);
    }
}

static json_t *odd_value(const json_t *now, const struct node *other, uint64_t r)
{
    switch (r % 8) {
    case 0: return json_null();
    case 1: return json_boolean(r & 8);
    case 2: return json_pack("[o]", json_copy((json_t *)now));
    case 3: return json_deep_copy(other->value);
    case 4: return json_is_string(now) ? json_string("") : json_string("auto");
    default:
        return json_is_number(now)    ? odd_number(now, r / 8)
               : json_is_boolean(now) ? json_boolean(!json_is_true(now))
                                      : json_deep_copy(other->value);
    }
}

static void put(const struct node *n, json_t *v)
{
    if (!v) return;
    if (n->key)
        json_object_set_new_nocheck(n->parent, n->key, v);
    else
        json_array_set_new(n->parent, n->index, v);
}

static void change(json_t *root, uint64_t *state)
{
    static struct node node[NODES];
    size_t count = collect(root, node, 0, 0);
    const struct node *n, *other;
    uint64_t r = next(state);

    if (!count) return;
    n = &node[next(state) % count];
    other = &node[next(state) % count];
    switch (r % 8) {
    case 0:
        if (n->key)
            json_object_del(n->parent, n->key);
        else
            json_array_remove(n->parent, n->index);
        return;
    case 1: /* the value goes under another's key too */
        if (other->key && json_is_object(n->parent))
            json_object_set_new_nocheck(n->parent, other->key, json_deep_copy(n->value));
        else if (json_is_array(n->parent))
            json_array_append_new(n->parent, json_deep_copy(n->value));
        return;
    default: put(n, odd_value(n->value, other, r / 8));
    }
}

size_t fuzz_json_mutate(uint8_t *data, size_t bytes, size_t most, uint64_t seed)
{
    json_t *root = json_loadb((const char *)data, bytes, JSON_ALLOW_NUL, NULL);
    size_t n = 0;
    char *text;

    if (!root) return 0;
    for (uint64_t k = 1 + next(&seed) % 3; k; k--) change(root, &seed);
    text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(root);
    if (text && strlen(text) <= most) {
        n = strlen(text);
        memcpy(data, text, n);
    }
    free(text);
    return n;
}

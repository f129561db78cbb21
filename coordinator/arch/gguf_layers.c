/* Values with an entry for each layer: which see a window only, and which attend at all. */
#include <inttypes.h>
#include <stdio.h>
#include "coordinator/arch/gguf_tell.h"

void gguf_layer_types(struct gguf_values *v, const char *sliding, uint64_t otherwise)
{
    static const char key[] = "attention.sliding_window_pattern";
    const struct gguf_value *x = gguf_ask(v, key);
    json_t *list = json_array();

    gguf_tell_pattern(v, key, otherwise);
    if (x && !x->array) gguf_value_int(v, key, &otherwise);
    if (x && x->array && ((!gguf_is_kind(x, GGUF_BOOLS) && !gguf_is_kind(x, GGUF_INTS)) || x->count < v->layers)) {
        gguf_refuse(v, key, "%" PRIu64 " entries for %" PRIu64 " layers, or no booleans", x->count, v->layers);
        x = NULL;
    }
    for (uint64_t i = 0; i < v->layers && !v->e->code; i++) {
        bool slides = x && x->array ? gguf_int(x, i) != 0 : otherwise && (i + 1) % otherwise;

        if (json_array_append_new(list, json_string(slides ? sliding : "full_attention"))) break;
    }
    gguf_set(v, "layer_types", list);
}

uint64_t gguf_mixed_int(struct gguf_values *v, const char *key, const char *nobody)
{
    const struct gguf_value *x = gguf_ask(v, key);
    uint64_t one = 0;
    int64_t most = 0;

    if (!x || !x->array) {
        gguf_value_int(v, key, &one);
        return one;
    }
    if (!gguf_is_kind(x, GGUF_INTS) || x->count < v->layers) {
        gguf_refuse(v, key, "%" PRIu64 " entries for %" PRIu64 " layers, or no whole numbers", x->count, v->layers);
        return 0;
    }
    for (uint64_t i = 0; i < v->layers; i++) {
        int64_t n = gguf_int(x, i);

        if (n < 0) gguf_refuse(v, key, "%" PRId64 " of layer %" PRIu64 " is out of range", n, i);
        if (n && most && n != most)
            gguf_refuse(v, key, "it differs between layers that have any, which is not supported");
        if (n) most = n;
    }
    if (most <= 0 && nobody) gguf_refuse(v, key, "%s, and the architecture has some that do", nobody);
    return most > 0 ? (uint64_t)most : 0;
}

uint64_t gguf_layer_int(struct gguf_values *v, const char *key, uint64_t layer)
{
    const struct gguf_value *x = gguf_ask(v, key);
    uint64_t one = 0;

    if (!x || !x->array) {
        gguf_value_int(v, key, &one);
        return one;
    }
    if (!gguf_is_kind(x, GGUF_INTS) || layer >= x->count || gguf_int(x, layer) < 0) {
        gguf_refuse(v, key, "%" PRIu64 " entries for %" PRIu64 " layers, or no whole numbers", x->count, v->layers);
        return 0;
    }
    return (uint64_t)gguf_int(x, layer);
}

bool gguf_mixed_has(struct gguf_values *v, const char *key, uint64_t layer)
{
    const struct gguf_value *x = gguf_ask(v, key);

    return x && x->array && layer < x->count && gguf_is_kind(x, GGUF_INTS) && gguf_int(x, layer) > 0;
}

void gguf_mixed_layers(struct gguf_values *v, const char *other)
{
    static const char key[] = "attention.head_count_kv";
    const struct gguf_value *x = gguf_ask(v, key);
    json_t *list = json_array();

    gguf_tell_mixed(v, key);
    if (!x || !x->array) gguf_refuse(v, key, "a list of one number for each layer was expected: it says which attend");
    for (uint64_t i = 0; i < v->layers && x && !v->e->code; i++)
        if (json_array_append_new(list, json_string(gguf_int(x, i) ? "full_attention" : other))) break;
    gguf_set(v, "layer_types", list);
}

bool gguf_this_layer_has(const struct gguf_values *v, uint64_t layer, const char *name)
{
    char full[128];

    snprintf(full, sizeof full, "blk.%" PRIu64 ".%s", layer, name);
    return gguf_tensor(v->g, full);
}

void gguf_layers_having(struct gguf_values *v, const char *name, const char *field, const char *yes, const char *no)
{
    json_t *list = json_array();

    for (uint64_t i = 0; i < v->layers && !v->e->code; i++)
        if (json_array_append_new(list, json_string(gguf_this_layer_has(v, i, name) ? yes : no))) break;
    gguf_set(v, field, list);
}

void gguf_layer_reals(struct gguf_values *v, const char *key, const char *field)
{
    const struct gguf_value *x = gguf_ask(v, key);
    json_t *list;

    if (!x) return;
    if (!gguf_is_kind(x, GGUF_FLOATS) || (x->array && x->count < v->layers)) {
        gguf_refuse(v, key, "%" PRIu64 " entries for %" PRIu64 " layers, or no numbers", x->count, v->layers);
        return;
    }
    list = json_array();
    for (uint64_t i = 0; i < v->layers; i++) {
        double n = gguf_float(x, x->array ? i : 0);

        if (json_array_append_new(list, json_real(n > 0 ? gguf_meant(n) : 0))) break;
    }
    gguf_set(v, field, list);
}

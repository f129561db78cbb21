#include "coordinator/arch/quant.h"

#include <stdlib.h>
#include <string.h>

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static uint32_t block_side(const struct config *c, const json_t *list, size_t i, struct error *e)
{
    const json_t *v = json_array_get(list, i);

    if (json_array_size(list) == 2 && json_is_integer(v) && json_integer_value(v) > 0 && json_integer_value(v) <= 65536)
        return (uint32_t)json_integer_value(v);
    config_fault(c, e, "quantization_config", "weight_block_size is not two sizes");
    return 1;
}

static void read_fp8(struct quant *q, const struct config *c, const json_t *o, struct error *e)
{
    const json_t *block = json_object_get(o, "weight_block_size");

    q->kind = QUANT_FP8;
    if (*text(o, "fmt") && strcmp(text(o, "fmt"), "e4m3") && strcmp(text(o, "fmt"), "float8_e4m3fn"))
        config_fault(c, e, "quantization_config", "fp8 of format \"%.40s\" is not supported, e4m3 is", text(o, "fmt"));
    if (!block || json_is_null(block)) return;
    q->block_rows = block_side(c, block, 0, e);
    q->block_cols = block_side(c, block, 1, e);
}

/* compressed-tensors holds many forms; eight-bit floats with a scale for each row or matrix are one that is FP8 here. */
static bool is_compressed_fp8(const json_t *o)
{
    const json_t *groups = json_object_get(o, "config_groups"), *group;
    const char *key;

    if (strcmp(text(o, "format"), "float-quantized") && strcmp(text(o, "format"), "naive-quantized")) return false;
    json_object_foreach((json_t *)(uintptr_t)groups, key, group)
    {
        const json_t *w = json_object_get(group, "weights");
        if (json_integer_value(json_object_get(w, "num_bits")) != 8 || strcmp(text(w, "type"), "float")) return false;
    }
    return json_object_size(groups) > 0;
}

struct quant quant_read(const struct config *c, struct error *e)
{
    struct quant q = {.kind = QUANT_NONE};
    const json_t *o = config_field(c, "quantization_config", true);
    const char *method;

    if (!o) o = config_field(c, "compression_config", true);
    if (e->code || !o) return q;
    method = text(o, "quant_method");
    if (!strcmp(method, "fp8")) {
        read_fp8(&q, c, o, e);
    } else if (!strcmp(method, "mxfp4")) {
        q.kind = QUANT_MXFP4;
    } else if (!strcmp(method, "compressed-tensors") && is_compressed_fp8(o)) {
        q.kind = QUANT_FP8;
    } else {
        config_fault(c, e, "quantization_config",
                     "weights quantized by \"%.40s%s%.40s\" are not supported: take the model's bfloat16 or FP8 folder",
                     method, *text(o, "format") ? ", " : "", text(o, "format"));
    }
    return q;
}

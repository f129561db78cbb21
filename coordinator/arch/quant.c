#include "coordinator/arch/quant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* A folder that says how many bits its weights have, and not by which method: mlx's own, or one that lost a field. */
static void no_method(const struct config *c, const json_t *o, struct error *e)
{
    const json_t *bits = json_object_get(o, "bits"), *group = json_object_get(o, "group_size");
    bool mlx = config_field(c, "quantization", true) != NULL;
    char how[80] = "";

    if (json_is_integer(bits) && json_is_integer(group))
        snprintf(how, sizeof how, " (%lld bits, a scale for %lld weights)", (long long)json_integer_value(bits),
                 (long long)json_integer_value(group));
    config_fault(
        c, e, mlx ? "quantization" : "quantization_config",
        mlx ? "weights quantized for mlx%s are not supported: take the model's bfloat16 or FP8 folder"
            : "weights quantized%s by a method that quant_method does not name are not supported: take the model's "
              "bfloat16 or FP8 folder",
        how);
}

struct quant quant_read(const struct config *c, struct error *e)
{
    struct quant q = {.kind = QUANT_NONE};
    const json_t *o = config_field(c, "quantization_config", true);
    const char *method;

    if (!o) o = config_field(c, "compression_config", true);
    if (!o) o = config_field(c, "quantization", true);
    if (e->code || !o || (json_is_object(o) && !json_object_size(o))) return q;
    method = text(o, "quant_method");
    if (!strcmp(method, "fp8")) {
        read_fp8(&q, c, o, e);
    } else if (!strcmp(method, "mxfp4")) {
        q.kind = QUANT_MXFP4;
    } else if (!strcmp(method, "compressed-tensors") && is_compressed_fp8(o)) {
        q.kind = QUANT_FP8;
    } else if (!*method) {
        no_method(c, o, e);
    } else {
        config_fault(c, e, "quantization_config",
                     "weights quantized by \"%.40s%s%.40s\" are not supported: take the model's bfloat16 or FP8 folder",
                     method, *text(o, "format") ? ", " : "", text(o, "format"));
    }
    return q;
}

/* ---- without an entry in config.json ---- */

/* Tensors that only a quantized layer has. */
static const char *method_of_tensors(const struct tensors *t)
{
    static const struct {
        const char *end, *method;
    } marks[] = {{".g_idx", "GPTQ"},
                 {".qweight", "AWQ or GPTQ"},
                 {".weight_packed", "compressed-tensors"},
                 {".weight.absmax", "bitsandbytes"},
                 {".weight_scale_2", "ModelOpt (NVFP4)"},
                 {".SCB", "bitsandbytes"},
                 {".Wq_packed", "HQQ"}};
    char scales[512];

    for (size_t k = 0; k < sizeof marks / sizeof *marks; k++)
        for (size_t i = 0; i < t->count; i++)
            if (tensors_name_ends(t->at[i].name, marks[k].end)) return marks[k].method;
    for (size_t i = 0; i < t->count; i++) {
        const char *name = t->at[i].name;

        if (t->at[i].dtype != TENSOR_U32 || !tensors_name_ends(name, ".weight")) continue;
        snprintf(scales, sizeof scales, "%.*s.scales", (int)(strlen(name) - strlen(".weight")), name);
        if (tensors_find(t, scales)) return "mlx";
    }
    return NULL;
}

/* What the tools of their time wrote beside config.json. */
static const char *method_of_files(const char *folder, const char **file)
{
    static const struct {
        const char *file, *method;
    } files[] = {{"quantize_config.json", "GPTQ"}, {"quant_config.json", "AWQ"}, {"hf_quant_config.json", "ModelOpt"}};
    char path[4096];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct stat st;

        *file = files[i].file;
        if (snprintf(path, sizeof path, "%s/%s", folder, *file) < (int)sizeof path && !stat(path, &st))
            return files[i].method;
    }
    return NULL;
}

int quant_unnamed(const struct config *c, const char *folder, const struct tensors *t, struct error *e)
{
    const char *file = "its tensors", *method;

    if (config_field(c, "quantization_config", true) || config_field(c, "compression_config", true)) return 0;
    if (t)
        method = method_of_tensors(t);
    else
        method = method_of_files(folder, &file);
    if (!method) return 0;
    return error_set(
        e, ENOTSUP,
        "%s: weights quantized by %s (as %s say%s, not config.json) are not supported: take the model's bfloat16 "
        "or FP8 folder",
        folder, method, file, t ? "" : "s");
}

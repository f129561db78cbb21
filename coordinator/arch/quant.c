#include "coordinator/arch/quant.h"

#include <errno.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "coordinator/text/json.h"

#define BESIDE_BYTES (UINT64_C(16) << 20) /* of a file beside config.json, which may list modules */
#define REMEDY       "take the model's bfloat16 or FP8 folder"

struct reading {
    struct quant *q;
    const struct config *c;
    struct error *e;
    const char *path; /* of the file that says it */
};

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static bool is(const char *s, const char *const *names)
{
    for (; *names; names++)
        if (!strcmp(s, *names)) return true;
    return false;
}

__attribute__((format(printf, 2, 3))) static void fault(struct reading *r, const char *fmt, ...)
{
    char what[400];
    va_list ap;

    if (r->e->code) return;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    error_set(r->e, EINVAL, "%s: quantization%s: %s", r->path, r->path == r->c->path ? "_config" : "", what);
}

/* ---- blocks of scales ---- */

static void add_block(struct reading *r, uint32_t rows, uint32_t cols)
{
    struct quant *q = r->q;

    for (uint32_t i = 0; i < q->blocks; i++)
        if (q->block[i].rows == rows && q->block[i].cols == cols) return;
    if (q->blocks == QUANT_BLOCKS)
        fault(r, "its groups have scales for blocks of more than 4 sizes, which is not supported: " REMEDY);
    else
        q->block[q->blocks++] = (struct quant_block){rows, cols};
}

static uint32_t block_side(struct reading *r, const json_t *list, size_t i, const char *key)
{
    const json_t *v = json_array_get(list, i);

    if (json_array_size(list) == 2 && json_is_integer(v) && json_integer_value(v) > 0 && json_integer_value(v) <= 65536)
        return (uint32_t)json_integer_value(v);
    fault(r, "%s is not two sizes", key);
    return 1;
}

/* [128, 128], or as text "128x128". */
static void read_block(struct reading *r, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    unsigned rows, cols;
    char end;

    if (!v || json_is_null(v)) return;
    if (json_is_string(v) && sscanf(json_string_value(v), "%5ux%5u%c", &rows, &cols, &end) == 2 && rows && cols &&
        rows <= 65536 && cols <= 65536) {
        add_block(r, rows, cols);
        return;
    }
    rows = block_side(r, v, 0, key);
    cols = block_side(r, v, 1, key);
    if (!r->e->code) add_block(r, rows, cols);
}

/* ---- by method ---- */

static void read_fp8(struct reading *r, const json_t *o)
{
    static const char *const formats[] = {"", "e4m3", "float8_e4m3fn", NULL};

    r->q->kind = QUANT_FP8;
    if (!is(text(o, "fmt"), formats)) fault(r, "fp8 of format \"%.40s\" is not supported, e4m3 is", text(o, "fmt"));
    read_block(r, o, "weight_block_size");
    r->q->fp4_experts = !strcmp(config_string_or(r->c, "expert_dtype", text(o, "expert_dtype"), r->e), "fp4");
    if (!r->q->blocks) r->q->scale_dtype = TENSOR_DTYPES; /* one for a matrix, as Ministral 3 has it */
}

/* What one group of compressed-tensors or ModelOpt says of its weights: NULL where it can be multiplied with, else what
 * it is called. Which scales there are, and which matrices have them, their tensors tell. */
static const char *group_fault(struct reading *r, const json_t *w, char *out, size_t bytes)
{
    static const char *const strategies[] = {"", "tensor", "channel", "block", "group", "tensor_group", NULL};
    json_int_t bits = json_integer_value(json_object_get(w, "num_bits")),
               group = json_integer_value(json_object_get(w, "group_size"));
    bool whole = !*text(w, "type") || !strcmp(text(w, "type"), "int"), real = !strcmp(text(w, "type"), "float");
    struct quant *q = r->q;

    if (!json_is_object(w)) return NULL; /* activations alone */
    snprintf(out, bytes, "%lld-bit %.20s by %.20s", (long long)bits, *text(w, "type") ? text(w, "type") : "int",
             *text(w, "strategy") ? text(w, "strategy") : "tensor");
    if (!is(text(w, "strategy"), strategies)) return out;
    if (whole && (bits == 4 || bits == 8)) {
        q->zeros = json_is_false(json_object_get(w, "symmetric")) && (q->zeros || q->numbers != QUANT_INTEGERS);
        q->numbers = QUANT_INTEGERS;
        q->bits = (uint32_t)bits;
    } else if (real && bits == 4 && group == 16) {
        q->numbers = QUANT_E2M1;
    } else if (!real || bits != 8) {
        return out;
    }
    read_block(r, w, "block_structure");
    if (group > 0 && group <= 65536 && whole) q->group = (uint32_t)group;
    if (!strcmp(text(w, "strategy"), "channel") || q->group) q->span = QUANT_OF_ROW;
    return NULL;
}

static void read_groups(struct reading *r, const json_t *o, const char *method)
{
    const json_t *groups = json_object_get(o, "config_groups"), *group;
    const char *key, *what;
    char name[96];

    json_object_foreach((json_t *)(uintptr_t)groups, key, group)
    {
        what = group_fault(r, json_object_get(group, "weights"), name, sizeof name);
        if (what)
            fault(r, "weights quantized by \"%.40s%s%.40s\" (%s: %s) are not supported: " REMEDY, method,
                  *text(o, "format") ? ", " : "", text(o, "format"), key, what);
    }
}

/* Weights that were turned, or of which zeros are left out, are not those that a product takes. */
static void refuse_transforms(struct reading *r, const json_t *o)
{
    const json_t *turned = json_object_get(json_object_get(o, "transform_config"), "config_groups");
    const char *sparse = text(json_object_get(o, "sparsity_config"), "format");

    if (json_object_size(turned)) fault(r, "weights that are turned (transform_config) are not supported: " REMEDY);
    if (*sparse && strcmp(sparse, "dense")) fault(r, "sparse weights (\"%.40s\") are not supported: " REMEDY, sparse);
}

static void read_compressed(struct reading *r, const json_t *o)
{
    static const char *const formats[] = {"float-quantized", "naive-quantized", "mixed-precision",      "dense",
                                          "int-quantized",   "pack-quantized",  "nvfp4-pack-quantized", NULL};

    r->q->kind = QUANT_COMPRESSED;
    r->q->scale_dtype = TENSOR_DTYPES;
    refuse_transforms(r, o);
    if (!is(text(o, "format"), formats))
        fault(r, "weights quantized by \"compressed-tensors, %.40s\" are not supported: " REMEDY, text(o, "format"));
    if (!json_object_size(json_object_get(o, "config_groups")) && strcmp(text(o, "format"), "float-quantized"))
        fault(r, "config_groups, which say how \"%.40s\" is meant, are missing", text(o, "format"));
    read_groups(r, o, "compressed-tensors");
    r->q->packed = strcmp(text(o, "format"), "int-quantized") != 0;
    r->q->left_out = json_object_get(o, "ignore");
    r->q->kv_scales = json_is_object(json_object_get(o, "kv_cache_scheme"));
}

/* In config.json, and in hf_quant_config.json one level deeper. */
static void read_modelopt(struct reading *r, const json_t *o)
{
    static const char *const known[] = {"FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4", NULL};
    const json_t *deeper = json_object_get(o, "quantization"), *layers, *layer;
    const char *algo, *key;

    if (json_is_object(deeper)) o = deeper;
    algo = text(o, "quant_algo");
    r->q->kind = QUANT_MODELOPT;
    layers = json_object_get(o, "quantized_layers");
    json_object_foreach((json_t *)(uintptr_t)layers, key, layer)
    {
        if (!is(text(layer, "quant_algo"), known) && *text(layer, "quant_algo"))
            fault(r, "weights quantized by ModelOpt's \"%.40s\" (%.80s) are not supported: " REMEDY,
                  text(layer, "quant_algo"), key);
    }
    if (!is(algo, known) && *algo && strcmp(algo, "MIXED_PRECISION"))
        fault(r, "weights quantized by ModelOpt's \"%.40s\" are not supported: " REMEDY, algo);
    if (!json_is_object(deeper)) read_groups(r, o, "modelopt");
    if (!strcmp(algo, "NVFP4")) r->q->numbers = QUANT_E2M1;
    if (!json_is_object(deeper)) r->q->left_out = json_object_get(o, "ignore");
    if (!strcmp(algo, "FP8_PER_CHANNEL_PER_TOKEN")) r->q->span = QUANT_OF_ROW;
    if (!strcmp(algo, "FP8_PB_WO") || !strcmp(algo, "MIXED_PRECISION")) add_block(r, 128, 128);
    r->q->kv_scales = *text(o, "kv_cache_quant_algo") || json_is_object(json_object_get(o, "kv_cache_scheme"));
}

static void read_bitsandbytes(struct reading *r, const json_t *o)
{
    r->q->kind = QUANT_BITSANDBYTES;
    r->q->numbers = QUANT_LEVELS;
    r->q->nested = json_is_true(json_object_get(o, "bnb_4bit_use_double_quant"));
    r->q->left_out = json_object_get(o, "llm_int8_skip_modules");
    if (!json_is_true(json_object_get(o, "load_in_4bit")) && !json_is_true(json_object_get(o, "_load_in_4bit")))
        fault(r, "weights quantized by \"bitsandbytes\" to 8 bits are not supported: " REMEDY);
}

static void read_words(struct reading *r, const json_t *o, const char *method)
{
    const json_t *bits = json_object_get(o, json_object_get(o, "w_bit") ? "w_bit" : "bits"),
                 *group = json_object_get(o, json_object_get(o, "q_group_size") ? "q_group_size" : "group_size");
    json_int_t size = json_integer_value(group);

    r->q->numbers = QUANT_INTEGERS;
    r->q->bits = (uint32_t)json_integer_value(bits);
    r->q->scale_dtype = TENSOR_F16;
    if (!json_is_integer(bits) || (r->q->bits != 4 && (r->q->bits != 8 || r->q->kind == QUANT_AWQ)))
        fault(r,
              "weights of %lld bits quantized by %s are not supported, those of %s are: take the model's %s, "
              "bfloat16 or FP8 folder",
              (long long)json_integer_value(bits), method, r->q->kind == QUANT_AWQ ? "4" : "4 and 8",
              r->q->kind == QUANT_AWQ ? "4-bit" : "4-bit, 8-bit");
    if (group && !json_is_null(group) &&
        (!json_is_integer(group) || (size != -1 && (size < 8 || size > 65536 || size % 8))))
        fault(r, "group_size %lld: -1 and multiples of 8 are supported", (long long)size);
    r->q->group = size > 0 ? (uint32_t)size : 0;
}

static void read_gptq(struct reading *r, const json_t *o)
{
    static const char *const formats[] = {"", "gptq", "gptq_v2", NULL}, *const words[] = {"", "int32", NULL};
    const char *format = *text(o, "checkpoint_format") ? text(o, "checkpoint_format") : text(o, "format"), *key;
    const json_t *value;

    r->q->kind = QUANT_GPTQ;
    read_words(r, o, "GPTQ");
    r->q->zeros_less = strcmp(format, "gptq_v2") != 0;
    r->q->grouped = json_is_true(json_object_get(o, "desc_act"));
    if (json_is_true(json_object_get(o, "is_marlin_format"))) format = "marlin";
    if (!is(format, formats))
        fault(r,
              "weights quantized by GPTQ in the layout \"%.40s\" are not supported, \"gptq\" and \"gptq_v2\" "
              "are: " REMEDY,
              format);
    if (!is(text(o, "pack_dtype"), words))
        fault(r, "weights quantized by GPTQ in words of \"%.40s\" are not supported, int32 is: " REMEDY,
              text(o, "pack_dtype"));
    if (*text(o, "rotation")) fault(r, "weights that are turned (rotation) are not supported: " REMEDY);
    json_object_foreach((json_t *)(uintptr_t)json_object_get(o, "dynamic"), key, value)
    {
        const json_t *own = json_object_get(value, "desc_act");

        if (own && json_is_true(own) != r->q->grouped)
            fault(r, "desc_act of its own (dynamic: %.80s) is not supported: " REMEDY, key);
    }
}

static void read_awq(struct reading *r, const json_t *o)
{
    static const char *const versions[] = {"", "gemm", "GEMM", NULL};

    r->q->kind = QUANT_AWQ;
    read_words(r, o, "AWQ");
    r->q->left_out = json_object_get(o, "modules_to_not_convert");
    r->q->left_out_within = true;
    if (!is(text(o, "version"), versions))
        fault(r, "weights quantized by AWQ in the layout \"%.40s\" are not supported, \"gemm\" is: " REMEDY,
              text(o, "version"));
    if (json_is_false(json_object_get(o, "zero_point")))
        fault(r, "weights quantized by AWQ without zero points are not supported: " REMEDY);
}

/* A folder that says how many bits its weights have, and not by which method: mlx's own, or one that lost a field. */
static void no_method(struct reading *r, const json_t *o)
{
    const json_t *bits = json_object_get(o, "bits"), *group = json_object_get(o, "group_size");
    bool mlx = config_field(r->c, "quantization", true) != NULL;
    char how[80] = "";

    if (json_is_integer(bits) && json_is_integer(group))
        snprintf(how, sizeof how, " (%lld bits, a scale for %lld weights)", (long long)json_integer_value(bits),
                 (long long)json_integer_value(group));
    config_fault(r->c, r->e, mlx ? "quantization" : "quantization_config",
                 mlx ? "weights quantized for mlx%s are not supported: " REMEDY
                     : "weights quantized%s by a method that quant_method does not name are not supported: " REMEDY,
                 how);
}

static void read_method(struct reading *r, const json_t *o)
{
    const char *method = text(o, "quant_method");

    if (!strcmp(method, "fp8")) {
        read_fp8(r, o);
    } else if (!strcmp(method, "fbgemm_fp8")) {
        r->q->kind = QUANT_FP8;
        r->q->span = QUANT_OF_ROW;
    } else if (!strcmp(method, "mxfp4")) {
        r->q->kind = QUANT_MXFP4;
    } else if (!strcmp(method, "compressed-tensors")) {
        read_compressed(r, o);
    } else if (!strcmp(method, "bitsandbytes")) {
        read_bitsandbytes(r, o);
    } else if (!strcmp(method, "gptq")) {
        read_gptq(r, o);
    } else if (!strcmp(method, "awq")) {
        read_awq(r, o);
    } else if (!strncmp(method, "modelopt", 8)) {
        read_modelopt(r, o);
    } else if (!*method) {
        no_method(r, o);
    } else {
        fault(r, "weights quantized by \"%.40s%s%.40s\" are not supported: " REMEDY, method,
              *text(o, "format") ? ", " : "", text(o, "format"));
    }
}

/* ---- files beside a config.json that says nothing ---- */

static void read_modelopts_own(struct reading *r, const json_t *o)
{
    if (json_is_object(json_object_get(o, "quantization"))) read_modelopt(r, o);
}

static void read_gptqs_own(struct reading *r, const json_t *o)
{
    if (*text(o, "quant_method"))
        read_method(r, o);
    else
        read_gptq(r, o);
}

/* What tools wrote before config.json was the place. words: of matrices in words, which the tensors' names tell. */
static const struct {
    const char *file;
    void (*read)(struct reading *r, const json_t *o);
    bool words;
} own_files[] = {{"hf_quant_config.json", read_modelopts_own, false},
                 {"quantize_config.json", read_gptqs_own, true},
                 {"quant_config.json", read_awq, true}};
#define OWN_FILES (sizeof own_files / sizeof *own_files)

static bool has_words(const struct tensors *t)
{
    if (t->assumed && !t->names_known) return true; /* for all that is known */
    for (size_t i = 0; i < t->count; i++)
        if (tensors_name_ends(t->at[i].name, ".qweight")) return true;
    return false;
}

static void read_beside(struct reading *r, const char *folder, const struct tensors *t)
{
    char path[4096];

    for (size_t i = 0; i < OWN_FILES && r->q->kind == QUANT_NONE && !r->e->code; i++) {
        struct error unread = {0};
        json_t *o;

        if (snprintf(path, sizeof path, "%s/%s", folder, own_files[i].file) >= (int)sizeof path || access(path, F_OK) ||
            (own_files[i].words && !has_words(t)))
            continue;
        r->path = path;
        if (json_read_file(&o, path, BESIDE_BYTES, own_files[i].words ? r->e : &unread)) continue;
        own_files[i].read(r, o);
        r->q->left_out = NULL; /* it goes with the file */
        json_decref(o);
    }
}

struct quant quant_read(const struct config *c, const struct tensors *t, struct error *e)
{
    struct quant q = {.kind = QUANT_NONE};
    struct reading r = {&q, c, e, c->path};
    const json_t *o = config_field(c, "quantization_config", true);

    if (!o) o = config_field(c, "compression_config", true);
    if (!o) o = config_field(c, "quantization", true);
    if (e->code) return q;
    if (o && !(json_is_object(o) && !json_object_size(o)))
        read_method(&r, o);
    else if (!t->gguf)
        read_beside(&r, t->folder, t);
    return q;
}

/* Python's regular expressions that are no extended ones match nothing here. */
static bool matches(const char *pattern, const char *module)
{
    char whole[512];
    regex_t re;
    bool yes;

    if (strncmp(pattern, "re:", 3)) return !strcmp(pattern, module);
    if (snprintf(whole, sizeof whole, "^(%s)", pattern + 3) >= (int)sizeof whole ||
        regcomp(&re, whole, REG_EXTENDED | REG_NOSUB))
        return false;
    yes = !regexec(&re, module, 0, NULL, 0);
    regfree(&re);
    return yes;
}

bool quant_leaves_out(const struct quant *q, const char *weight)
{
    char module[512];
    const json_t *x;
    size_t i;

    snprintf(module, sizeof module, "%.*s", (int)(strlen(weight) - strlen(".weight")), weight);
    json_array_foreach(q->left_out, i, x)
    {
        if (!json_is_string(x)) continue;
        if (q->left_out_within ? strstr(module, json_string_value(x)) != NULL : matches(json_string_value(x), module))
            return true;
    }
    return false;
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

int quant_unnamed(const struct config *c, const struct tensors *t, struct error *e)
{
    const char *method = t->assumed && !t->names_known ? NULL : method_of_tensors(t);
    char path[4096];
    bool words = method && strstr(method, "GPTQ");

    if (config_field(c, "quantization_config", true) || config_field(c, "compression_config", true) || !method)
        return 0;
    for (size_t i = 0; i < OWN_FILES; i++) /* quant_read() has what they say */
        if (own_files[i].words <= words &&
            snprintf(path, sizeof path, "%s/%s", t->folder, own_files[i].file) < (int)sizeof path &&
            !access(path, F_OK))
            return 0;
    return error_set(e, ENOTSUP,
                     "%s: weights quantized by %s (as its tensors say, not config.json) are not supported: take the "
                     "model's bfloat16 or FP8 folder%s",
                     t->folder, method,
                     words ? ", or download its quantize_config.json (AWQ: quant_config.json), which says how" : "");
}

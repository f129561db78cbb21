/* quantization_config, and scales beside the weights, in every shape and type that tools write: which elements share one,
 * and what is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/mkmodel.h"
#include "tests/support_model.h"

/* The reference's folder with, in its config.json, this quantization_config (NULL: its own; "": none), and in each line of its
 * list that names what, the text from replaced by to. */
struct odd {
    const char *model, *quant, *what, *from, *to;
};

static char *whole_file(const char *path)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = fopen(path, "re");

    if (!f || getdelim(&text, &n, 0, f) <= 0) fail_msg("%s cannot be read", path);
    fclose(f);
    return text;
}

static char *changed_list(const char *list, const struct odd *o)
{
    char *copy = strdup(list), *rest = copy, *line, *text = NULL;
    size_t n = 0, hits = 0;
    FILE *out = open_memstream(&text, &n);

    assert_non_null(copy);
    assert_non_null(out);
    while ((line = strsep(&rest, "\n"))) {
        char *at = o->what && strstr(line, o->what) ? strstr(line, o->from) : NULL;

        if (at)
            fprintf(out, "%.*s%s%s\n", (int)(at - line), line, o->to, at + strlen(o->from));
        else
            fprintf(out, "%s\n", line);
        hits += at != NULL;
    }
    fclose(out);
    if (o->what && !hits) fail_msg("%s: no line has %s and \"%s\"", o->model, o->what, o->from);
    free(copy);
    return text;
}

static void set_quant(const char *folder, const char *model, const char *quant)
{
    char path[256], *text;
    json_t *c;

    snprintf(path, sizeof path, REFERENCE_MODELS "/%s/config.json", model);
    c = json_load_file(path, 0, NULL);
    assert_non_null(c);
    if (*quant) {
        json_t *q = json_loads(quant, 0, NULL);

        if (!q) fail_msg("no JSON: %s", quant);
        json_object_set_new(c, "quantization_config", q);
    } else {
        json_object_del(c, "quantization_config");
    }
    text = json_dumps(c, 0);
    scratch_write(folder, "config.json", text);
    free(text);
    json_decref(c);
}

static char *make_odd(const struct odd *o)
{
    char path[256], *folder = reference_make(o->model), *list, *text;
    struct error e = {0};

    snprintf(path, sizeof path, REFERENCE_MODELS "/%s/tensors.tsv", o->model);
    list = whole_file(path);
    text = changed_list(list, o);
    if (mkmodel_from_text(text, folder, &e)) fail_msg("%s", e.text);
    if (o->quant) set_quant(folder, o->model, o->quant);
    free(text);
    free(list);
    return folder;
}

static const struct plan_matrix *matrix_of(const struct model *m, const char *name)
{
    const struct plan_shm *p = model_program(m);

    for (uint64_t i = 0; i < p->matrices.count; i++)
        if (strstr(plan_string(p, plan_matrices(p)[i].name), name)) return plan_matrices(p) + i;
    fail_msg("no matrix %s", name);
    return NULL;
}

#define CT(weights)                                                                                                    \
    "{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\",\"config_groups\":{\"g\":{\"targets\":["  \
    "\"Linear\"],\"weights\":" weights "}},\"ignore\":[\"lm_head\"]}"
#define FP8(more) "{\"num_bits\":8,\"type\":\"float\"" more "}"

/* down_proj of these models is 128 x 192. */
static void scales_of_every_shape(void **state)
{
    static const struct {
        struct odd odd;
        uint32_t block_rows, block_cols, scale_form;
    } cases[] = {
        {{"llama-fbgemm-fp8", NULL, NULL, NULL, NULL}, 1, 192, FORM_F32},
        {{"llama-ct-fp8-channel", NULL, NULL, NULL, NULL}, 1, 192, FORM_BF16},
        {{"llama-ct-fp8-channel", NULL, "down_proj.weight_scale", "BF16\t128x1", "F16\t128x1"}, 1, 192, FORM_F16},
        {{"llama-ct-fp8-channel", NULL, "down_proj.weight_scale", "BF16\t128x1", "F32\t128"}, 1, 192, FORM_F32},
        {{"llama-ct-fp8-tensor", NULL, NULL, NULL, NULL}, 128, 192, FORM_BF16},
        {{"llama-ct-fp8-tensor", NULL, "down_proj.weight_scale", "BF16\t1\t", "F16\t\t"}, 128, 192, FORM_F16},
        {{"llama-ct-fp8-tensor", NULL, "down_proj.weight_scale", "BF16\t1\t", "F16\t1x1\t"}, 128, 192, FORM_F16},
        {{"llama-ct-fp8-block", NULL, NULL, NULL, NULL}, 128, 128, FORM_BF16},
        {{"llama-ct-fp8-block", CT(FP8(",\"strategy\":\"block\",\"block_structure\":\"128x128\"")), NULL, NULL, NULL},
         128,
         128,
         FORM_BF16},
        /* each group has its own */
        {{"llama-ct-fp8-block",
          "{\"quant_method\":\"compressed-tensors\",\"format\":\"mixed-precision\",\"config_groups\":{"
          "\"a\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"block\","
          "\"block_structure\":[128,128]}},"
          "\"b\":{\"targets\":[\"re:.*down_proj\"],\"weights\":{\"num_bits\":8,\"type\":\"float\",\"strategy\":"
          "\"block\","
          "\"block_structure\":[32,64]}}}}",
          "down_proj.weight_scale", "\t1x2", "\t4x3"},
         32,
         64,
         FORM_BF16},
        {{"llama-ct-fp8-channel", CT(FP8(",\"strategy\":\"group\",\"group_size\":32")), "down_proj.weight_scale",
          "128x1", "128x6"},
         1,
         32,
         FORM_BF16},
        {{"qwen3-modelopt-fp8", NULL, NULL, NULL, NULL}, 128, 192, FORM_F32},
        {{"qwen3-modelopt-fp8", "", NULL, NULL, NULL}, 128, 192, FORM_F32},
        {{"qwen3-modelopt-fp8", "{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8_PB_WO\"}",
          "down_proj.weight_scale", "F32\t\t", "F32\t1x1x2x1\t"},
         128,
         128,
         FORM_F32},
        {{"qwen3-modelopt-fp8",
          "{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8_PER_CHANNEL_PER_TOKEN\",\"kv_cache_scheme\":{\"type\":"
          "\"float\",\"num_bits\":8}}",
          "down_proj.weight_scale", "F32\t\t", "F32\t128\t"},
         1,
         192,
         FORM_F32},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = make_odd(&cases[i].odd);
        const struct plan_matrix *w;
        struct model *m = NULL;
        struct error e = {0};

        if (model_open(&m, folder, NULL, &e)) fail_msg("case %zu: %s", i, e.text);
        w = matrix_of(m, "layers.1.mlp.down_proj");
        if (w->form != FORM_F8_E4M3 || w->block_rows != cases[i].block_rows || w->block_cols != cases[i].block_cols ||
            w->scale_form != cases[i].scale_form)
            fail_msg("case %zu: %s, a scale in %s for %u x %u", i, form_name(w->form), form_name(w->scale_form),
                     w->block_rows, w->block_cols);
        model_close(m);
        scratch_remove(folder);
    }
}

/* ModelOpt's own file, where config.json says nothing, or another. */
static void the_file_of_modelopt(void **state)
{
    const struct odd plain = {"qwen3-modelopt-fp8", "", NULL, NULL, NULL};
    char *folder = make_odd(&plain);
    struct model *m = NULL;
    struct error e = {0};

    (void)state;
    scratch_write(folder, "hf_quant_config.json",
                  "{\"producer\":{\"name\":\"modelopt\"},\"quantization\":{\"quant_algo\":\"FP8\","
                  "\"kv_cache_quant_algo\":\"FP8\",\"exclude_modules\":[\"lm_head\"]}}");
    if (model_open(&m, folder, NULL, &e)) fail_msg("%s", e.text);
    assert_non_null(model_notice(m));
    assert_non_null(strstr(model_notice(m), "scales of a narrower KV cache"));
    model_close(m);
    scratch_write(folder, "hf_quant_config.json", "{\"quantization\":{\"quant_algo\":\"W4A8_AWQ\"}}");
    assert_true(model_open(&m, folder, NULL, &e) < 0);
    assert_non_null(strstr(e.text, "hf_quant_config.json: quantization: weights quantized by ModelOpt's \"W4A8_AWQ\""));
    scratch_remove(folder);
}

static void refused(const char *folder, const char *says)
{
    struct model *m = NULL;
    struct error e = {0};

    if (model_open(&m, folder, NULL, &e) >= 0) fail_msg("not refused: %s", says);
    if (!strstr(e.text, says) || strchr(e.text, '\n')) fail_msg("\"%s\" does not say \"%s\"", e.text, says);
}

/* What AutoGPTQ and AutoAWQ wrote before config.json was the place for it. */
static void the_files_of_older_tools(void **state)
{
    static const struct {
        const char *model, *file, *text, *bad[3][2];
    } cases[] = {
        {"qwen3-gptq",
         "quantize_config.json",
         "{\"bits\":4,\"group_size\":32,\"damp_percent\":0.01,\"desc_act\":false,\"static_groups\":false,\"sym\":false,"
         "\"true_sequential\":true,\"model_name_or_path\":null,\"model_file_base_name\":\"model\"}",
         {{"{\"bits\":3}", "quantize_config.json: quantization: weights of 3 bits quantized by GPTQ"},
          {"{\"bits\":4,", "quantize_config.json"},
          {"[4]", "quantize_config.json: not a JSON object"}}},
        {"qwen3-gptq-act",
         "quantize_config.json",
         "{\"bits\":4,\"group_size\":32,\"desc_act\":true,\"sym\":false}",
         {{"{\"bits\":4,\"group_size\":12}", "group_size 12"},
          {"{}", "weights of 0 bits"},
          {"{\"quant_method\":\"quip\"}", "weights quantized by \"quip"}}},
        {"qwen3-awq",
         "quant_config.json",
         "{\"zero_point\":true,\"q_group_size\":32,\"w_bit\":4,\"version\":\"GEMM\",\"modules_to_not_convert\":[\"x\"]"
         "}",
         {{"{\"w_bit\":3}", "quant_config.json: quantization: weights of 3 bits quantized by AWQ"},
          {"{\"w_bit\":4,\"q_group_size\":32,\"version\":\"GEMV\"}", "the layout \"GEMV\""},
          {"", "quant_config.json"}}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct odd plain = {cases[i].model, "", NULL, NULL, NULL};
        char *folder = make_odd(&plain);
        struct golden g = golden_load(cases[i].model);
        double d;

        refused(folder, "or download its quantize_config.json (AWQ: quant_config.json)");
        for (size_t k = 0; k < 3; k++) {
            scratch_write(folder, cases[i].file, cases[i].bad[k][0]);
            refused(folder, cases[i].bad[k][1]);
        }
        scratch_write(folder, cases[i].file, cases[i].text);
        d = golden_difference(&g, folder);
        if (!(d < 5e-5)) fail_msg("%s with %s is off by %g", cases[i].model, cases[i].file, d);
        golden_free(&g);
        scratch_remove(folder);
    }
}

/* It lies beside weights that are not quantized: nobody asks what it says. */
static void a_file_of_another_folder(void **state)
{
    char *folder = reference_make("llama");
    struct model *m = NULL;
    struct error e = {0};

    (void)state;
    scratch_write(folder, "quantize_config.json", "{\"bits\":3}");
    if (model_open(&m, folder, NULL, &e)) fail_msg("%s", e.text);
    model_close(m);
    scratch_remove(folder);
}

/* Which form, and what lies beside it: down_proj of these is 128 x 192, and 96 x 64 in the last. */
static const struct {
    struct odd odd;
    const char *matrix;
    uint32_t form, block_cols, scale_form, zero_rows, flags;
} packed[] = {
    {{"llama-ct-int8", NULL, NULL, NULL, NULL}, "1.mlp.down_proj", FORM_I8, 192, FORM_BF16, 0, 0},
    {{"llama-ct-int8", NULL, "down_proj.weight_scale", "128x1", "128x3"},
     "1.mlp.down_proj",
     FORM_I8,
     64,
     FORM_BF16,
     0,
     0},
    {{"llama-ct-int8", NULL, "1.mlp.down_proj.weight_scale", "BF16\t128x1\tlin 0.00195312 0.000976562",
      "BF16\t128x1\tlin 0.00195312 "
      "0.000976562\nmodel.safetensors\tmodel.layers.1.mlp.down_proj.weight_zero_point\tI8\t128x1\tint8"},
     "1.mlp.down_proj",
     FORM_I8,
     192,
     FORM_BF16,
     1,
     0},
    {{"llama-ct-int4", NULL, NULL, NULL, NULL}, "1.mlp.down_proj", FORM_I4_PACKED, 32, FORM_BF16, 0, 0},
    {{"llama-ct-int4", NULL, "down_proj.weight_scale", "BF16\t128x6", "F16\t128x1"},
     "1.mlp.down_proj",
     FORM_I4_PACKED,
     192,
     FORM_F16,
     0,
     0},
    {{"llama-ct-int4", NULL, "down_proj.weight_packed", "I32\t128x24", "I32\t128x48"},
     "1.mlp.down_proj",
     FORM_I8_PACKED,
     32,
     FORM_BF16,
     0,
     0},
    {{"llama-ct-int4-asym", NULL, NULL, NULL, NULL}, "1.mlp.down_proj", FORM_I4_PACKED, 32, FORM_BF16, 8, 0},
    {{"kimi-k2.5-int4", NULL, NULL, NULL, NULL}, "1.mlp.experts.0.down_proj", FORM_I4_PACKED, 32, FORM_BF16, 0, 0},
    {{"kimi-k2.5-int4", NULL, NULL, NULL, NULL}, "0.mlp.down_proj", FORM_BF16, 0, 0, 0, 0},
    {{"llama-ct-nvfp4", NULL, NULL, NULL, NULL},
     "1.mlp.down_proj",
     FORM_NVFP4_GRID,
     16,
     FORM_F8_E4M3,
     0,
     MATRIX_WHOLE | MATRIX_DIVIDED},
    {{"qwen3-modelopt-nvfp4", NULL, NULL, NULL, NULL},
     "1.mlp.down_proj",
     FORM_NVFP4_GRID,
     16,
     FORM_F8_E4M3,
     0,
     MATRIX_WHOLE},
    {{"qwen3-bnb-nf4", NULL, NULL, NULL, NULL}, "1.mlp.down_proj", FORM_NF4, 64, FORM_F32, 0, 0},
    {{"qwen3-awq", NULL, NULL, NULL, NULL}, "1.mlp.down_proj", FORM_AWQ_4, 1, FORM_F16, 32, 0},
    {{"qwen3-gptq", NULL, NULL, NULL, NULL}, "1.mlp.down_proj", FORM_GPTQ_4, 1, FORM_F16, 4, MATRIX_ZEROS_LESS},
    {{"qwen3-gptq", NULL, "1.mlp.down_proj.scales", "F16", "BF16"},
     "1.mlp.down_proj",
     FORM_GPTQ_4,
     1,
     FORM_BF16,
     4,
     MATRIX_ZEROS_LESS},
    {{"qwen3-gptq-v2", NULL, NULL, NULL, NULL}, "1.mlp.down_proj", FORM_GPTQ_4, 1, FORM_F16, 4, 0},
    {{"qwen3-gptq-act", NULL, NULL, NULL, NULL},
     "1.mlp.down_proj",
     FORM_GPTQ_4,
     1,
     FORM_F16,
     4,
     MATRIX_ZEROS_LESS | MATRIX_GROUPED},
    {{"qwen3-gptq-int8", NULL, NULL, NULL, NULL}, "1.mlp.down_proj", FORM_GPTQ_8, 1, FORM_F16, 16, MATRIX_ZEROS_LESS},
    {{"qwen3-gptq", NULL, NULL, NULL, NULL}, "lm_head", FORM_BF16, 0, 0, 0, 0},
    {{"qwen3-bnb-nf4-double", NULL, NULL, NULL, NULL}, "1.mlp.down_proj", FORM_NF4, 64, FORM_BYTES, 0, MATRIX_NESTED},
};

static void packed_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) {
        char *folder = make_odd(&packed[i].odd);
        const struct plan_matrix *w;
        struct model *m = NULL;
        struct error e = {0};

        if (model_open(&m, folder, NULL, &e)) fail_msg("case %zu: %s", i, e.text);
        w = matrix_of(m, packed[i].matrix);
        if (w->form != packed[i].form || w->block_cols != packed[i].block_cols ||
            w->scale_form != packed[i].scale_form || w->zero_rows != packed[i].zero_rows || w->flags != packed[i].flags)
            fail_msg("case %zu: %s, a scale in %s for %u x %u, zero points of %u rows, flags %u", i, form_name(w->form),
                     form_name(w->scale_form), w->block_rows, w->block_cols, w->zero_rows, w->flags);
        model_close(m);
        scratch_remove(folder);
    }
}

static void refused_by_name(void **state)
{
    static const struct {
        struct odd odd;
        const char *says;
    } cases[] = {
        {{"llama-ct-fp8-block", CT(FP8(",\"block_structure\":[128]")), NULL, NULL, NULL}, "block_structure"},
        {{"llama-ct-fp8-block", CT(FP8(",\"block_structure\":\"wide\"")), NULL, NULL, NULL}, "block_structure"},
        {{"llama-ct-fp8-block", CT(FP8(",\"block_structure\":[48,48]")), NULL, NULL, NULL}, "and [4, 3] was expected"},
        {{"llama-ct-fp8-channel", CT("{\"num_bits\":6,\"type\":\"float\"}"), NULL, NULL, NULL},
         "6-bit float by tensor"},
        {{"llama-ct-fp8-channel", CT(FP8(",\"strategy\":\"row\"")), NULL, NULL, NULL}, "8-bit float by row"},
        {{"llama-ct-fp8-channel",
          "{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\",\"sparsity_config\":{\"format\":"
          "\"sparse-24-bitmask\"}}",
          NULL, NULL, NULL},
         "sparse weights (\"sparse-24-bitmask\")"},
        {{"llama-ct-fp8-channel",
          "{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\",\"transform_config\":{\"config_"
          "groups\":{\"R1\":{\"type\":\"hadamard\"}}}}",
          NULL, NULL, NULL},
         "turned (transform_config)"},
        {{"llama-ct-fp8-channel", "{\"quant_method\":\"compressed-tensors\",\"format\":\"marlin-24\"}", NULL, NULL,
          NULL},
         "marlin-24"},
        {{"llama-ct-fp8-channel", NULL, "1.mlp.down_proj.weight_scale", "128x1", "64x2"}, "has shape [64, 2]"},
        {{"llama-ct-fp8-channel", NULL, "1.mlp.down_proj.weight_scale", "weight_scale", "weight_scaly"},
         "down_proj.weight_scale of shape"},
        {{"llama-ct-int4", NULL, "1.mlp.down_proj.weight_packed", "128x24", "128x25"}, "has shape [128, 25]"},
        {{"llama-ct-int4", NULL, "1.mlp.down_proj.weight_scale", "128x6", "128x7"}, "has shape [128, 7]"},
        {{"llama-ct-int4", NULL, "1.mlp.down_proj.weight_shape", "_shape", "_g_idx"}, "weight_g_idx"},
        {{"llama-ct-int4-asym", NULL, "1.mlp.down_proj.weight_zero_point", "I32\t16x6", "I32\t16x3"}, "[16, 3]"},
        {{"llama-ct-int4-asym", NULL, "1.mlp.down_proj.weight_zero_point", "_zero_point", "_zero_paint"},
         "weight_zero_point of shape [16, 6] is missing"},
        {{"llama-ct-nvfp4", NULL, "1.mlp.down_proj.weight_scale", "128x12", "128x24"}, "has shape [128, 24]"},
        {{"llama-ct-nvfp4", NULL, "1.mlp.down_proj.weight_global_scale", "_global_scale", "_global_scaly"},
         "weight_global_scale of shape"},
        {{"qwen3-modelopt-nvfp4", NULL, "1.mlp.down_proj.input_scale", "F32\t\tlin 0.5 0.25",
          "F32\t\tlin 0.5 0.25\nmodel.safetensors\tmodel.layers.1.mlp.down_proj.pre_quant_scale\tBF16\t192\tlin 1 0.5"},
         "pre_quant_scale: inputs that are scaled"},
        {{"qwen3-bnb-nf4", NULL, "1.mlp.down_proj.weight.quant_map", "val -1.0 -0.69", "val -1.0 -0.59"},
         "levels of its own"},
        {{"qwen3-bnb-nf4", NULL, "1.mlp.down_proj.weight.quant_state", "\"shape\": [128, 192]",
          "\"shape\": [192, 128]"},
         "its shape is not that of the matrix"},
        {{"qwen3-bnb-nf4", NULL, "1.mlp.down_proj.weight.quant_state", "\"blocksize\": 64", "\"blocksize\": 50"},
         "blocks that end within a row"},
        {{"qwen3-bnb-nf4-double", NULL, "1.mlp.down_proj.weight.quant_state", "_blocksize\": 256", "_blocksize\": 128"},
         "nested in blocks but 256"},
        {{"qwen3-bnb-nf4", "{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}", NULL, NULL, NULL}, "to 8 bits"},
        {{"qwen3-awq", "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32,\"version\":\"gemv\"}", NULL, NULL,
          NULL},
         "by AWQ in the layout \"gemv\" are not supported, \"gemm\" is: take"},
        {{"qwen3-awq", "{\"quant_method\":\"awq\",\"bits\":8}", NULL, NULL, NULL}, "8 bits quantized by AWQ"},
        {{"qwen3-awq", "{\"quant_method\":\"awq\",\"bits\":4,\"zero_point\":false}", NULL, NULL, NULL},
         "AWQ without zero points"},
        {{"qwen3-gptq", "{\"quant_method\":\"gptq\",\"bits\":3}", NULL, NULL, NULL}, "3 bits quantized by GPTQ"},
        {{"qwen3-gptq", "{\"quant_method\":\"gptq\"}", NULL, NULL, NULL}, "0 bits quantized by GPTQ"},
        {{"qwen3-gptq", "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":12}", NULL, NULL, NULL}, "group_size 12"},
        {{"qwen3-gptq", "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":\"many\"}", NULL, NULL, NULL},
         "group_size 0"},
        {{"qwen3-gptq", "{\"quant_method\":\"gptq\",\"bits\":4,\"checkpoint_format\":\"marlin\"}", NULL, NULL, NULL},
         "the layout \"marlin\""},
        {{"qwen3-gptq", "{\"quant_method\":\"gptq\",\"bits\":4,\"is_marlin_format\":true}", NULL, NULL, NULL},
         "the layout \"marlin\""},
        {{"qwen3-gptq", "{\"quant_method\":\"gptq\",\"bits\":4,\"pack_dtype\":\"int8\"}", NULL, NULL, NULL},
         "words of \"int8\""},
        {{"qwen3-gptq", "{\"quant_method\":\"gptq\",\"bits\":4,\"dynamic\":{\"+:down\":{\"desc_act\":true}}}", NULL,
          NULL, NULL},
         "desc_act of its own (dynamic: +:down)"},
        {{"qwen3-gptq", NULL, "1.mlp.down_proj.qweight", "24x128", "25x128"}, "has shape [25, 128]"},
        {{"qwen3-gptq", NULL, "1.mlp.down_proj.scales", "6x128", "7x128"}, "has shape [7, 128]"},
        {{"qwen3-gptq", NULL, "1.mlp.down_proj.qzeros", "6x16", "6x15"}, "has shape [6, 15]"},
        {{"qwen3-gptq", NULL, "1.mlp.down_proj.qzeros", "qzeros", "qzeroes"}, "qzeros of shape"},
        {{"qwen3-awq", NULL, "1.mlp.down_proj.qweight", "I32", "F32"}, "words of F32"},
        {{"qwen3-awq", NULL, "1.mlp.down_proj.scales", "F16", "F32"}, "scales stored as F32"},
        {{"qwen3-gptq-act", NULL, "1.mlp.down_proj.g_idx", "g_idx", "g_idy"}, "g_idx of shape"},
        {{"qwen3-gptq-act", NULL, "1.mlp.down_proj.g_idx", "I32\t192", "I32\t191"}, "has shape [191]"},
        {{"qwen3-modelopt-fp8", "{\"quant_method\":\"modelopt\",\"quant_algo\":\"W4A8_AWQ\"}", NULL, NULL, NULL},
         "W4A8_AWQ"},
        {{"qwen3-modelopt-fp8",
          "{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":{\"l.q\":{\"quant_"
          "algo\":\"INT4_AWQ\"}}}",
          NULL, NULL, NULL},
         "INT4_AWQ\" (l.q)"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = make_odd(&cases[i].odd);
        struct model *m = NULL;
        struct error e = {0};

        if (model_open(&m, folder, NULL, &e) >= 0) fail_msg("case %zu (%s) was not refused", i, cases[i].says);
        if (!strstr(e.text, cases[i].says) || strchr(e.text, '\n')) fail_msg("case %zu: \"%s\"", i, e.text);
        scratch_remove(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_of_every_shape),    cmocka_unit_test(the_file_of_modelopt),
        cmocka_unit_test(the_files_of_older_tools), cmocka_unit_test(a_file_of_another_folder),
        cmocka_unit_test(packed_numbers),           cmocka_unit_test(refused_by_name)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Families and stored forms that no library's reference covers: held against the published formulas in plain code, or
 * against the same weights stored otherwise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "tests/mkmodel.h"
#include "tests/support_baichuan.h"
#include "tests/support_model.h"

static void baichuan2_13b_follows_its_formulas(void **state)
{
    char *folder = scratch_make();
    struct golden g = baichuan_make(folder);
    double d = golden_difference(&g, folder);

    (void)state;
    if (!(d < 1e-6)) fail_msg("off by %g", d);
    golden_free(&g);
    scratch_remove(folder);
}

/* ---- stored forms ---- */

/* The list of a reference model with lines changed by edit(), in a folder of its own. */
static char *edited(const char *model, const char *config, void (*edit)(FILE *out, char *line, int form), int form)
{
    char path[256], *line = NULL, *list = NULL, *folder = reference_make(model);
    size_t n = 0, bytes = 0;
    FILE *in, *out = open_memstream(&list, &bytes);
    struct error e = {0};

    snprintf(path, sizeof path, REFERENCE_MODELS "/%s/tensors.tsv", model);
    in = fopen(path, "re");
    assert_non_null(in);
    while (getline(&line, &n, in) > 0) edit(out, line, form);
    fclose(in);
    fclose(out);
    if (mkmodel_from_text(list, folder, &e)) fail_msg("%s", e.text);
    if (config) scratch_write(folder, "config.json", config);
    free(list);
    free(line);
    return folder;
}

/* Scales that are all the same: for blocks (0), one for the matrix (1), one for each row (2). */
static void same_scales(FILE *out, char *line, int form)
{
    char *scale = strstr(line, "_scale_inv"), *weight_rows, name[200];
    static int rows;

    if (!scale) {
        weight_rows = strstr(line, "F8_E4M3\t");
        if (weight_rows) rows = atoi(weight_rows + 8);
        fputs(line, out);
        return;
    }
    if (form == 0) {
        *strstr(line, "lin ") = 0;
        fprintf(out, "%slin 0.125 0\n", line);
        return;
    }
    snprintf(name, sizeof name, "%.*s", (int)(scale - line), line);
    fprintf(out, "%s_scale\tBF16\t%dx1\tlin 0.125 0\n", name, form == 1 ? 1 : rows);
}

static void scales_of_blocks_rows_and_matrices(void **state)
{
    struct golden g = golden_load("qwen3-fp8");
    char *config = NULL, *at;
    double *want = NULL;
    size_t n = 0;
    FILE *f = fopen(REFERENCE_MODELS "/qwen3-fp8/config.json", "re");

    (void)state;
    assert_true(getdelim(&config, &n, 0, f) > 0);
    fclose(f);
    at = strstr(config, "weight_block_size"); /* absent where scales cover more */
    assert_non_null(at);
    for (int form = 0; form < 3; form++) {
        char *folder;
        double *got;
        if (form == 1) memcpy(at, "ignored", 7);
        folder = edited("qwen3-fp8", config, same_scales, form);
        got = golden_logits(&g, folder);
        for (uint32_t i = 0; i < g.wanted * g.vocab && want; i++) assert_true(fabs(got[i] - want[i]) < 1e-9);
        if (form)
            free(got);
        else
            want = got;
        scratch_remove(folder);
    }
    free(want);
    free(config);
    golden_free(&g);
}

/* Experts as one tensor of all, instead of a matrix each. */
static void fused_experts_are_the_listed_ones(void **state)
{
    struct golden g = golden_load("qwen3-moe");
    char *source = reference_make("qwen3-moe"), *folder = scratch_make(), name[256], *config = NULL;
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    struct renamer r;
    size_t n = 0;
    FILE *f = fopen(scratch_path(source, "config.json"), "re");

    (void)state;
    assert_true(getdelim(&config, &n, 0, f) > 0);
    fclose(f);
    scratch_write(folder, "config.json", config);
    renamer_open(&r, source);
    for (size_t i = 0; i < r.from->count; i++)
        if (!strstr(r.from->at[i].name, ".experts.")) renamer_copy(&r, r.from->at[i].name, r.from->at[i].name);
    for (uint32_t i = 0; i < 3; i++) {
        for (int down = 0; down < 2; down++) {
            uint64_t shape[3] = {6, down ? 80 : 96, down ? 48 : 80};
            snprintf(name, sizeof name, "model.layers.%u.mlp.experts.%s", i, down ? "down_proj" : "gate_up_proj");
            renamer_begin(&r, name);
            for (uint32_t e = 0; e < 6; e++) {
                for (int k = down ? 2 : 0; k < (down ? 3 : 2); k++) {
                    snprintf(name, sizeof name, "model.layers.%u.mlp.experts.%u.%s.weight", i, e, parts[k]);
                    renamer_append(&r, name, 0, down ? 80 : 48);
                }
            }
            renamer_end_shape(&r, shape, 3);
        }
    }
    renamer_close(&r, folder);
    assert_true(golden_difference(&g, folder) < 5e-5);
    golden_free(&g);
    free(config);
    scratch_remove(folder);
    scratch_remove(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(baichuan2_13b_follows_its_formulas),
        cmocka_unit_test(scales_of_blocks_rows_and_matrices),
        cmocka_unit_test(fused_experts_are_the_listed_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

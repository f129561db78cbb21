/* --device-memory holds, as far as that can be seen without a GPU: what all processes ask of cudaMalloc, counted as a driver
 * takes it (emulated.cpp), stays under the budget less what the plan keeps for the driver's two contexts, over families,
 * contexts, chunks, depths and budgets. Refusals name the smallest budget that would do, and that one must do. What the
 * contexts themselves take is the driver's, and not seen here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "compute/cuda/backend.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define SECONDS  120
#define ARGS_MAX 40
#define TOKENS   "1 2 3"
/* What the plan keeps for contexts and libraries (coordinator/plan/cost.c). */
#define CONTEXTS (UINT64_C(608) << 20)

struct setting {
    const char *name;
    const char *flag[8];
};

static const struct setting settings[] = {
    {"defaults", {NULL}},
    {"a position a sweep", {"--chunk", "1"}},
    {"long context, large chunk", {"--context", "20000", "--chunk", "1024"}},
    {"short context, bf16", {"--context", "60", "--chunk", "7", "--kv-type", "bf16"}},
    {"many large slots", {"--transfer-depth", "24", "--slot-mib", "3"}},
};
#define SETTINGS (sizeof settings / sizeof *settings)

static char *counts; /* the file */

static void arguments(const char **arg, const char *folder, const struct setting *s, const char *budget)
{
    static const char *const always[] = {"--backend",   "cuda", "--tokens", TOKENS,
                                         "--positions", "2",    "--out",    "/dev/null"};
    int n = 0;

    arg[n++] = "logits";
    arg[n++] = folder;
    for (size_t i = 0; i < sizeof always / sizeof *always; i++) arg[n++] = always[i];
    for (int i = 0; i < 8 && s->flag[i]; i++) arg[n++] = s->flag[i];
    arg[n++] = "--device-memory";
    arg[n++] = budget;
    arg[n] = NULL;
}

static void count_anew(void)
{
    static const uint64_t none[2];
    FILE *f = fopen(counts, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(none, sizeof none, 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

static uint64_t counted(void)
{
    uint64_t n[2] = {0, 0};
    FILE *f = fopen(counts, "rb");

    assert_non_null(f);
    assert_int_equal(fread(n, sizeof n, 1, f), 1);
    fclose(f);
    return n[1];
}

/* The number of a refusal, in bytes; nothing is asked of the device for it. */
static uint64_t smallest(const char *folder, const struct setting *s)
{
    static const char says[] = "the smallest that would do is ";
    const char *arg[ARGS_MAX], *at;
    struct process_result r;
    uint64_t n;

    arguments(arg, folder, s, "1M");
    count_anew();
    r = process_run("sluice", arg, NULL, 0, SECONDS);
    at = strstr(r.err, says);
    if (r.status != 1 || !at || !strstr(r.err, "--device-memory"))
        fail_msg("%s, %s: a refusal was expected: exit %d: %s", folder, s->name, r.status, r.err);
    assert_int_equal(counted(), 0);
    n = strtoull(at + sizeof says - 1, NULL, 10) * 1000000;
    process_result_free(&r);
    return n;
}

static uint64_t run_with(const char *model, const char *folder, const struct setting *s, uint64_t budget)
{
    const char *arg[ARGS_MAX];
    char text[32];
    struct process_result r;
    uint64_t most;

    snprintf(text, sizeof text, "%llu", (unsigned long long)budget);
    arguments(arg, folder, s, text);
    count_anew();
    r = process_run("sluice", arg, NULL, 0, SECONDS);
    if (r.status) fail_msg("%s, %s, --device-memory %s: exit %d: %s", model, s->name, text, r.status, r.err);
    process_result_free(&r);
    most = counted();
    if (most < CUDA_WORKSPACE)
        fail_msg("%s, %s: %llu bytes: nothing was counted", model, s->name, (unsigned long long)most);
    if (most > budget - CONTEXTS)
        fail_msg("%s, %s, --device-memory %s: %llu bytes were asked for, %llu are left beside the contexts", model,
                 s->name, text, (unsigned long long)most, (unsigned long long)(budget - CONTEXTS));
    return most;
}

/* The reference models are made for contexts in which no cache is of any size. */
static void lengthen(const char *folder)
{
    static const char key[] = "max_position_embeddings";
    const char *path = scratch_path(folder, "config.json");
    json_t *o = json_load_file(path, 0, NULL), *text = json_object_get(o, "text_config");

    assert_non_null(o);
    json_object_set_new(json_is_object(text) ? text : o, key, json_integer(30000));
    assert_int_equal(json_dump_file(o, path, JSON_INDENT(1)), 0);
    json_decref(o);
}

static void budgets_of(const char *model)
{
    char *folder = reference_make(model);
    uint64_t more = 0;

    lengthen(folder);

    for (size_t i = 0; i < SETTINGS; i++) {
        const uint64_t least = smallest(folder, &settings[i]);
        /* nothing kept on the device, a part of the weights, all of them */
        const uint64_t budget[] = {least, least + (1 << 19), least + (256 << 20)};
        uint64_t asked[3];

        for (int k = 0; k < 3; k++) asked[k] = run_with(model, folder, &settings[i], budget[k]);
        print_message(
            "%-16s %-26s least %6.1f MB: %5.1f of %5.1f MB asked for beside the contexts; %5.1f with all weights\n",
            model, settings[i].name, (double)least / 1e6, (double)asked[0] / 1e6, (double)(least - CONTEXTS) / 1e6,
            (double)asked[2] / 1e6);
        more += asked[2] - asked[0];
    }
    if (!more) fail_msg("%s: a larger budget keeps no more on the device", model);
    scratch_remove(folder);
}

/* Of every form of layers one; each that a plan counts differently is among them. */
static void budgets_hold(void **state)
{
    static const char *const models[] = {"llama",         "gemma3",          "mixtral",
                                         "gpt-oss-mxfp4", "deepseek-v3-fp8", "qwen3-next"};
    char *folder = scratch_make();

    (void)state;
    if (asprintf(&counts, "%s/counts", folder) < 0) fail_msg("no memory for a path");
    setenv("EMULATED_COUNT", counts, 1);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) budgets_of(models[i]);
    free(counts);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(budgets_hold)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

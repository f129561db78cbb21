/* Logits of the reference models through all four processes, held against those of other implementations, and byte by
 * byte against each other over slot sizes, depths, threads, chunks and budgets. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/checksum.h"
#include "proto/footprint.h"
#include "tests/support_instance.h"
#include "tests/mkmodel.h"
#include "tests/support_process.h"
#include "tests/support_temporary.h"

#define TOLERANCE     2e-4f /* as tests/data/models/README.md states it */
#define FEW_POSITIONS ((int)FOOTPRINT_CUDA_GEMV_TOKENS)

struct golden {
    char folder[160];
    uint32_t prompt[512], greedy[64], position[64];
    size_t prompts, greedies, positions, vocab;
    float *logits;
};

static size_t numbers(json_t *o, const char *key, uint32_t *to, size_t room)
{
    json_t *a = json_object_get(o, key), *x;
    size_t i;

    assert_true(json_array_size(a) <= room);
    json_array_foreach(a, i, x) to[i] = (uint32_t)json_integer_value(x);
    return json_array_size(a);
}

static void load(struct golden *g, const char *name)
{
    char path[256], source[160];
    struct error e = {0};
    json_t *o;
    FILE *f;

    snprintf(source, sizeof source, "tests/data/models/%s", name);
    if (!temporary_make(g->folder, NULL)) fail_msg("no temporary folder");
    if (mkmodel_reference(source, g->folder, &e)) fail_msg("%s", e.text);
    snprintf(path, sizeof path, "%s/golden.json", source);
    o = json_load_file(path, 0, NULL);
    assert_non_null(o);
    g->prompts = numbers(o, "prompt", g->prompt, sizeof g->prompt / sizeof *g->prompt);
    g->greedies = numbers(o, "greedy", g->greedy, sizeof g->greedy / sizeof *g->greedy);
    g->positions = numbers(o, "positions", g->position, sizeof g->position / sizeof *g->position);
    g->vocab = (size_t)json_integer_value(json_object_get(o, "vocab"));
    json_decref(o);
    g->logits = malloc(g->positions * g->vocab * sizeof(float));
    snprintf(path, sizeof path, "%s/logits.f32", source);
    f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(g->logits, sizeof(float), g->positions * g->vocab, f), g->positions * g->vocab);
    fclose(f);
}

static void unload(struct golden *g)
{
    free(g->logits);
    temporary_remove(g->folder);
}

static bool on_gpu;

static struct options options_of(const struct golden *g)
{
    struct options o = option_defaults;

    o.model = g->folder;
    o.quiet = true;
    o.temperature = 0;
    o.threads = 2;
    if (on_gpu) {
        o.backend = BACKEND_CUDA;
        o.device_memory = UINT64_C(2) << 30;
    }
    return o;
}

struct rows {
    float *at;
    size_t vocab;
};

static int keep_row(void *arg, const float *logits, struct error *e)
{
    struct rows *r = arg;

    (void)e;
    memcpy(r->at, logits, r->vocab * sizeof(float));
    r->at += r->vocab;
    return 0;
}

/* Logits of the kept positions under these options; the caller frees them. */
static float *logits_of(const struct golden *g, const struct options *o)
{
    struct instance_load load = {.prompt_tokens = (uint32_t)g->prompts, .max_logits = (uint32_t)g->positions};
    struct instance *i = NULL;
    float *out = malloc(g->positions * g->vocab * sizeof(float));
    struct rows r = {out, g->vocab};
    struct error e = {0};
    int rc = support_start(&i, o, &load, &e);

    if (!rc) rc = logits_at(i, g->prompt, g->prompts, g->position, g->positions, keep_row, &r, &e);
    if (rc) fail_msg("%s: %s", g->folder, e.text);
    instance_close(i);
    return out;
}

static void check_logits(const struct golden *g)
{
    struct options o = options_of(g);
    float *got = logits_of(g, &o), most = 0;

    for (size_t i = 0; i < g->positions * g->vocab; i++) {
        float d = fabsf(got[i] - g->logits[i]);
        if (!(d <= most)) most = d;
    }
    if (!(most <= TOLERANCE)) fail_msg("%s: off by %g", g->folder, (double)most);
    free(got);
}

static void check_greedy(const struct golden *g)
{
    struct options o = options_of(g);
    struct instance_load load = {.prompt_tokens = (uint32_t)g->prompts};
    uint32_t *token = malloc(g->greedies * sizeof *token);
    struct instance *in = NULL;
    struct error e = {0};
    int rc;

    o.max_tokens = (int)g->greedies;
    o.ignore_eos = true;
    rc = support_start(&in, &o, &load, &e);
    if (!rc) rc = support_tokens(in, g->prompt, g->prompts, token, g->greedies, &e);
    if (rc) fail_msg("%s: %s", g->folder, e.text);
    for (size_t i = 0; i < g->greedies; i++)
        if (token[i] != g->greedy[i]) fail_msg("%s: token %zu is %u, not %u", g->folder, i, token[i], g->greedy[i]);
    instance_close(in);
    free(token);
}

static uint64_t smallest_slot(const struct golden *g)
{
    for (uint64_t slot = 4096;; slot += 4096) {
        struct options o = options_of(g);
        struct instance_load load = {.prompt_tokens = (uint32_t)g->prompts};
        struct instance *i = NULL;
        struct error e = {0};
        int rc;

        o.slot_bytes = slot;
        rc = support_start(&i, &o, &load, &e);
        instance_close(i);
        if (!rc) return slot;
        if (rc != -EINVAL || slot > 65536) fail_msg("%s: %s", g->folder, e.text);
    }
}

/* Bytes are equal at every setting; on a GPU while so few positions come together that no product goes to cuBLAS, which sums
 * in other orders where matrices are cut into other tiles. What goes there is held to the references' tolerance. */
static bool same_bits(const struct golden *g, const float *a, const float *b, int chunk)
{
    float most = 0;

    if (!on_gpu || (chunk && chunk <= FEW_POSITIONS)) return !memcmp(a, b, g->positions * g->vocab * sizeof(float));
    for (size_t i = 0; i < g->positions * g->vocab; i++) {
        float d = fabsf(a[i] - b[i]);
        if (!(d <= most)) most = d;
    }
    return most <= TOLERANCE;
}

/* slot 1 stands for the smallest that the model allows, which the refusal of a smaller one leads to. */
static void check_settings(const struct golden *g)
{
    static const struct {
        uint64_t slot, memory;
        int reader_depth, transfer_depth, threads, chunk;
    } ways[] = {{1, UINT64_MAX, 1, 0, 1, 0},     {12288, UINT64_MAX, 2, 0, 2, 1}, {65536, UINT64_MAX, 8, 0, 1, 7},
                {8192, UINT64_MAX, 4, 3, 1, 16}, {0, UINT64_MAX, 3, 0, 2, 13},    {16384, UINT64_MAX, 5, 0, 2, 40}};
    const uint64_t smallest = smallest_slot(g);
    struct options o = options_of(g);
    float *first;

    if (on_gpu) o.batch_tokens = FEW_POSITIONS;
    first = logits_of(g, &o);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        float *got;

        o = options_of(g);
        o.slot_bytes = ways[i].slot && ways[i].slot < smallest ? smallest : ways[i].slot;
        o.reader_depth = ways[i].reader_depth;
        o.transfer_depth = ways[i].transfer_depth;
        o.threads = ways[i].threads;
        o.batch_tokens = ways[i].chunk;
        o.host_memory = ways[i].memory;
        got = logits_of(g, &o);
        if (!same_bits(g, first, got, ways[i].chunk)) fail_msg("%s: way %zu gives other numbers", g->folder, i);
        free(got);
    }
    free(first);
}

/* A line for each of some ways: what another build, or another architecture's, must say too. */
static void print_digests(const struct golden *g)
{
    static const struct {
        uint64_t slot;
        int reader_depth, threads, chunk;
    } ways[] = {{0, 0, 2, 0}, {1, 1, 1, 3}, {65536, 8, 2, 40}};
    const uint64_t smallest = smallest_slot(g);

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct options o = options_of(g);
        struct checksum c;
        float *got;

        o.slot_bytes = ways[i].slot && ways[i].slot < smallest ? smallest : ways[i].slot;
        o.reader_depth = ways[i].reader_depth;
        o.threads = ways[i].threads;
        o.batch_tokens = ways[i].chunk;
        got = logits_of(g, &o);
        checksum_begin(&c);
        checksum_feed(&c, got, g->positions * g->vocab * sizeof(float));
        printf(" %016llx", (unsigned long long)checksum_end(&c));
        fflush(stdout);
        free(got);
    }
    printf("\n");
}

static void check(const char *name, void (*f)(const struct golden *))
{
    struct golden g = {0};

    load(&g, name);
    f(&g);
    unload(&g);
}

static int is_model(const struct dirent *x)
{
    return x->d_name[0] != '.' && !strstr(x->d_name, "README");
}

static void digest(const char *name)
{
    printf("%s", name);
    check(name, print_digests);
}

/* Every reference model, in the order of their names. */
static void check_all(void (*f)(const struct golden *))
{
    struct dirent **list;
    int n = scandir("tests/data/models", &list, is_model, alphasort);

    assert_true(n > 60);
    for (int i = 0; i < n; i++) {
        check(list[i]->d_name, f);
        free(list[i]);
    }
    free(list);
}

/* In one walk: a model is made once for both. */
static void check_reference(const struct golden *g)
{
    check_logits(g);
    check_greedy(g);
}

static void logits_and_greedy_text_of_all(void **state)
{
    (void)state;
    check_all(check_reference);
}

static void same_bytes_at_any_setting(void **state)
{
    static const char *const some[] = {"llama-bias-f16-sharded",
                                       "mistral-window",
                                       "qwen3",
                                       "mixtral",
                                       "qwen3-next",
                                       "lfm2-moe",
                                       "minimax-m3",
                                       "longcat-flash",
                                       "glm-moe-dsa-shared",
                                       "mimo-v2-flash",
                                       "step3.7",
                                       "deepseek-v3-fp8",
                                       "gpt-oss-mxfp4",
                                       "mamba2",
                                       "jamba",
                                       "kimi-linear",
                                       "deepseek-v4"};

    (void)state;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) check(some[i], check_settings);
}

/* --backend cuda: the same on a GPU (make test-gpu). */
/* A packed folder is unpacked where it is computed, to the same bits. */
static void packed_weights_are_the_same(void **state)
{
    struct golden raw = {.prompts = 40, .positions = 4, .position = {0, 7, 20, 39}, .vocab = 768}, packed;
    struct options o[2];
    struct process_result r;
    char scratch[160];
    float *want, *got;

    (void)state;
    if (!temporary_make(scratch, NULL)) fail_msg("no temporary folder");
    for (uint32_t i = 0; i < 40; i++) raw.prompt[i] = (i * 37 + 5) % 700;
    packed = raw;
    snprintf(raw.folder, sizeof raw.folder, "tests/data/demo-model");
    snprintf(packed.folder, sizeof packed.folder, "%.140s/packed", scratch);
    r = process_run("sluice", (const char *const[]){"pack", raw.folder, packed.folder, "--to", "lossless", NULL}, NULL,
                    0, 30);
    if (r.status) fail_msg("%s", r.err);
    process_result_free(&r);
    for (uint32_t chunk = 3; chunk <= 40; chunk += 37) { /* kernels of few tokens, and of many */
        o[0] = options_of(&raw);
        o[1] = options_of(&packed);
        o[0].batch_tokens = o[1].batch_tokens = (int)chunk;
        want = logits_of(&raw, &o[0]);
        got = logits_of(&packed, &o[1]);
        if (!same_bits(&raw, want, got, (int)chunk))
            fail_msg("chunks of %u: the packed folder gives other bits", chunk);
        free(want);
        free(got);
    }
    temporary_remove(packed.folder);
    temporary_remove(scratch);
}

static void digest_of_all(void **state)
{
    struct dirent **list;
    int n = scandir("tests/data/models", &list, is_model, alphasort);

    (void)state;
    for (int i = 0; i < n; i++) {
        digest(list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

static char **named;

static void digest_of_some(void **state)
{
    (void)state;
    for (char **name = named; *name; name++) digest(*name);
}

/* test_goldens --digests [MODEL...]: instead of the tests, sums of the logits of these models, or all. */
static int digests(int argc, char **argv)
{
    const struct CMUnitTest all[] = {cmocka_unit_test(digest_of_all)}, some[] = {cmocka_unit_test(digest_of_some)};

    named = argv + 2;
    return argc == 2 ? cmocka_run_group_tests(all, NULL, NULL) : cmocka_run_group_tests(some, NULL, NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(logits_and_greedy_text_of_all),
                                       cmocka_unit_test(same_bytes_at_any_setting),
                                       cmocka_unit_test(packed_weights_are_the_same)};

    if (argc >= 2 && !strcmp(argv[1], "--digests")) return digests(argc, argv);
    on_gpu = argc == 3 && !strcmp(argv[1], "--backend") && !strcmp(argv[2], "cuda");
    return cmocka_run_group_tests(tests, NULL, NULL);
}

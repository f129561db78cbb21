/* sluice pack and unpack: folders come back byte for byte, run with the same logits, go on after whatever ended them, and what is
 * in the way is named. What is damaged: test_pack_damage.c. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/arch/model.h"
#include "coordinator/pack/pack.h"
#include "coordinator/plan/plan.h"
#include "coordinator/source/packed.h"
#include "proto/base/file.h"
#include "proto/unit/unit.h"
#include "tests/support_model.h"
#include "tests/support_packs.h"
#include "tests/support_process.h"
#include "tests/support_temporary.h"

static char *demo; /* a copy of the demo model */

/* ---- the same logits, the same files ---- */

static void logits(const char *folder, const char *out, const char *const *flags)
{
    const char *arg[20] = {"logits", folder, "--tokens", "1 5 9 12 7 3 2 8", "--out", out};
    size_t n = 6;

    while (*flags) arg[n++] = *flags++;
    if (packs_sluice(arg)) fail_msg("%s: %s", folder, packs_last.err);
}

static const char *const ways[][8] = {
    {NULL},
    {"--threads", "1", "--chunk", "3", NULL},
    {"--slot-mib", "0.0625", "--reader-depth", "2", "--threads", "3", NULL},
    {"--slot-mib", "0.25", "--chunk", "1", "--transfer-depth", "1", NULL},
    {"--host-memory", "least", "--io", "buffered", NULL},
};

/* The smallest budget that is not refused: what the message about too small a one says. */
static const char *least_memory(const char *folder)
{
    static char text[32];
    const char *at;

    SLUICE("logits", folder, "--tokens", "1", "--out", "/dev/null", "--host-memory", "1M");
    at = strstr(packs_last.err, "that would do is ");
    if (!at) fail_msg("no budget is told: %s", packs_last.err);
    sscanf(at, "that would do is %31[0-9A-Za-z.]", text);
    return text;
}

static void same_logits(const char *raw, const char *packed, const char *scratch, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const char *flags[8] = {0};

        for (size_t k = 0; ways[i][k]; k++) flags[k] = strcmp(ways[i][k], "least") ? ways[i][k] : least_memory(packed);
        logits(packed, packs_within(scratch, "packed.f32"), flags);
        if (i == from) logits(raw, packs_within(scratch, "raw.f32"), ways[0]);
        packs_assert_same(packs_within(scratch, "packed.f32"), packs_within(scratch, "raw.f32"));
    }
}

static void one_model(const char *folder, uint32_t unit_bytes, size_t from, size_t to)
{
    char *scratch = scratch_make();
    char packed[300], back[300];
    struct error e = {0};

    snprintf(packed, sizeof packed, "%s/packed", scratch);
    snprintf(back, sizeof back, "%s/back", scratch);
    packs_make(folder, packed, unit_bytes);
    same_logits(folder, packed, scratch, from, to);
    if (packs_unpack(packed, NULL, &e) || packs_unpack(packed, back, &e)) fail_msg("%s", e.text);
    if (!access(packs_within(folder, "model.safetensors"), F_OK))
        packs_assert_same(packs_within(folder, "model.safetensors"), packs_within(back, "model.safetensors"));
    packs_assert_same(packs_within(folder, "config.json"), packs_within(back, "config.json"));
    temporary_remove(packed);
    temporary_remove(back);
    scratch_remove(scratch);
}

static void demo_model(void **state)
{
    (void)state;
    one_model(demo, 16384, 0, sizeof ways / sizeof *ways);
    one_model(demo, 0, 0, 1);
}

/* Dense, tied, experts, transposed experts, fused, of heads, FP8 beside BF16, F16 shards, states. */
static void families(void **state)
{
    static const char *const names[] = {
        "llama",      "gemma2", "qwen2-moe", "gpt-oss",    "deepseek-v3", "qwen3-fp8", "llama-bias-f16-sharded",
        "qwen3-next", "phi3",   "llama4",    "qwen2-tied", "gemma3n",     "minicpm3"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *folder = reference_make(names[i]);

        one_model(folder, 4096, i % 4, i % 4 + 1);
        one_model(folder, 1, 0, 1); /* a row a unit */
        scratch_remove(folder);
    }
}

/* Every shard by its own. */
static void shards(void **state)
{
    char *folder = reference_make("llama-bias-f16-sharded"), *scratch = scratch_make();
    char packed[300], back[300];
    struct error e = {0};
    struct tensors *t;

    (void)state;
    snprintf(packed, sizeof packed, "%s/packed", scratch);
    snprintf(back, sizeof back, "%s/back", scratch);
    packs_make(folder, packed, 0);
    assert_int_equal(packs_unpack(packed, back, &e), 0);
    assert_int_equal(tensors_open(&t, folder, NULL, &e), 0);
    for (uint32_t i = 0; i < t->file_count; i++)
        packs_assert_same(t->files[i].path, packs_within(back, t->files[i].name));
    tensors_close(t);
    temporary_remove(packed);
    temporary_remove(back);
    scratch_remove(scratch);
    scratch_remove(folder);
}

static void it_is_smaller(void **state)
{
    char *scratch = scratch_make();
    struct pack_options o = packs_options(packs_within(scratch, "packed"), 0);
    struct pack_result r;
    struct error e = {0};

    (void)state;
    assert_int_equal(packs_try(demo, &o, &r, &e), 0);
    assert_true((double)r.unit_bytes <= 0.68 * (double)r.matrix_bytes);
    assert_true(r.matrix_bytes > r.raw_bytes / 2);
    assert_int_equal(r.kept_bytes, 0);
    temporary_remove(packs_within(scratch, "packed"));
    scratch_remove(scratch);
}

/* A large vocabulary: the embedding, which is the head too, is most of the model, and rows of it are read one by one. Numbers
 * are spread as trained ones are; a few are none, and verify finds them as in the folder that is not packed. */
static void tied_embeddings(void **state)
{
    char *scratch = scratch_make(), *folder = reference_make_whole("qwen2-tied");
    char packed[300], *bytes, *more;
    struct error e = {0};
    struct pack_options o;
    struct pack_result r;
    struct tensors *t;
    const struct tensor *x;
    uint64_t n, at = 1;

    (void)state;
    snprintf(packed, sizeof packed, "%s/packed", scratch);
    packs_load(&bytes, &n, packs_within(folder, "model.safetensors"));
    assert_int_equal(tensors_open(&t, folder, NULL, &e), 0);
    x = tensors_find(t, "model.embed_tokens.weight");
    assert_non_null(x);
    o = packs_options(packed, 0);
    assert_int_equal(packs_try(folder, &o, &r, &e), 0);
    assert_true(r.matrix_bytes > x->bytes);                             /* it is among what is packed */
    assert_true((double)r.unit_bytes <= 0.75 * (double)r.matrix_bytes); /* tiny matrices: headers count */
    same_logits(folder, packed, scratch, 0, sizeof ways / sizeof *ways);
    if (SLUICE("verify", packed)) fail_msg("%s", packs_last.err);
    temporary_remove(packed);

    memcpy(bytes + x->offset + 2 * at, "\xc0\x7f", 2);       /* NaN */
    memcpy(bytes + x->offset + x->bytes - 2, "\x80\xff", 2); /* infinite */
    packs_store(packs_within(folder, "model.safetensors"), bytes, n);
    packs_make(folder, packed, 0);
    assert_int_equal(SLUICE("verify", packed), 1);
    assert_non_null(strstr(packs_last.out, "model.embed_tokens.weight (BF16): 1 NaN, 1 infinite of its numbers"));
    assert_non_null(strstr(packs_last.err, "1 thing is wrong with it"));
    if (asprintf(&more, "the first at offset %llu of", (unsigned long long)(x->offset + 2 * at)) < 0) fail();
    assert_non_null(strstr(packs_last.out, more));
    free(more);
    temporary_remove(packed);
    tensors_close(t);
    free(bytes);
    scratch_remove(folder);
    scratch_remove(scratch);
}

/* ---- ended and continued ---- */

static unsigned stop_after;

static bool stop(void)
{
    return stop_after-- == 0;
}

static void interrupted_and_continued(void **state)
{
    char *scratch = scratch_make();
    const char *whole = strdup(packs_within(scratch, "whole")), *cut = strdup(packs_within(scratch, "cut"));
    struct pack_options o = packs_options(cut, 4096);
    struct pack_result r;
    struct error e = {0};

    (void)state;
    packs_make(demo, whole, 4096);
    o.interrupted = stop;
    o.memory = 3 << 20; /* batches of a MiB */
    stop_after = 2;
    assert_int_equal(packs_try(demo, &o, &r, &e), -ECANCELED);
    assert_int_not_equal(access(packs_within(cut, PACKED_INDEX), F_OK), 0);
    packs_assert_told(SLUICE("logits", cut, "--tokens", "1", "--out", "/dev/null"), "run the same `sluice pack` again");
    packs_assert_told(SLUICE("verify", cut), "run the same `sluice pack` again");
    o.interrupted = NULL;
    assert_int_equal(packs_try(demo, &o, &r, &e), 0);
    assert_in_range(r.kept_bytes, 1 << 20, r.raw_bytes - 1);
    packs_assert_same(packs_within(whole, "model.safetensors.packed"), packs_within(cut, "model.safetensors.packed"));
    packs_assert_same(packs_within(whole, PACKED_INDEX), packs_within(cut, PACKED_INDEX));
    assert_int_not_equal(access(packs_within(cut, PACKED_INDEX ".partial"), F_OK), 0);
    temporary_remove(whole);
    temporary_remove(cut);
    free((void *)(uintptr_t)whole);
    free((void *)(uintptr_t)cut);
    scratch_remove(scratch);
}

/* What lies behind in a partial file and is not what would be written is written anew. */
static void damaged_partial(void **state)
{
    char *scratch = scratch_make();
    const char *whole = strdup(packs_within(scratch, "whole")), *cut = strdup(packs_within(scratch, "cut"));
    struct pack_options o = packs_options(cut, 4096);
    struct pack_result r;
    struct error e = {0};
    uint64_t n;
    char *bytes;

    (void)state;
    packs_make(demo, whole, 4096);
    for (unsigned at = 0; at < 4; at++) {
        o.interrupted = stop;
        o.memory = 3 << 20;
        stop_after = 2;
        assert_int_equal(packs_try(demo, &o, &r, &e), -ECANCELED);
        packs_load(&bytes, &n, packs_within(cut, "model.safetensors.packed.partial"));
        bytes[n / 4 * at + n / 8] ^= 1;
        packs_store(packs_within(cut, "model.safetensors.packed.partial"), bytes, at == 3 ? n - 100 : n);
        free(bytes);
        o.interrupted = NULL;
        assert_int_equal(packs_try(demo, &o, &r, &e), 0);
        packs_assert_same(packs_within(whole, "model.safetensors.packed"),
                          packs_within(cut, "model.safetensors.packed"));
        temporary_remove(cut);
    }
    temporary_remove(whole);
    free((void *)(uintptr_t)whole);
    free((void *)(uintptr_t)cut);
    scratch_remove(scratch);
}

static unsigned rounds = 12; /* of killed_and_continued() */

static void killed_and_continued(void **state)
{
    char *scratch = scratch_make();
    const char *whole = strdup(packs_within(scratch, "whole")), *cut = strdup(packs_within(scratch, "cut")),
               *back = strdup(packs_within(scratch, "back"));
    uint32_t x = 12345;
    unsigned ended = 0;

    (void)state;
    assert_int_equal(SLUICE("pack", demo, whole), 0);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 3; i++) {
            struct process p =
                process_start("sluice", (const char *const[]){"pack", demo, cut, "--threads", "1", NULL});
            struct process_result r;

            x = x * 1664525u + 1013904223u;
            usleep(x >> 16 & 0x3fff);
            kill(p.pid, SIGKILL);
            r = process_finish(&p, NULL, 0, PACKS_SECONDS);
            ended += r.status == 137;
            process_result_free(&r);
        }
        if (access(packs_within(cut, PACKED_INDEX), F_OK)) {
            if (SLUICE("pack", demo, cut)) fail_msg("%s", packs_last.err);
        }
        packs_assert_same(packs_within(whole, "model.safetensors.packed"),
                          packs_within(cut, "model.safetensors.packed"));
        packs_assert_same(packs_within(whole, PACKED_INDEX), packs_within(cut, PACKED_INDEX));
        temporary_remove(cut);
        process_result_free(&packs_last);
        packs_last = (struct process_result){0};
    }
    assert_true(ended > 0);
    for (unsigned i = 0; i < 6; i++) {
        struct process p = process_start("sluice", (const char *const[]){"unpack", whole, back, NULL});
        struct process_result r;

        usleep(i * 2000);
        kill(p.pid, SIGKILL);
        r = process_finish(&p, NULL, 0, PACKS_SECONDS);
        process_result_free(&r);
    }
    if (!access(packs_within(back, "sluice-unpack.partial"), F_OK) ||
        access(packs_within(back, "model.safetensors"), F_OK))
        if (SLUICE("unpack", whole, back)) fail_msg("%s", packs_last.err);
    packs_assert_same(packs_within(demo, "model.safetensors"), packs_within(back, "model.safetensors"));
    temporary_remove(whole);
    temporary_remove(back);
    free((void *)(uintptr_t)whole);
    free((void *)(uintptr_t)cut);
    free((void *)(uintptr_t)back);
    scratch_remove(scratch);
}

/* A disk that is full, as a limit on the size of files plays it. */
static void no_room(void **state)
{
    char *scratch = scratch_make();
    const char *cut = strdup(packs_within(scratch, "cut")), *back = strdup(packs_within(scratch, "back"));
    struct pack_options o = packs_options(cut, 4096);
    struct rlimit before, small;
    struct pack_result r;
    struct error e = {0};

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = 1200000, .rlim_max = before.rlim_max};
    o.memory = 3 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = packs_try(demo, &o, &r, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, -EFBIG);
    assert_non_null(strstr(e.text, "make room"));
    e = (struct error){0};
    assert_int_equal(packs_try(demo, &o, &r, &e), 0);
    assert_in_range(r.kept_bytes, 1, r.raw_bytes - 1);

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    rc = packs_unpack(cut, back, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, -EFBIG);
    assert_non_null(strstr(e.text, "make room"));
    assert_int_not_equal(access(packs_within(back, "model.safetensors"), F_OK), 0);
    e = (struct error){0};
    if (packs_unpack(cut, back, &e)) fail_msg("%s", e.text);
    packs_assert_same(packs_within(demo, "model.safetensors"), packs_within(back, "model.safetensors"));
    temporary_remove(back);
    free((void *)(uintptr_t)back);
    temporary_remove(cut);
    free((void *)(uintptr_t)cut);
    scratch_remove(scratch);
}

/* ---- what is in the way ---- */

static void outputs_refused(void **state)
{
    char *scratch = scratch_make();
    const char *out = strdup(packs_within(scratch, "out"));

    (void)state;
    packs_assert_told(SLUICE("pack", demo, demo), "is what is read");
    packs_assert_told(SLUICE("pack", demo, packs_within(demo, "inner")), "which is read");
    assert_int_not_equal(access(packs_within(demo, "inner"), F_OK), 0);
    assert_int_equal(SLUICE("pack", demo, out), 0);
    assert_non_null(strstr(packs_last.out, "GB"));
    packs_assert_told(SLUICE("pack", demo, out), "it is there already");
    packs_assert_told(SLUICE("logits", out, "--tokens", "1", "--out", packs_within(out, "model.safetensors.packed")),
                      "of the model");
    packs_assert_told(SLUICE("logits", out, "--tokens", "1", "--out", packs_within(out, PACKED_INDEX)), "of the model");
    packs_assert_told(SLUICE("pack", out, packs_within(scratch, "again")), "packed already");
    packs_assert_told(SLUICE("unpack", demo, packs_within(scratch, "again")), "is not packed");
    packs_assert_told(SLUICE("unpack", out, demo), "it is there already");
    packs_assert_told(SLUICE("unpack", out, out), "is what is read");
    scratch_write(scratch, "file", "x");
    packs_assert_told(SLUICE("pack", demo, packs_within(scratch, "file")), "no folder");
    packs_assert_told(SLUICE("pack", demo, scratch), "holds something else");
    packs_assert_told(SLUICE("pack", demo, packs_within(scratch, "no/such")), "cannot make this folder");
    packs_assert_told(SLUICE("pack", demo, "/dev/null"), "no folder");
    assert_int_equal(mkfifo(packs_within(scratch, "pipe"), 0600), 0);
    packs_assert_told(SLUICE("pack", demo, packs_within(scratch, "pipe")), "no folder");
    packs_assert_told(SLUICE("pack", packs_within(scratch, "pipe"), packs_within(scratch, "again")), "named pipe");
    assert_int_equal(mkdir(packs_within(scratch, "piped"), 0700), 0);
    assert_int_equal(mkfifo(packs_within(scratch, "piped/" PACKED_INDEX ".partial"), 0600), 0);
    packs_assert_told(SLUICE("pack", demo, packs_within(scratch, "piped")), "is there and no file");
    temporary_remove(packs_within(scratch, "piped"));
    assert_int_equal(SLUICE("pack", demo, out, "--to", "q9"), 2);
    temporary_remove(out);
    free((void *)(uintptr_t)out);
    scratch_remove(scratch);
}

/* A budget that does for the model, and not for the units of a packed one: nothing is said of packing, and nothing breaks. */
static void plans_in_the_least_memory(void **state)
{
    char *folder = reference_make("llama");

    (void)state;
    if (SLUICE("plan", folder, "--host-memory", least_memory(folder))) fail_msg("%s", packs_last.err);
    scratch_remove(folder);
}

/* A model far larger than memory, of which only the config is there: it would be read from disk, and so packing pays. */
static void plans_before_packing(void **state)
{
    char *folder = scratch_make();
    json_t *o, *packed;

    (void)state;
    scratch_write(folder, "config.json",
                  "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 16384,"
                  "\"intermediate_size\": 53248, \"num_attention_heads\": 128, \"num_key_value_heads\": 8,"
                  "\"num_hidden_layers\": 126, \"vocab_size\": 128256, \"max_position_embeddings\": 8192,"
                  "\"rms_norm_eps\": 1e-5, \"torch_dtype\": \"bfloat16\"}");
    assert_int_equal(SLUICE("plan", folder, "--backend", "cpu", "--json"), 0);
    o = json_of(packs_last.out);
    packed = json_object_get(o, "packed");
    assert_non_null(packed);
    assert_true(json_number_value(json_object_get(packed, "weight_bytes")) <
                0.70 * json_number_value(json_object_get(o, "weight_bytes")));
    assert_true(json_number_value(json_object_get(packed, "sweep_bytes")) <
                0.72 * json_number_value(json_object_get(o, "sweep_bytes")));
    assert_true(json_number_value(json_object_get(packed, "predicted_seconds_per_token")) > 0);
    json_decref(o);
    assert_int_equal(SLUICE("plan", folder, "--backend", "cpu"), 0);
    /* how fast disk and processor are at the moment decides which of the two */
    assert_true(strstr(packs_last.out, "`sluice pack` would make a token") ||
                strstr(packs_last.out, "Packing would not pay here"));
    scratch_remove(folder);
}

/* Compute alone, whose tiles are stood in for: many units a tile, places that one tile after another takes, and experts. */
static void compute_alone(void **state)
{
    static const char *const names[] = {"qwen3-moe", "qwen2-tied", "deepseek-v3"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *folder = reference_make(names[i]), *scratch = scratch_make();
        const char *out = packs_within(scratch, "out");

        packs_make(folder, out, 1);
        if (SLUICE("profile", "compute", out, "--seconds", "0.2", "--slot-mib", "0.0625"))
            fail_msg("%s", packs_last.err);
        temporary_remove(out);
        scratch_remove(scratch);
        scratch_remove(folder);
    }
}

static void plans_and_profiles(void **state)
{
    char *scratch = scratch_make();
    const char *out = strdup(packs_within(scratch, "out"));

    (void)state;
    packs_make(demo, out, 0);
    assert_int_equal(SLUICE("plan", out), 0);
    assert_non_null(strstr(packs_last.out, "It is packed"));
    assert_null(strstr(packs_last.out, "\nForms"));
    assert_int_equal(SLUICE("plan", demo), 0);
    assert_non_null(strstr(packs_last.out, "\nForms\n  as it lies"));
    assert_non_null(strstr(packs_last.out, "  packed "));
    if (SLUICE("profile", "compute", out, "--seconds", "0.2")) fail_msg("%s", packs_last.err);
    if (SLUICE("profile", "pipeline", out, "--seconds", "0.2")) fail_msg("%s", packs_last.err);
    if (SLUICE("profile", "reader", out, "--seconds", "0.2")) fail_msg("%s", packs_last.err);
    if (SLUICE("run", out, "--prompt", "Once", "-n", "3", "--temperature", "0")) fail_msg("%s", packs_last.err);
    temporary_remove(out);
    free((void *)(uintptr_t)out);
    scratch_remove(scratch);
}

static int setup(void **state)
{
    (void)state;
    demo = packs_demo();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    process_result_free(&packs_last);
    scratch_remove(demo);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demo_model),
        cmocka_unit_test(families),
        cmocka_unit_test(shards),
        cmocka_unit_test(it_is_smaller),
        cmocka_unit_test(tied_embeddings),
        cmocka_unit_test(interrupted_and_continued),
        cmocka_unit_test(damaged_partial),
        cmocka_unit_test(killed_and_continued),
        cmocka_unit_test(no_room),
        cmocka_unit_test(outputs_refused),
        cmocka_unit_test(plans_and_profiles),
        cmocka_unit_test(compute_alone),
        cmocka_unit_test(plans_before_packing),
        cmocka_unit_test(plans_in_the_least_memory),
    };

    if (argc > 1) cmocka_set_test_filter(argv[1]);
    if (argc > 2) rounds = (unsigned)atoi(argv[2]); /* of three kills each */
    return cmocka_run_group_tests_name("pack", tests, setup, teardown);
}

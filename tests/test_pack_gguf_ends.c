/* sluice pack --to, ended and continued: whatever ends it, nothing that is half there is taken for whole, and the same command
 * makes the same bytes of it; what is in the way or cannot be said in a GGUF file is named. */
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

#include "coordinator/pack/gguf.h"
#include "coordinator/source/gguf.h"
#include "proto/base/file.h"
#include "tests/support_model.h"
#include "tests/support_packs.h"
#include "tests/support_process.h"

#define DEMO  "tests/data/demo-model"
#define PIECE 16384u

/* ---- helpers ---- */

static void assert_absent(const char *path)
{
    if (!access(path, F_OK)) fail_msg("%s is there", path);
}

static struct gguf_pack_options options(const char *out, uint32_t threads)
{
    return (struct gguf_pack_options){.pack = {.out = out, .threads = threads, .memory = 0, .unit_bytes = PIECE},
                                      .form = PACK_AS_Q8};
}

static int pack_with(const char *model, const struct gguf_pack_options *o, struct pack_result *r, struct error *e)
{
    struct gguf_pack p = {0};
    struct source *s;
    int rc = source_open(&s, model, e);

    if (rc) return rc;
    rc = gguf_pack(&p, s, o, r, e);
    gguf_pack_free(&p);
    source_close(s);
    return rc;
}

static void pack(const char *model, const struct gguf_pack_options *o, struct pack_result *r)
{
    struct error e = {0};

    if (pack_with(model, o, r, &e)) fail_msg("%s", e.text);
}

static void assert_refused(const char *model, const char *out, enum pack_form form, int why, const char *text)
{
    struct gguf_pack_options o = options(out, 1);
    struct pack_result r;
    struct error e = {0};

    o.form = form;
    if (pack_with(model, &o, &r, &e) != -why || !strstr(e.text, text)) fail_msg("not %s: %d %s", text, e.code, e.text);
}

static int release_last(void **state)
{
    (void)state;
    process_result_free(&packs_last);
    packs_last = (struct process_result){0};
    return 0;
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
    struct gguf_pack_options o = options(packs_within(scratch, "whole.gguf"), 3);
    struct pack_result r;
    struct error e = {0};
    char out[512];

    (void)state;
    pack(DEMO, &o, &r);
    assert_int_equal(r.kept_bytes, 0);
    snprintf(out, sizeof out, "%s/cut.gguf", scratch);
    o = options(out, 1);
    for (unsigned after = 1; after < 9; after += 3) {
        o.pack.interrupted = stop;
        stop_after = after;
        assert_int_equal(pack_with(DEMO, &o, &r, &e), -ECANCELED);
        assert_absent(out);
        o.pack.interrupted = NULL;
        pack(DEMO, &o, &r);
        assert_in_range(r.kept_bytes, after > 1, r.stored_bytes - 1);
        packs_assert_same(packs_within(scratch, "whole.gguf"), out);
        assert_absent(packs_within(scratch, "cut.gguf.partial"));
        assert_absent(packs_within(scratch, "cut.gguf.resume"));
        assert_int_equal(unlink(out), 0);
        e = (struct error){0};
    }
    scratch_remove(scratch);
}

/* What a partial file has is only believed where its sum is right. */
static void damaged_partial(void **state)
{
    char *scratch = scratch_make(), whole[512], cut[512];
    struct gguf_pack_options o;
    struct pack_result r;
    struct error e = {0};
    static const char *const names[] = {"cut.gguf.partial", "cut.gguf.resume"};

    (void)state;
    snprintf(whole, sizeof whole, "%s/whole.gguf", scratch);
    snprintf(cut, sizeof cut, "%s/cut.gguf", scratch);
    o = options(whole, 2);
    pack(DEMO, &o, &r);
    for (int which = 0; which < 2; which++)
        for (unsigned at = 1; at < 4; at++) {
            uint64_t n;
            char *bytes;

            o = options(cut, 2);
            o.pack.interrupted = stop;
            stop_after = 6;
            assert_int_equal(pack_with(DEMO, &o, &r, &e), -ECANCELED);
            packs_load(&bytes, &n, packs_within(scratch, names[which]));
            if (which == 0) bytes[n / 4 * at] ^= 1;
            packs_store(packs_within(scratch, names[which]), bytes, which ? n - 7 * at : at == 3 ? n - 100 : n);
            free(bytes);
            o.pack.interrupted = NULL;
            e = (struct error){0};
            pack(DEMO, &o, &r);
            packs_assert_same(whole, cut);
            assert_int_equal(unlink(cut), 0);
        }
    scratch_remove(scratch);
}

static void killed_and_continued(void **state)
{
    char *scratch = scratch_make(), whole[512], cut[512];
    uint32_t x = 1;
    unsigned ended = 0;

    (void)state;
    snprintf(whole, sizeof whole, "%s/whole.gguf", scratch);
    snprintf(cut, sizeof cut, "%s/cut.gguf", scratch);
    assert_int_equal(SLUICE("pack", DEMO, whole, "--to", "q4", "-q"), 0);
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < 3 && access(cut, F_OK); i++) {
            struct process p = process_start(
                "sluice", (const char *const[]){"pack", DEMO, cut, "--to", "q4", "--threads", "1", "-q", NULL});
            struct process_result r;

            x = x * 1664525u + 1013904223u;
            usleep(20000 + (x >> 16));
            kill(p.pid, SIGKILL);
            r = process_finish(&p, NULL, 0, PACKS_SECONDS);
            ended += r.status == 137;
            process_result_free(&r);
        }
        if ((access(cut, F_OK) || !access(packs_within(scratch, "cut.gguf.resume"), F_OK)) &&
            SLUICE("pack", DEMO, cut, "--to", "q4", "-q"))
            fail_msg("%s", packs_last.err);
        packs_assert_same(whole, cut);
        assert_int_equal(unlink(cut), 0);
    }
    assert_true(ended > 0);
    scratch_remove(scratch);
}

/* A disk that is full, as a limit on the size of files plays it. */
static void no_room(void **state)
{
    char *scratch = scratch_make(), out[512];
    struct gguf_pack_options o;
    struct rlimit before, small;
    struct pack_result r;
    struct error e = {0};
    int rc;

    (void)state;
    snprintf(out, sizeof out, "%s/m.gguf", scratch);
    o = options(out, 2);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = 1000000, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    rc = pack_with(DEMO, &o, &r, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    if (rc != -EFBIG || !strstr(e.text, "make room")) fail_msg("%d: %s", rc, e.text);
    assert_absent(out);
    pack(DEMO, &o, &r);
    assert_in_range(r.kept_bytes, 1, r.stored_bytes - 1);
    scratch_remove(scratch);
}

static void touch_it(void *arg, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    assert_int_equal(utimensat(AT_FDCWD, arg, NULL, 0), 0);
}

static void source_that_changes(void **state)
{
    char *folder = reference_make("llama"), *scratch = scratch_make(), path[512], out[512];
    struct gguf_pack_options o;
    struct pack_result r;
    struct error e = {0};

    (void)state;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    snprintf(out, sizeof out, "%s/m.gguf", scratch);
    o = options(out, 1);
    o.pack.progress = touch_it;
    o.pack.arg = path;
    assert_int_equal(pack_with(folder, &o, &r, &e), -ESTALE);
    assert_non_null(strstr(e.text, "changed while it was read"));
    assert_absent(out);
    o.pack.progress = NULL;
    e = (struct error){0};
    assert_int_equal(pack_with(folder, &o, &r, &e), -EEXIST);
    assert_non_null(strstr(e.text, "the model has changed since"));
    scratch_remove(scratch);
    scratch_remove(folder);
}

/* ---- sets ---- */

static void sets_of_files(void **state)
{
    struct golden g = golden_load("qwen3-moe");
    char *folder = reference_make("qwen3-moe"), *scratch = scratch_make(), out[512];
    struct gguf_pack_options o;
    struct pack_result r;
    double *want, *got;

    (void)state;
    snprintf(out, sizeof out, "%s/m.gguf", scratch);
    o = options(out, 2);
    o.form = PACK_AS_F32;
    o.shard_bytes = 200000;
    pack(folder, &o, &r);
    assert_in_range(r.files, 2, 99);
    assert_absent(out);
    snprintf(out, sizeof out, "%s/m-00001-of-%05u.gguf", scratch, (unsigned)r.files);
    want = golden_logits(&g, folder);
    got = golden_logits(&g, out);
    assert_memory_equal(want, got, (size_t)g.wanted * g.vocab * sizeof *want);
    assert_int_equal(SLUICE("pack", folder, packs_within(scratch, "m.gguf"), "--to", "f32", "--shard-size", "200000"),
                     1);
    assert_non_null(strstr(packs_last.err, "is there already"));
    free(want);
    free(got);
    golden_free(&g);
    scratch_remove(scratch);
    scratch_remove(folder);
}

/* ---- out of GGUF files ---- */

static void data_of(const char *path, char **bytes, uint64_t *n, uint64_t *from)
{
    struct gguf *g;
    struct error e = {0};

    if (gguf_open(&g, path, &e)) fail_msg("%s", e.text);
    *from = g->files[0].data_offset;
    gguf_close(g);
    packs_load(bytes, n, path);
}

/* By way of a file in BF16 the same blocks come out, and the values that it has stay. */
static void from_a_gguf(void **state)
{
    char *scratch = scratch_make(), one[512], wide[512], two[512], *a, *b;
    struct gguf_pack_options o;
    struct pack_result r;
    uint64_t n, m, at, bt;
    struct gguf *g;
    struct error e = {0};
    uint64_t type = 0;

    (void)state;
    snprintf(one, sizeof one, "%s/one.gguf", scratch);
    snprintf(wide, sizeof wide, "%s/wide.gguf", scratch);
    snprintf(two, sizeof two, "%s/two.gguf", scratch);
    o = options(one, 2);
    pack(DEMO, &o, &r);
    o = options(wide, 2);
    o.form = PACK_AS_BF16;
    pack(DEMO, &o, &r);
    o = options(two, 2);
    pack(wide, &o, &r);
    data_of(one, &a, &n, &at);
    data_of(two, &b, &m, &bt);
    assert_int_equal(n - at, m - bt);
    assert_memory_equal(a + at, b + bt, n - at);
    free(a);
    free(b);
    assert_int_equal(gguf_open(&g, two, &e), 0);
    assert_int_equal(gguf_u64(g, "general.file_type", &type, &e), 0);
    assert_int_equal(type, 7);
    assert_non_null(gguf_find(g, "tokenizer.ggml.tokens"));
    gguf_close(g);
    assert_refused(one, packs_within(scratch, "x.gguf"), PACK_AS_Q4, ENOTSUP, "is Q8_0 already");
    assert_refused(one, packs_within(scratch, "x.gguf"), PACK_AS_Q8, ENOTSUP, "they are that already");
    assert_refused(wide, wide, PACK_AS_Q8, EINVAL, "is what is read");
    scratch_remove(scratch);
}

/* ---- what is in the way, or cannot be said ---- */

static void outputs_refused(void **state)
{
    char *scratch = scratch_make();

    (void)state;
    scratch_write(scratch, "there.gguf", "something else");
    assert_refused(DEMO, packs_within(scratch, "there.gguf"), PACK_AS_Q8, EEXIST, "is there already");
    assert_refused(DEMO, packs_within(scratch, "out"), PACK_AS_Q8, EINVAL, "ends with .gguf");
    assert_refused(DEMO, packs_within(scratch, "no/such.gguf"), PACK_AS_Q8, ENOENT, "make it first");
    assert_absent(packs_within(scratch, "out.resume"));
    scratch_write(scratch, "half.gguf.partial", "somebody's download");
    assert_refused(DEMO, packs_within(scratch, "half.gguf"), PACK_AS_Q8, EEXIST, "nothing says what it is");
    assert_absent(packs_within(scratch, "half.gguf.resume"));
    assert_int_equal(mkfifo(packs_within(scratch, "pipe.gguf"), 0600), 0);
    assert_refused(DEMO, packs_within(scratch, "pipe.gguf"), PACK_AS_Q8, EEXIST, "is there already");
    assert_int_equal(mkfifo(packs_within(scratch, "piped.gguf.resume"), 0600), 0);
    assert_refused(DEMO, packs_within(scratch, "piped.gguf"), PACK_AS_Q8, EINVAL, "is there and no file");
    assert_int_equal(SLUICE("pack", DEMO, packs_within(scratch, "packed")), 0);
    assert_refused(packs_within(scratch, "packed"), packs_within(scratch, "x.gguf"), PACK_AS_Q8, EINVAL,
                   "`sluice unpack` it first");
    assert_int_equal(SLUICE("pack", DEMO, packs_within(scratch, "x.gguf"), "--to", "q3"), 2);
    assert_int_equal(SLUICE("pack", DEMO, packs_within(scratch, "x.gguf"), "--to", "q8", "--json"), 0);
    assert_non_null(strstr(packs_last.out, "\"relative_rms_error\""));
    scratch_remove(scratch);
}

static void sources_refused(void **state)
{
    static const struct {
        const char *model, *patch, *text;
    } cases[] = {{"qwen3-fp8", NULL, "is stored as F8_E4M3"},
                 {"deepseek-v3-fp8", NULL, "F8_E4M3"},
                 {"qwen3-gptq-v2", NULL, "has few bits already"},
                 {"qwen3-awq", NULL, "has few bits already"},
                 {"gemma2", NULL, "the scale of attention would differ"},
                 {"llama4", NULL, "attention_chunk_size would differ"},
                 {"olmo2", "{\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":4.0}}",
                  "GGUF files cannot say \"dynamic\""}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = reference_make(cases[i].model), *scratch = scratch_make();
        json_t *config = reference_config(cases[i].model), *change = cases[i].patch ? json_of(cases[i].patch) : NULL;

        if (change) json_object_update(config, change);
        scratch_write_json(folder, "config.json", config);
        assert_refused(folder, packs_within(scratch, "x.gguf"), PACK_AS_Q8, ENOTSUP, cases[i].text);
        assert_absent(packs_within(scratch, "x.gguf.partial"));
        json_decref(change);
        scratch_remove(scratch);
        scratch_remove(folder);
    }
}

/* A window that its files have no words for is told, and not refused: texts within it are answered alike. */
static void windows_are_told(void **state)
{
    char *folder = reference_make("mistral-window"), *scratch = scratch_make();

    (void)state;
    if (SLUICE("pack", folder, packs_within(scratch, "x.gguf"), "--to", "f32")) fail_msg("%s", packs_last.err);
    assert_non_null(strstr(packs_last.err, "have no window"));
    scratch_remove(scratch);
    scratch_remove(folder);
}

/* What is no number becomes none in another form. */
static void numbers_refused(void **state)
{
    char *folder = reference_make("llama-tied-f32"), *scratch = scratch_make(), path[512], *bytes;
    uint64_t n;

    (void)state;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    packs_load(&bytes, &n, path);
    memset(bytes + n - 4, 0xff, 4);
    packs_store(path, bytes, n);
    free(bytes);
    assert_refused(folder, packs_within(scratch, "x.gguf"), PACK_AS_Q8, EINVAL, "holds a number that is none");
    assert_absent(packs_within(scratch, "x.gguf"));
    scratch_remove(scratch);
    scratch_remove(folder);
}

/* ---- before anything is written ---- */

static double number(const json_t *o, const char *a, const char *b)
{
    return json_number_value(json_object_get(b ? json_object_get(o, a) : o, b ? b : a));
}

/* Sizes of a model of which only the config is there: published files of its architecture have them. */
static void plans(void **state)
{
    static const char *const forms[] = {"q8", "q6", "q5", "q4"};
    static const double share[] = {0.532, 0.411, 0.36, 0.31}; /* of BF16, at most */
    char *folder = scratch_make();
    double before;
    json_t *o, *all;

    (void)state;
    scratch_write(folder, "config.json",
                  "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 8192,"
                  "\"intermediate_size\": 28672, \"num_attention_heads\": 64, \"num_key_value_heads\": 8,"
                  "\"num_hidden_layers\": 80, \"vocab_size\": 128256, \"max_position_embeddings\": 8192,"
                  "\"rms_norm_eps\": 1e-5, \"torch_dtype\": \"bfloat16\"}");
    assert_int_equal(SLUICE("plan", folder, "--backend", "cpu", "--json"), 0);
    o = json_of(packs_last.out);
    before = number(o, "weight_bytes", NULL);
    all = json_object_get(o, "forms");
    for (int i = 0; i < 4; i++) {
        double bytes = number(all, forms[i], "weight_bytes");

        if (!(bytes <= share[i] * number(o, "weight_bytes", NULL) && bytes < before && bytes > before / 2))
            fail_msg("%s: %g of %g", forms[i], bytes, before);
        before = bytes;
        assert_true(number(all, forms[i], "predicted_seconds_per_token") > 0);
        assert_true(number(all, forms[i], "divergence") > 0);
        assert_non_null(json_string_value(json_object_get(json_object_get(all, forms[i]), "divergence_from")));
    }
    /* Llama 3 70B in Q4_K_M, as llama-quantize makes it, is 42.52 GB: its file has 7.9 MB beside the weights */
    assert_in_range((uint64_t)before, UINT64_C(42500000000), UINT64_C(42530000000));
    json_decref(o);
    assert_int_equal(SLUICE("plan", folder, "--backend", "cpu"), 0);
    assert_non_null(strstr(packs_last.out, "mean KL divergence"));
    scratch_remove(folder);
}

static void chosen_by_speedup(void **state)
{
    char *scratch = scratch_make();

    (void)state;
    assert_int_equal(SLUICE("pack", DEMO, packs_within(scratch, "x.gguf"), "--to", "auto", "--speedup", "900"), 1);
    assert_non_null(strstr(packs_last.err, "no form makes a token so much faster"));
    assert_absent(packs_within(scratch, "x.gguf.resume"));
    assert_int_equal(SLUICE("pack", DEMO, packs_within(scratch, "x.gguf"), "--to", "auto", "--speedup", "0.5"), 2);
    scratch_remove(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupted_and_continued),
        cmocka_unit_test(damaged_partial),
        cmocka_unit_test(killed_and_continued),
        cmocka_unit_test(no_room),
        cmocka_unit_test(source_that_changes),
        cmocka_unit_test(sets_of_files),
        cmocka_unit_test(from_a_gguf),
        cmocka_unit_test(outputs_refused),
        cmocka_unit_test(sources_refused),
        cmocka_unit_test(windows_are_told),
        cmocka_unit_test(numbers_refused),
        cmocka_unit_test(plans),
        cmocka_unit_test(chosen_by_speedup),
    };

    return cmocka_run_group_tests(tests, NULL, release_last);
}

/* A model over several machines, all of them this one: the same bytes as on one, and what is said where that cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_machines.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define DEMO    "tests/data/demo-model"
#define SECONDS 60
#define STORY   "run", DEMO, "-n", "12", "--ignore-eos"
#define TWO     "localhost,localhost"
#define FOUR    "localhost,localhost,localhost,localhost"

static const char *refused;

static void need_mpi(void)
{
    if (!refused) return;
    print_message("skipped: %s\n", refused);
    skip();
}

static struct process_result run(const char *const *arg, const char *hosts, int status)
{
    const char *all[32];
    struct process_result r;
    int n = 0;

    while (arg[n]) all[n] = arg[n], n++;
    if (hosts) all[n++] = "--hosts", all[n++] = hosts;
    all[n] = NULL;
    r = process_run("sluice", all, NULL, 0, SECONDS);
    if (r.status != status) fail_msg("exit %d in place of %d: %s", r.status, status, r.err);
    return r;
}

static void expect_same(const char *const *arg, const char *hosts)
{
    struct process_result one = run(arg, NULL, 0), many = run(arg, hosts, 0);

    assert_true(one.out_bytes > 0);
    if (strcmp(one.out, many.out)) fail_msg("over %s: %s\nalone: %s", hosts, many.out, one.out);
    process_result_free(&one);
    process_result_free(&many);
}

static void test_text(void **state)
{
    static const char *const greedy[] = {STORY, "-p", "Once upon a time", "--temperature", "0", NULL};

    (void)state;
    need_mpi();
    expect_same(greedy, TWO);
}

/* Several answers in the same sweeps, with trees of guesses, over more machines than there are processors. */
static void test_many(void **state)
{
    char *folder = scratch_make();
    char prompts[256];
    const char *const arg[] = {STORY,         "--prompts", prompts, "--temperature", "1", "--seed", "5",
                               "--speculate", "6",         NULL};

    (void)state;
    scratch_write(folder, "prompts", "Once upon a time\nThe hedgehog\nA bell\n");
    snprintf(prompts, sizeof prompts, "%s", scratch_path(folder, "prompts"));
    if (!refused) expect_same(arg, FOUR);
    scratch_remove(folder);
    need_mpi();
}

static void compare_logits(const char *name)
{
    char *folder = reference_make(name), *out = scratch_make(), tokens[256] = "", a[256], b[256];
    struct golden g = golden_load(name);
    const char *arg[] = {"logits", folder, "--tokens", tokens, "--chunk", "3", "--out", a, NULL};
    struct process_result r, s;

    for (uint32_t i = 0; i < g.n && i < 8; i++)
        snprintf(tokens + strlen(tokens), sizeof tokens - strlen(tokens), "%u ", g.tokens[i]);
    snprintf(a, sizeof a, "%s", scratch_path(out, "one"));
    snprintf(b, sizeof b, "%s", scratch_path(out, "two"));
    r = run(arg, NULL, 0);
    process_result_free(&r);
    arg[7] = b;
    r = run(arg, TWO, 0);
    process_result_free(&r);
    s = process_run("/usr/bin/cmp", (const char *const[]){a, b, NULL}, NULL, 0, 5);
    if (s.status) fail_msg("%s: other logits over two machines: %s", name, s.out);
    process_result_free(&s);
    golden_free(&g);
    scratch_remove(out);
    scratch_remove(folder);
}

static void test_logits(void **state)
{
    (void)state;
    need_mpi();
    compare_logits("llama");
    compare_logits("deepseek-v3");
    compare_logits("qwen3-next");
}

/* ---- what cannot be ---- */

static void expect_refused(const char *second, const char *says)
{
    static const char *const arg[] = {STORY, "-p", "x", NULL};
    char *folder = scratch_make(), text[1024], hosts[256];
    struct process_result r;

    snprintf(text, sizeof text, "localhost share=1\nlocalhost share=1 %s\n", second);
    scratch_write(folder, "hosts", text);
    snprintf(hosts, sizeof hosts, "@%s", scratch_path(folder, "hosts"));
    r = run(arg, hosts, 1);
    if (!strstr(r.err, says) || !strstr(r.err, "machine localhost")) fail_msg("\"%s\" is not in: %s", says, r.err);
    assert_int_equal(r.out_bytes, 0);
    process_result_free(&r);
    scratch_remove(folder);
}

static void test_files(void **state)
{
    char *other = reference_make("llama"), *empty = scratch_make(), second[512];

    (void)state;
    if (!refused) {
        expect_refused("model=/nowhere/at/all", "/nowhere/at/all");
        snprintf(second, sizeof second, "model=%s", empty);
        expect_refused(second, "model.safetensors");
        snprintf(second, sizeof second, "model=%s", other);
        expect_refused(second, "where the run was planned");
    }
    scratch_remove(other);
    scratch_remove(empty);
    need_mpi();
}

/* ---- shares ---- */

static void share(const char *hosts, const char *node, const char *to)
{
    const char *const arg[] = {"share", DEMO, "--node", node, "--to", to, NULL};
    struct process_result r = run(arg, hosts, 0);

    process_result_free(&r);
}

static void write_hosts(const char *folder, const char *name, const char *second)
{
    char text[1024];

    snprintf(text, sizeof text, "localhost share=1\nlocalhost share=1 model=%s\n", second);
    scratch_write(folder, name, text);
}

/* Each machine has its own part only, and neither is a model. */
static void test_shares(void **state)
{
    char *folder = scratch_make(), *first = scratch_make(), *second = scratch_make(), hosts[256], wrong[256];
    const char *const arg[] = {"run", first, "-n", "12", "--ignore-eos", "-p", "Once", "--temperature", "0", NULL};
    const char *const whole[] = {"run", DEMO, "-n", "12", "--ignore-eos", "-p", "Once", "--temperature", "0", NULL};
    struct process_result one = run(whole, NULL, 0), many;
    struct stat a, b, all;

    (void)state;
    write_hosts(folder, "hosts", second);
    write_hosts(folder, "wrong", first);
    snprintf(hosts, sizeof hosts, "@%s", scratch_path(folder, "hosts"));
    snprintf(wrong, sizeof wrong, "@%s", scratch_path(folder, "wrong"));
    share(hosts, "0", first);
    share(hosts, "1", second);
    assert_int_equal(stat(DEMO "/model.safetensors", &all), 0);
    assert_int_equal(stat(scratch_path(first, "model.safetensors"), &a), 0);
    assert_int_equal(stat(scratch_path(second, "model.safetensors"), &b), 0);
    assert_true(a.st_size == all.st_size && b.st_size == all.st_size);
    assert_true(a.st_blocks < all.st_blocks && b.st_blocks < all.st_blocks);
    many = run(arg, NULL, 1);
    assert_non_null(strstr(many.err, "one machine's share"));
    process_result_free(&many);
    if (!refused) {
        many = run(arg, hosts, 0);
        assert_string_equal(many.out, one.out);
        process_result_free(&many);
        many = run(arg, wrong, 1);
        assert_non_null(strstr(many.err, "holds another share"));
        process_result_free(&many);
    }
    process_result_free(&one);
    scratch_remove(first);
    scratch_remove(second);
    scratch_remove(folder);
}

static void test_no_mpirun(void **state)
{
    static const char *const arg[] = {STORY, "-p", "x", NULL};
    char *path = strdup(getenv("PATH"));
    struct process_result r;

    (void)state;
    assert_non_null(path);
    setenv("PATH", "/nowhere", 1);
    r = run(arg, TWO, 1);
    setenv("PATH", path, 1);
    free(path);
    assert_non_null(strstr(r.err, "install"));
    process_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),  cmocka_unit_test(test_many),   cmocka_unit_test(test_logits),
        cmocka_unit_test(test_files), cmocka_unit_test(test_shares), cmocka_unit_test(test_no_mpirun),
    };

    refused = machines_refused();
    return cmocka_run_group_tests_name("machines", tests, NULL, NULL);
}

/* Reference models through pack, verify, run and unpack: sums and bytes of all files are those of before, logits those of the
 * folder that is not packed.
 *
 *   build/tests/test_pack_models          some of them
 *   build/tests/test_pack_models full     all (make test-pack-all) */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_model.h"
#include "tests/support_packs.h"
#include "tests/support_temporary.h"

static bool full;

/* A run of the program that must end well; its standard output, until the next call. */
static const char *run(const char *const *arg)
{
    if (packs_sluice(arg))
        fail_msg("sluice %s %s: exit status %d: %s%s", arg[0], arg[1], packs_last.status, packs_last.err,
                 packs_last.out);
    return packs_last.out;
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

/* All files of the one folder are in the other, byte for byte. */
static void same_files(const char *one, const char *other)
{
    DIR *d = opendir(one);
    const struct dirent *x;
    unsigned files = 0;

    assert_non_null(d);
    while ((x = readdir(d))) {
        if (*x->d_name == '.') continue;
        packs_assert_same(packs_within(one, x->d_name), packs_within(other, x->d_name));
        files++;
    }
    closedir(d);
    assert_true(files >= 2);
}

static void one_model(const char *name)
{
    char *folder = reference_make_whole(name), *scratch = scratch_make(), *tokens, packed[300], back[300], sums[300];
    struct golden g = golden_load(name);
    json_t *o;

    snprintf(packed, sizeof packed, "%s/packed", scratch);
    snprintf(back, sizeof back, "%s/back", scratch);
    snprintf(sums, sizeof sums, "%s/sums", scratch);
    tokens = calloc(g.n, 11);
    assert_non_null(tokens);
    for (uint32_t i = 0; i < g.n; i++) sprintf(tokens + strlen(tokens), "%u ", g.tokens[i]);

    o = json_of(RUN("pack", folder, packed, "--json", "-q"));
    if (full)
        print_message("%-32s packed %.3f of its matrices' bytes\n", name,
                      json_number_of(o, "packed_to_bytes") / (json_number_of(o, "packed_bytes") + 1e-9));
    json_decref(o);
    RUN("verify", folder, "--out", sums, "-q");
    RUN("verify", packed, "--baseline", sums, "-q");
    RUN("logits", folder, "--tokens", tokens, "--out", packs_within(scratch, "raw.f32"), "-q");
    RUN("logits", packed, "--tokens", tokens, "--out", packs_within(scratch, "packed.f32"), "-q");
    packs_assert_same(packs_within(scratch, "raw.f32"), packs_within(scratch, "packed.f32"));
    RUN("unpack", packed, back, "-q");
    same_files(folder, back);

    free(tokens);
    golden_free(&g);
    temporary_remove(packed);
    temporary_remove(back);
    scratch_remove(scratch);
    scratch_remove(folder);
}

static int is_model(const struct dirent *x)
{
    return x->d_name[0] != '.' && !strstr(x->d_name, "README");
}

static void models(void **state)
{
    static const char *const some[] = {"gemma3n", "deepseek-v3", "llama-bias-f16-sharded"};
    struct dirent **list;
    int n = full ? scandir(REFERENCE_MODELS, &list, is_model, alphasort) : 0;

    (void)state;
    if (full) assert_true(n > 60);
    for (size_t i = 0; i < sizeof some / sizeof *some && !full; i++) one_model(some[i]);
    for (int i = 0; i < n; i++) {
        one_model(list[i]->d_name);
        free(list[i]);
    }
    if (full) free(list);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(models)};

    full = argc > 1 && !strcmp(argv[1], "full");
    return cmocka_run_group_tests_name("pack_models", tests, NULL, NULL);
}

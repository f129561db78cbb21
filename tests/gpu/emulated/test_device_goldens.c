/* The reference models through all processes on a device whose streams run late and in pieces, with depths and slots drawn at
 * random: the references' numbers, and the same bits whatever was drawn. Stages are killed meanwhile.
 *
 *   test_device_goldens              a model of each kind, a few kills
 *   test_device_goldens SEEDS SEED   all models, so many draws of each from that seed on; as many kills as there are models
 *   test_device_goldens MODEL        that model alone */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/gpu/emulated/support_device.h"
#include "tests/support_model.h"
#include "tests/support_victims.h"

#define TOLERANCE 2e-4 /* as tests/data/models/README.md states it */
#define FEW       16   /* positions that go to kernels whose bits depend on nothing else */

static const char *const some[] = {"llama",      "mixtral",        "gpt-oss-mxfp4", "deepseek-v3-fp8",
                                   "qwen3-next", "mistral-window", "mamba2",        "gemma3"};
static int seeds, first_seed = 1;

static uint64_t drawn;

static unsigned draw(unsigned low, unsigned high)
{
    drawn = drawn * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return low + (unsigned)(drawn >> 33) % (high - low + 1);
}

struct drawing {
    char transfer[8], reader[8], chunk[8], slot[16];
};

static void draw_run(struct device_run *r, struct drawing *d, int seed)
{
    drawn = (uint64_t)seed * 1000003;
    snprintf(d->transfer, sizeof d->transfer, "%u", draw(2, 9));
    snprintf(d->reader, sizeof d->reader, "%u", draw(2, 17));
    snprintf(d->chunk, sizeof d->chunk, "%u", draw(1, FEW));
    snprintf(d->slot, sizeof d->slot, "%.4f", (double)draw(4, 40) * 4 / 1024);
    memcpy(r->flag,
           (const char *[]){"--transfer-depth", d->transfer, "--reader-depth", d->reader, "--chunk", d->chunk,
                            seed % 2 ? "--slot-mib" : NULL, d->slot, NULL},
           9 * sizeof *r->flag);
}

static char *tokens_of(const struct golden *g)
{
    char *text = malloc(12u * g->n + 1), *at = text;

    for (uint32_t i = 0; i < g->n; i++) at += sprintf(at, i ? " %u" : "%u", g->tokens[i]);
    return text;
}

/* Off by how much; where the last token's numbers are among the references'. */
static double distance(const struct golden *g, const float *got)
{
    double most = 0;

    if (!g->wanted || g->positions[g->wanted - 1] != g->n - 1) return 0;
    for (uint32_t i = 0; i < g->vocab; i++) {
        double d = fabs((double)got[i] - g->logits[(uint64_t)(g->wanted - 1) * g->vocab + i]);

        if (!(d <= most)) most = d;
    }
    return most;
}

/* A slot that is too small for the model is refused: then the automatic one. */
static void settle(struct device_run *r, int seed)
{
    struct process_result p;
    bool refused;

    snprintf(r->device, sizeof r->device, "1M");
    snprintf(r->host, sizeof r->host, "8G");
    p = device_logits(r, "/dev/null");
    refused = strstr(p.err, "--slot-mib") != NULL;
    process_result_free(&p);
    if (refused) r->flag[6] = NULL;
    if (seed % 3)
        device_least(r);
    else
        device_least_of_device(r, "8G");
}

static void check(const char *name, int draws)
{
    struct golden g = golden_load(name);
    char *folder = reference_make(name), *tokens = tokens_of(&g);
    float *first = NULL, *got;
    size_t bytes, first_bytes = 0;

    for (int i = 0; i <= draws; i++) {
        struct device_run r = {.model = folder, .tokens = tokens, .seconds = 120};
        struct drawing d;

        draw_run(&r, &d, first_seed + i);
        settle(&r, first_seed + i);
        device_seed(i ? first_seed + i : 0); /* the first does all at once */
        got = device_logits_or_null(&r, &bytes);
        device_seed(0);
        if (!got) fail_msg("%s, seed %d", name, first_seed + i);
        if (!(distance(&g, got) <= TOLERANCE))
            fail_msg("%s, seed %d: off by %g", name, first_seed + i, distance(&g, got));
        if (i && (bytes != first_bytes || memcmp(got, first, bytes)))
            fail_msg("%s, seed %d: other bits: --transfer-depth %s --reader-depth %s --chunk %s", name, first_seed + i,
                     d.transfer, d.reader, d.chunk);
        if (!i) {
            first = got;
            first_bytes = bytes;
        } else {
            free(got);
        }
    }
    free(first);
    free(tokens);
    golden_free(&g);
    scratch_remove(folder);
}

static int is_model(const struct dirent *x)
{
    return x->d_name[0] != '.' && !strstr(x->d_name, "README");
}

static void bits_of_models(void **state)
{
    struct dirent **list;
    int n;

    (void)state;
    for (size_t i = 0; !seeds && i < sizeof some / sizeof *some; i++) check(some[i], 1);
    if (!seeds) return;
    n = scandir("tests/data/models", &list, is_model, alphasort);
    assert_true(n > 60);
    for (int i = 0; i < n; i++) {
        check(list[i]->d_name, seeds);
        free(list[i]);
    }
    free(list);
}

static struct process story(const char *model)
{
    const char *const arg[] = {"run",          model,           "-p", "a b c",     "-n",   "6",
                               "--ignore-eos", "--temperature", "0",  "--backend", "cuda", "--device-memory",
                               "1G",           "--quiet",       NULL};

    return process_start("sluice", arg);
}

/* A stage is killed: the text goes on as if nothing had happened, or the run ends with a line that says so; nothing is left. */
static void kills(void **state)
{
    char *model = reference_make_whole("llama"), left[512];
    struct process p = story(model);
    struct process_result whole, r;

    (void)state;
    device_seed(first_seed);
    whole = process_finish(&p, NULL, 0, 60);
    if (whole.status) fail_msg("%s", whole.err);
    for (int i = 0; i < (seeds ? 60 : 6); i++) {
        pid_t victim;
        int stage = 1 + i % 2; /* transfer, compute */

        drawn = (uint64_t)(first_seed + i) * 7919;
        device_seed(first_seed + i);
        p = story(model);
        victim = victim_wait(p.pid, stage, 10000);
        nap_ms((int)draw(0, 250));
        if (victim > 0) kill(victim, SIGKILL);
        r = process_finish(&p, NULL, 0, 60);
        if (r.status ? r.status != 1 || !r.err_bytes : strcmp(r.out, whole.out) != 0)
            fail_msg("seed %d: exit %d: \"%s\" %s", first_seed + i, r.status, r.out, r.err);
        if (victim_leftovers(p.pid, &victim, 1, 5000, left, sizeof left)) fail_msg("seed %d: %s", first_seed + i, left);
        process_result_free(&r);
    }
    device_seed(0);
    process_result_free(&whole);
    scratch_remove(model);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bits_of_models), cmocka_unit_test(kills)};

    if (argc == 2 && !atoi(argv[1])) {
        check(argv[1], 1);
        return 0;
    }
    if (argc > 1) seeds = atoi(argv[1]);
    if (argc > 2) first_seed = atoi(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

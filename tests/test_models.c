/* Reference models through all four processes, and what they are held against.
 *
 *   test_models           the families in layouts that no library computes, and a few of the others
 *   test_models --table   all of them, as tests/MODELS.md; exit status 1 where one is off */
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support_instance.h"
#include "tests/support_baichuan.h"
#include "tests/support_families.h"
#include "tests/support_model.h"

#define TOLERANCE 2e-4 /* as tests/data/models/README.md states it */

struct outcome {
    double difference; /* the largest, of any logit */
    bool greedy;       /* the same tokens follow */
};

static struct options options_of(const char *folder)
{
    struct options o = option_defaults;

    o.model = folder;
    o.quiet = true;
    o.temperature = 0;
    o.threads = 2;
    return o;
}

/* ---- one model ---- */

struct compare {
    const float *want;
    uint32_t vocab;
    double most;
};

static int compare_row(void *arg, const float *logits, struct error *e)
{
    struct compare *c = arg;

    (void)e;
    for (uint32_t i = 0; i < c->vocab; i++) {
        double d = fabs((double)logits[i] - (double)c->want[i]);
        if (!(d <= c->most)) c->most = d; /* a NaN is the worst there is */
    }
    c->want += c->vocab;
    return 0;
}

static double difference(const struct golden *g, const char *folder)
{
    struct options o = options_of(folder);
    struct instance_load load = {.prompt_tokens = g->n, .max_logits = g->wanted};
    struct compare rows = {g->logits, g->vocab, 0};
    struct instance *i = NULL;
    struct error e = {0};
    int rc = support_start(&i, &o, &load, &e);

    if (!rc) rc = logits_at(i, g->tokens, g->n, g->positions, g->wanted, compare_row, &rows, &e);
    if (rc) fail_msg("%s: %s", folder, e.text);
    instance_close(i);
    return rows.most;
}

static bool same_greedy(const struct golden *g, const char *folder)
{
    struct options o = options_of(folder);
    struct instance_load load = {.prompt_tokens = g->n};
    uint32_t *token = malloc(g->greedies * sizeof *token);
    struct instance *i = NULL;
    struct error e = {0};
    bool same;
    int rc;

    o.max_tokens = (int)g->greedies;
    o.ignore_eos = true;
    rc = support_start(&i, &o, &load, &e);
    if (!rc) rc = support_tokens(i, g->tokens, g->n, token, g->greedies, &e);
    if (rc) fail_msg("%s: %s", folder, e.text);
    same = !memcmp(token, g->greedy, g->greedies * sizeof *token);
    instance_close(i);
    free(token);
    return same;
}

/* Takes the folder. */
static struct outcome hold(const struct golden *g, char *folder)
{
    struct outcome x = {difference(g, folder), same_greedy(g, folder)};

    scratch_remove(folder);
    return x;
}

static bool good(const struct outcome *x)
{
    return x->difference <= TOLERANCE && x->greedy;
}

/* ---- the selection that is tested always ---- */

static void require(const char *name, struct outcome x)
{
    if (!good(&x)) fail_msg("%s is off by %g, greedy text %s", name, x.difference, x.greedy ? "equal" : "different");
}

static void a_few_reference_models(void **state)
{
    static const char *const names[] = {"llama", "gemma2", "deepseek-v3-fp8", "gpt-oss-mxfp4", "qwen3-next"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct golden g = golden_load(names[i]);

        require(names[i], hold(&g, reference_make(names[i])));
        golden_free(&g);
    }
}

static void originals_in_their_own_layout(void **state)
{
    (void)state;
    for (int i = 0; i < RENAMED_FAMILIES; i++) {
        struct golden g = golden_load(renamed_families[i].golden);

        require(renamed_families[i].name, hold(&g, renamed_families[i].make()));
        golden_free(&g);
    }
}

static void baichuan2_13b_by_its_formulas(void **state)
{
    char *folder = scratch_make();
    struct golden g = baichuan_make(folder);

    (void)state;
    require("Baichuan 2 13B", hold(&g, folder));
    golden_free(&g);
}

/* ---- the table ---- */

struct row {
    char architecture[64], models[512], source[64];
    struct outcome worst;
    int count;
};

static struct row *row_of(struct row *rows, int *n, const char *name)
{
    char path[512];
    json_t *o;
    struct row *r;
    const char *architecture;

    snprintf(path, sizeof path, "%s/%s/config.json", REFERENCE_MODELS, name);
    o = config_read(path);
    architecture = json_string_value(json_array_get(json_object_get(o, "architectures"), 0));
    assert_non_null(architecture);
    for (r = rows; r < rows + *n && strcmp(r->architecture, architecture); r++) continue;
    if (r == rows + *n) {
        snprintf(r->architecture, sizeof r->architecture, "%s", architecture);
        r->worst.greedy = true;
        ++*n;
    }
    json_decref(o);
    return r;
}

static void add(struct row *r, const char *name, const struct golden *g, struct outcome x)
{
    size_t used = strlen(r->models);

    snprintf(r->models + used, sizeof r->models - used, "%s%s", used ? ", " : "", name);
    snprintf(r->source, sizeof r->source, "%s", g->source);
    if (!(x.difference <= r->worst.difference)) r->worst.difference = x.difference;
    r->worst.greedy &= x.greedy;
    r->count++;
}

static bool print(const char *family, const char *models, const char *reference, struct outcome x)
{
    printf("| %s | %s | %s | %.1e | %s |\n", family, models, reference, x.difference, x.greedy ? "yes" : "NO");
    fflush(stdout);
    return good(&x);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int wanted(const struct dirent *x)
{
    return x->d_name[0] != '.' && !strstr(x->d_name, "README");
}

static void print_references(bool *all_good)
{
    static struct row rows[256];
    struct dirent **list;
    int n = 0, models = scandir(REFERENCE_MODELS, &list, wanted, by_name);

    assert_true(models > 0 && models <= (int)(sizeof rows / sizeof *rows));
    for (int i = 0; i < models; i++) {
        struct golden g = golden_load(list[i]->d_name);

        add(row_of(rows, &n, list[i]->d_name), list[i]->d_name, &g, hold(&g, reference_make(list[i]->d_name)));
        golden_free(&g);
        free(list[i]);
    }
    free(list);
    for (int i = 0; i < n; i++) {
        char source[96];

        snprintf(source, sizeof source, "%s, float64", rows[i].source);
        *all_good &= print(rows[i].architecture, rows[i].models, source, rows[i].worst);
    }
}

static int table(void)
{
    bool all_good = true;
    char *folder = scratch_make();
    struct golden g;

    printf("# Families, held against their reference\n\nWritten by `make test-models`. Logits through all processes, "
           "beside those of the reference; asked for: within %g, and\n"
           "the greedy text equal. The models are small ones of `tests/data/models`, which cover every switch of their "
           "families.\n\n",
           TOLERANCE);
    printf("| family | models | reference | largest difference | greedy equal |\n|---|---|---|---|---|\n");
    print_references(&all_good);
    for (int i = 0; i < RENAMED_FAMILIES; i++) {
        const struct renamed_family *x = &renamed_families[i];
        char source[160];

        g = golden_load(x->golden);
        snprintf(source, sizeof source, "`%s` of %s, the same weights renamed", x->golden, g.source);
        all_good &= print(x->name, x->how, source, hold(&g, x->make()));
        golden_free(&g);
    }
    g = baichuan_make(folder);
    all_good &= print("Baichuan 2 13B", "ALiBi, W_pack, normalized head",
                      "its formulas in float64 (`tests/support_baichuan.c`)", hold(&g, folder));
    golden_free(&g);
    return all_good ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest few[] = {cmocka_unit_test(a_few_reference_models),
                                     cmocka_unit_test(originals_in_their_own_layout),
                                     cmocka_unit_test(baichuan2_13b_by_its_formulas)};

    if (argc == 2 && !strcmp(argv[1], "--table")) return table();
    return cmocka_run_group_tests(few, NULL, NULL);
}

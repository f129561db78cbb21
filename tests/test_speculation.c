/* Guesses change nothing but the number of sweeps: tokens and the logits that they are chosen from are those of the plain run,
 * byte by byte, whatever is guessed, in every reference model, and whoever dies meanwhile.
 *
 *   test_speculation          every model, a few texts of each
 *   test_speculation full     more of them, in more ways (make test-speculation) */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/batch/sweep.h"
#include "tests/support_instance.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_terminal.h"
#include "tests/support_victims.h"

#define PROMPTS 5
#define TOKENS  14
#define GUESSES 24

enum way {
    NOTHING, /* the plain run, whose tokens and logits are kept */
    TREES,   /* of any form: the right tokens among wrong ones, in any order */
    RIGHT,   /* a chain of right ones */
    WRONG,   /* a chain of wrong ones */
    SAME,    /* one token for ever */
    WAYS
};

enum moment { NEVER, DRAFT, CHECK, COMMIT };

struct run {
    enum way way;
    uint64_t random;
    uint32_t vocab;
    uint32_t text[PROMPTS][24], length[PROMPTS];
    uint32_t token[PROMPTS][TOKENS];  /* of the plain run */
    uint64_t logits[PROMPTS][TOKENS]; /* their digests */
    uint32_t count[PROMPTS];          /* of this run's tokens */
    /* the roots of the sweep under way */
    uint32_t prompt[PROMPTS], at[PROMPTS];
    uint32_t trees, swept;
    enum moment moment; /* when a stage is killed, */
    uint32_t after;     /* so many calls later */
    int stage;
};

static uint32_t below(struct run *r, uint32_t n)
{
    r->random = r->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((r->random >> 33) % n);
}

static void blow(struct run *r, enum moment moment)
{
    pid_t pid;

    if (r->moment != moment || r->after-- != 1) return;
    pid = victim_wait(getpid(), r->stage, 5000);
    assert_true(pid > 0);
    kill(pid, SIGKILL);
    r->moment = NEVER;
}

static uint64_t digest(const float *x, uint32_t n)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof bits);
        h = (h ^ bits) * UINT64_C(1099511628211);
    }
    return h;
}

/* The prompt that a root's sequence began with. */
static uint32_t prompt_of(const struct run *r, const struct guess_root *x)
{
    for (uint32_t n = 0; n < PROMPTS; n++)
        if (x->prompt == r->length[n] && !memcmp(x->token, r->text[n], x->prompt * sizeof *x->token)) return n;
    fail_msg("a root of no prompt");
    return 0;
}

/* The token of the plain run so many tokens after the root's; or one that is no better than any. */
static uint32_t right(struct run *r, uint32_t root, uint32_t ahead)
{
    uint32_t k = r->at[root] + ahead;

    return k < TOKENS ? r->token[r->prompt[root]][k] : below(r, r->vocab);
}

static uint32_t chain(struct run *r, const struct guess_ask *ask, struct guess *out)
{
    uint32_t n = 0, each = ask->most / ask->roots;

    for (uint32_t i = 0; i < ask->roots; i++)
        for (uint32_t d = 0; d < each; d++, n++) {
            uint32_t token = right(r, i, d);

            if (r->way == WRONG) token = (token + 1 + below(r, r->vocab - 1)) % r->vocab;
            if (r->way == SAME) token = 7;
            out[n] = (struct guess){i, d ? n - 1 : GUESS_ROOT, token};
        }
    return n;
}

static uint32_t tree(struct run *r, const struct guess_ask *ask, struct guess *out)
{
    uint32_t depth[GUESSES * PROMPTS], n = 1 + below(r, ask->most);
    bool true_so_far[GUESSES * PROMPTS];

    for (uint32_t i = 0; i < n; i++) {
        uint32_t parent = below(r, i + 2), root = below(r, ask->roots);
        bool good = true;

        depth[i] = 0;
        if (parent < i) {
            root = out[parent].root;
            depth[i] = depth[parent] + 1;
            good = true_so_far[parent];
        }
        true_so_far[i] = good && below(r, 3);
        out[i] = (struct guess){root, parent < i ? parent : GUESS_ROOT,
                                true_so_far[i] ? right(r, root, depth[i]) : below(r, r->vocab)};
        true_so_far[i] = good && out[i].token == right(r, root, depth[i]);
    }
    return n;
}

static uint32_t on_guess(void *arg, const struct guess_ask *ask, struct guess *out)
{
    struct run *r = arg;

    assert_true(ask->most <= GUESSES * PROMPTS);
    for (uint32_t i = 0; i < ask->roots; i++) {
        r->prompt[i] = prompt_of(r, &ask->root[i]);
        r->at[i] = ask->root[i].count - ask->root[i].prompt;
    }
    blow(r, DRAFT);
    r->trees += r->way != NOTHING;
    if (r->way == NOTHING) return 0;
    return r->way == TREES ? tree(r, ask, out) : chain(r, ask, out);
}

static void on_seen(void *arg, const struct guess_seen *s)
{
    struct run *r = arg;
    uint32_t n = r->prompt[s->root], k = r->at[s->root]++;
    uint64_t h = digest(s->logits, r->vocab);

    assert_true(k < TOKENS);
    if (r->way == NOTHING) r->logits[n][k] = h;
    if (r->token[n][k] != s->token || r->logits[n][k] != h)
        fail_msg("way %d, prompt %u, token %u: not that of the plain run", r->way, n, k);
}

static void on_swept(void *arg, const struct guess_sweep *s)
{
    struct run *r = arg;

    r->swept++;
    assert_true(s->positions > s->guesses && (!s->guesses || s->rows > s->guesses));
}

static void on_sweep(void *arg, const struct batch_progress *p)
{
    (void)p;
    blow(arg, CHECK);
}

static int on_token(void *arg, uint32_t n, uint32_t token, struct error *e)
{
    struct run *r = arg;
    uint32_t k = r->count[n]++;

    (void)e;
    if (r->way == NOTHING) r->token[n][k] = token;
    if (r->token[n][k] != token) fail_msg("way %d, prompt %u: token %u is another", r->way, n, k);
    blow(r, COMMIT);
    return 0;
}

static int on_done(void *arg, uint32_t n, const struct generate_result *g, struct error *e)
{
    const struct run *r = arg;

    (void)e;
    assert_int_equal(r->count[n], TOKENS);
    assert_int_equal(g->end, END_LENGTH);
    return 0;
}

/* ---- instances ---- */

static void make_prompts(struct run *r)
{
    static const uint32_t length[PROMPTS] = {3, 17, 1, 24, 9};

    for (uint32_t n = 0; n < PROMPTS; n++) {
        r->length[n] = length[n];
        for (uint32_t i = 0; i < length[n]; i++) r->text[n][i] = (n * 31 + i * i * 7 + 5) % r->vocab;
    }
}

static void start(struct instance **i, struct run *r, const char *folder, int chunk, enum form kv, uint32_t sequences)
{
    static struct options o;
    struct guesser guesser = {.guess = on_guess, .seen = on_seen, .swept = on_swept, .arg = r};
    struct batch_observer observer = {.arg = r, .sweep = on_sweep};
    struct instance_load load = {.sequences = sequences, .prompt_tokens = 24, .all_tokens = 54};
    struct instance_config c = {
        .options = &o, .prompt_tokens = 24, .observer = &observer, .guesser = &guesser, .guesses = GUESSES};
    struct error e = {0};

    o = option_defaults;
    o.model = folder;
    o.quiet = o.ignore_eos = true;
    o.threads = 2;
    o.context = 64;
    o.batch_tokens = chunk;
    o.kv_form = kv;
    if (instance_load(i, &c, &e) || instance_start(*i, &load, &e)) fail_msg("%s: %s", folder, e.text);
    r->vocab = instance_plan(*i)->spec.vocab;
}

static void say(struct instance *i, struct run *r, enum way way, double temperature)
{
    struct generate_prompt prompt[PROMPTS];
    struct sampler_settings s = {.temperature = temperature, .top_p = 1, .repeat_penalty = 1, .seed = 5};
    struct generate_many m = {.prompt = prompt,
                              .prompts = PROMPTS,
                              .each = {.sampling = s, .max_tokens = TOKENS},
                              .token = on_token,
                              .done = on_done,
                              .arg = r};
    struct error e = {0};

    if (temperature > 0.9) { /* whatever a sampler does */
        m.each.sampling.top_k = 40;
        m.each.sampling.top_p = 0.9;
        m.each.sampling.repeat_penalty = 1.1;
    }
    for (uint32_t n = 0; n < PROMPTS; n++) prompt[n] = (struct generate_prompt){r->text[n], r->length[n]};
    r->way = way;
    memset(r->count, 0, sizeof r->count);
    if (generate_all(i, &m, &e)) fail_msg("%s", e.text);
}

static uint32_t trees_of_all, texts_of_all;

static void check(const char *name, int chunk, enum form kv, uint32_t sequences, uint64_t seed)
{
    static const double temperatures[] = {0, 0.7, 1};
    char *folder = reference_make(name);
    struct run r = {.random = seed};
    struct instance *i;

    start(&i, &r, folder, chunk, kv, sequences);
    make_prompts(&r);
    for (size_t t = 0; t < sizeof temperatures / sizeof *temperatures; t++) {
        say(i, &r, NOTHING, temperatures[t]);
        r.trees = 0;
        say(i, &r, TREES, temperatures[t]);
        if (r.trees) texts_of_all += PROMPTS;
        trees_of_all += r.trees;
        if (t == 1) say(i, &r, WRONG, temperatures[t]);
        if (t == 2) say(i, &r, SAME, temperatures[t]);
    }
    instance_close(i);
    scratch_remove(folder);
}

static int rounds = 1;

static void every_model(void **state)
{
    struct dirent **entry;
    int n = scandir(REFERENCE_MODELS, &entry, NULL, alphasort);

    (void)state;
    assert_true(n > 40);
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;

        for (int k = 0; k < rounds && name[0] != '.' && strcmp(name, "README.md") != 0; k++)
            check(name,
                  (i + k) % 4 == 1   ? 7
                  : (i + k) % 4 == 3 ? 30
                                     : 0,
                  (i + k) % 3 ? FORM_F32 : FORM_BF16, (i + k) % 2 ? PROMPTS : 2, (uint64_t)(i * 100 + k));
        free(entry[i]);
    }
    free(entry);
    print_message("%u random trees in %u texts\n", trees_of_all, texts_of_all);
    assert_true(trees_of_all >= 1000 && texts_of_all >= 200);
}

static const char *const kinds[] = {"llama",      "mistral-window", "gemma3",      "deepseek-v3", "qwen3-moe",
                                    "qwen3-next", "jamba",          "kimi-linear", "gemma4-e2b",  "deepseek-v4",
                                    "falcon-h1",  "lfm2-moe",       "minimax-m3",  "mamba2"};
#define KINDS (sizeof kinds / sizeof *kinds)

/* A sweep for all that was guessed rightly. */
static void right_guesses_save_sweeps(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        char *folder = reference_make(kinds[k]);
        struct run r = {.random = k};
        uint32_t plain, guessed;
        struct instance *i;

        start(&i, &r, folder, 0, FORM_F32, 1);
        make_prompts(&r);
        say(i, &r, NOTHING, 0.7);
        plain = r.swept;
        say(i, &r, RIGHT, 0.7);
        guessed = r.swept - plain;
        assert_true(plain > (TOKENS - 1) * PROMPTS);
        assert_in_range(guessed, 2 * PROMPTS, 3 * PROMPTS); /* its prompt's, and one or two */
        assert_true(instance_times(i)->decode_tokens == 2 * PROMPTS * (TOKENS - 1));
        instance_close(i);
        scratch_remove(folder);
    }
}

static void deaths(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        char *folder = reference_make(kinds[k]);
        struct run r = {.random = k};
        struct instance *i;

        start(&i, &r, folder, k % 2 ? 30 : 0, FORM_F32, k % 3 ? PROMPTS : 2);
        make_prompts(&r);
        say(i, &r, NOTHING, 0.7);
        for (enum moment m = DRAFT; m <= COMMIT; m++) {
            r.moment = m;
            r.after = 2 + (uint32_t)k % 3;
            r.stage = (int)(k + m) % VICTIM_STAGES;
            say(i, &r, m == CHECK ? RIGHT : TREES, 0.7);
            assert_int_equal(r.moment, NEVER);
        }
        instance_close(i);
        scratch_remove(folder);
    }
}

/* ---- sweeps ---- */

/* The first guess on a root, and the first on that, lie where their tokens would; the others do not. What is accepted need not
 * be computed again, and what lies elsewhere must be. */
static void rows_of_guesses(void **state)
{
    static const uint32_t counting[] = {1, 2, 3, 4, 5};
    struct sequence_want want = {.max_tokens = 0};
    struct sequence *q;
    struct sampler *sampler;
    struct kv_rows *k;
    struct sweep s;
    struct error e;
    float logits[100] = {0};
    uint32_t turn = 0, a, b, c, d;

    (void)state;
    assert_int_equal(kv_rows_open(&k, 4 * KV_BLOCK, &e), 0);
    assert_int_equal(sweep_open(&s, 16, 6, &e), 0);
    assert_int_equal(sweep_spare(&s, k, 2, &e), 0);
    assert_int_equal(sampler_open(&sampler, 100, &e), 0);
    assert_int_equal(sequence_open(&q, k, 16, 100, false, &e), 0);
    assert_int_equal(sequence_append(q, counting, 5, &e), 0);
    sequence_ask(q, &want);
    sweep_build(&s, &q, 1, &turn);
    assert_false(s.row[0].root); /* of a prompt */
    sweep_end(&s, true);
    logits[40] = 1;
    assert_int_equal(sequence_take(q, sampler, 4, logits, &e), 0);

    sweep_build(&s, &q, 1, &turn);
    assert_true(s.row[0].root);
    assert_int_equal(sequence_ahead(q), 9);
    assert_true(sweep_guess(&s, 0, 50, &a));
    assert_true(sweep_guess(&s, 0, 51, &b));
    assert_true(sweep_guess(&s, b, 52, &c));
    assert_true(sweep_guess(&s, a, 53, &d));
    assert_int_equal(s.row[a].row, s.row[0].row + 1);
    assert_int_equal(s.row[d].row, s.row[0].row + 2);
    assert_false(s.row[b].own || s.row[c].own);
    assert_int_equal(s.position[s.positions - 1].parent, s.row[a].row);
    assert_false(sweep_guess(&s, c, 54, &b)); /* no row is left */
    assert_int_equal(sweep_child(&s, 0, 51), 2);
    assert_int_equal(sweep_child(&s, 0, 52), SWEEP_NONE);
    assert_int_equal(s.positions, 5);
    assert_int_equal(s.decodes, 5);
    sweep_end(&s, true);
    logits[50] = 2;
    assert_int_equal(sequence_take(q, sampler, 5, logits, &e), 0);
    sequence_accept(q, 6);
    assert_int_equal(sequence_take(q, sampler, 6, logits, &e), 0);
    assert_int_equal(sequence_computed(q), 7);
    assert_int_equal(sequence_take(q, sampler, 7, logits, &e), 0); /* of a row elsewhere */

    sweep_build(&s, &q, 1, &turn);
    assert_int_equal(s.positions, 2);
    assert_int_equal(s.rows, 1);
    assert_true(s.row[0].root);
    assert_int_equal(s.row[0].position, 8);
    sweep_end(&s, false);
    sequence_close(q);
    sampler_close(sampler);
    sweep_close(&s);
    kv_rows_close(k);
}

/* ---- the program ---- */

#define DEMO "tests/data/demo-model"

static json_t *run_demo(const char *speculate, const char *trace)
{
    const char *const ask[] = {"run",         DEMO,      "-p",     "Once upon a time",       "-n",  "120", "-t", "0",
                               "--speculate", speculate, "--json", trace ? "--trace" : NULL, trace, NULL};
    struct process_result r = process_run("sluice", ask, NULL, 0, 30);
    json_t *o;

    if (r.status) fail_msg("%s", r.err);
    o = json_of(r.out);
    process_result_free(&r);
    return o;
}

static void what_a_run_tells(void **state)
{
    char *folder = scratch_make(), trace[512], svg[512];
    json_t *off = run_demo("off", NULL), *some, *automatic = run_demo("auto", NULL), *s;
    const char *const draw[] = {"trace", trace, "--svg", svg, NULL};
    struct process_result r;
    char *drawn;
    FILE *f;

    (void)state;
    snprintf(trace, sizeof trace, "%s", scratch_path(folder, "trace.json"));
    snprintf(svg, sizeof svg, "%s", scratch_path(folder, "trace.svg"));
    some = run_demo("12", trace);
    assert_true(json_equal(json_object_get(off, "text"), json_object_get(some, "text")));
    assert_true(json_equal(json_object_get(off, "text"), json_object_get(automatic, "text")));
    assert_null(json_object_get(off, "speculation"));
    assert_true(json_number_of(off, "tokens_per_sweep") == 1);
    s = json_object_get(some, "speculation");
    assert_true(json_number_of(s, "most") == 12);
    assert_true(json_number_of(s, "nodes") > 0 && json_number_of(s, "draft_seconds") > 0);
    assert_true(json_number_of(s, "tokens_per_sweep") > 1 && json_number_of(s, "predicted_tokens_per_sweep") > 1);
    assert_true(json_number_of(some, "tokens_per_sweep") > 1);
    assert_true(json_array_size(json_object_get(some, "sweeps")) < json_array_size(json_object_get(off, "sweeps")));
    r = process_run("sluice", draw, NULL, 0, 30);
    assert_int_equal(r.status, 0);
    process_result_free(&r);
    f = fopen(svg, "r");
    assert_non_null(f);
    drawn = calloc(1, 1 << 20);
    assert_true(fread(drawn, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    assert_non_null(strstr(drawn, "guesses checked"));
    free(drawn);
    json_decref(off);
    json_decref(some);
    json_decref(automatic);
    scratch_remove(folder);
}

/* In the live line, while it runs: what was expected beside what came. */
static void what_the_live_line_tells(void **state)
{
    static const char *const arg[] = {"run", DEMO,  "-p",           "Once upon a time", "-t", "0",
                                      "-n",  "900", "--ignore-eos", "--speculate",      "12", NULL};
    char *home = scratch_make(), cache[512];
    double came = 0, expected = 0;
    struct terminal t;
    const char *at;

    (void)state;
    snprintf(cache, sizeof cache, "XDG_CACHE_HOME=%s", home);
    t = terminal_start("sluice", arg, (const char *const[]){cache, NULL});
    terminal_wait(&t, " a sweep (");
    terminal_peek(&t, 200);
    at = strstr(t.text, " a sweep (");
    assert_non_null(at);
    while (at > t.text && at[-1] != ' ') at--;
    if (sscanf(at, "%lf a sweep (%lf", &came, &expected) != 2 || came < 1 || expected < 1) fail_msg("%.60s", at);
    assert_int_equal(terminal_end(&t), 0);
    scratch_remove(home);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_guesses),           cmocka_unit_test(every_model),
        cmocka_unit_test(right_guesses_save_sweeps), cmocka_unit_test(deaths),
        cmocka_unit_test(what_a_run_tells),          cmocka_unit_test(what_the_live_line_tells),
    };

    if (argc > 1 && !strcmp(argv[1], "full")) rounds = 12;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

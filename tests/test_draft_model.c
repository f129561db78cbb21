/* A small model that guesses: the text is the plain run's, whatever it says, and whatever becomes of it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/batch/draft_model.h"
#include "coordinator/draft/vocabulary.h"
#include "coordinator/source/source.h"
#include "proto/base/log.h"
#include "tests/support_instance.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_victims.h"

#define TOKENS  24
#define PROMPTS 3
#define GUESSES 16

/* One that a stage of the draft's is sent a signal after so many tokens. */
struct run {
    uint32_t token[PROMPTS][TOKENS], count[PROMPTS];
    uint32_t after;
    int stage, signal;
    pid_t victim;
};

static int on_token(void *arg, uint32_t n, uint32_t token, struct error *e)
{
    struct run *r = arg;

    (void)e;
    r->token[n][r->count[n]++] = token;
    if (r->after && !--r->after) {
        r->victim = victim_last(getpid(), r->stage);
        assert_true(r->victim > 0 && r->victim != victim_find(getpid(), r->stage));
        kill(r->victim, r->signal);
    }
    return 0;
}

static int on_done(void *arg, uint32_t n, const struct generate_result *g, struct error *e)
{
    (void)e;
    assert_int_equal(g->tokens, ((struct run *)arg)->count[n]);
    return 0;
}

static void say(struct instance *i, struct run *r, double temperature)
{
    static uint32_t text[PROMPTS][40];
    static const uint32_t length[PROMPTS] = {3, 40, 17};
    struct generate_prompt prompt[PROMPTS];
    struct sampler_settings s = {.temperature = temperature, .top_p = 1, .repeat_penalty = 1, .seed = 11};
    struct generate_many m = {.prompt = prompt,
                              .prompts = PROMPTS,
                              .each = {.sampling = s, .max_tokens = TOKENS},
                              .token = on_token,
                              .done = on_done,
                              .arg = r};
    struct error e = {0};

    if (temperature > 0.9) {
        m.each.sampling.top_k = 40;
        m.each.sampling.top_p = 0.9;
        m.each.sampling.repeat_penalty = 1.1;
    }
    for (uint32_t n = 0; n < PROMPTS; n++) {
        for (uint32_t k = 0; k < length[n]; k++) text[n][k] = (n * 31 + k * k * 7 + 5) % 270;
        prompt[n] = (struct generate_prompt){text[n], length[n]};
    }
    if (generate_all(i, &m, &e)) fail_msg("%s", e.text);
}

/* draft NULL: none, and no guesses. */
static struct instance *start(struct options *o, const char *folder, const char *draft, uint32_t sequences)
{
    struct instance_load load = {.sequences = sequences, .prompt_tokens = 40, .all_tokens = 60};
    struct instance *i;
    struct error e = {0};

    *o = option_defaults;
    o->model = folder;
    o->draft = draft;
    o->speculate = draft ? GUESSES : 0;
    o->quiet = o->ignore_eos = true;
    o->threads = 2;
    o->context = 80;
    if (support_start(&i, o, &load, &e)) fail_msg("%s beside %s: %s", draft ? draft : "nothing", folder, e.text);
    return i;
}

static void compare(const char *name, const struct run *plain, const struct run *r)
{
    for (uint32_t n = 0; n < PROMPTS; n++)
        for (uint32_t k = 0; k < TOKENS; k++)
            if (plain->token[n][k] != r->token[n][k]) fail_msg("%s: prompt %u, token %u is another", name, n, k);
}

static struct drafter_stats stats_of(const struct instance *i)
{
    struct drafter_stats s;

    assert_true(instance_guessing(i, &s));
    return s;
}

static const struct {
    const char *model, *draft;
} pairs[] = {{"llama", "gemma3"},           {"mistral-window", "llama"}, {"gemma3", "deepseek-v3"},
             {"deepseek-v3", "qwen3-moe"},  {"qwen3-moe", "llama"},      {"qwen3-next", "mistral-window"},
             {"gpt-oss", "mistral-window"}, {"llama", "qwen3-next"},     {"gemma3", "mamba2"},
             {"mistral-window", "lfm2"},    {"qwen3-next", "jamba"},     {"kimi-linear", "falcon-h1"}};
#define PAIRS (sizeof pairs / sizeof *pairs)

/* One that knows nothing of the model: nearly always wrong. */
static void others_as_drafts(void **state)
{
    (void)state;
    for (size_t k = 0; k < PAIRS; k++) {
        char *folder = reference_make(pairs[k].model), *draft = reference_make(pairs[k].draft);
        double temperature = (double)(k % 3) / 2;
        struct run plain = {0}, guessed = {0};
        struct options o;
        struct instance *i = start(&o, folder, NULL, 1);

        say(i, &plain, temperature);
        instance_close(i);
        i = start(&o, folder, draft, k % 2 ? PROMPTS : 1);
        say(i, &guessed, temperature);
        assert_true(stats_of(i).steps > 0);
        assert_true(neural_works(draft_model_neural(instance_small(i))));
        instance_close(i);
        compare(pairs[k].model, &plain, &guessed);
        scratch_remove(folder);
        scratch_remove(draft);
    }
}

/* Its own equal: hardly ever wrong, sampled too, so that a sweep gives many tokens. */
static void its_own_draft(void **state)
{
    static const char *const names[] = {"llama", "mistral-window", "deepseek-v3", "qwen3-next", "mamba2", "lfm2-moe"};
    const size_t count = sizeof names / sizeof *names;

    (void)state;
    for (size_t k = 0; k < 2 * count; k++) {
        double temperature = k < count ? 0 : 1;
        char *folder = reference_make(names[k % count]);
        struct run plain = {0}, guessed = {0};
        struct options o;
        struct instance *i = start(&o, folder, NULL, 1);
        struct drafter_stats s;

        say(i, &plain, temperature);
        instance_close(i);
        i = start(&o, folder, folder, k % 2 ? PROMPTS : 1);
        say(i, &guessed, temperature);
        s = stats_of(i);
        assert_true(neural_works(draft_model_neural(instance_small(i))));
        instance_close(i);
        compare(names[k % count], &plain, &guessed);
        if (s.tokens < 6 * s.sweeps)
            fail_msg("%s: %llu tokens in %llu sweeps", names[k % count], (unsigned long long)s.tokens,
                     (unsigned long long)s.sweeps);
        assert_true(s.hits_neural > s.tokens / 2);
        scratch_remove(folder);
    }
}

static void count_line(void *arg, const char *line, size_t bytes)
{
    static const char words[] = "the draft model";

    if (memmem(line, bytes, words, sizeof words - 1)) ++*(uint32_t *)arg;
}

static void deaths(void **state)
{
    static const char *const names[VICTIM_STAGES] = {"llama", "llama", "qwen3-next"};

    (void)state;
    for (int stage = 0; stage < VICTIM_STAGES; stage++) {
        char *folder = reference_make(names[stage]);
        struct run plain = {0}, killed = {.after = 9, .stage = stage, .signal = stage == 1 ? SIGSTOP : SIGKILL};
        struct options o;
        struct instance *i = start(&o, folder, NULL, PROMPTS);
        uint32_t told = 0;

        say(i, &plain, 0.7);
        instance_close(i);
        log_divert(count_line, &told);
        i = start(&o, folder, folder, PROMPTS);
        say(i, &killed, 0.7);
        log_divert(NULL, NULL);
        assert_int_equal(told, 1);
        assert_int_equal(killed.after, 0);
        assert_false(neural_works(draft_model_neural(instance_small(i))));
        assert_true(victim_gone(killed.victim));
        assert_true(victim_find(getpid(), 0) > 0);
        instance_close(i);
        compare(names[stage], &plain, &killed);
        scratch_remove(folder);
    }
}

/* A text that is longer than what the draft can take goes on without it, and that is said once; shorter ones have its guesses. */
static void texts_longer_than_its_context(void **state)
{
    char *folder = reference_make("llama"), *draft = reference_make("llama");
    json_t *config = reference_config("llama");
    struct run plain = {0}, guessed = {0};
    struct options o;
    struct instance *i = start(&o, folder, NULL, 1);
    uint32_t told = 0;

    (void)state;
    json_object_set_new(config, "max_position_embeddings", json_integer(30));
    scratch_write_json(draft, "config.json", config);
    say(i, &plain, 0.7);
    instance_close(i);
    log_divert(count_line, &told);
    i = start(&o, folder, draft, 1);
    say(i, &guessed, 0.7);
    log_divert(NULL, NULL);
    assert_int_equal(told, 1);
    assert_true(neural_works(draft_model_neural(instance_small(i))));
    assert_true(stats_of(i).hits_neural > 0);
    instance_close(i);
    compare("llama", &plain, &guessed);
    scratch_remove(folder);
    scratch_remove(draft);
}

/* ---- what is refused ---- */

static struct tokenizer *tokenizer_of(const char *name)
{
    struct tokenizer *t;
    char path[128];
    struct error e;

    snprintf(path, sizeof path, "tests/data/tokenizers/%s", name);
    if (tokenizer_open(&t, path, &e)) fail_msg("%s", e.text);
    return t;
}

static void tokens_are_compared(void **state)
{
    struct tokenizer *a = tokenizer_of("llama2"), *b = tokenizer_of("llama2-noprefix"), *c = tokenizer_of("gpt2"),
                     *d = tokenizer_of("qwen2");
    struct error e = {0};

    (void)state;
    assert_int_equal(vocabulary_compare(&(struct vocabulary){a, "A"}, &(struct vocabulary){b, "B"}, &e), 0);
    assert_true(vocabulary_compare(&(struct vocabulary){a, "A"}, &(struct vocabulary){c, "C"}, &e) < 0);
    assert_true(vocabulary_compare(&(struct vocabulary){c, "C"}, &(struct vocabulary){d, "D"}, &e) < 0);
    print_message("%s\n", e.text);
    tokenizer_close(a);
    tokenizer_close(b);
    tokenizer_close(c);
    tokenizer_close(d);
}

/* The tokens of a vocabulary of words; one of them is changed. */
static void the_first_that_differs(void **state)
{
    char *folder = reference_make_whole("llama"), *other = reference_make_whole("llama"), want[64];
    const char *const arg[] = {"run", folder, "-p", "a", "-n", "3", "--draft", other, "--speculate", "8", NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, 30);
    json_t *o, *vocab, *id = NULL;
    const char *word = NULL, *key;
    json_t *value;

    (void)state;
    if (r.status) fail_msg("%s", r.err);
    process_result_free(&r);
    o = json_load_file(scratch_path(other, "tokenizer.json"), 0, NULL);
    vocab = json_object_get(json_object_get(o, "model"), "vocab");
    json_object_foreach(vocab, key, value) if (json_integer_value(value) == 77)
    {
        word = key;
        id = value;
    }
    assert_non_null(word);
    json_incref(id);
    json_object_set(vocab, "quite-another", id);
    json_object_del(vocab, word);
    json_decref(id);
    scratch_write_json(other, "tokenizer.json", o);
    r = process_run("sluice", arg, NULL, 0, 30);
    assert_int_equal(r.status, 1);
    snprintf(want, sizeof want, "token 77 is ' quite-another' in ");
    if (!strstr(r.err, want) || !strstr(r.err, "--draft")) fail_msg("%s", r.err);
    process_result_free(&r);
    scratch_remove(folder);
    scratch_remove(other);
}

static void expect(const char *const *arg, int status, const char *words)
{
    struct process_result r = process_run("sluice", arg, NULL, 0, 30);

    if (r.status != status || !strstr(r.err, words)) fail_msg("status %d: %s", r.status, r.err);
    process_result_free(&r);
}

#define DEMO "tests/data/demo-model"

static void what_is_refused(void **state)
{
    char *llama = reference_make_whole("llama"), memory[32];
    struct process_result r;
    unsigned long long need = 0;
    const char *at;

    (void)state;
    expect((const char *const[]){"run", DEMO, "-p", "a", "--draft", DEMO, "--speculate", "off", NULL}, 2, "--draft");
    expect((const char *const[]){"run", DEMO, "-p", "a", "--draft-memory", "1G", NULL}, 2, "--draft-memory");
    expect((const char *const[]){"run", DEMO, "-p", "a", "--draft", "no/such/model", NULL}, 1, "no/such/model");
    expect((const char *const[]){"run", DEMO, "-p", "a", "--draft", llama, NULL}, 1, "a draft needs the same");
    r = process_run(
        "sluice",
        (const char *const[]){"run", DEMO, "-p", "a", "-n", "3", "--draft", DEMO, "--draft-memory", "1M", NULL}, NULL,
        0, 30);
    assert_int_equal(r.status, 1);
    at = strstr(r.err, " takes ");
    if (!at || sscanf(at, " takes %lluM", &need) != 1) fail_msg("%s", r.err);
    process_result_free(&r);
    snprintf(memory, sizeof memory, "%lluM", need);
    expect((const char *const[]){"run", DEMO, "-p", "a", "-n", "3", "--draft", DEMO, "--draft-memory", memory, NULL}, 0,
           "");
    scratch_remove(llama);
}

/* ---- what is told ---- */

static json_t *run_demo(const char *draft, const char *draft_path)
{
    const char *const arg[] = {"run",    DEMO, "-p",     "Once upon a time", "-n", "100", "-t",       "0.7",
                               "--seed", "3",  "--json", "--speculate",      "24", draft, draft_path, NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, 60);
    json_t *o;

    if (r.status) fail_msg("%s", r.err);
    o = json_of(r.out);
    process_result_free(&r);
    return o;
}

static void what_a_run_tells(void **state)
{
    json_t *plain = run_demo(NULL, NULL), *o = run_demo("--draft", DEMO), *s = json_object_get(o, "speculation"),
           *d = json_object_get(s, "draft");
    struct process_result r =
        process_run("sluice", (const char *const[]){"plan", DEMO, "--draft", DEMO, "--json", NULL}, NULL, 0, 30);
    json_t *plan;

    (void)state;
    assert_true(json_equal(json_object_get(plain, "text"), json_object_get(o, "text")));
    assert_null(json_object_get(json_object_get(plain, "speculation"), "draft"));
    assert_true(json_is_true(json_object_get(d, "works")));
    assert_true(json_number_of(d, "steps") > 0 && json_number_of(d, "positions") > json_number_of(d, "steps") &&
                json_number_of(d, "seconds") > 0);
    assert_true(json_number_of(json_object_get(s, "hits"), "draft") > 50);
    assert_true(json_number_of(s, "tokens_per_sweep") > 8);
    assert_true(json_number_of(s, "draft_seconds") >= json_number_of(d, "seconds"));
    if (r.status) fail_msg("%s", r.err);
    plan = json_of(r.out);
    d = json_object_get(json_object_get(plan, "speculation"), "draft");
    assert_true(json_number_of(d, "bytes") > 1e6 && json_number_of(d, "seconds_per_step") > 0);
    assert_int_equal(json_array_size(json_object_get(d, "tokens_per_sweep")), 2);
    process_result_free(&r);
    json_decref(plain);
    json_decref(o);
    json_decref(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_as_drafts),
        cmocka_unit_test(its_own_draft),
        cmocka_unit_test(deaths),
        cmocka_unit_test(texts_longer_than_its_context),
        cmocka_unit_test(tokens_are_compared),
        cmocka_unit_test(the_first_that_differs),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(what_a_run_tells),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

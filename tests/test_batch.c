/* Rows, sequences and sweeps by themselves; then whole models: what several sequences say together is what each says alone,
 * whatever shares its sweeps, forks from it, or dies. */
#include <errno.h>
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/batch/sweep.h"
#include "tests/support_instance.h"
#include "tests/support_model.h"
#include "tests/support_victims.h"

/* ---- rows ---- */

static void blocks_follow_each_other(void **state)
{
    struct kv_rows *k;
    struct error e;
    uint32_t a, b, c;

    (void)state;
    assert_int_equal(kv_rows_open(&k, 5 * KV_BLOCK + 7, &e), 0);
    a = kv_rows_take(k, KV_NONE);
    b = kv_rows_take(k, a);
    c = kv_rows_take(k, KV_NONE);
    assert_int_equal(a, 0);
    assert_int_equal(b, 1);
    assert_int_equal(c, 2);
    kv_rows_share(k, b);
    kv_rows_release(k, b);
    assert_int_equal(kv_rows_free(k), 2 * KV_BLOCK + 7); /* still held */
    kv_rows_release(k, b);
    assert_int_equal(kv_rows_free(k), 3 * KV_BLOCK + 7);
    assert_int_equal(kv_rows_take(k, KV_NONE), 3); /* the longest stretch, not the first block */
    assert_int_equal(kv_rows_take(k, 3), 4);
    assert_int_equal(kv_rows_size(k, 5), 7);
    assert_int_equal(kv_rows_take(k, 4), 5);
    assert_int_equal(kv_rows_take(k, 5), 1);
    assert_int_equal(kv_rows_take(k, 1), KV_NONE);
    assert_int_equal(kv_rows_free(k), 0);
    kv_rows_close(k);
}

#define VOCAB 100

static const uint32_t counting[512] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

static struct sequence *new_sequence(struct kv_rows *k, uint32_t limit, uint32_t tokens)
{
    struct sequence_want want = {.max_tokens = 0};
    struct sequence *q;
    struct error e;

    if (sequence_open(&q, k, limit, VOCAB, false, &e) || sequence_append(q, counting, tokens, &e))
        fail_msg("%s", e.text);
    sequence_ask(q, &want);
    return q;
}

static void room_is_reserved(void **state)
{
    struct kv_rows *k;
    struct sequence *a, *b, *c;
    struct error e;

    (void)state;
    assert_int_equal(kv_rows_open(&k, 4 * KV_BLOCK, &e), 0);
    a = new_sequence(k, 2 * KV_BLOCK + 1, 3);
    assert_int_equal(sequence_open(&c, k, KV_BLOCK + 1, VOCAB, false, &e), -ENOSPC);
    assert_int_equal(kv_rows_free(k), KV_BLOCK); /* nothing was kept */
    b = new_sequence(k, KV_BLOCK, 3);
    assert_int_equal(sequence_append(a, counting, 2 * KV_BLOCK - 1, &e), -E2BIG);
    assert_int_equal(sequence_count(a), 3);
    assert_int_equal(sequence_append(a, &(uint32_t){VOCAB}, 1, &e), -EINVAL);
    sequence_close(a);
    assert_int_equal(kv_rows_free(k), 3 * KV_BLOCK);
    sequence_close(b);
    kv_rows_close(k);
}

/* ---- sweeps ---- */

static uint32_t span_of(const struct sweep *s, const struct sequence *q)
{
    for (uint32_t i = 0; i < s->spans; i++)
        if (s->span[i].sequence == q) return s->span[i].count;
    return 0;
}

static void single_tokens_come_first_and_chunks_share(void **state)
{
    struct kv_rows *k;
    struct sequence *q[4];
    struct sweep s;
    struct error e;
    uint32_t turn = 0, had[4] = {0};

    (void)state;
    assert_int_equal(kv_rows_open(&k, 4096, &e), 0);
    assert_int_equal(sweep_open(&s, 64, 8, &e), 0);
    q[0] = new_sequence(k, 512, 300);
    q[1] = new_sequence(k, 512, 1);
    q[2] = new_sequence(k, 512, 10);
    q[3] = new_sequence(k, 512, 200);
    sweep_build(&s, q, 4, &turn);
    assert_int_equal(s.positions, 64);
    assert_int_equal(span_of(&s, q[1]), 1);
    assert_int_equal(span_of(&s, q[2]), 10);
    assert_int_equal(span_of(&s, q[0]), 21);
    assert_int_equal(span_of(&s, q[3]), 32);
    assert_int_equal(s.rows, 2);
    assert_int_equal(s.position[0].flags, POSITION_LOGITS); /* the single one */
    sweep_end(&s, true);
    for (int i = 0; i < 4; i++) had[i] = sequence_computed(q[i]);
    assert_int_equal(had[0], 21);
    assert_int_equal(had[1], 1);
    for (uint32_t i = 0; i < s.positions; i++) /* every one follows its parent */
        assert_true(s.position[i].position ? s.position[i].parent == s.position[i].row - 1
                                           : s.position[i].parent == ROW_NONE);
    sweep_build(&s, q, 4, &turn);
    sweep_end(&s, false); /* it failed: nothing moved */
    for (int i = 0; i < 4; i++) assert_int_equal(sequence_computed(q[i]) >= had[i] - 1, 1);
    for (int i = 0; i < 4; i++) sequence_close(q[i]);
    sweep_close(&s);
    kv_rows_close(k);
}

/* More of them than a sweep holds: nobody is left out twice in a row. */
static void all_get_their_turn(void **state)
{
    struct kv_rows *k;
    struct sequence *q[10];
    struct sweep s;
    struct error e;
    uint32_t turn = 0, served[10] = {0}, least = UINT32_MAX, most = 0;

    (void)state;
    assert_int_equal(kv_rows_open(&k, 4096, &e), 0);
    assert_int_equal(sweep_open(&s, 4, 3, &e), 0);
    for (int i = 0; i < 10; i++) q[i] = new_sequence(k, 64, 1);
    for (int round = 0; round < 100; round++) {
        sweep_build(&s, q, 10, &turn);
        assert_int_equal(s.positions, 3); /* rows of logits bind */
        for (int i = 0; i < 10; i++) served[i] += span_of(&s, q[i]);
        sweep_end(&s, false);
    }
    for (int i = 0; i < 10; i++) {
        least = served[i] < least ? served[i] : least;
        most = served[i] > most ? served[i] : most;
        sequence_close(q[i]);
    }
    assert_true(most - least <= 1);
    sweep_close(&s);
    kv_rows_close(k);
}

/* A fork reads the rows of what it shares; after a loss those are written by one of the two and waited for by the other. */
static void forks_share_rows(void **state)
{
    struct kv_rows *k;
    struct sequence *q[2];
    struct sequence_want want = {.max_tokens = 0};
    struct sweep s;
    struct error e;
    uint32_t turn = 0, row;

    (void)state;
    assert_int_equal(kv_rows_open(&k, 8 * KV_BLOCK, &e), 0);
    assert_int_equal(sweep_open(&s, 512, 8, &e), 0);
    q[0] = new_sequence(k, 4 * KV_BLOCK, 100);
    sweep_build(&s, q, 1, &turn);
    sweep_end(&s, true);
    assert_int_equal(sequence_fork(&q[1], q[0], 90, 2 * KV_BLOCK, &e), 0);
    sequence_ask(q[1], &want);
    assert_int_equal(sequence_computed(q[1]), 89); /* the last one's logits are wanted: its row is its own */
    assert_int_equal(sequence_row(q[1], 88), sequence_row(q[0], 88));
    assert_int_equal(kv_rows_free(k), 3 * KV_BLOCK);
    sweep_build(&s, q, 2, &turn);
    assert_int_equal(span_of(&s, q[1]), 1);
    assert_int_equal(s.position[1].parent, sequence_row(q[0], 88));
    sweep_end(&s, true);

    kv_rows_forget(k);
    sweep_build(&s, q, 2, &turn);
    for (uint32_t i = 0; i < s.positions; i++)
        for (uint32_t j = 0; j < i; j++) assert_int_not_equal(s.position[i].row, s.position[j].row);
    assert_int_equal(span_of(&s, q[turn % 2]) + span_of(&s, q[1 - turn % 2]), s.positions);
    assert_true(s.positions == 100 || s.positions == 90);
    sweep_end(&s, true);
    sweep_build(&s, q, 2, &turn);
    assert_true(s.positions <= 12);
    sweep_end(&s, true);

    /* what the fork sees is not written again by who goes another way */
    row = sequence_row(q[0], 50);
    assert_int_equal(sequence_truncate(q[0], 50, &e), 0);
    assert_int_equal(sequence_append(q[0], counting, 3, &e), 0);
    sequence_ask(q[0], &want);
    sweep_build(&s, q, 1, &turn);
    assert_int_equal(span_of(&s, q[0]), 3);
    assert_int_not_equal(sequence_row(q[0], 50), row);
    assert_int_equal(sequence_row(q[1], 50), row);
    sweep_end(&s, true);
    sequence_close(q[0]);
    sequence_close(q[1]);
    assert_int_equal(kv_rows_free(k), 8 * KV_BLOCK);
    sweep_close(&s);
    kv_rows_close(k);
}

/* Only even tokens, and after the second any. */
static int even_twice(void *arg, const uint32_t *made, uint32_t n, const uint64_t **bits, struct error *e)
{
    static const uint64_t even[(VOCAB + 63) / 64] = {UINT64_C(0x5555555555555555), UINT64_C(0x5555555555555555)};

    assert_ptr_equal(arg, counting);
    for (uint32_t i = 0; i < n && i < 2; i++) assert_int_equal(made[i] % 2, 0);
    if (n == 3) return error_set(e, EINVAL, "three tokens are enough");
    *bits = n < 2 ? even : NULL;
    return 0;
}

/* A mask is asked with the tokens since the prompt, before each choice; its error is the choice's. */
static void a_mask_is_obeyed(void **state)
{
    struct sequence_want want = {
        .sampling = {.top_p = 1, .repeat_penalty = 1}, .mask = even_twice, .mask_arg = (void *)(uintptr_t)counting};
    struct kv_rows *k;
    struct sampler *sampler;
    struct sequence *q;
    struct error e = {0};
    float logits[VOCAB] = {[7] = 9, [51] = 8, [52] = 3, [98] = 2};

    (void)state;
    assert_int_equal(kv_rows_open(&k, 4 * KV_BLOCK, &e), 0);
    assert_int_equal(sampler_open(&sampler, VOCAB, &e), 0);
    q = new_sequence(k, 64, 5);
    sequence_ask(q, &want);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(sequence_take(q, sampler, 4 + i, logits, &e), 0);
    assert_int_equal(sequence_take(q, sampler, 7, logits, &e), -EINVAL);
    assert_non_null(strstr(e.text, "three tokens"));
    assert_int_equal(sequence_tokens(q)[5], 52);
    assert_int_equal(sequence_tokens(q)[6], 52);
    assert_int_equal(sequence_tokens(q)[7], 7);
    assert_int_equal(sequence_count(q), 8);
    sequence_close(q);
    sampler_close(sampler);
    kv_rows_close(k);
}

/* ---- models ---- */

#define PROMPTS 5
#define TOKENS  12

static uint32_t text[PROMPTS][24];
static struct generate_prompt prompt[PROMPTS];

static void make_prompts(uint32_t vocab)
{
    static const uint32_t length[PROMPTS] = {3, 17, 1, 24, 9};

    for (uint32_t n = 0; n < PROMPTS; n++) {
        for (uint32_t i = 0; i < length[n]; i++) text[n][i] = (n * 31 + i * i * 7 + 5) % vocab;
        prompt[n] = (struct generate_prompt){text[n], length[n]};
    }
}

struct said {
    uint32_t token[PROMPTS][TOKENS], count[PROMPTS];
    uint32_t blow; /* a stage is killed after so many tokens of all, 0: none */
    uint32_t all, killed;
};

static void kill_stage(int stage)
{
    pid_t pid = victim_wait(getpid(), stage % VICTIM_STAGES, 5000);

    assert_true(pid > 0);
    kill(pid, SIGKILL);
}

static int on_token(void *arg, uint32_t n, uint32_t token, struct error *e)
{
    struct said *s = arg;

    (void)e;
    assert_true(s->count[n] < TOKENS);
    s->token[n][s->count[n]++] = token;
    if (++s->all == s->blow) kill_stage((int)s->killed++);
    return 0;
}

static int on_done(void *arg, uint32_t n, const struct generate_result *r, struct error *e)
{
    const struct said *s = arg;

    (void)e;
    assert_int_equal(r->tokens, TOKENS);
    assert_int_equal(r->prompt_tokens, prompt[n].tokens);
    assert_int_equal(s->count[n], TOKENS);
    return 0;
}

static struct options options_of(const char *folder)
{
    struct options o = option_defaults;

    o.model = folder;
    o.quiet = true;
    o.temperature = 0.8;
    o.seed = 11;
    o.has_seed = true;
    o.threads = 2;
    o.ignore_eos = true;
    o.context = 64;
    return o;
}

/* One after the other, or all together. */
static void say(struct instance *i, bool together, struct said *s)
{
    struct generate_many m = {
        .each = {.sampling = instance_sampling(i), .max_tokens = TOKENS}, .token = on_token, .done = on_done, .arg = s};
    struct error e = {0};

    s->all = 0;
    memset(s->count, 0, sizeof s->count);
    for (uint32_t n = 0; n < PROMPTS && !together; n++) {
        if (support_tokens(i, prompt[n].token, prompt[n].tokens, s->token[n], TOKENS, &e)) fail_msg("%s", e.text);
    }
    if (!together) return;
    m.prompt = prompt;
    m.prompts = PROMPTS;
    if (generate_all(i, &m, &e)) fail_msg("%s", e.text);
}

static uint32_t vocab_of(const char *name)
{
    struct golden g = golden_load(name);
    uint32_t vocab = g.vocab;

    golden_free(&g);
    return vocab;
}

static void check_together(const char *name, uint32_t sequences, int chunk, enum form kv, uint32_t blow)
{
    char *folder = reference_make(name);
    struct options o = options_of(folder);
    struct instance_load load = {.sequences = sequences, .prompt_tokens = 24, .all_tokens = 54};
    struct said alone = {.blow = 0}, together = {.blow = blow};
    struct instance *i;
    struct error e = {0};

    o.batch_tokens = chunk;
    o.kv_form = kv;
    make_prompts(vocab_of(name));
    if (support_start(&i, &o, &load, &e)) fail_msg("%s: %s", name, e.text);
    say(i, false, &alone);
    say(i, true, &together);
    if (memcmp(alone.token, together.token, sizeof alone.token))
        fail_msg("%s, %u at once, chunk %d: an answer is not the one of its lone run", name, sequences, chunk);
    assert_int_equal(together.killed, blow != 0);
    instance_close(i);
    scratch_remove(folder);
}

/* Every reference model: all at once, then fewer at once than there are prompts, in small chunks. */
static void together_as_alone(void **state)
{
    struct dirent **entry;
    int n = scandir(REFERENCE_MODELS, &entry, NULL, alphasort);

    (void)state;
    assert_true(n > 40);
    for (int i = 0; i < n; i++) {
        if (entry[i]->d_name[0] != '.' && strcmp(entry[i]->d_name, "README.md")) {
            check_together(entry[i]->d_name, PROMPTS, 0, FORM_F32, 0);
            if (i % 5 == 0) check_together(entry[i]->d_name, 2, 4, FORM_BF16, 0);
        }
        free(entry[i]);
    }
    free(entry);
}

static const char *const kinds[] = {"llama",   "mistral-window", "deepseek-v3", "qwen3-moe",   "qwen3-next",
                                    "qwen3.5", "mamba2",         "jamba",       "kimi-linear", "deepseek-v4"};
#define KINDS (sizeof kinds / sizeof *kinds)

static void killed_in_the_middle(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++)
        check_together(kinds[i], i % 2 ? PROMPTS : 3, i % 3 ? 0 : 7, FORM_F32, 9 + (uint32_t)i * 5);
}

/* The tokens that follow after a fork are those of a sequence of its own. */
static void forks_go_their_own_way(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        char *folder = reference_make(kinds[k]);
        struct options o = options_of(folder);
        struct instance_load load = {.sequences = 3, .prompt_tokens = 24};
        uint32_t both[24 + 6], alone[TOKENS], forked[TOKENS], parent[TOKENS], again[TOKENS];
        struct generate_config c;
        struct generate_result r;
        struct sequence *q, *f;
        struct instance *i;
        struct error e = {0};

        make_prompts(vocab_of(kinds[k]));
        memcpy(both, text[3], 20 * sizeof *both);
        memcpy(both + 20, text[1], 6 * sizeof *both);
        if (support_start(&i, &o, &load, &e)) fail_msg("%s: %s", kinds[k], e.text);
        assert_int_equal(support_tokens(i, both, 26, alone, TOKENS, &e), 0);
        assert_int_equal(support_tokens(i, text[3], 24, parent, TOKENS, &e), 0);

        c = (struct generate_config){.sampling = instance_sampling(i), .max_tokens = TOKENS / 2};
        assert_int_equal(scheduler_sequence(instance_scheduler(i), &q, 64, &e), 0);
        assert_int_equal(sequence_append(q, text[3], 24, &e), 0);
        assert_int_equal(generate(i, q, &c, &r, &e), 0);
        if (sequence_fork(&f, q, 20, 64, &e)) fail_msg("%s", e.text);
        assert_int_equal(sequence_append(f, text[1], 6, &e), 0);
        c.max_tokens = TOKENS;
        assert_int_equal(generate(i, f, &c, &r, &e), 0);
        memcpy(forked, sequence_tokens(f) + 26, sizeof forked);
        assert_memory_equal(forked, alone, sizeof alone);
        c.max_tokens = TOKENS - TOKENS / 2; /* the first one goes on */
        assert_int_equal(generate(i, q, &c, &r, &e), 0);
        memcpy(again, sequence_tokens(q) + 24, sizeof again);
        assert_memory_equal(again, parent, sizeof parent);
        sequence_close(q); /* whose rows the fork still sees */
        if (sequence_truncate(f, 26, &e)) fail_msg("%s", e.text);
        assert_int_equal(generate(i, f, &c, &r, &e), 0);
        assert_memory_equal(sequence_tokens(f) + 26, alone, (TOKENS - TOKENS / 2) * sizeof *alone);
        sequence_close(f);
        instance_close(i);
        scratch_remove(folder);
    }
}

/* ---- deaths while rows are computed again ---- */

struct deaths {
    uint32_t begun, rows;
    bool kills, armed;
    float *kept; /* the first number of each row */
};

static int on_row(void *arg, const float *logits, struct error *e)
{
    struct deaths *d = arg;

    (void)e;
    d->kept[d->rows] = logits[d->rows];
    if (++d->rows == 2 && d->kills) {
        d->armed = true;
        kill_stage(2);
    }
    return 0;
}

static void on_sweep(void *arg, const struct batch_progress *p)
{
    struct deaths *d = arg;

    (void)p;
    /* the first sweep after the death computes again what was known: another stage dies in it */
    if (d->armed && d->begun++ == 1) kill_stage(0);
}

static void a_death_during_replay(void **state)
{
    static const uint32_t positions[] = {0, 5, 10, 15, 23};
    char *folder = reference_make("llama");
    struct options o = options_of(folder);
    struct instance_load load = {.prompt_tokens = 24, .max_logits = 1};
    float disturbed[5], plain[5];
    struct deaths d = {.kept = disturbed, .kills = true}, quiet = {.kept = plain};
    struct batch_observer observer = {.arg = &d, .sweep = on_sweep};
    struct instance_config c = {.options = &o, .prompt_tokens = 24, .observer = &observer};
    struct instance *i;
    struct error e = {0};

    (void)state;
    o.batch_tokens = 4;
    make_prompts(vocab_of("llama"));
    if (instance_load(&i, &c, &e) || instance_start(i, &load, &e)) fail_msg("%s", e.text);
    if (logits_at(i, text[3], 24, positions, 5, on_row, &d, &e)) fail_msg("%s", e.text);
    assert_int_equal(d.rows, 5); /* each once */
    assert_true(d.begun > 1);
    if (logits_at(i, text[3], 24, positions, 5, on_row, &quiet, &e)) fail_msg("%s", e.text);
    assert_memory_equal(disturbed, plain, sizeof plain);
    instance_close(i);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_follow_each_other),
        cmocka_unit_test(room_is_reserved),
        cmocka_unit_test(single_tokens_come_first_and_chunks_share),
        cmocka_unit_test(all_get_their_turn),
        cmocka_unit_test(forks_share_rows),
        cmocka_unit_test(a_mask_is_obeyed),
        cmocka_unit_test(together_as_alone),
        cmocka_unit_test(killed_in_the_middle),
        cmocka_unit_test(forks_go_their_own_way),
        cmocka_unit_test(a_death_during_replay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

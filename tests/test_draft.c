/* Drafters by themselves: what followed before is found again, probabilities are right on average, trees are as large as they
 * pay, and memory is what was planned. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coordinator/draft/blend.h"
#include "coordinator/draft/drafter.h"
#include "coordinator/draft/history.h"
#include "coordinator/plan/cost.h"

#define VOCAB 64

static uint64_t seed;

static uint32_t below(uint32_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % n);
}

static const struct sampler_settings greedy = {.temperature = 0, .top_p = 1, .repeat_penalty = 1};

static struct guess_root root(const uint32_t *token, uint32_t count, uint32_t number)
{
    return (struct guess_root){
        .token = token, .count = count, .prompt = 1, .number = number, .most = 100, .sampling = &greedy};
}

/* ---- n-grams ---- */

static double p_of(const struct ngrams *g, const uint32_t *end, uint32_t known, uint32_t token)
{
    struct ngram_guess list[24];
    uint32_t order, n = ngrams_guess(g, (struct ngram_context){end, known}, list, 24, &order);
    double sum = 0, p = 0;

    for (uint32_t i = 0; i < n; i++) {
        sum += list[i].p;
        if (list[i].token == token) p = list[i].p;
        for (uint32_t j = 0; j < i; j++) assert_int_not_equal(list[i].token, list[j].token); /* exclusion */
    }
    assert_true(sum <= 1.0001);
    return p;
}

static void what_followed_is_found(void **state)
{
    uint32_t text[120];
    struct history *h;
    struct guess_root r;
    struct error e;

    (void)state;
    assert_int_equal(history_open(&h, 100, &e), 0);
    for (uint32_t i = 0; i < 120; i++) text[i] = i < 60 ? i : i - 60; /* said twice */
    r = root(text, 80, 1);
    history_meet(h, &r);
    assert_true(p_of(history_ngrams(h), text + 80, 80, 20) > 0.8);
    assert_true(p_of(history_ngrams(h), text + 80, 80, 21) < 0.2);
    assert_true(p_of(history_ngrams(h), text + 80, 1, 20) > 0.2); /* less is known of a shorter context */
    /* the last token has never been followed by this one */
    assert_true(p_of(history_ngrams(h), (const uint32_t[]){5, 60} + 2, 2, 6) == 0);
    r = root(text, 120, 1); /* it goes on */
    history_meet(h, &r);
    assert_true(p_of(history_ngrams(h), text + 120, 30, 0) > 0.5);
    history_close(h);
}

/* After a token that was changed in a copy, the copy goes on: also where that token was never met, or always elsewhere. */
static void a_copy_goes_on_after_a_change(void **state)
{
    uint32_t text[108];
    struct history *h;
    struct guess_root r;
    struct error e;

    (void)state;
    assert_int_equal(history_open(&h, 100, &e), 0);
    for (uint32_t i = 0; i < 108; i++) text[i] = i < 60 ? i : i < 100 ? i - 60 : i - 61;
    r = root(text, 100, 1);
    history_meet(h, &r);
    text[100] = 900; /* in the place of 40 */
    assert_true(p_of(history_ngrams(h), text + 101, 101, 41) > 0.3);
    text[100] = 3;
    assert_true(p_of(history_ngrams(h), text + 101, 101, 41) > 0.1);
    assert_true(p_of(history_ngrams(h), text + 101, 101, 4) > 0.1); /* what always follows it */
    text[97] = 901;                                                 /* too few tokens before it are as they were */
    assert_true(p_of(history_ngrams(h), text + 101, 101, 41) == 0);
    history_close(h);
}

/* Texts that grow side by side, one token of each in turn, are texts nonetheless; one that begins as another did shares it. */
static void texts_side_by_side(void **state)
{
    uint32_t a[200], b[200];
    struct history *h;
    struct error e;

    (void)state;
    assert_int_equal(history_open(&h, 100, &e), 0);
    for (uint32_t i = 0; i < 200; i++) {
        a[i] = 1000 + i;
        b[i] = 2000 + i;
    }
    for (uint32_t i = 1; i < 100; i++) {
        struct guess_root x = root(a, i, 1), y = root(b, i, 2);

        history_meet(h, &x);
        history_meet(h, &y);
    }
    assert_true(p_of(history_ngrams(h), a + 40, 32, 1040) > 0.8);
    assert_true(p_of(history_ngrams(h), b + 40, 32, 2040) > 0.8);
    memcpy(b, a, 50 * sizeof *a); /* a third begins as the first did */
    for (uint32_t i = 50; i < 90; i++) b[i] = 3000 + i;
    {
        struct guess_root x = root(b, 90, 3);

        history_meet(h, &x);
    }
    assert_true(p_of(history_ngrams(h), b + 50, 32, 1050) > 0.2);
    assert_true(p_of(history_ngrams(h), b + 50, 32, 3050) > 0.2);
    history_close(h);
}

/* More than there is room for: the newest is known, and nothing is written where it must not be. */
static void the_older_half_is_forgotten(void **state)
{
    enum { TOKENS = 20000 };
    static uint32_t text[TOKENS];
    struct history *h;
    struct error e;

    (void)state;
    assert_int_equal(history_open(&h, 100, &e), 0); /* 4096 */
    for (uint32_t i = 0; i < TOKENS; i++) text[i] = i;
    for (uint32_t n = 1000; n <= TOKENS; n += 1000) {
        struct guess_root x = root(text, n, 1), y = root(text + 7, 30, n);

        history_meet(h, &x);
        history_meet(h, &y);
    }
    assert_true(p_of(history_ngrams(h), text + TOKENS - 1000, 32, TOKENS - 1000) > 0.5);
    assert_true(p_of(history_ngrams(h), text + 3000, 32, 3000) == 0);
    history_close(h);
}

/* ---- together ---- */

/* A source that does what it did before in 3 of 4 cases: what is said to be likely is as likely as that. */
static void probabilities_are_right_on_average(void **state)
{
    static uint32_t text[6000];
    struct recycle *k;
    struct history *h;
    struct blend b;
    struct error e;
    double predicted = 0, found = 0, best = 0, hits = 0;

    (void)state;
    seed = 3;
    assert_int_equal(history_open(&h, 6000, &e), 0);
    assert_int_equal(recycle_open(&k, 1024, &e), 0);
    blend_open(&b, history_ngrams(h), k);
    text[0] = 1;
    for (uint32_t i = 1; i < 6000; i++) {
        float logits[VOCAB];
        struct blend_list list = {.run = 0};
        struct guess_root r = root(text, i, 1);

        for (uint32_t v = 0; v < VOCAB; v++)
            logits[v] = v == (text[i - 1] * 7 + 3) % VOCAB ? 3 : -0.1f * (float)(v % 9);
        text[i] = below(4) ? (text[i - 1] * 7 + 3) % VOCAB : below(VOCAB);
        history_meet(h, &r);
        blend_look(&b, (struct ngram_context){text + i, i < 32 ? i : 32}, &greedy, i, NULL, &list);
        if (i > 500) {
            float most = 0;
            bool hit = false;

            for (uint32_t j = 0; j < list.n; j++) {
                predicted += (double)list.guess[j].p;
                found += list.guess[j].token == text[i];
                if (list.guess[j].p > most) hit = list.guess[j].token == text[i];
                most = fmaxf(most, list.guess[j].p);
            }
            best += (double)most;
            hits += hit;
        }
        blend_learn(&b, &list, text[i]);
        recycle_keep(k, text + i, i, logits, VOCAB);
    }
    assert_true(fabs(predicted / found - 1) < 0.1);
    assert_true(fabs(best / hits - 1) < 0.1);
    assert_true(hits > 0.7 * 5500);
    recycle_close(k);
    history_close(h);
}

/* With noise the choice between what the model had in mind is foreseen. */
static void recycled_logits_foresee_the_noise(void **state)
{
    struct sampler_settings s = {.temperature = 1, .top_p = 1, .repeat_penalty = 1, .seed = 9};
    uint32_t text[] = {4, 5, 6, 7}, right = 0;
    float logits[VOCAB];
    struct recycle *k;
    struct history *h;
    struct sampler *sampler;
    struct blend b;
    struct error e;

    (void)state;
    assert_int_equal(history_open(&h, 10, &e), 0);
    assert_int_equal(recycle_open(&k, 1024, &e), 0);
    assert_int_equal(sampler_open(&sampler, VOCAB, &e), 0);
    blend_open(&b, history_ngrams(h), k);
    for (uint32_t v = 0; v < VOCAB; v++) logits[v] = v < 6 ? 8 : 0; /* any of six */
    recycle_keep(k, text + 4, 4, logits, VOCAB);
    for (uint32_t i = 0; i < 300; i++) {
        struct blend_list list = {.run = 0};
        uint32_t token, best = 0;

        blend_look(&b, (struct ngram_context){text + 4, 4}, &s, 100 + i, NULL, &list);
        assert_int_equal(sampler_choose(sampler, &s, logits, text, 4, 0, 100 + i, &token, &e), 0);
        for (uint32_t j = 1; j < list.n; j++)
            if (list.guess[j].p > list.guess[best].p) best = j;
        right += list.n && list.guess[best].token == token;
        blend_learn(&b, &list, token);
    }
    assert_true(right > 280);
    sampler_close(sampler);
    recycle_close(k);
    history_close(h);
}

/* ---- trees ---- */

#define LOOP 20

static struct drafter *new_drafter(uint32_t most, bool fixed, struct budget_costs costs)
{
    struct drafter_config c = {
        .most = most, .fixed = fixed, .roots = 4, .tokens = 2000, .vocab = VOCAB, .costs = costs};
    struct drafter *d;
    struct error e;

    if (drafter_open(&d, &c, &e)) fail_msg("%s", e.text);
    return d;
}

/* One sequence says a loop of tokens over and over: how many guesses its next sweep has, after so many of them. */
static uint32_t guesses_of_a_loop(struct drafter *d, double seconds_a_position, uint32_t sweeps)
{
    struct guesser g = drafter_guesser(d);
    struct guess out[64];
    static uint32_t text[4096];
    float logits[VOCAB] = {0};
    uint32_t count = 50, n = 0;

    for (uint32_t i = 0; i < 4096; i++) text[i] = i % LOOP;
    for (uint32_t s = 0; s < sweeps; s++) {
        struct guess_root r = root(text, count, 1);
        struct guess_ask ask = {.root = &r, .roots = 1, .positions = 1, .most = 64};
        uint32_t at = GUESS_ROOT, node = 0, tokens = 0;

        n = g.guess(g.arg, &ask, out);
        for (uint32_t i = 0; i < n; i++) assert_true(out[i].parent == GUESS_ROOT || out[i].parent < i);
        for (bool more = true; more;) {
            uint32_t token = text[count++];

            tokens++;
            g.seen(g.arg, &(struct guess_seen){0, node, token, logits});
            more = false;
            for (uint32_t i = 0; i < n && !more; i++)
                if (out[i].parent == at && out[i].token == token) {
                    at = i;
                    node = i + 1;
                    more = true;
                }
        }
        g.swept(g.arg, &(struct guess_sweep){.ns = (uint64_t)(1e9 * (1 + seconds_a_position * n)),
                                             .positions = n + 1,
                                             .guesses = n,
                                             .rows = n + 1,
                                             .tokens = tokens,
                                             .decode = true});
    }
    return n;
}

static void trees_are_as_large_as_they_pay(void **state)
{
    struct budget_costs streamed = {.read = 1, .first = 0.1, .position = 0.001}, memory = {.first = 1, .position = 1.2};
    struct budget_costs mistaken = {.first = 1, .position = 0.01};
    struct drafter *d;

    (void)state;
    d = new_drafter(48, false, streamed);
    assert_in_range(guesses_of_a_loop(d, 0, 20), 30, 48);
    assert_true(drafter_stats(d).tokens > 20 * 15);
    assert_true(fabs(drafter_stats(d).predicted / (double)drafter_stats(d).tokens - 1) < 0.2);
    drafter_close(d);
    d = new_drafter(48, false, memory); /* a position costs as much as a sweep */
    assert_int_equal(guesses_of_a_loop(d, 1.2, 20), 0);
    assert_int_equal(drafter_stats(d).guesses, 0);
    drafter_close(d);
    d = new_drafter(48, false, mistaken); /* it was not expected to: seen once */
    assert_int_equal(guesses_of_a_loop(d, 1.2, 60), 0);
    assert_true(drafter_stats(d).guesses <= 4 * 48);
    drafter_close(d);
    d = new_drafter(8, true, memory); /* asked for, whatever it costs */
    assert_int_equal(guesses_of_a_loop(d, 1, 20), 8);
    drafter_close(d);
}

static void budgets_learn(void **state)
{
    struct budget_costs costs = {.read = 1, .first = 0.5, .position = 0.1, .row = 0.05};
    const double experts[] = {0, 1, 1.5, 1.75};
    struct budget b;

    (void)state;
    budget_open(&b, &costs);
    assert_true(fabs(budget_seconds(&b, 1, 1) - 1) < 1e-9);
    assert_true(fabs(budget_seconds(&b, 11, 11) - 2) < 1e-9);
    for (int i = 0; i < 40; i++) budget_learn(&b, 11, 11, 4);
    assert_true(budget_seen(&b, 11) && !budget_seen(&b, 1));
    assert_true(fabs(budget_seconds(&b, 11, 11) - 4) < 0.01);
    assert_true(fabs(budget_seconds(&b, 1, 1) - 2) < 0.01); /* nothing else is known of it */
    for (int i = 0; i < 40; i++) budget_learn(&b, 1, 1, 1);
    assert_true(fabs(budget_seconds(&b, 1, 1) - 1) < 0.01);
    assert_true(budget_seconds(&b, 11, 11) > 3); /* it wears off slowly */
    assert_true(fabs(budget_seconds(&b, 6, 6) - (1 + budget_seconds(&b, 11, 11)) / 2) < 0.01);
    costs.experts = experts;
    costs.most = 3;
    budget_open(&b, &costs);
    assert_true(fabs(budget_seconds(&b, 2, 1) - 2.5) < 1e-9);
    assert_true(fabs(budget_seconds(&b, 6, 1) - 2.75) < 1e-9);
}

/* What is planned for a drafter is at least what it takes. */
static void memory_is_as_planned(void **state)
{
    static const uint32_t tokens[] = {1, 100, 4096, 5000, 40000, 1000000}, guesses[] = {1, 16, 64, 1024},
                          roots[] = {1, 5, 64, 500};

    (void)state;
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 4; j++)
            for (size_t k = 0; k < 4; k++)
                assert_true(drafter_bytes(guesses[j], roots[k], tokens[i], false) <=
                            cost_of_guessing(guesses[j], roots[k], tokens[i]));
    assert_int_equal(cost_of_guessing(0, 5, 5000), 0);
}

/* ---- what is promised ---- */

#define BLOCKS     12u
#define BLOCK      40u
#define TEXT       6000u
#define OF_A_SWEEP 48u

/* Pieces that were there before, one after the other, of any length, and now and then something new: right guesses come in runs, and
 * as many tokens come of sweeps as were predicted. */
static void promises_are_kept(void **state)
{
    static uint32_t block[BLOCKS][BLOCK], text[TEXT];
    static float logits[500];
    static struct guess out[OF_A_SWEEP];
    struct drafter_config c = {.most = OF_A_SWEEP, .fixed = true, .roots = 1, .tokens = TEXT, .vocab = 500};
    struct guess_root r = {.token = text, .count = 1, .prompt = 1, .number = 1, .sampling = &greedy};
    struct drafter_stats t;
    struct drafter *d;
    struct guesser g;
    struct error e;
    uint32_t at = 0;

    (void)state;
    seed = 3;
    for (uint32_t i = 0; i < BLOCKS * BLOCK; i++) block[i / BLOCK][i % BLOCK] = below(500);
    while (at < TEXT) {
        const uint32_t *from = block[below(BLOCKS)];
        uint32_t n = 1 + below(BLOCK);

        for (uint32_t i = 0; i < n && at < TEXT; i++) text[at++] = below(60) ? from[i] : below(500);
    }
    assert_int_equal(drafter_open(&d, &c, &e), 0);
    g = drafter_guesser(d);
    while (r.count < TEXT) {
        struct guess_ask ask = {.root = &r, .roots = 1, .positions = 1, .most = OF_A_SWEEP};
        uint32_t n, node = 0, made = 0, k;

        r.most = TEXT - r.count - 1;
        n = g.guess(g.arg, &ask, out);
        do {
            uint32_t token = text[r.count + made++];

            logits[token] = 9;
            g.seen(g.arg, &(struct guess_seen){0, node, token, logits});
            logits[token] = 0;
            for (k = 0; k < n; k++)
                if (out[k].token == token && out[k].parent == (node ? node - 1 : GUESS_ROOT)) break;
            node = k + 1;
        } while (k < n && r.count + made < TEXT);
        r.count += made;
        g.swept(g.arg, &(struct guess_sweep){.positions = n + 1, .guesses = n, .rows = n + 1, .tokens = made});
    }
    t = drafter_stats(d);
    drafter_close(d);
    assert_int_equal(t.tokens, TEXT - 1);
    assert_true(t.tokens > 3 * t.sweeps);
    if (fabs(t.predicted / (double)t.tokens - 1) > 0.1)
        fail_msg("%.2f tokens of a sweep, %.2f predicted", (double)t.tokens / (double)t.sweeps,
                 t.predicted / (double)t.sweeps);
    print_message("%.2f tokens of a sweep, %.2f predicted\n", (double)t.tokens / (double)t.sweeps,
                  t.predicted / (double)t.sweeps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_followed_is_found),
        cmocka_unit_test(a_copy_goes_on_after_a_change),
        cmocka_unit_test(texts_side_by_side),
        cmocka_unit_test(the_older_half_is_forgotten),
        cmocka_unit_test(probabilities_are_right_on_average),
        cmocka_unit_test(recycled_logits_foresee_the_noise),
        cmocka_unit_test(trees_are_as_large_as_they_pay),
        cmocka_unit_test(budgets_learn),
        cmocka_unit_test(memory_is_as_planned),
        cmocka_unit_test(promises_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

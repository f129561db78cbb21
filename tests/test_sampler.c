/* The choice of tokens: the exact distribution by a chi-square test, filters, and the same noise whatever the order. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/batch/sampling.h"

#define VOCAB 8

static const float logits[VOCAB] = {1.0f, 0.5f, 0.0f, -0.5f, 2.0f, -1.0f, 0.25f, -INFINITY};

static uint32_t choose(struct sampler *s, const struct sampler_settings *o, const float *x, uint64_t place)
{
    struct error e = {0};
    uint32_t token = UINT32_MAX;

    assert_int_equal(sampler_choose(s, o, x, NULL, 0, 0, place, &token, &e), 0);
    return token;
}

/* Draws n tokens, each at a place of its own, and compares them with p: chi-square with k - 1 degrees of freedom. */
static double chi_square(const struct sampler_settings *o, const double *p, int n)
{
    struct sampler *s;
    struct error e;
    int count[VOCAB] = {0};
    double x = 0;

    assert_int_equal(sampler_open(&s, VOCAB, &e), 0);
    for (int i = 0; i < n; i++) count[choose(s, o, logits, (uint64_t)i)]++;
    for (int i = 0; i < VOCAB; i++) {
        if (p[i] == 0)
            assert_int_equal(count[i], 0);
        else
            x += (count[i] - n * p[i]) * (count[i] - n * p[i]) / (n * p[i]);
    }
    sampler_close(s);
    return x;
}

static void softmax(double *p, double t)
{
    double sum = 0;

    for (int i = 0; i < VOCAB; i++) sum += p[i] = exp(logits[i] / t);
    for (int i = 0; i < VOCAB; i++) p[i] /= sum;
}

static void distribution_is_the_softmax(void **state)
{
    static const double temperatures[] = {0.3, 0.7, 1.0, 2.0};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct sampler_settings o = {.temperature = temperatures[i], .top_p = 1, .repeat_penalty = 1, .seed = 42};
        double p[VOCAB];

        softmax(p, temperatures[i]);
        assert_true(chi_square(&o, p, 200000) <
                    22.5); /* 6 degrees of freedom: passed by 99.9% of fair samplers; fixed seed */
    }
}

static void filters_keep_what_they_should(void **state)
{
    struct sampler_settings k = {.temperature = 1, .top_p = 1, .repeat_penalty = 1, .top_k = 2, .seed = 7};
    struct sampler_settings q = {.temperature = 1, .top_p = 0.6, .repeat_penalty = 1, .seed = 7};
    struct sampler_settings m = {.temperature = 1, .top_p = 1, .min_p = 0.2, .repeat_penalty = 1, .seed = 7};
    double e2 = exp(2), e1 = exp(1), e05 = exp(0.5), all[VOCAB];
    double top2[VOCAB] = {e1 / (e1 + e2), 0, 0, 0, e2 / (e1 + e2)};
    double three[VOCAB] = {e1 / (e1 + e2 + e05), e05 / (e1 + e2 + e05), 0, 0, e2 / (e1 + e2 + e05)};

    (void)state;
    softmax(all, 1);
    assert_true(all[4] < 0.6 && all[4] + all[0] >= 0.6); /* the best two reach 0.6 */
    assert_true(chi_square(&k, top2, 100000) < 10.9);
    assert_true(chi_square(&q, top2, 100000) < 10.9);
    assert_true(exp(0.5 - 2) > 0.2 && exp(0.25 - 2) < 0.2);
    assert_true(chi_square(&m, three, 100000) < 13.9);
}

static void noise_is_keyed(void **state)
{
    struct sampler_settings o = {.temperature = 1, .top_p = 1, .repeat_penalty = 1, .seed = 5};
    struct sampler *s;
    struct error e;
    uint32_t there[200];
    int same = 0;

    (void)state;
    assert_int_equal(sampler_open(&s, VOCAB, &e), 0);
    for (int i = 0; i < 200; i++) there[i] = choose(s, &o, logits, (uint64_t)i);
    for (int i = 199; i >= 0; i--) assert_int_equal(choose(s, &o, logits, (uint64_t)i), there[i]);
    o.seed = 6;
    for (int i = 0; i < 200; i++) same += choose(s, &o, logits, (uint64_t)i) == there[i];
    assert_true(same < 150);
    sampler_close(s);
}

static void greedy_penalty_and_nan(void **state)
{
    struct sampler_settings o = {.temperature = 0, .top_p = 1, .repeat_penalty = 1};
    const float ties[VOCAB] = {0, 3, 3, 1, 0, 0, 0, NAN}, nothing[VOCAB] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    uint32_t history[] = {1}, token;
    struct sampler *s;
    struct error e;

    (void)state;
    assert_int_equal(sampler_open(&s, VOCAB, &e), 0);
    assert_int_equal(choose(s, &o, ties, 0), 1); /* the lower id wins */
    o.repeat_penalty = 2;
    assert_int_equal(sampler_choose(s, &o, ties, history, 1, 0, 0, &token, &e), 0);
    assert_int_equal(token, 2);
    assert_int_equal(sampler_choose(s, &o, nothing, NULL, 0, 0, 9, &token, &e), -EDOM);
    sampler_close(s);
}

/* ---- held against the formula, word for word ---- */

#define MANY 5000

struct scored {
    double score;
    uint32_t token;
};

static int higher(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->token < y->token ? -1 : 1;
}

static uint32_t plain(const struct sampler_settings *o, const float *x, const uint32_t *history, size_t count,
                      uint64_t position)
{
    static struct scored c[MANY];
    double t = o->temperature > 0 ? o->temperature : 1, total = 0, sum = 0, best = 0;
    uint32_t n = 0, choice = UINT32_MAX, kept;

    for (uint32_t i = 0; i < MANY; i++) {
        double y = x[i];

        if (isnan(x[i]) || x[i] == -INFINITY) continue;
        for (size_t h = 0; h < count; h++)
            if (history[h] == i) {
                y = y > 0 ? y / o->repeat_penalty : y * o->repeat_penalty;
                break;
            }
        c[n++] = (struct scored){y / t, i};
    }
    qsort(c, n, sizeof *c, higher);
    if (!(o->temperature > 0)) return c[0].token;
    if (o->top_k && (uint32_t)o->top_k < n) n = (uint32_t)o->top_k;
    for (uint32_t i = 0; i < n; i++) total += exp(c[i].score - c[0].score);
    for (kept = 0; kept < n && sum < o->top_p * total; kept++) sum += exp(c[kept].score - c[0].score);
    if (o->top_p < 1) n = kept;
    for (uint32_t i = 0; i < n; i++) {
        double y = c[i].score - log(-log(sampler_uniform(o->seed, 0, position, c[i].token)));

        if (o->min_p > 0 && c[i].score < c[0].score + log(o->min_p)) continue;
        if (choice == UINT32_MAX || y > best || (y == best && c[i].token < choice)) {
            best = y;
            choice = c[i].token;
        }
    }
    return choice;
}

static void shortcuts_choose_the_same(void **state)
{
    static const double temperatures[] = {0, 0.05, 0.7, 1, 3};
    static const int top[] = {0, 1, 2, 40, 1000, 4999, 6000};
    static float x[MANY];
    static const uint32_t history[] = {3, 17, 4000, 17, 256};
    struct sampler *s;
    struct error e;
    uint64_t random = 1;
    int drawn = 0;

    (void)state;
    assert_int_equal(sampler_open(&s, MANY, &e), 0);
    for (uint64_t round = 0; round < 60; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            /* coarse, so that there are ties; a spread as models have it, and none */
            x[i] =
                round % 7 == 6 ? 0.0f : (float)((int64_t)(random >> 33) % 4001 - 2000) / (round % 2 ? 100.0f : 2000.0f);
            if (round % 5 == 4 && i % 3 == 0) x[i] = i % 2 ? NAN : -INFINITY;
        }
        for (size_t k = 0; k < sizeof top / sizeof *top; k++) {
            struct sampler_settings o = {.temperature = temperatures[(round + k) % 5],
                                         .top_k = top[k],
                                         .top_p = round % 3 ? 1 : 0.9,
                                         .min_p = round % 4 == 1 ? 0.05 : 0,
                                         .repeat_penalty = round % 6 == 2 ? 1.3 : 1,
                                         .seed = round};
            size_t count = o.repeat_penalty == 1 ? 0 : 5;
            uint32_t token;

            assert_int_equal(sampler_choose(s, &o, x, history, count, 0, round, &token, &e), 0);
            assert_int_equal(token, plain(&o, x, history, count, round));
            drawn += token != plain(&(struct sampler_settings){.top_p = 1, .repeat_penalty = 1}, x, NULL, 0, 0);
        }
    }
    assert_true(drawn > 100); /* noise had its say */
    sampler_close(s);
}

/* The coldest temperatures that a double can be are the likeliest token, not an overflow. */
static void cold_is_the_likeliest(void **state)
{
    static const double cold[] = {1e-99, 1e-200, 1e-307, 1e-308, 5e-324};
    const float x[VOCAB] = {1, 2, 30, 29.999998f, -4, 30, 0, -INFINITY};
    struct sampler *s;
    struct error e;

    (void)state;
    assert_int_equal(sampler_open(&s, VOCAB, &e), 0);
    for (size_t i = 0; i < sizeof cold / sizeof *cold; i++) {
        struct sampler_settings o = {.temperature = cold[i], .top_p = 1, .repeat_penalty = 1, .seed = i};
        uint32_t token = choose(s, &o, x, 1);

        assert_true(token == 2 || (token == 5 && cold[i] > 1e-100));
    }
    sampler_close(s);
}

/* What is not allowed is as if its logit were -inf, whatever the settings; and that nothing allowed is left is told. */
static void what_is_not_allowed_is_never_chosen(void **state)
{
    enum { WIDE = 200 };
    static const double temperatures[] = {0, 0.6, 1.5};
    struct sampler *s;
    struct error e = {0};
    float x[WIDE], cut[WIDE];
    uint32_t token, other, history[3] = {4, 60, 190};

    (void)state;
    assert_int_equal(sampler_open(&s, WIDE, &e), 0);
    for (uint32_t round = 0; round < 600; round++) {
        uint64_t allow[(WIDE + 63) / 64] = {0};
        struct sampler_settings o = {.temperature = temperatures[round % 3],
                                     .top_p = round % 2 ? 1 : 0.8,
                                     .min_p = round % 5 ? 0 : 0.01,
                                     .top_k = round % 7 ? 0 : 5,
                                     .repeat_penalty = round % 4 ? 1 : 1.3,
                                     .seed = round};

        for (uint32_t i = 0; i < WIDE; i++) {
            x[i] = cut[i] = (float)sampler_uniform(1, 2, round, i) * 20 - 10;
            if (sampler_uniform(3, 4, round, i) < 0.1)
                allow[i / 64] |= UINT64_C(1) << i % 64;
            else
                cut[i] = -INFINITY;
        }
        assert_int_equal(sampler_choose(s, &o, cut, history, 3, 0, round, &other, &e), 0);
        o.allow = allow;
        assert_int_equal(sampler_choose(s, &o, x, history, 3, 0, round, &token, &e), 0);
        assert_int_equal(token, other);
        assert_true(allow[token / 64] >> token % 64 & 1);
        memset(allow, 0, sizeof allow);
        assert_int_equal(sampler_choose(s, &o, x, history, 3, 0, round, &token, &e), -EDOM);
        assert_non_null(strstr(e.text, "allows"));
    }
    sampler_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(distribution_is_the_softmax),
                                       cmocka_unit_test(filters_keep_what_they_should),
                                       cmocka_unit_test(noise_is_keyed),
                                       cmocka_unit_test(greedy_penalty_and_nan),
                                       cmocka_unit_test(shortcuts_choose_the_same),
                                       cmocka_unit_test(cold_is_the_likeliest),
                                       cmocka_unit_test(what_is_not_allowed_is_never_chosen)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

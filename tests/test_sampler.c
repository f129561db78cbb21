/* The choice of tokens: the exact distribution by a chi-square test, filters, and the same noise whatever the order. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

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
        if (p[i] == 0) assert_int_equal(count[i], 0);
        else x += (count[i] - n * p[i]) * (count[i] - n * p[i]) / (n * p[i]);
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
        assert_true(chi_square(&o, p, 200000) < 22.5); /* 6 degrees of freedom: passed by 99.9% of fair samplers; fixed seed */
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(distribution_is_the_softmax), cmocka_unit_test(filters_keep_what_they_should),
                                       cmocka_unit_test(noise_is_keyed), cmocka_unit_test(greedy_penalty_and_nan)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The choice of experts against its formulas in float64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/router.h"

#define EXPERTS 24
#define N       50

static float logits[N][EXPERTS], bias[EXPERTS];

static int fill(void **state)
{
    uint64_t seed = 7;

    (void)state;
    for (int i = 0; i < N * EXPERTS + EXPERTS; i++) {
        float x;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x = (float)((double)(seed >> 33) / (double)(UINT64_C(1) << 30) - 1.0);
        *(i < N * EXPERTS ? &logits[0][0] + i : bias + (i - N * EXPERTS)) = x * (i < N * EXPERTS ? 3.0f : 0.3f);
    }
    return 0;
}

/* What a router made of all positions. */
struct made {
    uint32_t id[N * EXPERTS];
    float weight[N * EXPERTS];
};

static struct made *choose(const struct op_router *p, const float *correction)
{
    float scratch[3 * EXPERTS + 1];
    struct made *m = calloc(1, sizeof *m);

    assert_non_null(m);
    router_choose(p, &logits[0][0], EXPERTS, correction, N, m->id, m->weight, scratch);
    return m;
}

static void expect(const struct made *m, const struct op_router *p, uint32_t i, uint32_t k, uint32_t id, double weight)
{
    assert_int_equal(m->id[i * p->top + k], id);
    if (!(fabs((double)m->weight[i * p->top + k] - weight) < 1e-6))
        fail_msg("position %u, choice %u: %g, not %g", i, k, (double)m->weight[i * p->top + k], weight);
}

static uint32_t best_of(const double *x, const bool *taken)
{
    uint32_t best = UINT32_MAX;

    for (uint32_t e = 0; e < EXPERTS; e++)
        if (!taken[e] && (best == UINT32_MAX || x[e] > x[best])) best = e;
    return best;
}

static double score_of(const struct op_router *p, uint32_t i, uint32_t e)
{
    double sum = 0;

    if (p->score == SCORE_SQRT_SOFTPLUS) return sqrt(log1p(exp((double)logits[i][e])));
    if (p->score == SCORE_SIGMOID) return 1 / (1 + exp(-(double)logits[i][e]));
    for (uint32_t k = 0; k < EXPERTS; k++) sum += exp((double)logits[i][k]);
    return exp((double)logits[i][e]) / sum;
}

/* Softmax or sigmoid, a correction of the choice, weights that are normalized or not. */
static void check_scores(uint32_t score, uint32_t flags, float eps, bool corrected)
{
    struct op_router p = {.experts = EXPERTS, .top = 5, .score = score, .flags = flags, .scale = 2.5f, .eps = eps};
    struct made *m = choose(&p, corrected ? bias : NULL);

    for (uint32_t i = 0; i < N; i++) {
        double choice[EXPERTS], sum = 0, least;
        bool taken[EXPERTS] = {false};
        uint32_t id[5];

        for (uint32_t e = 0; e < EXPERTS; e++) choice[e] = score_of(&p, i, e) + (corrected ? (double)bias[e] : 0);
        for (uint32_t k = 0; k < p.top; k++) {
            id[k] = best_of(choice, taken);
            taken[id[k]] = true;
            sum += score_of(&p, i, id[k]);
        }
        least = flags & ROUTER_LEAST_SUM ? fmax(sum, (double)eps) : sum + (double)eps;
        if (!(flags & ROUTER_NORMALIZE)) least = 1;
        for (uint32_t k = 0; k < p.top; k++) expect(m, &p, i, k, id[k], 2.5 * score_of(&p, i, id[k]) / least);
    }
    free(m);
}

static void scores_and_sums(void **state)
{
    static const uint32_t scores[] = {SCORE_SOFTMAX, SCORE_SIGMOID, SCORE_SQRT_SOFTPLUS};

    (void)state;
    for (uint32_t s = 0; s < sizeof scores / sizeof *scores; s++)
        for (int corrected = 0; corrected < 2; corrected++) {
            const uint32_t score = scores[s];

            check_scores(score, 0, 0, corrected);
            check_scores(score, ROUTER_NORMALIZE, 1e-20f, corrected);
            check_scores(score, ROUTER_NORMALIZE, 0.5f, corrected);
            check_scores(score, ROUTER_NORMALIZE | ROUTER_LEAST_SUM, 1e-12f, corrected);
            check_scores(score, ROUTER_NORMALIZE | ROUTER_LEAST_SUM, 0.7f,
                         corrected); /* above some sums, below others */
        }
}

/* Who is chosen is given: only weights are made. Who stands there twice counts twice, in the first place. */
static void given_by_the_token(void **state)
{
    struct op_router p = {.experts = EXPERTS,
                          .top = 3,
                          .score = SCORE_SQRT_SOFTPLUS,
                          .flags = ROUTER_NORMALIZE | ROUTER_BY_TOKEN,
                          .scale = 1.5f,
                          .eps = 1e-20f};
    struct made *m = calloc(1, sizeof *m);
    float scratch[3 * EXPERTS + 1];
    uint32_t twice = 0;

    (void)state;
    assert_non_null(m);
    for (uint32_t i = 0; i < N * p.top; i++) m->id[i] = i * i / 5 % 4 * 6;
    router_choose(&p, &logits[0][0], EXPERTS, NULL, N, m->id, m->weight, scratch);
    for (uint32_t i = 0; i < N; i++) {
        const uint32_t *id = m->id + i * p.top;
        double sum = 0;

        for (uint32_t k = 0; k < p.top; k++) sum += score_of(&p, i, id[k]);
        for (uint32_t k = 0; k < p.top; k++) {
            uint32_t before = 0, all = 0, at = i * p.top + k;

            for (uint32_t j = 0; j < p.top; j++) {
                before += j < k && id[j] == id[k];
                all += id[j] == id[k];
            }
            twice += all > 1;
            expect(m, &p, i, k, at * at / 5 % 4 * 6, before ? 0 : all * 1.5 * score_of(&p, i, id[k]) / sum);
        }
    }
    assert_true(twice > 5);
    free(m);
}

/* One after the other: each weighed among those left that are not far below it. */
static void mixer(void **state)
{
    static const float eps[] = {0.0f, 0.02f, 0.5f, 1e9f};
    uint32_t alone = 0, together = 0;

    (void)state;
    for (size_t x = 0; x < sizeof eps / sizeof *eps; x++) {
        struct op_router p = {.experts = EXPERTS, .top = 2, .score = SCORE_MIXER, .scale = 1, .eps = eps[x]};
        struct made *m = choose(&p, NULL);

        for (uint32_t i = 0; i < N; i++) {
            bool taken[EXPERTS] = {false};
            double s[EXPERTS];

            for (uint32_t e = 0; e < EXPERTS; e++) s[e] = (double)logits[i][e];
            for (uint32_t k = 0; k < p.top; k++) {
                uint32_t b = best_of(s, taken), near = 0;
                double sum = 0;

                for (uint32_t e = 0; e < EXPERTS; e++) {
                    if (taken[e] || (s[b] - s[e]) / fmax(fabs(s[e]), s[b]) > (double)eps[x]) continue;
                    sum += exp(s[e] - s[b]);
                    near++;
                }
                alone += near == 1;
                together += near > 1;
                expect(m, &p, i, k, b, 1 / sum);
                taken[b] = true;
            }
        }
        free(m);
    }
    assert_true(alone && together);
}

/* A score that is no number makes every weight of its position none. */
static void not_a_number(void **state)
{
    static const uint32_t scores[] = {SCORE_SOFTMAX, SCORE_SIGMOID, SCORE_TOPK_SOFTMAX, SCORE_MIXER};
    float kept = logits[3][5];

    (void)state;
    logits[3][5] = NAN;
    for (size_t x = 0; x < sizeof scores / sizeof *scores; x++) {
        struct op_router p = {.experts = EXPERTS, .top = 2, .score = scores[x], .scale = 1, .eps = 0.02f};
        struct made *m = choose(&p, NULL);

        for (uint32_t k = 0; k < 2; k++) {
            assert_true(m->id[3 * 2 + k] < EXPERTS);
            assert_true(isnan(m->weight[3 * 2 + k]));
            assert_false(isnan(m->weight[4 * 2 + k]));
        }
        free(m);
    }
    logits[3][5] = kept;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_and_sums),
        cmocka_unit_test(given_by_the_token),
        cmocka_unit_test(mixer),
        cmocka_unit_test(not_a_number),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}

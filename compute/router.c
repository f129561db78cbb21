#include "compute/router.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* Own exponential, so that the choice does not depend on the C library: e^x = 2^k e^r, |r| <= ln 2 / 2, in double. */
static double exp_fixed(double x)
{
    double k, r, p = 1.0;

    if (x < -700.0) return 0.0;
    if (x > 700.0) x = 700.0;
    k = floor(x * 1.4426950408889634 + 0.5);
    r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
    for (int i = 13; i > 0; i--) p = 1.0 + r / i * p;
    return ldexp(p, (int)k);
}

/* log(1 + e^x) = max(x, 0) + log(1 + u), u = e^-|x| <= 1: with z = u / (2 + u), 2 (z + z^3 / 3 + z^5 / 5 + ...). */
static double softplus_fixed(double x)
{
    double u = exp_fixed(-fabs(x)), z = u / (2.0 + u), sum = 0.0;

    for (int i = 33; i > 0; i -= 2) sum = sum * (z * z) + 1.0 / i;
    return (x > 0 ? x : 0.0) + 2.0 * z * sum;
}

static void scores(const struct op_router *p, const float *logits, float *score)
{
    double most = logits[0], sum = 0.0;

    if (p->score == SCORE_SIGMOID) {
        for (uint32_t i = 0; i < p->experts; i++) score[i] = (float)(1.0 / (1.0 + exp_fixed(-(double)logits[i])));
        return;
    }
    if (p->score == SCORE_SQRT_SOFTPLUS) {
        for (uint32_t i = 0; i < p->experts; i++) score[i] = (float)sqrt(softplus_fixed(logits[i]));
        return;
    }
    if (p->score == SCORE_TOPK_SOFTMAX || p->score == SCORE_MIXER) {
        for (uint32_t i = 0; i < p->experts; i++) score[i] = logits[i];
        return;
    }
    for (uint32_t i = 1; i < p->experts; i++)
        if (logits[i] > most) most = logits[i];
    for (uint32_t i = 0; i < p->experts; i++) sum += exp_fixed(logits[i] - most);
    for (uint32_t i = 0; i < p->experts; i++) score[i] = (float)(exp_fixed(logits[i] - most) / sum);
}

/* Leaves only the experts of the best groups in the running. */
static void limit_groups(const struct op_router *p, float *choice, float *group)
{
    uint32_t each = p->experts / p->groups;

    for (uint32_t g = 0; g < p->groups; g++) {
        float best = -INFINITY, second = -INFINITY;

        for (uint32_t i = 0; i < each; i++) {
            float c = choice[g * each + i];

            if (c > best) {
                second = best;
                best = c;
            } else if (c > second) {
                second = c;
            }
        }
        group[g] = (p->flags & ROUTER_GROUP_TOP2) && each > 1 ? best + second : best;
    }
    for (uint32_t g = 0; g < p->groups; g++) {
        uint32_t better = 0;

        for (uint32_t h = 0; h < p->groups; h++)
            if (group[h] > group[g] || (group[h] == group[g] && h < g)) better++;
        if (better < p->top_groups) continue;
        for (uint32_t i = 0; i < each; i++) choice[g * each + i] = -INFINITY;
    }
}

/* The weight of the best of those that are left: not a number in choice are those that were taken, and it is not yet. */
static float mix(const struct op_router *p, const float *score, const float *choice, uint32_t best)
{
    double most = score[best], sum = 0.0;

    for (uint32_t i = 0; i < p->experts; i++) {
        double x = score[i], factor = fabs(x) > most ? fabs(x) : most;

        if (isnan(choice[i]) || (most - x) / factor > p->eps) continue;
        sum += exp_fixed(x - most);
    }
    return (float)(1.0 / sum);
}

static void weigh(const struct op_router *p, const float *score, const uint32_t *id, float *weight)
{
    double sum = 0.0;

    if (p->score == SCORE_MIXER) {
        for (uint32_t k = 0; k < p->top; k++) weight[k] *= p->scale;
        return;
    }
    if (p->score == SCORE_TOPK_SOFTMAX) {
        double most = score[id[0]];

        for (uint32_t k = 1; k < p->top; k++)
            if (score[id[k]] > most) most = score[id[k]];
        for (uint32_t k = 0; k < p->top; k++) sum += exp_fixed(score[id[k]] - most);
        for (uint32_t k = 0; k < p->top; k++) weight[k] = (float)(exp_fixed(score[id[k]] - most) / sum) * p->scale;
        return;
    }
    for (uint32_t k = 0; k < p->top; k++) sum += score[id[k]];
    if (!(p->flags & ROUTER_LEAST_SUM))
        sum += p->eps;
    else if (sum < p->eps)
        sum = p->eps;
    for (uint32_t k = 0; k < p->top; k++) {
        float w = score[id[k]];

        if (p->flags & ROUTER_NORMALIZE) w = (float)(w / sum);
        weight[k] = w * p->scale;
    }
}

/* Choices that are given: the weights of those. */
static void weigh_given(const struct op_router *p, const float *logits, const uint32_t *id, float *weight, float *score)
{
    bool numbers = true;

    scores(p, logits, score);
    for (uint32_t j = 0; j < p->experts; j++) numbers &= !isnan(score[j]);
    weigh(p, score, id, weight);
    for (uint32_t k = 0; k < p->top; k++) /* an expert that stands there twice counts twice, and is computed once */
        for (uint32_t j = k + 1; j < p->top; j++)
            if (id[j] == id[k]) {
                weight[k] += weight[j];
                weight[j] = 0;
            }
    for (uint32_t k = 0; !numbers && k < p->top; k++) weight[k] = NAN;
}

void router_choose(const struct op_router *p, const float *logits, uint32_t ld, const float *bias, uint32_t n,
                   uint32_t *id, float *weight, float *scratch)
{
    float *score = scratch, *choice = scratch + p->experts, *group = scratch + 2 * (size_t)p->experts;

    for (uint32_t i = 0; i < n; i++, id += p->top, weight += p->top) {
        bool numbers = true;

        if (p->flags & ROUTER_BY_TOKEN) {
            weigh_given(p, logits + (size_t)i * ld, id, weight, score);
            continue;
        }
        scores(p, logits + (size_t)i * ld, score);
        for (uint32_t j = 0; j < p->experts; j++) {
            choice[j] = bias ? score[j] + bias[j] : score[j];
            numbers &= !isnan(choice[j]);
        }
        if (p->groups > 1 && p->top_groups < p->groups) limit_groups(p, choice, group);
        for (uint32_t k = 0; k < p->top; k++) {
            uint32_t best = UINT32_MAX;

            for (uint32_t j = 0; j < p->experts; j++)
                if (!isnan(choice[j]) && (best == UINT32_MAX || choice[j] > choice[best])) best = j;
            if (best == UINT32_MAX) best = k; /* nothing but NaN: any choice gives NaN */
            id[k] = best;
            if (p->score == SCORE_MIXER) weight[k] = mix(p, score, choice, best);
            choice[best] = NAN;
        }
        weigh(p, score, id, weight);
        /* an expert whose score is not a number must not just be passed over */
        for (uint32_t k = 0; !numbers && k < p->top; k++) weight[k] = NAN;
    }
}

#include "coordinator/draft/blend.h"

#include <math.h>
#include <string.h>

#define WEIGHT_STEP 0.03  /* towards the newest */
#define FORGET      0.99  /* of likelihoods, and of hits, with each token */
#define BEFORE      1.0   /* what a bin is assumed to have seen, and found as predicted */
#define Q_LEAST     0.002 /* less is not worth a place in the list */
#define NGRAMS_MOST (BLEND_MOST - RECYCLE_TOKENS)

#define BETA_ONE   3
#define BETA_SMALL 6 /* a small model that is of use is right more often than its likeliest token is likely */
static const double betas[BLEND_BETAS] = {0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4.5, 7, 10};

void blend_open(struct blend *b, const struct ngrams *g, const struct recycle *r)
{
    *b = (struct blend){.ngrams = g,
                        .recycle = r,
                        .recycled.best = BETA_ONE,
                        .neural.best = BETA_SMALL,
                        .neural_trials = 4,
                        .neural_hits = 3.8};
    for (uint32_t k = 0; k < NGRAM_ORDERS; k++) b->weight[k] = 0.5 + 0.05 * k;
    for (uint32_t k = 0; k <= NGRAM_ORDERS; k++) b->trust[k] = 0.7;
    for (uint32_t k = 0; k <= RECYCLE_ORDERS; k++) {
        b->trials[k] = 4;
        b->hits[k] = 1 + 0.6 * k;
    }
}

/* ---- recycled ---- */

static void look_at_recycled(const struct blend *b, struct ngram_context c, const struct sampler_settings *s,
                             uint64_t position, struct blend_list *out)
{
    const struct recycled *r = recycle_find(b->recycle, c.end, c.known, &out->recycled_order);
    double t = s->temperature > 0 ? s->temperature : 1;

    if (!r) return;
    for (uint32_t i = 0; i < RECYCLE_TOKENS && r->logit[i] > -INFINITY; i++) {
        double x = r->logit[i] / t;

        if (s->temperature > 0) x -= log(-log(sampler_uniform(s->seed, 0, position, r->token[i])));
        out->token[out->recycled] = r->token[i];
        out->score[out->recycled++] = (float)x;
    }
}

/* Shares [n] of one. */
static void softmax(const float *score, uint32_t n, double beta, double *share)
{
    double most = -INFINITY, sum = 0;

    for (uint32_t i = 0; i < n; i++) most = score[i] > most ? score[i] : most;
    for (uint32_t i = 0; i < n; i++) sum += share[i] = exp(beta * (score[i] - most));
    for (uint32_t i = 0; i < n; i++) share[i] /= sum;
}

/* The guess of this token in the list, a new one where there is none; NULL: the list is full. */
static struct blend_guess *guess_of(struct blend_list *out, uint32_t token)
{
    uint32_t k = 0;

    while (k < out->n && out->guess[k].token != token) k++;
    if (k == BLEND_MOST) return NULL;
    if (k == out->n) out->guess[out->n++] = (struct blend_guess){.token = token};
    return &out->guess[k];
}

static void add_recycled(const struct blend *b, struct blend_list *out)
{
    double share[RECYCLE_TOKENS], h = b->hits[out->recycled_order] / b->trials[out->recycled_order];

    if (!out->recycled) return;
    softmax(out->score, out->recycled, betas[b->recycled.best], share);
    for (uint32_t i = 0; i < out->recycled; i++) {
        struct blend_guess *g = guess_of(out, out->token[i]);

        if (g) g->recycled = (float)(share[i] * h);
    }
}

static void add_neural(const struct blend *b, struct blend_list *out)
{
    double share[BLEND_SCORES], h = b->neural_hits / b->neural_trials;

    if (!out->neural.n) return;
    softmax(out->neural.score, out->neural.n, betas[b->neural.best], share);
    for (uint32_t i = 0; i < out->neural.n; i++) {
        struct blend_guess *g = guess_of(out, out->neural.token[i]);

        if (g) g->neural = (float)(share[i] * h);
    }
}

/* As they were counted: the noise that decides what is sampled makes these no better, since counts do not say how near the
 * others are where it matters. */
static void add_ngrams(const struct blend *b, struct ngram_context c, struct blend_list *out)
{
    struct ngram_guess list[NGRAMS_MOST];
    uint32_t n = ngrams_guess(b->ngrams, c, list, NGRAMS_MOST, &out->order);

    for (uint32_t i = 0; i < n; i++) {
        struct blend_guess *g = guess_of(out, list[i].token);

        if (g) g->ngram = (float)list[i].p;
    }
}

/* ---- together ---- */

static uint32_t bin_of(double q)
{
    double x = (log(q / (1.0001 - q)) + 6) / 0.75;

    return x < 0 ? 0 : x >= BLEND_BINS ? BLEND_BINS - 1 : (uint32_t)x;
}

/* 0, 1-3, 4-15, 16-63, more */
static uint32_t class_of(uint32_t run)
{
    uint32_t k = 0;

    for (; run && k + 1 < BLEND_RUNS; run /= 4) k++;
    return k;
}

static double calibrated(const struct blend *b, const struct blend_list *x, double q)
{
    uint32_t i = bin_of(q), k = class_of(x->run);
    bool neural = x->neural.n > 0;
    double p = q * (b->found[neural][k][i] + BEFORE) / (b->sum[neural][k][i] + BEFORE);

    return p < 0.999 ? p : 0.999;
}

static double weight_of(const struct blend *b, const struct blend_list *x)
{
    return !x->recycled ? 1 : x->order < NGRAM_ORDERS ? b->weight[x->order] : 0;
}

static double trust_of(const struct blend *b, const struct blend_list *x)
{
    return !x->neural.n ? 0 : x->order == NGRAM_ORDERS && !x->recycled ? 1 : b->trust[x->order];
}

void blend_look(const struct blend *b, struct ngram_context c, const struct sampler_settings *s, uint64_t position,
                const struct blend_scores *neural, struct blend_list *out)
{
    uint32_t kept = 0;
    double w, v;

    out->n = out->recycled = out->recycled_order = out->neural.n = 0;
    if (neural) out->neural = *neural;
    add_neural(b, out);
    add_ngrams(b, c, out);
    look_at_recycled(b, c, s, position, out);
    add_recycled(b, out);
    w = weight_of(b, out);
    v = trust_of(b, out);
    for (uint32_t i = 0; i < out->n; i++) {
        struct blend_guess x = out->guess[i];

        x.q = (float)(v * (double)x.neural + (1 - v) * (w * (double)x.ngram + (1 - w) * (double)x.recycled));
        if ((double)x.q >= Q_LEAST) out->guess[kept++] = x;
    }
    out->n = kept;
    for (uint32_t i = 0; i < out->n; i++) out->guess[i].p = (float)calibrated(b, out, out->guess[i].q);
}

enum blend_source blend_from(const struct blend *b, const struct blend_list *x, const struct blend_guess *g)
{
    double w = weight_of(b, x), v = trust_of(b, x), n = (1 - v) * w * (double)g->ngram,
           r = (1 - v) * (1 - w) * (double)g->recycled, m = v * (double)g->neural;

    return m >= n && m >= r && m > 0 ? BLEND_NEURAL : r > n ? BLEND_RECYCLED : BLEND_NGRAM;
}

uint32_t blend_run(const struct blend_list *x, uint32_t token)
{
    const struct blend_guess *best = NULL;

    for (uint32_t i = 0; i < x->n; i++)
        if (!best || x->guess[i].q > best->q) best = &x->guess[i];
    return best && best->token == token ? x->run + 1 : 0;
}

/* ---- learning ---- */

/* The beta that has given what was chosen, number at of n, the largest shares. */
static void learn_beta(struct blend_beta *b, const float *score, uint32_t n, uint32_t at)
{
    for (uint32_t i = 0; i < BLEND_BETAS; i++) {
        double share[BLEND_MOST];

        softmax(score, n, betas[i], share);
        b->likelihood[i] = b->likelihood[i] * FORGET + log(share[at] + 1e-9);
    }
    for (uint32_t i = 0; i < BLEND_BETAS; i++)
        if (b->likelihood[i] > b->likelihood[b->best]) b->best = i;
}

/* Where the token is among n; n: nowhere. */
static uint32_t place_of(const uint32_t *list, uint32_t n, uint32_t token)
{
    uint32_t at = 0;

    while (at < n && list[at] != token) at++;
    return at;
}

static void learn_recycled(struct blend *b, const struct blend_list *x, uint32_t token)
{
    uint32_t at = place_of(x->token, x->recycled, token), k = x->recycled_order;

    if (!x->recycled) return;
    b->trials[k] = b->trials[k] * FORGET + 1;
    b->hits[k] = b->hits[k] * FORGET + (at < x->recycled);
    if (at < x->recycled) learn_beta(&b->recycled, x->score, x->recycled, at);
}

static void learn_neural(struct blend *b, const struct blend_list *x, uint32_t token)
{
    uint32_t at = place_of(x->neural.token, x->neural.n, token);

    if (!x->neural.n) return;
    b->neural_trials = b->neural_trials * FORGET + 1;
    b->neural_hits = b->neural_hits * FORGET + (at < x->neural.n);
    if (at < x->neural.n) learn_beta(&b->neural, x->neural.score, x->neural.n, at);
}

/* Towards the share that the first of two has in what they gave the token together. */
static void learn_weight(double *w, double first, double second)
{
    double a = *w * first, b = (1 - *w) * second;

    if (!(a + b > 0)) return;
    *w += WEIGHT_STEP * (a / (a + b) - *w);
    *w = *w < 0.02 ? 0.02 : *w > 0.98 ? 0.98 : *w;
}

static void learn_calibration(struct blend *b, const struct blend_list *x, uint32_t token)
{
    double(*sum)[BLEND_BINS] = b->sum[x->neural.n > 0], (*found)[BLEND_BINS] = b->found[x->neural.n > 0];
    uint32_t k = class_of(x->run);

    for (uint32_t i = 0; i < x->n; i++) {
        const struct blend_guess *g = &x->guess[i];
        uint32_t bin = bin_of(g->q);

        sum[k][bin] = sum[k][bin] * FORGET + (double)g->q;
        found[k][bin] = found[k][bin] * FORGET + (g->token == token);
    }
}

void blend_learn(struct blend *b, const struct blend_list *x, uint32_t token)
{
    const struct blend_guess *g = NULL;

    for (uint32_t i = 0; i < x->n; i++)
        if (x->guess[i].token == token) g = &x->guess[i];
    learn_calibration(b, x, token);
    if (g && x->neural.n && (x->order < NGRAM_ORDERS || x->recycled)) {
        double w = weight_of(b, x);

        learn_weight(&b->trust[x->order], g->neural, w * (double)g->ngram + (1 - w) * (double)g->recycled);
    }
    if (g && x->recycled && x->order < NGRAM_ORDERS) learn_weight(&b->weight[x->order], g->ngram, g->recycled);
    learn_recycled(b, x, token);
    learn_neural(b, x, token);
}

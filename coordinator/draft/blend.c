#include "coordinator/draft/blend.h"

#include <math.h>
#include <string.h>

#define WEIGHT_STEP 0.03  /* towards the newest */
#define FORGET      0.99  /* of likelihoods, and of hits, with each token */
#define BEFORE      1.0   /* what a bin is assumed to have seen, and found as predicted */
#define Q_LEAST     0.002 /* less is not worth a place in the list */

#define BETA_ONE 3
static const double betas[BLEND_BETAS] = {0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4.5, 7, 10};

void blend_open(struct blend *b, const struct ngrams *g, const struct recycle *r)
{
    *b = (struct blend){.ngrams = g, .recycle = r, .recycled.best = BETA_ONE};
    for (uint32_t k = 0; k < NGRAM_ORDERS; k++) b->weight[k] = 0.5 + 0.05 * k;
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

static void add_recycled(const struct blend *b, struct blend_list *out)
{
    double share[RECYCLE_TOKENS], h = b->hits[out->recycled_order] / b->trials[out->recycled_order];

    if (!out->recycled) return;
    softmax(out->score, out->recycled, betas[b->recycled.best], share);
    for (uint32_t i = 0; i < out->recycled; i++) {
        float x = (float)(share[i] * h);
        uint32_t k = 0;

        while (k < out->n && out->guess[k].token != out->token[i]) k++;
        if (k == BLEND_MOST) continue;
        if (k == out->n) out->guess[out->n++] = (struct blend_guess){.token = out->token[i]};
        out->guess[k].recycled = x;
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

static double calibrated(const struct blend *b, uint32_t run, double q)
{
    uint32_t i = bin_of(q), k = class_of(run);
    double p = q * (b->found[k][i] + BEFORE) / (b->sum[k][i] + BEFORE);

    return p < 0.999 ? p : 0.999;
}

void blend_look(const struct blend *b, struct ngram_context c, const struct sampler_settings *s, uint64_t position,
                struct blend_list *out)
{
    struct ngram_guess list[BLEND_MOST];
    uint32_t kept = 0;
    double w;

    out->recycled = out->recycled_order = 0;
    out->n = ngrams_guess(b->ngrams, c, list, BLEND_MOST - RECYCLE_TOKENS, &out->order);
    for (uint32_t i = 0; i < out->n; i++)
        out->guess[i] = (struct blend_guess){.token = list[i].token, .ngram = (float)list[i].p};
    look_at_recycled(b, c, s, position, out);
    w = !out->recycled ? 1 : out->n ? b->weight[out->order] : 0;
    add_recycled(b, out);
    for (uint32_t i = 0; i < out->n; i++) {
        struct blend_guess x = out->guess[i];

        x.q = (float)(w * (double)x.ngram + (1 - w) * (double)x.recycled);
        if ((double)x.q >= Q_LEAST) out->guess[kept++] = x;
    }
    out->n = kept;
    for (uint32_t i = 0; i < out->n; i++) out->guess[i].p = (float)calibrated(b, out->run, out->guess[i].q);
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

static void learn_recycled(struct blend *b, const struct blend_list *x, uint32_t token)
{
    uint32_t at = 0, k = x->recycled_order;

    if (!x->recycled) return;
    while (at < x->recycled && x->token[at] != token) at++;
    b->trials[k] = b->trials[k] * FORGET + 1;
    b->hits[k] = b->hits[k] * FORGET + (at < x->recycled);
    if (at < x->recycled) learn_beta(&b->recycled, x->score, x->recycled, at);
}

void blend_learn(struct blend *b, const struct blend_list *x, uint32_t token)
{
    const struct blend_guess *chosen = NULL;

    for (uint32_t i = 0; i < x->n; i++) {
        const struct blend_guess *g = &x->guess[i];
        double *sum = &b->sum[class_of(x->run)][bin_of(g->q)], *found = &b->found[class_of(x->run)][bin_of(g->q)];

        if (g->token == token) chosen = g;
        *sum = *sum * FORGET + (double)g->q;
        *found = *found * FORGET + (g->token == token);
    }
    if (chosen && x->recycled && x->order < NGRAM_ORDERS) {
        double w = b->weight[x->order], n = w * (double)chosen->ngram, r = (1 - w) * (double)chosen->recycled;

        w += WEIGHT_STEP * (n / (n + r) - w);
        b->weight[x->order] = w < 0.02 ? 0.02 : w > 0.98 ? 0.98 : w;
    }
    learn_recycled(b, x, token);
}

#include "coordinator/batch/sampling.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

struct candidate {
    double score; /* logit / T */
    uint32_t token;
};

struct sampler {
    uint32_t vocab;
    struct candidate *list; /* [vocab] */
    uint8_t *seen;          /* [vocab] */
    float *masked;          /* [vocab] */
};

int sampler_open(struct sampler **out, uint32_t vocab, struct error *e)
{
    struct sampler *s = calloc(1, sizeof *s);

    if (s) {
        s->vocab = vocab;
        s->list = malloc(vocab * sizeof *s->list);
        s->seen = calloc(vocab, 1);
        s->masked = malloc(vocab * sizeof *s->masked);
    }
    if (!s || !s->list || !s->seen || !s->masked) {
        sampler_close(s);
        return error_set(e, ENOMEM, "no memory to sample from %u tokens", vocab);
    }
    *out = s;
    return 0;
}

void sampler_close(struct sampler *s)
{
    if (!s) return;
    free(s->list);
    free(s->seen);
    free(s->masked);
    free(s);
}

/* ---- noise ---- */

static void philox_round(uint32_t c[4], const uint32_t k[2])
{
    uint64_t a = UINT64_C(0xD2511F53) * c[0], b = UINT64_C(0xCD9E8D57) * c[2];
    uint32_t c1 = c[1], c3 = c[3];

    c[0] = (uint32_t)(b >> 32) ^ c1 ^ k[0];
    c[1] = (uint32_t)b;
    c[2] = (uint32_t)(a >> 32) ^ c3 ^ k[1];
    c[3] = (uint32_t)a;
}

/* 52 random bits of a token at its position. */
static uint64_t random_bits(uint64_t seed, uint64_t sequence, uint64_t position, uint32_t token)
{
    uint32_t c[4] = {token, (uint32_t)position, (uint32_t)(position >> 32), 0};
    /* the two words of the seed as the key; the sequence joins through the counter's last word and the key */
    uint32_t k[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};

    c[3] = (uint32_t)sequence;
    k[1] ^= (uint32_t)(sequence >> 32);
    for (int i = 0; i < 10; i++) {
        philox_round(c, k);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    return ((uint64_t)c[0] << 32 | c[1]) >> 12;
}

static double uniform(uint64_t bits)
{
    return ((double)bits + 0.5) * 0x1p-52;
}

double sampler_uniform(uint64_t seed, uint64_t sequence, uint64_t position, uint32_t token)
{
    return uniform(random_bits(seed, sequence, position, token));
}

/* The largest that -log(-log u) can be, without a logarithm: it is less than -log(1 - u), and 1 - u at least half of the
 * power of two whose exponent the leading ones of u's bits give. */
static double noise_bound(uint64_t bits)
{
    uint64_t rest = ~bits & ((UINT64_C(1) << 52) - 1); /* of 1 - u, in units of 2^-52, rounded down */
    int leading = rest ? __builtin_clzll(rest) - 12 : 52;

    return 0.6931471805599454 * (leading + 1) + 1e-9;
}

/* ---- scanning ---- */

/* Temperatures below this leave no room for noise: distinct float32 logits differ by more than 1e-45, and noise is less
 * than 37. Dividing by them could overflow. */
#define COLDEST    1e-100
#define NOISE_MOST 36.8 /* -log(-log u) of the largest u */
#define LANES      16

/* NaN is passed over; -INFINITY where there is nothing else. In lanes, for the compiler's vectors. */
static float largest(const float *x, uint32_t n)
{
    float most[LANES], all = -INFINITY;
    uint32_t i = 0;

    for (int j = 0; j < LANES; j++) most[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
    for (int j = 0; j < LANES; j++) all = most[j] > all ? most[j] : all;
    for (; i < n; i++) all = x[i] > all ? x[i] : all;
    return all;
}

/* Where it is, first; n: nowhere. */
static uint32_t find(const float *x, uint32_t n, float value)
{
    uint32_t i = 0;

    while (i < n && x[i] != value) i++;
    return i;
}

/* ---- filters: the list is kept[0 .. n), in no order unless said ---- */

static int by_score(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->token < y->token ? -1 : x->token > y->token;
}

static bool better(const struct candidate *a, const struct candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->token < b->token);
}

/* The k best to the front, by quickselect (median of three). */
static void select_best(struct candidate *c, uint32_t n, uint32_t k)
{
    while (n > 1 && k < n) {
        struct candidate pivot, t;
        uint32_t i = 0, j = n - 1, m = n / 2;

        if (better(&c[m], &c[0])) {
            t = c[m];
            c[m] = c[0];
            c[0] = t;
        }
        if (better(&c[n - 1], &c[0])) {
            t = c[n - 1];
            c[n - 1] = c[0];
            c[0] = t;
        }
        if (better(&c[n - 1], &c[m])) {
            t = c[n - 1];
            c[n - 1] = c[m];
            c[m] = t;
        }
        pivot = c[m];
        for (;;) {
            while (better(&c[i], &pivot)) i++;
            while (better(&pivot, &c[j])) j--;
            if (i >= j) break;
            t = c[i];
            c[i] = c[j];
            c[j] = t;
            i++;
            j--;
        }
        if (k <= j + 1) {
            if (n == j + 1) return;
            n = j + 1;
        } else {
            c += j + 1;
            n -= j + 1;
            k -= j + 1;
        }
    }
}

/* The k best of all tokens, best first; logits as they are. Blocks that hold none of them are passed over. */
#define BLOCK 4096u
static uint32_t scan_top_k(struct candidate *c, const float *x, uint32_t n, uint32_t k, double t)
{
    uint32_t kept = 0, room = 2 * k + BLOCK;
    double bar =
        -INFINITY; /* what a logit must exceed to be among the k best: ties go to the lower id, which came first */

    if (room > n) room = n;
    for (uint32_t at = 0; at < n; at += BLOCK) {
        uint32_t end = n - at < BLOCK ? n : at + BLOCK;

        if (!((double)largest(x + at, end - at) > bar)) continue;
        for (uint32_t i = at; i < end; i++) {
            if (!((double)x[i] > bar)) continue;
            c[kept++] = (struct candidate){(double)x[i] / t, i};
            if (kept < room || kept <= k) continue;
            select_best(c, kept, k);
            kept = k;
            for (uint32_t j = 0; j < k; j++)
                if (!j || (double)x[c[j].token] < bar) bar = (double)x[c[j].token];
        }
    }
    if (kept > k) {
        select_best(c, kept, k);
        kept = k;
    }
    qsort(c, kept, sizeof *c, by_score);
    return kept;
}

static uint32_t keep_top_k(struct candidate *c, uint32_t n, int k)
{
    if (k <= 0 || (uint32_t)k >= n) return n;
    select_best(c, n, (uint32_t)k);
    return (uint32_t)k;
}

/* The smallest set of best tokens whose probabilities reach p. */
static uint32_t keep_top_p(struct candidate *c, uint32_t n, double p)
{
    double most, total = 0, sum = 0;
    uint32_t kept = 0, sorted = 0, block = 256;

    if (p >= 1.0 || n < 2) return n;
    most = c[0].score;
    for (uint32_t i = 1; i < n; i++)
        if (c[i].score > most) most = c[i].score;
    for (uint32_t i = 0; i < n; i++) total += exp(c[i].score - most);
    while (kept < n) {
        if (kept == sorted) { /* sort only as far as needed */
            uint32_t m = n - sorted < block ? n - sorted : block;
            select_best(c + sorted, n - sorted, m);
            qsort(c + sorted, m, sizeof *c, by_score);
            sorted += m;
            block *= 4;
        }
        sum += exp(c[kept++].score - most);
        if (sum >= p * total) break;
    }
    return kept;
}

static uint32_t keep_min_p(struct candidate *c, uint32_t n, double p)
{
    double most = c[0].score, floor_score;
    uint32_t kept = 0;

    if (p <= 0) return n;
    for (uint32_t i = 1; i < n; i++)
        if (c[i].score > most) most = c[i].score;
    floor_score = most + log(p);
    for (uint32_t i = 0; i < n; i++)
        if (c[i].score >= floor_score) c[kept++] = c[i];
    return kept;
}

static void mark(struct sampler *s, const uint32_t *history, uint64_t count, uint8_t value)
{
    for (uint64_t i = 0; i < count; i++)
        if (history[i] < s->vocab) s->seen[history[i]] = value;
}

static double penalized(const struct sampler *s, const struct sampler_settings *o, uint32_t token, double logit)
{
    if (!s->seen[token]) return logit;
    return logit > 0 ? logit / o->repeat_penalty : logit * o->repeat_penalty;
}

static uint32_t list_all(struct sampler *s, const struct sampler_settings *o, const float *logits, double t)
{
    bool penalize = o->repeat_penalty != 1.0 && o->repeat_penalty > 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->vocab; i++) {
        double x = logits[i];

        if (isnan(x) || x == -INFINITY) continue;
        s->list[n++] = (struct candidate){(penalize ? penalized(s, o, i, x) : x) / t, i};
    }
    return n;
}

/* The list's token of the highest score, noise included where noise is asked for. */
static uint32_t best_of_list(const struct candidate *c, uint32_t n, const struct sampler_settings *o, bool noise,
                             uint64_t sequence, uint64_t position)
{
    double best = -INFINITY;
    uint32_t choice = UINT32_MAX;

    for (uint32_t i = 0; i < n; i++) {
        double x = c[i].score;

        if (noise) x -= log(-log(sampler_uniform(o->seed, sequence, position, c[i].token)));
        if (x > best || choice == UINT32_MAX || (x == best && c[i].token < choice)) {
            best = x;
            choice = c[i].token;
        }
    }
    return choice;
}

/* The same over all tokens: logarithms only where the noise could matter. */
static uint32_t best_of_all(const float *logits, uint32_t n, const struct sampler_settings *o, uint64_t sequence,
                            uint64_t position)
{
    uint32_t choice = find(logits, n, largest(logits, n));
    double t = o->temperature, best;

    best = logits[choice] / t - log(-log(sampler_uniform(o->seed, sequence, position, choice)));
    for (uint32_t i = 0; i < n; i++) {
        double x = logits[i] / t;
        uint64_t bits;

        if (!(x + NOISE_MOST >= best) || i == choice) continue; /* NaN too */
        bits = random_bits(o->seed, sequence, position, i);
        if (x + noise_bound(bits) < best) continue;
        x -= log(-log(uniform(bits)));
        if (x > best || (x == best && i < choice)) {
            best = x;
            choice = i;
        }
    }
    return choice;
}

/* The logits of what is allowed; all others -inf. */
static const float *mask(struct sampler *s, const float *logits, const uint64_t *allow)
{
    for (uint32_t i = 0; i < s->vocab; i++) s->masked[i] = allow[i / 64] >> i % 64 & 1 ? logits[i] : -INFINITY;
    return s->masked;
}

static bool penalizes(const struct sampler_settings *o)
{
    return o->repeat_penalty != 1.0 && o->repeat_penalty > 0;
}

/* What the filters keep, in s->list: how many. */
static uint32_t keep(struct sampler *s, const struct sampler_settings *o, const float *logits, const uint32_t *history,
                     uint64_t count, bool noise)
{
    bool penalize = penalizes(o);
    double t = noise ? o->temperature : 1.0;
    uint32_t n;

    if (penalize) mark(s, history, count, 1);
    if (!penalize && o->top_k > 0 && (uint32_t)o->top_k < s->vocab) {
        n = scan_top_k(s->list, logits, s->vocab, (uint32_t)o->top_k, t);
    } else {
        n = list_all(s, o, logits, t);
        if (noise) n = keep_top_k(s->list, n, o->top_k);
    }
    if (penalize) mark(s, history, count, 0);
    if (noise && n) {
        n = keep_top_p(s->list, n, o->top_p);
        n = keep_min_p(s->list, n, o->min_p);
    }
    return n;
}

static bool filters(const struct sampler_settings *o)
{
    return o->top_k > 0 || o->top_p < 1 || o->min_p > 0;
}

int sampler_choose(struct sampler *s, const struct sampler_settings *o, const float *logits, const uint32_t *history,
                   uint64_t count, uint64_t sequence, uint64_t position, uint32_t *token, struct error *e)
{
    bool penalize = penalizes(o), noise = o->temperature > COLDEST;
    float most;
    uint32_t n;

    if (o->allow) logits = mask(s, logits, o->allow);
    most = largest(logits, s->vocab);
    if (most == -INFINITY && o->allow)
        return error_set(e, EDOM, "no token that the form of the answer allows has a finite logit at position %llu",
                         (unsigned long long)position);
    if (most == -INFINITY)
        return error_set(e, EDOM,
                         "all logits are NaN at position %llu: the weights hold NaN or infinite values; sluice verify "
                         "looks for them",
                         (unsigned long long)position);
    if (!penalize && !noise) {
        *token = find(logits, s->vocab, most);
        return 0;
    }
    if (!penalize && !filters(o)) {
        *token = best_of_all(logits, s->vocab, o, sequence, position);
        return 0;
    }
    n = keep(s, o, logits, history, count, noise);
    *token = best_of_list(s->list, n, o, noise, sequence, position);
    return 0;
}

/* ---- ranking ---- */

/* Tokens this far below the best are e^-12 as likely: all of them together are hardly ever chosen. */
#define FAR 12.0

/* The tokens whose scores are not far below the best: how many. */
static uint32_t list_near(struct sampler *s, const float *logits, double t)
{
    double least = largest(logits, s->vocab) - FAR * t;
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->vocab; i++)
        if ((double)logits[i] >= least) s->list[n++] = (struct candidate){(double)logits[i] / t, i};
    return n;
}

uint32_t sampler_rank(struct sampler *s, const struct sampler_settings *o, const float *logits, const uint32_t *history,
                      uint64_t count, uint64_t position, uint32_t most, uint32_t *token, float *score)
{
    bool noise = o->temperature > COLDEST;
    uint32_t n;

    if (penalizes(o) || (noise && filters(o)))
        n = keep(s, o, logits, history, count, noise);
    else if (noise)
        n = list_near(s, logits, o->temperature);
    else
        n = scan_top_k(s->list, logits, s->vocab, most < s->vocab ? most : s->vocab, 1);
    for (uint32_t i = 0; noise && i < n; i++)
        s->list[i].score -= log(-log(sampler_uniform(o->seed, 0, position, s->list[i].token)));
    if (n > most) {
        select_best(s->list, n, most);
        n = most;
    }
    qsort(s->list, n, sizeof *s->list, by_score);
    for (uint32_t i = 0; i < n; i++) {
        token[i] = s->list[i].token;
        score[i] = (float)s->list[i].score;
    }
    return n;
}

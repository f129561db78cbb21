#include "coordinator/draft/drafter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/draft/history.h"
#include "coordinator/draft/tree.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define BEYOND     8u   /* guesses after the best tree that are looked at for a better one */
#define GAIN_LEAST 0.98 /* of the seconds without any: what is no better than that is left */
/* What sweeps without guesses take is looked at where those with some take longer than that is assumed to be, by more than
 * this: at once where it is not known, else after so many. */
#define BLIND_MOST 128u
#define LONGER     1.1

/* Steps of the small model. */
#define STEP_SHARE  0.3  /* a step takes guesses down to this part of its likeliest one */
#define STEP_P      0.02 /* and this */
#define STEPS_LEAST 8u   /* of a sweep at most: so many, and one more for each four guesses */
#define STEP_GAIN   0.6  /* what a step brings for each token that is asked about, before it is known */
#define STEP_NEWEST 0.1
#define STEP_UNPAID 64u /* sweeps without one, after which one is tried */
#define LACKS_MOST  32u /* tokens that it has not seen yet count as so many: it sees them once */
#define TOLD_AFTER  32u /* sweeps that it was too dear for */

/* Likeliest tokens in a row at the end of a sequence. */
#define STREAKS 256u
struct streak {
    uint32_t number, run;
};

/* How often guesses were right whose paths had about this probability: right ones follow each other, so that products of what is
 * right for each of them are too small for long paths. */
#define PATH_BINS   8u   /* 1/2 to 1, 1/4 to 1/2, ... */
#define PATH_FORGET 0.97 /* with each sweep */
#define PATH_BEFORE 1.5  /* what a bin is assumed to have seen, and found as it was told */
struct paths {
    double told[PATH_BINS], right[PATH_BINS];
};

struct drafter {
    struct drafter_config config;
    double *experts;
    struct history *history;
    struct recycle *recycle;
    struct blend blend;
    struct streak streak[STREAKS]; /* of the sequences whose numbers have these last bits */
    struct budget budget;
    struct tree tree;
    struct paths paths;
    bool *right; /* [most] of the sweep under way */
    /* the sweep under way */
    const struct guess_ask *ask;
    uint32_t *number, *run; /* [roots] */
    uint32_t guesses;
    double predicted;
    uint32_t blind; /* sweeps since the last one without guesses */
    bool asked;     /* about the sweep under way */
    double seconds; /* of the last sweep with guesses */
    /* steps of the small model */
    bool *has; /* [roots] there is a place for it */
    struct neural_node *batch;
    struct tree_node **of; /* [width] of the tree's, until it grows anew */
    struct blend_scores *scores;
    double gain;
    uint32_t unpaid; /* sweeps since it was worth a step */
    bool told;
    struct drafter_stats stats;
};

/* ---- its life ---- */

static uint32_t places(uint32_t tokens)
{
    uint32_t n = 1024;

    while (n < 8192 && n < tokens) n *= 2;
    return n;
}

uint32_t drafter_nodes(uint32_t most)
{
    return 2 * most;
}

uint64_t drafter_bytes(uint32_t most, uint32_t roots, uint32_t tokens, bool small)
{
    return sizeof(struct drafter) + history_bytes(tokens) + recycle_bytes(places(tokens)) +
           tree_bytes(most, roots, small ? drafter_nodes(most) : 0) +
           (small ? most * (sizeof(struct neural_node) + sizeof(struct blend_scores) + 8) : 0) + roots * UINT64_C(9) +
           most;
}

static int allocate(struct drafter *d, struct error *e)
{
    const struct drafter_config *c = &d->config;

    d->number = calloc(c->roots, sizeof *d->number);
    d->run = calloc(c->roots, sizeof *d->run);
    d->has = calloc(c->roots, sizeof *d->has);
    d->right = calloc(c->most, sizeof *d->right);
    if (c->costs.experts) d->experts = malloc((c->costs.most + UINT64_C(1)) * sizeof *d->experts);
    if (c->neural) {
        d->batch = calloc(c->width, sizeof *d->batch);
        d->of = calloc(c->width, sizeof(struct tree_node *));
        d->scores = calloc(c->width, sizeof *d->scores);
    }
    if (d->number && d->run && d->has && d->right && (d->experts || !c->costs.experts) &&
        (!c->neural || (d->batch && d->of && d->scores)))
        return 0;
    return error_set(e, ENOMEM, "no memory for trees of %u guesses", c->most);
}

int drafter_open(struct drafter **out, const struct drafter_config *c, struct error *e)
{
    struct drafter *d = calloc(1, sizeof *d);
    struct tree_config tree = {.most = c->most, .roots = c->roots, .spots = c->neural ? drafter_nodes(c->most) : 0};
    struct budget_costs costs = c->costs;
    int rc;

    if (!d) return error_set(e, ENOMEM, "out of memory");
    d->config = *c;
    d->gain = STEP_GAIN;
    tree.blend = &d->blend;
    rc = allocate(d, e);
    if (!rc) rc = tree_open(&d->tree, &tree, e);
    if (!rc) rc = history_open(&d->history, c->tokens, e);
    if (!rc) rc = recycle_open(&d->recycle, places(c->tokens), e);
    if (rc) {
        drafter_close(d);
        return rc;
    }
    if (costs.experts) costs.experts = memcpy(d->experts, costs.experts, (costs.most + UINT64_C(1)) * sizeof(double));
    budget_open(&d->budget, &costs);
    blend_open(&d->blend, history_ngrams(d->history), d->recycle);
    *out = d;
    return 0;
}

void drafter_close(struct drafter *d)
{
    if (!d) return;
    history_close(d->history);
    recycle_close(d->recycle);
    tree_close(&d->tree);
    free(d->experts);
    free(d->number);
    free(d->run);
    free(d->has);
    free(d->right);
    free(d->batch);
    free(d->of);
    free(d->scores);
    free(d);
}

struct drafter_stats drafter_stats(const struct drafter *d)
{
    return d->stats;
}

/* ---- the tree ---- */

static uint32_t run_of(const struct drafter *d, uint32_t number)
{
    const struct streak *x = &d->streak[number % STREAKS];

    return x->number == number ? x->run : 0;
}

static void plant(struct drafter *d)
{
    uint32_t roots = d->ask->roots < d->config.roots ? d->ask->roots : d->config.roots;

    for (uint32_t i = 0; i < roots; i++) {
        const struct guess_root *r = &d->ask->root[i];

        history_meet(d->history, r);
        d->number[i] = r->number;
        d->run[i] = run_of(d, r->number);
    }
    tree_plant(&d->tree, d->ask->root, roots, d->run);
}

static uint32_t path_bin(double p)
{
    uint32_t k = 0;

    for (; k + 1 < PATH_BINS && p < 0.5; p *= 2) k++;
    return k;
}

static double path_likely(const struct drafter *d, double p)
{
    uint32_t k = path_bin(p);
    double x = p * (d->paths.right[k] + PATH_BEFORE) / (d->paths.told[k] + PATH_BEFORE);

    return x < 1 ? x : 1;
}

/* Of the guesses of the sweep that is done. */
static void learn_paths(struct drafter *d)
{
    struct paths *x = &d->paths;

    for (uint32_t k = 0; k < PATH_BINS && d->guesses; k++) {
        x->told[k] *= PATH_FORGET;
        x->right[k] *= PATH_FORGET;
    }
    for (uint32_t i = 0; i < d->guesses; i++) {
        double p = tree_at(&d->tree, 0, i)->p;

        x->told[path_bin(p)] += p;
        x->right[path_bin(p)] += d->right[i];
    }
}

/* The tree as large as it pays: how many of its guesses. */
static uint32_t choose(struct drafter *d, uint32_t most)
{
    struct tree *t = &d->tree;
    uint32_t at = d->ask->positions, rows = t->roots, best = 0;
    double tokens = rows, seconds = budget_seconds(&d->budget, at, rows), least = seconds / tokens * GAIN_LEAST;

    tree_begin(t);
    d->predicted = tokens;
    while (t->guesses < most && (d->config.fixed || t->guesses < best + BEYOND) && tree_next(t)) {
        uint32_t n = t->guesses;
        double longer = budget_seconds(&d->budget, at + n, rows + n);

        tokens += path_likely(d, tree_at(t, 0, n - 1)->p);
        if (longer > seconds) seconds = longer;
        if (!d->config.fixed && !(seconds / tokens < least)) continue;
        least = seconds / tokens;
        best = n;
        d->predicted = tokens;
    }
    return best;
}

/* Is a sweep without guesses due? */
static bool look_up(const struct drafter *d)
{
    uint32_t n = d->ask->positions, rows = d->tree.roots;

    if (d->config.fixed || !d->blind) return false;
    if (!budget_seen(&d->budget, n)) return d->seconds > LONGER * budget_planned(&d->budget, n, rows);
    return d->blind >= BLIND_MOST && d->seconds > LONGER * budget_seconds(&d->budget, n, rows);
}

/* ---- the small model ---- */

/* May it be asked what follows this node? */
static bool open_to_it(const struct drafter *d, const struct tree_node *x)
{
    const struct tree *t = &d->tree;
    uint32_t parent;

    if (x->ahead >= d->ask->root[x->root].most || !d->has[x->root]) return false;
    if (x->spot != TREE_NONE) return !t->spot[x->spot].scored;
    parent = tree_at(t, x->root, x->parent)->spot;
    return parent != TREE_NONE && (!neural_chains(d->config.neural) || t->spot[parent].kid == TREE_NONE);
}

static bool is_taken(const struct drafter *d, uint32_t n, const struct tree_node *x)
{
    for (uint32_t i = 0; i < n; i++)
        if (d->of[i] == x) return true;
    return false;
}

static struct tree_node *likeliest(const struct drafter *d, uint32_t taken)
{
    const struct tree *t = &d->tree;
    struct tree_node *best = NULL;

    for (uint32_t i = 0; i < t->roots + t->guesses; i++) {
        struct tree_node *x = i < t->roots ? &t->node[i] : tree_at(t, 0, i - t->roots);

        if ((!best || x->p > best->p) && open_to_it(d, x) && !is_taken(d, taken, x)) best = x;
    }
    return best;
}

/* The likeliest that it was not asked about, none before its parent, which is likelier: how many; and the sum of their
 * probabilities. */
static uint32_t pick(struct drafter *d, double *sum)
{
    struct tree *t = &d->tree;
    uint32_t n = 0;

    for (*sum = 0; n < d->config.width; n++) {
        struct tree_node *x = likeliest(d, n);

        if (!x || x->p < STEP_P || (n && x->p < STEP_SHARE * d->of[0]->p)) break;
        if (x->spot == TREE_NONE && tree_spot(t, x) == TREE_NONE) break;
        d->batch[n] = (struct neural_node){x->root, NEURAL_ROOT, x->token};
        if (x->ahead) d->batch[n].parent = tree_at(t, x->root, x->parent)->spot;
        d->of[n] = x;
        *sum += x->p;
    }
    return n;
}

/* best: guesses of the tree as it is; spent: seconds of the steps before. */
static bool pays(const struct drafter *d, uint32_t asked, double sum, uint32_t best, double spent, bool first)
{
    const struct neural *m = d->config.neural;
    double sweep = budget_seconds(&d->budget, d->ask->positions + best, d->tree.roots + best) + spent;
    double hidden = d->config.hidden - spent, cost;
    uint32_t lacks = first ? neural_lacks(m) : 0;

    cost = neural_seconds(m, asked + (lacks < LACKS_MOST ? lacks : LACKS_MOST), asked);
    if (d->unpaid >= STEP_UNPAID && cost < sweep) return true;
    if (hidden > 0) cost = cost > hidden ? cost - hidden : 0;
    return d->gain * sum * sweep / d->predicted > cost;
}

static void tell(struct drafter *d)
{
    if (d->told || d->stats.steps || d->unpaid < TOLD_AFTER) return;
    d->told = true;
    log_warn("the draft model costs more than it would save here, %.3g s a step for sweeps of %.3g s: it is not asked "
             "(--speculate N asks it always)",
             neural_seconds(d->config.neural, 1, 1), budget_seconds(&d->budget, 1, 1));
}

/* Asks it in steps, and lets the tree grow again after each: how many of its guesses. */
static uint32_t deepen(struct drafter *d, uint32_t most, uint32_t best)
{
    struct neural *m = d->config.neural;
    struct tree *t = &d->tree;
    uint32_t steps = 0, n;
    uint64_t begin = clock_ns();
    double sum;

    if (!m || !most || !(d->config.fixed ? neural_works(m) : neural_ready(m))) return best;
    neural_plant(m, d->ask->root, t->roots, d->has);
    while (steps < STEPS_LEAST + most / 4 && (n = pick(d, &sum))) {
        double before = d->predicted;

        if (!d->config.fixed && !pays(d, n, sum, best, (double)(clock_ns() - begin) / 1e9, !steps)) break;
        if (!neural_step(m, d->batch, n, d->scores)) break;
        for (uint32_t i = 0; i < n; i++) {
            t->spot[d->of[i]->spot].scores = d->scores[i];
            t->spot[d->of[i]->spot].scored = true;
        }
        best = choose(d, most);
        d->gain += STEP_NEWEST * ((d->predicted - before) / sum - d->gain);
        if (d->gain < 0.02) d->gain = 0.02;
        steps++;
    }
    d->stats.steps += steps;
    d->unpaid = steps ? 0 : d->unpaid + 1;
    if (neural_works(m)) tell(d);
    return best;
}

/* ---- the calls ---- */

static uint32_t on_guess(void *arg, const struct guess_ask *ask, struct guess *out)
{
    struct drafter *d = arg;
    uint32_t most = ask->most < d->config.most ? ask->most : d->config.most;

    d->ask = ask;
    plant(d);
    if (look_up(d)) most = 0;
    d->guesses = deepen(d, most, choose(d, most));
    for (uint32_t i = 0; i < d->guesses; i++) {
        const struct tree_node *x = tree_at(&d->tree, 0, i);

        out[i] = (struct guess){x->root, x->parent, x->token};
    }
    tree_leave(&d->tree);
    memset(d->right, 0, d->guesses * sizeof *d->right);
    d->ask = NULL;
    d->asked = true;
    return d->guesses;
}

static void count_hit(struct drafter *d, enum blend_source from)
{
    if (from == BLEND_NGRAM) d->stats.hits_ngram++;
    if (from == BLEND_RECYCLED) d->stats.hits_recycled++;
    if (from == BLEND_NEURAL) d->stats.hits_neural++;
}

static void on_seen(void *arg, const struct guess_seen *s)
{
    struct drafter *d = arg;
    uint32_t guess = s->node ? s->node - 1 : GUESS_ROOT, ahead;
    const struct tree_node *x;
    struct ngram_context c;

    if (s->root >= d->tree.roots) return;
    x = tree_at(&d->tree, s->root, guess);
    c = tree_way(&d->tree, s->root, guess, &ahead);
    if (x->open) {
        blend_learn(&d->blend, &x->list, s->token);
        d->streak[d->number[s->root] % STREAKS] = (struct streak){d->number[s->root], blend_run(&x->list, s->token)};
    }
    if (s->node) count_hit(d, x->from);
    if (s->node) d->right[s->node - 1] = true;
    recycle_keep(d->recycle, c.end, c.known, s->logits, d->config.vocab);
}

static void on_swept(void *arg, const struct guess_sweep *s)
{
    struct drafter *d = arg;

    if (s->decode) budget_learn(&d->budget, s->positions, s->rows, (double)s->ns / 1e9);
    if (s->guesses) d->seconds = (double)s->ns / 1e9;
    d->blind = s->guesses ? d->blind + 1 : 0;
    if (!d->asked) return;
    d->asked = false;
    learn_paths(d);
    d->stats.sweeps++;
    d->stats.guesses += s->guesses;
    d->stats.tokens += s->tokens;
    d->stats.predicted += d->predicted;
}

static void on_meet(void *arg, const struct guess_root *r)
{
    struct drafter *d = arg;

    if (!r) {
        if (d->config.neural) neural_forget(d->config.neural);
        return;
    }
    history_meet(d->history, r);
    if (d->config.neural && (d->config.fixed || d->unpaid < TOLD_AFTER)) neural_meet(d->config.neural, r);
}

static bool on_idle(void *arg)
{
    struct drafter *d = arg;

    return d->config.neural && neural_idle(d->config.neural);
}

struct guesser drafter_guesser(struct drafter *d)
{
    return (struct guesser){
        .meet = on_meet, .idle = on_idle, .guess = on_guess, .seen = on_seen, .swept = on_swept, .arg = d};
}

#include "coordinator/draft/neural.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

#define PIECE      128u /* positions of one of its sweeps while the model's is under way */
#define LACKS_MOST 32u  /* tokens that a root's step computes with it; more of them come in pieces before */
#define SKIPPED    UINT32_MAX
#define TURNS_MOST 24u  /* pieces of the cache on a token's way: compute lists them all */
#define STEP_LIMIT 20.0 /* seconds that a sweep may take beyond ten times what is expected of it */
#define FILL_RATE  10e6 /* bytes per second that the first one, which reads the model, may have */

/* Of the cache: rows [number * rows, + rows). Its first `computed` tokens are there. */
struct place {
    uint32_t number; /* the sequence's */
    uint32_t computed;
    uint64_t used; /* by the tree of that number; 0: never */
    uint32_t *token;
};

/* A root or a token of the tree. */
struct spot {
    uint32_t root, parent, token, position, row;
    uint32_t turns;
    bool own;  /* in the row that it would have */
    bool heir; /* one after it is; of chains: there is one after it */
    bool lost; /* there is no row for it */
};

struct neural {
    struct neural_config config;
    struct engine *engine; /* NULL: it has failed */
    struct sampler *sampler;
    struct budget budget;
    uint32_t rows; /* of a place */
    bool chains;   /* there are recurrent states */
    struct place *place;
    struct spot *spot; /* [roots + nodes] */
    uint32_t spots, scratched;
    uint64_t tree;
    const struct guess_root *root;
    uint32_t roots;
    struct place **at;      /* [roots] NULL: none */
    struct guess_root *met; /* [places] that are answering; and their places */
    struct place **met_at;
    uint32_t mets;
    struct sweep_position *position; /* [max_positions] of the sweep under way */
    uint32_t positions;
    uint32_t *asked;  /* [width] the spots of a step */
    bool filled;      /* a sweep was done: the model lies in memory */
    bool catching_up; /* the sweep under way is one of neural_idle() */
    bool told_long;   /* that a text has more tokens than there is room for */
    uint32_t *path;   /* [rows] */
    struct neural_stats stats;
};

/* ---- its life ---- */

static uint32_t rows_of_place(const struct neural_config *c)
{
    uint32_t rows = (c->plan->run.kv_rows - c->nodes) / c->places;

    return rows < c->plan->spec.context ? rows : c->plan->spec.context;
}

uint64_t neural_bytes(const struct neural_config *c)
{
    uint64_t rows = rows_of_place(c);

    return sizeof(struct neural) + c->places * (sizeof(struct place) + sizeof(struct guess_root) + 8 + rows * 4) +
           (c->roots + UINT64_C(1) * c->nodes) * sizeof(struct spot) + c->roots * 8 +
           c->plan->run.max_positions * sizeof(struct sweep_position) + rows * 4 + c->plan->spec.vocab * UINT64_C(21);
}

static int allocate(struct neural *n, struct error *e)
{
    const struct neural_config *c = &n->config;
    bool all;

    n->rows = rows_of_place(c);
    n->place = calloc(c->places, sizeof *n->place);
    n->spot = calloc(c->roots + c->nodes, sizeof *n->spot);
    n->at = calloc(c->roots, sizeof *n->at);
    n->met = calloc(c->places, sizeof *n->met);
    n->met_at = calloc(c->places, sizeof *n->met_at);
    n->position = calloc(c->plan->run.max_positions, sizeof *n->position);
    n->asked = calloc(c->width, sizeof *n->asked);
    n->path = calloc(n->rows, sizeof *n->path);
    all = n->place && n->spot && n->at && n->met && n->met_at && n->position && n->asked && n->path;
    for (uint32_t i = 0; all && i < c->places; i++)
        all = (n->place[i].token = calloc(n->rows, sizeof *n->place[i].token)) != NULL;
    return all ? 0 : error_set(e, ENOMEM, "no memory for the draft model's %u positions", n->rows * c->places);
}

int neural_open(struct neural **out, const struct neural_config *c, struct error *e)
{
    struct engine_config engine = {.plan = c->plan,
                                   .plan_bytes = c->plan_bytes,
                                   .tick = c->tick,
                                   .tick_arg = c->tick_arg,
                                   .log = c->log,
                                   .log_arg = c->log_arg};
    struct neural *n = calloc(1, sizeof *n);
    int rc;

    if (!n) return error_set(e, ENOMEM, "out of memory");
    n->config = *c;
    n->chains = c->plan->states.count > 0;
    n->tree = 2;
    budget_open(&n->budget, &c->costs);
    rc = allocate(n, e);
    if (!rc) rc = sampler_open(&n->sampler, c->plan->spec.vocab, e);
    if (!rc) rc = engine_open(&n->engine, &engine, e);
    if (rc)
        neural_close(n);
    else
        *out = n;
    return rc;
}

void neural_close(struct neural *n)
{
    if (!n) return;
    engine_close(n->engine);
    sampler_close(n->sampler);
    for (uint32_t i = 0; n->place && i < n->config.places; i++) free(n->place[i].token);
    free(n->place);
    free(n->spot);
    free(n->at);
    free(n->met);
    free(n->met_at);
    free(n->position);
    free(n->asked);
    free(n->path);
    free(n);
}

bool neural_works(const struct neural *n)
{
    return n->engine != NULL;
}

bool neural_chains(const struct neural *n)
{
    return n->chains;
}

void neural_rest(struct neural *n)
{
    if (n->engine) engine_rest(n->engine);
}

static uint64_t peak(struct neural *n)
{
    struct engine_stats s;

    if (n->engine) engine_stats(n->engine, &s);
    return n->engine ? s.peak_stage_bytes : n->stats.peak_bytes;
}

struct neural_stats neural_stats(struct neural *n)
{
    n->stats.peak_bytes = peak(n);
    return n->stats;
}

double neural_seconds(const struct neural *n, uint32_t positions, uint32_t rows)
{
    return budget_seconds(&n->budget, positions, rows);
}

/* Who is interrupted has not failed. */
static void fail(struct neural *n, int rc, const struct error *e)
{
    if (rc == -ECANCELED) return;
    log_warn("the draft model %s: %s; its guesses are gone, the text is the same without them", n->config.name,
             e->text);
    n->stats.peak_bytes = peak(n);
    engine_close(n->engine);
    n->engine = NULL;
    n->catching_up = false;
}

/* Its stages have started. */
static bool attached(struct neural *n)
{
    struct error e;
    int rc;

    if (!n->engine) return false;
    if (engine_attached(n->engine)) return true;
    if ((rc = engine_poll(n->engine, 0, &e))) fail(n, rc, &e);
    return n->engine && engine_attached(n->engine);
}

bool neural_ready(const struct neural *n)
{
    return n->engine && n->filled;
}

/* ---- places ---- */

/* Tokens that a place holds of a sequence: states follow all of what was computed, or nothing. */
static uint32_t common(const struct neural *n, const struct place *p, const struct guess_root *r)
{
    uint32_t same = 0, most = p->computed < r->count ? p->computed : r->count;

    while (same < most && p->token[same] == r->token[same]) same++;
    return n->chains && same < p->computed ? 0 : same;
}

/* As if it held no more than the first count tokens. */
static void cut_back(const struct neural *n, struct place *p, uint32_t count)
{
    if (p->computed > count) p->computed = n->chains ? 0 : count;
}

static void tell_long(struct neural *n, uint32_t tokens)
{
    if (n->told_long) return;
    n->told_long = true;
    log_warn("the draft model %s keeps %u tokens of a text, and one has %u: it goes on without its guesses, and is the "
             "same text",
             n->config.name, n->rows, tokens);
}

/* The sequence's, or one that no other has now: what holds most of its tokens already, or was not used for longest. */
static struct place *find_place(struct neural *n, const struct guess_root *r)
{
    struct place *best = NULL;
    uint32_t most = 0;

    if (r->count > n->rows) {
        tell_long(n, r->count);
        return NULL;
    }
    for (uint32_t i = 0; i < n->config.places; i++) {
        struct place *p = &n->place[i];
        uint32_t same;

        if (p->used && p->number == r->number) {
            best = p;
            break;
        }
        if (p->used + 1 >= n->tree) continue;
        same = common(n, p, r);
        if (best && (same < most || (same == most && p->used >= best->used))) continue;
        best = p;
        most = same;
    }
    if (!best) return NULL;
    best->number = r->number;
    best->used = n->tree;
    best->computed = common(n, best, r);
    return best;
}

static uint32_t base_of(const struct neural *n, const struct place *p)
{
    return (uint32_t)(p - n->place) * n->rows;
}

/* A token that only the model has stands as the first one. */
static uint32_t known(const struct neural *n, uint32_t token)
{
    return token < n->config.plan->spec.vocab ? token : 0;
}

/* ---- sweeps ---- */

static void put(struct neural *n, const struct place *p, uint32_t token, uint32_t position, uint32_t row,
                uint32_t parent, uint32_t flags)
{
    n->position[n->positions++] = (struct sweep_position){.token = known(n, token),
                                                          .sequence = (uint32_t)(p - n->place),
                                                          .position = position,
                                                          .row = row,
                                                          .parent = parent,
                                                          .flags = flags};
}

/* What the cache lacks of a sequence up to its first `to` tokens, as far as there is room. What comes behind is lost. */
static void put_tokens(struct neural *n, struct place *p, const struct guess_root *r, uint32_t to, uint32_t room)
{
    uint32_t base = base_of(n, p), at = p->computed;

    for (; at < to && n->positions < room; at++)
        put(n, p, r->token[at], at, base + at, at ? base + at - 1 : ROW_NONE, 0);
}

/* The sweep is done: what it has put into places' own rows is there. */
static void keep_tokens(struct neural *n)
{
    n->filled = true;
    for (uint32_t i = 0; i < n->positions; i++) {
        const struct sweep_position *x = &n->position[i];
        struct place *p = &n->place[x->sequence];

        if (x->row != base_of(n, p) + x->position) continue;
        p->token[x->position] = x->token;
        p->computed = x->position + 1;
    }
}

/* A sweep that was not waited for moves states on all the same. */
static void lose(struct neural *n)
{
    for (uint32_t i = 0; n->chains && i < n->positions; i++) n->place[n->position[i].sequence].computed = 0;
}

static bool wait_for(struct neural *n, double expected)
{
    double most =
        STEP_LIMIT + 10 * expected + (n->filled ? 0 : (double)n->config.plan->run.host_cache_bytes / FILL_RATE);
    uint64_t limit = clock_ns() + (uint64_t)(most * 1e9);
    struct error e;
    int rc = 0;

    while (!rc && !engine_sweep_done(n->engine)) {
        rc = engine_poll(n->engine, 50, &e);
        if (!rc && clock_ns() > limit)
            rc = error_set(&e, ETIMEDOUT, "%u tokens took more than %.0f s, and were expected to take %.3g s",
                           n->positions, most, expected);
    }
    if (rc) lose(n);
    if (rc) fail(n, rc, &e);
    return !rc;
}

static bool start(struct neural *n)
{
    struct error e;
    int rc = engine_sweep_start(n->engine, n->position, n->positions, &e);

    if (rc) lose(n);
    if (rc) fail(n, rc, &e);
    return !rc;
}

/* One of neural_idle()'s is done with first. */
static bool settle(struct neural *n)
{
    if (!n->engine) return false;
    if (!n->catching_up) return true;
    n->catching_up = false;
    if (!wait_for(n, budget_seconds(&n->budget, n->positions, 1))) return false;
    keep_tokens(n);
    return true;
}

void neural_meet(struct neural *n, const struct guess_root *r)
{
    struct place *p;

    if (!n->engine || (n->catching_up && !n->filled) || !settle(n)) return;
    for (uint32_t i = 0; i < n->mets; i++)
        if (n->met[i].number == r->number) return;
    if (n->mets == n->config.places || !(p = find_place(n, r))) return;
    n->met[n->mets] = *r;
    n->met_at[n->mets++] = p;
}

void neural_forget(struct neural *n)
{
    n->mets = 0;
}

bool neural_idle(struct neural *n)
{
    struct error e;
    int rc;

    if ((!n->mets && !n->catching_up) || !attached(n)) return false;
    if (n->catching_up) {
        if ((rc = engine_poll(n->engine, 0, &e))) fail(n, rc, &e);
        if (rc || !engine_sweep_done(n->engine)) return !rc;
        n->catching_up = false;
        keep_tokens(n);
    }
    n->positions = 0;
    for (uint32_t i = 0; i < n->mets; i++) /* of chains not the last one, which may be asked about again */
        put_tokens(n, n->met_at[i], &n->met[i], n->met[i].count - n->chains,
                   PIECE < n->config.plan->run.max_positions ? PIECE : n->config.plan->run.max_positions);
    return n->positions && (n->catching_up = start(n));
}

/* ---- trees ---- */

/* Rows of nobody that a root's chain has. */
static uint32_t chain_rows(const struct neural *n)
{
    return n->config.nodes / n->roots;
}

void neural_plant(struct neural *n, const struct guess_root *root, uint32_t count, bool *has)
{
    n->mets = 0;
    n->root = root;
    n->roots = count < n->config.roots ? count : n->config.roots;
    n->spots = n->roots;
    n->scratched = 0;
    n->tree++;
    settle(n);
    for (uint32_t i = 0; i < n->roots; i++) {
        const struct guess_root *r = &root[i];
        bool room = n->engine && r->count && (!n->chains || chain_rows(n));
        struct place *p = room ? find_place(n, r) : NULL;

        n->at[i] = p;
        if (has) has[i] = p != NULL;
        if (!p) continue;
        cut_back(n, p, r->count - 1);
        n->spot[i] = (struct spot){.root = i,
                                   .parent = NEURAL_ROOT,
                                   .token = r->token[r->count - 1],
                                   .position = r->count - 1,
                                   .row = base_of(n, p) + r->count - 1,
                                   .own = true};
        if (n->chains) n->spot[i].row = n->config.places * n->rows + i * chain_rows(n);
    }
}

uint32_t neural_lacks(const struct neural *n)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < n->roots; i++)
        if (n->at[i] && n->at[i]->computed < n->root[i].count) sum += n->root[i].count - n->at[i]->computed;
    return sum;
}

/* Of the roots that are asked about, but their last tokens. */
static bool catch_up(struct neural *n, const struct neural_node *x, uint32_t count)
{
    uint32_t room = n->config.plan->run.max_positions;
    bool many = neural_lacks(n) + (n->chains ? 2 : 1) * count > room;

    for (uint32_t i = 0; i < count; i++) {
        const struct guess_root *r = &n->root[x[i].root];
        struct place *p = n->at[x[i].root];

        if (x[i].parent != NEURAL_ROOT || (!many && r->count - p->computed <= LACKS_MOST)) continue;
        while (p->computed + 1 < r->count) {
            n->positions = 0;
            put_tokens(n, p, r, r->count - 1, room);
            if (!start(n) || !wait_for(n, budget_seconds(&n->budget, n->positions, 1))) return false;
            keep_tokens(n);
        }
    }
    return true;
}

/* May a chain have one more token after this one? */
static bool goes_on(const struct neural *n, const struct spot *q)
{
    return !q->heir && q->position - n->spot[q->root].position + 1 < chain_rows(n);
}

/* A spot for a token after its parent. */
static struct spot *plant_token(struct neural *n, const struct neural_node *x)
{
    struct spot *q = &n->spot[x->parent], *s = &n->spot[n->spots++];
    uint32_t position = q->position + 1;
    bool own = q->own && !q->heir && !n->chains;

    *s = (struct spot){.root = x->root, .parent = x->parent, .token = x->token, .position = position, .own = own};
    s->lost = q->lost || position >= n->rows || q->turns >= TURNS_MOST || (n->chains && !goes_on(n, q));
    if (s->lost) return s;
    if (n->chains) {
        s->row = q->row + 1;
        q->heir = true;
        return s;
    }
    s->row = own ? base_of(n, n->at[x->root]) + position : n->config.places * n->rows + n->scratched++;
    s->turns = q->turns + (s->row != q->row + 1);
    q->heir |= own;
    return s;
}

/* The tokens up to a spot, itself the last: how many. */
static uint32_t path_to(const struct neural *n, uint32_t spot)
{
    const struct guess_root *r = &n->root[n->spot[spot].root];
    uint32_t count = n->spot[spot].position + 1;

    memcpy(n->path, r->token, r->count * sizeof *n->path);
    for (; n->spot[spot].parent != NEURAL_ROOT; spot = n->spot[spot].parent)
        n->path[n->spot[spot].position] = n->spot[spot].token;
    return count;
}

static void rank(struct neural *n, uint32_t spot, const float *logits, struct blend_scores *out)
{
    struct sampler_settings s = *n->root[n->spot[spot].root].sampling;
    uint32_t count = n->spot[spot].position + 1, made, kept = 0;
    bool penalty = s.repeat_penalty != 1 && s.repeat_penalty > 0;

    s.allow = NULL;
    if (penalty) path_to(n, spot);
    made =
        sampler_rank(n->sampler, &s, logits, n->path, penalty ? count : 0, count, BLEND_SCORES, out->token, out->score);
    for (uint32_t i = 0; i < made; i++) {
        if (out->token[i] >= n->config.vocab) continue;
        out->token[kept] = out->token[i];
        out->score[kept++] = out->score[i];
    }
    out->n = kept;
}

/* The row of the token before a root. */
static uint32_t before_root(const struct neural *n, const struct place *p, const struct spot *s)
{
    return s->position ? base_of(n, p) + s->position - 1 : ROW_NONE;
}

/* The positions of a step; the spot of each of x, SKIPPED where there is none in its sweep: how many are. */
static uint32_t build(struct neural *n, const struct neural_node *x, uint32_t count)
{
    uint32_t rows = 0;

    n->positions = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct place *p = n->at[x[i].root];

        n->asked[i] = x[i].root;
        if (x[i].parent == NEURAL_ROOT) {
            const struct spot *s = &n->spot[x[i].root];

            put_tokens(n, p, &n->root[x[i].root], n->root[x[i].root].count, UINT32_MAX);
            if (n->chains) put(n, p, s->token, s->position, s->row, before_root(n, p, s), 0);
        } else {
            const struct spot *s = plant_token(n, &x[i]);

            n->asked[i] = s->lost ? SKIPPED : (uint32_t)(s - n->spot);
            if (s->lost) continue;
            put(n, p, s->token, s->position, s->row, n->spot[s->parent].row, 0);
        }
        n->position[n->positions - 1].flags = POSITION_LOGITS;
        rows++;
    }
    return rows;
}

static bool take(struct neural *n, uint32_t count, uint32_t rows, struct blend_scores *out)
{
    uint64_t vocab = n->config.plan->spec.vocab;
    const float *logits;
    struct error e;
    uint32_t got;
    int rc = 0;

    engine_logits(n->engine, &logits, &got);
    if (got != rows) rc = error_set(&e, EPROTO, "it gave %u rows of logits, and %u were asked for", got, rows);
    if (!rc && !engine_are_numbers(logits, rows * vocab)) rc = error_set(&e, EDOM, "its answer is not a number (NaN)");
    if (rc) fail(n, rc, &e);
    for (uint32_t i = 0; i < count && !rc; i++) {
        if (n->asked[i] == SKIPPED) continue;
        rank(n, n->asked[i], logits, &out[i]);
        logits += vocab;
    }
    return !rc;
}

bool neural_step(struct neural *n, const struct neural_node *x, uint32_t count, struct blend_scores *out)
{
    uint64_t begin;
    uint32_t rows;
    bool done;

    if (!settle(n)) return false;
    begin = clock_ns();
    if (!catch_up(n, x, count)) return false;
    rows = build(n, x, count);
    for (uint32_t i = 0; i < count; i++) out[i].n = 0;
    if (!rows) return true;
    done = start(n) && wait_for(n, budget_seconds(&n->budget, n->positions, rows));
    if (done) {
        keep_tokens(n);
        done = take(n, count, rows, out);
    }
    if (done) budget_learn(&n->budget, n->positions, rows, (double)(clock_ns() - begin) / 1e9);
    n->stats.steps++;
    n->stats.positions += n->positions;
    n->stats.ns += clock_ns() - begin;
    return done;
}

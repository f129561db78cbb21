#include "coordinator/batch/scheduler.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/batch/sweep.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define DEATHS_MAX 3
#define IDLE_MS    4 /* between looks at what the guesser does meanwhile */

struct scheduler {
    struct scheduler_config config;
    struct sampler *sampler;
    struct kv_rows *rows;
    struct sweep sweep;
    uint32_t *ahead;         /* [positions of a sweep] tokens to announce */
    struct guess_root *root; /* [rows of a sweep] */
    uint32_t *root_row;      /* [rows of a sweep] of each of them */
    struct guess *guess;     /* [rows of a sweep] */
    uint32_t *node; /* [rows of a sweep] the number of each row's guess, in the guesser's order, and its root */
    uint32_t *node_root;
    bool asked;    /* the guesser, about the sweep under way */
    bool cautious; /* the last sweep failed: none with guesses until one succeeds */
    struct sequence **list;
    uint32_t joined, room, turn, number;
    uint32_t deaths;              /* since the last row of logits */
    const struct sequence *alone; /* whose positions were all of the last sweep; NULL: there were others */
    struct scheduler_counts gone; /* of those that have left since there was nobody */
    struct scheduler_times times;
    /* the sweep under way */
    bool under_way;
    uint64_t start_ns, guess_ns; /* guess_ns: its guesses have taken so long */
    struct sweep_record before;  /* what the stages had done when it began */
    struct sweep_record last;    /* the one that is done */
};

static int open_guesses(struct scheduler *s, uint32_t rows, struct error *e)
{
    s->root = calloc(rows, sizeof *s->root);
    s->root_row = calloc(rows, sizeof *s->root_row);
    s->guess = calloc(rows, sizeof *s->guess);
    s->node = calloc(rows, sizeof *s->node);
    s->node_root = calloc(rows, sizeof *s->node_root);
    if (s->root && s->root_row && s->guess && s->node && s->node_root) return 0;
    return error_set(e, ENOMEM, "no memory for %u guesses", rows);
}

int scheduler_open(struct scheduler **out, const struct scheduler_config *c, struct error *e)
{
    const struct plan_run *r = &c->plan->run;
    struct scheduler *s = calloc(1, sizeof *s);
    int rc;

    if (!s) return error_set(e, ENOMEM, "out of memory");
    s->config = *c;
    rc = sampler_open(&s->sampler, c->plan->spec.vocab, e);
    if (!rc) rc = kv_rows_open(&s->rows, r->kv_rows, e);
    if (!rc) rc = sweep_open(&s->sweep, r->max_positions, r->max_logits, e);
    s->sweep.chains = c->plan->states.count > 0;
    if (!rc) rc = sweep_spare(&s->sweep, s->rows, plan_guess_rows(r->guesses), e);
    if (!rc && !(s->ahead = calloc(r->max_positions, sizeof *s->ahead))) rc = error_set(e, ENOMEM, "out of memory");
    if (!rc && s->config.guesser.guess) rc = open_guesses(s, r->max_logits, e);
    if (rc)
        scheduler_close(s);
    else
        *out = s;
    return rc;
}

void scheduler_close(struct scheduler *s)
{
    if (!s) return;
    sampler_close(s->sampler);
    kv_rows_close(s->rows);
    sweep_close(&s->sweep);
    free(s->ahead);
    free(s->root);
    free(s->root_row);
    free(s->guess);
    free(s->node);
    free(s->node_root);
    free(s->list);
    free(s);
}

void scheduler_boundary(struct scheduler *s, int (*boundary)(void *arg, struct error *e), void *arg)
{
    s->config.boundary = boundary;
    s->config.boundary_arg = arg;
}

const struct scheduler_times *scheduler_times(const struct scheduler *s)
{
    return &s->times;
}

/* ---- who takes part ---- */

int scheduler_sequence(struct scheduler *s, struct sequence **out, uint32_t limit, struct error *e)
{
    const struct plan_shm *p = s->config.plan;

    return sequence_open(out, s->rows, limit, p->spec.vocab, p->states.count > 0, e);
}

int scheduler_join(struct scheduler *s, struct sequence *q, struct error *e)
{
    if (!sequence_count(q)) return error_set(e, EINVAL, "there is nothing to go on from: the prompt is empty");
    if (s->joined == s->room) {
        uint32_t room = 2 * s->room + 16;
        struct sequence **more = realloc(s->list, room * sizeof(*more));

        if (!more) return error_set(e, ENOMEM, "out of memory");
        s->list = more;
        s->room = room;
    }
    if (!s->joined) s->gone = (struct scheduler_counts){0};
    /* the state that follows its rows may have given way to others' */
    if (s->config.plan->states.count && s->alone != q) sequence_forget(q);
    sequence_name(q, s->number++);
    s->list[s->joined++] = q;
    return 0;
}

static void count_up(struct scheduler_counts *c, const struct sequence *q)
{
    uint32_t prompt = sequence_prompt(q), computed = sequence_computed(q);

    c->prompt_tokens += prompt;
    c->prompt_done += computed < prompt ? computed : prompt;
    c->answered += sequence_made(q);
}

struct scheduler_counts scheduler_counts(const struct scheduler *s)
{
    struct scheduler_counts c = s->gone;

    for (uint32_t i = 0; i < s->joined; i++) count_up(&c, s->list[i]);
    return c;
}

void scheduler_leave(struct scheduler *s, struct sequence *q)
{
    for (uint32_t i = 0; i < s->joined; i++)
        if (s->list[i] == q) {
            count_up(&s->gone, q);
            memmove(&s->list[i], &s->list[i + 1], (s->joined - i - 1) * sizeof(*s->list));
            s->joined--;
            if (s->turn > i) s->turn--;
            return;
        }
}

uint32_t scheduler_rows_free(const struct scheduler *s)
{
    return kv_rows_free(s->rows);
}

uint32_t scheduler_joined(const struct scheduler *s)
{
    return s->joined;
}

static void leave_ended(struct scheduler *s)
{
    for (uint32_t i = s->joined; i-- > 0;)
        if (sequence_ended(s->list[i]) != SEQUENCE_RUNS) scheduler_leave(s, s->list[i]);
}

/* ---- when it goes wrong ---- */

static void note(struct scheduler *s, const char *text)
{
    if (s->config.note) s->config.note(s->config.arg, text);
}

/* What to do about a failed sweep: 0 to try again in a new epoch. */
static int recover(struct scheduler *s, int rc, struct error *e)
{
    if (rc != -EPIPE || !engine_recoverable(s->config.engine)) return rc;
    if (++s->deaths >= DEATHS_MAX) {
        s->deaths = 0; /* whoever asks again finds the stages ended, and starts them as after any other failure */
        return error_prefix(e, "gave up after %u failures in a row without a new token", DEATHS_MAX);
    }
    log_info("%s; starting the stages again", e->text);
    note(s, "a stage ended, starting again");
    return engine_restart(s->config.engine, e);
}

/* Computes the first n tokens of a sequence once more, with an eye on every weight and every result: the error then names
 * the tensor that is to blame. Where nothing is found the error stays what it is. */
static int find_fault(struct scheduler *s, const struct sequence *q, uint32_t n, struct error *e)
{
    struct error found = {0};
    const float *logits;
    uint32_t rows;
    int rc = 0;

    note(s, "the logits are not numbers, looking for the reason");
    for (uint32_t at = 0; at < n && !rc; at += s->sweep.positions) {
        sweep_replay(&s->sweep, q, at, n - at);
        s->sweep.position[0].flags = POSITION_CHECK;
        if (at + s->sweep.positions == n) s->sweep.position[s->sweep.positions - 1].flags |= POSITION_LOGITS;
        rc = engine_sweep(s->config.engine, s->sweep.position, s->sweep.positions, &logits, &rows, &found);
    }
    kv_rows_forget(s->rows);
    if (rc == -ECANCELED || (rc == -EPIPE && !engine_recoverable(s->config.engine))) *e = found;
    return rc == -ECANCELED ? rc : -e->code;
}

/* ---- a sweep ---- */

/* What the stages have done so far, of this epoch. */
static struct sweep_record counted(const struct scheduler *s)
{
    const struct epoch_shm *run = engine_epoch(s->config.engine);

    if (!run) return (struct sweep_record){0};
    return (struct sweep_record){.read_bytes = atomic_load(&run->stats[STAGE_READER].bytes),
                                 .read_busy_ns = atomic_load(&run->stats[STAGE_READER].busy_ns),
                                 .compute_busy_ns = atomic_load(&run->stats[STAGE_COMPUTE].busy_ns)};
}

static void record(struct scheduler *s)
{
    struct scheduler_times *t = &s->times;
    struct sweep_record r = counted(s);
    bool decode = s->sweep.decodes == s->sweep.positions && t->positions;

    r.read_bytes -= s->before.read_bytes;
    r.read_busy_ns -= s->before.read_busy_ns;
    r.compute_busy_ns -= s->before.compute_busy_ns;
    r.positions = s->sweep.positions;
    r.decode = decode;
    r.ns = clock_ns() - s->start_ns;
    if (t->sweeps < SCHEDULER_SWEEPS) t->sweep[t->sweeps++] = r;
    if (decode) {
        t->decode_ns += r.ns + s->guess_ns;
        t->decode_sweeps++;
    } else {
        t->prompt_ns += r.ns;
    }
    t->positions += s->sweep.positions;
    s->last = r;
    if (s->config.swept) s->config.swept(s->config.arg, s->start_ns, &r);
}

/* Recurrent states are there after the root and after the last guess of its chain. */
static void accept_chain(struct scheduler *s, uint32_t at)
{
    const struct sweep_row *r = &s->sweep.row[at];

    if (r->kin != SWEEP_NONE) return;
    while (sequence_computed(r->sequence) <= r->position) sequence_accept(r->sequence, sequence_computed(r->sequence));
}

/* The token of a row of logits; and where it was guessed, that of its row, and so on: to the first that was not, or is the
 * sequence's last. A guess whose logits are no numbers is computed again as what it is: the error is then the plain run's. */
static int walk(struct scheduler *s, uint32_t at, const float *logits, uint32_t *tokens, struct error *e)
{
    const struct guesser *g = &s->config.guesser;
    uint64_t vocab = s->config.plan->spec.vocab;

    for (;;) {
        const struct sweep_row *r = &s->sweep.row[at];
        const float *x = logits + at * vocab;
        struct sequence *q = r->sequence;
        int rc = sequence_take(q, s->sampler, r->position, x, e);
        uint32_t token, next;

        s->deaths = 0;
        ++*tokens;
        if (rc || !(r->root || r->parent != SWEEP_NONE)) return rc;
        token = sequence_tokens(q)[sequence_count(q) - 1];
        if (s->asked) g->seen(g->arg, &(struct guess_seen){s->node_root[at], s->node[at], token, x});
        if (sequence_ended(q) != SEQUENCE_RUNS) return 0;
        next = sweep_child(&s->sweep, at, token);
        if (next == SWEEP_NONE || !engine_are_numbers(logits + next * vocab, vocab)) return 0;
        if (s->sweep.row[next].own && !s->sweep.chains) sequence_accept(q, s->sweep.row[next].position);
        at = next;
        if (s->sweep.chains) accept_chain(s, at);
    }
}

static void count_tokens(struct scheduler *s, uint32_t tokens)
{
    const struct guesser *g = &s->config.guesser;
    struct scheduler_times *t = &s->times;

    if (s->last.decode) t->decode_tokens += tokens;
    if (s->sweep.guesses) {
        t->guesses += s->sweep.guesses;
        t->guessed_sweeps++;
        t->guessed_tokens += tokens;
    }
    if (g->guess)
        g->swept(g->arg, &(struct guess_sweep){.ns = s->last.ns,
                                               .compute_ns = s->last.compute_busy_ns,
                                               .read_ns = s->last.read_busy_ns,
                                               .positions = s->sweep.positions,
                                               .guesses = s->sweep.guesses,
                                               .rows = s->sweep.rows,
                                               .tokens = tokens,
                                               .decode = s->last.decode});
}

/* Each row to its sequence, which may end by it. */
static int hand_out(struct scheduler *s, const float *logits, uint32_t rows, struct error *e)
{
    uint32_t tokens = 0;
    int rc = 0;

    if (rows != s->sweep.rows)
        return error_set(e, EPROTO, "the last sweep gave %u rows of logits, and %u were asked for", rows,
                         s->sweep.rows);
    for (uint32_t i = 0; i < rows && !rc; i++) {
        const struct sweep_row *r = &s->sweep.row[i];

        if (r->parent == SWEEP_NONE && sequence_ended(r->sequence) == SEQUENCE_RUNS)
            rc = walk(s, i, logits, &tokens, e);
    }
    count_tokens(s, tokens);
    return rc;
}

/* The first row whose logits are not numbers, guesses aside; NULL: there is none. */
static const struct sweep_row *faulty_row(const struct scheduler *s, const float *logits, uint32_t rows)
{
    uint64_t vocab = s->config.plan->spec.vocab;

    for (uint32_t i = 0; i < rows && i < s->sweep.rows; i++)
        if (s->sweep.row[i].parent == SWEEP_NONE && !engine_are_numbers(logits + i * vocab, vocab))
            return &s->sweep.row[i];
    return NULL;
}

/* Rows of the embedding are read ahead: those of the sweep that was built, or of what comes after it, as far as that is
 * known: of every prompt as much again. */
static void announce(struct scheduler *s, bool next)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->sweep.spans; i++) {
        const struct sweep_span *x = &s->sweep.span[i];
        uint32_t from = next ? x->from + x->count : x->from, left = sequence_count(x->sequence) - from;

        for (uint32_t k = 0; k < x->count && k < left && n < s->sweep.most; k++)
            s->ahead[n++] = sequence_tokens(x->sequence)[from + k];
    }
    if (n) engine_announce_rows(s->config.engine, s->ahead, n);
}

/* ---- guesses ---- */

static struct guess_root root_of(const struct sequence *q, uint32_t most, bool chain)
{
    return (struct guess_root){.token = sequence_tokens(q),
                               .count = sequence_count(q),
                               .prompt = sequence_prompt(q),
                               .number = sequence_number(q),
                               .most = most,
                               .chain = chain,
                               .sampling = sequence_sampling(q)};
}

/* What the guesser has not seen yet it learns while the stages work. */
static void meet_all(struct scheduler *s)
{
    const struct guesser *g = &s->config.guesser;

    if (g->meet) g->meet(g->arg, NULL);
    for (uint32_t i = 0; g->meet && i < s->joined; i++) {
        struct guess_root r = root_of(s->list[i], 0, s->sweep.chains);

        g->meet(g->arg, &r);
    }
}

static uint32_t list_roots(struct scheduler *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->sweep.rows; i++) {
        const struct sweep_row *r = &s->sweep.row[i];
        const struct sequence *q = r->sequence;
        uint32_t most = r->root ? sequence_ahead(q) : 0;

        if (!r->root) continue;
        s->root_row[n] = i;
        s->node[i] = 0;
        s->node_root[i] = n;
        s->root[n++] = root_of(q, most, s->sweep.chains);
    }
    return n;
}

/* The guesses that the sweep has room for join it, each with its parent. */
static void guess(struct scheduler *s)
{
    const struct guesser *g = &s->config.guesser;
    uint32_t rows = s->sweep.rows, n, made, *row = s->ahead; /* row: of each guess, SWEEP_NONE: it was left out */
    struct guess_ask ask = {.root = s->root, .roots = list_roots(s), .positions = s->sweep.positions};
    uint64_t begin = clock_ns(), end;

    s->guess_ns = 0;
    n = s->sweep.most - s->sweep.positions;
    ask.most = s->sweep.most_rows - rows < n ? s->sweep.most_rows - rows : n;
    s->asked = !s->cautious && ask.roots && ask.most;
    if (!s->asked) return;
    made = g->guess(g->arg, &ask, s->guess);
    for (uint32_t i = 0; i < made; i++) {
        const struct guess *x = &s->guess[i];
        const struct guess_root *r = &s->root[x->root];
        uint32_t parent = x->parent == GUESS_ROOT ? s->root_row[x->root] : row[x->parent];

        row[i] = SWEEP_NONE;
        if (parent == SWEEP_NONE || x->token >= s->config.plan->spec.vocab ||
            s->sweep.row[parent].position + 1 - r->count >= r->most ||
            !sweep_guess(&s->sweep, parent, x->token, &row[i]))
            continue;
        s->node[row[i]] = i + 1;
        s->node_root[row[i]] = x->root;
    }
    end = clock_ns();
    s->guess_ns = end - begin;
    s->times.guess_ns += s->guess_ns;
    if (s->config.guessed) s->config.guessed(s->config.arg, begin, end, s->sweep.guesses);
}

/* The stages get the sweep that was built. */
static int start(struct scheduler *s, struct error *e)
{
    struct engine *g = s->config.engine;
    int rc = 0;

    if (s->config.begins) s->config.begins(s->config.arg, s->sweep.positions);
    s->before = (struct sweep_record){0};
    s->start_ns = clock_ns();
    if (!s->times.positions) announce(s, false); /* while the stages start */
    if (s->times.positions)
        s->before = counted(s);
    else if (!(rc = engine_ready(g, e)))
        s->start_ns = clock_ns(); /* starting is no part of the sweep */
    if (!rc) rc = engine_sweep_start(g, s->sweep.position, s->sweep.positions, e);
    if (!rc) announce(s, true);
    if (!rc) meet_all(s);
    s->under_way = !rc;
    return rc;
}

/* Until the sweep is done, or -EAGAIN at the time limit. */
static int wait_for(struct scheduler *s, uint64_t limit_ns, const float **logits, uint32_t *rows, struct error *e)
{
    struct engine *g = s->config.engine;
    const struct guesser *guesser = &s->config.guesser;
    const struct sweep_row *bad;
    int rc = 0;

    while (!rc && !engine_sweep_done(g)) {
        bool busy = guesser->idle && guesser->idle(guesser->arg);

        if (clock_ns() >= limit_ns) return -EAGAIN;
        rc = engine_poll(g, busy ? IDLE_MS : 50, e);
    }
    s->under_way = false;
    if (rc) return rc;
    engine_logits(g, logits, rows);
    record(s);
    bad = faulty_row(s, *logits, *rows);
    if (!bad) return 0;
    error_set(e, EDOM, "the model's answer to token %u is not a number (NaN), so that no token can be chosen",
              bad->position);
    return find_fault(s, bad->sequence, bad->position + 1, e);
}

static int step(struct scheduler *s, uint64_t limit_ns, struct error *e)
{
    const float *logits = NULL;
    uint32_t rows = 0;
    int rc = 0;

    do {
        if (!s->under_way) {
            sweep_build(&s->sweep, s->list, s->joined, &s->turn);
            if (!s->sweep.positions) return 0;
            if (s->config.guesser.guess) guess(s);
            rc = start(s, e);
        }
        if (!rc) rc = wait_for(s, limit_ns, &logits, &rows, e);
        if (rc == -EAGAIN) return rc;
        s->alone = s->sweep.spans == 1 ? s->sweep.span[0].sequence : NULL;
        sweep_end(&s->sweep, !rc);
        s->cautious = rc != 0;
        if (!rc) break;
        /* what was interrupted moves recurrent states on all the same */
        if (rc == -EPIPE || s->config.plan->states.count) kv_rows_forget(s->rows);
        rc = recover(s, rc, e);
    } while (!rc);
    if (!rc) rc = hand_out(s, logits, rows, e);
    leave_ended(s);
    return rc;
}

int scheduler_step(struct scheduler *s, struct error *e)
{
    leave_ended(s);
    return step(s, UINT64_MAX, e);
}

bool scheduler_under_way(const struct scheduler *s)
{
    return s->under_way;
}

static int boundary(struct scheduler *s, struct error *e)
{
    int rc = s->config.boundary ? s->config.boundary(s->config.boundary_arg, e) : 0;

    leave_ended(s);
    return rc;
}

int scheduler_run(struct scheduler *s, struct error *e)
{
    int rc = 0;

    while (!rc && !(rc = boundary(s, e)) && s->joined) rc = step(s, UINT64_MAX, e);
    return rc ? rc : engine_weights_unchanged(s->config.engine, e);
}

int scheduler_run_for(struct scheduler *s, uint64_t ns, struct error *e)
{
    uint64_t begin = clock_ns(), now = begin;
    int rc = 0;

    while (!rc && now - begin < ns) {
        if (!s->under_way && ((rc = boundary(s, e)) || !s->joined)) break;
        rc = step(s, begin + 2 * ns, e);
        now = clock_ns();
    }
    return rc == -EAGAIN ? 0 : rc;
}

/* KV rows as compute sees them: a position's ancestors are the rows that were written for it and no others, and whoever
 * continues from a row whose ancestors were written again is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/positions.h"

#define ROWS 64u

struct bench {
    struct plan_shm plan;
    struct ops *ops;
    struct positions positions;
    uint64_t sweep;
};

static void bench_open_with(struct bench *b, uint32_t states)
{
    struct ops_options o = {.threads = 1, .scratch_bytes = 4096};
    struct error e = {0};

    memset(b, 0, sizeof *b);
    b->plan.run.max_positions = b->plan.run.max_logits = b->plan.run.kv_rows = ROWS;
    b->plan.spec.vocab = 1000;
    b->plan.states.count = states > 0;
    b->plan.run.sequences = states;
    if (ops_open(&b->ops, &o, &e) || positions_open(&b->positions, &b->plan, b->ops, &e)) fail_msg("%s", e.text);
}

static void bench_open(struct bench *b)
{
    bench_open_with(b, 0);
}

static void bench_close(struct bench *b)
{
    positions_close(&b->positions);
    ops_close(b->ops);
}

static struct sweep_position at(uint32_t row, uint32_t parent, uint32_t position)
{
    return (struct sweep_position){.token = 1, .row = row, .parent = parent, .position = position};
}

static int set(struct bench *b, const struct sweep_position *s, uint32_t n)
{
    struct error e = {0};

    return positions_set(&b->positions, s, n, b->sweep++, &e);
}

/* Rows row .. row + n - 1, positions position .. position + n - 1, the first one after parent: in one sweep. */
static int chain(struct bench *b, uint32_t row, uint32_t n, uint32_t parent, uint32_t position)
{
    struct sweep_position s[ROWS];

    for (uint32_t i = 0; i < n; i++) s[i] = at(row + i, i ? row + i - 1 : parent, position + i);
    return set(b, s, n);
}

static int one(struct bench *b, uint32_t row, uint32_t parent, uint32_t position)
{
    return chain(b, row, 1, parent, position);
}

/* The runs of the last sweep's last position. */
static void expect_runs(const struct bench *b, const struct ops_run *runs, uint32_t n)
{
    const struct positions *p = &b->positions;
    uint32_t first = p->first[p->n - 1];

    assert_int_equal(p->first[p->n] - first, n);
    assert_memory_equal(p->runs + first, runs, n * sizeof *runs);
}

static void rows_go_on_where_they_stopped(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    assert_int_equal(chain(&b, 0, 10, ROW_NONE, 0), 0);
    expect_runs(&b, (struct ops_run[]){{0, 10}}, 1);
    assert_int_equal(one(&b, 10, 9, 10), 0);
    expect_runs(&b, (struct ops_run[]){{0, 11}}, 1);
    assert_int_equal(one(&b, 30, 4, 5), 0); /* a branch */
    assert_int_equal(one(&b, 31, 30, 6), 0);
    expect_runs(&b, (struct ops_run[]){{0, 5}, {30, 2}}, 2);
    assert_int_equal(chain(&b, 6, 3, 5, 6), 0); /* the sequence goes back, and on another way */
    expect_runs(&b, (struct ops_run[]){{0, 9}}, 1);
    assert_int_equal(one(&b, 9, 8, 9), 0);
    expect_runs(&b, (struct ops_run[]){{0, 10}}, 1);
    assert_int_equal(one(&b, 32, 31, 7), 0); /* the branch left before that */
    expect_runs(&b, (struct ops_run[]){{0, 5}, {30, 3}}, 2);
    assert_int_equal(chain(&b, 0, 5, ROW_NONE, 0), 0); /* another sequence takes rows of the first one over */
    expect_runs(&b, (struct ops_run[]){{0, 5}}, 1);
    assert_int_equal(one(&b, 5, 4, 5), 0);
    expect_runs(&b, (struct ops_run[]){{0, 6}}, 1);
    bench_close(&b);
}

/* A chain of parents that comes back to its beginning: this once did not end. */
static void no_row_descends_from_itself(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    assert_int_equal(one(&b, 0, ROW_NONE, 0), 0);
    assert_int_equal(one(&b, 10, 0, 1), 0);
    assert_int_equal(one(&b, 0, 10, 2), -EPROTO);
    bench_close(&b);

    bench_open(&b);
    assert_int_equal(chain(&b, 0, 6, ROW_NONE, 0), 0);
    assert_int_equal(one(&b, 3, 5, 6), -EPROTO);
    bench_close(&b);
}

/* What was written again inside of a run belongs to somebody else, even where its position is the same. */
static void rows_written_again_are_no_ancestors(void **state)
{
    struct bench b;

    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        bench_open(&b);
        assert_int_equal(chain(&b, 0, 10, ROW_NONE, 0), 0);
        if (kind == 0) assert_int_equal(one(&b, 5, ROW_NONE, 0), 0); /* another sequence */
        if (kind == 1) assert_int_equal(one(&b, 5, 4, 5), 0);        /* the same one, after it went back */
        if (kind == 2) assert_int_equal(one(&b, 0, ROW_NONE, 0), 0); /* the first row */
        if (kind == 3) {                                             /* the parent of a branch's first row */
            assert_int_equal(one(&b, 20, 5, 6), 0);
            assert_int_equal(one(&b, 5, 4, 5), 0);
            assert_int_equal(one(&b, 21, 20, 7), -EPROTO);
            bench_close(&b);
            continue;
        }
        assert_int_equal(one(&b, 10, 9, 10), -EPROTO);
        bench_close(&b);
    }
}

/* All rows of a sweep are stored before any of them is looked at. */
static void positions_of_one_sweep_do_not_overwrite_each_other(void **state)
{
    struct sweep_position twice[] = {at(7, ROW_NONE, 0), at(7, ROW_NONE, 0)};
    struct sweep_position parent[] = {at(20, 4, 5), at(4, 3, 4)};
    struct sweep_position inside[] = {at(10, 9, 10), at(4, 3, 4)};
    struct bench b;

    (void)state;
    bench_open(&b);
    assert_int_equal(set(&b, twice, 2), -EPROTO);
    bench_close(&b);
    bench_open(&b);
    assert_int_equal(chain(&b, 0, 10, ROW_NONE, 0), 0);
    assert_int_equal(set(&b, parent, 2), -EPROTO);
    bench_close(&b);
    bench_open(&b);
    assert_int_equal(chain(&b, 0, 10, ROW_NONE, 0), 0);
    assert_int_equal(set(&b, inside, 2), -EPROTO);
    bench_close(&b);
}

/* ---- against a list of every row's ancestors ---- */

struct line {
    uint32_t n, row[ROWS], write[ROWS]; /* ancestors and itself, and which write of each is meant */
};

struct model {
    struct line line[ROWS];
    uint32_t writes[ROWS]; /* of each row */
};

static bool intact(const struct model *m, const struct line *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (m->writes[l->row[i]] != l->write[i]) return false;
    return l->n > 0;
}

static void expect_line(const struct bench *b, const struct line *l)
{
    const struct positions *p = &b->positions;
    uint32_t at_row = 0;

    for (uint32_t i = p->first[0]; i < p->first[1]; i++)
        for (uint32_t k = 0; k < p->runs[i].length; k++) assert_int_equal(p->runs[i].row + k, l->row[at_row++]);
    assert_int_equal(at_row, l->n);
}

/* A random row after a random parent: mostly one that is still good, and mostly the row behind it. */
static bool step(struct bench *b, struct model *m)
{
    uint32_t parent = (uint32_t)random() % ROWS, row = (uint32_t)random() % ROWS, tries = random() % 64 ? 50 : 0;
    struct line was, next = {0};
    bool good;

    for (; tries && !intact(m, &m->line[parent]); tries--) parent = (uint32_t)random() % ROWS;
    was = m->line[parent];
    if (random() % 4) row = (parent + 1) % ROWS;
    if (random() % 16 == 0 || !was.n || was.n == ROWS) parent = ROW_NONE;
    if (parent == row) return true;
    if (parent != ROW_NONE) next = was;
    m->writes[row]++;
    next.row[next.n] = row;
    next.write[next.n++] = m->writes[row];
    m->line[row] = next;
    good = intact(m, &next);
    assert_int_equal(one(b, row, parent, next.n - 1), good ? 0 : -EPROTO);
    if (good) expect_line(b, &next);
    return good;
}

static void random_rows(void **state)
{
    uint32_t good = 0, refused = 0;

    (void)state;
    srandom(1);
    for (uint32_t round = 0; round < 1000; round++) {
        struct model *m = calloc(1, sizeof *m);
        struct bench b;
        bool on = true;

        bench_open(&b);
        for (uint32_t i = 0; i < 2000 && on; i++) {
            on = step(&b, m);
            if (on)
                good++;
            else
                refused++; /* no stage lives on after that */
        }
        bench_close(&b);
        free(m);
    }
    assert_true(good > 5000 && refused > 100);
}

/* ---- recurrent states ---- */

#define REGIONS 6u
#define REGION  (ROWS / REGIONS)
#define STATES  (2 * REGIONS)

struct chain {
    uint32_t next, last, position; /* rows of its region so far; row and position of the last one, ROW_NONE: none */
};

/* What the slots hold when positions are done in order: which write of which row. */
struct states {
    uint64_t holds[STATES], written[ROWS], writes;
};

/* Every position goes on from the state that its parent left, however many go on from one. */
static void expect_states(const struct bench *b, struct states *m, const struct sweep_position *s, uint32_t n)
{
    const struct positions *p = &b->positions;

    for (uint32_t i = 0; i < n; i++) {
        if (s[i].parent == ROW_NONE) {
            assert_int_equal(p->from[i], UINT32_MAX);
        } else {
            assert_true(p->from[i] < STATES);
            assert_int_equal(m->holds[p->from[i]], m->written[s[i].parent]);
        }
        assert_true(p->to[i] < STATES);
        m->holds[p->to[i]] = m->written[s[i].row] = ++m->writes;
    }
}

static uint32_t add_some(struct chain *c, uint32_t region, struct sweep_position *s, uint32_t n)
{
    for (uint32_t more = 1 + (uint32_t)random() % 4; more && c->next < REGION; more--) {
        uint32_t row = region * REGION + c->next++;

        c->position = c->last == ROW_NONE ? 0 : c->position + 1;
        s[n] = at(row, c->last, c->position);
        s[n++].sequence = region;
        c->last = row;
    }
    return n;
}

static void states_follow_their_rows(void **state)
{
    uint32_t forks = 0;

    (void)state;
    srandom(2);
    for (uint32_t round = 0; round < 1000; round++) {
        struct chain chain[REGIONS];
        struct states m = {0};
        struct bench b;

        bench_open_with(&b, STATES);
        for (uint32_t r = 0; r < REGIONS; r++) chain[r] = (struct chain){.last = ROW_NONE};
        for (uint32_t sweep = 0; sweep < 30; sweep++) {
            struct sweep_position s[ROWS];
            uint32_t n = 0, first = (uint32_t)random() % REGIONS, from = (uint32_t)random() % REGIONS;
            uint32_t to = (from + 1) % REGIONS, last = chain[from].last, position = chain[from].position;

            if (chain[to].next || last == ROW_NONE || chain[from].next == REGION) from = to = REGIONS;
            for (uint32_t k = 0; k < REGIONS; k++) {
                uint32_t r = (first + k) % REGIONS;

                /* one begins on another's way, before or after that one goes on itself */
                if (r == to) chain[r] = (struct chain){.last = last, .position = position};
                forks += r == to;
                if (r == to || r == from || random() % 8 == 0 || (chain[r].next && random() % 2))
                    n = add_some(&chain[r], r, s, n);
            }
            if (!n) continue;
            assert_int_equal(set(&b, s, n), 0);
            expect_states(&b, &m, s, n);
        }
        bench_close(&b);
    }
    assert_true(forks > 500);
}

/* A sweep of so many branches from one state that there is no place for them is refused. */
static void more_states_than_places(void **state)
{
    struct sweep_position s[4];
    struct bench b;

    (void)state;
    bench_open_with(&b, 3);
    assert_int_equal(chain(&b, 0, 5, ROW_NONE, 0), 0);
    for (uint32_t i = 0; i < 4; i++) s[i] = at(10 + 5 * i, 4, 5);
    assert_int_equal(set(&b, s, 4), -ENOSPC);
    bench_close(&b);
    bench_open_with(&b, 3);
    assert_int_equal(chain(&b, 0, 5, ROW_NONE, 0), 0);
    assert_int_equal(set(&b, s, 3), 0);
    assert_int_equal(one(&b, 30, 4, 5), -EPROTO); /* the state after row 4 was taken on by the last of them */
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_go_on_where_they_stopped),
        cmocka_unit_test(no_row_descends_from_itself),
        cmocka_unit_test(rows_written_again_are_no_ancestors),
        cmocka_unit_test(positions_of_one_sweep_do_not_overwrite_each_other),
        cmocka_unit_test(random_rows),
        cmocka_unit_test(states_follow_their_rows),
        cmocka_unit_test(more_states_than_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

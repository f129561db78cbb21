/* Which rows of the embedding sweeps ask for: every position gets the row of its token, each token is listed once a sweep,
 * whatever was announced before. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coordinator/engine/embedding.h"
#include "proto/rows.h"
#include "tests/support_files.h"

#define MOST   8u
#define TOKENS 1000u

struct bench {
    struct plan_shm plan;
    struct epoch_shm *run;
    struct embedding embedding;
    uint64_t next; /* number of the next sweep's first row */
};

static void bench_open(struct bench *b)
{
    struct error e;

    memset(b, 0, sizeof *b);
    b->plan.run.max_positions = MOST;
    for (int i = 0; i < LANES; i++) b->plan.run.entries[i] = 1;
    b->plan.gather = (struct plan_gather){.rows = TOKENS, .row_bytes = 2};
    b->run = run_make(&b->plan);
    assert_int_equal(embedding_open(&b->embedding, &b->plan, &e), 0);
    embedding_begin(&b->embedding, b->run);
}

static void bench_close(struct bench *b)
{
    embedding_close(&b->embedding);
    free(b->run);
}

static int order(struct bench *b, const uint32_t *token, uint32_t n, struct control_message *m)
{
    struct sweep_position s[2 * MOST] = {0};
    struct error e;

    for (uint32_t i = 0; i < n; i++)
        s[i] = (struct sweep_position){.token = token[i], .position = 100 + i, .row = 7, .flags = 3};
    return embedding_order(&b->embedding, s, n, m, &e);
}

/* A sweep of these tokens: orders it, and looks at what the reader and compute are told. Returns how many rows it has. */
static uint32_t sweep(struct bench *b, const uint32_t *token, uint32_t n)
{
    struct control_message m = {.type = CONTROL_SWEEP};
    uint32_t row;

    assert_int_equal(order(b, token, n, &m), 0);
    assert_int_equal(m.sweep.first_row, b->next); /* no row is left out, and none comes twice */
    assert_int_equal(m.sweep.count, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct sweep_position *s = &m.sweep.position[i];

        assert_true(s->token == token[i] && s->position == 100 + i && s->row == 7 && s->flags == 3);
        assert_true(s->gather < m.sweep.rows);
        assert_true(rows_at(b->run, m.sweep.first_row + s->gather, &row));
        assert_int_equal(row, token[i]);
    }
    for (uint32_t i = 0; i < m.sweep.rows; i++) { /* each row once */
        uint32_t other;

        assert_true(rows_at(b->run, b->next + i, &row));
        for (uint32_t k = 0; k < i; k++) assert_true(rows_at(b->run, b->next + k, &other) && other != row);
    }
    assert_false(rows_at(b->run, b->next + m.sweep.rows, &row));
    embedding_started(&b->embedding);
    b->next += m.sweep.rows;
    return m.sweep.rows;
}

/* The reader and compute have done their part. */
static void swept(struct bench *b)
{
    uint32_t row;
    bool last;

    while (rows_next(b->run, &row, &last)) {
    }
    embedding_swept(&b->embedding);
}

static void each_token_is_listed_once(void **state)
{
    static const uint32_t token[] = {5, 6, 5, 999, 0, 6, 5, 0};
    struct bench b;

    (void)state;
    bench_open(&b);
    assert_int_equal(sweep(&b, token, 8), 4);
    swept(&b);
    assert_int_equal(sweep(&b, token, 3), 2); /* in every sweep anew */
    swept(&b);
    assert_int_equal(sweep(&b, token + 7, 1), 1);
    bench_close(&b);
}

static void announced_tokens_are_not_listed_again(void **state)
{
    static const uint32_t token[] = {5, 6, 7, 8, 9};
    struct control_message m;
    struct bench b;
    uint32_t row;

    (void)state;
    bench_open(&b);
    embedding_announce(&b.embedding, token, 3); /* before the first sweep */
    assert_true(rows_at(b.run, 2, &row));
    assert_int_equal(sweep(&b, token, 2), 3);   /* 7 was announced and is not needed: sent all the same */
    embedding_announce(&b.embedding, token, 2); /* of the next one, though they are of this one too */
    embedding_announce(&b.embedding, token + 1, 2);
    assert_true(rows_at(b.run, b.next + 2, &row) && row == 7);
    assert_false(rows_at(b.run, b.next + 3, &row));
    swept(&b);
    assert_int_equal(sweep(&b, token, 5), 5);
    swept(&b);
    assert_int_equal(order(&b, token, 2, &m), 0); /* one that is never started */
    assert_int_equal(sweep(&b, token + 1, 3), 4); /* leaves its rows to the next one */
    bench_close(&b);
}

static void bad_sweeps_are_refused(void **state)
{
    uint32_t token[2 * MOST] = {0}, row;
    struct control_message m;
    struct bench b;

    (void)state;
    bench_open(&b);
    assert_int_equal(order(&b, token, 0, &m), -EINVAL);
    assert_int_equal(order(&b, token, MOST + 1, &m), -EINVAL);
    token[1] = TOKENS;
    assert_int_equal(order(&b, token, 2, &m), -EINVAL);
    embedding_announce(&b.embedding, token + 1, 1); /* a hint that leads nowhere */
    assert_false(rows_at(b.run, 0, &row));
    embedding_begin(&b.embedding, NULL);
    embedding_announce(&b.embedding, token, 1); /* nobody is there */
    bench_close(&b);
}

/* Announced at random, rightly or wrongly, too much or too little, and in new epochs now and then; the reader is as far
 * behind as it may be. */
static void random_sweeps(void **state)
{
    struct bench b;

    (void)state;
    srandom(1);
    bench_open(&b);
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t token[MOST], ahead[3 * MOST], n = 1 + (uint32_t)random() % MOST, kinds = 1 + (uint32_t)random() % 20;

        for (uint32_t k = 0; k < MOST; k++) token[k] = (uint32_t)random() % kinds * 37 % TOKENS;
        sweep(&b, token, n);
        for (long k = random() % 3; k > 0; k--) {
            for (uint32_t j = 0; j < 3 * MOST; j++) ahead[j] = (uint32_t)random() % (10 * kinds) * 37 % TOKENS;
            embedding_announce(&b.embedding, ahead, (uint32_t)random() % (3 * MOST + 1));
        }
        swept(&b);
        if (random() % 100) continue;
        free(b.run);
        b.run = run_make(&b.plan);
        embedding_begin(&b.embedding, b.run);
        b.next = 0;
    }
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_token_is_listed_once),
        cmocka_unit_test(announced_tokens_are_not_listed_again),
        cmocka_unit_test(bad_sweeps_are_refused),
        cmocka_unit_test(random_sweeps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

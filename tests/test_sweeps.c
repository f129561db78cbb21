/* Sweeps of many positions: branches, several sequences, and rows in any order leave a position's logits as they are,
 * byte by byte. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/cli/options.h"
#include "coordinator/plan/plan.h"
#include "coordinator/engine/engine.h"
#include "proto/ring.h"
#include "proto/rows.h"
#include "tests/support_model.h"

#define PROMPT 20
#define JUNK   64

struct pipe {
    char *folder;
    struct model *model;
    struct plan_shm *plan;
    struct engine *engine;
};

static void pipe_open(struct pipe *p, const char *name)
{
    struct options o = option_defaults;
    struct plan_settings s;
    struct engine_config c = {0};
    struct error e = {0};
    int rc;

    p->folder = reference_make(name);
    rc = model_open(&p->model, p->folder, NULL, &e);
    o.threads = 2;
    if (!rc) rc = plan_settings_from_options(&s, &o, &e);
    s.context = 128;
    s.chunk = 128;
    s.sequences = 2;
    s.branches = 128;
    s.max_logits = 4;
    if (!rc) rc = plan_build(&p->plan, &c.plan_bytes, model_program(p->model), &s, &e);
    c.plan = p->plan;
    if (!rc) rc = engine_open(&p->engine, &c, &e);
    if (rc) fail_msg("%s", e.text);
}

static void pipe_close(struct pipe *p)
{
    engine_close(p->engine);
    free(p->plan);
    model_close(p->model);
    scratch_remove(p->folder);
}

static struct sweep_position position(uint32_t token, uint32_t position, uint32_t row, uint32_t parent)
{
    return (struct sweep_position){.token = token, .position = position, .row = row, .parent = parent};
}

static uint32_t token_at(uint32_t i)
{
    return 6 + (i * 37 + 11) % 250;
}

static void sweep(struct pipe *p, const struct sweep_position *s, uint32_t n, uint32_t want, float *out)
{
    const float *logits;
    uint32_t rows;
    struct error e = {0};

    if (engine_sweep(p->engine, s, n, &logits, &rows, &e)) fail_msg("%s", e.text);
    assert_int_equal(rows, want);
    memcpy(out, logits, (size_t)want * p->plan->spec.vocab * sizeof *out);
}

/* The prompt, then one token; with junk: in company of branches from every part of the prompt. */
static float *one_token(const char *name, bool junk, bool second)
{
    struct sweep_position s[128];
    struct pipe p;
    uint32_t n = 0;
    float *out;

    pipe_open(&p, name);
    out = calloc(p.plan->spec.vocab, sizeof *out);
    for (uint32_t i = 0; i < PROMPT; i++) {
        s[n++] = position(token_at(i), i, i, i ? i - 1 : ROW_NONE);
        if (second)
            s[n++] = position(token_at(i + 99), i, 40 + i, i ? 39 + i : ROW_NONE); /* another sequence between them */
    }
    sweep(&p, s, n, 0, out);
    n = 0;
    for (uint32_t i = 0; junk && i < JUNK / 2; i++)
        s[n++] = position(token_at(i + 300), i % PROMPT + 1, 70 + i, i % PROMPT);
    s[n] = position(77, PROMPT, PROMPT, PROMPT - 1);
    s[n++].flags = POSITION_LOGITS;
    for (uint32_t i = JUNK / 2; junk && i < JUNK; i++) s[n++] = position(token_at(i + 300), PROMPT, 70 + i, PROMPT - 1);
    sweep(&p, s, n, 1, out);
    pipe_close(&p);
    return out;
}

static void junk_changes_nothing(void **state)
{
    static const char *const names[] = {"llama", "mistral-window", "qwen3", "gemma2", "mixtral", "deepseek-v3"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        float *alone = one_token(names[i], false, false), *company = one_token(names[i], true, false),
              *two = one_token(names[i], true, true);

        assert_memory_equal(alone, company, 272 * sizeof(float));
        assert_memory_equal(alone, two, 272 * sizeof(float));
        free(alone);
        free(company);
        free(two);
    }
}

/* A sequence whose rows lie scattered over the cache sees what it would see in order. */
static void scattered_rows(void **state)
{
    struct sweep_position s[PROMPT];
    struct pipe p;
    float *out, *want = one_token("llama", false, false);

    (void)state;
    pipe_open(&p, "llama");
    out = calloc(p.plan->spec.vocab, sizeof *out);
    for (uint32_t i = 0; i < PROMPT; i++) s[i] = position(token_at(i), i, i * 7 % 64, i ? (i - 1) * 7 % 64 : ROW_NONE);
    sweep(&p, s, PROMPT, 0, out);
    s[0] = position(77, PROMPT, 100, (PROMPT - 1) * 7 % 64);
    s[0].flags = POSITION_LOGITS;
    sweep(&p, s, 1, 1, out);
    assert_memory_equal(out, want, 272 * sizeof(float));
    pipe_close(&p);
    free(out);
    free(want);
}

/* ---- rows of the embedding ---- */

static void announce(struct pipe *p, uint32_t first, uint32_t n)
{
    uint32_t token[128];

    for (uint32_t i = 0; i < n; i++) token[i] = token_at(first + i);
    engine_announce_rows(p->engine, token, n);
}

/* The prompt in chunks of 7, then one token. Before and between them tokens are announced: those that come, or others. */
static float *in_chunks(const char *name, bool announced, uint32_t shift)
{
    struct sweep_position s[7];
    struct error e = {0};
    struct pipe p;
    float *out;

    pipe_open(&p, name);
    out = calloc(p.plan->spec.vocab, sizeof *out);
    for (uint32_t at = 0, n; at < PROMPT; at += n) {
        n = PROMPT - at < 7 ? PROMPT - at : 7;
        for (uint32_t i = 0; i < n; i++)
            s[i] = position(token_at(at + i), at + i, at + i, at + i ? at + i - 1 : ROW_NONE);
        if (announced && !at) announce(&p, shift, 7);
        if (engine_sweep_start(p.engine, s, n, &e)) fail_msg("%s", e.text);
        if (announced) announce(&p, at + n + shift, 7);
        while (!engine_sweep_done(p.engine))
            if (engine_poll(p.engine, 10, &e)) fail_msg("%s", e.text);
    }
    s[0] = position(77, PROMPT, PROMPT, PROMPT - 1);
    s[0].flags = POSITION_LOGITS;
    sweep(&p, s, 1, 1, out);
    assert_int_equal(atomic_load(&engine_epoch(p.engine)->requests.head) > 0,
                     p.plan->experts.count > 0); /* for experts alone */
    pipe_close(&p);
    return out;
}

static void announcing_changes_nothing(void **state)
{
    static const char *const names[] = {"llama", "gemma3", "mixtral", "llama-tied-f32", "qwen3-next"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        float *plain = in_chunks(names[i], false, 0);

        for (uint32_t shift = 0; shift < 12; shift += 5) {
            float *ahead = in_chunks(names[i], true, shift);

            assert_memory_equal(plain, ahead, 272 * sizeof(float));
            free(ahead);
        }
        free(plain);
    }
}

/* Without a sweep, and before compute is there: what was announced is on its way. */
static void announced_rows_are_read_at_once(void **state)
{
    struct error e = {0};
    struct ring host;
    struct pipe p;

    (void)state;
    pipe_open(&p, "llama");
    announce(&p, 0, 100);
    ring_attach(&host, engine_epoch(p.engine), 0, LANE_ROWS, STAGE_READER);
    for (int i = 0; i < 1000 && !ring_published(&host); i++)
        if (engine_poll(p.engine, 10, &e)) fail_msg("%s", e.text);
    assert_int_equal(ring_at(&host, 0)->rows, 100);
    pipe_close(&p);
}

/* Compute believes no order: a row that is not its token's ends the run. */
static void rows_of_other_tokens_are_refused(void **state)
{
    struct sweep_position s = position(77, 0, 0, ROW_NONE);
    uint32_t row = 76, rows;
    const float *logits;
    struct error e = {0};
    struct pipe p;

    (void)state;
    pipe_open(&p, "llama");
    assert_int_equal(rows_list(engine_epoch(p.engine), 0, &row, 1), 0); /* behind the engine's back */
    assert_int_equal(engine_sweep(p.engine, &s, 1, &logits, &rows, &e), -EPIPE);
    assert_non_null(strstr(e.text, "row 0 of 1 is not that of token 77"));
    pipe_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(junk_changes_nothing),
        cmocka_unit_test(scattered_rows),
        cmocka_unit_test(announcing_changes_nothing),
        cmocka_unit_test(announced_rows_are_read_at_once),
        cmocka_unit_test(rows_of_other_tokens_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

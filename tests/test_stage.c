/* A stage's life: records of a trace arrive whole and in order, however many there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/cli/options.h"
#include "coordinator/engine/engine.h"
#include "coordinator/plan/plan.h"
#include "proto/stage/private.h"
#include "tests/support_model.h"

/* ---- a stage with a loop of its own ---- */

#define RECORDS 100000u /* several times what is kept back */

/* Takes the records of one message: they must go on where the last ones ended. */
static void count(const struct control_message *m, uint64_t *seen)
{
    assert_int_equal(m->type, CONTROL_TRACE);
    for (uint32_t i = 0; i < m->trace.count; i++, ++*seen) assert_int_equal(m->trace.record[i].bytes, *seen);
}

static void no_record_is_lost_where_nobody_else_sends(void **state)
{
    struct plan_shm plan = {.run.trace = 1};
    struct stage s = {.me = STAGE_COMPUTE, .plan = &plan};
    struct control *coordinator;
    struct control_message m;
    char address[64];
    uint64_t seen = 0;
    struct error e;

    (void)state;
    snprintf(address, sizeof address, "ipc://@sluice-test-stage-%ld", (long)getpid());
    assert_int_equal(control_bind(&coordinator, address, &e), 0);
    assert_int_equal(control_connect(&s.control, address, STAGE_COMPUTE, &e), 0);
    assert_int_equal(stage_traces_open(&s, &e), 0);
    for (uint64_t i = 0; i < RECORDS; i++) stage_trace(&s, &(struct trace_record){.bytes = i});
    stage_traces_end(&s);
    while (seen < RECORDS) {
        assert_int_equal(control_receive(coordinator, NULL, &m, 10000, &e), 0);
        count(&m, &seen);
    }
    stage_traces_close(&s);
    control_close(s.control);
    control_close(coordinator);
}

/* ---- compute ---- */

#define SWEEPS 400u

struct kept {
    uint64_t records, sweep; /* of the last sweep that was seen */
};

static void on_trace(void *arg, enum stage_id from, const struct trace_record *r, uint32_t n)
{
    struct kept *k = arg;

    for (uint32_t i = 0; i < n; i++) {
        if (r[i].entry != TRACE_KEPT) continue;
        assert_int_equal(from, STAGE_COMPUTE);
        k->records++;
        k->sweep = r[i].sweep;
    }
}

/* Tiles that stay have no entry whose times could be looked up later: what compute says of them is all there is. */
static void every_kept_tile_is_told_of(void **state)
{
    char *folder = reference_make("llama");
    struct options o = option_defaults;
    struct engine_config c = {.trace = on_trace};
    struct kept kept = {0};
    struct model *model;
    struct plan_settings s;
    struct plan_shm *plan = NULL;
    struct engine *engine = NULL;
    const float *logits;
    uint32_t rows, stay = 0;
    struct error e = {0};
    int rc;

    (void)state;
    o.threads = 2;
    rc = model_open(&model, folder, NULL, &e);
    if (!rc) rc = plan_settings_from_options(&s, &o, &e);
    s.slot_bytes = 8192;
    s.context = 512;
    if (!rc) rc = plan_build(&plan, &c.plan_bytes, model_program(model), &s, &e);
    if (rc) fail_msg("%s", e.text);
    for (uint64_t i = 0; i < plan->spec.sweep_tiles; i++) stay += plan_tiles(plan)[i].flags & TILE_STAYS ? 1 : 0;
    assert_true(stay * SWEEPS > 20000);
    plan->run.trace = 1;
    c.plan = plan;
    c.trace_arg = &kept;
    if (engine_open(&engine, &c, &e)) fail_msg("%s", e.text);
    for (uint32_t i = 0; i < SWEEPS; i++) {
        struct sweep_position p = {.token = 6 + i % 200, .position = i, .row = i, .parent = i ? i - 1 : ROW_NONE};

        if (engine_sweep(engine, &p, 1, &logits, &rows, &e)) fail_msg("%s", e.text);
        assert_true(kept.sweep + 1 >= i); /* as the run goes on, and not at its end */
    }
    engine_close(engine);
    assert_int_equal(kept.records, (uint64_t)stay * (SWEEPS - 1));
    free(plan);
    model_close(model);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_record_is_lost_where_nobody_else_sends),
        cmocka_unit_test(every_kept_tile_is_told_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What compute asks for once a router has spoken: the test plays reader and transfer (profile/stub_source.h) and holds the answers
 * back. All experts of the layer are in the queue by then, each once, also for a chunk whose positions choose the same ones;
 * and the shared expert is computed meanwhile. Order alone is asserted, no time. */
#include <pthread.h>
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
#include "coordinator/profile/stub_source.h"
#include "proto/ring.h"
#include "proto/epoch.h"
#include "tests/support_model.h"
#include "tests/support_program.h"

#define CHUNK 8
#define TRIES 1000 /* of 10 ms each */

struct stage {
    char *folder;
    struct model *model;
    struct plan_shm *plan;
    struct engine *engine;
    struct stub_source *source;
    struct ring sweep; /* its tiles come from the test itself, as many as it wants */
    uint64_t given;
    pthread_t thread;
    _Atomic bool ready;
};

/* Resident tiles are waited for before compute is ready. */
static void *answer_all(void *arg)
{
    struct stage *s = arg;

    while (!atomic_load(&s->ready)) stub_source_requests(s->source);
    return NULL;
}

static void stage_open(struct stage *s, const char *name)
{
    struct options o = option_defaults;
    struct plan_settings settings;
    struct engine_config c = {.only = 1u << STAGE_COMPUTE};
    struct error e = {0};
    int rc;

    *s = (struct stage){.folder = reference_make(name)};
    rc = model_open(&s->model, s->folder, NULL, &e);
    o.threads = 2;
    o.backend = BACKEND_CPU;
    if (!rc) rc = plan_settings_from_options(&settings, &o, &e);
    settings.context = 64;
    settings.chunk = CHUNK;
    settings.slot_bytes = 8192; /* few matrices share a tile */
    if (!rc) rc = plan_build(&s->plan, &c.plan_bytes, model_program(s->model), &settings, &e);
    if (rc) fail_msg("%s: %s", name, e.text);
    test_stream_all(s->plan);
    s->plan->run.host_cache_bytes = UINT64_C(64) << 20;
    stub_source_plan(s->plan);
    c.plan = s->plan;
    rc = engine_open(&s->engine, &c, &e);
    if (!rc) rc = stub_source_open(&s->source, s->engine, s->plan, 1, &e);
    if (rc) fail_msg("%s: %s", name, e.text);
    ring_attach(&s->sweep, engine_epoch(s->engine), 1, LANE_SWEEP, STAGE_COMPUTE);
    assert_int_equal(pthread_create(&s->thread, NULL, answer_all, s), 0);
    rc = engine_ready(s->engine, &e);
    atomic_store(&s->ready, true);
    pthread_join(s->thread, NULL);
    if (rc) fail_msg("%s: %s", name, e.text);
}

static void stage_close(struct stage *s)
{
    stub_source_close(s->source);
    engine_close(s->engine);
    free(s->plan);
    model_close(s->model);
    scratch_remove(s->folder);
}

/* Tiles of the sweep, up to this one of all sweeps, as far as the ring has room. What they hold is no matter. */
static void give(struct stage *s, uint64_t upto)
{
    const struct plan_shm *p = s->plan;
    struct ring_entry *x;

    while (s->given < upto && (x = ring_reserve(&s->sweep))) {
        x->sweep = s->given / p->spec.sweep_tiles;
        x->tile = (uint32_t)(s->given++ % p->spec.sweep_tiles);
        x->rows = 0;
        x->bytes = plan_tiles(p)[x->tile].bytes;
        x->segment = SEGMENT_CACHE;
        x->offset = x->tile % (p->run.host_cache_bytes / p->run.slot_bytes / 4) * p->run.slot_bytes;
        ring_publish(&s->sweep);
    }
}

static uint64_t queued(const struct stage *s, uint64_t *tail)
{
    const struct epoch_requests *q = &engine_epoch(s->engine)->requests;

    *tail = atomic_load(&q->tail);
    return atomic_load(&q->head) - *tail;
}

/* Gives tiles of the sweep, but answers no request, until so many wait. */
static uint64_t wait_for_requests(struct stage *s, uint64_t upto, uint64_t n)
{
    struct error e = {0};
    uint64_t tail, have;

    for (int i = 0; i < TRIES && queued(s, &tail) < n; i++) {
        give(s, upto);
        if (engine_poll(s->engine, 10, &e)) fail_msg("%s", e.text);
    }
    have = queued(s, &tail);
    if (have < n) fail_msg("%llu requests, %llu were expected", (unsigned long long)have, (unsigned long long)n);
    return tail;
}

/* Entries of the sweep's ring that compute has done with. The last one is given back when it comes to the next. */
static uint64_t consumed(const struct stage *s, uint64_t *working_on)
{
    uint64_t released = ring_released(&s->sweep), published = ring_published(&s->sweep);
    const struct ring_entry *x = ring_at(&s->sweep, released);

    *working_on = released + (released < published && x->take_ns >= x->ready_ns);
    return released;
}

/* Which operation reads this tile first; ops.count: none. */
static uint64_t first_op(const struct plan_shm *p, uint64_t tile)
{
    uint64_t first = p->ops.count;

    for (uint32_t k = 0; k < plan_tiles(p)[tile].parts; k++) {
        const struct plan_part *x = &plan_parts(p)[plan_tiles(p)[tile].part0 + k];

        for (uint64_t i = 0; i < first; i++) {
            if (x->role == PART_WEIGHT && plan_op_matrix(&plan_ops(p)[i]) == x->index) first = i;
        }
    }
    return first;
}

/* Tiles of a sweep that operations before this one read. */
static uint64_t tiles_before(const struct plan_shm *p, uint64_t op)
{
    uint64_t n = 0;

    while (n < p->spec.sweep_tiles && first_op(p, n) < op) n++;
    return n;
}

/* The requests from tail on are the tiles of this layer's experts: whole ones, each once. */
static void expect_whole_experts(const struct stage *s, uint64_t tail, uint32_t table, uint64_t n)
{
    const struct epoch_requests *q = &engine_epoch(s->engine)->requests;
    const struct plan_expert_tiles *x = &plan_expert_tiles(s->plan)[table];
    uint32_t before = 0, tiles = plan_experts(s->plan)[table].experts * x->each;

    for (uint64_t i = 0; i < n; i++) {
        uint32_t tile = q->tile[(tail + i) % EPOCH_REQUESTS];

        assert_in_range(tile, x->tile0, x->tile0 + tiles - 1);
        assert_int_equal((tile - x->tile0) % x->each, i % x->each);
        if (i) assert_true(tile > before);
        before = tile;
    }
}

/* One sweep; in each layer that has experts their tiles are held back until all has been looked at. Returns how many tiles
 * of shared experts were computed while nothing of the layer's experts had come. */
static uint64_t sweep(struct stage *s, uint32_t n, uint64_t sweeps_before)
{
    const struct plan_shm *p = s->plan;
    struct sweep_position position[CHUNK];
    uint64_t tail, router = 0, want = 0, meanwhile = 0, done = sweeps_before * p->spec.sweep_tiles;
    struct error e = {0};

    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = (uint32_t)sweeps_before * CHUNK + i;

        position[i] = (struct sweep_position){
            .token = 6 + i, .position = place, .row = place, .parent = place ? place - 1 : ROW_NONE};
    }
    position[n - 1].flags = POSITION_LOGITS;
    if (engine_sweep_start(s->engine, position, n, &e)) fail_msg("%s", e.text);
    /* rows of the embedding are listed already; compute asks for nothing before it has them, so this answers nothing else */
    do stub_source_requests(s->source);
    while (stub_source_stuck(s->source));
    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(p)[i];
        uint64_t reached, at, last;

        if (op->kind == OP_ROUTER) {
            router = tiles_before(p, i);
            /* what lies in the tiles makes all positions choose the same experts: their union is those of one */
            want = (uint64_t)op->router.top * plan_expert_tiles(p)[op->router.table].each;
            tail = wait_for_requests(s, done + router, want);
            expect_whole_experts(s, tail, op->router.table, want);
        }
        if (op->kind != OP_EXPERTS) continue;
        /* none of them has been answered: compute goes on as far as it can without */
        reached = tiles_before(p, i);
        for (int k = 0; k < TRIES && (consumed(s, &at), at) < done + reached; k++) {
            give(s, done + reached);
            if (engine_poll(s->engine, 10, &e)) fail_msg("%s", e.text);
        }
        if (consumed(s, &at) + 1 < done + reached || at < done + reached)
            fail_msg("compute waits for experts at tile %llu of the sweep, %llu need none",
                     (unsigned long long)(at - done), (unsigned long long)reached);
        meanwhile += reached - router;
        assert_int_equal(queued(s, &tail), want);
        /* all of these and no further ones: those of the next layer want tiles that have not been given */
        for (last = tail + want; tail < last || stub_source_stuck(s->source); queued(s, &tail)) {
            if (stub_source_stuck(s->source) && engine_poll(s->engine, 1, &e)) fail_msg("%s", e.text);
            stub_source_requests(s->source);
        }
        assert_int_equal(tail, last);
    }
    for (int i = 0; i < TRIES && !engine_sweep_done(s->engine); i++) {
        give(s, done + p->spec.sweep_tiles);
        if (engine_poll(s->engine, 10, &e)) fail_msg("%s", e.text);
    }
    assert_true(engine_sweep_done(s->engine));
    return meanwhile;
}

static void check(const char *name, bool shared)
{
    struct stage s;
    uint64_t chunk, one;

    stage_open(&s, name);
    chunk = sweep(&s, CHUNK, 0);
    one = sweep(&s, 1, 1);
    assert_int_equal(one, chunk);
    if (shared)
        assert_true(one > 0);
    else
        assert_int_equal(one, 0);
    print_message("%s: all experts of a layer asked for at once; %llu tiles computed meanwhile\n", name,
                  (unsigned long long)one);
    stage_close(&s);
}

static void all_of_a_layer_at_once(void **state)
{
    (void)state;
    check("mixtral", false);
    check("qwen3-moe", false);
}

static void shared_experts_go_on(void **state)
{
    (void)state;
    check("qwen2-moe", true);
    check("deepseek-v2", true);
    check("glm4-moe", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_of_a_layer_at_once),
                                       cmocka_unit_test(shared_experts_go_on)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

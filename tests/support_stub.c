#include "tests/support_stub.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/clock.h"

static void on_freed(void *arg, enum lane_id lane, const struct ring_entry *x)
{
    struct stub *p = arg;

    assert_int_equal(x->seq, p->freed[lane]);
    assert_true(x->fill_ns <= x->ready_ns && x->ready_ns <= x->take_ns && x->take_ns <= x->free_ns);
    p->freed[lane]++;
}

static void *stub_main(void *arg)
{
    struct stub *p = arg;

    p->rc = stream_run(p->stream, &p->error);
    if (p->rc != -ECANCELED) epoch_fail(p->run, STAGE_READER);
    return NULL;
}

static int open_stream(struct stub *p, struct plan_shm *plan, struct io_engine *engine, uint64_t hang_ns)
{
    struct stream_options o = {.plan = plan, .freed = on_freed, .freed_arg = p, .hang_ns = hang_ns};
    struct io_options eo;

    memset(p, 0, sizeof *p);
    p->plan = plan;
    p->run = run_make(plan);
    p->arena = pages_make(plan_arena_bytes(&plan->run));
    p->cache = pages_make(plan->run.host_cache_bytes);
    eo = stream_engine_options(plan, p->arena);
    p->engine = engine;
    if (!engine) assert_int_equal(io_engine_open(&p->engine, plan->run.engine, &eo, &p->error), 0);
    o.run = p->run;
    o.arena = p->arena;
    o.cache = p->cache;
    o.engine = p->engine;
    for (int i = 0; i < LANES; i++) ring_attach(&p->ring[i], p->run, 0, (enum lane_id)i, STAGE_READER);
    return stream_open(&p->stream, &o, &p->error);
}

int stub_open(struct stub *p, struct plan_shm *plan, struct io_engine *engine)
{
    return open_stream(p, plan, engine, 0);
}

void stub_free(struct stub *p)
{
    io_engine_close(p->engine);
    stream_close(p->stream);
    free(p->plan);
    free(p->run);
    free(p->arena);
    free(p->cache);
}

void stub_start(struct stub *p, struct plan_shm *plan, struct io_engine *engine)
{
    stub_start_patient(p, plan, engine, 0);
}

void stub_start_patient(struct stub *p, struct plan_shm *plan, struct io_engine *engine, uint64_t hang_ns)
{
    int rc = open_stream(p, plan, engine, hang_ns);

    if (rc) fail_msg("%s", p->error.text);
    assert_int_equal(pthread_create(&p->thread, NULL, stub_main, p), 0);
}

void stub_stop(struct stub *p)
{
    uint64_t t0 = clock_ns();

    epoch_stop(p->run);
    pthread_join(p->thread, NULL);
    assert_true(clock_ns() - t0 < 1000000000u);
    if (p->rc != -ECANCELED) fail_msg("%s", p->error.text);
    for (int i = 0; i < LANES; i++) assert_int_equal(ring_check(p->ring[i].shm, &p->error), 0);
    stub_free(p);
}

void stub_expect_failure(struct stub *p, int code, const char *words)
{
    pthread_join(p->thread, NULL);
    if (p->rc != -code || !strstr(p->error.text, words)) fail_msg("%d: %s", p->rc, p->error.text);
    stub_free(p);
}

uint8_t *stub_payload(const struct stub *p, const struct ring_entry *x)
{
    return (x->segment == SEGMENT_CACHE ? p->cache : p->arena) + x->offset;
}

struct ring_entry *stub_next(struct stub *p, enum lane_id lane)
{
    struct ring_entry *x;

    for (;;) {
        uint32_t seen = eventcount_read(&p->run->eventcount[STAGE_TRANSFER]);

        if ((x = ring_take(&p->ring[lane]))) return x;
        if (epoch_state(p->run)) return NULL;
        eventcount_wait(&p->run->eventcount[STAGE_TRANSFER], seen, 10000000u);
    }
}

void stub_check_tile(const struct stub *p, const struct ring_entry *x, uint32_t tile)
{
    const struct plan_tile *t = &plan_tiles(p->plan)[tile];

    assert_int_equal(x->tile, tile);
    assert_int_equal(x->bytes, t->bytes);
    assert_int_equal(tile_wrong_bytes(p->plan, t, stub_payload(p, x)), 0);
}

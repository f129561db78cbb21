/* Reader and transfer as the processes that a run starts; the test plays compute behind them, over a real plan. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/plan/plan.h"
#include "coordinator/engine/engine.h"
#include "proto/base/clock.h"
#include "proto/ring.h"
#include "tests/support_files.h"
#include "tests/support_program.h"

struct stub {
    struct folder folder;
    struct plan_shm *program;
    struct plan_shm *plan;
    struct engine *engine;
    struct ring device[LANES];
    struct error error;
    uint64_t traced[2]; /* records of the host and the device rings */
};

static void on_trace(void *arg, enum stage_id from, const struct trace_record *r, uint32_t n)
{
    struct stub *p = arg;

    assert_true(from == STAGE_READER || from == STAGE_TRANSFER);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(r[i].ring, from == STAGE_TRANSFER);
        /* one that was under way at the end has zeros from where it did not come to */
        const uint64_t way[] = {r[i].fill_ns, r[i].ready_ns, r[i].take_ns, r[i].free_ns};

        assert_true(way[0] > 0);
        for (int k = 1; k < 4; k++) assert_true(way[k] ? way[k - 1] && way[k] >= way[k - 1] : !r[i].free_ns);
    }
    p->traced[from == STAGE_TRANSFER] += n;
}

/* A program whose tensors lie in a file that is there. */
static void make_files(struct stub *p)
{
    struct test_shape shape = test_shape_small;
    struct program program;
    struct plan_file *f;
    struct stat st;
    uint64_t bytes;

    shape.layers = 20;
    shape.experts = 4;
    shape.top = 2;
    test_program(&program, &shape);
    f = (struct plan_file *)program.files.data;
    bytes = f->bytes;
    folder_make(&p->folder, "/var/tmp", 1, &bytes);
    assert_int_equal(stat(p->folder.name[0], &st), 0);
    *f = (struct plan_file){.name = program_string(&program, p->folder.name[0]),
                            .bytes = bytes,
                            .inode = (uint64_t)st.st_ino,
                            .mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec};
    assert_int_equal(program_image(&p->program, &program, &p->error), 0);
    program_free(&program);
}

/* The model is so small that all of it would be pinned: two of three tiles of the sweep come from the disk each time. */
static void stream_some(struct plan_shm *p)
{
    struct plan_tile *t = (struct plan_tile *)(void *)((char *)p + p->tiles.offset);

    for (uint64_t i = 0; i < p->spec.sweep_tiles; i++) {
        if (i % 3) t[i].tier = TIER_DISK, t[i].flags = 0, t[i].tier_off = 0;
    }
}

/* Starts both stages and waits for the epoch. */
static int stub_start(struct stub *p)
{
    struct plan_settings s = test_settings(UINT64_C(256) << 20);
    struct engine_config c = {.trace = on_trace, .trace_arg = p, .only = 1u << STAGE_READER | 1u << STAGE_TRANSFER};
    int rc;

    s.trace = 1;
    s.slot_bytes = 16384;
    if ((rc = plan_build(&p->plan, &c.plan_bytes, p->program, &s, &p->error))) fail_msg("%s", p->error.text);
    stream_some(p->plan);
    c.plan = p->plan;
    if ((rc = engine_open(&p->engine, &c, &p->error))) return rc;
    if ((rc = engine_ready(p->engine, &p->error))) return rc;
    for (int i = 0; i < LANES; i++)
        ring_attach(&p->device[i], engine_epoch(p->engine), 1, (enum lane_id)i, STAGE_TRANSFER);
    return 0;
}

static void stub_end(struct stub *p)
{
    engine_close(p->engine);
    free(p->program);
    free(p->plan);
    folder_remove(&p->folder);
}

static struct ring_entry *take(struct stub *p, int lane)
{
    struct eventcount *b = &engine_epoch(p->engine)->eventcount[STAGE_COMPUTE];
    uint64_t t0 = clock_ns();
    struct ring_entry *x;

    for (;;) {
        uint32_t seen = eventcount_read(b);

        if ((x = ring_take(&p->device[lane]))) return x;
        if (clock_ns() - t0 > UINT64_C(5000000000)) fail_msg("nothing on lane %d", lane);
        eventcount_wait(b, seen, 10000000u);
    }
}

/* Only tiles in the arena are looked at: the test does not map the cache. */
static void check_and_release(struct stub *p, int lane, uint32_t tile)
{
    struct ring_entry *x = take(p, lane);

    assert_int_equal(x->tile, tile);
    if (x->segment == SEGMENT_ARENA)
        assert_int_equal(tile_wrong_bytes(p->plan, &plan_tiles(p->plan)[tile], engine_arena(p->engine) + x->offset), 0);
    ring_release(&p->device[lane]);
}

static void tiles_pass_through_both_processes(void **state)
{
    struct stub p = {0};
    const struct plan_spec *s;
    uint32_t first, seen = 0;
    struct ring_entry *x;

    (void)state;
    make_files(&p);
    if (stub_start(&p)) fail_msg("%s", p.error.text);
    s = &p.plan->spec;
    for (uint32_t i = 0; i < s->resident_tiles; i++) check_and_release(&p, 1, (uint32_t)s->sweep_tiles + i);
    for (uint32_t sweep = 0; sweep < 3; sweep++) {
        for (uint32_t i = 0; i < s->sweep_tiles; i++) {
            if (sweep && (plan_tiles(p.plan)[i].flags & TILE_STAYS)) continue;
            check_and_release(&p, 0, i);
            seen++;
        }
    }
    first = (uint32_t)s->sweep_tiles + s->resident_tiles;
    for (uint32_t i = 0; i < s->demand_tiles; i++) {
        assert_int_equal(request_push(engine_epoch(p.engine), first + i), 0);
        check_and_release(&p, 1, first + i);
    }
    engine_announce_rows(p.engine, (const uint32_t[]){5, 6, 5}, 3);
    x = take(&p, LANE_ROWS);
    assert_true(x->tile == RING_GATHER && x->rows == 2 && x->sweep == 0);
    ring_release(&p.device[LANE_ROWS]);
    assert_true(seen > s->sweep_tiles && s->sweep_tiles > 9);
    for (int i = 0; i < 100 && (p.traced[0] < seen || p.traced[1] < seen); i++)
        assert_int_equal(engine_poll(p.engine, 50, &p.error), 0);
    assert_true(p.traced[0] >= seen && p.traced[1] >= seen);
    stub_end(&p);
}

static void a_truncated_file_ends_the_run(void **state)
{
    struct stub p = {0};

    (void)state;
    make_files(&p);
    assert_int_equal(truncate(p.folder.name[0], 5000), 0);
    assert_int_equal(stub_start(&p), -EPIPE);
    if (!strstr(p.error.text, "5000 bytes now") || !strstr(p.error.text, p.folder.name[0]))
        fail_msg("%s", p.error.text);
    assert_false(engine_recoverable(p.engine));
    stub_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_pass_through_both_processes),
        cmocka_unit_test(a_truncated_file_ends_the_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

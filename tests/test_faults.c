/* Faults from below the reader, injected: errors that stay and errors that pass, short reads, storms of EAGAIN, reads that
 * never end, wrong bits. In a build with SLUICE_FAULTS (make test-faults) the whole program meets them too. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "reader/engine_faults.h"
#include "reader/fetch.h"
#include "tests/support_stub.h"
#include "tests/support_process.h"
#include "tests/support_victims.h"

#define SLOT  (256u << 10)
#define BYTES 1000003u
#define TILE  250000u
#define DEPTH 4u

/* ---- the spec ---- */

static void specs(void **state)
{
    static const char *const wrong[] = {"eio",    "eio@",   "eio@x2", "eio=3",   "short",  "short@3",
                                        "burn@1", "once=1", "once@1", "eio@1y3", "eio@1 ", ","};
    struct faults f;
    struct error e;

    (void)state;
    assert_int_equal(faults_parse(&f, "eio@4096x2,eagain=0.5,hang@7,once", 1, &e), 0);
    assert_int_equal(f.count, 4);
    assert_null(faults_meet(&f, FAULT_EIO, 0, 4096));
    assert_non_null(faults_meet(&f, FAULT_EIO, 0, 4097));
    assert_non_null(faults_meet(&f, FAULT_EIO, 4096, 4097));
    assert_null(faults_meet(&f, FAULT_EIO, 0, 9999)); /* met twice */
    for (int i = 0; i < 9; i++) assert_non_null(faults_meet(&f, FAULT_HANG, 7, 8));
    assert_true(faults_value(&f, FAULT_EAGAIN, 0) == 0.5);
    assert_true(faults_value(&f, FAULT_SHORT, 9) == 9);
    assert_int_equal(faults_parse(&f, "eio@4096,once", 2, &e), 0);
    assert_int_equal(f.count, 0);
    assert_int_equal(faults_parse(&f, NULL, 1, &e), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (faults_parse(&f, wrong[i], 1, &e) != -EINVAL || !strstr(e.text, wrong[i]))
            fail_msg("\"%s\" is taken", wrong[i]);
}

/* ---- the reader over an engine with faults: one file, four tiles ---- */

static struct plan_shm *make_plan(const struct folder *d, uint32_t io, uint32_t engine)
{
    struct builder *b = calloc(1, sizeof *b);
    struct plan_shm *p;

    builder_init(b, d, SLOT);
    for (uint32_t i = 0; i < 4; i++) {
        builder_tile(b, TIER_DISK, 0);
        builder_part(b, 0, i * TILE, TILE);
    }
    b->head.spec.sweep_tiles = 4;
    b->head.run.reader_slots[0] = 1; /* so that the reader does not run ahead of the test */
    b->head.run.io = io;
    b->head.run.engine = engine;
    b->head.run.io_block_bytes = 65536;
    b->head.run.io_depth = DEPTH;
    p = builder_finish(b);
    free(b);
    return p;
}

static int setup(void **state)
{
    static struct folder d;
    uint64_t bytes = BYTES;

    folder_make(&d, "/var/tmp", 1, &bytes);
    *state = &d;
    return 0;
}

static int teardown(void **state)
{
    folder_remove(*state);
    return 0;
}

static void start(struct stub *p, struct plan_shm *plan, const char *spec)
{
    struct io_options o = {.depth = DEPTH, .files = files_number(1, 0)};
    struct io_engine *below, *faulty;
    struct faults f;
    struct error e;

    assert_int_equal(faults_parse(&f, spec, 1, &e), 0);
    assert_int_equal(io_engine_open(&below, plan->run.engine, &o, &e), 0);
    assert_int_equal(io_engine_faults_open(&faulty, below, &f, DEPTH, &e), 0);
    stub_start_patient(p, plan, faulty, (uint64_t)(faults_value(&f, FAULT_PATIENCE, 0) * 1e9));
}

static void expect_tiles(struct stub *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct ring_entry *x = stub_next(p, LANE_SWEEP);

        if (!x) fail_msg("%s", p->error.text);
        stub_check_tile(p, x, i % 4);
        ring_release(&p->ring[0]);
    }
}

static void expect_failure(struct stub *p, const struct folder *d, int code, const char *words)
{
    while (stub_next(p, LANE_SWEEP)) ring_release(&p->ring[0]);
    if (!strstr(p->error.text, d->name[0])) fail_msg("no file's name: %s", p->error.text);
    stub_expect_failure(p, code, words);
}

static void what_passes_is_mended(void **state)
{
    static const char *const specs_of[] = {
        "eio@500000x3",        "eagain=0.5", "short=4096", "short=5000", "eagain=0.3,short=20000,eio@3x1",
        "eio@0x1,eio@999999x2"};
    struct stub p;

    for (uint32_t io = PLAN_IO_DIRECT; io <= PLAN_IO_BUFFERED; io++) {
        for (uint32_t engine = ENGINE_AUTO; engine <= ENGINE_THREADS; engine += ENGINE_THREADS - ENGINE_AUTO) {
            for (size_t i = 0; i < sizeof specs_of / sizeof *specs_of; i++) {
                start(&p, make_plan(*state, io, engine), specs_of[i]);
                expect_tiles(&p, 12);
                if (!strncmp(specs_of[i], "short", 5))
                    assert_int_equal(atomic_load(&p.run->stats[STAGE_READER].retries), 0);
                else
                    assert_true(atomic_load(&p.run->stats[STAGE_READER].retries) > 0);
                stub_stop(&p);
            }
        }
    }
}

static void what_stays_is_named(void **state)
{
    struct stub p;

    start(&p, make_plan(*state, PLAN_IO_AUTO, ENGINE_AUTO), "eio@520001");
    expect_failure(&p, *state, EIO, "at offset 499712 could not be read");
    start(&p, make_plan(*state, PLAN_IO_AUTO, ENGINE_AUTO), "eio@520001x4"); /* one more than it is tried again */
    expect_failure(&p, *state, EIO, "tried 4 times");
    start(&p, make_plan(*state, PLAN_IO_AUTO, ENGINE_AUTO), "eagain=1");
    expect_failure(&p, *state, EAGAIN, "tried 201 times");
}

static void a_read_that_never_ends_is_given_up(void **state)
{
    struct stub p;

    start(&p, make_plan(*state, PLAN_IO_AUTO, ENGINE_AUTO), "hang@600000,patience=0.3");
    expect_failure(&p, *state, ETIMEDOUT, "one at offset 5"); /* 565248: of the blocks of tile 2 */
    /* and does not keep a run from stopping */
    start(&p, make_plan(*state, PLAN_IO_AUTO, ENGINE_AUTO), "hang@0");
    while (!atomic_load(&p.run->stats[STAGE_READER].calls)) nap_ms(1);
    stub_stop(&p);
}

/* A bit that a disk or a cable turns without saying so cannot be noticed by a reader: no checksum stands beside the
 * weights. This says so, and that nothing else of the tile is touched; `sluice verify` against a manifest finds it. */
static void wrong_bits_go_unnoticed(void **state)
{
    struct ring_entry *x;
    struct stub p;

    start(&p, make_plan(*state, PLAN_IO_AUTO, ENGINE_AUTO), "flip@300000x1");
    for (uint32_t i = 0; i < 8; i++) {
        assert_non_null(x = stub_next(&p, LANE_SWEEP));
        assert_int_equal(tile_wrong_bytes(p.plan, &plan_tiles(p.plan)[i % 4], stub_payload(&p, x)), i == 1);
        ring_release(&p.ring[0]);
    }
    stub_stop(&p);
}

/* ---- the whole program ---- */

#define DEMO "tests/data/demo-model"
#define RUN  "run", DEMO, "-p", "Once upon a time", "--temperature", "0", "-n", "60", "--ignore-eos", "-v"

static bool has_faults(void)
{
    static const char *const args[] = {"run", "--help", NULL};
    struct process_result r = process_run("sluice", args, NULL, 0, 10);
    bool has = strstr(r.out, "--fault ") != NULL;

    process_result_free(&r);
    return has;
}

static void a_release_takes_no_faults(void **state)
{
    static const char *const args[] = {RUN, "--fault", "eio@0", NULL};
    struct process_result r;

    (void)state;
    if (has_faults()) {
        print_message("skipped: this build takes faults\n");
        skip();
    }
    r = process_run("sluice", args, NULL, 0, 10);
    assert_int_equal(r.status, 2);
    assert_non_null(strstr(r.err, "--fault"));
    process_result_free(&r);
}

static void the_program_meets_faults(void **state)
{
    static const struct {
        const char *spec;
        int status;
        const char *words; /* on standard error */
    } cases[] = {
        {"eagain=0.3", 0, ""},
        {"short=4096", 0, ""},
        {"eio@1000000x2", 0, ""},
        {"lost@0,once", 0, "starting the stages again"},
        {"lost@7", 0, "the device was lost at sweep 7"}, /* each epoch gets further */
        {"lost@0", 1, "gave up after 3 failures in a row without a new token: the device was lost"},
        {"eio@1000000", 1, "model.safetensors: "},
        {"eio@1000000", 1, "could not be read"},
        {"hang@1000000,patience=1", 1, "no answer from the disk for 1 s"},
        {"burn@1", 1, "burn@1 is no fault"},
    };
    const char *args[] = {RUN, "--fault", NULL, NULL};
    const char *const plain[] = {RUN, NULL};
    struct process_result want;
    size_t at = sizeof args / sizeof *args - 2;

    (void)state;
    if (!has_faults()) {
        print_message("skipped: this build takes no --fault; make test-faults makes one that does\n");
        skip();
    }
    want = process_run("sluice", plain, NULL, 0, 30);
    assert_int_equal(want.status, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct process p;
        struct process_result r;
        char left[256];

        args[at] = cases[i].spec;
        p = process_start("sluice", args);
        r = process_finish(&p, NULL, 0, 30);
        if (r.status != cases[i].status || !strstr(r.err, cases[i].words) || (!r.status && strcmp(r.out, want.out)))
            fail_msg("%s: status %d, %s\n%s", cases[i].spec, r.status, r.out, r.err);
        if (victim_leftovers(p.pid, NULL, 0, 1000, left, sizeof left))
            fail_msg("%s: left behind: %s", cases[i].spec, left);
        process_result_free(&r);
    }
    process_result_free(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(specs),
        cmocka_unit_test(what_passes_is_mended),
        cmocka_unit_test(what_stays_is_named),
        cmocka_unit_test(a_read_that_never_ends_is_given_up),
        cmocka_unit_test(wrong_bits_go_unnoticed),
        cmocka_unit_test(a_release_takes_no_faults),
        cmocka_unit_test(the_program_meets_faults),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

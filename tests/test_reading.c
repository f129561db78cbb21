/* How block and depth are found: plain reads of the plan's files, the choice among them, and what is remembered of it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/plan/calibrate.h"
#include "reader/engine.h"
#include "reader/files.h"
#include "reader/probe.h"
#include "reader/tune.h"
#include "tests/support_files.h"
#include "tests/support_model.h"
#include "tests/support_stub.h"

#define MIB (UINT64_C(1) << 20)

static struct plan_shm *plan_of(const struct folder *d, uint64_t bytes, uint32_t depth)
{
    static struct builder b;

    builder_init(&b, d, MIB);
    builder_tile(&b, TIER_DISK, 0);
    if (bytes) builder_part(&b, 0, 5000, bytes);
    b.head.run.io_depth = depth;
    b.head.run.io_find = IO_FIND_FIRST;
    b.head.run.probe_bytes = PLAN_PROBE_MOST;
    return builder_finish(&b);
}

static void plain_reads_go_through_all_files(void **state)
{
    static const uint64_t bytes[] = {3 * MIB + 17, 0, 9000, MIB};
    struct probe_setting s = {.block_bytes = MIB, .depth = 4};
    struct probe_result r;
    struct probe probe;
    struct folder d;
    struct plan_shm *p;
    struct error e = {0};
    uint32_t seen = 0;

    (void)state;
    folder_make(&d, NULL, 4, bytes);
    p = plan_of(&d, 100000, 8);
    if (probe_open(&probe, p, &e)) fail_msg("%s", e.text);
    for (int i = 0; i < 40; i++) {
        if (probe_read(&probe, &s, 1, &r, &e)) fail_msg("%s", e.text);
        assert_true(r.all_bytes > 0 && r.all_bytes <= 4 * MIB);
        assert_true(r.bytes <= r.all_bytes && r.ns <= r.all_ns);
        seen |= 1u << probe.file;
    }
    assert_int_equal(seen & 2, 0); /* an empty file is passed over */
    assert_true(seen & 1 && seen & 8);
    s.block_bytes = 5000;
    assert_int_equal(probe_read(&probe, &s, 1, &r, &e), -EINVAL);
    s = (struct probe_setting){.block_bytes = MIB, .depth = 0};
    assert_int_equal(probe_read(&probe, &s, 1, &r, &e), -EINVAL);
    s = (struct probe_setting){.block_bytes = 512 * MIB, .depth = 4};
    assert_int_equal(probe_read(&probe, &s, 1, &r, &e), -EINVAL);
    probe_close(&probe);
    free(p);
    folder_remove(&d);
}

/* ---- reads that fail ---- */

/* Reads end when they are waited for, the oldest first; those of one file end with a code of their own. */
struct failing {
    struct io_engine engine;
    struct io_read read[PROBE_DEPTH];
    uint32_t count, file; /* as the engine numbers it */
    int code;             /* -errno; 0: none fails */
};

static void failing_submit(struct io_engine *g, const struct io_read *r)
{
    struct failing *f = (struct failing *)g;

    f->read[f->count++] = *r;
}

static int failing_reap(struct io_engine *g, struct io_done *done, uint32_t max, uint32_t min, uint64_t timeout_ns)
{
    struct failing *f = (struct failing *)g;

    (void)max, (void)min, (void)timeout_ns;
    if (!f->count) return 0;
    *done = (struct io_done){f->read->tag, f->code && f->read->file == f->file ? f->code : (int32_t)f->read->bytes};
    memmove(f->read, f->read + 1, --f->count * sizeof *f->read);
    return 1;
}

static void failing_close(struct io_engine *g)
{
    (void)g;
}

static const struct io_ops failing_ops = {
    .name = "failing", .submit = failing_submit, .reap = failing_reap, .close = failing_close};

/* By the time a read of the first file ends, the probe is in the second or the third one. */
static void the_file_whose_read_failed_is_to_blame(void **state)
{
    static const uint64_t bytes[] = {MIB, MIB, 4 * MIB};
    struct probe_setting s = {.block_bytes = MIB, .depth = 4};
    struct probe_result r;
    struct failing f; /* as long as the probe */
    struct probe probe;
    struct folder d;
    struct plan_shm *p;
    struct error e = {0};

    (void)state;
    folder_make(&d, "/var/tmp", 3, bytes);
    p = plan_of(&d, 100000, 8);
    p->run.io = PLAN_IO_DIRECT;
    if (probe_open(&probe, p, &e)) fail_msg("%s", e.text);
    io_engine_close(probe.engine);
    for (uint32_t file = 0; file < 2; file++) {
        enum files_way way = files_way(probe.files, file);

        f = (struct failing){.engine.ops = &failing_ops, .file = files_number(file, way), .code = -EIO};
        probe.engine = &f.engine;
        probe.file = 0;
        probe.offset = 0;
        assert_int_equal(probe_read(&probe, &s, UINT64_MAX, &r, &e), -EIO);
        if (!strstr(e.text, d.name[file])) fail_msg("%s", e.text);
        assert_non_null(strstr(e.text, "offset 0"));
        assert_int_equal(f.count, 0); /* and nothing is left for the next call */
        if (way != FILES_DIRECT) {
            print_message("SKIP: direct reads cannot be had here\n");
            continue;
        }
        f.code = -EINVAL;
        probe.file = 0;
        probe.offset = 0;
        assert_int_equal(probe_read(&probe, &s, 0, &r, &e), 0);
        for (uint32_t i = 0; i < 3; i++) assert_int_equal(files_way(probe.files, i) == FILES_BUFFERED, i <= file);
    }
    probe_close(&probe);
    free(p);
    folder_remove(&d);
}

/* What has come in a file's place since the plan was made is not waited for. */
static void a_pipe_in_the_place_of_a_file(void **state)
{
    static const uint64_t bytes[] = {MIB, MIB};

    (void)state;
    for (uint32_t io = PLAN_IO_AUTO; io <= PLAN_IO_BUFFERED; io++) {
        struct folder d;
        struct plan_shm *p;
        struct probe probe;
        struct error e = {0};

        folder_make(&d, NULL, 2, bytes);
        p = plan_of(&d, 100000, 8);
        p->run.io = io;
        assert_int_equal(unlink(d.name[1]), 0);
        assert_int_equal(mkfifo(d.name[1], 0600), 0);
        assert_int_equal(probe_open(&probe, p, &e), -ESTALE);
        if (!strstr(e.text, d.name[1])) fail_msg("%s", e.text);
        free(p);
        folder_remove(&d);
    }
}

static void nothing_to_read_is_no_rate(void **state)
{
    static const uint64_t bytes[] = {0};
    struct tune_result t;
    struct folder d;
    struct plan_shm *p;
    struct probe probe;
    struct error e = {0};

    (void)state;
    folder_make(&d, NULL, 1, bytes);
    p = plan_of(&d, 0, 16);
    assert_int_equal(probe_open(&probe, p, &e), 0);
    assert_int_equal(tune(&probe, &t, &e), 0);
    assert_int_equal(t.depth, 0);
    probe_close(&probe);
    free(p);
    folder_remove(&d);
}

static void one_of_the_settings_is_chosen(void **state)
{
    static const uint64_t bytes[] = {20 * MIB};
    struct tune_result t;
    struct probe_result r;
    struct folder d;
    struct plan_shm *p;
    struct probe probe;
    struct error e = {0};

    (void)state;
    folder_make(&d, NULL, 1, bytes);
    for (uint32_t depth = 8; depth <= 16; depth *= 2) {
        p = plan_of(&d, 100000, depth);
        assert_int_equal(probe_open(&probe, p, &e), 0);
        assert_int_equal(tune(&probe, &t, &e), 0);
        assert_true(t.depth >= 1 && t.depth <= depth);
        assert_true(t.block_bytes % PLAN_PAGE == 0 && t.block_bytes >= MIB && t.bytes_per_second > 0);
        probe_close(&probe);
        p->run.probe_bytes = 16 * MIB; /* no more may be in flight than there is memory for */
        assert_int_equal(probe_open(&probe, p, &e), 0);
        assert_int_equal(tune(&probe, &t, &e), 0);
        assert_true(t.depth * t.block_bytes <= 16 * MIB && (depth < 16) == (t.depth == 0));
        assert_int_equal(probe_read(&probe, &(struct probe_setting){MIB, 17}, 1, &r, &e), -EINVAL);
        probe_close(&probe);
        free(p);
    }
    folder_remove(&d);
}

/* Files so small are not worth a quarter of a second. */
static void small_files_are_not_tried(void **state)
{
    static const uint64_t bytes[] = {2 * MIB};
    struct stub play;
    struct folder d;

    (void)state;
    folder_make(&d, NULL, 1, bytes);
    assert_int_equal(stub_open(&play, plan_of(&d, 100000, 8), NULL), 0);
    assert_int_equal(stream_find(play.stream, &play.error), 0);
    assert_int_equal(atomic_load(&play.run->stats[STAGE_READER].io_block), 0);
    assert_int_equal(atomic_load(&play.run->stats[STAGE_READER].calls), 0);
    stub_free(&play);
    folder_remove(&d);
}

static void what_was_found_is_remembered(void **state)
{
    static const char *const damaged[] = {"",
                                          "[]",
                                          "{\"read-disk-%llx\": 7}",
                                          "{\"read-disk-%llx\": {\"block\": 5000, \"depth\": 4}}",
                                          "{\"read-disk-%llx\": {\"block\": 4096, \"depth\": 0}}",
                                          "{\"read-disk-%llx\": {\"block\": 4096000000000, \"depth\": 1}}"};
    char *folder = scratch_make(), text[200];
    struct calibration s;
    struct stat st;
    uint64_t block = 1;
    uint32_t depth = 1;

    (void)state;
    setenv("XDG_CACHE_HOME", folder, 1);
    assert_false(calibration_reading(folder, &block, &depth));
    calibration_keep_reading(folder, 4 * MIB, 16, 2.5e9);
    assert_true(calibration_reading(folder, &block, &depth));
    assert_int_equal(block, 4 * MIB);
    assert_int_equal(depth, 16);
    calibration_load(&s, folder, NULL);
    assert_true(s.disk_measured && s.disk == 2.5e9);
    assert_false(calibration_reading("/proc", &block, &depth)); /* another file system */
    assert_int_equal(stat(folder, &st), 0);
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        char path[300];
        FILE *f;

        snprintf(path, sizeof path, "%s/sluice/speeds.json", folder);
        snprintf(text, sizeof text, damaged[i], (unsigned long long)st.st_dev);
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
        assert_false(calibration_reading(folder, &block, &depth));
    }
    unsetenv("XDG_CACHE_HOME");
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_reads_go_through_all_files), cmocka_unit_test(the_file_whose_read_failed_is_to_blame),
        cmocka_unit_test(a_pipe_in_the_place_of_a_file),    cmocka_unit_test(nothing_to_read_is_no_rate),
        cmocka_unit_test(one_of_the_settings_is_chosen),    cmocka_unit_test(small_files_are_not_tried),
        cmocka_unit_test(what_was_found_is_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

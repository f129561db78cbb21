/* What goes wrong below the reader: files that are not what was planned, and reads that fail, stop short or hang. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/rows.h"
#include "reader/stream.h"
#include "reader/files.h"
#include "tests/support_stub.h"

#define SLOT  (256u << 10)
#define BYTES 1000003u

/* ---- an engine that reads at once, with faults ---- */

struct faulty {
    struct io_engine engine;
    uint32_t count;
    struct io_done done[64];
    /* plan of faults, for reads that begin in [from, to) */
    uint64_t from, to;
    int code; /* -errno of the next `times` reads */
    uint32_t times;
    uint32_t at_most;   /* bytes that one read brings; 0: all */
    bool refuse_direct; /* -EINVAL for reads of whole pages through the descriptor that was added first */
    int first_fd;
    bool silent; /* no read ever ends */
    uint32_t reads;
    bool late; /* reads land when the engine is to finish, and not before */
    uint32_t held;
    struct io_read read[64];
    pthread_t user, finisher; /* who submitted, who let it finish */
};

static void faulty_add_file(struct io_engine *g, uint32_t file, int fd)
{
    struct faulty *f = (struct faulty *)g;

    if (file % FILES_WAYS == FILES_DIRECT) f->first_fd = fd;
}

static void faulty_submit(struct io_engine *g, const struct io_read *r)
{
    struct faulty *f = (struct faulty *)g;
    uint32_t bytes = f->at_most && f->at_most < r->bytes ? f->at_most : r->bytes;
    ssize_t n;

    f->reads++;
    f->user = pthread_self();
    if (f->late) f->read[f->held++] = *r;
    if (f->late || f->silent) return;
    if (f->refuse_direct && r->fd == f->first_fd)
        n = -EINVAL;
    else if (f->times && r->offset >= f->from && r->offset < f->to)
        n = f->code, f->times--;
    else
        n = pread(r->fd, r->dest, bytes, (off_t)r->offset);
    f->done[f->count++] = (struct io_done){.tag = r->tag, .result = (int32_t)(n == -1 ? -errno : n)};
}

static int faulty_reap(struct io_engine *g, struct io_done *done, uint32_t max, uint32_t min, uint64_t timeout_ns)
{
    struct faulty *f = (struct faulty *)g;
    uint32_t n = 0;

    if (!f->count && min) nanosleep(&(struct timespec){.tv_nsec = (long)(timeout_ns % 1000000000u)}, NULL);
    while (n < max && f->count) done[n++] = f->done[--f->count];
    return (int)n;
}

static void faulty_finish(struct io_engine *g, uint64_t limit_ns)
{
    struct faulty *f = (struct faulty *)g;

    assert_true(limit_ns > 0);
    f->finisher = pthread_self();
    while (f->held) {
        const struct io_read *r = &f->read[--f->held];

        assert_int_equal(pread(r->fd, r->dest, r->bytes, (off_t)r->offset), r->bytes);
    }
}

static const char *faulty_describe(const struct io_engine *g)
{
    (void)g;
    return "faulty";
}

static void faulty_close(struct io_engine *g)
{
    (void)g;
}

static const struct io_ops faulty_ops = {.name = "faulty",
                                         .add_file = faulty_add_file,
                                         .submit = faulty_submit,
                                         .reap = faulty_reap,
                                         .describe = faulty_describe,
                                         .finish = faulty_finish,
                                         .close = faulty_close};

static void faulty_init(struct faulty *f)
{
    *f = (struct faulty){.engine.ops = &faulty_ops, .to = UINT64_MAX, .first_fd = -1};
}

/* ---- a small plan: one file, four tiles ---- */

static struct plan_shm *make_plan(const struct folder *d, uint32_t io)
{
    struct builder *b = calloc(1, sizeof *b);
    struct plan_shm *p;

    builder_init(b, d, SLOT);
    for (uint32_t i = 0; i < 4; i++) {
        builder_tile(b, TIER_DISK, 0);
        builder_part(b, 0, i < 3 ? 1000 + i * 250000u : BYTES - 100001, 100001);
    }
    b->head.spec.sweep_tiles = 4;
    b->head.run.reader_slots[0] = 1; /* so that the reader does not run ahead of the test */
    b->head.run.io = io;
    b->head.run.io_block_bytes = 16384;
    b->head.run.io_depth = 4;
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

static void expect_tiles(struct stub *p, uint32_t from, uint32_t n)
{
    for (uint32_t i = from; i < from + n; i++) {
        struct ring_entry *x = stub_next(p, LANE_SWEEP);

        if (!x) fail_msg("%s", p->error.text);
        stub_check_tile(p, x, i % 4);
        ring_release(&p->ring[0]);
    }
}

/* Tiles go by until the stream ends. */
static void drain(struct stub *p)
{
    while (stub_next(p, LANE_SWEEP)) ring_release(&p->ring[0]);
}

/* ---- reads ---- */

static void transient_errors_are_tried_again(void **state)
{
    static const int codes[] = {EIO, EAGAIN, EINTR, ENOMEM};

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct faulty f;
        struct stub p;

        faulty_init(&f);
        f.code = -codes[i];
        f.times = 3;
        stub_start(&p, make_plan(*state, PLAN_IO_BUFFERED), &f.engine);
        expect_tiles(&p, 0, 8);
        assert_int_equal(atomic_load(&p.run->stats[STAGE_READER].retries), 3);
        stub_stop(&p);
    }
}

/* A read that waits for its next try keeps nobody from working: all these rows come before it was tried 200 times. */
static void other_reads_go_on_while_one_fails(void **state)
{
    struct builder *b = calloc(1, sizeof *b);
    struct plan_shm *plan;
    struct faulty f;
    struct stub p;

    faulty_init(&f);
    f.code = -EAGAIN;
    f.times = UINT32_MAX;
    builder_init(b, *state, SLOT);
    builder_tile(b, TIER_DISK, 0);
    builder_part(b, 0, 500000, 100);
    builder_embedding(b, 0, 0, 97, 1000);
    b->head.spec.sweep_tiles = 1;
    b->head.run.io = PLAN_IO_BUFFERED;
    f.from = 500000 / PLAN_PAGE * PLAN_PAGE;
    f.to = f.from + PLAN_PAGE;
    plan = builder_finish(b);
    free(b);
    stub_start(&p, plan, &f.engine);
    for (uint32_t i = 0; i < 300; i++) {
        struct ring_entry *x;

        assert_int_equal(rows_list(p.run, i, &(uint32_t){i % 97}, 1), 0);
        if (!(x = stub_next(&p, LANE_ROWS))) fail_msg("row %u: %s", i, p.error.text);
        assert_int_equal(stub_payload(&p, x)[0], content_byte(0, i % 97 * 1000));
        ring_release(&p.ring[LANE_ROWS]);
    }
    assert_int_equal(ring_published(&p.ring[0]), 0);
    stub_stop(&p);
}

/* What is under way when the run stops has landed when the stream returns, since the thread that asked for it waited. */
static void reads_under_way_land_before_the_end(void **state)
{
    struct faulty f;
    struct stub p;

    faulty_init(&f);
    f.late = true;
    stub_start(&p, make_plan(*state, PLAN_IO_BUFFERED), &f.engine);
    while (atomic_load(&p.run->stats[STAGE_READER].calls) < 4) {
    }
    epoch_stop(p.run);
    pthread_join(p.thread, NULL);
    assert_int_equal(p.rc, -ECANCELED);
    assert_int_equal(f.reads, 4);
    assert_int_equal(f.held, 0);
    assert_true(pthread_equal(f.user, f.finisher) && !pthread_equal(f.user, pthread_self()));
    assert_int_equal(p.arena[1000], content_byte(0, 1000));
    stub_free(&p);
}

static void lasting_errors_name_file_and_place(void **state)
{
    const struct folder *d = *state;
    struct faulty f;
    struct stub p;

    faulty_init(&f);
    f.code = -EIO;
    f.times = UINT32_MAX;
    f.from = 300000;
    stub_start(&p, make_plan(d, PLAN_IO_BUFFERED), &f.engine);
    drain(&p);
    assert_non_null(strstr(p.error.text, d->name[0]));
    assert_non_null(strstr(p.error.text, "tried 4 times"));
    assert_non_null(strstr(p.error.text, "dmesg"));
    stub_expect_failure(&p, EIO, "offset 3"); /* 300... */

    faulty_init(&f);
    f.code = -EACCES; /* not one that goes away */
    f.times = 1;
    stub_start(&p, make_plan(d, PLAN_IO_BUFFERED), &f.engine);
    drain(&p);
    stub_expect_failure(&p, EACCES, "tried 1 times");
}

static void short_reads_are_continued(void **state)
{
    static const uint32_t lengths[] = {4096, 4097, 5000, 12288, 16383};

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (uint32_t io = PLAN_IO_DIRECT; io <= PLAN_IO_BUFFERED; io++) {
            struct faulty f;
            struct stub p;

            faulty_init(&f);
            f.at_most = lengths[i];
            stub_start(&p, make_plan(*state, io), &f.engine);
            expect_tiles(&p, 0, 8);
            stub_stop(&p);
        }
    }
}

static void direct_reads_that_are_refused_go_buffered(void **state)
{
    struct faulty f;
    struct stub p;

    faulty_init(&f);
    f.refuse_direct = true;
    stub_start(&p, make_plan(*state, PLAN_IO_DIRECT), &f.engine);
    expect_tiles(&p, 0, 8);
    assert_non_null(strstr(stream_describe(p.stream), "buffered"));
    assert_int_equal(atomic_load(&p.run->stats[STAGE_READER].io_ways), EPOCH_READS_BUFFERED);
    assert_int_equal(atomic_load(&p.run->stats[STAGE_READER].retries), 0);
    stub_stop(&p);
}

/* A read that never ends does not keep the reader from stopping. */
static void a_hanging_read_lets_the_run_stop(void **state)
{
    struct faulty f;
    struct stub p;

    faulty_init(&f);
    f.silent = true;
    stub_start(&p, make_plan(*state, PLAN_IO_BUFFERED), &f.engine);
    while (!atomic_load(&p.run->stats[STAGE_READER].calls)) {
    }
    stub_stop(&p);
}

/* ---- files ---- */

static void expect_open_failure(const struct folder *d, struct plan_shm *plan, int code, const char *words)
{
    struct stub p;
    int rc = stub_open(&p, plan, NULL);

    if (rc != -code || !strstr(p.error.text, words) || !strstr(p.error.text, d->name[0]))
        fail_msg("%d: %s", rc, p.error.text);
    stub_free(&p);
}

static void write_all(const char *name, uint64_t bytes)
{
    uint8_t *data = malloc(bytes);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0 && data);
    for (uint64_t i = 0; i < bytes; i++) data[i] = content_byte(0, i);
    assert_int_equal(write(fd, data, bytes), bytes);
    close(fd);
    free(data);
}

static void changed_before_it_was_opened(void **state)
{
    const struct folder *d = *state;
    char other[128];
    struct plan_shm *plan = make_plan(d, PLAN_IO_AUTO);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000000}};

    assert_int_equal(truncate(d->name[0], BYTES - 1), 0);
    expect_open_failure(d, plan, ESTALE, "1000002 bytes now, had 1000003");

    write_all(d->name[0], BYTES);
    plan = make_plan(d, PLAN_IO_DIRECT);
    assert_int_equal(utimensat(AT_FDCWD, d->name[0], times, 0), 0);
    expect_open_failure(d, plan, ESTALE, "was written to");

    plan = make_plan(d, PLAN_IO_BUFFERED);
    snprintf(other, sizeof other, "%s/new", d->path);
    write_all(other, BYTES);
    assert_int_equal(rename(other, d->name[0]), 0);
    expect_open_failure(d, plan, ESTALE, "was replaced");

    plan = make_plan(d, PLAN_IO_AUTO);
    unlink(d->name[0]);
    expect_open_failure(d, plan, ENOENT, "is gone");
    write_all(d->name[0], BYTES);

    plan = make_plan(d, PLAN_IO_AUTO);
    if (!geteuid())
        print_message("skipped: permissions do not bind root\n");
    else {
        chmod(d->name[0], 0);
        expect_open_failure(d, plan, EACCES, "cannot be opened");
        chmod(d->name[0], 0600);
        plan = NULL;
    }
    free(plan);
}

static void truncated_while_it_was_read(void **state)
{
    const struct folder *d = *state;

    for (uint32_t io = PLAN_IO_DIRECT; io <= PLAN_IO_BUFFERED; io++) {
        for (uint32_t engine = ENGINE_AUTO; engine <= ENGINE_THREADS; engine += 2) {
            struct plan_shm *plan;
            struct stub p;

            write_all(d->name[0], BYTES);
            plan = make_plan(d, io);
            plan->run.engine = engine;
            stub_start(&p, plan, NULL);
            expect_tiles(&p, 0, 4);
            assert_int_equal(truncate(d->name[0], 300000), 0);
            drain(&p);
            assert_non_null(strstr(p.error.text, d->name[0]));
            stub_expect_failure(&p, ESTALE, "300000 bytes now");
        }
    }
    write_all(d->name[0], BYTES);
}

static void written_to_between_sweeps(void **state)
{
    const struct folder *d = *state;
    struct timespec second = {.tv_sec = 1, .tv_nsec = 50000000};
    struct stub p;
    int fd = open(d->name[0], O_WRONLY);

    stub_start(&p, make_plan(d, PLAN_IO_AUTO), NULL);
    expect_tiles(&p, 0, 8);
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    close(fd);
    nanosleep(&second, NULL); /* looked at once a second */
    drain(&p);
    stub_expect_failure(&p, ESTALE, "was written to");
    write_all(d->name[0], BYTES);
}

/* A file that is deleted while it is read is there until it is closed. */
static void deleted_while_it_was_read(void **state)
{
    const struct folder *d = *state;
    struct stub p;

    stub_start(&p, make_plan(d, PLAN_IO_AUTO), NULL);
    expect_tiles(&p, 0, 4);
    unlink(d->name[0]);
    expect_tiles(&p, 4, 8);
    stub_stop(&p);
    write_all(d->name[0], BYTES);
}

/* One that is replaced goes on to be read as it was: the descriptor holds it. Who opens it next is told. */
static void replaced_while_it_was_read(void **state)
{
    const struct folder *d = *state;
    struct plan_shm *plan = make_plan(d, PLAN_IO_AUTO), *again = make_plan(d, PLAN_IO_AUTO);
    char other[128];
    struct stub p;

    snprintf(other, sizeof other, "%s/new", d->path);
    write_all(other, BYTES);
    stub_start(&p, plan, NULL);
    expect_tiles(&p, 0, 4);
    assert_int_equal(rename(other, d->name[0]), 0);
    expect_tiles(&p, 4, 8);
    stub_stop(&p);
    expect_open_failure(d, again, ESTALE, "was replaced");
}

/* 200 shards, with a limit of fewer descriptors: raised as far as allowed, and a clear error where it is not enough. */
static void many_shards(void **state)
{
    static struct folder d;
    static uint64_t bytes[200];
    struct builder *b = calloc(1, sizeof *b);
    struct rlimit old, low;
    struct plan_shm *plan;
    struct stub p;

    (void)state;
    for (uint32_t i = 0; i < 200; i++) bytes[i] = 5000 + i;
    folder_make(&d, "/var/tmp", 200, bytes);
    builder_init(b, &d, SLOT);
    for (uint32_t i = 0; i < 200; i++) {
        builder_tile(b, TIER_DISK, 0);
        builder_part(b, i, i, 5000);
    }
    b->head.spec.sweep_tiles = 200;
    plan = builder_finish(b);
    free(b);
    getrlimit(RLIMIT_NOFILE, &old);
    low = (struct rlimit){.rlim_cur = 64, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    stub_start(&p, plan, NULL);
    for (uint32_t i = 0; i < 400; i++) {
        stub_check_tile(&p, stub_next(&p, LANE_SWEEP), i % 200);
        ring_release(&p.ring[0]);
    }
    stub_stop(&p);
    setrlimit(RLIMIT_NOFILE, &old);
    folder_remove(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transient_errors_are_tried_again),
        cmocka_unit_test(lasting_errors_name_file_and_place),
        cmocka_unit_test(other_reads_go_on_while_one_fails),
        cmocka_unit_test(reads_under_way_land_before_the_end),
        cmocka_unit_test(short_reads_are_continued),
        cmocka_unit_test(direct_reads_that_are_refused_go_buffered),
        cmocka_unit_test(a_hanging_read_lets_the_run_stop),
        cmocka_unit_test(changed_before_it_was_opened),
        cmocka_unit_test(truncated_while_it_was_read),
        cmocka_unit_test(written_to_between_sweeps),
        cmocka_unit_test(deleted_while_it_was_read),
        cmocka_unit_test(replaced_while_it_was_read),
        cmocka_unit_test(many_shards),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

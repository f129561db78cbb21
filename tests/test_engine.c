/* Read engines: every byte of reads at odd places, what comes back at the end of a file, and waiting. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/clock.h"
#include "reader/engine.h"
#include "proto/base/pagecache.h"
#include "tests/support_files.h"

#define DEPTH 16u
#define SLOT  (64u << 10)

struct bench {
    struct folder folder;
    struct io_engine *engine;
    uint8_t *memory;
    uint64_t bytes[2];
};

/* Returns false where the system does not allow the engine, with the reason printed. */
static bool bench_open(struct bench *b, uint32_t kind, const char *base, bool registered)
{
    struct io_options o = {.depth = DEPTH, .files = 4, .slot_bytes = SLOT, .arena_bytes = DEPTH * SLOT};
    struct error e = {0};
    int rc;

    b->bytes[0] = 1000003;
    b->bytes[1] = 4096 * 20;
    b->memory = pages_make(DEPTH * SLOT);
    if (registered) o.arena = b->memory;
    rc = io_engine_open(&b->engine, kind, &o, &e);
    if (rc) {
        print_message("skipped: %s\n", e.text);
        assert_int_equal(rc, -ENOTSUP);
        free(b->memory);
        return false;
    }
    folder_make(&b->folder, base, 2, b->bytes);
    return true;
}

static void bench_close(struct bench *b)
{
    io_engine_close(b->engine);
    folder_remove(&b->folder);
    free(b->memory);
}

static uint64_t wrong(const uint8_t *data, uint32_t file, uint64_t offset, uint32_t bytes)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < bytes; i++) n += data[i] != content_byte(file, offset + i);
    return n;
}

/* Many rounds of DEPTH reads, all checked. step: offsets and lengths are multiples of it. */
static void read_all(struct bench *b, uint32_t file, int fd, uint32_t step)
{
    struct io_done done[DEPTH];
    struct io_read q[DEPTH];

    srandom(1);
    for (int round = 0; round < 20; round++) {
        uint32_t got = 0;

        for (uint32_t i = 0; i < DEPTH; i++) {
            uint64_t offset = (uint64_t)random() % b->bytes[file] / step * step;
            uint32_t bytes = ((uint32_t)random() % SLOT / step + 1) * step;

            if (bytes > SLOT) bytes = SLOT;
            q[i] = (struct io_read){
                .dest = b->memory + i * SLOT, .offset = offset, .bytes = bytes, .tag = i, .file = file, .fd = fd};
            io_engine_submit(b->engine, &q[i]);
        }
        while (got < DEPTH) {
            int n = io_engine_reap(b->engine, done, DEPTH, 1, 1000000000u);

            assert_true(n > 0);
            for (int k = 0; k < n; k++) {
                const struct io_read *r = &q[done[k].tag];
                uint64_t left = b->bytes[file] - r->offset;

                assert_int_equal(done[k].result, left < r->bytes ? left : r->bytes);
                assert_int_equal(wrong(r->dest, file, r->offset, (uint32_t)done[k].result), 0);
            }
            got += (uint32_t)n;
        }
        assert_int_equal(got, DEPTH);
    }
}

static void run_engine(uint32_t kind, const char *base, bool registered)
{
    struct bench b;

    if (!bench_open(&b, kind, base, registered)) return;
    for (uint32_t file = 0; file < 2; file++) {
        int fd = open(b.folder.name[file], O_RDONLY), direct = open(b.folder.name[file], O_RDONLY | O_DIRECT);

        assert_true(fd >= 0);
        if (registered) io_engine_add_file(b.engine, file, fd);
        read_all(&b, file, fd, 1);
        if (direct < 0) {
            print_message("skipped: no direct reads in %s\n", base);
        } else {
            io_engine_add_file(b.engine, file, direct);
            read_all(&b, file, direct, 4096);
            close(direct);
        }
        close(fd);
    }
    bench_close(&b);
}

static void uring_on_disk(void **state)
{
    (void)state;
    run_engine(ENGINE_URING, "/var/tmp", true);
}
static void uring_on_tmpfs(void **state)
{
    (void)state;
    run_engine(ENGINE_URING, "/dev/shm", true);
}
static void uring_unregistered(void **state)
{
    (void)state;
    run_engine(ENGINE_URING, "/var/tmp", false);
}
static void threads_on_disk(void **state)
{
    (void)state;
    run_engine(ENGINE_THREADS, "/var/tmp", true);
}
static void threads_on_tmpfs(void **state)
{
    (void)state;
    run_engine(ENGINE_THREADS, "/dev/shm", false);
}
static void some_engine_always(void **state)
{
    (void)state;
    run_engine(ENGINE_AUTO, "/var/tmp", true);
}

static void errors_come_back(void **state)
{
    static const uint32_t kinds[] = {ENGINE_URING, ENGINE_THREADS};
    struct io_done done[DEPTH];
    struct bench b;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        if (!bench_open(&b, kinds[k], "/var/tmp", true)) continue;
        int fd = open(b.folder.name[0], O_RDONLY);
        struct io_read q = {.dest = b.memory, .bytes = 4096, .tag = 3, .file = 9, .fd = -1};

        io_engine_submit(b.engine, &q);
        assert_int_equal(io_engine_reap(b.engine, done, DEPTH, 1, 1000000000u), 1);
        assert_int_equal(done[0].result, -EBADF);
        q.fd = fd;
        q.offset = b.bytes[0];
        io_engine_submit(b.engine, &q);
        assert_int_equal(io_engine_reap(b.engine, done, DEPTH, 1, 1000000000u), 1);
        assert_int_equal(done[0].result, 0);
        assert_int_equal(done[0].tag, 3);
        close(fd);
        bench_close(&b);
    }
}

/* Closing with reads under way, and with reads that were never handed over, leaves nothing behind (see asan). */
static void closes_while_busy(void **state)
{
    static const uint32_t kinds[] = {ENGINE_URING, ENGINE_THREADS, ENGINE_NULL};
    struct bench b;

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        if (!bench_open(&b, kinds[k], "/var/tmp", true)) continue;
        int fd = open(b.folder.name[0], O_RDONLY);

        for (uint32_t i = 0; i < DEPTH; i++)
            io_engine_submit(
                b.engine, &(struct io_read){.dest = b.memory + i * SLOT, .bytes = SLOT, .tag = i, .file = 9, .fd = fd});
        bench_close(&b);
        close(fd);
    }
}

/* ---- the end, in the thread that used the engine ---- */

struct user {
    struct bench *bench;
    int fd; /* of a pipe: a read ends when something was written */
    uint64_t limit_ns;
    sem_t submitted;
};

static void *use(void *arg)
{
    struct user *u = arg;
    struct io_done done;

    io_engine_submit(u->bench->engine, &(struct io_read){.dest = u->bench->memory, .bytes = 4, .file = 9, .fd = u->fd});
    io_engine_reap(u->bench->engine, &done, 1, 0, 0);
    sem_post(&u->submitted);
    io_engine_finish(u->bench->engine, u->limit_ns);
    return NULL;
}

/* Opened here, used and finished there, closed here: as the reader does it. Where nobody writes, it ends all the same. */
static void finish(bool written)
{
    int pipes[2];
    struct bench b;
    struct user u = {.bench = &b, .limit_ns = written ? UINT64_C(60000000000) : 20000000};
    pthread_t thread;

    if (!bench_open(&b, ENGINE_URING, "/var/tmp", false)) skip();
    assert_int_equal(pipe(pipes), 0);
    u.fd = pipes[0];
    sem_init(&u.submitted, 0, 0);
    pthread_create(&thread, NULL, use, &u);
    sem_wait(&u.submitted);
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL); /* it is waiting by then, as a rule */
    if (written) assert_int_equal(write(pipes[1], "here", 4), 4);
    pthread_join(thread, NULL);
    assert_memory_equal(b.memory, written ? "here" : "\0\0\0", 4);
    bench_close(&b);
    sem_destroy(&u.submitted);
    close(pipes[0]);
    close(pipes[1]);
}

static void what_is_under_way_lands_before_it_is_finished(void **state)
{
    (void)state;
    finish(true);
    finish(false);
}

static void waits_no_longer_than_told(void **state)
{
    static const uint32_t kinds[] = {ENGINE_URING, ENGINE_THREADS};
    struct io_done done[DEPTH];
    struct bench b;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        if (!bench_open(&b, kinds[k], "/var/tmp", true)) continue;
        assert_int_equal(io_engine_reap(b.engine, done, DEPTH, 0, 0), 0);
        assert_int_equal(io_engine_reap(b.engine, done, DEPTH, 1, 20000000u), 0); /* nothing is under way */
        bench_close(&b);
    }
}

static void null_fills_nothing(void **state)
{
    struct io_done done[DEPTH];
    struct bench b;

    (void)state;
    assert_true(bench_open(&b, ENGINE_NULL, "/dev/shm", false));
    for (uint32_t i = 0; i < DEPTH; i++)
        io_engine_submit(b.engine, &(struct io_read){.dest = b.memory, .bytes = 100 + i, .tag = i, .fd = -1});
    assert_int_equal(io_engine_reap(b.engine, done, DEPTH, 1, 0), DEPTH);
    for (uint32_t i = 0; i < DEPTH; i++) assert_int_equal(done[i].result, 100 + done[i].tag);
    assert_int_equal(b.memory[0], 0);
    bench_close(&b);
}

static void unknown_engine(void **state)
{
    struct io_options o = {.depth = 1};
    struct io_engine *g = NULL;
    struct error e = {0};

    (void)state;
    assert_int_equal(io_engine_open(&g, 77, &o, &e), -EPROTO);
}

/* As in most containers: io_uring_setup() is answered with EPERM. Run in a child, since a filter stays. */
static int without_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof code / sizeof *code, .filter = code};
    struct io_options o = {.depth = 4};
    struct io_engine *g = NULL;
    struct error e = {0};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) return 77;
    if (io_engine_open(&g, ENGINE_URING, &o, &e) != -ENOTSUP || !strstr(e.text, "--io-engine threads")) return 1;
    if (io_engine_open(&g, ENGINE_AUTO, &o, &e) || strcmp(g->ops->name, "threads")) return 2;
    io_engine_close(g);
    return 0;
}

static void threads_where_uring_is_forbidden(void **state)
{
    pid_t child = fork();
    int status = 0;

    (void)state;
    if (!child) _exit(without_uring());
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        print_message("skipped: system call filters are not allowed here\n");
    else
        assert_int_equal(status, 0);
}

static void page_cache_is_seen(void **state)
{
    struct folder d;
    uint64_t bytes = 5 << 20;
    int fd;

    (void)state;
    folder_make(&d, "/var/tmp", 1, &bytes);
    fd = open(d.name[0], O_RDONLY);
    assert_true(pagecache_holds(fd, bytes)); /* just written */
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (pagecache_holds(fd, bytes)) print_message("skipped: this file system keeps its pages\n");
    assert_true(pagecache_room() > 0);
    close(fd);
    folder_remove(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uring_on_disk),
        cmocka_unit_test(uring_on_tmpfs),
        cmocka_unit_test(uring_unregistered),
        cmocka_unit_test(threads_on_disk),
        cmocka_unit_test(threads_on_tmpfs),
        cmocka_unit_test(some_engine_always),
        cmocka_unit_test(errors_come_back),
        cmocka_unit_test(closes_while_busy),
        cmocka_unit_test(what_is_under_way_lands_before_it_is_finished),
        cmocka_unit_test(waits_no_longer_than_told),
        cmocka_unit_test(threads_where_uring_is_forbidden),
        cmocka_unit_test(null_fills_nothing),
        cmocka_unit_test(unknown_engine),
        cmocka_unit_test(page_cache_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

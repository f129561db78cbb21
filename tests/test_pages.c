/* Systems whose memory comes in pages of 16 or 64 KiB, as some ARM ones have: this system, with tests/preload/larger_pages.c
 * before its C library, which says so and ends whoever asks for what a kernel with such pages would refuse. The pieces first, in a
 * process of this program that is started with it, then a whole run. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "compute/ops.h"
#include "coordinator/doctor/doctor.h"
#include "coordinator/engine/tasks.h"
#include "proto/base/file.h"
#include "proto/base/page.h"
#include "proto/base/pagecache.h"
#include "proto/base/shm.h"
#include "reader/files.h"
#include "tests/support_files.h"
#include "tests/support_process.h"
#include "tests/support_temporary.h"

#define DEMO "tests/data/demo-model"

/* ---- the pieces, whatever the page ---- */

static void segments_of_any_length(void **state)
{
    const uint64_t odd[] = {1, 4096, 5000, page_bytes() - 1, page_bytes(), 65537, (3 << 20) + 4096};

    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        struct shm a, b;
        struct error e;

        if (shm_create(&a, "test", odd[i], &e)) fail_msg("%s", e.text);
        memset(a.base, 0x5a, odd[i]);
        if (shm_attach(&b, dup(a.fd), odd[i], true, &e)) fail_msg("%s", e.text);
        assert_int_equal(((uint8_t *)b.base)[odd[i] - 1], 0x5a);
        assert_int_equal((uintptr_t)b.base % page_bytes(), 0);
        shm_large_pages(b.base, odd[i], 0, odd[i]);
        shm_populate(&b);
        shm_close(&b);
        shm_close(&a);
        if (shm_create_anonymous(&a, "test", odd[i], &e)) fail_msg("%s", e.text);
        shm_large_pages(a.base, odd[i], odd[i] / 2, odd[i] - odd[i] / 2);
        shm_close(&a);
    }
}

static void what_the_page_cache_holds(void **state)
{
    const uint64_t at[] = {0, 1, 4096, 20480, 65536, 69632, 1000000}, bytes = 3000000;
    char folder[TEMPORARY_BYTES], path[TEMPORARY_BYTES + 16], *all = calloc(1, bytes);
    FILE *f;
    int fd;

    (void)state;
    assert_true(temporary_make(folder, NULL));
    snprintf(path, sizeof path, "%s/file", folder);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(all, 1, bytes, f), bytes);
    fclose(f);
    free(all);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(pagecache_holds(fd, bytes)); /* it was just written */
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        assert_true(pagecache_holds_range(fd, at[i], 1));
        assert_true(pagecache_holds_range(fd, at[i], 70000));
        assert_true(pagecache_holds_range(fd, at[i], bytes - at[i]));
    }
    close(fd);
    temporary_remove(folder);
}

static void memory_of_compute(void **state)
{
    struct ops_options options = {.threads = 2, .scratch_bytes = 5000};
    struct ops *o;
    struct error e;

    (void)state;
    if (ops_open(&o, &options, &e)) fail_msg("%s", e.text);
    for (uint64_t bytes = 1; bytes < 20 << 20; bytes = bytes * 5 + 3) {
        uint8_t *p = ops_alloc(o, bytes, &e);

        assert_non_null(p);
        p[bytes - 1] = 1;
        ops_free(o, p, bytes);
    }
    ops_close(o);
}

static void stacks(void **state)
{
    static const size_t wanted[] = {1, 16384, 65536, 100000, 1 << 20};
    struct error e;

    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        size_t bytes = page_stack_bytes(wanted[i]);

        assert_true(bytes >= wanted[i] && bytes >= (size_t)sysconf(_SC_THREAD_STACK_MIN));
        assert_int_equal(bytes % page_bytes(), 0);
    }
    assert_int_equal(tasks_check(3, &e), 0);
}

/* A system's large pages, by what it says of them. */
static void large_pages(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes, page; /* page: 0 for any */
    } cases[] = {{"2097152\n", 2 << 20, 4096},
                 {"2097152\n", 0, 16384},
                 {"2097152\n", 0, 65536},
                 {"33554432\n", 32 << 20, 16384},
                 {"33554432\n", 0, 4096},
                 {"536870912\n", 0, 0},
                 {"4096\n", 0, 0},
                 {"3000000\n", 0, 0},
                 {"-1\n", 0, 0},
                 {"no\n", 0, 0},
                 {"", 0, 0},
                 {NULL, 2 << 20, 4096},
                 {NULL, 0, 16384},
                 {NULL, 0, 65536}};
    char root[TEMPORARY_BYTES], path[TEMPORARY_BYTES + 64];

    (void)state;
    assert_true(temporary_make(root, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const char *const folders[] = {"/sys", "/sys/kernel", "/sys/kernel/mm",
                                              "/sys/kernel/mm/transparent_hugepage"};
        FILE *f;

        if (cases[i].page && cases[i].page != page_bytes()) continue;
        for (size_t k = 0; k < 4; k++) {
            snprintf(path, sizeof path, "%s%s", root, folders[k]);
            mkdir(path, 0700);
        }
        snprintf(path, sizeof path, "%s/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", root);
        unlink(path);
        if (cases[i].text) {
            f = fopen(path, "w");
            assert_non_null(f);
            fputs(cases[i].text, f);
            fclose(f);
        }
        assert_int_equal(page_large_at(root), cases[i].bytes);
        if (page_bytes() > 4096 && !cases[i].bytes) {
            struct doctor d = {.root = root};

            doctor_huge_pages(&d, false);
            assert_int_equal(d.at[0].verdict, DOCTOR_GOOD);
            assert_non_null(strstr(d.at[0].state, page_bytes() == 65536 ? "of 64 KiB" : "of 16 KiB"));
            doctor_free(&d);
        }
    }
    temporary_remove(root);
}

/* A file system whose direct reads ask for more than slots are laid out by: they are not tried. Those that ask for less are. */
static void direct_reads_by_what_they_ask_for(void **state)
{
    const char *align = getenv("DIRECT_ALIGN");
    const uint64_t bytes = 100000;
    struct io_options eo = {.depth = 2, .files = FILES_WAYS};
    struct io_engine *g;
    struct folder d;
    struct builder *b = malloc(sizeof *b);
    struct plan_shm *p;
    struct files *f;
    struct error e;
    int fd;

    (void)state;
    folder_make(&d, NULL, 1, &bytes);
    fd = open(d.name[0], O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd < 0) {
        folder_remove(&d);
        free(b);
        print_message("skipped: no direct reads in the temporary folder\n");
        skip();
    }
    assert_int_equal(file_direct_align(fd), strtoul(align, NULL, 10));
    close(fd);
    builder_init(b, &d, 65536);
    b->head.run.io = PLAN_IO_DIRECT;
    builder_tile(b, TIER_DISK, 0);
    builder_part(b, 0, 0, 50000);
    p = builder_finish(b);
    assert_int_equal(io_engine_open(&g, ENGINE_THREADS, &eo, &e), 0);
    if (files_open(&f, p, g, &e)) fail_msg("%s", e.text);
    assert_int_equal(files_way(f, 0), strtoul(align, NULL, 10) > PLAN_PAGE ? FILES_BUFFERED : FILES_DIRECT);
    files_close(f);
    io_engine_close(g);
    free(p);
    free(b);
    folder_remove(&d);
}

static int pieces(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_of_any_length),
        cmocka_unit_test(what_the_page_cache_holds),
        cmocka_unit_test(memory_of_compute),
        cmocka_unit_test(stacks),
        cmocka_unit_test(large_pages),
        cmocka_unit_test(direct_reads_by_what_they_ask_for),
    };

    /* the last one, where the library says what direct reads ask for */
    return _cmocka_run_group_tests("pieces", tests, sizeof tests / sizeof *tests - !getenv("DIRECT_ALIGN"), NULL, NULL);
}

/* ---- under a library that stands for other systems ---- */

static void with_pages(const char *page, const char *align, const char *program, const char *const *arg,
                       struct process_result *r)
{
    char object[4096];

    snprintf(object, sizeof object, "%s/tests/larger_pages.so", process_build());
    setenv("LD_PRELOAD", object, 1);
    setenv("LARGER_PAGES", page, 1);
    setenv("DIRECT_ALIGN", align, 1);
    *r = process_run(program, arg, NULL, 0, 60);
    unsetenv("LD_PRELOAD");
    unsetenv("LARGER_PAGES");
    unsetenv("DIRECT_ALIGN");
}

static void skip_where_nothing_can_be_loaded(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer's library must be the first one\n");
    skip();
#endif
}

/* 4096 with what direct reads usually ask for: the library itself changes nothing. */
static const char *const systems[][2] = {{"4096", "512"}, {"16384", "4096"}, {"65536", "65536"}};
#define SYSTEMS (sizeof systems / sizeof *systems)

static void pieces_fit_every_page(void **state)
{
    (void)state;
    skip_where_nothing_can_be_loaded();
    for (size_t i = 0; i < SYSTEMS; i++) {
        struct process_result r;

        with_pages(systems[i][0], systems[i][1], "tests/test_pages", (const char *const[]){"pieces", NULL}, &r);
        if (r.status) fail_msg("pages of %s bytes: %s%s", systems[i][0], r.out, r.err);
        assert_non_null(strstr(r.err, "[  PASSED  ]"));
        process_result_free(&r);
    }
}

static void a_run_says_the_same(void **state)
{
    /* clang-format off */
    static const char *const plain[] = {"run", DEMO, "--prompt", "Once upon a time", "--temperature", "0", "--max-tokens", "24",
                                        NULL},
        *const tight[] = {"run", DEMO, "--prompt", "Once upon a time", "--temperature", "0", "--max-tokens", "24",
                          "--slot-mib", "0.25", "--reader-depth", "2", "--io", "direct", NULL};
    /* clang-format on */
    struct process_result want = process_run("sluice", plain, NULL, 0, 30), got;

    (void)state;
    skip_where_nothing_can_be_loaded();
    assert_int_equal(want.status, 0);
    for (size_t i = 0; i < SYSTEMS * 2; i++) {
        with_pages(systems[i / 2][0], systems[i / 2][1], "sluice", i % 2 ? tight : plain, &got);
        if (got.status) fail_msg("pages of %s bytes: %s", systems[i / 2][0], got.err);
        assert_string_equal(got.out, want.out);
        process_result_free(&got);
    }
    process_result_free(&want);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_fit_every_page),
        cmocka_unit_test(a_run_says_the_same),
    };
    int rc;

    if (argc == 2 && !strcmp(argv[1], "pieces")) return pieces();
    rc = pieces(); /* with the pages that there are */
    return cmocka_run_group_tests(tests, NULL, NULL) || rc;
}

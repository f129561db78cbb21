/* What compute allocates is what proto/footprint.h says, counted: every allocation of the stage is seen (the Makefile wraps
 * them), for programs of every kind of layer, and as each setting that memory grows with grows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "compute/decoder.h"
#include "coordinator/plan/cost.h"
#include "tests/support_files.h"
#include "tests/support_program.h"

/* ---- counting ---- */

#define LIVE_MOST 4096u

static struct live {
    void *p;
    uint64_t bytes;
} live[LIVE_MOST];
static uint32_t lives;
static bool counting;

/* __real_ is what it is without the wrapping. */
#define WRAPPED(result, name, ...) result __real_##name(__VA_ARGS__), __wrap_##name(__VA_ARGS__)
#define POINTER(name, ...)         void *__real_##name(__VA_ARGS__), *__wrap_##name(__VA_ARGS__)
POINTER(malloc, size_t n);
POINTER(calloc, size_t n, size_t each);
POINTER(realloc, void *p, size_t n);
POINTER(reallocarray, void *p, size_t n, size_t each);
POINTER(aligned_alloc, size_t align, size_t n);
POINTER(mmap, void *at, size_t n, int protection, int flags, int fd, off_t offset);
WRAPPED(int, posix_memalign, void **out, size_t align, size_t n);
WRAPPED(int, munmap, void *p, size_t n);
WRAPPED(void, free, void *p);

static void *born(void *p, uint64_t bytes)
{
    if (!counting || !p) return p;
    if (lives == LIVE_MOST) abort();
    live[lives++] = (struct live){p, bytes};
    return p;
}

static void *gone(void *p)
{
    for (uint32_t i = 0; i < lives; i++)
        if (live[i].p == p) live[i--] = live[--lives];
    return p;
}

/* clang-format off */
void *__wrap_malloc(size_t n) { return born(__real_malloc(n), n); }
void *__wrap_calloc(size_t n, size_t each) { return born(__real_calloc(n, each), (uint64_t)n * each); }
void *__wrap_realloc(void *p, size_t n) { return born(__real_realloc(gone(p), n), n); }
void *__wrap_reallocarray(void *p, size_t n, size_t each) { return born(__real_reallocarray(gone(p), n, each), (uint64_t)n * each); }
void *__wrap_aligned_alloc(size_t align, size_t n) { return born(__real_aligned_alloc(align, n), n); }
void __wrap_free(void *p) { __real_free(gone(p)); }
int __wrap_munmap(void *p, size_t n) { return __real_munmap(gone(p), n); }
/* clang-format on */

int __wrap_posix_memalign(void **out, size_t align, size_t n)
{
    int rc = __real_posix_memalign(out, align, n);

    if (!rc) born(*out, n);
    return rc;
}

void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    void *p = __real_mmap(at, n, protection, flags, fd, offset);

    return p == MAP_FAILED ? p : born(p, n);
}

static uint64_t counted(void)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < lives; i++) bytes += live[i].bytes;
    return bytes;
}

/* ---- a compute stage's memory ---- */

struct memory {
    uint64_t counted, told;
    uint32_t blocks, blocks_told; /* of ops_alloc() and the scratch: whole pages each */
};

static uint32_t whole_pages(void)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < lives; i++) n += !((uintptr_t)live[i].p % PLAN_PAGE) && !(live[i].bytes % PLAN_PAGE);
    return n;
}

static struct memory open_with(const struct plan_shm *program, struct plan_run run)
{
    struct plan_shm *plan = malloc(program->bytes);
    struct stage stage = {.me = STAGE_COMPUTE, .plan = plan};
    struct ops_options o = {.threads = run.threads};
    struct decoder d = {0};
    struct footprint f;
    struct memory m;
    struct ops *ops;
    struct error e = {0};

    assert_non_null(plan);
    memcpy(plan, program, program->bytes);
    plan->run = run;
    o.scratch_bytes = footprint_scratch(plan, &plan->run);
    stage.run = run_make(plan);
    stage.run->epoch = 2; /* nothing more is said of memory that cannot be locked */
    footprint_count(&f, program, &run);
    lives = 0;
    counting = true;
    if (ops_open(&ops, &o, &e) || decoder_open(&d, &stage, ops, &e)) fail_msg("%s", e.text);
    counting = false;
    m = (struct memory){
        .counted = counted(), .told = f.host + f.device, .blocks = whole_pages(), .blocks_told = f.device_blocks};
    decoder_close(&d);
    ops_close(ops);
    assert_int_equal(lives, 0); /* all of it was given back */
    free(stage.run);
    free(plan);
    return m;
}

static const struct test_shape shapes[] = {
    {.layers = 1,
     .hidden = 48,
     .inter = 112,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 12,
     .vocab = 97,
     .context = 1 << 20,
     .form = FORM_BF16},
    {.layers = 2,
     .hidden = 48,
     .inter = 112,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 12,
     .vocab = 97,
     .context = 1 << 20,
     .form = FORM_BF16,
     .recurrent = true},
    {.layers = 2,
     .hidden = 48,
     .inter = 112,
     .heads = 4,
     .kv_heads = 4,
     .head_dim = 12,
     .vocab = 97,
     .context = 1 << 20,
     .form = FORM_F8_E4M3,
     .block = 16,
     .latent = true},
    {.layers = 2,
     .hidden = 64,
     .inter = 96,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .vocab = 97,
     .context = 1 << 20,
     .form = FORM_MXFP4,
     .experts = 7,
     .top = 2,
     .fused = true,
     .biased = true},
    {.layers = 1,
     .hidden = 64,
     .inter = 3000,
     .heads = 2,
     .kv_heads = 2,
     .head_dim = 512,
     .vocab = 20000,
     .context = 1 << 20,
     .form = FORM_F32,
     .experts = 3,
     .top = 1,
     .transposed = true},
};

static const struct plan_run small = {.slot_bytes = 1 << 20,
                                      .reader_slots = {4, 4},
                                      .entries = {16, 16},
                                      .threads = 1,
                                      .backend = BACKEND_CPU,
                                      .kv_form = FORM_F32,
                                      .kv_rows = 100,
                                      .max_positions = 16,
                                      .max_logits = 1,
                                      .sequences = 1};

/* What no setting changes: the backend's and the decoder's structures, a pointer for each record of the program. */
#define FIXED UINT64_C(32768)
/* Blocks are whole pages. */
#define ROUNDING (8 * PLAN_PAGE)

static void expect_told(size_t shape, const char *grown, struct memory m)
{
    if (m.counted + PLAN_PAGE < m.told || m.counted > m.told + FIXED + ROUNDING)
        fail_msg("shape %zu, %s: %llu bytes were allocated, the footprint is %llu", shape, grown,
                 (unsigned long long)m.counted, (unsigned long long)m.told);
    assert_int_equal(m.blocks, m.blocks_told);
}

/* As one setting grows by so much that a byte for each of its units shows, what is allocated grows as the footprint does. */
static void expect_same_growth(size_t shape, const char *grown, struct memory from, struct memory to)
{
    int64_t counted = (int64_t)(to.counted - from.counted), told = (int64_t)(to.told - from.told);

    expect_told(shape, grown, to);
    if (told < 4 * (int64_t)ROUNDING || counted - told > (int64_t)ROUNDING || told - counted > (int64_t)ROUNDING)
        fail_msg("shape %zu, more %s: %lld more bytes were allocated, %lld more were told", shape, grown,
                 (long long)counted, (long long)told);
}

static void allocations_are_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct plan_shm *p = test_image(&shapes[i]);
        struct memory base = open_with(p, small), wide;
        struct plan_run r = small;

        expect_told(i, "the smallest settings", base);
        r.kv_rows = 100000;
        expect_same_growth(i, "rows of the KV cache", base, open_with(p, r));
        r.kv_form = FORM_BF16;
        expect_told(i, "rows of 16 bits", open_with(p, r));
        r = small;
        r.max_positions = 4000;
        wide = open_with(p, r);
        expect_same_growth(i, "positions of a sweep", base, wide);
        r.max_logits = 4000;
        expect_same_growth(i, "logits", wide, open_with(p, r));
        r = small;
        r.sequences = 50000;
        if (p->states.count)
            expect_same_growth(i, "sequences", base, open_with(p, r));
        else
            expect_told(i, "sequences", open_with(p, r));
        r = small;
        r.threads = 4;
        expect_same_growth(i, "threads", base, open_with(p, r));
        free(p);
    }
}

/* The planner's totals hold what compute takes, on the side where it lies. */
static void the_plan_counts_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct plan_shm *p = test_image(&shapes[i]);
        struct plan_run r = small;
        struct footprint f;
        struct cost c, less;

        r.max_positions = 500;
        r.kv_rows = 5000;
        footprint_count(&f, p, &r);
        cost_count(&c, p, &r, p->bytes, 1);
        cost_count(&less, p, &small, p->bytes, 1);
        assert_memory_equal(&c.compute, &f, sizeof f);
        assert_int_equal(c.device, 0);
        assert_true(c.host - less.host >= f.host + f.device - less.compute.host - less.compute.device);
        r.backend = BACKEND_CUDA;
        r.transfer_slots[0] = r.transfer_slots[1] = 3;
        r.device_pin_bytes = 1 << 20;
        footprint_count(&f, p, &r);
        cost_count(&c, p, &r, p->bytes, 1);
        assert_int_equal(f.tiles, plan_device_bytes(&r));
        assert_true(c.device >= f.device + f.device_blocks * (UINT64_C(2) << 20));
        assert_true(f.host < f.device);
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_told),
        cmocka_unit_test(the_plan_counts_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

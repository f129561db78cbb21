/* What a card gives to each thing that a sweep is made of: gpu_bench [--device N] [--quick]
 *
 *   gemv       FORM COLUMNS ROWS       GB/s  share of the card's memory
 *   attention  POSITIONS ANCESTORS     ms    GFLOP/s
 *   copy       BLOCK_KIB OFFSET        GB/s  pinned host memory to the device
 *   pin        KIND MIB                GB/s  registering: untouched, touched, large (pages)
 *
 * Each line is the best of several rounds. --quick: small sizes, which say only that it works. */
#include <cuda_runtime.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "compute/ops.h"
#include "proto/base/clock.h"
#include "proto/form.h"

#define MIB        (UINT64_C(1) << 20)
#define TILE_BYTES (8 * MIB)

static struct ops *ops;
static bool quick;

static void die(const char *what)
{
    fprintf(stderr, "gpu_bench: %s\n", what);
    exit(1);
}

static void *take(uint64_t bytes)
{
    struct error e = {0};
    void *p = ops_alloc(ops, bytes, &e);

    if (!p) die(e.text);
    return p;
}

static void wait(void)
{
    struct error e = {0};

    if (ops_sync(ops, &e)) die(e.text);
}

static void check(cudaError_t rc, const char *what)
{
    char text[256];

    if (rc == cudaSuccess) return;
    snprintf(text, sizeof text, "%s: %s", what, cudaGetErrorString(rc));
    die(text);
}

static double memory_peak(void)
{
    struct error e = {0};
    uint64_t bytes = 0, ns = 0;

    if (ops_peak(ops, OPS_PEAK_MEMORY, quick ? 4 * MIB : 512 * MIB, quick ? 1 : UINT64_C(300000000), &bytes, &ns, &e))
        die(e.text);
    return ns ? (double)bytes / (double)ns : 0;
}

/* ---- products ---- */

/* Tiles as a sweep has them, one after the other through more memory than a cache holds. */
static void gemv(uint32_t form, uint32_t cols, double peak)
{
    struct plan_matrix m = {.form = (uint16_t)form,
                            .cols = cols,
                            .row_bytes = form_row_bytes(form, cols),
                            .block_rows = 1,
                            .block_cols = 1};
    uint64_t tile = quick ? 4 * m.row_bytes : TILE_BYTES, rows = tile / m.row_bytes ? tile / m.row_bytes : 1;
    uint64_t tiles = quick ? 2 : 48, bytes = rows * m.row_bytes, step = (bytes + 255) / 256 * 256;
    uint8_t *w = take(tiles * step);
    float *x = take(cols * sizeof *x), *y = take(rows * sizeof *y);
    double best = 0;

    m.rows = rows * tiles;
    for (int round = 0; round < (quick ? 1 : 7); round++) {
        uint64_t start = clock_ns();
        double rate;

        for (uint64_t t = 0; t < tiles; t++) {
            struct ops_weight part = {.matrix = &m, .data = w + t * step, .row0 = t * rows, .rows = rows};

            ops_matmul(ops, y, (uint32_t)rows, x, cols, &part, NULL, 0, 1);
        }
        wait();
        rate = (double)(tiles * bytes) / (double)(clock_ns() - start);
        if (rate > best) best = rate;
    }
    printf("gemv %s %u %llu %.1f %.3f\n", form_name(form), cols, (unsigned long long)rows, best,
           peak > 0 ? best / peak : 0);
    ops_free(ops, w, tiles * step);
    ops_free(ops, x, cols * sizeof *x);
    ops_free(ops, y, rows * sizeof *y);
}

/* ---- attention ---- */

static void attention(uint32_t n, uint32_t ancestors)
{
    const struct op_attention p = {.heads = 32, .kv_heads = 8, .dk = 128, .dv = 128, .scale = 0.088f};
    const uint64_t kv = (uint64_t)(ancestors + n) * 8 * 128 * 2, q_bytes = n * 32ull * 128 * 4;
    uint32_t *row = calloc(n, 4), *position = calloc(n, 4), *first = calloc(n + 1, 4);
    struct ops_run *runs = calloc(n, sizeof *runs);
    void *k = take(kv), *v = take(kv);
    float *q = take(q_bytes), *dst = take(q_bytes);
    uint32_t *d_row = take(n * 4), *d_position = take(n * 4), *d_first = take((n + 1) * 4);
    struct ops_run *d_runs = take(n * sizeof *d_runs);
    struct ops_rows r = {.row = d_row,
                         .position = d_position,
                         .first = d_first,
                         .runs = d_runs,
                         .n = n,
                         .max_position = ancestors + n - 1};
    uint64_t best = UINT64_MAX;

    for (uint32_t i = 0; i < n; i++) {
        row[i] = position[i] = ancestors + i;
        first[i + 1] = i + 1;
        runs[i] = (struct ops_run){0, ancestors + i + 1};
    }
    ops_upload(ops, d_row, row, n * 4);
    ops_upload(ops, d_position, position, n * 4);
    ops_upload(ops, d_first, first, (n + 1) * 4);
    ops_upload(ops, d_runs, runs, n * sizeof *runs);
    wait();
    for (int round = 0; round < (quick ? 1 : 5); round++) {
        uint64_t start = clock_ns(), ns;

        ops_attention(ops, &p, dst, 32 * 128, q, 32 * 128, k, v, FORM_BF16, NULL, NULL, &r);
        wait();
        ns = clock_ns() - start;
        if (ns < best) best = ns;
    }
    printf("attention %u %u %.3f %.1f\n", n, ancestors, (double)best / 1e6,
           4.0 * 32 * 128 * n * (ancestors + n / 2.0) / (double)best);
    ops_free(ops, k, kv), ops_free(ops, v, kv), ops_free(ops, q, q_bytes), ops_free(ops, dst, q_bytes);
    ops_free(ops, d_row, n * 4), ops_free(ops, d_position, n * 4), ops_free(ops, d_first, (n + 1) * 4);
    ops_free(ops, d_runs, n * sizeof *d_runs);
    free(row), free(position), free(first), free(runs);
}

/* ---- the link ---- */

static void copies(uint64_t block, uint64_t offset)
{
    uint64_t all = quick ? 4 * block : 512 * MIB, room = all + 4096;
    uint8_t *host = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    cudaStream_t s;
    void *to = take(block);
    double best = 0;

    if (host == MAP_FAILED) die("no memory");
    check(cudaHostRegister(host, room, cudaHostRegisterPortable), "cudaHostRegister");
    check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "cudaStreamCreate");
    for (int round = 0; round < (quick ? 1 : 5); round++) {
        uint64_t start = clock_ns();
        double rate;

        for (uint64_t at = 0; at < all; at += block)
            check(cudaMemcpyAsync(to, host + at + offset, block, cudaMemcpyHostToDevice, s), "cudaMemcpyAsync");
        check(cudaStreamSynchronize(s), "copies");
        rate = (double)all / (double)(clock_ns() - start);
        if (rate > best) best = rate;
    }
    printf("copy %llu %llu %.2f\n", (unsigned long long)(block >> 10), (unsigned long long)offset, best);
    check(cudaStreamDestroy(s), "cudaStreamDestroy");
    check(cudaHostUnregister(host), "cudaHostUnregister");
    munmap(host, room);
    ops_free(ops, to, block);
}

static void pinning(const char *kind)
{
    uint64_t bytes = quick ? 2 * MIB : 1024 * MIB, start, ns;
    uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) die("no memory");
    if (!strcmp(kind, "large")) madvise(p, bytes, MADV_HUGEPAGE);
    if (strcmp(kind, "untouched") != 0) memset(p, 1, bytes);
    start = clock_ns();
    check(cudaHostRegister(p, bytes, cudaHostRegisterPortable), "cudaHostRegister");
    ns = clock_ns() - start;
    printf("pin %s %llu %.2f\n", kind, (unsigned long long)(bytes / MIB), (double)bytes / (double)ns);
    check(cudaHostUnregister(p), "cudaHostUnregister");
    munmap(p, bytes);
}

int main(int argc, char **argv)
{
    static const uint32_t forms[] = {FORM_BF16, FORM_F32, FORM_Q8_0, FORM_Q4_K}, columns[] = {4096, 8192, 28672};
    static const char *const kinds[] = {"untouched", "touched", "large"};
    struct ops_options o = {.scratch_bytes = 256 * MIB};
    struct error e = {0};
    double peak;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--quick"))
            quick = true;
        else if (!strcmp(argv[i], "--device") && i + 1 < argc)
            o.device = (uint32_t)strtoul(argv[++i], NULL, 10);
        else
            die("flags: --device N, --quick");
    }
    if (ops_open(&ops, &o, &e)) die(e.text);
    peak = memory_peak();
    printf("device %s\nmemory %.1f\n", ops_describe(ops), peak);
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (size_t c = 0; c < 3; c++) gemv(forms[f], quick ? columns[c] / 16 : columns[c], peak);
    for (uint32_t n = 1; n <= 512; n *= 512)
        for (uint32_t far = 4096; far <= 32768; far *= 8) attention(quick && n > 1 ? 2 : n, quick ? far / 128 : far);
    for (uint64_t block = 64 << 10; block <= 32 * MIB; block *= 8)
        for (uint64_t offset = 0; offset <= 512; offset += 256)
            if (!quick || block < MIB) copies(block, offset);
    for (size_t i = 0; i < 3; i++) pinning(kinds[i]);
    ops_close(ops);
    return 0;
}

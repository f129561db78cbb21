/* The cpu kernels against what the machine can do: kernel_bench [--threads N] [--rounds N] [--variant NAME] [--only TEXT]
 *                                                                [--clock wall|cpu]
 *
 * Each round measures the two peaks (reading memory, fused multiply-adds in registers) and every case once, so that a
 * machine that is busy for a while is so for all of them; medians over the rounds are printed with their shares. Products
 * walk a 512 MiB matrix in tiles of 8 MiB, as a sweep does, so nothing is found in a cache. With one thread the clock can be
 * the processor's time, which leaves out what other programs took. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "compute/cpu/cpu.h"
#include "compute/ops.h"
#include "proto/unit/unit.h"

#define WEIGHT_BYTES ((size_t)512 << 20)
#define TILE_BYTES   ((size_t)8 << 20)
#define CACHE_BYTES  ((size_t)256 << 20)
#ifndef COLS
#define COLS 4096u
#endif
#define MOST_TOKENS 512u
#define MOST_ROUNDS 99u

static double now(bool cpu)
{
    struct timespec t;
    clock_gettime(cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
    fprintf(stderr, "kernel_bench: %s\n", what);
    exit(1);
}

/* ---- what all cases work on ---- */

struct bench {
    struct ops *o;
    unsigned char *weights; /* as a shared-memory segment gives them: small pages */
    unsigned char *cache;   /* from ops_alloc() */
    float *x, *y, *states;
    uint32_t *row, *position, *first;
    struct ops_run *runs;
    bool cpu_clock;
};

struct result {
    double bytes, flops; /* of one run; what is bound by memory counts bytes, else flops */
};

/* ---- peaks ---- */

struct read_job {
    const unsigned char *p;
    size_t bytes;
    uint64_t sum;
};

static void read_task(void *arg, uint32_t worker, uint32_t task)
{
    struct read_job *j = (struct read_job *)arg + task;
    (void)worker;
    j->sum += cpu_read_once(j->p, j->bytes);
}

static struct result read_memory(struct bench *b, uint32_t arg)
{
    struct read_job jobs[64];
    (void)arg;
    for (uint32_t i = 0; i < 64; i++)
        jobs[i] = (struct read_job){b->weights + i * (WEIGHT_BYTES / 64), WEIGHT_BYTES / 64, 0};
    pool_run(b->o->pool, read_task, jobs, 64);
    return (struct result){.bytes = WEIGHT_BYTES};
}

#define FMA_TIMES 50

static void fma_task(void *arg, uint32_t worker, uint32_t task)
{
    double *flops = (double *)arg + task;
    (void)worker;
    *flops = 0;
    for (int i = 0; i < FMA_TIMES; i++) *flops += (double)cpu_fma_once();
}

static struct result multiply_add(struct bench *b, uint32_t arg)
{
    static double flops[4096];
    double sum = 0;
    (void)arg;
    pool_run(b->o->pool, fma_task, flops, b->o->threads);
    for (uint32_t i = 0; i < b->o->threads; i++) sum += flops[i];
    return (struct result){.flops = sum};
}

/* ---- products ---- */

static struct plan_matrix matrix_of(uint32_t form)
{
    const struct form_info *f = form_info(form);
    struct plan_matrix m = {.cols = COLS, .row_bytes = form_row_bytes(form, COLS), .form = (uint16_t)form};
    m.rows = WEIGHT_BYTES / m.row_bytes;
    if (f->scales == FORM_SCALES_GRID) {
        m.block_rows = f->grid_rows             ? f->grid_rows
                       : form_turned_pack(form) ? 128 / form_deep(form)
                       : f->elements > 1        ? 1
                                                : 128;
        m.block_cols = f->grid_cols ? f->grid_cols : 128;
        m.scale_form = (uint16_t)__builtin_ctzll(f->scale_forms);
        m.scale_row_bytes = form_row_bytes(m.scale_form, COLS / m.block_cols);
    }
    if (form_turned_pack(form)) {
        m.zero_rows = m.block_rows;
        m.zero_row_bytes = COLS / form_turned_pack(form) * 4;
    }
    return m;
}

/* arg: form * 1000 + tokens. Bytes counted are the weights', few tokens; flops, many. */
static struct result product(struct bench *b, uint32_t arg)
{
    static unsigned char scales[1u << 20]; /* any bytes will do that are no large exponents */
    const uint32_t form = arg / 1000, n = arg % 1000;
    const struct plan_matrix m = matrix_of(form);
    const uint64_t tile_rows = TILE_BYTES / m.row_bytes, tiles = n > 16 ? 3 : WEIGHT_BYTES / TILE_BYTES;
    memset(scales, form_info(m.scale_form)->filler, sizeof scales);
    for (uint64_t i = 0; i < tiles; i++) {
        struct ops_weight w = {.matrix = &m, .data = b->weights + i * TILE_BYTES, .rows = tile_rows};
        w.scale = m.scale_row_bytes ? scales : NULL;
        ops_matmul(b->o, b->y, (uint32_t)tile_rows, b->x, COLS, &w, NULL, 0, n);
    }
    return (struct result){(double)(tiles * TILE_BYTES), 2.0 * (double)(tiles * tile_rows) * COLS * n};
}

static struct result product_t(struct bench *b, uint32_t arg)
{
    static unsigned char grid[1u << 20];
    const uint32_t form = arg / 1000, n = arg % 1000;
    const struct plan_matrix m = matrix_of(form);
    const uint64_t tile_rows = TILE_BYTES / m.row_bytes, tiles = n > 16 ? 3 : WEIGHT_BYTES / TILE_BYTES;
    memset(grid, form_info(m.scale_form)->filler, sizeof grid);
    for (uint64_t i = 0; i < tiles; i++) {
        struct ops_weight w = {.matrix = &m, .data = b->weights + i * TILE_BYTES, .rows = tile_rows};
        w.scale = m.scale_row_bytes ? grid : NULL;
        w.zero = m.zero_rows ? grid : NULL;
        ops_matmul_t(b->o, b->y, COLS, b->x, COLS, &w, NULL, i == 0, n);
    }
    return (struct result){(double)(tiles * TILE_BYTES),
                           2.0 * (double)(tiles * tile_rows) * form_deep(form) * COLS * n};
}

/* ---- attention: 32 heads of 128 on 8 kv heads, bfloat16 cache ---- */

#define HEADS     32u
#define KV_HEADS  8u
#define HEAD_COLS 128u

/* n positions, each of which sees all before it; the first has so many. *seen: of all together. */
static struct ops_rows positions(struct bench *b, uint32_t n, uint32_t before, double *seen)
{
    *seen = 0;
    for (uint32_t i = 0; i < n; i++) {
        b->position[i] = b->row[i] = before + i;
        b->first[i] = i;
        b->runs[i] = (struct ops_run){0, before + i + 1};
        *seen += before + i + 1;
    }
    b->first[n] = n;
    return (struct ops_rows){.row = b->row,
                             .position = b->position,
                             .first = b->first,
                             .runs = b->runs,
                             .n = n,
                             .max_position = before + n - 1};
}

/* arg: positions; one of them sees 65536 places, many are a prompt. */
static struct result attention(struct bench *b, uint32_t arg)
{
    const struct op_attention p = {
        .heads = HEADS, .kv_heads = KV_HEADS, .dk = HEAD_COLS, .dv = HEAD_COLS, .scale = 0.09f};
    const uint32_t before = arg == 1 ? 65535 : 0;
    double seen;
    const struct ops_rows r = positions(b, arg, before, &seen);
    const unsigned char *k = b->cache, *v = b->cache + CACHE_BYTES / 2;
    ops_attention(b->o, &p, b->y, HEADS * HEAD_COLS, b->x, HEADS * HEAD_COLS, k, v, FORM_BF16, NULL, NULL, &r);
    return (struct result){2.0 * seen * KV_HEADS * HEAD_COLS * 2, 4.0 * seen * HEADS * HEAD_COLS};
}

/* ---- what an index costs, and attention over what it lists: 64 heads of 128, 2048 of 65536 places, as DeepSeek V3.2 has them ---- */

/* arg: positions; one of them sees 65536 places, many are a prompt of which each sees at least 2048 before it. */
static struct result index_scores(struct bench *b, uint32_t arg)
{
    const struct op_index p = {
        .heads = 64, .groups = 1, .dim = 128, .block = 1, .top = 2048, .flags = INDEX_RELU, .scale = 0.01f};
    const uint32_t before = arg == 1 ? 65535 : 2048;
    double seen;
    const struct ops_rows r = positions(b, arg, before, &seen);
    ops_index(b->o, &p, (uint32_t *)(void *)b->y, 1 + p.top, b->x, p.heads * p.dim, b->x, p.heads, b->cache, FORM_BF16,
              &r);
    return (struct result){2 * seen * p.dim, 2 * seen * p.heads * p.dim};
}

/* One position of 128 heads over arg rows of 576 columns out of 65536 that lie far from each other. */
static struct result attention_chosen(struct bench *b, uint32_t arg)
{
    const struct op_attention p = {.heads = 128,
                                   .kv_heads = 1,
                                   .dk = 576,
                                   .dv = 512,
                                   .scale = 0.04f,
                                   .alibi = PLAN_NONE,
                                   .flags = ATTN_V_IN_K,
                                   .chosen_groups = 1,
                                   .chosen_top = arg,
                                   .chosen_block = 1};
    double seen;
    struct ops_rows r = positions(b, 1, 65535, &seen);
    static uint32_t list[1 + 2048];
    list[0] = arg;
    for (uint32_t i = 0; i < arg; i++) list[1 + i] = (i + 1) * (65536 / arg) - 1;
    r.chosen = list;
    r.ld_chosen = 1 + arg;
    ops_attention(b->o, &p, b->y, p.heads * p.dv, b->x, p.heads * p.dk, b->cache, b->cache, FORM_BF16, NULL, NULL, &r);
    return (struct result){2.0 * arg * p.dk, 2.0 * arg * p.heads * (p.dk + p.dv)};
}

/* One position through the states of 32 heads of 128 x 128, eight such layers; a state is read and written. */
static struct result delta(struct bench *b, uint32_t arg)
{
    const struct op_delta p = {.heads = 32, .key_heads = 16, .dk = 128, .dv = 128, .scale = 0.09f};
    const size_t each = (size_t)32 * 128 * 128;
    const uint32_t slot[8] = {0};
    const struct ops_chain c = {slot, slot, 1};
    const struct ops_delta_args x = {b->x, b->x, b->x, b->x, b->x, 2048, 2048, 4096, 32, 32, b->x, b->x};
    for (uint32_t i = 0; i < arg; i++) ops_delta(b->o, &p, b->y, 4096, &x, b->states + i * each, each, &c);
    return (struct result){.bytes = (double)arg * 2 * 4 * (double)each};
}

/* Positions through the states of 128 heads of 128 x 64 in eight groups, as Mamba-2 of 8B has them: one position through four
 * such layers, whose states are read and written; or many through one, with three operations for each element of the state. */
static struct result scan(struct bench *b, uint32_t arg)
{
    const struct op_scan p = {.heads = 128, .width = 64, .groups = 8, .states = 128, .dt_most = 1};
    const size_t each = (size_t)128 * 64 * 128;
    const struct ops_scan_args x = {b->x, b->x, b->x, b->x, 0, 0, 0, 0, b->x, b->x, b->x};
    static const uint32_t slot[512] = {0};
    const struct ops_chain c = {slot, slot, arg};
    const uint32_t layers = arg == 1 ? 4 : 1;
    for (uint32_t i = 0; i < layers; i++) ops_scan(b->o, &p, b->y, 0, &x, b->states + i * each, each, &c);
    return (struct result){(double)layers * 2 * 4 * (double)each, 5.0 * arg * (double)each};
}

/* The same of Mamba-1: 8192 channels with 16 states each, as Jamba has them. */
static struct result scan_channels(struct bench *b, uint32_t arg)
{
    const struct op_scan p = {
        .heads = 1, .width = 8192, .groups = 1, .states = 16, .flags = SCAN_CHANNELS, .dt_most = INFINITY};
    const size_t each = (size_t)8192 * 16;
    const struct ops_scan_args x = {b->x, b->x, b->x, b->x, 0, 0, 0, 0, b->x, b->x, b->x};
    static const uint32_t slot[512] = {0};
    const struct ops_chain c = {slot, slot, arg};
    ops_scan(b->o, &p, b->y, 0, &x, b->states, each, &c);
    return (struct result){2 * 4 * (double)each, 5.0 * arg * (double)each};
}

/* A prompt through a layer of the delta rule: two products with the state, its decay and its change. */
static struct result delta_prompt(struct bench *b, uint32_t arg)
{
    const struct op_delta p = {.heads = 32, .key_heads = 16, .dk = 128, .dv = 128, .scale = 0.09f};
    const size_t each = (size_t)32 * 128 * 128;
    static const uint32_t slot[512] = {0};
    const struct ops_chain c = {slot, slot, arg};
    const struct ops_delta_args x = {b->x, b->x, b->x, b->x, b->x, 0, 0, 0, 0, 0, b->x, b->x};
    ops_delta(b->o, &p, b->y, 0, &x, b->states, each, &c);
    return (struct result){.flops = 7.0 * arg * (double)each};
}

/* Positions through a convolution of 10240 channels with 4 taps; inputs are read and outputs written. */
static struct result conv(struct bench *b, uint32_t arg)
{
    const struct op_conv p = {.width = 10240, .taps = 4, .act = ACT_SILU};
    static const uint32_t slot[512] = {0};
    const struct ops_chain c = {slot, slot, arg};
    ops_conv(b->o, &p, b->y, p.width, b->y + (size_t)arg * p.width, p.width, b->x, NULL, b->states, 3 * 10240, &c);
    return (struct result){.bytes = 2.0 * 4 * arg * p.width};
}

/* ---- units: one thread, out of memory into its own cache and back ---- */

#define UNIT_ROWS  32u
#define UNIT_COLS  4096u
#define UNIT_TIMES 128u

/* Weights of about a normal distribution: sums of four even ones. */
static const unsigned char *unit_weights(void)
{
    static unsigned char weights[2 * UNIT_ROWS * UNIT_COLS];
    uint32_t r = 1;

    for (size_t i = 0; !weights[1] && i < sizeof weights; i += 2) {
        float sum = 0;
        uint32_t bits;

        for (int k = 0; k < 4; k++) {
            r = r * 1664525u + 1013904223u;
            sum += ((float)(r >> 8) - 0x1p23f) * 0x1p-29f;
        }
        memcpy(&bits, &sum, 4);
        weights[i] = (unsigned char)(bits >> 16);
        weights[i + 1] = (unsigned char)(bits >> 24);
    }
    return weights;
}

/* Counts the bytes of BF16. */
static struct result pack(struct bench *b, uint32_t variant)
{
    const struct unit_code *code = unit_variant((enum unit_variant)variant);
    const uint64_t most = unit_stored_most(UNIT_ROWS, UNIT_COLS);
    const unsigned char *weights = unit_weights();

    for (uint32_t i = 0; code && i < UNIT_TIMES / 8; i++)
        unit_encode(code, (unsigned char *)b->y + i * most, weights, UNIT_ROWS, UNIT_COLS);
    return (struct result){.bytes = code ? UNIT_TIMES / 8 * 2.0 * UNIT_ROWS * UNIT_COLS : 0};
}

/* UNIT_TIMES units, one behind the other, more than a cache holds. */
static const unsigned char *packed_units(uint64_t *stored)
{
    static unsigned char *units;
    static uint64_t each;

    if (!units) {
        units = malloc(UNIT_TIMES * unit_stored_most(UNIT_ROWS, UNIT_COLS));
        if (!units) die("out of memory");
        for (uint32_t i = 0; i < UNIT_TIMES; i++)
            each = unit_encode(unit_code(), units + i * each, unit_weights(), UNIT_ROWS, UNIT_COLS);
    }
    *stored = each;
    return units;
}

static struct result unpack(struct bench *b, uint32_t variant)
{
    static unsigned char out[2 * 2 * UNIT_CHUNK];
    const struct unit_code *code = unit_variant((enum unit_variant)variant);
    uint64_t each;
    const unsigned char *units = packed_units(&each);
    struct error e = {0};
    struct unit u;

    (void)b;
    for (uint32_t i = 0; code && i < UNIT_TIMES; i++) {
        if (unit_open(&u, units + i * each, each, &e)) die(e.text);
        for (uint32_t chunk = 0; chunk < u.chunks; chunk += 2)
            if (code->decode(&u, chunk, 2, out)) die("a unit does not unpack");
    }
    return (struct result){.bytes = code ? UNIT_TIMES * 2.0 * UNIT_ROWS * UNIT_COLS : 0};
}

/* ---- cases ---- */

struct bench_case {
    const char *name;
    struct result (*run)(struct bench *b, uint32_t arg);
    uint32_t arg;
    bool by_flops;
};

static const struct bench_case cases[] = {
    {"read memory", read_memory, 0, false},
    {"multiply and add", multiply_add, 0, true},
    {"product bf16, 1 token", product, FORM_BF16 * 1000 + 1, false},
    {"product bf16, 2 tokens", product, FORM_BF16 * 1000 + 2, false},
    {"product bf16, 4 tokens", product, FORM_BF16 * 1000 + 4, false},
    {"product bf16, 6 tokens", product, FORM_BF16 * 1000 + 6, false},
    {"product bf16, 8 tokens", product, FORM_BF16 * 1000 + 8, false},
    {"product bf16, 12 tokens", product, FORM_BF16 * 1000 + 12, false},
    {"product f32, 1 token", product, FORM_F32 * 1000 + 1, false},
    {"product f16, 1 token", product, FORM_F16 * 1000 + 1, false},
    {"product fp8, 1 token", product, FORM_F8_E4M3 * 1000 + 1, false},
    {"product mxfp4, 1 token", product, FORM_MXFP4 * 1000 + 1, false},
    {"product I8, 1 token", product, FORM_I8 * 1000 + 1, false},
    {"product I8_PACKED, 1 token", product, FORM_I8_PACKED * 1000 + 1, false},
    {"product I4_PACKED, 1 token", product, FORM_I4_PACKED * 1000 + 1, false},
    {"product NVFP4_GRID, 1 token", product, FORM_NVFP4_GRID * 1000 + 1, false},
    {"product NF4, 1 token", product, FORM_NF4 * 1000 + 1, false},
#define ONE_TOKEN(name, ...) {"product " #name ", 1 token", product, FORM_##name * 1000 + 1, false},
    FORM_BLOCKS(ONE_TOKEN)
#undef ONE_TOKEN
        {"product Q4_K, 2 tokens", product, FORM_Q4_K * 1000 + 2, false},
    {"product Q4_K, 4 tokens", product, FORM_Q4_K * 1000 + 4, false},
    {"product Q4_K, 6 tokens", product, FORM_Q4_K * 1000 + 6, false},
    {"product Q4_K, 8 tokens", product, FORM_Q4_K * 1000 + 8, false},
    {"transposed bf16, 1 token", product_t, FORM_BF16 * 1000 + 1, false},
#define TURNED_ONE(name, ...) {"transposed " #name ", 1 token", product_t, FORM_##name * 1000 + 1, false},
    FORM_TURNEDS(TURNED_ONE)
#undef TURNED_ONE
        {"attention, 1 of 65536", attention, 1, false},
    {"attention, 2048 of 65536", attention_chosen, 2048, true},
    {"index, 1 of 65536", index_scores, 1, true},
    {"index, prompt of 256", index_scores, 256, true},
    {"delta rule, 1 position", delta, 8, false},
    {"delta rule, prompt of 512", delta_prompt, 512, true},
    {"convolution, prompt of 512", conv, 512, false},
    {"scan, 1 position", scan, 1, false},
    {"scan, prompt of 512", scan, 512, true},
    {"scan of channels, 1 position", scan_channels, 1, false},
    {"scan of channels, 512", scan_channels, 512, true},
    {"product bf16, 16 tokens", product, FORM_BF16 * 1000 + 16, true},
    {"product bf16, 32 tokens", product, FORM_BF16 * 1000 + 32, true},
    {"product bf16, 48 tokens", product, FORM_BF16 * 1000 + 48, true},
    {"product bf16, 64 tokens", product, FORM_BF16 * 1000 + 64, true},
    {"product bf16, 96 tokens", product, FORM_BF16 * 1000 + 96, true},
    {"product bf16, 128 tokens", product, FORM_BF16 * 1000 + 128, true},
    {"product bf16, 512 tokens", product, FORM_BF16 * 1000 + 512, true},
    {"product f32, 128 tokens", product, FORM_F32 * 1000 + 128, true},
    {"product fp8, 128 tokens", product, FORM_F8_E4M3 * 1000 + 128, true},
    {"product mxfp4, 128 tokens", product, FORM_MXFP4 * 1000 + 128, true},
    {"product I8, 128 tokens", product, FORM_I8 * 1000 + 128, true},
    {"product I4_PACKED, 128 tokens", product, FORM_I4_PACKED * 1000 + 128, true},
    {"product NVFP4_GRID, 128 tokens", product, FORM_NVFP4_GRID * 1000 + 128, true},
    {"product NF4, 128 tokens", product, FORM_NF4 * 1000 + 128, true},
#define MANY_TOKENS(name, ...) {"product " #name ", 128 tokens", product, FORM_##name * 1000 + 128, true},
    FORM_BLOCKS(MANY_TOKENS)
#undef MANY_TOKENS
#define MANY_TOKENS(name, ...) {"product " #name ", 512 tokens", product, FORM_##name * 1000 + 512, true},
        FORM_BLOCKS(MANY_TOKENS)
#undef MANY_TOKENS
            {"transposed bf16, 128 tokens", product_t, FORM_BF16 * 1000 + 128, true},
#define TURNED_MANY(name, ...) {"transposed " #name ", 128 tokens", product_t, FORM_##name * 1000 + 128, true},
    FORM_TURNEDS(TURNED_MANY)
#undef TURNED_MANY
        {"attention, prompt of 512", attention, 512, true},
    {"unpack, one thread, avx512", unpack, UNIT_AVX512, false},
    {"unpack, one thread, avx2, neon", unpack, UNIT_AVX2, false},
    {"unpack, one thread, plain", unpack, UNIT_PLAIN, false},
    {"pack, one thread, avx512", pack, UNIT_AVX512, false},
    {"pack, one thread, avx2, neon", pack, UNIT_AVX2, false},
    {"pack, one thread, plain", pack, UNIT_PLAIN, false},
};
#define CASES (sizeof cases / sizeof *cases)

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, uint32_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("out of memory");
    madvise(p, bytes, MADV_NOHUGEPAGE);
    return p;
}

static void fill(struct bench *b)
{
    uint32_t r = 1;
    for (size_t i = 0; i < WEIGHT_BYTES; i += 2) { /* numbers of ordinary size in every stored form */
        r = r * 1664525u + 1013904223u;
        b->weights[i] = (unsigned char)(r >> 24 & 0x77);
        b->weights[i + 1] = (unsigned char)(0x30 | (r >> 16 & 0x8f));
    }
    memcpy(b->cache, b->weights, CACHE_BYTES);
    for (size_t i = 0; i < (size_t)MOST_TOKENS * COLS; i++) b->x[i] = (float)(i % 37) * 0.01f - 0.2f;
}

static void run_rounds(struct bench *b, uint32_t rounds, const char *only, double (*rate)[MOST_ROUNDS])
{
    for (uint32_t r = 0; r < rounds + 1; r++)
        for (size_t i = 0; i < CASES; i++) {
            if (i > 1 && only && !strstr(cases[i].name, only)) continue;
            const double start = now(b->cpu_clock);
            const struct result work = cases[i].run(b, cases[i].arg);
            if (r > 0) /* the first round warms up */
                rate[i][r - 1] = (cases[i].by_flops ? work.flops : work.bytes) / (now(b->cpu_clock) - start) * 1e-9;
        }
}

int main(int argc, char **argv)
{
    const char *only = NULL, *variant = NULL;
    uint32_t rounds = 9;
    struct ops_options options = {.threads = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN), .scratch_bytes = 64u << 20};
    struct bench b = {.weights = map(WEIGHT_BYTES),
                      .x = map((size_t)MOST_TOKENS * 4 * COLS * 4),
                      .y = map((size_t)256 << 20),
                      .states = map((size_t)32 << 20),
                      .row = map(1u << 16),
                      .position = map(1u << 16),
                      .first = map(1u << 16),
                      .runs = map(1u << 16)};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--threads"))
            options.threads = (uint32_t)atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--rounds"))
            rounds = (uint32_t)atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--variant"))
            variant = argv[i + 1];
        else if (!strcmp(argv[i], "--only"))
            only = argv[i + 1];
        else if (!strcmp(argv[i], "--clock"))
            b.cpu_clock = !strcmp(argv[i + 1], "cpu");
        else
            die("usage: kernel_bench [--threads N] [--rounds N] [--variant avx512|avx2|neon|plain] [--only TEXT] "
                "[--clock "
                "wall|cpu]");
    }
    if (rounds == 0 || rounds > MOST_ROUNDS) die("--rounds: 1 to 99");
    struct error e = {0};
    if (ops_open(&b.o, &options, &e)) die(e.text);
    for (int v = 0; v < CPU_VARIANTS && variant; v++)
        if (cpu_variant_kernels((enum cpu_variant)v) &&
            !strcmp(cpu_variant_kernels((enum cpu_variant)v)->name, variant))
            ops_cpu_force(b.o, (enum cpu_variant)v);
    b.cache = ops_alloc(b.o, CACHE_BYTES, &e);
    if (!b.cache) die(e.text);
    fill(&b);
    static double rate[CASES][MOST_ROUNDS];
    run_rounds(&b, rounds, only, rate);
    printf("%s; medians of %u rounds\n", ops_describe(b.o), rounds);
    const double memory = median(rate[0], rounds), peak = median(rate[1], rounds);
    for (size_t i = 0; i < CASES; i++)
        if (i < 2 || !only || strstr(cases[i].name, only))
            printf("%-28s %8.1f %-8s %5.2f of the peak\n", cases[i].name, median(rate[i], rounds),
                   cases[i].by_flops ? "GFLOP/s" : "GB/s", rate[i][rounds / 2] / (cases[i].by_flops ? peak : memory));
    ops_close(b.o);
    return 0;
}

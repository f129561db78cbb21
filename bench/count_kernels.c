/* Work to count instructions of (bench/instructions.sh): count_kernels VARIANT CASE TOKENS TIMES
 *
 * VARIANT: neon, avx2, avx512, plain. CASE: a stored form (BF16, Q4_K, ...), whose product with TOKENS tokens is made TIMES
 * times over ROWS x COLS weights, or "unit", whose packed rows are unpacked. One thread. Prints the number of weights. Two
 * runs with different TIMES differ by the kernel alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/ops.h"
#include "proto/unit/code.h"

#define ROWS 24u
#define COLS 1024u

static void die(const char *what)
{
    fprintf(stderr, "count_kernels: %s\n", what);
    exit(1);
}

/* Exponents as trained weights have them: a few are most of them. */
static void fill_weights(unsigned char *w, size_t n)
{
    uint32_t r = 1;
    for (size_t i = 0; i < n; i++) {
        unsigned steps = 0;
        r = r * 1664525u + 1013904223u;
        while (steps < 9 && r >> (31 - steps) & 1) steps++;
        const unsigned x = (122 - steps) << 7 | (r & 0x7f) | (r >> 7 & 1) << 15;
        w[2 * i] = (unsigned char)x;
        w[2 * i + 1] = (unsigned char)(x >> 8);
    }
}

static void unpack(const char *variant, unsigned times)
{
    const size_t n = (size_t)ROWS * COLS;
    unsigned char *weights = malloc(2 * n), *stored = malloc(unit_stored_most(ROWS, COLS)), *out = malloc(2 * n + 8192);
    const struct unit_code *code = NULL;
    struct error e;
    struct unit u;
    for (int v = 0; v < UNIT_VARIANTS; v++)
        if (unit_variant((enum unit_variant)v) && !strcmp(unit_variant((enum unit_variant)v)->name, variant))
            code = unit_variant((enum unit_variant)v);
    if (!code || !weights || !stored || !out) die("this machine has no such variant");
    fill_weights(weights, n);
    const uint64_t bytes = unit_encode(code, stored, weights, ROWS, COLS);
    if (unit_open(&u, stored, bytes, &e) || u.mode != UNIT_B223) die("weights that do not pack");
    for (unsigned i = 0; i < times; i++)
        if (code->decode(&u, 0, u.chunks, out)) die("a unit that is damaged");
    if (times && memcmp(out, weights, 2 * n)) die("other weights than before");
    free(weights);
    free(stored);
    free(out);
}

static struct plan_matrix matrix_of(uint32_t form)
{
    const struct form_info *f = form_info(form);
    struct plan_matrix m = {
        .rows = ROWS, .cols = COLS, .row_bytes = form_row_bytes(form, COLS), .form = (uint16_t)form};
    if (f->scales != FORM_SCALES_GRID) return m;
    m.block_rows = f->grid_rows ? f->grid_rows : f->elements > 1 ? 1 : 128;
    m.block_cols = f->grid_cols ? f->grid_cols : 128;
    m.scale_form = (uint16_t)__builtin_ctzll(f->scale_forms);
    m.scale_row_bytes = form_row_bytes(m.scale_form, COLS / m.block_cols);
    return m;
}

static void multiply(const char *variant, uint32_t form, unsigned tokens, unsigned times)
{
    const struct plan_matrix m = matrix_of(form);
    struct ops_options options = {.threads = 1, .scratch_bytes = 4u << 20};
    struct ops_weight w = {.matrix = &m, .data = calloc(ROWS, m.row_bytes), .rows = ROWS};
    float *x = calloc((size_t)tokens * COLS, sizeof *x), *y = calloc((size_t)tokens * ROWS, sizeof *y);
    void *scales = calloc(ROWS, m.scale_row_bytes + 64);
    struct error e;
    struct ops *o;
    int rc = -1;
    if (ops_open(&o, &options, &e)) die(e.text);
    for (int v = 0; v < CPU_VARIANTS; v++)
        if (cpu_variant_kernels((enum cpu_variant)v) &&
            !strcmp(cpu_variant_kernels((enum cpu_variant)v)->name, variant))
            rc = ops_cpu_force(o, (enum cpu_variant)v);
    if (rc || !w.data || !x || !y || !scales) die("this machine has no such variant");
    if (m.scale_row_bytes) w.scale = scales;
    for (unsigned i = 0; i < times; i++) ops_matmul(o, y, ROWS, x, COLS, &w, NULL, 0, tokens);
    ops_close(o);
    free((void *)(uintptr_t)w.data);
    free(scales);
    free(x);
    free(y);
}

int main(int argc, char **argv)
{
    if (argc != 5) die("usage: count_kernels VARIANT FORM|unit TOKENS TIMES");
    const unsigned tokens = (unsigned)atoi(argv[3]), times = (unsigned)atoi(argv[4]);
    if (!strcmp(argv[2], "unit")) {
        unpack(argv[1], times);
    } else {
        uint32_t form = 0;
        while (form < FORMS && (!form_can_be(form, FORM_WEIGHT) || strcmp(form_name(form), argv[2]))) form++;
        if (form == FORMS || tokens < 1 || tokens > 512) die("no such form, or 1 to 512 tokens");
        multiply(argv[1], form, tokens, times);
    }
    printf("%u\n", ROWS * COLS);
    return 0;
}

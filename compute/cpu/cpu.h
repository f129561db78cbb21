/* Inside of the cpu backend: the backend's own state, and the table of kernels that each variant (AVX-512 with and without
 * VBMI, AVX2, plain C)
 * fills. All variants give the same bits; tests/test_kernels.c compares them byte by byte.
 *
 *   ops_*.c       the operations of compute/ops.h: cut work into tasks for the pool, know no instruction set
 *   body_*.h      the kernels, written once on the vector type of vec_*.h
 *   kernels_*.c   compile the bodies for one instruction set each, blocks_*.c those of forms with their scales inside
 *
 * The order of every sum is part of this interface: see compute/ops.h. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "compute/cpu/pool.h"
#include "compute/ops.h"
#include "proto/base/error.h"
#include "proto/footprint.h"
#include "proto/unit/unit.h"

/* Sizes of the many-token product, in floats: a task dequantizes BLOCK_ROWS x BLOCK_COLS weights at a time and multiplies them
 * with BLOCK_TOKENS tokens; its sums rest in memory between two blocks of columns. */
#define BLOCK_ROWS         FOOTPRINT_CPU_ROWS
#define BLOCK_COLS         FOOTPRINT_CPU_COLS
#define BLOCK_TOKENS       FOOTPRINT_CPU_TOKENS
#define MATMUL_WORK_FLOATS ((size_t)FOOTPRINT_CPU_WORK)

/* A product with transposed weights dequantizes SUM_ROWS x SUM_COLS at a time. */
#define SUM_ROWS 32u
#define SUM_COLS 512u

#define ATTENTION_BLOCK   FOOTPRINT_CPU_ATTENTION /* positions of the sequence that are reduced together */
#define ATTENTION_QUERIES FOOTPRINT_CPU_QUERIES   /* queries (positions x heads) of a task */

#define SCAN_POSITIONS FOOTPRINT_CPU_SCAN         /* positions whose steps are prepared together */
#define SCAN_COLUMNS   FOOTPRINT_CPU_SCAN_COLUMNS /* of a task */

/* One matrix product over the rows of one call; see ops_matmul() and ops_matmul_t(). */
struct cpu_product {
    float *y;
    const float *x;
    const float *bias; /* or NULL */
    size_t ldy, ldx;
    uint32_t n; /* tokens */
    uint32_t form, scale_form;
    size_t cols;                       /* of the matrix */
    const unsigned char *data, *scale; /* row 0 of the call; scale NULL: none */
    size_t row_bytes, scale_row_bytes;
    uint64_t row0, scale_row0;       /* in the matrix */
    uint32_t block_rows, block_cols; /* elements that share a scale of the grid; never 0 */
    const unsigned char *zero;       /* of row 0 of the call; NULL: none */
    size_t zero_row_bytes;
    uint64_t zero_row0;
    uint32_t zero_rows, flags; /* MATRIX_* */
    const float *vector[2];
    float offset;
    bool init;       /* ops_matmul_t */
    uint32_t groups; /* rows of scales that the matrix has */
};

/* One attention; see ops_attention(). */
struct cpu_attention {
    const struct op_attention *p;
    float *dst;
    const float *q;
    size_t ldd, ldq;
    const unsigned char *k, *v;
    size_t k_row_bytes, v_row_bytes;   /* of the caches */
    size_t k_head_bytes, v_head_bytes; /* from one kv head to the next */
    uint32_t kv_form;
    const float *sinks, *alibi;
    const struct ops_rows *rows;
};

/* One index; see ops_index(). scores: [positions from first on][groups][ld], ld a multiple of 64. */
struct cpu_index {
    const struct op_index *p;
    const float *q, *w;
    size_t ldq, ldw, ld;
    const unsigned char *k;
    uint32_t kv_form, first;
    float *scores;
    const struct ops_rows *rows;
};

/* Part of it: positions [i0, i1), of their ancestors those of the blocks [b0, b1) of ATTENTION_BLOCK positions. */
struct cpu_index_task {
    uint32_t i0, i1, b0, b1;
};

/* Blocks of an index that a position has (of pooled ones those that are whole): all of them are chosen while they are no more than top. */
static inline uint32_t cpu_index_blocks(const struct op_index *p, uint32_t position)
{
    return p->flags & INDEX_POOLED ? (position + 1) / p->block : position / p->block + 1;
}

/* Part of an attention: positions [i0, i1), kv heads [g0, g1), of each the query heads [h0, h1) of its group. */
struct cpu_attention_task {
    uint32_t i0, i1, g0, g1, h0, h1;
};

struct cpu_kernels {
    const char *name;
    uint32_t gemv_tokens;  /* up to so many gemv is the faster one; with weights of 16 bits it always is */
    uint32_t block_tokens; /* the same of forms with their scales inside, whose gemv takes no more */

    /* Of rows whose form has no grid of scales: an embedding's, vectors. */
    void (*dequantize)(float *dst, const void *src, uint32_t form, size_t elements, float scale);

    /* Rows [r0, r1) of the call. gemv, by form (NULL: there is none): straight from the stored weights; scales of a block
     * need not be handled where block_cols is no multiple of 16. gemm: x as pack() left it, tokens [t0, t0 + n) of the call, n <= BLOCK_TOKENS;
     * work: MATMUL_WORK_FLOATS, 64 byte aligned. */
    void (*gemv[FORMS])(const struct cpu_product *a, size_t r0, size_t r1);
    void (*pack)(float *dst, const float *x, size_t ldx, uint32_t n, size_t cols, uint32_t group);
    void (*gemm)(const struct cpu_product *a, const float *packed, uint32_t t0, uint32_t n, size_t r0, size_t r1,
                 float *work);
    uint32_t (*groups)(uint32_t n); /* of tokens; pack() does one of them */
    void (*row_squares)(const struct cpu_product *a, size_t r0, size_t r1, float mul,
                        float *sums); /* sum of (mul W[r][k])^2 */
    /* Columns [c0, c1), c0 a multiple of 16 and where a block begins, over rows rows; work as above. */
    void (*matmul_t)(const struct cpu_product *a, size_t rows, size_t c0, size_t c1, float *work);
    /* The same of forms of FORM_TURNED; rows are stored ones. */
    void (*turned)(const struct cpu_product *a, size_t rows, size_t c0, size_t c1, float *work);

    /* One position each. */
    void (*norm)(const struct op_norm *p, float *y, const float *x, const float *weight, const float *bias);
    void (*rope)(const struct op_rope *p, float *x, const float *cs, uint32_t dim);
    void (*add)(float *dst, const float *a, const float *b, size_t width, float ca, float cb);
    void (*act)(const struct op_act *p, float *dst, const float *gate, const float *up);
    void (*scale)(float *x, size_t width, float mul);
    void (*softcap)(float *x, size_t width, float mul, float cap);
    void (*xielu)(float *dst, const float *src, size_t width, const struct ops_xielu_args *x);
    void (*clamp)(float *x, size_t width, float mul, float cap);
    void (*add_scaled)(float *dst, const float *src, size_t width, float weight); /* dst += weight * src */
    void (*narrow)(void *dst, const float *src, uint32_t kv_form, size_t width);

    void (*attention)(const struct cpu_attention *a, const struct cpu_attention_task *t, float *work);

    /* Scores of positions that have more blocks than are chosen; work: footprint_cpu_index() floats. */
    void (*index)(const struct cpu_index *a, const struct cpu_index_task *t, float *work);

    /* Columns [c0, c1) of all positions; head h of all positions. */
    void (*conv)(const struct op_conv *p, float *dst, size_t ldd, const float *src, size_t lds, const float *weight,
                 const float *bias, float *states, size_t state_floats, const struct ops_chain *c, size_t c0,
                 size_t c1);
    void (*delta)(const struct op_delta *p, float *dst, size_t ldd, const struct ops_delta_args *x, float *states,
                  size_t state_floats, const struct ops_chain *c, uint32_t head, float *work);
    /* Columns [c0, c1) of all positions. */
    void (*pool)(const struct op_pool *p, float *dst, size_t ldd, const struct ops_pool_args *x, float *states,
                 size_t state_floats, const struct ops_chain *c, size_t c0, size_t c1);
    /* Columns [c0, c1) of head h, at most SCAN_COLUMNS. work: footprint_cpu_scan(), 64 byte aligned. */
    void (*scan)(const struct op_scan *p, float *dst, size_t ldd, const struct ops_scan_args *x, float *states,
                 size_t state_floats, const struct ops_chain *c, uint32_t head, size_t c0, size_t c1, float *work);
};

extern const struct cpu_kernels cpu_kernels_avx512_vbmi, cpu_kernels_avx512, cpu_kernels_avx2, cpu_kernels_plain;

enum cpu_variant { CPU_PLAIN, CPU_AVX2, CPU_AVX512, CPU_AVX512_VBMI, CPU_VARIANTS }; /* the better, the higher */

/* The kernels of a variant; NULL if this machine cannot run them. */
const struct cpu_kernels *cpu_variant_kernels(enum cpu_variant v);

/* The loops behind ops_peak(), each on the calling thread. read: all of bytes, a multiple of 64 KiB, in the fastest way
 * that was found; the sum is no matter. fma: floating-point operations done in about half a millisecond, 0 where there is
 * no loop for this processor. */
uint64_t cpu_read_once(const unsigned char *from, uint64_t bytes);
uint64_t cpu_fma_once(void);

/* ---- packed weights (ops_packed.c) ---- */

/* Rows of one unit, as BF16. */
struct cpu_rows {
    const unsigned char *data; /* where the first begins: in the scratch, or in the unit */
    size_t rows;
};

/* Rows [row, row + rows) of a call's weights, as many as end with their unit and fit into scratch of bytes, which is
 * footprint_cpu_panel() of their length at least. rows 0: the unit is damaged, and o->damaged set. */
struct cpu_rows cpu_unpack(struct ops *o, const struct ops_weight *w, size_t row, size_t rows, void *scratch,
                           size_t bytes);
/* Sets o->error where a unit was damaged since the last call. */
void cpu_unpack_failed(struct ops *o, const struct ops_weight *w);

struct ops {
    const struct cpu_kernels *kernels;
    const struct unit_code *units;
    _Atomic bool damaged; /* a unit that was to be unpacked */
    struct pool *pool;
    uint32_t threads;
    uint64_t scratch_bytes;
    unsigned char *scratch;
    struct error error; /* first failure since the last ops_sync() */
    char description[64];
};

/* For tests and benches: from now on this variant. -ENOTSUP if the machine cannot run it. */
int ops_cpu_force(struct ops *o, enum cpu_variant v);

/* Runs on all threads, or on the caller alone where the work (multiplications or so) is not worth waking others. */
void cpu_run(struct ops *o, pool_fn *fn, void *arg, uint32_t tasks, uint64_t work);
/* Scratch: each worker's own bytes lie in front, one after the other; behind them what all share. */
void *cpu_worker_scratch(const struct ops *o, uint32_t worker, uint64_t bytes_each);
void *cpu_shared_scratch(const struct ops *o, uint64_t bytes_each, uint64_t *left);

/* Bytes of that many columns, of whole blocks. */
static inline size_t cpu_bytes_of(uint32_t form, size_t columns)
{
    return columns / form_elements(form) * form_bytes(form);
}

static inline size_t cpu_round_up(size_t x, size_t to)
{
    return (x + to - 1) / to * to;
}

/* The operations of a decoder: one interface, implemented by compute/cpu and by compute/cuda, one of which is linked.
 *
 * Activations are float32, row-major [n][ld]: n positions (or selected positions), ld columns from one row to the next.
 * Every pointer to activations, weights and caches is device memory (cpu: ordinary memory); tables marked host are
 * ordinary memory. Calls are queued in order and need not have finished on return (cuda); ops_download() and
 * ops_sync() wait. After ops_open() no call allocates.
 *
 * cpu: results do not depend on n, on how rows of W are cut into calls, or on the number of threads. Every output
 * element is one chain: a 16-lane float32 accumulator over k in steps of 16 by fused multiply-add, lanes reduced in one
 * fixed tree (8+8, 4+4, 2+2, 1+1), tails masked by zeros. Weights may begin at any byte (no alignment is promised).
 * cuda: weight payloads begin at a multiple of 256 bytes. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/stage/device_facts.h"
#include "proto/base/error.h"
#include "proto/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ops; /* a backend, opened once a process */

struct ops_options {
    uint32_t threads;       /* cpu */
    uint32_t device;        /* cuda */
    uint64_t scratch_bytes; /* most that any call may need: see footprint_scratch() */
};

int ops_open(struct ops **out, const struct ops_options *o, struct error *e);
void ops_close(struct ops *o);
const char *ops_describe(const struct ops *o); /* "avx512, 2 threads", "NVIDIA ..., sm_90" */

/* What the device has to give; -ENODEV and why where it cannot be used. Needs no struct ops. */
int ops_device_facts(struct device_facts *f, uint32_t device, struct error *e);

void *ops_alloc(struct ops *o, uint64_t bytes, struct error *e); /* zeroed (lazily); NULL with *e filled */
void ops_free(struct ops *o, void *p, uint64_t bytes);
void ops_upload(struct ops *o, void *dst, const void *host_src, uint64_t bytes);
void ops_download(struct ops *o, void *host_dst, const void *src, uint64_t bytes); /* returns when it is there */
int ops_sync(struct ops *o, struct error *e); /* waits for all; reports what failed since the last call */

/* What the hardware can do at most, in bytes read from memory that no cache holds, or in float32 operations (a fused
 * multiply-add counts as two) in registers, with all that this backend works with. For about limit_ns, while nothing else is
 * queued; allocates most_bytes at most, and frees them. *ns 0: not to be had here. */
enum ops_peak_kind { OPS_PEAK_MEMORY, OPS_PEAK_FLOPS };
int ops_peak(struct ops *o, enum ops_peak_kind what, uint64_t most_bytes, uint64_t limit_ns, uint64_t *amount,
             uint64_t *ns, struct error *e);

/* ---- tiles ---- */

/* Stored weights of one matrix: rows of it, as they lie in a tile. scale: NULL, or its first row of scales covering row0.
 * data and scale point at whole rows; row0 is the number of the first row in the matrix (block scales need it). Of a packed
 * matrix data are whole units (proto/unit/unit.h), and unit where they begin. */
struct ops_weight {
    const struct plan_matrix *matrix; /* host */
    const void *data, *scale;
    uint64_t row0, rows;
    uint64_t scale_row0;
    const uint64_t
        *unit; /* host; packed: offsets of the units, of which the first is data, and of their end; else NULL */
    /* Where the matrix has zero points: their first row and its number. Vectors that its flags name, device memory. */
    const void *zero;
    uint64_t zero_row0;
    const float *vector[2];
};

/* ---- operations ---- */

/* Stored rows in device memory: numbers first .. first + count - 1 of those that n positions look for. */
struct ops_gather {
    const void *rows;
    uint32_t form, first, count;
    const uint32_t *index; /* [n] device: the number that each position looks for */
    uint64_t stride;       /* bytes from one row to the next; 0: they lie side by side */
};
/* dst[i][0..width) = scale * the row of number index[i], where it is among these; other positions stay as they are. */
void ops_embed(struct ops *o, float *dst, uint32_t ld, const struct ops_gather *g, uint32_t n, uint32_t width,
               float scale);

/* Elements of form to float32. */
void ops_dequantize(struct ops *o, float *dst, const void *src, uint32_t form, uint64_t elements);

/* x, y at the first column; weight, bias NULL or float32 in device memory. See struct op_norm. The results are right for any
 * finite x: where sums of squares exceed float32 they are those of NORM_SMALLER x, whose eps would be too small to matter. */
#define NORM_SMALLER                                                                                                   \
    0x1p-96f /* the square of the largest float32, times this squared, leaves room for 2^64 of its kind */
void ops_norm(struct ops *o, const struct op_norm *p, float *y, uint32_t ldy, const float *x, uint32_t ldx,
              const float *weight, const float *bias, uint32_t n);

/* y[i][r] = sum_k x[i][k] W[row0 + r][k] + bias[r]; y at the column of row0, bias at row0 or NULL. flags: MATMUL_*. */
void ops_matmul(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                const float *bias, uint32_t flags, uint32_t n);

/* y[i][c] = (init ? bias[c] or 0 : y[i][c]) + sum_r x[i][row0 + r] W[row0 + r][c], r in order, one chain for each c.
 * x at column row0; W's rows are the inputs (matrices stored [in][out], and the transposed half of latent attention). */
void ops_matmul_t(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                  const float *bias, bool init, uint32_t n);

/* Rotates in place; cs: [n][dim] float32 in device memory: dim/2 cosines, then dim/2 sines of each position. */
void ops_rope(struct ops *o, const struct op_rope *p, float *x, uint32_t ldx, const float *cs, uint32_t dim,
              uint32_t n);

void ops_copy(struct ops *o, float *dst, uint32_t ldd, const float *src, uint32_t lds, uint32_t blocks, uint32_t width,
              uint32_t dst_stride, uint32_t src_stride, uint32_t n);
void ops_add(struct ops *o, float *dst, uint32_t ldd, const float *a, uint32_t lda, const float *b, uint32_t ldb,
             uint32_t width, float ca, float cb, uint32_t n);
void ops_act(struct ops *o, const struct op_act *p, float *dst, uint32_t ldd, const float *gate, uint32_t ldg,
             const float *up, uint32_t ldu, uint32_t n);
/* x[i] += row positions[i] + p->offset of the table [rows][width]; positions: n of them, all in device memory. */
void ops_position(struct ops *o, const struct op_position *p, float *x, uint32_t ldx, const float *table,
                  const uint32_t *positions, uint32_t n);
/* See struct op_xielu; numbers: one float each, in device memory. */
struct ops_xielu_args {
    const float *alpha_p, *alpha_n, *beta, *eps;
};
void ops_xielu(struct ops *o, const struct op_xielu *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
               const struct ops_xielu_args *x, uint32_t n);
/* See struct op_sinkhorn and struct op_mix; scale and base in device memory. */
void ops_sinkhorn(struct ops *o, const struct op_sinkhorn *p, float *x, uint32_t ldx, const float *scale,
                  const float *base, uint32_t n);
void ops_mix(struct ops *o, const struct op_mix *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
             const float *weight, uint32_t ldw, uint32_t n);
/* positions: n rotary positions in device memory, used with SCALE_BY_POSITION; vector: float32 there, of vector_floats
 * elements, 1 or p->width, used with SCALE_BY_VECTOR. */
struct ops_factors {
    const uint32_t *positions;
    const float *vector;
    uint32_t vector_floats;
};
void ops_scale(struct ops *o, const struct op_scale *p, float *x, uint32_t ldx, const struct ops_factors *f,
               uint32_t n);

/* x[i][0..width) = 0. */
void ops_zero(struct ops *o, float *x, uint32_t ldx, uint32_t width, uint32_t n);
/* dst[i] = src[index[i]]; index in device memory. */
void ops_gather_rows(struct ops *o, float *dst, uint32_t ldd, const float *src, uint32_t lds, const uint32_t *index,
                     uint32_t width, uint32_t n);
/* dst[index[i]] += weight[i] * src[i]; no index twice. weight NULL: 1. */
void ops_scatter_add_rows(struct ops *o, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                          const uint32_t *index, const float *weight, uint32_t width, uint32_t n);
/* x[i] *= weight[i] over width columns. */
void ops_scale_rows(struct ops *o, float *x, uint32_t ldx, const float *weight, uint32_t width, uint32_t n);

/* ---- attention ---- */

/* Which cached rows each position sees: position i of the sequence's order 0..pos lies in rows given by runs, in order.
 * Position i uses runs [first[i], first[i + 1]); the lengths of its runs add up to its position in the sequence + 1 (itself
 * included, last). Most sequences are one run. */
struct ops_run {
    uint32_t row, length;
};
struct ops_rows {
    const uint32_t *row;        /* [n] where position i's own k and v are stored */
    const uint32_t *position;   /* [n] its position in its sequence, from 0 (rotary position too) */
    const uint32_t *first;      /* [n + 1] */
    const struct ops_run *runs; /* all in device memory */
    uint32_t n;
    uint32_t max_position; /* host: the largest position */
    /* For attention with chosen_top: the lists that ops_index() left, [n][ld_chosen], of the columns of the view on. */
    const uint32_t *chosen;
    uint32_t ld_chosen;
};

/* Appends k, v (float32) of each position to the cache (kv_form, [rows][k_width], [rows][v_width]). */
void ops_kv_store(struct ops *o, uint32_t kv_form, void *cache, uint32_t width, const float *src, uint32_t ld,
                  const struct ops_rows *r);

/* Lists of chosen blocks as struct op_index says; cache: what ops_kv_store() put k into, [rows][dim]. w NULL: ones. A position's
 * list depends on nothing but its ancestors. */
void ops_index(struct ops *o, const struct op_index *p, uint32_t *dst, uint32_t ldd, const float *q, uint32_t ldq,
               const float *w, uint32_t ldw, const void *cache, uint32_t kv_form, const struct ops_rows *r);

/* dst = softmax(...) v as struct op_attention says. With chosen_top only rows of chosen positions are read, and the reductions
 * are cut at multiples of 64 of them. Float32 throughout; the reductions over ancestors are cut at multiples
 * of 64 positions of the sequence, never by row, thread or chunk, so that the result does not depend on them. sinks, alibi:
 * NULL or float32 [heads] in device memory. */
void ops_attention(struct ops *o, const struct op_attention *p, float *dst, uint32_t ldd, const float *q, uint32_t ldq,
                   const void *k_cache, const void *v_cache, uint32_t kv_form, const float *sinks, const float *alibi,
                   const struct ops_rows *r);

/* ---- recurrences: positions of the sweep in chains ---- */

/* Position i continues the state from[i] and leaves its own in to[i]: indices of state slots of floats each in states;
 * from[i] UINT32_MAX: zeros. from[i] == to[i] is updated in place. Positions come in an order in which every from is
 * ready. host arrays. */
struct ops_chain {
    const uint32_t *from, *to;
    uint32_t n;
};
/* state slot: [taps - 1][width] inputs before the position, oldest first. weight [width][taps]. dst = act(conv(src) + bias). */
void ops_conv(struct ops *o, const struct op_conv *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
              const float *weight, const float *bias, float *states, uint64_t state_floats, const struct ops_chain *c);
/* state slot: [heads][dk][dv]. See struct op_delta. a_log, dt_bias [heads]. */
struct ops_delta_args {
    const float *q, *k, *v, *a, *b;
    uint32_t ldq, ldk, ldv, lda, ldb;
    const float *a_log, *dt_bias;
};
void ops_delta(struct ops *o, const struct op_delta *p, float *dst, uint32_t ldd, const struct ops_delta_args *x,
               float *states, uint64_t state_floats, const struct ops_chain *c);

/* state slot: [heads][states][width]. See struct op_scan. skip NULL: none. */
struct ops_scan_args {
    const float *x, *dt, *b, *c;
    uint32_t ldx, lddt, ldb, ldc;
    const float *a_log, *dt_bias, *skip;
};
void ops_scan(struct ops *o, const struct op_scan *p, float *dst, uint32_t ldd, const struct ops_scan_args *x,
              float *states, uint64_t state_floats, const struct ops_chain *c);

/* state slot: [sets][3][width]. See struct op_pool. positions: n of them, in device memory. */
struct ops_pool_args {
    const float *x, *gate;
    uint32_t ldx, ldg;
    const float *bias;
    const uint32_t *positions;
};
void ops_pool(struct ops *o, const struct op_pool *p, float *dst, uint32_t ldd, const struct ops_pool_args *x,
              float *states, uint64_t state_floats, const struct ops_chain *c);

/* ---- device memory across processes (cuda; the cpu backend has none of it and returns -ENOTSUP) ---- */

#define OPS_HANDLE_BYTES 64
/* Exports [p] allocated by ops_alloc() for transfer to open; and one interprocess event. */
int ops_export_memory(struct ops *o, void *p, uint8_t handle[OPS_HANDLE_BYTES], struct error *e);
/* Two events for each entry of the device rings, lane 0's entries first (number: base of the lane + seq % entries).
 * ready is recorded by transfer before it publishes the entry, and compute's stream waits for it; freed is recorded by
 * compute before it releases the entry, and transfer's stream waits for it before it overwrites the memory. */
int ops_events_open(struct ops *o, uint32_t entries, uint8_t (*freed_handles)[OPS_HANDLE_BYTES], struct error *e);
int ops_events_import(struct ops *o, uint32_t entries, const uint8_t (*ready_handles)[OPS_HANDLE_BYTES],
                      struct error *e);
void ops_slot_wait(struct ops *o, uint32_t entry);    /* later work waits until the entry's copy is done */
void ops_slot_release(struct ops *o, uint32_t entry); /* recorded after all work queued so far */

#ifdef __cplusplus
}
#endif

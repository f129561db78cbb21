/* What the compute stage allocates for a program and a run's settings, to the byte.
 *
 * compute takes its memory in a few blocks when it opens, of exactly these sizes, cuts them at exactly these offsets, and
 * takes none later; who plans adds the same blocks up before anything is there. So a piece that is not listed here has no
 * place to be, and none is paid for that is not there (tests/test_footprint.c counts).
 *
 *   block         lies    holds                                                      cut by
 *   activations   device  buffers, rotary tables                                     compute/decoder.c
 *   memory        device  KV cache, recurrent states                                 compute/decoder.c
 *   resident      device  vectors as float32                                         compute/decoder.c
 *   positions     both    tables of a sweep's positions, of KV rows, of states       compute/positions.c
 *   experts       both    the router's choice, rows of one expert's positions        compute/experts.c
 *   angles        host    rotary angles of a sweep                                   compute/decoder.c
 *   scratch       device  what one call of an operation needs at most                compute/{cpu/ops.c,cuda/backend.c}
 *   tiles         device  cuda: slots of all lanes, pinned tiles                     compute/decoder.c
 *
 * On the cpu backend the device's memory is the host's. The program passes program_check(), and p->run is not looked at:
 * r stands for it. Sizes are bytes; pieces begin at multiples of FOOTPRINT_ALIGN. */
#pragma once
#include <stdint.h>
#include "proto/plan.h"

#define FOOTPRINT_ALIGN 256u

/* ---- what kernels are cut for: they and the scratch that they get go by the same numbers ---- */

/* cpu: a product of many tokens dequantizes ROWS x COLS weights at a time and multiplies them with TOKENS tokens, which were
 * packed; its sums rest in memory between two blocks of columns. Attention reduces so many positions of the sequence
 * together, for so many queries (positions x heads). */
#define FOOTPRINT_CPU_ROWS      64u
#define FOOTPRINT_CPU_COLS      512u
#define FOOTPRINT_CPU_TOKENS    96u
#define FOOTPRINT_CPU_WORK      (FOOTPRINT_CPU_ROWS * (FOOTPRINT_CPU_COLS + 16u * FOOTPRINT_CPU_TOKENS)) /* floats */
#define FOOTPRINT_CPU_ATTENTION 64u
#define FOOTPRINT_CPU_QUERIES   48u
#define FOOTPRINT_CPU_PANEL     (128u << 10) /* bytes of packed rows that a thread unpacks at a time, or one row */
#define FOOTPRINT_CPU_CHUNKS    (2u * 8192u) /* and what unpacking writes before and behind them */
#define FOOTPRINT_CPU_SCORES    (UINT64_C(8) << 20) /* bytes of an index's scores that are worth having at once */

/* cuda: up to GEMV_TOKENS tokens go to kernels that need no dequantized weights; more of them in pieces of GEMM_TOKENS
 * tokens and GEMM_FLOATS dequantized weights, inputs as three terms of bf16. Attention: positions of a sequence that one
 * thread block reduces, and the bytes of partial results that are worth having at once. */
#define FOOTPRINT_CUDA_GEMV_TOKENS 16u
#define FOOTPRINT_CUDA_GEMM_TOKENS 1024u
#define FOOTPRINT_CUDA_GEMM_FLOATS (UINT64_C(16) << 20)
#define FOOTPRINT_CUDA_SPAN        512u
#define FOOTPRINT_CUDA_PARTIAL     (UINT64_C(64) << 20)
#define FOOTPRINT_CUDA_WORKSPACE   (UINT64_C(32) << 20) /* cuBLAS: what NVIDIA recommends for Hopper */
#define FOOTPRINT_CUDA_PANEL       (UINT64_C(8) << 20) /* of packed matrices, what is unpacked at a time, if that is a row */
#define FOOTPRINT_CUDA_STAGING     (UINT64_C(1) << 20) /* pinned, on the host */

#ifdef __cplusplus
extern "C" {
#endif

/* Floats of work of one task of attention, and of one head of a delta rule (cpu). */
uint64_t footprint_cpu_panel(uint64_t row_bytes); /* bytes; a multiple of 64 */
uint64_t footprint_cuda_panel(const struct plan_matrix *m);
uint64_t footprint_cpu_attention(uint32_t dk, uint32_t dv);
uint64_t footprint_cpu_delta(uint32_t dk);
/* The same of some columns of a head of a scan, whose positions are prepared so many at a time. */
#define FOOTPRINT_CPU_SCAN         64u
#define FOOTPRINT_CPU_SCAN_COLUMNS 64u
uint64_t footprint_cpu_scan(uint32_t states);
uint64_t footprint_cpu_index(uint32_t heads, uint32_t dim); /* of one task of an index */

/* Scratch that a call of any operation needs at most. */
uint64_t footprint_scratch(const struct plan_shm *p, const struct plan_run *r);

/* ---- compute's blocks ---- */

/* Rows of an activation buffer: as many as a sweep has positions, or, where no operation touches it before OP_SELECT has
 * chosen some, as many as may want logits. */
uint32_t footprint_buffer_rows(const struct plan_shm *p, const struct plan_run *r, uint64_t buffer);

/* Offsets of every buffer and every rotary table, each NULL or as long as its table; returns the bytes of all. */
uint64_t footprint_activations(const struct plan_shm *p, const struct plan_run *r, uint64_t *buffers, uint64_t *ropes);

/* The same of KV caches (v[i] is of no use where v_width is 0) and of recurrent states. */
uint64_t footprint_memory(const struct plan_shm *p, const struct plan_run *r, uint64_t *k, uint64_t *v,
                          uint64_t *states);
uint64_t footprint_kv_position(const struct plan_shm *p, uint32_t kv_form); /* of one row of all caches */

/* Floats of the host's rotary angles: the widest table of a sweep. */
uint64_t footprint_angles(const struct plan_shm *p, const struct plan_run *r);

#define FOOTPRINT_KV_ROW 32u /* bytes of struct kv_row, compute/positions.h */
#define FOOTPRINT_RUN    8u  /* of struct ops_run */

/* Offsets, n being max_positions. runs_most: runs of KV rows that all positions of a sweep come to together. */
struct footprint_positions {
    /* host */
    uint64_t rows;                                        /* [kv_rows] */
    uint64_t token, row, position, first, select, gather; /* [n], first [n + 1] */
    uint64_t from, to;                                    /* [n] */
    uint64_t runs;                                        /* [runs_most] */
    uint64_t state_of_row; /* [kv_rows]; where there are states, as those that follow: [plan_states_kept()] */
    uint64_t row_of_state, state_used, state_sequence;
    uint64_t host_bytes;
    /* device */
    uint64_t d_row, d_position, d_first, d_select, d_gather, d_runs;
    uint64_t device_bytes;
    uint64_t runs_most;
};
void footprint_positions(struct footprint_positions *f, const struct plan_shm *p, const struct plan_run *r);

/* Offsets, n being max_positions. All zero for a program without experts. */
struct footprint_experts {
    uint32_t experts, hidden, inter, top; /* the most of any table, of any router */
    /* host */
    uint64_t id, weight;             /* [n][top] */
    uint64_t logits;                 /* [n][experts] */
    uint64_t scratch;                /* [3 experts + 1] */
    uint64_t members, member_weight; /* [n][top] */
    uint64_t chosen, bias;           /* [experts], of bytes and of floats */
    uint64_t host_bytes;
    /* device */
    uint64_t d_members, d_weight, d_in, d_up, d_act, d_out, d_bias; /* the first two [n][top], d_up [n][2 inter] */
    uint64_t device_bytes;
};
void footprint_experts(struct footprint_experts *f, const struct plan_shm *p, const struct plan_run *r);

/* ---- all of it ---- */

struct footprint {
    uint64_t activations, kv, states, resident, scratch, tiles; /* device; kv and states are one block */
    uint64_t positions, experts;                                /* device */
    uint64_t workspace;                                         /* device, cuda */
    uint64_t host_positions, host_experts, angles, staging;     /* host; staging: cuda */
    uint64_t host, device;                                      /* totals: with the cpu backend both are host memory */
    uint32_t device_blocks;                                     /* allocations on the device */
};
void footprint_count(struct footprint *f, const struct plan_shm *p, const struct plan_run *r);

#ifdef __cplusplus
}
#endif

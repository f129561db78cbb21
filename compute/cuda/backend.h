/* The CUDA backend's own state, shared by the files of this folder. C and C++.
 *
 * One stream, in order. All memory is taken by ops_open(), ops_alloc() and ops_events_open(): plain cudaMalloc at the
 * start, none later. The first thing that fails is kept and reported by ops_sync(); calls after it are queued in vain. */
#pragma once
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include "compute/ops.h"
#include "proto/footprint.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Up to this many tokens our own kernels run, whose results depend on nothing but the row and the token. */
#define CUDA_GEMV_TOKENS FOOTPRINT_CUDA_GEMV_TOKENS
/* Products of many tokens are cut into pieces of so many tokens and dequantized elements, to bound the scratch. */
#define CUDA_GEMM_TOKENS  FOOTPRINT_CUDA_GEMM_TOKENS
#define CUDA_WIDEN_FLOATS FOOTPRINT_CUDA_GEMM_FLOATS
#define CUDA_STAGING      FOOTPRINT_CUDA_STAGING /* two halves: small uploads that do not hold the caller up */
#define CUDA_WORKSPACE    FOOTPRINT_CUDA_WORKSPACE
/* How far queued work may run ahead: a segment is so many kernels, a product of many tokens counting as 16 of them, and at
 * most two segments are queued. Enough to hide every delay of this processor, and so little that the process is never
 * asleep for long in one wait: who waits gives no sign of life. */
#define CUDA_PACE      128u
#define CUDA_PACE_GEMM 16u
/* Attention: positions of a sequence that one thread block reduces; and its partial results in scratch. */
#define CUDA_SPAN_POSITIONS    FOOTPRINT_CUDA_SPAN
#define CUDA_ATTENTION_SCRATCH FOOTPRINT_CUDA_PARTIAL

struct ops {
    cudaStream_t stream;
    cublasHandle_t cublas;
    void *workspace;
    uint8_t *scratch;
    uint64_t scratch_bytes, scratch_used; /* used: by the call that runs now */
    uint32_t device;
    int capability;     /* 90 for 9.0 */
    uint64_t allocated; /* by ops_alloc() */
    uint32_t *damaged;  /* in host memory that the device writes to: packed weights that do not unpack were met */
    uint8_t *staging;
    uint64_t staging_used; /* of its current half */
    uint32_t staging_half;
    cudaEvent_t staged[2]; /* the half's last copy */
    cudaEvent_t *ready, *freed;
    uint32_t entries;
    cudaEvent_t paced[2]; /* the ends of the last two segments */
    uint32_t queued, segment;
    struct error failed; /* code 0: nothing yet */
    char description[320];
};

/* Keeps the first failure: what it was, in which call. Returns whether all is well. */
bool backend_check(struct ops *o, cudaError_t rc, const char *what);
bool backend_check_cublas(struct ops *o, cublasStatus_t rc, const char *what);
void backend_fail(struct ops *o, int code, const char *what);

/* Counts work that was queued; waits when it runs too far ahead. */
void backend_pace(struct ops *o, uint32_t kernels);

/* Scratch of one call: begin, then take as often as needed, 256-byte aligned. NULL (and a kept failure) where it is too
 * small. Work queued by an earlier call that uses the same bytes is ordered before: there is one stream. */
void backend_scratch_begin(struct ops *o);
void *backend_scratch(struct ops *o, uint64_t bytes);
/* Of n positions that need `each` bytes of scratch, those that go at once: at least one, whose scratch then says what it
 * lacks, and no more than a grid has rows. */
uint64_t backend_at_once(const struct ops *o, uint64_t each, uint32_t n);

/* Can this device run the kernels that were compiled? cudaErrorNoKernelImageForDevice where not. */
cudaError_t backend_probe(void);

#ifdef __cplusplus
}
#endif

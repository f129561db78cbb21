/* Every kernel once more, as its formula says it: one loop for each index, sums in double precision, the C library's own
 * functions. Slow, for tests: a kernel must come within the tolerance that its test states. Arguments as in compute/ops.h,
 * where the formulas' sources stand. */
#pragma once
#include <stdint.h>
#include "compute/ops.h"

/* W[row0 + r][k] as float32: value times scale, rounded once. Of a form of FORM_TURNED, r counts inputs from the call's first. */
float reference_weight(const struct ops_weight *w, uint64_t r, uint64_t k);
/* Element k of a row, without its scale where that lies in a grid; NaN where form is none of weights. */
double reference_stored(uint32_t form, const void *row, uint64_t k);

/* size: of each output the sum of the magnitudes that went into it (for tolerances), or NULL. */
void reference_matmul(float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                      const float *bias, uint32_t flags, uint32_t n, float *size);
void reference_matmul_t(float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                        const float *bias, bool init, uint32_t n, float *size);
void reference_norm(const struct op_norm *p, float *y, uint32_t ldy, const float *x, uint32_t ldx, const float *weight,
                    const float *bias, uint32_t n);
void reference_rope(const struct op_rope *p, float *x, uint32_t ldx, const float *cs, uint32_t dim, uint32_t n);
void reference_act(const struct op_act *p, float *dst, uint32_t ldd, const float *gate, uint32_t ldg, const float *up,
                   uint32_t ldu, uint32_t n);
void reference_xielu(const struct op_xielu *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                     const struct ops_xielu_args *x, uint32_t n);
void reference_scale(const struct op_scale *p, float *x, uint32_t ldx, const struct ops_factors *f, uint32_t n);
void reference_attention(const struct op_attention *p, float *dst, uint32_t ldd, const float *q, uint32_t ldq,
                         const void *k_cache, const void *v_cache, uint32_t kv_form, const float *sinks,
                         const float *alibi, const struct ops_rows *r);
void reference_index(const struct op_index *p, uint32_t *dst, uint32_t ldd, const float *q, uint32_t ldq,
                     const float *w, uint32_t ldw, const void *cache, uint32_t kv_form, const struct ops_rows *r);
void reference_conv(const struct op_conv *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                    const float *weight, const float *bias, float *states, uint64_t state_floats,
                    const struct ops_chain *c);
void reference_scan(const struct op_scan *p, float *dst, uint32_t ldd, const struct ops_scan_args *x, float *states,
                    uint64_t state_floats, const struct ops_chain *c);
/* Positions 0 .. n - 1 of one sequence, without states. */
void reference_pool(const struct op_pool *p, float *dst, uint32_t ldd, const struct ops_pool_args *x, uint32_t n);
void reference_sinkhorn(const struct op_sinkhorn *p, float *x, uint32_t ldx, const float *scale, const float *base,
                        uint32_t n);
void reference_mix(const struct op_mix *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                   const float *weight, uint32_t ldw, uint32_t n);
/* reference_attention() where p->pooled. */
void reference_attention_pooled(const struct op_attention *p, float *dst, uint32_t ldd, const float *q, uint32_t ldq,
                                const void *k_cache, uint32_t kv_form, const float *sinks, const struct ops_rows *r);
void reference_delta(const struct op_delta *p, float *dst, uint32_t ldd, const struct ops_delta_args *x, float *states,
                     uint64_t state_floats, const struct ops_chain *c);

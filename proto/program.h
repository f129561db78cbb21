/* The program: a model's decoder as the coordinator describes it, and nothing of how a run cuts, places or reads it.
 *
 *   files      where bytes come from
 *   matrices   weights that stream (or are gathered, or requested)       vectors   small tensors that stay, as float32
 *   ops        the decoder as a list of operations, in order             buffers   activations, floats for each position
 *   experts    routed experts    ropes    rotary angles    caches    columns of the KV cache    states    recurrent ones
 *
 * Operations name no family; a family is a way of writing this list (coordinator/arch/families). Who executes it looks
 * nothing up by name: operations refer to records by their index. */
#pragma once
#include <assert.h>
#include <stdint.h>
#include "proto/form.h"

#define PLAN_NONE  UINT32_MAX
#define PLAN_NOBUF UINT16_MAX

struct plan_file {
    uint64_t name; /* offset of its path, NUL-terminated, in the strings */
    uint64_t bytes, mtime_ns, ctime_ns, inode, device;
    /* What was planned from: its first header_bytes and their checksum (proto/base/checksum.h); 0: not known. */
    uint64_t header_bytes, header_sum;
};

/* A weight matrix [rows][cols], row-major, whole blocks of form in a row; y = x W^T has rows columns. Of a form with a grid
 * of scales: one scale, stored as scale_form, for each block_rows x block_cols elements; 0 and PLAN_NONE otherwise. Where
 * zero_rows is not 0, each scale has a zero point beside it, which is taken from the stored number before the product: one row
 * of zero points, packed like the form (form.h), for zero_rows rows. Rows of a form of FORM_TURNED are those that are stored:
 * each stands for form_deep() inputs, and one row of zero points lies beside each row of scales. Of a packed one, form and row_bytes are those of its rows once they are unpacked. */
struct plan_matrix {
    uint64_t rows, cols, row_bytes;
    uint64_t file_off;
    uint64_t scale_off;        /* first scale, in the file scale_file */
    uint64_t scale_row_bytes;  /* bytes of one row of scales */
    uint32_t file, scale_file; /* scale_file PLAN_NONE: no scales */
    uint32_t block_rows, block_cols;
    uint16_t form, scale_form; /* enum form */
    uint32_t unit_rows;        /* packed (proto/unit/unit.h): rows of each unit but perhaps the last; 0: it is not */
    uint64_t name;
    uint64_t unit0; /* packed: its first offset in the units; file_off is that offset */
    uint64_t zero_off, zero_row_bytes;
    uint32_t zero_file, zero_rows;
    uint32_t flags;     /* MATRIX_* */
    uint32_t vector[2]; /* vectors that stay, as the flags say */
    float offset;       /* MATRIX_NESTED */
};

/* One number for all of the matrix, vector[0], by which its scales are multiplied, or (DIVIDED) which they are divided by. */
#define MATRIX_WHOLE   1u
#define MATRIX_DIVIDED 2u
/* Scales are bytes: number i of them, counted over all rows, is map[byte] * scale[i / 256] + offset; map, of 256, is
 * vector[0], scale vector[1]. */
#define MATRIX_NESTED  4u
#define MATRIX_NESTING 256u
/* Of forms of FORM_TURNED. Zero points are stored less one. GROUPED: the row of scales and zero points of input i is
 * element i of vector[0], whole numbers of 32 bits that stay as they are stored; any rows may need all of them. */
#define MATRIX_ZEROS_LESS 8u
#define MATRIX_GROUPED    16u
#define MATRIX_GROUPS     2048u /* most of them */

/* Inputs of a product with a matrix stored [inputs][outputs], and the elements of any matrix. */
static inline uint64_t plan_matrix_inputs(const struct plan_matrix *m)
{
    return m->rows * form_deep(m->form);
}
static inline uint64_t plan_matrix_elements(const struct plan_matrix *m)
{
    return plan_matrix_inputs(m) * m->cols;
}

/* Rows of scales, or of zero points, that rows [row, row + n) of a matrix need. */
struct plan_grid_rows {
    uint64_t first, count;
};
static inline struct plan_grid_rows plan_grid_rows(uint64_t row, uint64_t n, uint32_t each)
{
    struct plan_grid_rows g = {row / each, (row + n + each - 1) / each - row / each};

    return g;
}
static inline struct plan_grid_rows plan_scale_rows(const struct plan_matrix *m, uint64_t row, uint64_t n)
{
    return m->flags & MATRIX_GROUPED ? plan_grid_rows(0, m->rows, m->block_rows)
                                     : plan_grid_rows(row, n, m->block_rows);
}
static inline struct plan_grid_rows plan_zero_rows(const struct plan_matrix *m, uint64_t row, uint64_t n)
{
    return m->flags & MATRIX_GROUPED ? plan_grid_rows(0, m->rows, m->zero_rows) : plan_grid_rows(row, n, m->zero_rows);
}

/* Units of a packed matrix. */
static inline uint64_t plan_matrix_units(const struct plan_matrix *m)
{
    return m->unit_rows ? (m->rows + m->unit_rows - 1) / m->unit_rows : 0;
}

#define PLAN_STREAMED UINT64_MAX
/* A small tensor kept by compute as float32, elements from at in its resident area. file PLAN_NONE: constants table. */
struct plan_vector {
    uint64_t elements, at; /* at: float index in the resident area, or PLAN_STREAMED: an expert's bias, not kept */
    uint64_t file_off;     /* or the float index in the constants */
    uint32_t file;
    uint16_t form, pad; /* one of those that form_can_be_vector() */
    uint64_t name;
};

/* ---- operations ------------------------------------------------------------------------------------------------ */

/* Columns [col, ...) of an activation buffer [positions][width]. */
struct plan_view {
    uint16_t buf, pad;
    uint32_t col;
};

enum plan_op_kind {
    OP_EMBED,     /* dst = scale * row of the embedding, one for each position; and a row of a second table beside it */
    OP_NORM,      /* dst = norm(src) * (weight_add + weight) + bias, for each of groups groups of width columns */
    OP_MATMUL,    /* dst = src W^T + bias */
    OP_HEADMM,    /* for each head h: dst_h = src_h W_h^T, or src_h W_h when transposed */
    OP_ROPE,      /* rotates heads in place */
    OP_COPY,      /* blocks of columns from one view to another */
    OP_ADD,       /* dst = ca * a + cb * b */
    OP_ACT,       /* dst = act(gate) * up, or act(gate) */
    OP_SCALE,     /* x = cap * tanh(mul * x / cap), or mul * x, or that clamped, or x times a vector */
    OP_ATTENTION, /* appends k and v to the cache, then dst = softmax(scale q k^T) v over the position's ancestors */
    OP_CONV,      /* short causal convolution over the sequence, one kernel a channel */
    OP_DELTA,     /* gated delta rule, recurrent state [heads][dk][dv] */
    OP_ROUTER,    /* chooses experts from logits, and asks for their tiles */
    OP_EXPERTS,   /* dst = sum over the chosen experts of weight * expert(src) */
    OP_SELECT,    /* from here on only positions that want logits: dst rows = chosen rows of src */
    OP_LOGITS,    /* hands src [selected][vocabulary] to the coordinator */
    OP_SCAN,      /* selective state space, recurrent state [heads][states][width] */
    OP_POSITION,  /* x += row of the position in a learned table */
    OP_XIELU,     /* dst = xielu(src) */
    OP_INDEX,     /* appends k to a cache, and lists those of a position's ancestors that attention looks at */
    OP_SEND,      /* columns go to another machine: proto/link.h */
    OP_RECEIVE,   /* columns come from another machine */
    OP_POOL,      /* a window's positions become one row, each column by a softmax of its own */
    OP_SINKHORN,  /* weights by which streams of the residual are joined, fed and mixed, in place */
    OP_MIX,       /* dst_j = sum over i of weight_ij src_i */
    OP_KINDS
};

/* L2: x / sqrt(sum x^2 + eps). LEAST: x / sqrt(max(mean x^2, eps)). SIZE: of each group its sqrt(mean x^2) alone, in one column.
 * CUT: max(0, x - mean - deviations * standard deviation). The last two without weights and biases, eps 0. */
enum plan_norm { NORM_RMS, NORM_LAYER, NORM_L2, NORM_LEAST, NORM_SIZE, NORM_CUT };
enum plan_act {
    ACT_NONE,
    ACT_SILU,
    ACT_GELU_TANH,
    ACT_GELU_ERF,
    ACT_RELU,
    ACT_SIGMOID,
    ACT_SOFTPLUS,
    ACT_RELU2,
    ACT_SWIGLU_OAI
}; /* (min(gate, limit) * sigmoid(alpha gate)) * (clamp(up, +-limit) + 1) */

#define EMBED_BESIDE 1u /* of the first operation only; a token that the second table has no row of takes its row 0 */
struct op_embed {
    struct plan_view dst;
    uint32_t matrix, width;
    float scale;
    uint32_t flags;
    struct plan_view beside_dst;
    uint32_t beside, beside_width; /* the second table, and its columns */
    float beside_scale;
};
struct op_norm {
    struct plan_view src, dst;
    uint32_t groups, width, src_stride, dst_stride; /* strides between groups, in columns */
    uint32_t kind, weight, bias;                    /* vectors or PLAN_NONE */
    uint32_t weight_stride;                         /* between groups: 0 where they share it */
    float eps, weight_add;
    float deviations; /* NORM_CUT */
};
#define MATMUL_ROW_NORM   1u /* rows of W are scaled to length 1 (Baichuan 2's head) */
#define MATMUL_TRANSPOSED 2u /* W is stored [in][out]: dst = src W + bias has its columns; no other flag beside it */
struct op_matmul {
    struct plan_view src, dst;
    uint32_t matrix, bias, flags;
};
/* head h owns rows [h * row_stride + row_off, + rows) of the matrix. Plain: src_h has cols columns, dst_h rows.
 * Transposed: src_h has rows columns, dst_h cols. src_stride, dst_stride: columns between heads. */
struct op_headmm {
    struct plan_view src, dst;
    uint32_t matrix, heads, rows, row_stride, row_off, src_stride, dst_stride, transposed;
};
enum plan_rope_style { ROPE_HALVES, ROPE_PAIRS }; /* (x[i], x[i + dim/2]) as GPT-NeoX, or (x[2i], x[2i + 1]) as GPT-J */
struct op_rope {
    struct plan_view x;
    uint32_t heads, head_stride, dim, style, rope; /* dim columns of each head, from x.col on; rope: table */
};
struct op_copy {
    struct plan_view src, dst;
    uint32_t blocks, width, src_stride, dst_stride;
};
struct op_add {
    struct plan_view dst, a, b;
    uint32_t width;
    float ca, cb;
};
#define ACT_INTERLEAVED  1u /* gate and up alternate: gate view is [g0, u0, g1, u1, ...] */
#define ACT_BROADCAST    2u /* one gate column for all of up's, or for each so many of them (each) */
#define ACT_CLAMP_AFTER  4u /* act(gate) is at most limit, up no less than -limit and no more than limit (Step) */
#define ACT_CLAMP_BEFORE 8u /* the same, but gate itself is at most limit (DeepSeek-V4) */
struct op_act {
    struct plan_view dst, gate, up; /* up.buf PLAN_NOBUF: none */
    uint32_t width, kind, flags;
    float alpha, limit;
    uint32_t each; /* ACT_BROADCAST: columns of up for a gate, a divisor of width; 0: all of them */
};
#define SCALE_BY_POSITION 1u /* Llama 4: mul becomes 1 + mul * log(1 + floor((position + 1) / floor)); cap 0 */
#define SCALE_FROM_ZERO   2u /* with it: position in place of position + 1 (Ministral 3) */
#define SCALE_CLAMP       4u /* x = mul * x, no less than -cap and no more than cap */
#define SCALE_BY_VECTOR   8u /* x * vector, which has one element for all columns or one for each; mul 1, cap 0 */
struct op_scale {
    struct plan_view x;
    uint32_t width, flags;
    float mul, cap, floor;
    uint32_t vector; /* SCALE_BY_VECTOR */
};
#define ATTN_V_IN_K 1u /* v is the first dv columns of k; nothing else is cached (latent attention) */
#define ATTN_REUSES                                                                                                    \
    2u /* k and v are none: what an operation before it has appended to the same cache is attended over */
struct op_attention {
    struct plan_view q, k, v, dst; /* q [heads][dk], k [kv_heads][dk], v [kv_heads][dv], dst [heads][dv] */
    uint32_t heads, kv_heads, dk, dv;
    uint32_t window;       /* positions seen, the own one included; 0: all */
    uint32_t chunk;        /* only positions of the same chunk of this length; 0: all */
    uint32_t sinks, alibi; /* vectors [heads] or PLAN_NONE */
    uint32_t cache, flags; /* index of its KV cache */
    float scale, cap;      /* cap: logits are cap * tanh(x / cap); 0: none */
    /* chosen_top not 0: of the ancestors only those that the last OP_INDEX has listed in this view, and no window, chunk or
     * alibi. Its sizes are that operation's; kv_heads is a multiple of its groups, which stand for as many heads each. */
    struct plan_view chosen;
    uint32_t chosen_groups, chosen_top, chosen_block;
    /* pooled not 0: k, of one head, has two times dk columns. The first dk are those of the position, for the window; the
     * others count at positions that end one of the sequence's blocks of pooled positions, and stand for that block: all of
     * those are attended over, or with chosen_top (chosen_block is pooled then) those listed, and then the window's. */
    uint32_t pooled;
};
/* Scores of the ancestors j of a position, for each of groups groups of heads / groups heads, summed in order:
 *     s_j = sum over its heads h of w_h f(scale q_h . k_j)        f(x) = x, or max(x, 0) with INDEX_RELU; w_h = 1 without w
 * Ancestors go in blocks of block positions of the sequence; a block scores what its best position does. The last local blocks, the position's
 * own one included, come first whatever they score, then the best ones, of those that score the same the lowest; top in
 * all. dst, of each group: how many there are, then the numbers of the blocks, ascending, as whole numbers of 32 bits.
 * All lists of a program lie in one buffer that nothing else writes to. Sources: DeepSeek-V3.2 (lightning indexer), MiniMax-M3. */
#define INDEX_RELU   1u
#define INDEX_POOLED 2u /* a block counts once it is whole, and its score is that of its last position; local 0 */
struct op_index {
    struct plan_view q, k, w, dst; /* q [heads][dim], k [dim], w [heads] or PLAN_NOBUF, dst [groups][1 + top] */
    uint32_t heads, groups, dim;
    uint32_t block, top, local;
    uint32_t cache, flags; /* a cache of dim columns, and no values */
    float scale;
};
struct op_conv {
    struct plan_view src, dst;
    uint32_t width, taps, weight, bias, state, act; /* weight [width][taps], oldest first */
};
/* For each position and value head h (key head h / (heads / key_heads)), with q, k normalized to length 1 (eps 1e-6):
 * g = exp(-exp(a_log) * softplus(a + dt_bias)), with DELTA_RATES exp(a_log * softplus(a + dt_bias)), S = g S + k (beta (v - (g S)^T k))^T, dst = S^T q * scale. beta as given. */
#define DELTA_RATES 1u /* a_log holds -exp(a_log) */
#define DELTA_CHANNELS                                                                                                 \
    2u /* a and dt_bias are [heads][dk], and so is g: a decay for each row of S (Kimi Linear, arXiv 2510.26692) */
#define DELTA_BOUNDED 4u /* g = exp(bound * sigmoid(exp(a_log) * (a + dt_bias))) */
struct op_delta {
    struct plan_view q, k, v, a, b,
        dst; /* q, k [key_heads][dk]; v, dst [heads][dv]; a, b [heads]; b before the sigmoid */
    uint32_t heads, key_heads, dk, dv, a_log, dt_bias, state, flags;
    float scale, bound; /* bound: at most 0 */
};
/* TOPK_SOFTMAX: softmax over the chosen ones only. MIXER: one after the other, each weighed by the softmax over those that are
 * left and as good but for a little, (best - x) / max(|x|, best) <= eps (SparseMixer: Liu et al. 2024, arXiv 2409.12136). */
enum plan_score { SCORE_SOFTMAX, SCORE_SIGMOID, SCORE_TOPK_SOFTMAX, SCORE_MIXER, SCORE_SQRT_SOFTPLUS };
/* For each position and head h, of group g = h / (heads / groups), with d = softplus(dt + dt_bias) between dt_least and
 * dt_most: S = exp(-exp(a_log) d) S + d (b_g x_h^T), dst = S^T c_g + skip x. One d, a_log and skip for each head (Mamba-2:
 * Dao and Gu 2024, arXiv 2405.21060), or with SCAN_CHANNELS a d and skip for each column and an a_log for each of its
 * states (Mamba: Gu and Dao 2023, arXiv 2312.00752). SCAN_RATES: a_log holds -exp(a_log). */
#define SCAN_CHANNELS 1u
#define SCAN_RATES    2u
struct op_scan {
    struct plan_view x, dt, b, c,
        dst; /* x, dst [heads][width]; dt [heads], channels [heads][width]; b, c [groups][states] */
    uint32_t heads, width, groups, states;
    uint32_t a_log, dt_bias, skip; /* [heads]; channels: [heads][width][states], the others [heads][width]; skip may be
                                      PLAN_NONE */
    uint32_t state, flags;
    float dt_least, dt_most;
};
#define ROUTER_NORMALIZE  1u  /* chosen weights are divided by their sum (+ eps) */
#define ROUTER_GROUP_TOP2 2u  /* a group's score is the sum of its best two (else the best one) */
#define ROUTER_LEAST_SUM  4u  /* eps is not added to their sum: it is the least that the sum counts as */
#define ROUTER_SCALE_EACH 8u  /* each weight is multiplied by its expert's own factor, after all else */
#define ROUTER_BY_TOKEN   16u /* which are chosen stands in a table [vocabulary][top]; their weights are as ever */
struct op_router {
    struct plan_view src;                            /* logits [experts] */
    uint32_t experts, top, groups, top_groups, bias; /* bias: added for the choice only; PLAN_NONE */
    uint32_t score, flags, table;                    /* expert table */
    uint32_t each;                                   /* vector [experts]; ROUTER_SCALE_EACH */
    float scale, eps;
    uint64_t fixed; /* ROUTER_BY_TOKEN: float index of the table in the constants, whole numbers below experts */
};
#define EXPERTS_SCALE_INPUT  1u /* the weight multiplies the input, not the output (Llama 4) */
#define EXPERTS_CLAMP_AFTER  2u /* ACT_CLAMP_AFTER */
#define EXPERTS_CLAMP_BEFORE 4u /* ACT_CLAMP_BEFORE */
struct op_experts {
    struct plan_view src, dst;
    uint32_t table, act, flags;
    float alpha, limit;
};
/* rows rows of width columns lie in vectors from table on, POSITION_ROWS in each but perhaps the last, one behind the other in
 * the resident area; position p's is row p + offset. */
#define POSITION_ROWS 64u
struct op_position {
    struct plan_view x;
    uint32_t table, rows, width, offset;
};
/* With p = softplus(alpha_p), n = beta + softplus(alpha_n): p x^2 + beta x for x > 0, n (expm1(min(x, eps)) - x) + beta x else.
 * Each of them a vector of one element (Huang, Schlag 2024, arXiv 2411.13010). */
struct op_xielu {
    struct plan_view src, dst;
    uint32_t width, alpha_p, alpha_n, beta, eps;
};
/* Hop `hop` of a sweep, from one machine to the next: one message, of total columns for each position, which hop operations that
 * follow each other fill or empty, each the columns [at, at + width) of it. Of the first one at is 0, of the last at + width
 * is total, and between them nothing is left out. peer: the other machine's rank. */
struct op_hop {
    struct plan_view x;
    uint32_t width, at, total, hop, peer;
};
/* The sequence is cut into windows of every positions. Where a window ends, dst = sum over its positions j of
 *     softmax_j(gate_j + bias[j])_c x_jc                  for each column c
 * and 0 at other positions. With parts 2, x and gate have twice as many columns: the second half belongs to the position's own
 * window, the first to the next one, whose softmax is over twice as many positions (but for the first window). state: maximum,
 * sum and weighted sum of each column, [parts == 2 ? 3 : 1][3][width]. Source: DeepSeek-V4 (compressors). */
struct op_pool {
    struct plan_view x, gate, dst; /* x, gate [parts][width], dst [width] */
    uint32_t width, parts, every;
    uint32_t bias, state; /* bias [every][parts][width] */
};
/* x holds products: of streams, then, where rounds is not 0, of streams again, and [streams][streams] (i, j). They become
 *     pre_i = sigmoid(scale[0] x + base) + eps     post_j = 2 sigmoid(scale[1] x + base)
 *     mix = softmax over j of (scale[2] x + base) + eps, then divided by (eps + its sums over i), and rounds - 1 times by
 *           those over j and then over i
 * Source: manifold-constrained hyper-connections (arXiv 2512.24880). */
#define SINKHORN_STREAMS 8u /* at most */
struct op_sinkhorn {
    struct plan_view x;
    uint32_t streams, rounds;
    uint32_t scale, base; /* vectors: [rounds ? 3 : 1], and as many as x has columns */
    float eps;
};
/* dst_j, of width columns, = (MIX_ADDS: dst_j +) sum over i of weight[i * in_stride + j * out_stride] src_i, i in order. */
#define MIX_ADDS 1u
struct op_mix {
    struct plan_view src, weight, dst; /* src [in][width], dst [out][width] */
    uint32_t in, out, width, in_stride, out_stride, flags;
};
struct op_select {
    struct plan_view src, dst;
    uint32_t width;
};
struct op_logits {
    struct plan_view src;
    uint32_t width;
};

struct plan_op {
    uint32_t kind, layer;
    union {
        struct op_embed embed;
        struct op_norm norm;
        struct op_matmul matmul;
        struct op_headmm headmm;
        struct op_rope rope;
        struct op_copy copy;
        struct op_add add;
        struct op_act act;
        struct op_scale scale;
        struct op_attention attention;
        struct op_conv conv;
        struct op_delta delta;
        struct op_router router;
        struct op_experts experts;
        struct op_select select;
        struct op_logits logits;
        struct op_scan scan;
        struct op_position position;
        struct op_xielu xielu;
        struct op_index index;
        struct op_hop hop;
        struct op_pool pool;
        struct op_sinkhorn sinkhorn;
        struct op_mix mix;
    };
};

#define EXPERTS_UNGATED 2u
/* The experts of one layer. Each has the matrices gate, up, down (or gate_up, down when fused), numbered from matrix0 on,
 * one expert's after the other's. transposed: stored [in][out], y = x W. */
struct plan_experts {
    uint32_t experts, hidden, inter;
    uint32_t matrix0;
    uint8_t fused, interleaved, transposed; /* fused: one matrix of 2 * inter: halves, or alternating if interleaved; or
                                               EXPERTS_UNGATED: up alone, the expert is down act(up) */
    uint8_t biased;                         /* each matrix has a bias, numbered as the matrices are, from bias0 */
    uint32_t max_used;                      /* experts chosen for a position */
    uint32_t bias0;                         /* vectors, at PLAN_STREAMED */
    uint32_t identity; /* further ones behind these, without matrices: they give their input back (LongCat) */
};

/* Rotary angles: position * inv_freq[i] (float32 product, as the reference does), cos and sin times scale. each above 1: the
 * position is rounded down to a multiple of it. */
struct plan_rope {
    uint64_t inv_freq; /* float index in the constants, dim / 2 of them */
    uint32_t dim;
    float scale;
    uint32_t each, pad;
};

/* Cached columns of one attention operation, for each position. v_width 0 with ATTN_V_IN_K. */
struct plan_cache {
    uint32_t k_width, v_width;
};

/* Recurrent state of one operation, floats for each sequence. */
struct plan_state {
    uint64_t floats;
};

/* Of the whole. */
struct plan_spec {
    uint32_t layers, hidden, vocab, context;
    uint32_t embed_matrix;
    uint32_t resident_tiles, demand_tiles;
    uint32_t share; /* 0: all of the model; 1: the operations of one machine of several, with hops between them */
    uint64_t sweep_tiles;
    uint64_t resident_floats;
    char architecture[64];
};

/* Columns of x of an OP_SINKHORN; floats of an OP_POOL's state. */
static inline uint64_t plan_sinkhorn_columns(const struct op_sinkhorn *o)
{
    return o->streams + (o->rounds ? o->streams * (UINT64_C(1) + o->streams) : 0);
}
static inline uint64_t plan_pool_sets(const struct op_pool *o)
{
    return o->parts == 2 ? 3 : 1;
}

#ifdef __cplusplus
extern "C" {
#endif

const char *plan_op_name(uint32_t kind);

/* The matrix that an operation multiplies with, where it is one for all positions; PLAN_NONE: there is none. */
static inline uint32_t plan_op_matrix(const struct plan_op *op)
{
    return op->kind == OP_MATMUL ? op->matmul.matrix : op->kind == OP_HEADMM ? op->headmm.matrix : PLAN_NONE;
}

/* The columns of the largest message of hops, received or sent; 0: there is none. */
uint32_t plan_hop_columns(const struct plan_op *op, uint64_t ops);

/* Matrices of one expert; of all of a table. The last of an expert's is down. */
static inline uint32_t plan_expert_matrices(const struct plan_experts *x)
{
    return x->fused ? 2 : 3;
}
static inline uint64_t plan_experts_matrices(const struct plan_experts *x)
{
    return (uint64_t)x->experts * plan_expert_matrices(x);
}
/* Columns that gate, or gate_up, gives: what the first of an expert's matrices has as outputs. */
static inline uint64_t plan_expert_up(const struct plan_experts *x)
{
    return (x->fused == 1 ? UINT64_C(2) : 1) * x->inter;
}

/* The buffers that an operation reads or writes; sources first, the destination last. Returns how many. */
#define PLAN_OP_VIEWS 6
uint32_t plan_op_views(const struct plan_op *op, struct plan_view out[PLAN_OP_VIEWS]);

#ifdef __cplusplus
}
#endif

static_assert(sizeof(struct plan_view) == 8, "plan_view");

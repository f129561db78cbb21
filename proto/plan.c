#include "proto/plan.h"

#include <errno.h>

uint64_t plan_row_bytes(uint32_t dtype, uint64_t cols)
{
    switch (dtype) {
    case PLAN_F32: return cols * 4;
    case PLAN_F16:
    case PLAN_BF16: return cols * 2;
    case PLAN_F8_E4M3: return cols;
    case PLAN_MXFP4: return (cols + 1) / 2;
    default: return 0;
    }
}

const char *plan_dtype_name(uint32_t dtype)
{
    static const char *const names[PLAN_DTYPES] = {"F32", "F16", "BF16", "F8_E4M3", "MXFP4"};

    return dtype < PLAN_DTYPES ? names[dtype] : "unknown";
}

const char *plan_op_name(uint32_t kind)
{
    static const char *const names[OP_KINDS] = {
        "embed",     "norm", "matmul", "headmm", "rope",    "copy",   "add",    "act",
        "scale", "attention", "conv",   "delta",  "router", "experts", "select", "logits",
    };

    return kind < OP_KINDS ? names[kind] : "unknown";
}

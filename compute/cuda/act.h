/* Activations, as struct op_act and PyTorch have them; the same on the device and on the host. */
#pragma once
#include <math.h>
#include <stdbool.h>
#include "compute/cuda/element.h"
#include "proto/program.h"

ELEMENT_FN float act_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

ELEMENT_FN float act_softplus(float x)
{
    return x > 20.0f ? x : log1pf(expf(x)); /* threshold of torch.nn.functional.softplus() */
}

ELEMENT_FN float act_one(uint32_t kind, float x)
{
    switch (kind) {
    case ACT_SILU: return x * act_sigmoid(x);
    case ACT_GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    case ACT_GELU_ERF: return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
    case ACT_RELU: return x <= 0.0f ? 0.0f : x; /* keeps what is not a number */
    case ACT_SIGMOID: return act_sigmoid(x);
    case ACT_SOFTPLUS: return act_softplus(x);
    case ACT_RELU2: return x <= 0.0f ? 0.0f : x * x;
    default: return x;
    }
}

/* act(gate) * up, or act(gate) where there is no up. */
ELEMENT_FN float act_pair(uint32_t kind, float gate, float up, bool has_up, float alpha, float limit, uint32_t flags)
{
    if (flags & ACT_CLAMP_BEFORE && kind != ACT_SWIGLU_OAI) {
        gate = act_one(kind, gate > limit ? limit : gate);
        up = up > limit ? limit : up < -limit ? -limit : up;
        return has_up ? gate * up : gate;
    }
    if (flags & ACT_CLAMP_AFTER && kind != ACT_SWIGLU_OAI) {
        gate = act_one(kind, gate);
        gate = gate > limit ? limit : gate;
        up = up > limit ? limit : up < -limit ? -limit : up;
        return has_up ? gate * up : gate;
    }
    if (kind == ACT_SWIGLU_OAI) {
        gate = gate > limit ? limit : gate;
        up = up > limit ? limit : up < -limit ? -limit : up;
        return gate * act_sigmoid(alpha * gate) * (up + 1.0f);
    }
    return has_up ? act_one(kind, gate) * up : act_one(kind, gate);
}

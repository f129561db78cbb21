#include "coordinator/arch/families/layer_inputs.h"

#include <math.h>

#define ROWS_LIMIT (1u << 24)

void layer_inputs_table(struct build *b, struct stack *s, uint32_t width)
{
    s->beside = "embed_tokens_per_layer";
    s->beside_rows = config_size(b->c, "vocab_size_per_layer_input", 1, ROWS_LIMIT, b->e);
    s->beside_width = build_ok(b) ? b->layers * width : 0;
    s->beside_scale = sqrtf((float)width);
}

void layer_inputs_make(struct build *b, uint32_t width)
{
    uint64_t all = (uint64_t)b->layers * width;
    struct plan_view own = build_view(b, BUF_BESIDE, all, 0), seen = build_view(b, BUF_T1, all, 0);
    float half = (float)sqrt(0.5);

    build_linear(b, seen, build_x(b), "per_layer_model_projection", all, b->hidden, false);
    build_scale(b, seen, all, 1.0f / sqrtf((float)b->hidden), 0);
    build_head_norm(b, seen, seen, b->layers, width, "per_layer_projection_norm");
    build_add(b, own, own, seen, all, half, half);
}

void layer_inputs_gate(struct build *b, uint32_t width, uint32_t i, uint32_t act, struct plan_view dst,
                       struct plan_view src)
{
    struct plan_view gate = build_view(b, BUF_GATE, width, 0),
                     own = build_view(b, BUF_BESIDE, (uint64_t)b->layers * width, (uint64_t)i * width);

    build_linear(b, gate, src, "per_layer_input_gate", width, b->hidden, false);
    build_act(b, gate, gate, own, width, act, 0);
    build_linear(b, dst, gate, "per_layer_projection", b->hidden, width, false);
    build_norm(b, dst, dst, "post_per_layer_input_norm");
}

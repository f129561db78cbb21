#include "coordinator/arch/families/gemma_attend.h"

#include <stdio.h>

/* Published folders have projections for layers that reuse an earlier layer's keys: known, and of no use. */
static void leave_out(struct build *b, const struct attention *a)
{
    const char *const names[] = {a->k, a->v, a->k_norm, "self_attn.v_norm"};
    char full[BUILD_NAME_BYTES];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(full, sizeof full, "%s.weight", names[i]);
        build_leave_out(b, full);
        snprintf(full, sizeof full, "%s.bias", names[i]);
        build_leave_out(b, full);
    }
}

void gemma_attend(struct build *b, const struct gemma_attend *x, struct plan_view dst, struct plan_view src)
{
    const struct attention *a = x->attention;
    uint64_t hd = b->head_dim, qs = b->heads * hd, kvs = b->kv_heads * hd;
    struct plan_view q = build_view(b, BUF_Q, qs, 0), k, v, out = build_view(b, BUF_A, qs, 0);

    build_linear(b, q, src, a->q, qs, b->hidden, a->q_bias);
    build_head_norm(b, q, q, b->heads, hd, a->q_norm);
    build_rope(b, q, b->heads, hd, a->rope, a->rope_style);
    if (x->reuses) {
        leave_out(b, a);
        stack_attend_again(b, a, b->heads, b->kv_heads, b->head_dim, out, q, *x->cache);
    } else {
        k = build_view(b, BUF_K, kvs, 0);
        v = build_view(b, BUF_V, kvs, 0);
        build_linear(b, k, src, a->k, kvs, b->hidden, a->k_bias);
        if (!x->k_is_v) build_linear(b, v, src, a->v, kvs, b->hidden, a->v_bias);
        build_head_norm(b, v, x->k_is_v ? k : v, b->kv_heads, hd, NULL);
        build_head_norm(b, k, k, b->kv_heads, hd, a->k_norm);
        build_rope(b, k, b->kv_heads, hd, a->rope, a->rope_style);
        stack_attend(b, a, b->heads, b->kv_heads, b->head_dim, b->head_dim, out, q, k, v, 0);
        *x->cache = (uint32_t)b->p->caches.count - 1;
    }
    build_linear(b, dst, out, a->o, b->hidden, qs, a->o_bias);
}

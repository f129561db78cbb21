#include "coordinator/arch/families/deepseek_index.h"

#include <math.h>
#include <string.h>

#define KEY_EPS 1e-6f /* of the keys' norm, whatever rms_norm_eps says */

/* One letter a layer, or a list of words, or a rule: every freq-th layer from offset - 1 on, and those before it. */
static bool is_shared(struct build *b, uint32_t i)
{
    const json_t *types = config_field(b->c, "indexer_types", false),
                 *pattern = config_field(b->c, "index_topk_pattern", false);
    uint32_t freq = config_size_or(b->c, "index_topk_freq", 0, CONFIG_SIZE_MAX, 1, b->e);
    uint32_t offset = config_size_or(b->c, "index_skip_topk_offset", 0, CONFIG_SIZE_MAX, 2, b->e);
    const char *key = types ? "indexer_types" : "index_topk_pattern", *word;

    if (!types && json_is_string(pattern)) {
        const char *letters = json_string_value(pattern);

        if (strlen(letters) <= i || !strchr("FS", letters[i]))
            config_fault(b->c, b->e, key, "\"%.80s\" does not say F or S of layer %u", letters, i);
        return build_ok(b) && letters[i] == 'S';
    }
    if (!types && !pattern) return i + 1 > offset && freq > 1 && (i + 1 - offset) % freq;
    word = config_list_string(b->c, key, i, b->e);
    if (!word || (strcmp(word, "full") && strcmp(word, "shared")))
        config_fault(b->c, b->e, key, "layer %u is neither full nor shared", i);
    return build_ok(b) && !strcmp(word, "shared");
}

static void norm_key(struct build *b, struct plan_view k, uint32_t dim)
{
    struct op_norm o = {.src = k,
                        .dst = k,
                        .groups = 1,
                        .width = dim,
                        .src_stride = dim,
                        .dst_stride = dim,
                        .kind = NORM_LAYER,
                        .eps = KEY_EPS};

    o.weight = build_vector(b, "self_attn.indexer.k_norm.weight", dim);
    o.bias = build_vector(b, "self_attn.indexer.k_norm.bias", dim);
    build_norm_op(b, &o);
}

static void choose(struct build *b, const struct latent *l, struct attention *a, struct plan_view query,
                   struct plan_view src)
{
    const struct deepseek_index *x = l->own;
    uint64_t width = (uint64_t)x->heads * x->dim;
    struct op_index o = {.heads = x->heads, .groups = 1, .dim = x->dim, .block = 1, .top = x->top, .flags = INDEX_RELU};

    if (!build_ok(b)) return;
    o.dst = a->chosen = build_view(b, BUF_CHOSEN, UINT64_C(1) + x->top, 0);
    a->chosen_groups = a->chosen_block = 1;
    a->chosen_top = x->top;
    if (x->can_share && is_shared(b, b->layer)) return;
    o.q = build_view(b, BUF_GATE, width, 0);
    o.k = build_view(b, BUF_UP, (uint64_t)x->dim + x->heads, 0);
    o.w = view_at(o.k, x->dim);
    o.scale = (float)(1 / sqrt((double)x->dim * x->heads)); /* of the products and of the heads' weights */
    build_linear(b, o.q, query, "self_attn.indexer.wq_b", width, l->q_rank, false);
    build_linear(b, o.k, src, "self_attn.indexer.wk", x->dim, b->hidden, false);
    norm_key(b, o.k, x->dim);
    build_linear(b, o.w, src, "self_attn.indexer.weights_proj", x->heads, b->hidden, false);
    build_rope(b, o.q, x->heads, x->dim, &l->rope, x->style);
    build_rope(b, o.k, 1, x->dim, &l->rope, x->style);
    o.cache = program_cache(b->p, x->dim, 0);
    if (build_ok(b)) program_op(b->p, OP_INDEX, b->layer)->index = o;
}

void deepseek_index_use(struct build *b, struct deepseek_index *x, struct latent *l)
{
    x->heads = config_size(b->c, "index_n_heads", 1, 65536, b->e);
    x->dim = config_size(b->c, "index_head_dim", 1, 65536, b->e);
    x->top = config_size(b->c, "index_topk", 1, 1u << 20, b->e);
    l->choose = choose;
    l->own = x;
    if (build_ok(b) && !l->q_rank)
        config_fault(b->c, b->e, "q_lora_rank", "none: the index makes its queries of that latent vector");
    if (build_ok(b) && x->dim < l->rotated)
        config_fault(b->c, b->e, "index_head_dim", "%u columns, of which the %u of qk_rope_head_dim cannot rotate",
                     x->dim, l->rotated);
    if (build_ok(b) && x->can_share && is_shared(b, 0))
        config_fault(b->c, b->e, "indexer_types", "layer 0 is to use the choice of a layer before it: there is none");
}

#include "compute/experts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compute/router.h"

struct experts {
    struct footprint_experts footprint;
    uint8_t *host, *device;  /* the blocks that all tables lie in */
    uint32_t *id;            /* [n][top] of the last router, n being max_positions */
    float *weight;           /* [n][top] */
    float *logits, *scratch; /* host */
    uint32_t *end;           /* [experts + 1] in scratch: behind each expert's members, once the router is done */
    uint32_t *members;       /* [n][top] positions of each expert, one expert after the other, host */
    float *member_weight;
    uint8_t *chosen;  /* [experts] */
    float *bias_host; /* [experts], of the router */
    /* device */
    uint32_t *d_members;
    float *d_weight, *d_in, *d_up, *d_act, *d_out, *d_bias;
    uint32_t table, chosen_top;    /* of the last router */
    uint32_t ask_expert, ask_tile; /* the next tile to ask for, of the last router's: see experts_pump() */
};

static uint64_t up_width(const struct experts *x)
{
    return 2ull * x->footprint.inter;
}

static void cut_host(struct experts *x)
{
    const struct footprint_experts *f = &x->footprint;

    x->id = (uint32_t *)(void *)(x->host + f->id);
    x->weight = (float *)(void *)(x->host + f->weight);
    x->logits = (float *)(void *)(x->host + f->logits);
    x->scratch = (float *)(void *)(x->host + f->scratch);
    x->end = (uint32_t *)(void *)(x->host + f->scratch);
    x->members = (uint32_t *)(void *)(x->host + f->members);
    x->member_weight = (float *)(void *)(x->host + f->member_weight);
    x->chosen = x->host + f->chosen;
    x->bias_host = (float *)(void *)(x->host + f->bias);
}

static void cut_device(struct experts *x)
{
    const struct footprint_experts *f = &x->footprint;

    x->d_members = (uint32_t *)(void *)(x->device + f->d_members);
    x->d_weight = (float *)(void *)(x->device + f->d_weight);
    x->d_in = (float *)(void *)(x->device + f->d_in);
    x->d_up = (float *)(void *)(x->device + f->d_up);
    x->d_act = (float *)(void *)(x->device + f->d_act);
    x->d_out = (float *)(void *)(x->device + f->d_out);
    x->d_bias = (float *)(void *)(x->device + f->d_bias);
}

int experts_open(struct experts **out, struct decoder *d, struct error *e)
{
    struct experts *x;

    *out = NULL;
    if (!d->plan->experts.count) return 0;
    x = calloc(1, sizeof *x);
    if (!x) return error_set(e, ENOMEM, "no memory for experts");
    *out = x;
    footprint_experts(&x->footprint, d->plan, &d->plan->run);
    x->ask_expert = UINT32_MAX;
    x->host = calloc(1, x->footprint.host_bytes);
    if (!x->host) return error_set(e, ENOMEM, "no memory for experts");
    cut_host(x);
    x->device = ops_alloc(d->ops, x->footprint.device_bytes, e);
    if (!x->device) return error_prefix(e, "experts of %u positions", d->plan->run.max_positions);
    cut_device(x);
    return 0;
}

void experts_close(struct experts *x, struct decoder *d)
{
    if (!x) return;
    ops_free(d->ops, x->device, x->footprint.device_bytes);
    free(x->host);
    free(x);
}

int experts_pump(struct decoder *d)
{
    struct experts *x = d->experts;
    const struct plan_expert_tiles *t;
    uint32_t experts;

    if (!x || x->ask_expert == UINT32_MAX) return 0;
    t = &plan_expert_tiles(d->plan)[x->table];
    experts = plan_experts(d->plan)[x->table].experts;
    for (; x->ask_expert < experts; x->ask_expert++, x->ask_tile = 0) {
        if (!x->chosen[x->ask_expert]) continue;
        for (; x->ask_tile < t->each; x->ask_tile++) {
            uint32_t tile = t->tile0 + x->ask_expert * t->each + x->ask_tile;

            if (request_push(d->stage->run, tile)) return 0; /* full: the reader rings when it took some */
        }
    }
    x->ask_expert = UINT32_MAX;
    return 0;
}

int experts_route(struct decoder *d, const struct op_router *p, struct error *e)
{
    struct experts *x = d->experts;
    uint32_t ld = decoder_ld(d, p->src);
    const float *bias = decoder_vector(d, p->bias);
    int rc;

    if (ld == p->experts) {
        ops_download(d->ops, x->logits, decoder_at(d, p->src), (uint64_t)d->rows * ld * 4);
    } else {
        for (uint32_t i = 0; i < d->rows; i++)
            ops_download(d->ops, x->logits + (uint64_t)i * p->experts, decoder_at(d, p->src) + (uint64_t)i * ld,
                         p->experts * 4ull);
    }
    if (bias) ops_download(d->ops, x->bias_host, bias, p->experts * 4ull);
    if ((rc = ops_sync(d->ops, e))) return rc;
    for (uint32_t i = 0; p->flags & ROUTER_BY_TOKEN && i < d->rows; i++) {
        const float *given = plan_constants(d->plan) + p->fixed + (uint64_t)d->positions.token[i] * p->top;

        for (uint32_t k = 0; k < p->top; k++) x->id[(uint64_t)i * p->top + k] = (uint32_t)given[k];
    }
    router_choose(p, x->logits, p->experts, bias ? x->bias_host : NULL, d->rows, x->id, x->weight, x->scratch);
    if (p->flags & ROUTER_SCALE_EACH) { /* the bias is not needed any more: its place takes the factors */
        ops_download(d->ops, x->bias_host, decoder_vector(d, p->each), p->experts * 4ull);
        for (uint64_t i = 0; i < (uint64_t)d->rows * p->top; i++) x->weight[i] *= x->bias_host[x->id[i]];
    }
    x->table = p->table;
    memset(x->chosen, 0, x->footprint.experts);
    for (uint64_t i = 0; i < (uint64_t)d->rows * p->top; i++) x->chosen[x->id[i]] = 1;
    x->ask_expert = x->ask_tile = 0;
    x->chosen_top = p->top;
    return experts_pump(d);
}

/* Which positions chose each of the first `experts`, in order, and with what weight. Goes to the device in one piece, before
 * the first of them is computed: an upload for each would queue behind the tiles that are on their way. */
static void list_members(struct decoder *d, uint32_t experts)
{
    struct experts *x = d->experts;
    const uint64_t n = (uint64_t)d->rows * x->chosen_top;
    uint32_t all = 0;

    memset(x->end, 0, (experts + UINT64_C(1)) * sizeof *x->end);
    for (uint64_t i = 0; i < n; i++)
        if (x->id[i] < experts) x->end[x->id[i] + 1]++;
    for (uint32_t k = 0; k < experts; k++) x->end[k + 1] += x->end[k]; /* begins; becomes ends as they are filled */
    all = x->end[experts];
    for (uint64_t i = 0; i < n; i++) {
        uint32_t at;

        if (x->id[i] >= experts) continue;
        at = x->end[x->id[i]]++;
        x->members[at] = (uint32_t)(i / x->chosen_top);
        x->member_weight[at] = x->weight[i];
    }
    ops_upload(d->ops, x->d_members, x->members, all * 4ull);
    ops_upload(d->ops, x->d_weight, x->member_weight, all * 4ull);
}

/* Product with the rows of one part; bias (float32, whole) where the expert has one. */
static void multiply(struct decoder *d, const struct plan_experts *t, const struct weight_part *w, float *y,
                     uint32_t ldy, const float *in, uint32_t ldx, const float *bias, uint32_t m)
{
    uint64_t row0 = w->weight.row0;

    if (t->transposed)
        ops_matmul_t(d->ops, y, ldy, in + row0 * form_deep(w->weight.matrix->form), ldx, &w->weight, row0 ? NULL : bias,
                     row0 == 0, m);
    else
        ops_matmul(d->ops, y + row0, ldy, in, ldx, &w->weight, bias ? bias + row0 : NULL, 0, m);
}

static void activate(struct decoder *d, const struct op_experts *p, const struct plan_experts *t, uint32_t m)
{
    struct experts *x = d->experts;
    uint32_t ld = (uint32_t)up_width(x);
    struct op_act a = {.width = t->inter, .kind = p->act, .alpha = p->alpha, .limit = p->limit};
    const float *up = t->interleaved || t->fused == EXPERTS_UNGATED ? NULL : x->d_up + t->inter;

    if (t->interleaved) a.flags = ACT_INTERLEAVED;
    if (p->flags & EXPERTS_CLAMP_AFTER) a.flags |= ACT_CLAMP_AFTER;
    if (p->flags & EXPERTS_CLAMP_BEFORE) a.flags |= ACT_CLAMP_BEFORE;
    ops_act(d->ops, &a, x->d_act, x->footprint.inter, x->d_up, ld, up, ld, m);
}

static int run_one(struct decoder *d, const struct op_experts *p, uint32_t expert, struct error *e)
{
    struct experts *x = d->experts;
    const struct plan_experts *t = &plan_experts(d->plan)[p->table];
    const struct plan_expert_tiles *own = &plan_expert_tiles(d->plan)[p->table];
    const uint32_t begin = expert ? x->end[expert - 1] : 0, m = x->end[expert] - begin;
    const uint32_t *members = x->d_members + begin;
    const float *weights = x->d_weight + begin;
    uint32_t each = plan_expert_matrices(t), down = each - 1;
    uint32_t matrix0 = t->matrix0 + expert * each, up_ld = (uint32_t)up_width(x);
    const float *bias[3] = {NULL, NULL, NULL};
    struct tiles *tiles = &d->request_tiles;
    bool active = false;
    int rc;

    ops_gather_rows(d->ops, x->d_in, x->footprint.hidden, decoder_at(d, p->src), decoder_ld(d, p->src), members,
                    t->hidden, m);
    if (p->flags & EXPERTS_SCALE_INPUT) ops_scale_rows(d->ops, x->d_in, x->footprint.hidden, weights, t->hidden, m);
    tiles_range(tiles, 0, own->tile0 + (uint64_t)expert * own->each, own->each);
    for (;;) {
        struct weight_part w;
        uint32_t which;

        rc = decoder_weight(d, tiles, &w, e);
        if (rc == -ENODATA) break;
        if (rc) return rc;
        which = w.part->index - matrix0;
        if (which >= each) return error_set(e, EPROTO, "expert %u: a part of matrix %u", expert, w.part->index);
        if (w.bias_part) {
            ops_dequantize(d->ops, x->d_bias, w.bias_data, plan_vectors(d->plan)[w.bias_part->index].form,
                           plan_vectors(d->plan)[w.bias_part->index].elements);
            bias[which] = x->d_bias;
        }
        if (which == down) {
            if (!active) activate(d, p, t, m);
            active = true;
            multiply(d, t, &w, x->d_out, x->footprint.hidden, x->d_act, x->footprint.inter, bias[which], m);
        } else {
            multiply(d, t, &w, x->d_up + (which ? t->inter : 0), up_ld, x->d_in, x->footprint.hidden, bias[which], m);
        }
    }
    ops_scatter_add_rows(d->ops, decoder_at(d, p->dst), decoder_ld(d, p->dst), x->d_out, x->footprint.hidden, members,
                         (p->flags & EXPERTS_SCALE_INPUT) ? NULL : weights, t->hidden, m);
    return 0;
}

/* Positions that chose experts which give back what they are given, and the weights of those together. */
static uint32_t gather_identity(struct experts *x, uint32_t rows, uint32_t first)
{
    uint32_t m = 0;

    for (uint32_t i = 0; i < rows; i++) {
        float sum = 0;
        bool any = false;

        for (uint32_t k = 0; k < x->chosen_top; k++) {
            if (x->id[(uint64_t)i * x->chosen_top + k] < first) continue;
            sum += x->weight[(uint64_t)i * x->chosen_top + k];
            any = true;
        }
        if (!any) continue;
        x->members[m] = i;
        x->member_weight[m++] = sum;
    }
    return m;
}

static void run_identity(struct decoder *d, const struct op_experts *p, const struct plan_experts *t)
{
    struct experts *x = d->experts;
    uint32_t m = t->identity ? gather_identity(x, d->rows, t->experts) : 0;

    if (!m) return;
    ops_upload(d->ops, x->d_members, x->members, m * 4ull);
    ops_upload(d->ops, x->d_weight, x->member_weight, m * 4ull);
    ops_gather_rows(d->ops, x->d_in, x->footprint.hidden, decoder_at(d, p->src), decoder_ld(d, p->src), x->d_members,
                    t->hidden, m);
    ops_scatter_add_rows(d->ops, decoder_at(d, p->dst), decoder_ld(d, p->dst), x->d_in, x->footprint.hidden,
                         x->d_members, x->d_weight, t->hidden, m);
}

int experts_run(struct decoder *d, const struct op_experts *p, struct error *e)
{
    struct experts *x = d->experts;
    const struct plan_experts *t = &plan_experts(d->plan)[p->table];
    int rc;

    if (x->table != p->table) return error_set(e, EPROTO, "experts of table %u without their router", p->table);
    ops_zero(d->ops, decoder_at(d, p->dst), decoder_ld(d, p->dst), t->hidden, d->rows);
    list_members(d, t->experts);
    for (uint32_t k = 0; k < t->experts; k++)
        if (x->chosen[k] && (rc = run_one(d, p, k, e))) return rc;
    run_identity(d, p, t);
    return 0;
}

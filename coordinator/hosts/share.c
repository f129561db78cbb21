#include "coordinator/hosts/share.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/arch/program.h"
#include "coordinator/hosts/handed.h"

struct share {
    const struct plan_shm *whole;
    uint32_t rank;
    uint32_t *of; /* [ops] whose it is */
    struct program program;
    /* [records of the whole] the number here; PLAN_NONE: not here */
    uint32_t *matrix, *vector, *experts, *cache, *state;
    /* the hop that is being written */
    const struct plan_op *beside; /* its layer */
    uint32_t kind, peer, hop;
    uint64_t first; /* of its operations */
    uint32_t columns;
};

/* ---- whose operations ---- */

static void assign(struct share *s, const uint32_t *owner)
{
    const struct plan_shm *p = s->whole;
    bool ends = false;

    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *o = &plan_ops(p)[i];

        if (o->kind == OP_SELECT) ends = true;
        s->of[i] = ends || o->kind == OP_EMBED || o->layer >= p->spec.layers ? 0 : owner[o->layer];
    }
}

/* ---- hops ---- */

static int add_piece(void *arg, struct plan_view x, uint32_t width)
{
    struct share *s = arg;
    struct plan_op *o = program_op(&s->program, (enum plan_op_kind)s->kind, s->beside->layer);

    o->hop = (struct op_hop){.x = x, .width = width, .at = s->columns, .hop = s->hop, .peer = s->peer};
    s->columns += width;
    return 0;
}

static void add_hop(struct share *s, struct handed *l, uint64_t op, uint32_t kind, uint32_t peer)
{
    s->beside = &plan_ops(s->whole)[op];
    s->kind = kind;
    s->peer = peer;
    s->first = s->program.ops.count;
    s->columns = 0;
    handed_each(l, op, add_piece, s);
    for (uint64_t i = s->first; i < s->program.ops.count; i++)
        PROGRAM_AT(&s->program, ops, struct plan_op, i)->hop.total = s->columns;
}

/* This machine's operations, as the whole has them, and hops where another one goes on or has gone before. */
static void add_operations(struct share *s, struct handed *l)
{
    const struct plan_shm *p = s->whole;

    for (uint64_t i = 0; i < p->ops.count; i++) {
        uint32_t before = i ? s->of[i - 1] : s->of[i], now = s->of[i];

        if (before != now) {
            if (before == s->rank) add_hop(s, l, i, OP_SEND, now);
            if (now == s->rank) add_hop(s, l, i, OP_RECEIVE, before);
            s->hop++;
        }
        if (now == s->rank)
            *program_op(&s->program, (enum plan_op_kind)plan_ops(p)[i].kind, plan_ops(p)[i].layer) = plan_ops(p)[i];
    }
}

/* ---- records ---- */

static void copy_records(struct program *p, struct program_table *t, const void *from, uint64_t n)
{
    void *at = n ? program_table_add(t, n) : NULL;

    if (at)
        memcpy(at, from, n * t->size);
    else if (n)
        p->failed = true;
}

/* The number here of record i of the whole, which it is given if it has none. */
static uint32_t take(struct share *s, uint32_t *map, struct program_table *t, const void *records, uint32_t i)
{
    if (i == PLAN_NONE) return i;
    if (map[i] == PLAN_NONE) {
        map[i] = (uint32_t)t->count;
        copy_records(&s->program, t, (const char *)records + (uint64_t)i * t->size, 1);
    }
    return map[i];
}

static void vector(struct share *s, uint32_t *i)
{
    *i = take(s, s->vector, &s->program.vectors, plan_vectors(s->whole), *i);
}

static void matrix(struct share *s, uint32_t *i)
{
    uint32_t was = *i;
    bool is_new = s->matrix[was] == PLAN_NONE;
    struct plan_matrix *m;

    *i = take(s, s->matrix, &s->program.matrices, plan_matrices(s->whole), was);
    if (!is_new || s->program.failed) return;
    m = PROGRAM_AT(&s->program, matrices, struct plan_matrix, *i);
    if (m->flags) vector(s, &m->vector[0]);
    if (m->flags & MATRIX_NESTED) vector(s, &m->vector[1]);
}

static void cache(struct share *s, uint32_t *i)
{
    *i = take(s, s->cache, &s->program.caches, plan_caches(s->whole), *i);
}

static void state(struct share *s, uint32_t *i)
{
    *i = take(s, s->state, &s->program.states, plan_states(s->whole), *i);
}

/* All of a table's matrices, then its biases, each in their order. */
static void experts(struct share *s, uint32_t *i)
{
    bool is_new = s->experts[*i] == PLAN_NONE;
    const struct plan_experts *x = &plan_experts(s->whole)[*i];
    uint64_t n = plan_experts_matrices(x);
    uint32_t matrix0 = (uint32_t)s->program.matrices.count, bias0;

    *i = take(s, s->experts, &s->program.experts, plan_experts(s->whole), *i);
    if (!is_new) return;
    /* vectors that go with the matrices are put behind the biases: those must follow each other */
    bias0 = (uint32_t)s->program.vectors.count;
    for (uint64_t k = 0; x->biased && k < n; k++) {
        uint32_t v = x->bias0 + (uint32_t)k;

        vector(s, &v);
    }
    for (uint64_t k = 0; k < n; k++) {
        uint32_t m = x->matrix0 + (uint32_t)k;

        matrix(s, &m);
    }
    if (s->program.failed) return;
    PROGRAM_AT(&s->program, experts, struct plan_experts, *i)->matrix0 = matrix0;
    if (x->biased) PROGRAM_AT(&s->program, experts, struct plan_experts, *i)->bias0 = bias0;
}

static void position_rows(struct share *s, struct op_position *o)
{
    uint32_t table = o->table, parts = (o->rows + POSITION_ROWS - 1) / POSITION_ROWS;

    vector(s, &o->table);
    for (uint32_t k = 1; k < parts; k++) {
        uint32_t v = table + k;

        vector(s, &v);
    }
}

/* An operation's references, numbered as they are here. */
static void renumber(struct share *s, struct plan_op *o)
{
    switch (o->kind) {
    case OP_EMBED:
        matrix(s, &o->embed.matrix);
        if (o->embed.flags & EMBED_BESIDE) matrix(s, &o->embed.beside);
        break;
    case OP_NORM:
        vector(s, &o->norm.weight);
        vector(s, &o->norm.bias);
        break;
    case OP_MATMUL:
        matrix(s, &o->matmul.matrix);
        vector(s, &o->matmul.bias);
        break;
    case OP_HEADMM: matrix(s, &o->headmm.matrix); break;
    case OP_SCALE:
        if (o->scale.flags & SCALE_BY_VECTOR) vector(s, &o->scale.vector);
        break;
    case OP_ATTENTION:
        vector(s, &o->attention.sinks);
        vector(s, &o->attention.alibi);
        cache(s, &o->attention.cache);
        break;
    case OP_INDEX: cache(s, &o->index.cache); break;
    case OP_CONV:
        vector(s, &o->conv.weight);
        vector(s, &o->conv.bias);
        state(s, &o->conv.state);
        break;
    case OP_DELTA:
        vector(s, &o->delta.a_log);
        vector(s, &o->delta.dt_bias);
        state(s, &o->delta.state);
        break;
    case OP_SCAN:
        vector(s, &o->scan.a_log);
        vector(s, &o->scan.dt_bias);
        vector(s, &o->scan.skip);
        state(s, &o->scan.state);
        break;
    case OP_ROUTER:
        vector(s, &o->router.bias);
        if (o->router.flags & ROUTER_SCALE_EACH) vector(s, &o->router.each);
        experts(s, &o->router.table);
        break;
    case OP_POOL:
        vector(s, &o->pool.bias);
        state(s, &o->pool.state);
        break;
    case OP_SINKHORN:
        vector(s, &o->sinkhorn.scale);
        vector(s, &o->sinkhorn.base);
        break;
    case OP_EXPERTS: experts(s, &o->experts.table); break;
    case OP_POSITION: position_rows(s, &o->position); break;
    case OP_XIELU:
        vector(s, &o->xielu.alpha_p);
        vector(s, &o->xielu.alpha_n);
        vector(s, &o->xielu.beta);
        vector(s, &o->xielu.eps);
        break;
    default: break;
    }
}

/* Position tables, whose parts must follow each other, before any other vector can come between. */
static void add_records(struct share *s)
{
    const struct plan_shm *p = s->whole;

    for (size_t i = 0; i < s->program.ops.count; i++) {
        struct plan_op *o = PROGRAM_AT(&s->program, ops, struct plan_op, i);

        if (o->kind == OP_POSITION) position_rows(s, &o->position);
    }
    /* every machine keeps the embedding's record, whether it reads rows of it or not: plans have one */
    s->program.spec.embed_matrix = p->spec.embed_matrix;
    matrix(s, &s->program.spec.embed_matrix);
    for (size_t i = 0; i < s->program.ops.count && !s->program.failed; i++) {
        struct plan_op *o = PROGRAM_AT(&s->program, ops, struct plan_op, i);

        if (o->kind != OP_POSITION) renumber(s, o);
    }
}

/* ---- all of it ---- */

static uint32_t *numbers(uint64_t n)
{
    uint32_t *x = malloc((n + 1) * sizeof *x);

    for (uint64_t i = 0; x && i < n; i++) x[i] = PLAN_NONE;
    return x;
}

static void copy_tables(struct share *s)
{
    const struct plan_shm *p = s->whole;

    program_init(&s->program);
    s->program.spec = p->spec;
    s->program.spec.share = 1;
#define COPY(table) copy_records(&s->program, &s->program.table, plan_##table(p), p->table.count)
    COPY(files);
    COPY(buffers);
    COPY(ropes);
    COPY(units);
    COPY(constants);
    COPY(strings);
#undef COPY
}

static int make(struct plan_shm **out, struct share *s, const uint32_t *owner, struct error *e)
{
    const struct plan_shm *p = s->whole;
    bool *cut = calloc(p->ops.count + 1, sizeof *cut);
    struct handed handed = {.plan = p};
    int rc = 0;

    if (!cut || !s->of || !s->matrix || !s->vector || !s->experts || !s->cache || !s->state)
        rc = error_set(e, ENOMEM, "out of memory");
    if (!rc) {
        assign(s, owner);
        for (uint64_t i = 1; i < p->ops.count; i++) cut[i] = s->of[i] != s->of[i - 1];
        rc = handed_open(&handed, p, cut, e);
    }
    if (!rc) {
        copy_tables(s);
        add_operations(s, &handed);
        add_records(s);
        rc = program_image(out, &s->program, e);
        if (!rc && (rc = program_check(*out, (*out)->bytes, e))) {
            free(*out);
            *out = NULL;
        }
    }
    handed_close(&handed);
    free(cut);
    return rc;
}

int share_make(struct plan_shm **out, const struct plan_shm *whole, const uint32_t *owner, uint32_t rank,
               struct error *e)
{
    struct share s = {.whole = whole,
                      .rank = rank,
                      .of = calloc(whole->ops.count + 1, sizeof *s.of),
                      .matrix = numbers(whole->matrices.count),
                      .vector = numbers(whole->vectors.count),
                      .experts = numbers(whole->experts.count),
                      .cache = numbers(whole->caches.count),
                      .state = numbers(whole->states.count)};
    bool any = !rank;
    int rc;

    *out = NULL;
    for (uint32_t l = 0; l < whole->spec.layers; l++) any = any || owner[l] == rank;
    rc = any ? make(out, &s, owner, e) : error_set(e, EINVAL, "machine %u has no layer", rank);
    program_free(&s.program);
    free(s.of);
    free(s.matrix);
    free(s.vector);
    free(s.experts);
    free(s.cache);
    free(s.state);
    return rc;
}

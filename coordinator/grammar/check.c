#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/program.h"

#define NO_WAY UINT16_MAX
#define PASSES 1000

/* ---- heights: the shortest way to the end of the rule, in frames ---- */

static uint16_t above(uint16_t h)
{
    return h == NO_WAY || h >= GRAMMAR_DEPTH_MAX ? NO_WAY : (uint16_t)(h + 1);
}

static uint16_t higher(uint16_t a, uint16_t b)
{
    return a > b ? a : b;
}

static uint16_t height_of(const struct grammar *g, const struct grammar_node *n)
{
    uint16_t h = NO_WAY;
    uint32_t start;

    switch (n->op) {
    case GRAMMAR_RETURN: return 0;
    case GRAMMAR_BYTES:
    case GRAMMAR_LOOP: return g->node[n->next].height; /* who must go round comes through the body first */
    case GRAMMAR_CALL:
        start = g->rule[n->a];
        return start == GRAMMAR_NONE ? NO_WAY : higher(above(g->node[start].height), g->node[n->next].height);
    default:
        for (uint32_t i = 0; i < n->b; i++) {
            uint16_t other = g->node[g->edge[n->a + i]].height;
            if (other < h) h = other;
        }
        return h;
    }
}

/* Downwards from NO_WAY until nothing changes: most nodes follow what they lead to, so few passes do. */
static int find_heights(struct grammar *g, const char *name, struct error *e)
{
    bool changed = true;

    for (size_t i = 0; i < g->nodes; i++) g->node[i].height = NO_WAY;
    for (int pass = 0; changed; pass++) {
        if (pass == PASSES) return error_set(e, EINVAL, "%s is too complex: simplify it", name);
        changed = false;
        for (size_t i = 0; i < g->nodes; i++) {
            uint16_t h = height_of(g, &g->node[i]);

            changed |= h != g->node[i].height;
            g->node[i].height = h;
        }
    }
    if (g->node[g->start].height < GRAMMAR_DEPTH_MAX) return 0;
    return error_set(e, EINVAL, "%s: no value satisfies it, or none that is less than %u levels deep", name,
                     GRAMMAR_DEPTH_MAX);
}

/* ---- rules that call themselves before any byte (Tarjan's strongly connected components) ---- */

struct visit {
    uint32_t node, way;
};

struct components {
    const struct grammar *g;
    uint32_t *order, *low; /* order 0: not seen yet */
    uint32_t *open;        /* nodes whose component is not closed */
    bool *is_open;
    struct visit *stack;
    size_t opens, depth;
    uint32_t count;
};

/* The way-th node that is reached without a byte; GRAMMAR_NONE: there are no more. */
static uint32_t way_of(const struct grammar *g, const struct grammar_node *n, uint32_t way)
{
    switch (n->op) {
    case GRAMMAR_SPLIT: return way < n->b ? g->edge[n->a + way] : GRAMMAR_NONE;
    case GRAMMAR_LOOP: return way == 0 ? n->a : way == 1 ? n->next : GRAMMAR_NONE;
    case GRAMMAR_CALL: return way == 0 ? g->rule[n->a] : GRAMMAR_NONE;
    default: return GRAMMAR_NONE;
    }
}

static void enter(struct components *c, uint32_t node)
{
    c->order[node] = c->low[node] = ++c->count;
    c->open[c->opens++] = node;
    c->is_open[node] = true;
    c->stack[c->depth++] = (struct visit){node, 0};
}

/* Closes the component of a node; false: one of its calls stays inside. */
static bool leave(struct components *c, uint32_t node)
{
    const struct grammar *g = c->g;
    size_t first = c->opens;
    bool fine = true;

    while (c->open[--first] != node) continue;
    for (size_t i = first; i < c->opens && fine; i++) {
        const struct grammar_node *n = &g->node[c->open[i]];
        uint32_t to = n->op == GRAMMAR_CALL ? g->rule[n->a] : GRAMMAR_NONE;

        /* what is open and was reached from here belongs to this component */
        fine = to == GRAMMAR_NONE || !c->is_open[to] || c->order[to] < c->order[node];
    }
    for (size_t i = first; i < c->opens; i++) c->is_open[c->open[i]] = false;
    c->opens = first;
    return fine;
}

static bool search(struct components *c, uint32_t root)
{
    bool fine = true;

    enter(c, root);
    while (c->depth && fine) {
        struct visit *v = &c->stack[c->depth - 1];
        uint32_t node = v->node, to = way_of(c->g, &c->g->node[node], v->way++);

        if (to != GRAMMAR_NONE && !c->order[to]) {
            enter(c, to);
        } else if (to != GRAMMAR_NONE) {
            if (c->is_open[to] && c->order[to] < c->low[node]) c->low[node] = c->order[to];
        } else {
            if (c->low[node] == c->order[node]) fine = leave(c, node);
            c->depth--;
            if (c->depth && c->low[node] < c->low[c->stack[c->depth - 1].node])
                c->low[c->stack[c->depth - 1].node] = c->low[node];
        }
    }
    return fine;
}

static int find_circles(const struct grammar *g, const char *name, struct error *e)
{
    size_t n = g->nodes;
    struct components c = {.g = g,
                           .order = calloc(n, sizeof *c.order),
                           .low = calloc(n, sizeof *c.low),
                           .open = calloc(n, sizeof *c.open),
                           .is_open = calloc(n, 1),
                           .stack = calloc(n, sizeof *c.stack)};
    int rc = 0;

    if (!c.order || !c.low || !c.open || !c.is_open || !c.stack) rc = error_set(e, ENOMEM, "out of memory");
    for (size_t i = 0; i < n && !rc; i++)
        if (!c.order[i] && !search(&c, (uint32_t)i))
            rc = error_set(e, EINVAL, "%s: a $ref leads back to itself without anything in between", name);
    free(c.order);
    free(c.low);
    free(c.open);
    free(c.is_open);
    free(c.stack);
    return rc;
}

int grammar_finish(struct grammar *g, const char *name, struct error *e)
{
    int rc;

    if (g->failed == E2BIG)
        return error_set(e, EINVAL, "%s is too large: it makes more than %u states", name, GRAMMAR_NODES_MAX);
    if (g->failed) return error_set(e, ENOMEM, "out of memory");
    rc = find_circles(g, name, e);
    return rc ? rc : find_heights(g, name, e);
}

#include "coordinator/draft/budget.h"

#include <math.h>
#include <stddef.h>

#define NEWEST 0.4    /* weight of the newest sweep */
#define WEAR   0.0005 /* of what was seen, with each sweep of another size */

void budget_open(struct budget *b, const struct budget_costs *c)
{
    *b = (struct budget){.costs = *c};
}

double budget_planned(const struct budget *b, uint32_t positions, uint32_t rows)
{
    const struct budget_costs *c = &b->costs;
    double compute = c->first + (positions - 1.0) * c->position + (rows > 1 ? rows - 1.0 : 0) * c->row;
    double experts = c->experts ? c->experts[positions < c->most ? positions : c->most] : 0;

    return (compute > c->read ? compute : c->read) + experts;
}

static uint32_t class_of(uint32_t positions)
{
    uint32_t k = 0;

    while (k + 1 < BUDGET_CLASSES && positions > 1u << k) k++;
    return k;
}

/* One that was seen once and took longer than planned is believed by half, so that it is tried again. */
static double believed(const struct budget_size *s, const struct budget_size *first)
{
    double plan =
        first->positions > 0 && first->planned > 0 ? s->planned * first->seconds / first->planned : s->planned;

    return s->sweeps > 1 || s == first || s->seconds <= plan ? s->seconds : sqrt(s->seconds * plan);
}

double budget_seconds(const struct budget *b, uint32_t positions, uint32_t rows)
{
    const struct budget_size *below = NULL, *above = NULL;
    double plan = budget_planned(b, positions, rows), from, to;

    for (uint32_t k = 0; k < BUDGET_CLASSES; k++) {
        const struct budget_size *s = &b->seen[k];

        if (!s->sweeps) continue;
        if (s->positions <= positions) below = s;
        if (s->positions >= positions && !above) above = s;
    }
    if (!below) below = above;
    if (!below) return plan;
    from = believed(below, &b->seen[0]);
    if (!above || above == below) return below->planned > 0 ? from * plan / below->planned : plan;
    to = believed(above, &b->seen[0]);
    return from + (to - from) * (positions - below->positions) / (above->positions - below->positions);
}

bool budget_seen(const struct budget *b, uint32_t positions)
{
    return b->seen[class_of(positions)].sweeps > 0;
}

static void towards(double *x, double y, double step)
{
    *x += step * (y - *x);
}

void budget_learn(struct budget *b, uint32_t positions, uint32_t rows, double seconds)
{
    uint32_t class = class_of(positions);
    struct budget_size *s = &b->seen[class];
    double plan = budget_planned(b, positions, rows), step = s->sweeps ? NEWEST : 1;

    if (s->sweeps == 1) step = seconds < s->seconds ? 1 : 0;
    s->sweeps++;
    towards(&s->positions, positions, step);
    towards(&s->seconds, seconds, step);
    towards(&s->planned, plan, step);
    if (!(s->planned > 0)) return;
    for (uint32_t k = 0; k < BUDGET_CLASSES; k++)
        if (k != class && b->seen[k].sweeps)
            towards(&b->seen[k].seconds, s->seconds * b->seen[k].planned / s->planned, WEAR);
}

#include "coordinator/plan/speculate.h"

/* Tokens of a sweep by n-grams alone, of trees of 16, 64 and 256 guesses over what people wrote (18 commits, 18 files, 3
 * documents, a vocabulary of 150k), which the drafters were made with: the diff of an edit to the whole file after it; new code
 * without to with a related file in the prompt; prose. */
#define SIZES 3
static const uint32_t sizes[SIZES] = {16, 64, 256};
static const struct kind {
    const char *name;
    double least[SIZES], most[SIZES];
} kinds[PLAN_KINDS] = {
    {"edit", {5.2, 6.9, 8.2}, {13.7, 34, 59}},
    {"code", {2.8, 3.2, 3.5}, {3.2, 3.8, 4.4}},
    {"prose", {1.8, 1.9, 2.0}, {1.8, 1.9, 2.0}},
};

/* With a small model, and the steps that it is asked in: copies of a model of 5 layers, rounded to 3 and to 4 bits. */
static const struct kind small_one = {"draft", {5.4, 7.9, 9.8}, {7.4, 11.7, 15.5}};
static const double steps[SIZES] = {8, 16, 26};

double plan_sweep_seconds(const struct plan_summary *z, const struct plan_shm *p, const struct calibration *v,
                          uint32_t n)
{
    struct plan_costs c;
    double compute;

    plan_costs(&c, z, p, v);
    compute = c.first + (n - 1.0) * (c.position + c.row);
    return (compute > c.read ? compute : c.read) + plan_expert_seconds(z, p, v, n);
}

/* The size that makes a token cheapest, none at all being one of them. */
static void best_of(struct plan_range *out, const double tokens[SIZES], const double seconds[SIZES + 1],
                    uint32_t guesses)
{
    *out = (struct plan_range){.tokens = 1, .seconds = seconds[SIZES]};
    for (int i = 0; i < SIZES; i++) {
        if (sizes[i] > guesses || seconds[i] / tokens[i] >= out->seconds) continue;
        *out = (struct plan_range){tokens[i], seconds[i] / tokens[i]};
    }
}

struct plan_speculation plan_speculation_small(const struct plan_summary *z, const struct plan_shm *p,
                                               const struct calibration *v, double step)
{
    struct plan_speculation x = {.name = small_one.name};
    double seconds[SIZES + 1];

    for (int i = 0; i < SIZES; i++) seconds[i] = plan_sweep_seconds(z, p, v, 1 + sizes[i]) + steps[i] * step;
    seconds[SIZES] = plan_sweep_seconds(z, p, v, 1);
    best_of(&x.least, small_one.least, seconds, p->run.guesses);
    best_of(&x.most, small_one.most, seconds, p->run.guesses);
    return x;
}

void plan_speculation(struct plan_speculation out[PLAN_KINDS], const struct plan_summary *z, const struct plan_shm *p,
                      const struct calibration *v)
{
    double seconds[SIZES + 1];

    for (int i = 0; i < SIZES; i++) seconds[i] = plan_sweep_seconds(z, p, v, 1 + sizes[i]);
    seconds[SIZES] = plan_sweep_seconds(z, p, v, 1);
    for (int k = 0; k < PLAN_KINDS; k++) {
        out[k].name = kinds[k].name;
        best_of(&out[k].least, kinds[k].least, seconds, p->run.guesses);
        best_of(&out[k].most, kinds[k].most, seconds, p->run.guesses);
    }
}

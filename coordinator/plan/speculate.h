/* What guessing would bring: tokens of a sweep as the drafters reach them on kinds of texts, and what a token then takes. */
#pragma once
#include "coordinator/plan/calibrate.h"
#include "coordinator/plan/plan.h"

#define PLAN_KINDS        3
#define PLAN_GUESSES_FROM "n-grams over commits, files and documents that people wrote"

struct plan_range {
    double tokens;  /* of a sweep */
    double seconds; /* of a token */
};
struct plan_speculation {
    const char *name;              /* "edit", "code", "prose": static */
    struct plan_range least, most; /* of such texts; 1 token where guesses do not pay */
};

/* Seconds of a sweep of n single tokens, each of which wants logits: of n answers, or of one and guesses. */
double plan_sweep_seconds(const struct plan_summary *z, const struct plan_shm *p, const struct calibration *v,
                          uint32_t n);
void plan_speculation(struct plan_speculation out[PLAN_KINDS], const struct plan_summary *z, const struct plan_shm *p,
                      const struct calibration *v);
#define PLAN_DRAFT_FROM "copies of a model that are right in 0.79 and in 0.88 of its tokens"
/* The same of prose with a small model, a step of which takes so long. */
struct plan_speculation plan_speculation_small(const struct plan_summary *z, const struct plan_shm *p,
                                               const struct calibration *v, double step);

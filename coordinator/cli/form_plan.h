/* What a model would be and cost as a GGUF file of fewer bits, before anybody writes one: `sluice plan`'s lines, and the choice of
 * `sluice pack --to auto`. The header that the file would have is planned like any other model. */
#pragma once
#include <jansson.h>
#include "coordinator/arch/model.h"
#include "coordinator/pack/form.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/plan/plan.h"

#define FORM_PLANS 4u /* q8, q6, q5, q4: the widest first */

struct form_plans {
    bool possible[FORM_PLANS]; /* else nothing is to be said of that form */
    struct plan_summary summary[FORM_PLANS];
    char why[400]; /* of the first that is not possible */
};

/* m: the model of s as it lies, planned with these settings and these speeds; path: where. -ENOMEM. */
int form_plans_make(struct form_plans *x, const struct source *s, const struct model *m, const struct plan_settings *o,
                    const struct calibration *speeds, const char *path, struct error *e);
/* A line each. */
void form_plans_print(const struct form_plans *x);
/* An object by form; NULL where none is possible. */
json_t *form_plans_json(const struct form_plans *x);
/* The widest that makes a token so many times as fast as it is (seconds). -ERANGE: none does, the message says how far they go;
 * -ENOTSUP: none is possible. */
int form_plans_choose(enum pack_form *out, const struct form_plans *x, double seconds, double speedup, struct error *e);

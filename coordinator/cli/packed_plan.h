/* What `sluice plan` says of packing before anybody packs: the same flags, with the model as it would be then. */
#pragma once
#include <jansson.h>
#include "coordinator/cli/form_plan.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/plan/plan.h"
#include "proto/base/error.h"

struct packed_plan {
    struct plan_shm *program, *plan; /* plan NULL: nothing is to be said */
    struct plan_summary summary;
    struct calibration speeds;
};

/* program: of the model as it lies; path: where. Where it is packed, would not be packed, or not run with these settings, nothing is
 * to be said. -ENOMEM. packed_plan_free() in every case. */
int packed_plan_guess(struct packed_plan *x, const struct plan_shm *program, const struct plan_settings *s,
                      const char *path, struct error *e);
void packed_plan_free(struct packed_plan *x);
/* One line for each form that the model could have, and whether packing would pay; s: as it lies. */
void packed_plan_print(const struct packed_plan *x, const struct plan_summary *s, const struct form_plans *f);
json_t *packed_plan_json(const struct packed_plan *x);

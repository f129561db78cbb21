#include "coordinator/cli/packed_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/cli/values.h"
#include "coordinator/pack/guess.h"

#define PAYS 0.97 /* of the seconds that a token takes as it lies, at most */

int packed_plan_guess(struct packed_plan *x, const struct plan_shm *program, const struct plan_settings *s,
                      const char *path, struct error *e)
{
    struct error unfit;
    uint64_t bytes;
    int rc;

    *x = (struct packed_plan){0};
    if (s->backend != BACKEND_CPU) return 0; /* how fast a GPU unpacks nobody has measured */
    rc = pack_guess(&x->program, program, e);
    if (rc || !x->program || plan_build(&x->plan, &bytes, x->program, s, &unfit)) return rc;
    calibration_load(&x->speeds, path, x->plan);
    plan_summarize(&x->summary, x->plan, &x->speeds);
    return 0;
}

void packed_plan_free(struct packed_plan *x)
{
    free(x->plan);
    free(x->program);
}

static void form_line(const char *what, const struct plan_summary *s)
{
    char a[32], b[32];

    printf("  %-10s %12s, %s pinned, %.3g s a token; nothing is lost\n", what,
           value_size_text(s->weight_bytes, a, sizeof a), value_size_text(s->host_bytes, b, sizeof b),
           s->predicted_seconds_per_token);
}

static void print_advice(const struct packed_plan *x, const struct plan_summary *s)
{
    double share = x->summary.predicted_seconds_per_token / s->predicted_seconds_per_token;

    bool disk = !strcmp(s->bottleneck, "disk");

    if (share <= PAYS && disk)
        printf("`sluice pack` would make a token %.2f times as fast.\n", 1 / share);
    else
        printf("Packing would not pay here: %s\n",
               disk ? "unpacking would take longer than reading does." : "the disk is not what a token waits for.");
}

void packed_plan_print(const struct packed_plan *x, const struct plan_summary *s, const struct form_plans *f)
{
    bool any = x->plan != NULL;

    for (unsigned i = 0; i < FORM_PLANS; i++) any |= f->possible[i];
    if (!any) return;
    printf("\nForms\n");
    form_line("as it lies", s);
    if (x->plan) form_line("packed", &x->summary);
    form_plans_print(f);
    if (x->plan) print_advice(x, s);
}

json_t *packed_plan_json(const struct packed_plan *x)
{
    const struct plan_summary *s = &x->summary;

    return json_pack("{s:I,s:I,s:I,s:f,s:s}", "weight_bytes", (json_int_t)s->weight_bytes, "sweep_bytes",
                     (json_int_t)s->sweep_bytes, "host", (json_int_t)s->host_bytes, "predicted_seconds_per_token",
                     s->predicted_seconds_per_token, "bottleneck", s->bottleneck);
}

#include "coordinator/cli/form_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/cli/values.h"
#include "coordinator/pack/gguf.h"

static const enum pack_form forms[FORM_PLANS] = {PACK_AS_Q8, PACK_AS_Q6, PACK_AS_Q5, PACK_AS_Q4};

/* The disk is that of the model as it lies: a new file would be read as it is. */
static void know_speeds(struct calibration *v, const struct calibration *speeds, const char *path,
                        const struct plan_shm *plan, uint64_t budget)
{
    calibration_load(v, path, plan);
    calibration_measure_memory(v, plan, budget);
    v->disk = speeds->disk;
    v->disk_measured = speeds->disk_measured;
    v->page_cache = speeds->page_cache;
}

static int make_one(struct plan_summary *out, enum pack_form form, const struct source *s, const struct model *m,
                    const struct plan_settings *o, const struct calibration *speeds, const char *path, struct error *e)
{
    struct gguf_pack p;
    struct model *made = NULL;
    struct plan_shm *plan = NULL;
    struct calibration v;
    uint64_t bytes;
    uint32_t window;
    int rc = gguf_pack_plan(&p, s, m, form, 0, false, e);

    if (!rc) rc = gguf_pack_model(&made, &p, m, &window, e);
    gguf_pack_free(&p);
    if (!rc) rc = plan_build(&plan, &bytes, model_program(made), o, e);
    if (!rc) {
        know_speeds(&v, speeds, path, plan, o->host_memory);
        plan_summarize(out, plan, &v);
    }
    free(plan);
    model_close(made);
    return rc;
}

int form_plans_make(struct form_plans *x, const struct source *s, const struct model *m, const struct plan_settings *o,
                    const struct calibration *speeds, const char *path, struct error *e)
{
    *x = (struct form_plans){0};
    for (unsigned i = 0; i < FORM_PLANS; i++) {
        struct error why = {0};
        int rc = make_one(&x->summary[i], forms[i], s, m, o, speeds, path, &why);

        x->possible[i] = !rc;
        if (rc && !x->why[0]) snprintf(x->why, sizeof x->why, "%.390s", why.text);
        if (rc == -ENOMEM && !o->host_memory_given) return error_set(e, ENOMEM, "%s", why.text);
        if (rc == -ENOTSUP && i == 0) break; /* of an architecture or a form that the others have too */
    }
    return 0;
}

void form_plans_print(const struct form_plans *x)
{
    bool any = false;
    char a[32], b[32];

    for (unsigned i = 0; i < FORM_PLANS; i++) {
        const struct plan_summary *s = &x->summary[i];

        if (!x->possible[i]) continue;
        printf("  %-10s %12s, %s pinned, %.3g s a token; loses bits (divergence %.4f*)\n",
               pack_form_info(forms[i])->name, value_size_text(s->weight_bytes, a, sizeof a),
               value_size_text(s->host_bytes, b, sizeof b), s->predicted_seconds_per_token,
               pack_form_info(forms[i])->divergence);
        any = true;
    }
    if (any) printf("* mean KL divergence of " PACK_DIVERGENCE_FROM "; `sluice pack --to` makes these\n");
}

json_t *form_plans_json(const struct form_plans *x)
{
    json_t *all = NULL;

    for (unsigned i = 0; i < FORM_PLANS; i++) {
        const struct plan_summary *s = &x->summary[i];
        const struct pack_form_info *f = pack_form_info(forms[i]);

        if (!x->possible[i]) continue;
        if (!all) all = json_object();
        json_object_set_new(all, f->name,
                            json_pack("{s:s,s:I,s:I,s:I,s:f,s:s,s:f,s:s}", "label", f->label, "weight_bytes",
                                      (json_int_t)s->weight_bytes, "sweep_bytes", (json_int_t)s->sweep_bytes, "host",
                                      (json_int_t)s->host_bytes, "predicted_seconds_per_token",
                                      s->predicted_seconds_per_token, "bottleneck", s->bottleneck, "divergence",
                                      f->divergence, "divergence_from", PACK_DIVERGENCE_FROM));
    }
    return all;
}

int form_plans_choose(enum pack_form *out, const struct form_plans *x, double seconds, double speedup, struct error *e)
{
    double best = 0;
    unsigned fastest = 0;

    for (unsigned i = 0; i < FORM_PLANS; i++) {
        double times = x->possible[i] ? seconds / x->summary[i].predicted_seconds_per_token : 0;

        if (times >= speedup) {
            *out = forms[i];
            return 0;
        }
        if (times <= best) continue;
        best = times;
        fastest = i;
    }
    if (!(best > 0)) return error_set(e, ENOTSUP, "%s", x->why);
    return error_set(
        e, ERANGE,
        "--speedup %g: no form makes a token so much faster on this machine: %s would make it %.2f times as "
        "fast (%s is what it then waits for)",
        speedup, pack_form_info(forms[fastest])->name, best, x->summary[fastest].bottleneck);
}

/* sluice plan: what would lie where, what it costs, how long a token takes. Starts nothing. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/form_plan.h"
#include "coordinator/cli/hosts_plan.h"
#include "coordinator/cli/packed_plan.h"
#include "coordinator/cli/values.h"
#include "coordinator/arch/model.h"
#include "coordinator/batch/draft_model.h"
#include "coordinator/plan/plan.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/plan/speculate.h"
#include "coordinator/plan/stored.h"
#include "coordinator/plan/unpack.h"
#include "coordinator/serve/room.h"

static double step_of(const struct draft_model *small)
{
    return draft_model_seconds(small, draft_model_width(small));
}

static json_t *small_json(const struct plan_summary *s, const struct plan_shm *p, const struct calibration *v,
                          const struct draft_model *small)
{
    struct plan_speculation x = plan_speculation_small(s, p, v, step_of(small));

    return json_pack("{s:s,s:I,s:f,s:s,s:[f,f],s:[f,f]}", "model", draft_model_name(small), "bytes",
                     (json_int_t)draft_model_bytes(small), "seconds_per_step", step_of(small), "from", PLAN_DRAFT_FROM,
                     "tokens_per_sweep", x.least.tokens, x.most.tokens, "seconds_per_token", x.least.seconds,
                     x.most.seconds);
}

static json_t *speculation_json(const struct plan_summary *s, const struct plan_shm *p, const struct calibration *v,
                                const struct draft_model *small)
{
    struct plan_speculation x[PLAN_KINDS];
    json_t *o = json_pack("{s:I,s:s}", "most", (json_int_t)p->run.guesses, "from", PLAN_GUESSES_FROM);

    plan_speculation(x, s, p, v);
    for (int k = 0; k < PLAN_KINDS; k++)
        json_object_set_new(o, x[k].name,
                            json_pack("{s:[f,f],s:[f,f]}", "tokens_per_sweep", x[k].least.tokens, x[k].most.tokens,
                                      "seconds_per_token", x[k].least.seconds, x[k].most.seconds));
    if (small) json_object_set_new(o, "draft", small_json(s, p, v, small));
    return o;
}

static json_t *stored_json(const struct plan_shm *p)
{
    struct plan_stored x[FORMS];
    json_t *o = json_object();

    for (uint32_t i = 0, n = plan_stored(p, x); i < n; i++)
        json_object_set_new(o, form_name(x[i].form), json_integer((json_int_t)x[i].bytes));
    return o;
}

/* What a server with this budget would keep for requests. */
static uint64_t room_of(uint64_t budget)
{
    uint64_t bytes = budget / ROOM_SHARE;

    return bytes < ROOM_LEAST ? ROOM_LEAST : bytes > ROOM_MOST ? ROOM_MOST : bytes;
}

/* Several answers in the same sweeps. */
static json_t *answers_json(const struct plan_summary *s, const struct plan_shm *p, const struct calibration *v,
                            uint64_t room)
{
    uint32_t n = p->run.sequences;
    double seconds = plan_sweep_seconds(s, p, v, n);

    return json_pack("{s:I,s:f,s:f,s:I,s:{s:I,s:I}}", "answers", (json_int_t)n, "seconds_per_sweep", seconds,
                     "tokens_per_second", n / seconds, "positions_each",
                     (json_int_t)((p->run.kv_rows - plan_guess_rows(p->run.guesses)) / n), "serve", "request_bytes",
                     (json_int_t)room, "connections", (json_int_t)room_share(room).connections);
}

static void print_answers(const struct plan_summary *s, const struct plan_shm *p, const struct calibration *v,
                          uint64_t room)
{
    uint32_t n = p->run.sequences;
    char a[32];
    double seconds = plan_sweep_seconds(s, p, v, n);

    if (n < 2) return;
    printf("%u answers at once: %.3g s a sweep, %.3g tokens/s together; the KV cache has %u positions for each.\n", n,
           seconds, n / seconds, (p->run.kv_rows - plan_guess_rows(p->run.guesses)) / n);
    printf("A server keeps %s of the memory for requests: %u connections, and what they bring and are answered.\n",
           value_size_text(room, a, sizeof a), room_share(room).connections);
}

static int print_json(const struct plan_settings *settings, const struct plan_summary *s, const struct plan_shm *p,
                      const struct model *m, const struct calibration *v, const struct packed_plan *x,
                      const struct draft_model *small, const struct form_plans *f, const struct dealt *h,
                      struct error *e)
{
    json_t *o =
        json_pack("{s:s,s:s,s:I,s:I,s:I,s:{s:I,s:I,s:I,s:I},s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:s,s:f,s:I,s:I,s:I,s:I,s:I,s:"
                  "I,s:I,s:I,s:f,s:f}",
                  "architecture", p->spec.architecture, "weights_from", model_weights_from(m), "weight_bytes",
                  (json_int_t)s->weight_bytes, "sweep_bytes", (json_int_t)s->sweep_bytes, "active_bytes",
                  (json_int_t)s->active_bytes, "homes", "disk", (json_int_t)s->disk_bytes, "host",
                  (json_int_t)s->host_bytes, "device", (json_int_t)s->device_bytes, "resident",
                  (json_int_t)s->resident_bytes, "kv_bytes", (json_int_t)s->kv_bytes, "kv_positions",
                  (json_int_t)s->kv_positions, "kv_bytes_per_position", (json_int_t)s->kv_bytes_per_position, "context",
                  (json_int_t)s->context, "parameters", (json_int_t)model_parameters(m), "predicted_seconds_per_token",
                  s->predicted_seconds_per_token, "predicted_seconds_per_prompt_token",
                  s->predicted_seconds_per_prompt_token, "bottleneck", s->bottleneck, "seconds_saved_by_one_more_gb",
                  s->host_gain, "sweep_tiles", (json_int_t)s->sweep_tiles, "slot_bytes", (json_int_t)s->slot_bytes,
                  "arena_bytes", (json_int_t)s->arena_bytes, "host_total_bytes", (json_int_t)s->host_total_bytes,
                  "device_total_bytes", (json_int_t)s->device_total_bytes, "expert_bytes", (json_int_t)s->expert_bytes,
                  "expert_used_bytes", (json_int_t)s->expert_used_bytes, "chunk", (json_int_t)s->max_positions,
                  "expert_hit_rate", s->expert_hits, "seconds_saved_by_one_more_gb_of_device_memory", s->device_gain);
    json_t *forms;
    int rc;

    if (o) json_object_set_new(o, "stored", stored_json(p));
    if (o && p->run.backend == BACKEND_CUDA)
        json_object_set_new(o, "device_memory_is_the_hosts", json_boolean(settings->device_unified));
    if (o) json_object_set_new(o, "speculation", speculation_json(s, p, v, small));
    if (o && x->plan) json_object_set_new(o, "packed", packed_plan_json(x));
    if (o && (forms = form_plans_json(f))) json_object_set_new(o, "forms", forms);
    if (o && h->hosts.count) json_object_set_new(o, "hosts", hosts_plan_json(h));
    if (o && p->run.sequences > 1)
        json_object_set_new(o, "parallel", answers_json(s, p, v, room_of(settings->host_memory)));
    rc = o && !json_dumpf(o, stdout, JSON_INDENT(2)) && putchar('\n') != EOF
             ? 0
             : error_set(e, EIO, "cannot write the plan");

    json_decref(o);
    return rc;
}

/* "Q4_K 76%, Q6_K 23%, F32 1%": of their bytes; what is less than half a percent is not worth a word. */
static void print_stored(const struct plan_shm *p)
{
    struct plan_stored x[FORMS];
    const uint32_t n = plan_stored(p, x);
    double bytes = 0;

    for (uint32_t i = 0; i < n; i++) bytes += (double)x[i].bytes;
    for (uint32_t i = 0; i < n; i++) {
        const double share = 100 * (double)x[i].bytes / bytes;

        if (share < 0.5) continue;
        printf("%s%s", i ? ", " : " in ", form_name(x[i].form));
        if (share < 99.5) printf(" %.0f%%", share);
    }
    putchar('\n');
}

static void line(const char *what, uint64_t bytes, uint64_t tiles)
{
    char size[32];

    printf("  %-10s %12s", what, value_size_text(bytes, size, sizeof size));
    if (tiles) printf("   %llu tiles", (unsigned long long)tiles);
    putchar('\n');
}

static void print_range(const char *what, const struct plan_speculation *x)
{
    if (x->most.tokens <= 1)
        printf("  %-6s none would pay\n", what);
    else if (x->most.tokens == x->least.tokens)
        printf("  %-6s %.3g tokens a sweep, %.3g s each\n", what, x->least.tokens, x->least.seconds);
    else
        printf("  %-6s %.3g to %.3g tokens a sweep, %.3g to %.3g s each\n", what, x->least.tokens, x->most.tokens,
               x->least.seconds, x->most.seconds);
}

static void print_speculation(const struct plan_summary *s, const struct plan_shm *p, const struct calibration *v)
{
    struct plan_speculation x[PLAN_KINDS];

    if (!p->run.guesses) return;
    plan_speculation(x, s, p, v);
    printf("With up to %u guesses in a sweep (%s):\n", p->run.guesses, PLAN_GUESSES_FROM);
    print_range("edits", &x[0]);
    print_range("code", &x[1]);
    print_range("prose", &x[2]);
}

static void print_small(const struct plan_summary *s, const struct plan_shm *p, const struct calibration *v,
                        const struct draft_model *small)
{
    struct plan_speculation x = plan_speculation_small(s, p, v, step_of(small));
    char a[32];

    printf("The draft model %s takes %s of the memory, %.3g s to be asked about %u tokens (%s):\n",
           draft_model_name(small), value_size_text(draft_model_bytes(small), a, sizeof a), step_of(small),
           draft_model_width(small), PLAN_DRAFT_FROM);
    print_range("prose", &x);
}

/* Its tokens are compared where both have any; what else is amiss with a tokenizer a run tells. */
static int open_small(struct draft_model **out, const struct options *o, const struct model *m,
                      struct plan_settings *settings, struct error *e)
{
    struct draft_model_of of = {.name = source_name(o->source), .program = model_program(m), .planned_only = true};
    struct tokenizer *t = NULL;
    struct error ignored;
    int rc;

    if (!source_tokenizer(o->source, &t, &ignored)) of.tokenizer = t;
    rc = draft_model_open(out, o, &of, e);
    tokenizer_close(t);
    return rc ? rc : draft_model_plan(*out, settings, e);
}

static void print_human(const struct plan_settings *settings, const struct plan_summary *s, const struct plan_shm *p,
                        const struct model *m, const struct calibration *v, const struct draft_model *small)
{
    char a[32], b[32], c[32];

    printf("%s, %.2f billion weights, %s", p->spec.architecture, (double)model_parameters(m) / 1e9,
           value_size_text(s->weight_bytes, a, sizeof a));
    print_stored(p);
    if (model_weights_missing(m))
        printf("The weights are not there: their sizes come from %s.\n", model_weights_from(m));
    printf("\nWhere the weights %s\n", model_weights_missing(m) ? "would lie" : "lie");
    line("disk", s->disk_bytes, s->disk_tiles);
    line("host", s->host_bytes, s->host_tiles);
    if (p->run.backend == BACKEND_CUDA) line("device", s->device_bytes, s->device_tiles);
    line("resident", s->resident_bytes, 0);
    if (s->expert_bytes)
        printf("  %s of experts, of which a token uses %s; about %.0f%% of these found in a cache of %s\n",
               value_size_text(s->expert_bytes, a, sizeof a), value_size_text(s->expert_used_bytes, b, sizeof b),
               100 * s->expert_hits, value_size_text(s->expert_cache_bytes, c, sizeof c));
    printf("\nMemory of all processes: %s", value_size_text(s->host_total_bytes, a, sizeof a));
    printf(" (host slots %s, KV cache %s for %u positions)\n", value_size_text(s->arena_bytes, a, sizeof a),
           value_size_text(s->kv_bytes, b, sizeof b), s->kv_positions);
    if (p->run.backend == BACKEND_CUDA && settings->device_unified)
        printf("%s computes in this machine's own memory: of it the processes may take %s and the GPU %s.\n",
               settings->device_name, value_size_text(settings->host_memory, a, sizeof a),
               value_size_text(settings->device_memory, b, sizeof b));
    if (s->context > s->kv_positions)
        printf("The model may have %u positions, which --context %u would make room for: %s of KV cache.\n", s->context,
               s->context, value_size_text((uint64_t)s->context * s->kv_bytes_per_position, a, sizeof a));
    printf("\nEach token reads %s from %s at %.2f GB/s (%s): %.3g s; bottleneck: %s\n",
           value_size_text(s->sweep_bytes, a, sizeof a), v->page_cache ? "the page cache" : "disk", v->disk / 1e9,
           v->disk_measured ? "measured" : "assumed", s->predicted_seconds_per_token, s->bottleneck);
    print_speculation(s, p, v);
    if (small && p->run.guesses) print_small(s, p, v, small);
    print_answers(s, p, v, room_of(settings->host_memory));
    printf("A prompt takes %.3g s for each of its tokens, %u in a sweep.\n", s->predicted_seconds_per_prompt_token,
           s->max_positions);
    if (s->host_gain > 0) printf("One more GB of memory would save %.3g s of each token.\n", s->host_gain);
    if (v->unpack > 0)
        printf("It is packed: each thread unpacks %.1f GB/s here (%s).\n", v->unpack / 1e9, unpack_code());
    if (s->device_gain > 0)
        printf("One more GB of the GPU's memory would save %.3g s of each token.\n", s->device_gain);
}

int command_plan(const struct options *o, struct error *e)
{
    struct model_options mo = {.context = (uint32_t)o->context, .allow_missing_weights = true};
    struct plan_settings settings;
    struct plan_summary summary;
    struct plan_shm *plan = NULL;
    struct model *model = NULL;
    struct packed_plan packed = {0};
    struct draft_model *small = NULL;
    struct form_plans forms = {0};
    struct dealt hosts = {0};
    struct calibration speeds;
    uint64_t bytes;
    int rc = model_open_source(&model, o->source, &mo, e);

    if (!rc) rc = plan_settings_from_options(&settings, o, e);
    if (!rc) plan_settings_speculate(&settings, o);
    if (!rc && o->parallel) settings.sequences = settings.max_logits = (uint32_t)o->parallel;
    if (!rc && o->draft) rc = open_small(&small, o, model, &settings, e);
    if (!rc) rc = plan_build(&plan, &bytes, model_program(model), &settings, e);
    if (!rc) {
        calibration_measure(&speeds, o->model, plan, settings.host_memory);
        plan_summarize(&summary, plan, &speeds);
        rc = packed_plan_guess(&packed, model_program(model), &settings, o->model, e);
        if (!rc && o->hosts) rc = dealt_make(&hosts, o->hosts, plan, &summary, &speeds, settings.host_memory, e);
        if (!rc) rc = form_plans_make(&forms, o->source, model, &settings, &speeds, o->model, e);
    }
    if (!rc) {
        if (model_notice(model) && !o->quiet) fprintf(stderr, "sluice: %s\n", model_notice(model));
        if (o->json)
            rc = print_json(&settings, &summary, plan, model, &speeds, &packed, small, &forms, &hosts, e);
        else
            print_human(&settings, &summary, plan, model, &speeds, small);
        if (!o->json) hosts_plan_print(&hosts);
        if (!o->json) packed_plan_print(&packed, &summary, &forms);
    }
    dealt_free(&hosts);
    packed_plan_free(&packed);
    draft_model_close(small);
    free(plan);
    model_close(model);
    return rc;
}

/* sluice doctor: looks at the machine, and at the folder of a model; says what is wrong and how to mend it. */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/values.h"
#include "coordinator/doctor/doctor.h"
#include "coordinator/arch/model.h"
#include "coordinator/plan/plan.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/plan/unpack.h"
#include "coordinator/engine/device.h"
#include "coordinator/engine/mps.h"
#include "coordinator/engine/stages.h"
#include "coordinator/view/terminal.h"

/* ---- what is looked at ---- */

static bool stages_found(bool cuda, struct error *e)
{
    char path[2 * PATH_MAX];

    for (int i = 0; i < STAGES; i++)
        if (child_find(path, sizeof path, (enum stage_id)i, cuda, e)) return false;
    return true;
}

static void look_stages(struct doctor *d)
{
    struct error e = {0};
    struct doctor_finding *f = doctor_add(d, "stages", DOCTOR_GOOD);

    if (stages_found(false, &e)) {
        doctor_say(f, "found");
        return;
    }
    f->verdict = DOCTOR_IN_THE_WAY;
    doctor_say(f, "%s", e.text);
    doctor_cost(f, "nothing can run");
    doctor_mend(f, "make install, or keep the stages beside sluice");
}

/* What the compute stage says of the device itself: a card that sits idle is told why. */
static void look_probe(struct doctor *d, uint32_t device)
{
    struct device_facts facts;
    struct device_speeds speeds;
    struct error e = {0};

    if (!stages_found(true, &e)) return;
    if (device_try(&facts, &speeds, device, &e))
        doctor_device(d, NULL, NULL, e.text);
    else
        doctor_device(d, &facts, &speeds, NULL);
}

/* What a run with no flags would come to, or why it would be refused. Returns the number of its files. */
static uint64_t look_model(struct doctor *d, const struct options *o)
{
    struct model_options mo = {0};
    struct plan_settings settings;
    struct plan_summary s;
    struct plan_shm *plan = NULL;
    struct model *model = NULL;
    struct calibration speeds;
    struct error e = {0};
    uint64_t bytes, files = 0;
    char a[32], b[32];
    int rc = o->source ? model_open_source(&model, o->source, &mo, &e) : model_open(&model, o->model, &mo, &e);
    struct doctor_finding *f = doctor_add(d, "model", rc ? DOCTOR_IN_THE_WAY : DOCTOR_GOOD);

    if (rc) {
        doctor_say(f, "%.255s", e.text);
        doctor_cost(f, "it cannot run");
        return 0;
    }
    files = model_program(model)->files.count;
    doctor_say(f, "%s, %.2f billion weights in %llu file%s, %s", model_program(model)->spec.architecture,
               (double)model_parameters(model) / 1e9, (unsigned long long)files, files == 1 ? "" : "s",
               value_size_text(model_weight_bytes(model), a, sizeof a));
    rc = plan_settings_from_options(&settings, o, &e);
    if (!rc) rc = plan_build(&plan, &bytes, model_program(model), &settings, &e);
    f = doctor_add(d, "plan", rc ? DOCTOR_IN_THE_WAY : DOCTOR_GOOD);
    if (rc) {
        doctor_say(f, "%.255s", e.text);
        doctor_cost(f, "it cannot run");
    } else {
        calibration_load(&speeds, o->model, plan);
        plan_summarize(&s, plan, &speeds);
        doctor_say(f, "%s of memory, %s read for each token, %.3g s a token; bottleneck: %s",
                   value_size_text(s.host_total_bytes, a, sizeof a), value_size_text(s.sweep_bytes, b, sizeof b),
                   s.predicted_seconds_per_token, s.bottleneck);
    }
    free(plan);
    model_close(model);
    return files;
}

static uint64_t look_folder(struct doctor *d, const struct options *o, const struct calibration *v)
{
    struct doctor_file file;

    if (doctor_try_file(&file, o->model)) {
        doctor_storage(d, &file, v->disk_measured ? v->disk : 0);
        free((void *)(uintptr_t)file.path);
    }
    doctor_disk_speed(d, v->disk_measured ? v->disk : 0, v->memory_measured ? v->memory : 0);
    return look_model(d, o);
}

struct seen {
    struct machine machine;
    struct calibration speeds;
};

static void look(struct doctor *d, const struct options *o, struct seen *seen)
{
    struct rlimit l = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    struct doctor_uring uring = doctor_try_uring();
    struct plan_settings settings = {0};
    struct machine *m = &seen->machine;
    struct calibration *v = &seen->speeds;
    struct error e;
    uint64_t files = 0;

    machine_look(m);
    plan_settings_from_options(&settings, o, &e);
    calibration_measure(v, o->model ? o->model : ".", NULL, settings.host_memory);
    doctor_processor(d, m);
    doctor_unpacking(d, unpack_speed(), unpack_code(), m->cpus, v->disk_measured ? v->disk : 0);
    doctor_memory(d, m, settings.host_memory);
    doctor_huge_pages(d, doctor_try_large_pages());
    doctor_shm(d, m->shm_free);
    doctor_uring(d, &uring, m->memlock == RLIM_INFINITY ? UINT64_MAX : m->memlock);
    doctor_gpu(d, mps_available(), stages_found(true, &e));
    if (m->has_gpu) look_probe(d, (uint32_t)o->device);
    look_stages(d);
    if (o->model) {
        files = look_folder(d, o, v);
    } else {
        doctor_disk_speed(d, v->disk_measured ? v->disk : 0, v->memory_measured ? v->memory : 0);
    }
    getrlimit(RLIMIT_NOFILE, &l);
    doctor_open_files(d, l.rlim_cur == RLIM_INFINITY ? UINT64_MAX : l.rlim_cur,
                      l.rlim_max == RLIM_INFINITY ? UINT64_MAX : l.rlim_max, 2 * files + 64);
}

/* ---- what is shown ---- */

/* Text between indent and columns. */
static void wrapped(const char *text, int at, int indent, int columns)
{
    for (bool first = true; *text; first = false) {
        int n = (int)strcspn(text, " ");

        if (!first && at + 1 + n > columns) {
            printf("\n%*s", indent, "");
            at = indent;
        } else if (!first) {
            putchar(' ');
            at++;
        }
        printf("%.*s", n, text);
        at += n;
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_table(const struct doctor *d)
{
    static const char *const colour[] = {TERMINAL_GREEN, TERMINAL_YELLOW, TERMINAL_RED};
    int columns = terminal_columns(1, 100), indent = 34;
    bool color = terminal_color(1);
    size_t better = 0, bad = 0;

    for (size_t i = 0; i < d->count; i++) {
        const struct doctor_finding *f = &d->at[i];

        better += f->verdict == DOCTOR_BETTER;
        bad += f->verdict == DOCTOR_IN_THE_WAY;
        printf("%-14s  ", f->name);
        if (color) terminal_raw(stdout, colour[f->verdict]);
        printf("%-15s", doctor_verdict_name(f->verdict));
        if (color) terminal_raw(stdout, TERMINAL_PLAIN);
        fputs("   ", stdout);
        wrapped(f->state, indent, indent, columns);
        if (f->cost[0]) {
            printf("%*scosts: ", indent, "");
            wrapped(f->cost, indent + 7, indent + 7, columns);
        }
        if (f->mend[0]) {
            printf("%*smend:  ", indent, "");
            wrapped(f->mend, indent + 7, indent + 7, columns);
        }
    }
    printf("\n%zu good, %zu could be better, %zu in the way\n", d->count - better - bad, better, bad);
}

/* A path may hold bytes that are no UTF-8. */
static json_t *text_json(const char *text)
{
    json_t *s = json_string(text);
    char ascii[512];
    size_t n = 0;

    if (s) return s;
    for (; text[n] && n + 1 < sizeof ascii; n++) ascii[n] = (unsigned char)text[n] < 128 ? text[n] : '?';
    ascii[n] = 0;
    return json_string(ascii);
}

static int print_json(const struct doctor *d, const struct seen *s, struct error *e)
{
    json_t *list = json_array(), *o;
    int rc = 0;

    for (size_t i = 0; i < d->count; i++) {
        const struct doctor_finding *f = &d->at[i];

        o = json_pack("{s:s,s:s,s:o}", "name", f->name, "verdict", doctor_verdict_name(f->verdict), "state",
                      text_json(f->state));
        if (o && f->cost[0]) json_object_set_new(o, "cost", text_json(f->cost));
        if (o && f->mend[0]) json_object_set_new(o, "mend", text_json(f->mend));
        json_array_append_new(list, o);
    }
    o = json_pack("{s:s,s:I,s:I,s:I,s:o}", "verdict", doctor_verdict_name(doctor_worst(d)), "memory_bytes",
                  (json_int_t)s->machine.memory_total, "free_bytes", (json_int_t)s->machine.free_bytes, "processors",
                  (json_int_t)s->machine.cpus, "findings", list);
    if (o && s->speeds.disk_measured) json_object_set_new(o, "disk_bytes_per_second", json_real(s->speeds.disk));
    if (o && s->speeds.memory_measured) json_object_set_new(o, "memory_bytes_per_second", json_real(s->speeds.memory));
    if (!o || json_dumpf(o, stdout, JSON_INDENT(2)) || putchar('\n') == EOF)
        rc = error_set(e, EIO, "cannot write the findings");
    json_decref(o);
    return rc;
}

int command_doctor(const struct options *o, struct error *e)
{
    struct doctor d = {.root = ""};
    struct seen seen;
    size_t bad = 0;
    int rc = 0;

    look(&d, o, &seen);
    if (d.failed)
        rc = error_set(e, ENOMEM, "no memory for what was found");
    else if (o->json)
        rc = print_json(&d, &seen, e);
    else
        print_table(&d);
    for (size_t i = 0; i < d.count; i++) bad += d.at[i].verdict == DOCTOR_IN_THE_WAY;
    if (!rc && bad) rc = error_set(e, EIO, "%zu thing%s in the way of a run", bad, bad == 1 ? " is" : "s are");
    doctor_free(&d);
    return rc;
}

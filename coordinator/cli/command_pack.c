/* sluice pack, sluice unpack. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/arch/model.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/form_plan.h"
#include "coordinator/cli/packed.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/pack/gguf.h"
#include "coordinator/pack/pack.h"
#include "coordinator/source/gguf_types.h"
#include "coordinator/view/view.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

struct work {
    struct view *view;
    const char *what; /* "pack" */
    json_t *files;    /* or NULL */
    uint64_t began, told_ns, done, total;
};

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct work *w = arg;

    w->done = done;
    w->total = total;
    view_progress(w->view, w->what, done, total);
}

static void on_file(void *arg, const char *name, const char *sha256)
{
    struct work *w = arg;

    if (w->files) json_array_append_new(w->files, json_pack("{s:s, s:s}", "name", name, "sha256", sha256));
}

uint32_t pack_threads(const struct options *o)
{
    cpu_set_t set;

    if (o->threads) return (uint32_t)o->threads;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : (uint32_t)CPU_COUNT(&set);
}

static struct pack_options options_of(const struct options *o, struct work *w)
{
    return (struct pack_options){.out = o->out,
                                 .threads = pack_threads(o),
                                 .memory = o->host_memory,
                                 .progress = on_progress,
                                 .told = on_file,
                                 .arg = w,
                                 .interrupted = interrupted};
}

static int begin(struct work *w, const struct options *o, const char *what, struct error *e)
{
    *w = (struct work){.what = what, .files = o->json ? json_array() : NULL, .began = clock_ns()};
    interrupt_setup();
    return view_open(&w->view, o->quiet, NULL, NULL, e);
}

static void end(struct work *w)
{
    view_close(w->view, NULL);
    json_decref(w->files);
}

static int print_json(const struct work *w, const struct pack_result *r, struct error *e)
{
    json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:O}", "bytes", (json_int_t)r->raw_bytes, "stored_bytes",
                          (json_int_t)r->stored_bytes, "packed_bytes", (json_int_t)r->matrix_bytes, "packed_to_bytes",
                          (json_int_t)r->unit_bytes, "kept_bytes", (json_int_t)r->kept_bytes, "seconds",
                          (double)(clock_ns() - w->began) / 1e9, "files", w->files);
    int rc;

    rc = o && !json_dumpf(o, stdout, JSON_INDENT(2)) && putchar('\n') != EOF
             ? 0
             : error_set(e, EIO, "cannot write to standard output");
    json_decref(o);
    return rc;
}

static void print_packed(const struct options *o, const struct work *w, const struct pack_result *r)
{
    double seconds = (double)(clock_ns() - w->began) / 1e9;

    printf("%s: %.3f GB of %" PRIu64 " weight file%s in %.3f GB (%.4f), %.1f s\n", o->out, (double)r->raw_bytes / 1e9,
           r->files, r->files == 1 ? "" : "s", (double)r->stored_bytes / 1e9,
           r->raw_bytes ? (double)r->stored_bytes / (double)r->raw_bytes : 1, seconds);
    printf("  packed: %.3f GB of BF16 matrices in %.3f GB (%.4f); as they were: %.3f GB\n",
           (double)r->matrix_bytes / 1e9, (double)r->unit_bytes / 1e9,
           r->matrix_bytes ? (double)r->unit_bytes / (double)r->matrix_bytes : 1,
           (double)(r->raw_bytes - r->matrix_bytes) / 1e9);
    if (r->kept_bytes) printf("  %.3f GB were there already\n", (double)r->kept_bytes / 1e9);
}

/* ---- a GGUF file ---- */

/* Tensors of one kind and type in all layers: "ffn_down.weight". */
struct kind {
    const char *name;
    size_t bytes;
    uint32_t type, count;
    double least, most, squares, elements;
};

static const char *kind_name(const char *tensor)
{
    unsigned layer;
    int end = 0;

    return sscanf(tensor, "blk.%9u.%n", &layer, &end) == 1 && end ? tensor + end : tensor;
}

static struct kind *find_kind(struct kind *list, size_t *count, const struct pack_tensor *t)
{
    const char *name = kind_name(t->name);

    for (size_t i = 0; i < *count; i++)
        if (!strcmp(list[i].name, name) && list[i].type == t->type) return &list[i];
    list[*count] = (struct kind){.name = name, .type = t->type, .least = t->error};
    return &list[(*count)++];
}

/* What each kind of tensor lost, where any of it is lost. */
static void print_errors(const struct gguf_pack *p)
{
    struct kind *list = calloc(p->made.count + 1, sizeof *list);
    size_t count = 0;

    for (size_t i = 0; list && i < p->made.count; i++) {
        const struct pack_tensor *t = &p->report[i];
        struct kind *k = find_kind(list, &count, t);

        k->count++;
        k->least = t->error < k->least ? t->error : k->least;
        k->most = t->error > k->most ? t->error : k->most;
        k->squares += t->error * t->error * (double)t->elements;
        k->elements += (double)t->elements;
    }
    for (size_t i = 0; i < count; i++)
        if (list[i].most > 0)
            printf("  %-28s %4u of %-6s off by %.2f%% (%.2f to %.2f%%)\n", list[i].name, list[i].count,
                   gguf_type_name(list[i].type), 100 * sqrt(list[i].squares / list[i].elements), 100 * list[i].least,
                   100 * list[i].most);
    free(list);
}

static void print_gguf(const struct options *o, const struct work *w, const struct gguf_pack *p,
                       const struct pack_result *r)
{
    printf("%s: %s, %.3f GB in %" PRIu64 " file%s out of %.3f GB (%.4f), %.1f s\n", o->out,
           pack_form_info(p->form)->label, (double)r->stored_bytes / 1e9, r->files, r->files == 1 ? "" : "s",
           (double)r->raw_bytes / 1e9, r->raw_bytes ? (double)r->stored_bytes / (double)r->raw_bytes : 1,
           (double)(clock_ns() - w->began) / 1e9);
    print_errors(p);
    if (r->kept_bytes) printf("  %.3f GB were there already\n", (double)r->kept_bytes / 1e9);
}

static int print_gguf_json(const struct work *w, const struct gguf_pack *p, const struct pack_result *r,
                           struct error *e)
{
    json_t *list = json_array(), *o;
    int rc;

    for (size_t i = 0; i < p->made.count; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:I, s:I, s:f}", "name", p->report[i].name, "type",
                            gguf_type_name(p->report[i].type), "elements", (json_int_t)p->report[i].elements, "bytes",
                            (json_int_t)p->report[i].bytes, "relative_rms_error", p->report[i].error));
    o = json_pack("{s:I, s:I, s:I, s:I, s:s, s:f, s:o}", "bytes", (json_int_t)r->raw_bytes, "stored_bytes",
                  (json_int_t)r->stored_bytes, "kept_bytes", (json_int_t)r->kept_bytes, "files", (json_int_t)r->files,
                  "form", pack_form_info(p->form)->label, "seconds", (double)(clock_ns() - w->began) / 1e9, "tensors",
                  list);
    rc = o && !json_dumpf(o, stdout, JSON_INDENT(2)) && putchar('\n') != EOF
             ? 0
             : error_set(e, EIO, "cannot write to standard output");
    json_decref(o);
    return rc;
}

/* By the same arithmetic as `sluice plan`. */
static int choose_form(enum pack_form *form, const struct options *o, struct error *e)
{
    struct plan_settings settings;
    struct plan_summary summary;
    struct plan_shm *plan = NULL;
    struct model *m = NULL;
    struct calibration speeds;
    struct form_plans x;
    uint64_t bytes;
    int rc = model_open_source(&m, o->source, NULL, e);

    if (!rc) rc = plan_settings_from_options(&settings, o, e);
    if (!rc) rc = plan_build(&plan, &bytes, model_program(m), &settings, e);
    if (!rc) {
        calibration_measure(&speeds, o->model, plan, settings.host_memory);
        plan_summarize(&summary, plan, &speeds);
        rc = form_plans_make(&x, o->source, m, &settings, &speeds, o->model, e);
    }
    if (!rc) rc = form_plans_choose(form, &x, summary.predicted_seconds_per_token, o->speedup, e);
    free(plan);
    model_close(m);
    return rc;
}

static int pack_as_gguf(const struct options *o, struct error *e)
{
    struct gguf_pack_options g = {.form = (enum pack_form)(o->pack_to - PACK_Q8), .shard_bytes = o->shard_bytes};
    struct gguf_pack p;
    struct pack_result r;
    struct work w;
    int rc = o->pack_to == PACK_AUTO ? choose_form(&g.form, o, e) : 0;

    if (!rc) rc = begin(&w, o, pack_form_info(g.form)->name, e);
    if (rc) return rc;
    g.pack = options_of(o, &w);
    rc = gguf_pack(&p, o->source, &g, &r, e);
    view_hide(w.view);
    if (rc == -ECANCELED) log_warn("%s: the same command goes on where this one ended", o->out);
    if (!rc && p.notice[0]) log_warn("%s: %s", o->out, p.notice);
    if (!rc && o->json) rc = print_gguf_json(&w, &p, &r, e);
    if (!rc && !o->json) print_gguf(o, &w, &p, &r);
    gguf_pack_free(&p);
    end(&w);
    return rc;
}

int command_pack(const struct options *o, struct error *e)
{
    struct pack_result r;
    struct work w;
    int rc = o->pack_to == PACK_LOSSLESS ? begin(&w, o, "pack", e) : pack_as_gguf(o, e);

    if (rc || o->pack_to != PACK_LOSSLESS) return rc;
    struct pack_options p = options_of(o, &w);
    rc = pack_folder(o->source, &p, &r, e);
    view_hide(w.view);
    if (rc == -ECANCELED) log_warn("%s: the same command goes on where this one ended", o->out);
    if (!rc && o->json) rc = print_json(&w, &r, e);
    if (!rc && !o->json) print_packed(o, &w, &r);
    end(&w);
    return rc;
}

int command_unpack(const struct options *o, struct error *e)
{
    struct pack_result r;
    struct work w;
    int rc = begin(&w, o, "unpack", e);

    if (rc) return rc;
    struct pack_options p = options_of(o, &w);
    rc = unpack_folder(o->source, &p, &r, e);
    view_hide(w.view);
    if (rc == -ECANCELED) log_warn("%s: the same command goes on where this one ended", o->out);
    if (!rc && o->json) rc = print_json(&w, &r, e);
    if (!rc && !o->json)
        printf("%s: %.3f GB in %" PRIu64 " weight file%s, the sums are those of what was packed, %.1f s\n", o->out,
               (double)r.raw_bytes / 1e9, r.files, r.files == 1 ? "" : "s", (double)(clock_ns() - w.began) / 1e9);
    end(&w);
    return rc;
}

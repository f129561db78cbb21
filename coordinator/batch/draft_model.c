#include "coordinator/batch/draft_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/batch/parts.h"
#include "coordinator/draft/drafter.h"
#include "coordinator/draft/vocabulary.h"
#include "coordinator/plan/calibrate.h"

#define WIDTH_MOST   64u
#define WIDTH_LEAST  4u
#define PLACES_MOST  16u
#define CHUNK        512u
#define CONTEXT      4096u /* positions where nobody says how many */
#define RING_SLOTS   4u    /* all of it stays in memory: what is read on the way there needs few */
#define MEMORY_SHARE 2u    /* of the memory, where --draft-memory is not given: a half at most */

struct draft_model {
    const struct options *options;
    char *name;
    uint32_t vocab; /* the model's */
    struct parts parts;
    struct plan_shm *plan;
    uint64_t plan_bytes, bytes;
    struct plan_costs costs;
    uint32_t places, width, nodes, roots;
    struct neural *neural;
};

/* ---- opening ---- */

static int judge(const struct draft_model *m, const struct draft_model_of *of, struct error *e)
{
    const struct plan_shm *p = model_program(m->parts.model);
    struct vocabulary a = {of->tokenizer, of->name}, b = {m->parts.tokenizer, m->name};
    uint32_t n = of->program->spec.vocab, k = p->spec.vocab;

    if (a.tokenizer && b.tokenizer) return vocabulary_compare(&a, &b, e);
    if (k >= n - n / 10 && n >= k - k / 10) return 0;
    return error_set(e, EINVAL, "%s has %u tokens and %s %u: a draft needs the same ones", m->name, k, of->name, n);
}

int draft_model_open(struct draft_model **out, const struct options *o, const struct draft_model_of *of,
                     struct error *e)
{
    struct parts_options po = {.model = {.allow_missing_weights = of->planned_only}, .text = of->tokenizer != NULL};
    struct draft_model *m = calloc(1, sizeof *m);
    struct source *s = NULL;
    int rc;

    if (!m) return error_set(e, ENOMEM, "out of memory");
    m->options = o;
    m->vocab = of->program->spec.vocab;
    rc = source_open(&s, o->draft, e);
    if (!rc && o->pre && source_gguf(s)) rc = source_set_split(s, o->pre, e);
    if (!rc && !(m->name = strdup(source_name(s)))) rc = error_set(e, ENOMEM, "out of memory");
    if (!rc) rc = parts_open(&m->parts, s, &po, e);
    if (!rc) rc = judge(m, of, e);
    source_close(s);
    tokenizer_close(m->parts.tokenizer);
    m->parts.tokenizer = NULL;
    if (rc) {
        draft_model_close(m);
        return error_prefix(e, "--draft");
    }
    *out = m;
    return 0;
}

void draft_model_close(struct draft_model *m)
{
    if (!m) return;
    neural_close(m->neural);
    free(m->plan);
    parts_close(&m->parts);
    free(m->name);
    free(m);
}

/* ---- planning ---- */

static struct neural_config config_of(const struct draft_model *m)
{
    return (struct neural_config){
        .plan = m->plan,
        .plan_bytes = m->plan_bytes,
        .name = m->name,
        .places = m->places,
        .width = m->width,
        .roots = m->roots,
        .nodes = m->nodes,
        .vocab = m->vocab,
        .costs = {.read = m->costs.read, .first = m->costs.first, .position = m->costs.position, .row = m->costs.row}};
}

/* One whose every tile finds room; what the whole machine has left is asked afterwards. */
static struct plan_settings settings_of(const struct draft_model *m, const struct plan_settings *s)
{
    const struct plan_shm *program = model_program(m->parts.model);
    uint32_t model = program->spec.context, context = s->context;

    if (!context) context = s->want_tokens > CONTEXT ? s->want_tokens : CONTEXT;
    return (struct plan_settings){.host_memory = UINT64_C(1) << 60,
                                  .shm_free = UINT64_MAX,
                                  .text_bytes = 1,
                                  .reader_depth = RING_SLOTS,
                                  .io_block = s->io_block,
                                  .io_depth = s->io_depth,
                                  .io = s->io == PLAN_IO_AUTO ? PLAN_IO_BUFFERED : s->io,
                                  .engine = s->engine,
                                  .backend = BACKEND_CPU,
                                  .threads = s->threads,
                                  .kv_form = FORM_BF16,
                                  .context = context < model ? context : model,
                                  .chunk = CHUNK,
                                  .max_logits = m->width,
                                  .sequences = m->places,
                                  .branches = m->nodes,
                                  .guesses = program->states.count > 0, /* a state for a place's tree beside its own */
                                  .log_level = s->log_level};
}

static int build(struct draft_model *m, const struct plan_settings *s, struct plan_summary *z, struct error *e)
{
    struct plan_settings own = settings_of(m, s);
    struct calibration speeds;
    int rc;

    free(m->plan);
    m->plan = NULL;
    if ((rc = plan_build(&m->plan, &m->plan_bytes, model_program(m->parts.model), &own, e))) return rc;
    calibration_load(&speeds, m->options->draft, m->plan);
    plan_summarize(z, m->plan, &speeds);
    plan_costs(&m->costs, z, m->plan, &speeds);
    return 0;
}

static uint64_t million(uint64_t bytes)
{
    return (bytes + 999999) / 1000000;
}

static int check_budget(const struct draft_model *m, const struct plan_settings *s, struct error *e)
{
    uint64_t given = m->options->draft_memory;

    if (given != UINT64_MAX && m->bytes > given)
        return error_set(e, ENOMEM, "--draft-memory is %lluM, and %s takes %lluM: it is of use only as a whole",
                         (unsigned long long)(given / 1000000), m->name, (unsigned long long)million(m->bytes));
    if (m->bytes < s->host_memory / (given == UINT64_MAX ? MEMORY_SHARE : 1)) return 0;
    return error_set(e, ENOMEM, "--draft: %s takes %lluM of the %lluM of memory%s", m->name,
                     (unsigned long long)million(m->bytes), (unsigned long long)(s->host_memory / 1000000),
                     given == UINT64_MAX ? ", and more than a half only where --draft-memory allows it" : "");
}

int draft_model_plan(struct draft_model *m, struct plan_settings *s, struct error *e)
{
    struct plan_summary z;
    struct neural_config c;
    uint64_t arena;
    int rc;

    m->roots = s->sequences ? s->sequences : 1;
    m->nodes = drafter_nodes(s->guesses);
    if (model_program(m->parts.model)->states.count) m->nodes += m->roots; /* roots lie beside their rows too */
    m->width = s->guesses / 4 > WIDTH_MOST ? WIDTH_MOST : s->guesses / 4 > WIDTH_LEAST ? s->guesses / 4 : WIDTH_LEAST;
    m->places = 1;
    if ((rc = build(m, s, &z, e))) return error_prefix(e, "--draft");
    while (m->places < m->roots && m->places < PLACES_MOST && (m->places + 1) * z.kv_bytes <= z.weight_bytes)
        m->places++;
    if (m->places > 1 && (rc = build(m, s, &z, e))) return error_prefix(e, "--draft");
    c = config_of(m);
    m->bytes = z.host_total_bytes + neural_bytes(&c) + drafter_bytes(s->guesses, m->roots, 1, true) -
               drafter_bytes(s->guesses, m->roots, 1, false);
    if ((rc = check_budget(m, s, e))) return rc;
    arena = z.arena_bytes + z.plan_bytes;
    plan_settings_leave(s, m->bytes);
    if (s->shm_free != UINT64_MAX) s->shm_free -= arena < s->shm_free ? arena : s->shm_free;
    return 0;
}

uint64_t draft_model_bytes(const struct draft_model *m)
{
    return m->bytes;
}

double draft_model_seconds(const struct draft_model *m, uint32_t positions)
{
    return m->costs.first + (positions - 1.0) * (m->costs.position + m->costs.row);
}

const char *draft_model_name(const struct draft_model *m)
{
    return m->name;
}

/* ---- running ---- */

int draft_model_start(struct draft_model *m, const struct plan_run *run, const struct draft_model_watch *w,
                      struct error *e)
{
    struct neural_config c;
    int rc;

    m->roots = run->sequences;
    c = config_of(m);
    c.tick = w->tick;
    c.tick_arg = w->tick_arg;
    c.log = w->log;
    c.log_arg = w->log_arg;
    rc = neural_open(&m->neural, &c, e);
    return rc ? error_prefix(e, "--draft") : 0;
}

struct neural *draft_model_neural(const struct draft_model *m)
{
    return m->neural;
}

uint32_t draft_model_width(const struct draft_model *m)
{
    return m->width;
}

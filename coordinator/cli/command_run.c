/* sluice run: continues a text and prints the continuation only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/input.h"
#include "coordinator/cli/prompt.h"
#include "coordinator/cli/run_prompts.h"
#include "coordinator/batch/generate.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/text/buffer.h"
#include "coordinator/view/summary.h"
#include "coordinator/view/view.h"
#include "proto/base/clock.h"

struct answer {
    struct view *view;
    bool json;
    struct buffer text; /* kept for --json */
};

static int on_text(void *arg, const char *text, size_t bytes, struct error *e)
{
    struct answer *a = arg;

    return a->json ? buffer_put(&a->text, text, bytes, e) : view_text(a->view, text, bytes, e);
}

static int answer(struct instance *i, const struct token_ids *prompt, struct answer *a, uint64_t start, struct error *e)
{
    const struct options *o = instance_options(i);
    struct generate_config c = {.sampling = instance_sampling(i),
                                .max_tokens = o->max_tokens > 0 ? (uint64_t)o->max_tokens : 0,
                                .stop = o->stop,
                                .stops = o->stops,
                                .text = on_text,
                                .arg = a};
    struct generate_result r = {.end = END_LENGTH};
    struct summary_input x = {.instance = i, .start_ns = start, .prompt_tokens = prompt->count, .result = &r};
    struct sequence *q = NULL;
    int rc = scheduler_sequence(instance_scheduler(i), &q, instance_context(i), e);

    if (!rc) rc = sequence_append(q, prompt->id, prompt->count, e);
    if (!rc) view_total(a->view, prompt->count, c.max_tokens ? c.max_tokens : instance_context(i) - prompt->count);
    if (!rc && o->max_tokens != 0) rc = generate(i, q, &c, &r, e);
    sequence_close(q);
    if (rc) return rc;
    x.end_ns = clock_ns();
    x.text = a->text.data;
    x.text_bytes = a->text.bytes;
    if (!o->json && (rc = view_text(a->view, "\n", 1, e))) return rc;
    view_hide(a->view);
    if (o->verbose && !o->quiet) summary_print(&x);
    return o->json ? summary_print_json(&x, e) : 0;
}

static int run_one(const struct options *o, struct instance *i, struct answer *a, uint64_t start, struct error *e)
{
    struct token_ids prompt = {0};
    char *text = NULL;
    size_t bytes = 0;
    int rc = prompt_read(i, &text, &bytes, e);

    if (!rc && !o->prompt && !o->prompt_file && isatty(STDIN_FILENO)) view_echoed(a->view, text, bytes);
    if (!rc) prompt_trim(o, text, &bytes);
    if (!rc) rc = prompt_encode(i, text, bytes, &prompt, e);
    if (!rc && !prompt.count)
        rc = error_set(e, EINVAL, "the prompt is empty: give one with -p, -f or on standard input");
    if (!rc) rc = instance_start(i, &(struct instance_load){.prompt_tokens = (uint32_t)prompt.count}, e);
    if (!rc) rc = answer(i, &prompt, a, start, e);
    free(text);
    token_ids_free(&prompt);
    return rc;
}

int command_run(const struct options *o, struct error *e)
{
    struct instance_config c = {
        .options = o, .text = true, .template = o->chat ? PARTS_TEMPLATE_MUST : PARTS_NO_TEMPLATE};
    struct batch_observer observer;
    struct instance *i = NULL;
    struct answer a = {.json = o->json};
    struct inputs in = input_all(o);
    struct output_options keep = inputs_options(&in);
    uint64_t start = clock_ns();
    struct error second;
    int rc, rc2;

    interrupt_setup();
    rc = view_open(&a.view, o->quiet, o->trace, &keep, e);
    if (rc) return rc;
    observer = view_observer(a.view);
    c.observer = &observer;
    rc = instance_load(&i, &c, e);
    if (!rc) rc = o->prompts ? run_prompts(i, a.view, start, e) : run_one(o, i, &a, start, e);
    instance_close(i);
    rc2 = view_close(a.view, &second);
    if (!rc && rc2) {
        *e = second;
        rc = rc2;
    }
    buffer_free(&a.text);
    return rc;
}

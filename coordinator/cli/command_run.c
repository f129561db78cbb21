/* sluice run: continues a text and prints the continuation only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/prompt.h"
#include "coordinator/batch/generate.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/view/summary.h"
#include "coordinator/view/view.h"
#include "proto/base/clock.h"

struct answer {
    struct view *view;
    bool json;
    char *text; /* kept for --json */
    size_t bytes, room;
};

static int on_text(void *arg, const char *text, size_t bytes, struct error *e)
{
    struct answer *a = arg;

    if (!a->json) return view_text(a->view, text, bytes, e);
    if (a->bytes + bytes > a->room) {
        size_t room = 2 * (a->bytes + bytes) + 1024;
        char *more = realloc(a->text, room);

        if (!more) return error_set(e, ENOMEM, "out of memory");
        a->text = more;
        a->room = room;
    }
    memcpy(a->text + a->bytes, text, bytes);
    a->bytes += bytes;
    return 0;
}

static int answer(const struct options *o, struct session *s, struct token_ids *prompt, struct answer *a,
                  uint64_t start, struct error *e)
{
    struct generate_config c = {.max_tokens = o->max_tokens > 0 ? (uint64_t)o->max_tokens : 0,
                                .stop = o->stop,
                                .stops = o->stops,
                                .text = on_text,
                                .arg = a};
    struct generate_result r = {0};
    struct summary_input x = {.session = s, .start_ns = start, .prompt_tokens = prompt->count, .result = &r};
    int rc = session_append(s, prompt->id, prompt->count, e);

    if (rc) return rc;
    view_total(s->view, prompt->count, c.max_tokens ? c.max_tokens : session_context(s) - prompt->count);
    if (o->max_tokens != 0) rc = generate(s, &c, &r, e);
    view_hide(s->view);
    if (rc) return rc;
    x.end_ns = clock_ns();
    x.text = a->text;
    x.text_bytes = a->bytes;
    if (!o->json && (rc = view_text(s->view, "\n", 1, e))) return rc;
    if (o->verbose && !o->quiet) summary_print(&x);
    return o->json ? summary_print_json(&x, e) : 0;
}

int command_run(const struct options *o, struct error *e)
{
    struct session s = {0};
    struct session_config c = {.options = o, .text = true};
    struct token_ids prompt = {0};
    struct answer a = {.json = o->json};
    uint64_t start = clock_ns();
    char *text = NULL;
    size_t bytes = 0;
    struct error second;
    int rc, rc2;

    interrupt_setup();
    rc = view_open(&a.view, o->quiet, o->trace, e);
    if (rc) return rc;
    s.view = a.view;
    rc = session_load(&s, &c, e);
    if (!rc) rc = prompt_read(o, &text, &bytes, e);
    if (!rc) rc = prompt_encode(o, s.tokenizer, text, bytes, &prompt, e);
    if (!rc && !prompt.count)
        rc = error_set(e, EINVAL, "the prompt is empty: give one with -p, -f or on standard input");
    c.prompt_tokens = (uint32_t)prompt.count;
    if (!rc) rc = session_start(&s, &c, e);
    if (!rc) rc = answer(o, &s, &prompt, &a, start, e);
    session_close(&s);
    rc2 = view_close(a.view, &second);
    if (!rc && rc2) {
        *e = second;
        rc = rc2;
    }
    free(a.text);
    free(text);
    token_ids_free(&prompt);
    return rc;
}

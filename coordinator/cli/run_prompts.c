#include "coordinator/cli/run_prompts.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/batch/generate.h"
#include "coordinator/cli/input_lines.h"
#include "coordinator/cli/prompt.h"
#include "coordinator/text/buffer.h"
#include "coordinator/text/json.h"
#include "coordinator/view/summary.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define PARALLEL_MOST 64u /* at once, where --parallel does not say */

struct item {
    struct token_ids prompt;
    struct buffer text; /* of the answer, until it is printed; with --json all of it */
    struct generate_result result;
    bool done;
};

struct prompts {
    const struct options *options;
    struct view *view;
    struct item *item;
    uint32_t count, printed;  /* items whose answer is out */
    struct input_limit limit; /* of a prompt */
    uint64_t held, held_most; /* memory of all of them, and what there is for it */
    uint64_t tokens;
};

/* ---- the file ---- */

/* Spelled as JSON, a byte of text is at most the six of \u0001; and the quotation marks. */
#define JSON_SPELLED 6u

static int no_prompt(const struct prompts *p, uint64_t number, const char *why, struct error *e)
{
    return error_set(e, EINVAL, "%s, line %llu: %s", input_name(p->options->prompts), (unsigned long long)number, why);
}

/* A line is a prompt as it stands, or a JSON string where it begins with a quotation mark and is one. */
static int encode_line(struct prompts *p, struct instance *i, const char *line, size_t bytes, struct token_ids *ids,
                       struct error *e)
{
    struct error unread;
    const char *text = line;
    json_t *s = NULL;
    int rc = line[0] == '"' ? json_read_text(&s, line, bytes, "", JSON_READ_ANY, &unread) : 0;

    if (rc == -ENOMEM) return error_set(e, ENOMEM, "out of memory");
    if (!rc && json_is_string(s)) {
        text = json_string_value(s);
        bytes = json_string_length(s);
    }
    rc = bytes > p->limit.bytes ? input_too_long("the prompt", &p->limit, e) : prompt_encode(i, text, bytes, ids, e);
    json_decref(s);
    return rc;
}

static int add_line(struct prompts *p, struct instance *i, const char *line, size_t bytes, uint64_t number,
                    struct error *e)
{
    struct item *more = realloc(p->item, (p->count + 1) * sizeof *more);
    struct token_ids *ids;
    int rc;

    if (!more) return error_set(e, ENOMEM, "out of memory");
    p->item = more;
    p->item[p->count++] = (struct item){0};
    ids = &p->item[p->count - 1].prompt;
    rc = encode_line(p, i, line, bytes, ids, e);
    if (rc) return error_prefix(e, "%s, line %llu", input_name(p->options->prompts), (unsigned long long)number);
    if (!ids->count) return no_prompt(p, number, "the prompt has no tokens", e);
    p->held += sizeof *more + ids->capacity * sizeof *ids->id;
    if (p->held > p->held_most)
        return no_prompt(p, number, "these prompts take more memory than there is for them; give them in parts", e);
    return 0;
}

/* Lines that are empty are no prompts. */
static int read_lines(struct prompts *p, struct instance *i, struct input_lines *l, struct error *e)
{
    const char *line;
    size_t bytes;
    int rc;

    for (uint64_t number = 1; !(rc = input_lines_next(l, &line, &bytes, e)); number++) {
        while (bytes && (line[bytes - 1] == '\n' || line[bytes - 1] == '\r')) bytes--;
        if (bytes && (rc = add_line(p, i, line, bytes, number, e))) return rc;
    }
    return rc == -ENODATA ? 0 : rc;
}

static int read_prompts(struct prompts *p, struct instance *i, struct error *e)
{
    struct input_limit line;
    struct input_lines lines;
    int rc;

    line = p->limit = prompt_limit(i, 0);
    line.bytes = JSON_SPELLED * line.bytes + 2;
    p->held_most = prompt_memory(i);
    if ((rc = input_lines_open(&lines, p->options->prompts, &line, e))) return rc;
    rc = read_lines(p, i, &lines, e);
    input_lines_close(&lines);
    if (!rc && !p->count)
        rc = error_set(e, EINVAL, "%s holds no prompts: one a line, or a JSON string a line",
                       input_name(p->options->prompts));
    return rc;
}

/* ---- the answers ---- */

static int print_json(struct prompts *p, const struct item *x, struct error *e)
{
    json_t *o = json_pack("{s:i,s:s%,s:s,s:I,s:I}", "index", (int)p->printed, "text", x->text.data ? x->text.data : "",
                          x->text.bytes, "end", generate_end_name(x->result.end), "prompt_tokens",
                          (json_int_t)x->result.prompt_tokens, "tokens", (json_int_t)x->result.tokens);
    char *line = o ? json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    int rc = line ? view_text(p->view, line, strlen(line), e) : error_set(e, ENOMEM, "out of memory");

    free(line);
    json_decref(o);
    return rc;
}

/* What can be printed now: answers that are done, and the beginning of the next one. */
static int print_ready(struct prompts *p, struct error *e)
{
    int rc = 0;

    for (bool more = true; more && !rc && p->printed < p->count;) {
        struct item *x = &p->item[p->printed];

        more = x->done;
        if (!p->options->json)
            rc = view_text(p->view, x->text.data, x->text.bytes, e);
        else if (x->done)
            rc = print_json(p, x, e);
        if (!p->options->json) x->text.bytes = 0;
        if (!rc && x->done) rc = view_text(p->view, "\n", 1, e);
        if (!x->done) continue;
        buffer_free(&x->text);
        p->printed++;
    }
    return rc;
}

static int on_text(void *arg, uint32_t n, const char *text, size_t bytes, struct error *e)
{
    struct prompts *p = arg;
    int rc = buffer_put(&p->item[n].text, text, bytes, e);

    return rc || n != p->printed ? rc : print_ready(p, e);
}

static int on_done(void *arg, uint32_t n, const struct generate_result *r, struct error *e)
{
    struct prompts *p = arg;

    p->item[n].result = *r;
    p->item[n].done = true;
    p->tokens += r->tokens;
    return n == p->printed ? print_ready(p, e) : 0;
}

static void tell(const struct prompts *p, const struct instance *i, uint64_t start_ns)
{
    const struct scheduler_times *t = instance_times(i);

    if (!p->options->verbose || p->options->quiet) return;
    log_at(LOG_INFO,
           "%u answers of %llu tokens in %.2f s, %u at once; %llu sweeps of %.3f s gave %.3g tokens/s, %.3g in a sweep",
           p->count, (unsigned long long)p->tokens, (double)(clock_ns() - start_ns) / 1e9,
           instance_plan(i)->run.sequences, (unsigned long long)t->decode_sweeps,
           t->decode_sweeps ? (double)t->decode_ns / 1e9 / (double)t->decode_sweeps : 0.0,
           t->decode_ns ? (double)t->decode_tokens / ((double)t->decode_ns / 1e9) : 0.0,
           t->decode_sweeps ? (double)t->decode_tokens / (double)t->decode_sweeps : 0.0);
}

static int generate_prompts(struct prompts *p, struct instance *i, struct error *e)
{
    const struct options *o = p->options;
    struct generate_prompt *list = calloc(p->count + 1u, sizeof *list);
    struct generate_many m = {.prompt = list,
                              .prompts = p->count,
                              .each = {.sampling = instance_sampling(i),
                                       .max_tokens = o->max_tokens > 0 ? (uint64_t)o->max_tokens : 0,
                                       .stop = o->stop,
                                       .stops = o->stops},
                              .text = on_text,
                              .done = on_done,
                              .arg = p};
    uint64_t prompt = 0;
    int rc;

    if (!list) return error_set(e, ENOMEM, "out of memory");
    for (uint32_t n = 0; n < p->count; n++) {
        list[n] = (struct generate_prompt){p->item[n].prompt.id, (uint32_t)p->item[n].prompt.count};
        prompt += list[n].tokens;
    }
    view_total(p->view, prompt, p->count * (m.each.max_tokens ? m.each.max_tokens : 256));
    rc = generate_all(i, &m, e);
    free(list);
    return rc;
}

int run_prompts(struct instance *i, struct view *v, uint64_t start_ns, struct error *e)
{
    struct prompts p = {.options = instance_options(i), .view = v};
    struct instance_load load = {.fewer = true};
    uint64_t most = p.options->parallel ? (uint64_t)p.options->parallel : PARALLEL_MOST, all = 0;
    int rc = read_prompts(&p, i, e);

    for (uint32_t n = 0; n < p.count; n++) {
        if (p.item[n].prompt.count > load.prompt_tokens) load.prompt_tokens = (uint32_t)p.item[n].prompt.count;
        if (n < most) all += p.item[n].prompt.count;
    }
    load.all_tokens = all > UINT32_MAX ? UINT32_MAX : (uint32_t)all;
    load.sequences = p.count < most ? p.count : (uint32_t)most;
    load.fewer = !p.options->parallel;
    if (!rc) rc = instance_start(i, &load, e);
    if (!rc && p.options->max_tokens != 0) rc = generate_prompts(&p, i, e);
    view_hide(v);
    if (!rc) tell(&p, i, start_ns);
    for (uint32_t n = 0; n < p.count; n++) {
        token_ids_free(&p.item[n].prompt);
        buffer_free(&p.item[n].text);
    }
    free(p.item);
    return rc;
}

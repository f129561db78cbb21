#include "coordinator/cli/chat.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/cli/template_vars.h"
#include "coordinator/cli/values.h"
#include "coordinator/run/interrupt.h"

/* ---- opening ---- */

static int say(void *arg, bool thinking, const char *text, size_t bytes, struct error *e);

int chat_open(struct chat *c, const struct options *o, struct error *e)
{
    struct session_config sc = {.options = o, .text = true};
    int rc;

    *c = (struct chat){.options = o, .think = o->think, .max_tokens = o->max_tokens > 0 ? (uint64_t)o->max_tokens : 0};
    c->terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    c->filter = (struct think){.text = say, .arg = c};
    c->messages = json_array();
    if (!c->messages) return error_set(e, ENOMEM, "out of memory");
    if ((rc = view_open(&c->view, o->quiet, o->trace, e))) return rc;
    c->session.view = c->view;
    if ((rc = session_load(&c->session, &sc, e))) return rc;
    rc = template_open(&c->template, o->model, NULL, e);
    if (rc && rc != -ENOENT) return rc;
    if (o->system && (rc = chat_system(c, o->system, e))) return rc;
    return session_start(&c->session, &sc, e);
}

void chat_close(struct chat *c)
{
    struct error ignored;

    session_close(&c->session);
    template_close(c->template);
    json_decref(c->messages);
    view_close(c->view, &ignored);
    free(c->answer);
}

/* ---- what is shown and kept of an answer ---- */

static int say(void *arg, bool thinking, const char *text, size_t bytes, struct error *e)
{
    struct chat *c = arg;
    int rc = 0;

    if (thinking && c->think == THINK_HIDE) return 0;
    if (c->terminal && thinking != c->dimmed) {
        rc = view_text(c->view, thinking ? "\033[2m" : "\033[0m", 4, e);
        c->dimmed = thinking;
    }
    return rc ? rc : view_text(c->view, text, bytes, e);
}

static int on_text(void *arg, const char *text, size_t bytes, struct error *e)
{
    struct chat *c = arg;

    if (c->answer_bytes + bytes + 1 > c->answer_room) {
        size_t room = 2 * (c->answer_bytes + bytes) + 1024;
        char *more = realloc(c->answer, room);

        if (!more) return error_set(e, ENOMEM, "out of memory");
        c->answer = more;
        c->answer_room = room;
    }
    memcpy(c->answer + c->answer_bytes, text, bytes);
    c->answer_bytes += bytes;
    c->answer[c->answer_bytes] = 0;
    return think_push(&c->filter, text, bytes, e);
}

/* ---- turns ---- */

static int render(struct chat *c, char **text, size_t *bytes, struct error *e)
{
    struct options o = *c->options;
    json_t *vars = NULL;
    struct tm date;
    int rc;

    o.think = c->think;
    if (o.date) value_date(o.date, &date); /* was checked */
    if ((rc = template_vars(&o, c->messages, true, &vars, e))) return rc;
    rc = template_render(c->template, vars, o.date ? &date : NULL, text, bytes, e);
    json_decref(vars);
    return rc;
}

/* Without a template: all that was said, as it was said. */
static int join(struct chat *c, char **text, size_t *bytes, struct error *e)
{
    size_t i, n = 0;
    json_t *m;
    char *t;

    json_array_foreach(c->messages, i, m) n += json_string_length(json_object_get(m, "content"));
    t = malloc(n + 1);
    if (!t) return error_set(e, ENOMEM, "out of memory");
    *text = t;
    *bytes = n;
    json_array_foreach(c->messages, i, m) {
        json_t *s = json_object_get(m, "content");

        memcpy(t, json_string_value(s), json_string_length(s));
        t += json_string_length(s);
    }
    *t = 0;
    return 0;
}

/* The rendered chat becomes the session's sequence; what is the same as before stays computed. */
static int load_sequence(struct chat *c, const char *text, size_t bytes, struct error *e)
{
    struct session *s = &c->session;
    struct token_ids ids = {0};
    size_t same = 0;
    int rc = tokenizer_encode(s->tokenizer, text, bytes, !c->template, &ids, e);

    if (!rc && !ids.count) rc = error_set(e, EINVAL, "there is nothing to answer");
    while (!rc && same < ids.count && same < s->tokens.count && ids.id[same] == s->tokens.id[same]) same++;
    if (!rc) {
        session_truncate(s, same);
        c->reused = s->cached;
        rc = session_append(s, ids.id + same, ids.count - same, e);
        view_total(c->view, s->tokens.count, c->max_tokens ? c->max_tokens : 256);
    }
    token_ids_free(&ids);
    return rc;
}

static int keep_answer(struct chat *c, struct error *e)
{
    json_t *m = json_pack("{s:s,s:s%}", "role", "assistant", "content", c->answer ? c->answer : "", c->answer_bytes);

    return m && !json_array_append_new(c->messages, m) ? 0 : error_set(e, ENOMEM, "out of memory");
}

static int answer(struct chat *c, struct error *e)
{
    struct generate_config g = {.max_tokens = c->max_tokens, .stop = c->options->stop, .stops = c->options->stops, .text = on_text, .arg = c};
    struct generate_result r;
    char *text = NULL;
    size_t bytes = 0;
    int rc = c->template ? render(c, &text, &bytes, e) : join(c, &text, &bytes, e);

    c->answer_bytes = 0;
    if (!rc) rc = load_sequence(c, text, bytes, e);
    if (!rc) {
        think_begin(&c->filter, c->template && think_left_open(text, bytes));
        rc = generate(&c->session, &g, &r, e);
        view_hide(c->view);
        c->tokens += r.tokens;
        if (rc == -ECANCELED && interrupt_signal() == SIGINT && c->terminal) {
            interrupt_clear();
            rc = 0;
        }
        if (!rc) rc = think_end(&c->filter, e);
        if (c->dimmed && !rc) rc = view_text(c->view, "\033[0m", 4, e);
        c->dimmed = false;
        if (!rc) rc = view_text(c->view, "\n", 1, e);
        if (!rc) rc = keep_answer(c, e);
        c->turns++;
    }
    free(text);
    return rc;
}

int chat_ask(struct chat *c, const char *text, size_t bytes, struct error *e)
{
    json_t *m = json_pack("{s:s,s:s%}", "role", "user", "content", text, bytes);
    size_t had = json_array_size(c->messages);
    int rc;

    if (!m) return error_set(e, EILSEQ, "the question is not UTF-8");
    if (json_array_append_new(c->messages, m)) return error_set(e, ENOMEM, "out of memory");
    rc = answer(c, e);
    while (rc && json_array_size(c->messages) > had) json_array_remove(c->messages, had); /* as if not asked */
    return rc;
}

static bool last_is(const struct chat *c, const char *role)
{
    json_t *m = json_array_get(c->messages, json_array_size(c->messages) - 1);
    const char *r = m ? json_string_value(json_object_get(m, "role")) : NULL;

    return r && !strcmp(r, role);
}

static void drop_last(struct chat *c)
{
    json_array_remove(c->messages, json_array_size(c->messages) - 1);
}

int chat_retry(struct chat *c, struct error *e)
{
    if (last_is(c, "assistant")) drop_last(c);
    if (!last_is(c, "user")) return error_set(e, EINVAL, "there is no question yet");
    c->session.sampling.seed++;
    return answer(c, e);
}

void chat_undo(struct chat *c)
{
    if (last_is(c, "assistant")) drop_last(c);
    if (last_is(c, "user")) drop_last(c);
}

void chat_clear(struct chat *c)
{
    while (json_array_size(c->messages) && !(json_array_size(c->messages) == 1 && last_is(c, "system"))) drop_last(c);
}

int chat_system(struct chat *c, const char *text, struct error *e)
{
    json_t *first = json_array_get(c->messages, 0), *m;
    const char *role = first ? json_string_value(json_object_get(first, "role")) : NULL;

    if (role && !strcmp(role, "system")) json_array_remove(c->messages, 0);
    if (!*text) return 0;
    m = json_pack("{s:s,s:s}", "role", "system", "content", text);
    if (!m || json_array_insert_new(c->messages, 0, m)) return error_set(e, EILSEQ, "the system message is not UTF-8");
    return 0;
}

int chat_save(struct chat *c, const char *path, struct error *e)
{
    return json_dump_file(c->messages, path, JSON_INDENT(2)) ? error_set(e, errno, "cannot write %s: %s", path, error_name(errno)) : 0;
}

int chat_load(struct chat *c, const char *path, struct error *e)
{
    json_error_t j;
    json_t *list = json_load_file(path, 0, &j), *m, *inner;
    size_t i;

    if (!list) return error_set(e, EINVAL, "%s, line %d: %s", path, j.line, j.text);
    inner = json_object_get(list, "messages");
    if (inner) {
        json_incref(inner);
        json_decref(list);
        list = inner;
    }
    if (!json_is_array(list)) {
        json_decref(list);
        return error_set(e, EINVAL, "%s holds no list of messages", path);
    }
    json_array_foreach(list, i, m) {
        if (json_is_string(json_object_get(m, "role")) && json_is_string(json_object_get(m, "content"))) continue;
        json_decref(list);
        return error_set(e, EINVAL, "%s: message %zu has no role or no content", path, i + 1);
    }
    json_decref(c->messages);
    c->messages = list;
    return 0;
}

/* Text as it streams, told apart into content and calls. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/buffer.h"
#include "coordinator/tools/form.h"

struct tools_parser {
    enum tools_form form;
    json_t *tools;
    struct tools_listener to;
    struct buffer held;
    bool calling; /* held begins with a mark, or is within a section */
    bool section, first;
    bool said; /* content has come */
    uint32_t calls;
};

int tools_open(struct tools_parser **out, enum tools_form f, const json_t *tools, const struct tools_listener *l,
               struct error *e)
{
    struct tools_parser *p = calloc(1, sizeof *p);

    if (!p) return error_set(e, ENOMEM, "out of memory");
    p->form = f;
    p->tools = json_incref((json_t *)(uintptr_t)tools);
    p->to = *l;
    *out = p;
    return 0;
}

void tools_close(struct tools_parser *p)
{
    if (!p) return;
    json_decref(p->tools);
    buffer_free(&p->held);
    free(p);
}

uint32_t tools_calls(const struct tools_parser *p)
{
    return p->calls;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Behind a call, before content or another call. */
static bool is_between(const struct tools_parser *p, char c)
{
    return is_space(c) || (p->form == TOOLS_LLAMA && c == ';');
}

/* The first n bytes that are held are content, but for what stands between calls. */
static int give(struct tools_parser *p, size_t n, struct error *e)
{
    size_t from = 0;
    int rc = 0;

    if (p->calls && !p->said)
        while (from < n && is_between(p, p->held.data[from])) from++;
    if (from < n) {
        p->said = true;
        rc = p->to.content(p->to.arg, p->held.data + from, n - from, e);
    }
    buffer_drop(&p->held, n);
    return rc;
}

/* Marks that begin calls, where they are one of several; NULL ends them. */
static void begins(const struct tools_parser *p, const char *mark[4])
{
    const struct tools_shape *f = &tools_shapes[p->form];

    mark[0] = f->section ? f->section : f->begin;
    mark[1] = p->form == TOOLS_HARMONY ? "<|start|>assistant to=functions." : NULL;
    mark[2] = p->form == TOOLS_HARMONY && !p->said && !p->calls ? " to=functions." : NULL;
    mark[3] = NULL;
}

/* Where the first mark stands, or what may become one: *sure says which. White space before it belongs to it. */
static size_t find_mark(const struct tools_parser *p, bool final, bool *sure)
{
    const char *mark[4];
    size_t at = p->held.bytes;

    *sure = false;
    begins(p, mark);
    for (size_t i = 0; i < p->held.bytes && at == p->held.bytes; i++)
        for (int k = 0; mark[k]; k++) {
            size_t n = strlen(mark[k]), left = p->held.bytes - i;

            if (k == 2 && i) continue; /* at the very beginning only */
            if (memcmp(p->held.data + i, mark[k], n < left ? n : left)) continue;
            if (left < n && final) continue;
            *sure = left >= n;
            at = i;
            break;
        }
    return at;
}

/* A call without a mark: the whole answer is one, or several with ; between them. Where its { is; held.bytes: there is none. */
static size_t find_bare(const struct tools_parser *p)
{
    size_t i = 0;

    if (p->form != TOOLS_LLAMA || p->said) return p->held.bytes;
    while (i < p->held.bytes && (is_space(p->held.data[i]) || (p->calls && is_between(p, p->held.data[i])))) i++;
    return i < p->held.bytes && p->held.data[i] == '{' ? i : p->held.bytes;
}

/* Content up to a mark. *wait: nothing more can be said without further text. */
static int content(struct tools_parser *p, bool final, bool *wait, struct error *e)
{
    bool sure;
    size_t at = find_mark(p, final, &sure), keep, bare = find_bare(p);
    int rc;

    if (bare < p->held.bytes) {
        buffer_drop(&p->held, bare);
        p->calling = true;
        return 0;
    }
    keep = at;
    if (!final || sure)
        while (keep && is_space(p->held.data[keep - 1])) keep--;
    *wait = !sure;
    rc = give(p, keep, e);
    if (rc || !sure) return rc;
    buffer_drop(&p->held, at - keep);
    p->calling = true;
    return 0;
}

/* Harmony's other beginnings are made the usual one. */
static void same_mark(struct tools_parser *p)
{
    static const char *const others[] = {"<|start|>assistant to=functions.", " to=functions."};
    const char *usual = tools_shapes[p->form].begin;

    if (p->form != TOOLS_HARMONY) return;
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(others[i]);

        if (p->held.bytes < n || memcmp(p->held.data, others[i], n)) continue;
        buffer_drop(&p->held, n);
        buffer_insert(&p->held, 0, usual, strlen(usual));
    }
}

/* It was no call: its first character is content, and what follows is looked at again. */
static int no_call(struct tools_parser *p, struct error *e)
{
    size_t n;

    if (p->section && p->first)
        buffer_insert(&p->held, 0, tools_shapes[p->form].section, strlen(tools_shapes[p->form].section));
    if (p->held.failed) return error_set(e, ENOMEM, "out of memory");
    n = p->held.bytes ? 1 : 0;
    while (n < p->held.bytes && ((uint8_t)p->held.data[n] & 0xC0) == 0x80) n++;
    p->calling = p->section = false;
    if (p->form == TOOLS_LLAMA) p->said = true;
    return give(p, n, e);
}

static int called(struct tools_parser *p, const struct tools_next *n, struct error *e)
{
    int rc = p->to.call(p->to.arg, n->call, n->arguments, e);

    p->calls++;
    p->said = false;
    p->calling = p->section;
    buffer_drop(&p->held, n->used);
    return rc;
}

static int next(struct tools_parser *p, bool final, bool *wait, struct error *e)
{
    struct tools_next n = {.section = p->section, .first = p->first, .final = final};
    enum tools_found found;
    int rc = 0;

    same_mark(p);
    found = tools_next(p->form, p->tools, p->held.data ? p->held.data : "", p->held.bytes, &n);
    p->section = n.section;
    p->first = n.first;
    switch (found) {
    case FOUND_MORE: *wait = true; break;
    case FOUND_CALL: rc = called(p, &n, e); break;
    case FOUND_END:
        buffer_drop(&p->held, n.used);
        p->calling = p->section;
        break;
    default: rc = no_call(p, e); break;
    }
    free(n.call);
    free(n.arguments);
    return rc;
}

static int work(struct tools_parser *p, bool final, struct error *e)
{
    bool wait = false;
    int rc = 0;

    while (!rc && !wait && (p->held.bytes || (final && p->calling)))
        rc = p->calling ? next(p, final, &wait, e) : content(p, final, &wait, e);
    return rc;
}

int tools_push(struct tools_parser *p, const char *text, size_t bytes, struct error *e)
{
    buffer_append(&p->held, text, bytes);
    if (p->held.failed) return error_set(e, ENOMEM, "out of memory");
    return work(p, false, e);
}

int tools_finish(struct tools_parser *p, struct error *e)
{
    int rc = work(p, true, e);

    return rc ? rc : give(p, p->held.bytes, e);
}

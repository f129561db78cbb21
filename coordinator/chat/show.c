/* An answer on its way to the reader. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/chat/chat.h"
#include "coordinator/view/terminal.h"

/* Through the view, so that it knows where the cursor is. */
static int put(struct chat *c, const char *text, size_t bytes, struct error *e)
{
    if (bytes) c->last = text[bytes - 1];
    return view_text(c->view, text, bytes, e);
}

/* Not through the view: these take no cell. */
static void style(struct chat *c, const char *sequence)
{
    if (c->styled) terminal_raw(stdout, sequence);
}

/* Where thinking is not dimmed, its tags tell it apart. */
static int change(struct chat *c, bool thinking, struct error *e)
{
    const char *text = c->last == '\n' ? "\n" : "\n\n";
    int rc = 0;

    c->thinking = thinking;
    if (c->think != THINK_SHOW) {
        if (thinking) chat_remark(c, "(thinking)");
        return 0;
    }
    if (!c->styled)
        rc = thinking ? put(c, "<think>\n", 8, e)
                      : put(c, c->last == '\n' ? "</think>\n" : "\n</think>\n", c->last == '\n' ? 9 : 10, e);
    if (!rc && !thinking) rc = put(c, c->styled ? text : "\n", c->styled ? strlen(text) : 1, e);
    return rc;
}

int chat_show(void *chat, bool thinking, const char *text, size_t bytes, struct error *e)
{
    struct chat *c = chat;
    int rc = buffer_put(thinking ? &c->thought : &c->told, text, bytes, e);

    if (!rc && thinking != c->thinking) rc = change(c, thinking, e);
    if (rc || (thinking && c->think != THINK_SHOW)) return rc;
    if (thinking) style(c, TERMINAL_DIM); /* for each piece: the progress line in between ends with none */
    rc = put(c, text, bytes, e);
    if (thinking) style(c, TERMINAL_PLAIN);
    return rc;
}

int chat_show_end(struct chat *c, struct error *e)
{
    int rc = 0;

    if (c->thinking && c->think == THINK_SHOW && !c->styled) rc = change(c, false, e);
    c->thinking = false;
    if (!rc && (c->last != '\n' || !c->interactive)) rc = put(c, "\n", 1, e);
    c->last = '\n';
    return rc;
}

void chat_remark(const struct chat *c, const char *format, ...)
{
    bool dim = terminal_color(2);
    va_list list;

    if (!c->interactive) return;
    view_interrupt(c->view);
    fflush(stdout);
    if (dim) terminal_raw(stderr, TERMINAL_DIM);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    if (dim) terminal_raw(stderr, TERMINAL_PLAIN);
    fputc('\n', stderr);
}

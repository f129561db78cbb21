#include "coordinator/view/think.h"

#include <string.h>

static const char open_tag[] = "<think>", close_tag[] = "</think>";

void think_begin(struct think *t, bool inside)
{
    t->inside = inside;
    t->bytes = 0;
}

static int say(struct think *t, const char *text, size_t bytes, struct error *e)
{
    return bytes ? t->text(t->arg, t->inside, text, bytes, e) : 0;
}

/* One byte more of a possible tag; a tag is never longer than held. */
static int step(struct think *t, char c, struct error *e)
{
    const char *tag = t->inside ? close_tag : open_tag;
    int rc;

    t->held[t->bytes++] = c;
    while (t->bytes && memcmp(t->held, tag, t->bytes)) { /* not a tag: the first byte is text */
        if ((rc = say(t, t->held, 1, e))) return rc;
        memmove(t->held, t->held + 1, --t->bytes);
    }
    if (t->bytes == strlen(tag)) {
        t->inside = !t->inside;
        t->bytes = 0;
    }
    return 0;
}

int think_push(struct think *t, const char *text, size_t bytes, struct error *e)
{
    size_t from = 0;
    int rc;

    while (from < bytes) {
        const char *at = t->bytes ? text + from : memchr(text + from, '<', bytes - from);
        size_t plain = at ? (size_t)(at - text) - from : bytes - from;

        if ((rc = say(t, text + from, plain, e))) return rc;
        from += plain;
        if (from < bytes && (rc = step(t, text[from++], e))) return rc;
    }
    return 0;
}

int think_end(struct think *t, struct error *e)
{
    size_t n = t->bytes;

    t->bytes = 0;
    return say(t, t->held, n, e);
}

bool think_left_open(const char *prompt, size_t bytes)
{
    const char *at = prompt, *last = NULL, *end = prompt + bytes;

    while ((at = memmem(at, (size_t)(end - at), open_tag, strlen(open_tag)))) last = at++;
    return last && !memmem(last, (size_t)(end - last), close_tag, strlen(close_tag));
}

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/chat/chat.h"
#include "coordinator/cli/input_lines.h"
#include "coordinator/engine/interrupt.h"

struct chat_input {
    struct chat_editor *editor; /* NULL: plain lines */
    struct input_lines plain;
};

int chat_input_open(struct chat_input **out, bool terminal, const struct input_limit *limit, struct error *e)
{
    struct chat_input *in = calloc(1, sizeof *in);
    int rc;

    if (!in) return error_set(e, ENOMEM, "out of memory");
    *out = in;
    rc = input_lines_open(&in->plain, NULL, limit, e);
    if (!rc && terminal) rc = chat_editor_open(&in->editor, e);
    if (rc) {
        free(in);
        *out = NULL;
    }
    return rc;
}

void chat_input_close(struct chat_input *in)
{
    if (!in) return;
    chat_editor_close(in->editor);
    input_lines_close(&in->plain);
    free(in);
}

static int read_line(struct chat_input *in, bool more, const char **line, size_t *bytes, struct error *e)
{
    int rc =
        in->editor ? chat_editor_read(in->editor, more, line, bytes) : input_lines_next(&in->plain, line, bytes, e);

    return rc == -ECANCELED ? -EINTR : rc;
}

/* Takes the end of the line away. True where the message goes on. */
static bool goes_on(const struct chat_input *in, struct buffer *t)
{
    while (t->bytes && (t->data[t->bytes - 1] == '\n' || t->data[t->bytes - 1] == '\r')) t->bytes--;
    if (!t->bytes || t->data[t->bytes - 1] != '\\') return in->editor && chat_editor_pasted(in->editor);
    t->bytes--;
    return true;
}

int chat_input_read(struct chat_input *in, char **text, size_t *bytes, struct error *e)
{
    struct buffer t = {0};
    const char *line;
    size_t n;
    bool more = false;
    int rc;

    do {
        rc = read_line(in, more, &line, &n, e);
        if (!rc) rc = buffer_put(&t, line, n, e);
        if (!rc && t.bytes > in->plain.limit.bytes) rc = input_too_long("the message", &in->plain.limit, e);
        if (rc) break;
        more = goes_on(in, &t);
        if (more) rc = buffer_put(&t, "\n", 1, e);
    } while (more && !rc);
    if (rc == -EINTR && t.bytes) rc = -EAGAIN;
    if (rc == -ENODATA && t.bytes) rc = 0;
    if (!rc) rc = buffer_terminate(&t, e);
    if (rc) {
        buffer_free(&t);
        return rc;
    }
    if (in->editor && t.bytes) chat_editor_remember(in->editor, t.data);
    *text = t.data;
    *bytes = t.bytes;
    return 0;
}

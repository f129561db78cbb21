#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/chat/chat.h"
#include "coordinator/cli/input.h"
#include "coordinator/engine/interrupt.h"

struct chat_input {
    struct chat_editor *editor; /* NULL: plain lines */
    char *plain; /* bytes [at, end) are read and not yet given out; the line that was given out is before them */
    size_t room, at, end;
};

int chat_input_open(struct chat_input **out, bool terminal, struct error *e)
{
    struct chat_input *in = calloc(1, sizeof *in);
    int rc;

    if (!in) return error_set(e, ENOMEM, "out of memory");
    *out = in;
    rc = terminal ? chat_editor_open(&in->editor, e) : 0;
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
    free(in->plain);
    free(in);
}

/* One line of standard input with its newline, which the last one may lack. */
static int read_plain(struct chat_input *in, const char **line, size_t *bytes, struct error *e)
{
    size_t seen = in->at;

    for (;;) {
        char *end = in->end > seen ? memchr(in->plain + seen, '\n', in->end - seen) : NULL, *more;
        ssize_t n = 0;

        if (!end) {
            seen = in->end;
            if (in->at) { /* what was given out makes room */
                memmove(in->plain, in->plain + in->at, in->end - in->at);
                seen = in->end -= in->at;
                in->at = 0;
            }
            if (in->end == in->room) {
                more = realloc(in->plain, 2 * in->room + 4096);
                if (!more) return error_set(e, ENOMEM, "no memory for a line of more than %zu bytes", in->room);
                in->plain = more;
                in->room = 2 * in->room + 4096;
            }
            n = input_some(STDIN_FILENO, in->plain + in->end, in->room - in->end);
            if (n == -ECANCELED) return -EINTR;
            if (n < 0) return error_set(e, (int)-n, "standard input: %s", error_name((int)-n));
            in->end += (size_t)n;
            if (n) continue;
        }
        *line = in->plain + in->at;
        *bytes = end ? (size_t)(end + 1 - *line) : in->end - in->at;
        in->at += *bytes;
        return *bytes ? 0 : -ENODATA;
    }
}

static int read_line(struct chat_input *in, bool more, const char **line, size_t *bytes, struct error *e)
{
    return in->editor ? chat_editor_read(in->editor, more, line, bytes) : read_plain(in, line, bytes, e);
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

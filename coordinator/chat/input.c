#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/chat/chat.h"
#include "coordinator/engine/interrupt.h"

struct chat_input {
    struct chat_editor *editor; /* NULL: plain lines */
    char *plain;
    size_t room;
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

static int read_line(struct chat_input *in, bool more, const char **line, size_t *bytes)
{
    ssize_t n;

    if (in->editor) return chat_editor_read(in->editor, more, line, bytes);
    n = getline(&in->plain, &in->room, stdin);
    *line = in->plain;
    if (interrupted()) return -EINTR;
    if (n <= 0) return -ENODATA;
    *bytes = (size_t)n;
    return 0;
}

/* Takes the end of the line away. True where the message goes on. */
static bool goes_on(const struct chat_input *in, struct chat_text *t)
{
    while (t->bytes && (t->data[t->bytes - 1] == '\n' || t->data[t->bytes - 1] == '\r')) t->bytes--;
    t->data[t->bytes] = 0;
    if (!t->bytes || t->data[t->bytes - 1] != '\\') return in->editor && chat_editor_pasted(in->editor);
    t->data[--t->bytes] = 0;
    return true;
}

int chat_input_read(struct chat_input *in, char **text, size_t *bytes, struct error *e)
{
    struct chat_text t = {0};
    const char *line;
    size_t n;
    bool more = false;
    int rc;

    do {
        rc = read_line(in, more, &line, &n);
        if (!rc) rc = chat_text_add(&t, line, n, e);
        if (rc) break;
        more = goes_on(in, &t);
        if (more) rc = chat_text_add(&t, "\n", 1, e);
    } while (more && !rc);
    if (rc == -EINTR && t.bytes) rc = -EAGAIN;
    if (rc == -ENODATA && t.bytes) rc = 0;
    if (rc) {
        free(t.data);
        return rc;
    }
    if (in->editor && t.bytes) chat_editor_remember(in->editor, t.data);
    *text = t.data;
    *bytes = t.bytes;
    return 0;
}

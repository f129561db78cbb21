#include "coordinator/cli/input_lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES 4096u

int input_lines_open(struct input_lines *l, const char *path, const struct input_limit *limit, struct error *e)
{
    *l = (struct input_lines){.name = input_name(path), .limit = *limit};
    l->fd = input_open(path, e);
    return l->fd < 0 ? l->fd : 0;
}

void input_lines_close(struct input_lines *l)
{
    if (l->fd > STDIN_FILENO) close(l->fd);
    free(l->data);
    *l = (struct input_lines){0};
}

/* What was given out makes room, and what is still missing of a line. */
static int make_room(struct input_lines *l, struct error *e)
{
    size_t room = 2 * l->room + READ_BYTES, most = l->limit.bytes + READ_BYTES;
    char *more;

    if (l->at) {
        memmove(l->data, l->data + l->at, l->end - l->at);
        l->end -= l->at;
        l->at = 0;
    }
    if (l->end < l->room) return 0;
    more = realloc(l->data, room < most ? room : most);
    if (!more) return error_set(e, ENOMEM, "no memory for a line of more than %zu bytes", l->room);
    l->data = more;
    l->room = room < most ? room : most;
    return 0;
}

static int too_long(const struct input_lines *l, struct error *e)
{
    char name[160];

    snprintf(name, sizeof name, "a line of %.128s", l->name);
    return input_too_long(name, &l->limit, e);
}

int input_lines_next(struct input_lines *l, const char **line, size_t *bytes, struct error *e)
{
    size_t seen = l->at;

    for (;;) {
        char *end = l->end > seen ? memchr(l->data + seen, '\n', l->end - seen) : NULL;
        ssize_t n = 0;
        int rc;

        if ((end ? (size_t)(end - l->data) : l->end) - l->at > l->limit.bytes) return too_long(l, e);
        if (!end) {
            if ((rc = make_room(l, e))) return rc;
            seen = l->end;
            n = input_some(l->fd, l->data + l->end, l->room - l->end);
            if (n == -ECANCELED) return error_set(e, ECANCELED, "interrupted");
            if (n < 0) return error_set(e, (int)-n, "%s: %s", l->name, error_name((int)-n));
            l->end += (size_t)n;
            if (n) continue;
        }
        *line = l->data + l->at;
        *bytes = end ? (size_t)(end + 1 - *line) : l->end - l->at;
        l->at += *bytes;
        return *bytes ? 0 : -ENODATA;
    }
}

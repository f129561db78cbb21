#include "coordinator/engine/words.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void words_open(struct words *w, void (*line)(void *arg, const char *line, size_t bytes), void *arg)
{
    int fd[2];

    *w = (struct words)WORDS_NONE;
    if (!line || pipe2(fd, O_CLOEXEC | O_NONBLOCK)) return;
    w->read = fd[0];
    w->write = fd[1];
    w->line = line;
    w->arg = arg;
}

void words_started(struct words *w)
{
    if (w->write >= 0) close(w->write);
    w->write = -1;
}

/* Whole lines, or all where a line is longer than what there is room for. */
static void pass_on(struct words *w, bool all)
{
    size_t from = 0;
    char *end;

    while ((end = memchr(w->text + from, '\n', w->bytes - from))) {
        w->line(w->arg, w->text + from, (size_t)(end + 1 - w->text) - from);
        from = (size_t)(end + 1 - w->text);
    }
    memmove(w->text, w->text + from, w->bytes - from);
    w->bytes -= from;
    if (!w->bytes || (!all && w->bytes < sizeof w->text - 1)) return;
    w->text[w->bytes] = '\n';
    w->line(w->arg, w->text, w->bytes + 1);
    w->bytes = 0;
}

void words_look(struct words *w)
{
    ssize_t n;

    if (w->read < 0) return;
    while ((n = read(w->read, w->text + w->bytes, sizeof w->text - 1 - w->bytes)) > 0) {
        w->bytes += (size_t)n;
        pass_on(w, false);
    }
}

void words_close(struct words *w)
{
    words_started(w);
    if (w->read < 0) return;
    words_look(w);
    pass_on(w, true);
    close(w->read);
    w->read = -1;
}

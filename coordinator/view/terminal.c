#include "coordinator/view/terminal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/engine/interrupt.h"
#include "proto/base/printable.h"

#define PIECE_BYTES 1024u
#define WRITE_BYTES 4096u /* a pipe that is ready takes this much without waiting */

/* ---- writing ---- */

/* Until fd takes something. False: it is not to be waited for any more. */
static bool ready(int fd)
{
    struct pollfd p[2] = {{.fd = fd, .events = POLLOUT}, {.fd = interrupt_fd(), .events = POLLIN}};

    for (;;) {
        bool stop = interrupted();
        int n = poll(p, stop ? 1 : 2, stop ? 0 : -1);

        if (n > 0 && p[0].revents) return true; /* an error too: the write tells which */
        if (stop || (n < 0 && errno != EINTR)) return false;
    }
}

int terminal_write(int fd, const char *text, size_t bytes)
{
    while (bytes) {
        ssize_t n;

        if (!ready(fd)) {
            errno = EINTR;
            return -EINTR;
        }
        n = write(fd, text, bytes < WRITE_BYTES ? bytes : WRITE_BYTES);
        if (n < 0 && errno != EINTR && errno != EAGAIN) return -errno;
        if (n > 0) text += n, bytes -= (size_t)n;
    }
    return 0;
}

struct stream {
    int fd;
    bool filters;
    char cut[4]; /* a character whose end has not come yet */
    size_t cut_bytes;
};

/* glibc wants 0 for an error, and leaves errno alone. */
static ssize_t stream_write(void *cookie, const char *text, size_t bytes)
{
    char piece[PIECE_BYTES], out[PIECE_BYTES * PRINTABLE_GROWTH];
    struct stream *s = cookie;
    size_t at = 0, n, used;

    if (!s->filters) return terminal_write(s->fd, text, bytes) ? 0 : (ssize_t)bytes;
    while (at < bytes) {
        size_t take = sizeof piece - s->cut_bytes;

        if (take > bytes - at) take = bytes - at;
        memcpy(piece, s->cut, s->cut_bytes);
        memcpy(piece + s->cut_bytes, text + at, take);
        n = printable_copy(out, sizeof out, piece, s->cut_bytes + take, true, &used);
        s->cut_bytes = s->cut_bytes + take - used;
        memcpy(s->cut, piece + used, s->cut_bytes);
        if (terminal_write(s->fd, out, n)) return 0;
        at += take;
    }
    return (ssize_t)bytes;
}

static FILE *stream_open(struct stream *s, int buffering)
{
    FILE *f = fopencookie(s, "w", (cookie_io_functions_t){.write = stream_write});

    if (f) setvbuf(f, NULL, buffering, BUFSIZ);
    return f;
}

int terminal_streams(void)
{
    static struct stream out = {.fd = STDOUT_FILENO}, err = {.fd = STDERR_FILENO, .filters = true};
    bool shown = terminal_is(STDOUT_FILENO);
    FILE *a, *b;

    out.filters = shown;
    a = stream_open(&out, shown ? _IOLBF : _IOFBF);
    b = a ? stream_open(&err, _IONBF) : NULL;
    if (!b) {
        if (a) fclose(a);
        return -ENOMEM;
    }
    stdout = a;
    stderr = b;
    return 0;
}

void terminal_raw(FILE *f, const char *sequence)
{
    if (f != stdout && f != stderr) {
        fputs(sequence, f);
        return;
    }
    fflush(f);
    terminal_write(f == stdout ? STDOUT_FILENO : STDERR_FILENO, sequence, strlen(sequence));
}

static int stream_close(void *cookie)
{
    free(cookie);
    return 0;
}

FILE *terminal_unfiltered(int fd)
{
    struct stream *s = calloc(1, sizeof *s);
    FILE *f;

    if (!s) return NULL;
    s->fd = fd;
    f = fopencookie(s, "w", (cookie_io_functions_t){.write = stream_write, .close = stream_close});
    if (!f) free(s);
    return f;
}

/* ---- what it can show ---- */

bool terminal_is(int fd)
{
    return isatty(fd) == 1;
}

bool terminal_same(int a, int b)
{
    struct stat x, y;

    return terminal_is(a) && terminal_is(b) && !fstat(a, &x) && !fstat(b, &y) && x.st_rdev == y.st_rdev;
}

void terminal_size(int fd, int *columns, int *rows)
{
    struct winsize w;
    bool known = !ioctl(fd, TIOCGWINSZ, &w);

    *columns = known && w.ws_col ? w.ws_col : 80;
    *rows = known && w.ws_row ? w.ws_row : 24;
}

int terminal_columns(int fd, int otherwise)
{
    int columns, rows;

    if (!terminal_is(fd)) return otherwise;
    terminal_size(fd, &columns, &rows);
    return columns < 20 ? 20 : columns;
}

bool terminal_escapes(int fd)
{
    const char *term = getenv("TERM");

    return terminal_is(fd) && term && *term && strcmp(term, "dumb") != 0;
}

bool terminal_color(int fd)
{
    const char *no = getenv("NO_COLOR");

    return terminal_escapes(fd) && !(no && *no);
}

#include "coordinator/cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/engine/interrupt.h"

#define FIRST_BYTES 65536u
#define JSON_BYTES  ((size_t)256 << 20)

ssize_t input_some(int fd, void *out, size_t room)
{
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN}};

    for (;;) {
        ssize_t n;

        if (interrupted()) return -ECANCELED;
        if (poll(p, 2, -1) < 0 && errno != EINTR) return -errno;
        if (!p[0].revents) continue;
        n = read(fd, out, room);
        if (n >= 0) return n;
        if (errno != EINTR && errno != EAGAIN) return -errno;
    }
}

struct input_limit input_limit_json(void)
{
    return (struct input_limit){.bytes = JSON_BYTES, .why = "no list of messages or tools is that long"};
}

const char *input_name(const char *path)
{
    return path && strcmp(path, "-") ? path : "standard input";
}

int input_too_long(const char *name, const struct input_limit *limit, struct error *e)
{
    return error_set(e, E2BIG, "%s is longer than %zu bytes: %s", name, limit->bytes, limit->why);
}

/* Room for more, up to one byte beyond the limit and the NUL. */
static int grow(char **buf, size_t *room, const char *name, const struct input_limit *limit, struct error *e)
{
    size_t most = limit->bytes + 2, want = *room ? 2 * *room : FIRST_BYTES;
    char *grown;

    if (want > most) want = most;
    if (want == *room) return input_too_long(name, limit, e);
    grown = realloc(*buf, want);
    if (!grown) return error_set(e, ENOMEM, "%s: no memory for more than %zu bytes", name, *room);
    *buf = grown;
    *room = want;
    return 0;
}

static int read_all(int fd, const char *name, const struct input_limit *limit, char **text, size_t *bytes,
                    struct error *e)
{
    size_t room = 0, n = 0;
    char *buf = NULL;
    ssize_t got = 1;
    int rc = 0;

    while (!rc && got > 0) {
        if (n + 1 >= room) rc = grow(&buf, &room, name, limit, e);
        if (rc) break;
        got = input_some(fd, buf + n, room - 1 - n);
        if (got > 0) n += (size_t)got;
    }
    if (!rc && got < 0)
        rc = got == -ECANCELED ? error_set(e, ECANCELED, "interrupted")
                               : error_set(e, (int)-got, "%s: %s", name, error_name((int)-got));
    if (!rc && n > limit->bytes) rc = input_too_long(name, limit, e);
    if (rc) {
        free(buf);
        return rc;
    }
    buf[n] = 0;
    *text = buf;
    *bytes = n;
    return 0;
}

/* A pipe is not waited for here: input_some() waits for its writer, and for Ctrl-C. */
static int open_named(const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), code = errno;
    struct stat st;

    if (fd < 0 && code == ENXIO && !stat(path, &st) && S_ISSOCK(st.st_mode))
        return error_set(e, code, "cannot open %s: it is a socket; give a file, a pipe, or - for standard input", path);
    if (fd < 0) return error_set(e, code, "cannot open %s: %s", path, error_name(code));
    if (fstat(fd, &st) || !S_ISDIR(st.st_mode)) return fd;
    close(fd);
    return error_set(e, EISDIR, "cannot read %s: it is a folder; give a file in it", path);
}

int input_open(const char *path, struct error *e)
{
    return !path || !strcmp(path, "-") ? STDIN_FILENO : open_named(path, e);
}

int input_read(const char *path, const struct input_limit *limit, char **text, size_t *bytes, struct error *e)
{
    const char *name = input_name(path);
    struct stat st;
    int fd, rc = 0;

    *text = NULL;
    *bytes = 0;
    if ((fd = input_open(path, e)) < 0) return fd;
    if (fd != STDIN_FILENO && !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size > limit->bytes)
        rc = input_too_long(name, limit, e);
    if (!rc) rc = read_all(fd, name, limit, text, bytes, e);
    if (fd != STDIN_FILENO) close(fd);
    return rc;
}

struct inputs input_all(const struct options *o)
{
    const char *trace = o->command == COMMAND_TRACE ? o->trace : NULL; /* elsewhere it is an output */

    return (struct inputs){.model = o->model,
                           .file = {o->prompt_file, o->prompts, o->messages_file, trace ? trace : o->baseline}};
}

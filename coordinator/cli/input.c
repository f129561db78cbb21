#include "coordinator/cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/engine/interrupt.h"

#define FIRST_BYTES 65536u

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

static int read_all(int fd, const char *name, char **text, size_t *bytes, struct error *e)
{
    size_t room = FIRST_BYTES, n = 0;
    char *buf = malloc(room), *grown;
    ssize_t got;
    int rc;

    if (!buf) return error_set(e, ENOMEM, "%s: no memory", name);
    while ((got = input_some(fd, buf + n, room - 1 - n)) > 0) {
        n += (size_t)got;
        if (n < room - 1) continue;
        grown = realloc(buf, 2 * room);
        if (!grown) {
            rc = error_set(e, ENOMEM, "%s: no memory for more than %zu bytes", name, n);
            goto err;
        }
        buf = grown;
        room *= 2;
    }
    if (got < 0) {
        rc = got == -ECANCELED ? error_set(e, ECANCELED, "interrupted")
                               : error_set(e, (int)-got, "%s: %s", name, error_name((int)-got));
        goto err;
    }
    buf[n] = 0;
    *text = buf;
    *bytes = n;
    return 0;
err:
    free(buf);
    return rc;
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

int input_read(const char *path, char **text, size_t *bytes, struct error *e)
{
    int fd, rc;

    *text = NULL;
    *bytes = 0;
    if (!path || !strcmp(path, "-")) return read_all(STDIN_FILENO, "standard input", text, bytes, e);
    if ((fd = open_named(path, e)) < 0) return fd;
    rc = read_all(fd, path, text, bytes, e);
    close(fd);
    return rc;
}

struct inputs input_all(const struct options *o)
{
    const char *trace = o->command == COMMAND_TRACE ? o->trace : NULL; /* elsewhere it is an output */

    return (struct inputs){.model = o->model,
                           .file = {o->prompt_file, o->prompts, o->messages_file, trace ? trace : o->baseline}};
}

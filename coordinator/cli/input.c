#include "coordinator/cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_BYTES 65536u

static int read_all(int fd, const char *name, char **text, size_t *bytes, struct error *e)
{
    size_t room = FIRST_BYTES, n = 0;
    char *buf = malloc(room), *grown;
    ssize_t got;
    int rc;

    if (!buf) return error_set(e, ENOMEM, "%s: no memory", name);
    for (;;) {
        got = read(fd, buf + n, room - 1 - n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            rc = error_set(e, errno, "%s: %s", name, error_name(errno));
            goto err;
        }
        if (!got) break;
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
    buf[n] = 0;
    *text = buf;
    *bytes = n;
    return 0;
err:
    free(buf);
    return rc;
}

int input_read(const char *path, char **text, size_t *bytes, struct error *e)
{
    int fd, rc;

    *text = NULL;
    *bytes = 0;
    if (!path || !strcmp(path, "-")) return read_all(STDIN_FILENO, "standard input", text, bytes, e);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(e, errno, "cannot open %s: %s", path, error_name(errno));
    rc = read_all(fd, path, text, bytes, e);
    close(fd);
    return rc;
}

struct inputs input_all(const struct options *o)
{
    const char *trace = o->command == COMMAND_TRACE ? o->trace : NULL; /* elsewhere it is an output */

    return (struct inputs){
        .model = o->model, .file = {o->prompt_file, o->prompts, o->messages_file, trace ? trace : o->baseline}};
}

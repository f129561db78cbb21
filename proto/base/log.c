#include "proto/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/printable.h"

#define FULL_MS 200 /* how long a line waits for somebody who takes none */

static const char *log_process = "sluice";
static enum log_level log_limit = LOG_WARN;

static void (*log_to)(void *arg, const char *line, size_t bytes);
static void *log_to_arg;

void log_divert(void (*to)(void *arg, const char *line, size_t bytes), void *arg)
{
    log_to = to;
    log_to_arg = arg;
}

void log_setup(const char *process, enum log_level level)
{
    log_process = process;
    log_limit = level;
}

enum log_level log_get_level(void)
{
    return log_limit;
}

/* One write, so that lines of several processes do not mix. Standard error may have been set not to block, by whoever
 * shares it: a line that finds no room for a while is dropped. */
static void log_write(const char *line, size_t n)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t w;

    do {
        w = write(STDERR_FILENO, line, n);
        if (w > 0) line += w, n -= (size_t)w;
    } while (n && (w > 0 || errno == EINTR || (errno == EAGAIN && poll(&p, 1, FULL_MS) > 0)));
}

void log_at(enum log_level level, const char *fmt, ...)
{
    char text[2048], line[sizeof text * PRINTABLE_GROWTH];
    va_list ap;
    size_t n;
    int head;

    if (level > log_limit) return;
    head = snprintf(text, sizeof text, "%s: ", log_process);
    if (head < 0 || (size_t)head >= sizeof text) return;
    va_start(ap, fmt);
    vsnprintf(text + head, sizeof text - (size_t)head, fmt, ap);
    va_end(ap);
    printable_line(line, sizeof line - 1, text);
    n = strlen(line);
    line[n++] = '\n';
    if (log_to && gettid() == getpid())
        log_to(log_to_arg, line, n);
    else
        log_write(line, n);
}

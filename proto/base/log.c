#include "proto/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static const char *log_process = "sluice";
static enum log_level log_limit = LOG_WARN;

void log_setup(const char *process, enum log_level level)
{
    log_process = process;
    log_limit = level;
}

enum log_level log_get_level(void)
{
    return log_limit;
}

void log_at(enum log_level level, const char *fmt, ...)
{
    char line[2048];
    va_list ap;
    int n, m;

    if (level > log_limit) return;
    n = snprintf(line, sizeof line, "%s: ", log_process);
    va_start(ap, fmt);
    m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    va_end(ap);
    if (m < 0) return;
    n += m;
    if (n > (int)sizeof line - 2) n = (int)sizeof line - 2;
    line[n++] = '\n';
    /* one write, so that lines of several processes do not mix */
    if (write(STDERR_FILENO, line, (size_t)n) < 0) return;
}

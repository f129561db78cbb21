#include "coordinator/view/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool terminal_is(int fd)
{
    return isatty(fd) == 1;
}

int terminal_columns(int fd, int otherwise)
{
    struct winsize w;

    if (!terminal_is(fd)) return otherwise;
    if (ioctl(fd, TIOCGWINSZ, &w) || !w.ws_col) return 80; /* a serial line does not know */
    return w.ws_col < 20 ? 20 : w.ws_col;
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

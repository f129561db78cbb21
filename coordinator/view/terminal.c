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

size_t terminal_control(const char *text, size_t bytes)
{
    unsigned char a = (unsigned char)text[0], b = bytes > 1 ? (unsigned char)text[1] : 0;

    if ((a < ' ' && a != '\n' && a != '\t') || a == 127) return 1;
    return a == 0xC2 && b >= 0x80 && b < 0xA0 ? 2 : 0;
}

bool terminal_put(FILE *f, bool shown, const char *text, size_t bytes)
{
    size_t from = 0, n = 0;

    for (size_t at = 0; shown && at < bytes; at += n ? n : 1) {
        if (!(n = terminal_control(text + at, bytes - at))) continue;
        if (fwrite(text + from, 1, at - from, f) != at - from || fputs("\xEF\xBF\xBD", f) == EOF) return false;
        from = at + n;
    }
    return fwrite(text + from, 1, bytes - from, f) == bytes - from;
}

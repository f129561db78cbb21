#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/cli/chat.h"
#include "coordinator/run/interrupt.h"

struct chat_input {
    EditLine *edit;   /* NULL: plain lines */
    History *history;
    char file[512];   /* of the history, "" where there is no place for it */
    bool more;        /* inside of a message of several lines */
};

static char *prompt(EditLine *edit)
{
    struct chat_input *in;

    el_get(edit, EL_CLIENTDATA, &in);
    return (char *)(in->more ? ". " : "> ");
}

static void find_history_file(struct chat_input *in)
{
    const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

    if (base && *base) snprintf(in->file, sizeof in->file, "%s/sluice", base);
    else if (home && *home) snprintf(in->file, sizeof in->file, "%s/.local/state/sluice", home);
    else return;
    for (char *p = in->file + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        mkdir(in->file, 0700);
        *p = '/';
    }
    mkdir(in->file, 0700);
    strncat(in->file, "/history", sizeof in->file - strlen(in->file) - 1);
}

int chat_input_open(struct chat_input **out, bool terminal, struct error *e)
{
    struct chat_input *in = calloc(1, sizeof *in);
    HistEvent ev;

    if (!in) return error_set(e, ENOMEM, "out of memory");
    *out = in;
    if (!terminal) return 0;
    in->edit = el_init("sluice", stdin, stdout, stderr);
    in->history = history_init();
    if (!in->edit || !in->history) {
        chat_input_close(in);
        return error_set(e, ENOMEM, "cannot set up line editing");
    }
    history(in->history, &ev, H_SETSIZE, 1000);
    history(in->history, &ev, H_SETUNIQUE, 1);
    el_set(in->edit, EL_CLIENTDATA, in);
    el_set(in->edit, EL_PROMPT, prompt);
    el_set(in->edit, EL_EDITOR, "emacs");
    el_set(in->edit, EL_HIST, history, in->history);
    el_set(in->edit, EL_SIGNAL, 0);
    find_history_file(in);
    if (in->file[0]) history(in->history, &ev, H_LOAD, in->file);
    return 0;
}

void chat_input_close(struct chat_input *in)
{
    HistEvent ev;

    if (!in) return;
    if (in->history && in->file[0]) history(in->history, &ev, H_SAVE, in->file);
    if (in->edit) el_end(in->edit);
    if (in->history) history_end(in->history);
    free(in);
}

static int read_line(struct chat_input *in, const char **line, size_t *bytes, char **plain, size_t *room)
{
    ssize_t n;
    int count = 0;

    errno = 0;
    if (in->edit) {
        *line = el_gets(in->edit, &count);
        n = *line ? count : -1;
    } else {
        n = getline(plain, room, stdin);
        *line = *plain;
    }
    if (interrupted()) {
        clearerr(stdin);
        return -EINTR;
    }
    if (n <= 0) return -ENODATA;
    *bytes = (size_t)n;
    return 0;
}

/* Lines that are there already were pasted together with this one. */
static bool pasted(const struct chat_input *in)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

    return in->edit && poll(&p, 1, 5) > 0;
}

int chat_input_read(struct chat_input *in, char **line, size_t *bytes, struct error *e)
{
    char *text = NULL, *plain = NULL, *more;
    size_t n = 0, got = 0, room = 0;
    const char *part;
    HistEvent ev;
    bool goes_on = true;
    int rc = 0;

    in->more = false;
    while (goes_on && !(rc = read_line(in, &part, &got, &plain, &room))) {
        more = realloc(text, n + got + 1);
        if (!more) {
            rc = error_set(e, ENOMEM, "out of memory");
            break;
        }
        text = more;
        memcpy(text + n, part, got);
        n += got;
        while (n && (text[n - 1] == '\n' || text[n - 1] == '\r')) n--;
        goes_on = n && text[n - 1] == '\\';
        if (goes_on) n--;
        else goes_on = pasted(in);
        if (goes_on) text[n++] = '\n';
        in->more = goes_on;
    }
    if (rc == -ENODATA && n) rc = 0;
    free(plain);
    if (rc) {
        free(text);
        return rc;
    }
    text[n] = 0;
    if (in->history && n) history(in->history, &ev, H_ENTER, text);
    *line = text;
    *bytes = n;
    return 0;
}

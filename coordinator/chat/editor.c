/* Line editing by libedit. It reads through a function of ours, which waits for Ctrl-C and for a changed window too, and
 * decodes UTF-8 by itself. What is pasted arrives between two marks (bracketed paste) and becomes text, newlines and all. */
#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "coordinator/chat/chat.h"
#include "coordinator/chat/complete.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/text/utf8.h"
#include "coordinator/view/stop.h"
#include "coordinator/view/terminal.h"
#include "proto/base/file.h"

#define HISTORY_LINES 1000
#define HISTORY_BYTES (1 << 20) /* a longer file is written anew with the last lines */
#define FALLBACK_MS   5
#define PASTE_OFF     "\033[?2004l"

struct chat_editor {
    EditLine *edit;
    History *history;
    int fd;          /* where the line is shown */
    FILE *out;       /* leads there */
    char file[512];  /* of the history, "" where there is no place for it */
    char byte[4096]; /* read ahead */
    size_t at, end;
    bool more;      /* inside of a message of several lines */
    bool typed;     /* something stood in the line when Ctrl-C came */
    bool brackets;  /* the terminal marks what is pasted */
    unsigned stops; /* of stop_count(), that were seen */
    bool has_mode;
    struct termios shells; /* the terminal's mode, as it was */
    struct sigaction had_winch;
};

static volatile sig_atomic_t resized;

static void note(int signal)
{
    (void)signal;
    resized = 1;
}

/* ---- the terminal ---- */

static bool is_raw(void)
{
    struct termios t;

    return tcgetattr(STDIN_FILENO, &t) || !(t.c_lflag & ICANON);
}

/* Keys come one by one and are not shown. libedit sets the mode only where it had not before, and does not know what a shell
 * has set meanwhile. */
static void take_terminal(struct chat_editor *d)
{
    struct termios own;

    if (d->stops != stop_count() || !is_raw()) el_set(d->edit, EL_PREP_TERM, 0);
    d->stops = stop_count();
    el_set(d->edit, EL_PREP_TERM, 1);
    if (d->has_mode && !tcgetattr(STDIN_FILENO, &own)) stop_mode(&own, &d->shells);
}

static void mark_pastes(const struct chat_editor *d, bool on)
{
    if (!d->brackets) return;
    if (on) stop_undo(STOP_PASTE, d->fd, PASTE_OFF);
    fputs(on ? "\033[?2004h" : PASTE_OFF, d->out);
    fflush(d->out);
    if (!on) stop_undo(STOP_PASTE, d->fd, NULL);
}

/* ---- bytes and characters ---- */

/* Rows between the prompt and the cursor, as a terminal of this width wraps them. */
static int rows_above(const struct chat_editor *d)
{
    const LineInfoW *line = el_wline(d->edit);
    int width = terminal_columns(d->fd, 80), rows = 0, column = 2;

    for (const wchar_t *c = line->buffer; c < line->cursor; c++) {
        int w = wcwidth(*c);

        if (*c == L'\n' || column + w > width) {
            rows++;
            column = 0;
        }
        column += w > 0 ? w : 0;
    }
    return rows;
}

static void redraw(struct chat_editor *d)
{
    bool stopped = d->stops != stop_count() || !is_raw();
    int rows = stopped ? 0 : rows_above(d);

    if (stopped) take_terminal(d); /* the shell had it */
    if (stopped) mark_pastes(d, true);
    if (resized) el_resize(d->edit);
    resized = 0;
    if (rows) fprintf(d->out, "\033[%dA", rows);
    fputs("\r\033[J", d->out);
    fflush(d->out);
    el_set(d->edit, EL_REFRESH, NULL);
}

/* Until a key, Ctrl-C, or something that needs the line drawn anew. Signals come in here, and not right before. */
static bool wait_for_key(struct chat_editor *d)
{
    struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN}};
    sigset_t held, before;
    bool quiet;
    int n = 0;

    sigemptyset(&held);
    sigaddset(&held, SIGWINCH);
    sigaddset(&held, SIGCONT);
    sigprocmask(SIG_BLOCK, &held, &before);
    quiet = !resized && d->stops == stop_count();
    if (quiet) n = ppoll(p, 2, NULL, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (!quiet || (n > 0 && !is_raw())) redraw(d); /* a shell may also take the mode without stopping anybody */
    return n > 0 && p[0].revents;
}

/* 1, 0 at the end, -1 after Ctrl-C. */
static int fill(struct chat_editor *d)
{
    ssize_t n;

    for (;;) {
        if (interrupted()) {
            const LineInfoW *line = el_wline(d->edit);

            d->typed = line->lastchar > line->buffer;
            errno = EINTR;
            return -1;
        }
        if (!wait_for_key(d)) continue;
        n = read(STDIN_FILENO, d->byte, sizeof d->byte);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        d->at = 0;
        d->end = n > 0 ? (size_t)n : 0;
        return n > 0;
    }
}

static int next_byte(struct chat_editor *d, unsigned char *b)
{
    int rc = d->at < d->end ? 1 : fill(d);

    if (rc == 1) *b = (unsigned char)d->byte[d->at++];
    return rc;
}

/* libedit's way to get a character: 1, 0 at the end, -1 on error. What is no UTF-8 becomes U+FFFD. */
static int read_character(EditLine *edit, wchar_t *c)
{
    struct chat_editor *d;
    unsigned char b;
    char text[4] = {0};
    size_t n, have = 1, length;
    int rc;

    el_get(edit, EL_CLIENTDATA, &d);
    if ((rc = next_byte(d, &b)) != 1) return rc;
    text[0] = (char)b;
    *c = (wchar_t)(b ? b : 4); /* a Ctrl-D that came before the terminal was raw arrives as a NUL */
    if (b < 0x80) return 1;
    *c = 0xFFFD;
    for (n = b < 0xC0 ? 1 : utf8_char_bytes(text[0]); have < n; have++) {
        if ((rc = next_byte(d, &b)) != 1) return rc;
        if ((b & 0xC0) != 0x80) {
            d->at--; /* begins something else */
            return 1;
        }
        text[have] = (char)b;
    }
    if (have == n && utf8_valid_bytes(text, have) == have) *c = (wchar_t)utf8_decode(text, &length);
    return 1;
}

/* ---- keys ---- */

static bool add(wchar_t **text, size_t *n, size_t *room, wchar_t c)
{
    if (*n + 1 >= *room) {
        wchar_t *more = realloc(*text, 2 * (*n + 512) * sizeof **text);

        if (!more) return false;
        *text = more;
        *room = 2 * (*n + 512);
    }
    (*text)[(*n)++] = c;
    (*text)[*n] = 0;
    return true;
}

static bool ends_with(const wchar_t *text, size_t n, const wchar_t *end)
{
    size_t k = wcslen(end);

    return n >= k && !wmemcmp(text + n - k, end, k);
}

/* \r and \r\n are newlines; other control characters are no text. In place; the new length. */
static size_t clean(wchar_t *text, size_t n)
{
    wchar_t before = 0;
    size_t to = 0;

    for (size_t i = 0; i < n; i++) {
        /* add() has written all n of them. NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
        bool second = text[i] == L'\n' && before == L'\r';

        before = text[i];
        if (second) continue;
        if (text[i] == L'\r')
            text[to++] = L'\n';
        else if (text[i] == L'\t')
            text[to++] = L' ';
        else if (text[i] == L'\n' || (text[i] >= L' ' && text[i] != 127))
            text[to++] = text[i];
    }
    text[to] = 0;
    return to;
}

static unsigned char key_paste(EditLine *edit, int key)
{
    static const wchar_t end[] = L"\033[201~";
    wchar_t *text = NULL, c = 0;
    size_t n = 0, room = 0;
    bool whole = false;

    (void)key;
    while (!whole && el_wgetc(edit, &c) == 1 && add(&text, &n, &room, c)) whole = ends_with(text, n, end);
    if (whole) n = clean(text, n - wcslen(end));
    if (whole && n) el_winsertstr(edit, text);
    free(text);
    return CC_REFRESH;
}

static unsigned char key_newline(EditLine *edit, int key)
{
    (void)key;
    return el_winsertstr(edit, L"\n") ? CC_ERROR : CC_REFRESH;
}

static char *prompt(EditLine *edit)
{
    struct chat_editor *d;

    el_get(edit, EL_CLIENTDATA, &d);
    return (char *)(d->more ? ". " : "> ");
}

/* libedit copies the names and never frees the copies: a few hundred bytes a process. */
static void add_functions(EditLine *edit)
{
#ifdef __SANITIZE_ADDRESS__
    __lsan_disable();
#endif
    el_set(edit, EL_ADDFN, "sluice-paste", "Insert what is pasted", key_paste);
    el_set(edit, EL_ADDFN, "sluice-newline", "Insert a newline", key_newline);
    el_set(edit, EL_ADDFN, "sluice-complete", "Complete a command", chat_complete);
#ifdef __SANITIZE_ADDRESS__
    __lsan_enable();
#endif
}

/* The user's own keys. libedit would look for the file itself, and wait for a writer where it is a pipe. */
static void read_editrc(EditLine *edit)
{
    const char *given = getenv("EDITRC"), *home = getenv("HOME");
    char path[PATH_MAX];
    struct error ignored;

    if (given)
        snprintf(path, sizeof path, "%s", given);
    else if (!home || (size_t)snprintf(path, sizeof path, "%s/.editrc", home) >= sizeof path)
        return;
    if (!file_check(path, NULL, &ignored)) el_source(edit, path);
}

static void bind_keys(EditLine *edit)
{
    el_set(edit, EL_EDITOR, "emacs");
    add_functions(edit);
    el_set(edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(edit, EL_BIND, "\\e[3~", "ed-delete-next-char", NULL);
    el_set(edit, EL_BIND, "\\e[1;5D", "ed-prev-word", NULL);
    el_set(edit, EL_BIND, "\\e[1;5C", "em-next-word", NULL);
    read_editrc(edit);
    el_set(edit, EL_BIND, "\\e[200~", "sluice-paste", NULL);
    el_set(edit, EL_BIND, "\\e\\r", "sluice-newline", NULL);
    el_set(edit, EL_BIND, "\\e\\n", "sluice-newline", NULL);
    el_set(edit, EL_BIND, "^I", "sluice-complete", NULL);
}

/* ---- history ---- */

static void find_history_file(struct chat_editor *d)
{
    const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;

    if (base && *base == '/')
        n = snprintf(d->file, sizeof d->file, "%s/sluice", base);
    else if (home && *home == '/')
        n = snprintf(d->file, sizeof d->file, "%s/.local/state/sluice", home);
    if (n < 0 || (size_t)n + sizeof "/history" > sizeof d->file) {
        d->file[0] = 0;
        return;
    }
    for (char *p = d->file + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        mkdir(d->file, 0700);
        *p = '/';
    }
    mkdir(d->file, 0700);
    snprintf(d->file + n, sizeof d->file - (size_t)n, "/history");
}

static void open_history(struct chat_editor *d)
{
    struct stat st;
    HistEvent ev;

    history(d->history, &ev, H_SETSIZE, HISTORY_LINES);
    history(d->history, &ev, H_SETUNIQUE, 1);
    find_history_file(d);
    if (!d->file[0] || stat(d->file, &st) || !S_ISREG(st.st_mode)) return;
    history(d->history, &ev, H_LOAD, d->file);
    if (st.st_size > HISTORY_BYTES) history(d->history, &ev, H_SAVE, d->file);
}

/* Line by line as they come, so that several chats may run at once and none is lost by a kill. For its owner only. What is no
 * regular file (a link to /dev/null, a pipe) keeps nothing. */
void chat_editor_remember(struct chat_editor *d, const char *text)
{
    struct stat st;
    HistEvent ev;
    FILE *f = NULL;
    int fd;

    history(d->history, &ev, H_ENTER, text);
    if (!d->file[0]) return;
    fd = open(d->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode) || !(f = fdopen(fd, "a")))) close(fd);
    if (!f) return;
    fseek(f, 0, SEEK_END);
    history(d->history, &ev, H_NSAVE_FP, (size_t)1, f);
    fclose(f);
}

/* ---- opening ---- */

/* libedit asks the locale how wide a character is; without UTF-8 in it, it would drop what is not ASCII. */
static void set_locale(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0 && !setlocale(LC_CTYPE, "C.UTF-8")) setlocale(LC_CTYPE, "C.utf8");
}

static void watch_signals(struct chat_editor *d)
{
    struct sigaction a = {.sa_handler = note};

    sigemptyset(&a.sa_mask);
    sigaction(SIGWINCH, &a, &d->had_winch);
    stop_watch();
    d->stops = stop_count();
    d->has_mode = !tcgetattr(STDIN_FILENO, &d->shells);
}

int chat_editor_open(struct chat_editor **out, struct error *e)
{
    struct chat_editor *d = calloc(1, sizeof *d);
    const char *term = getenv("TERM");

    if (!d) return error_set(e, ENOMEM, "out of memory");
    set_locale();
    watch_signals(d);
    d->fd = isatty(STDOUT_FILENO) ? STDOUT_FILENO : STDERR_FILENO;
    d->out =
        terminal_unfiltered(d->fd); /* libedit shows what would be obeyed by other characters, and moves the cursor */
    d->brackets = terminal_escapes(d->fd) && term && strcmp(term, "linux") != 0;
    d->edit = d->out ? el_init_fd("sluice", stdin, d->out, d->out, STDIN_FILENO, d->fd, d->fd) : NULL;
    d->history = history_init();
    if (!d->edit || !d->history) {
        chat_editor_close(d);
        return error_set(e, ENOMEM, "cannot set up line editing");
    }
    el_set(d->edit, EL_CLIENTDATA, d);
    el_set(d->edit, EL_PROMPT, prompt);
    el_set(d->edit, EL_SIGNAL, 0);
    el_set(d->edit, EL_HIST, history, d->history);
    el_set(d->edit, EL_GETCFN, read_character);
    bind_keys(d->edit);
    open_history(d);
    *out = d;
    return 0;
}

void chat_editor_close(struct chat_editor *d)
{
    if (!d) return;
    stop_mode(NULL, NULL);
    if (d->edit) el_set(d->edit, EL_PREP_TERM, 0);
    if (d->edit) el_end(d->edit);
    if (d->history) history_end(d->history);
    if (d->out) fclose(d->out);
    sigaction(SIGWINCH, &d->had_winch, NULL);
    free(d);
}

/* ---- reading ---- */

bool chat_editor_pasted(const struct chat_editor *d)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

    return !d->brackets && (d->at < d->end || poll(&p, 1, FALLBACK_MS) > 0);
}

int chat_editor_read(struct chat_editor *d, bool more, const char **line, size_t *bytes)
{
    int count = 0;

    d->more = more;
    d->typed = false;
    if (resized) el_resize(d->edit);
    resized = 0;
    take_terminal(d); /* before the prompt is seen: a key may come at once */
    mark_pastes(d, true);
    *line = el_gets(d->edit, &count);
    mark_pastes(d, false);
    take_terminal(d); /* what is typed during an answer waits, and is not shown amid it */
    if (interrupted()) {
        fputs("^C\n", stderr);
        return d->typed || more ? -EAGAIN : -EINTR;
    }
    if (!*line || count <= 0) return -ENODATA;
    *bytes = (size_t)count;
    return 0;
}

#include "tests/support_tmux.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_process.h"
#include "tests/support_victims.h"

#define SECONDS  20
#define KEYS_MAX 16

static char socket_path[256];
static struct process_result last;

/* Runs tmux; the output is in last. */
static int tmux(const char *const *arg)
{
    const char *argv[KEYS_MAX + 16] = {"-u", "-f", "/dev/null", "-S", socket_path};
    int n = 5;

    for (; *arg; arg++) {
        assert_true(n < KEYS_MAX + 15);
        argv[n++] = *arg;
    }
    process_result_free(&last);
    last = process_run("/usr/bin/tmux", argv, NULL, 0, SECONDS);
    return last.status;
}

#define TMUX(...) tmux((const char *const[]){__VA_ARGS__, NULL})

const char *tmux_refused(void)
{
    return access("/usr/bin/tmux", X_OK) ? "tmux is not installed" : NULL;
}

void tmux_start(const char *folder, int columns, int rows, const char *command)
{
    char x[16], y[16];

    snprintf(socket_path, sizeof socket_path, "%s/tmux", folder);
    snprintf(x, sizeof x, "%d", columns);
    snprintf(y, sizeof y, "%d", rows);
    setenv("LC_ALL", "C.UTF-8", 1);
    unsetenv("TMUX");
    unsetenv("NO_COLOR");
    /* a server that was just ended may still hold the socket */
    for (int i = 0; TMUX("new-session", "-d", "-x", x, "-y", y, command); i++) {
        if (i == 50) fail_msg("tmux: %s", last.err);
        nap_ms(20);
    }
    TMUX("set-option", "-g", "status", "off");
    TMUX("set-option", "-g", "window-size", "manual");
    TMUX("set-option", "-g", "remain-on-exit", "on");
    tmux_resize(columns, rows); /* the status line took a row */
}

void tmux_end(void)
{
    if (!socket_path[0]) return;
    TMUX("display-message", "-p", "#{pid}");
    pid_t server = (pid_t)atoi(last.out);

    TMUX("kill-server");
    for (int i = 0; i < 500 && !victim_gone(server); i++) nap_ms(2);
    unlink(socket_path);
    socket_path[0] = 0;
    process_result_free(&last);
}

void tmux_resize(int columns, int rows)
{
    char x[16], y[16];

    snprintf(x, sizeof x, "%d", columns);
    snprintf(y, sizeof y, "%d", rows);
    if (TMUX("resize-window", "-x", x, "-y", y)) fail_msg("tmux: %s", last.err);
}

void tmux_keys(const char *key, ...)
{
    const char *arg[KEYS_MAX + 2] = {"send-keys"};
    va_list list;
    int n = 1;

    va_start(list, key);
    for (; key && n <= KEYS_MAX; key = va_arg(list, const char *)) arg[n++] = key;
    va_end(list);
    if (tmux(arg)) fail_msg("tmux: %s", last.err);
}

void tmux_paste(const char *text)
{
    if (TMUX("set-buffer", text) || TMUX("paste-buffer", "-p")) fail_msg("tmux: %s", last.err);
}

const char *tmux_text(void)
{
    if (TMUX("capture-pane", "-p", "-J", "-S", "-")) fail_msg("tmux: %s", last.err);
    return last.out;
}

const char *tmux_screen(void)
{
    if (TMUX("capture-pane", "-p")) fail_msg("tmux: %s", last.err);
    return last.out;
}

void tmux_wait(const char *text)
{
    uint64_t end = now_ns() + SECONDS * UINT64_C(1000000000);

    while (!strstr(tmux_text(), text)) {
        if (now_ns() > end) fail_msg("'%s' was not shown; shown was:\n%s", text, last.out);
        nap_ms(20);
    }
}

void tmux_wait_stty(const char *flag)
{
    uint64_t end = now_ns() + SECONDS * UINT64_C(1000000000);
    char tty[128], word[32];
    const char *arg[] = {"-a", "-F", tty, NULL};

    if (TMUX("display-message", "-p", "#{pane_tty}")) fail_msg("tmux: %s", last.err);
    snprintf(tty, sizeof tty, "%.*s", (int)strcspn(last.out, "\n"), last.out);
    snprintf(word, sizeof word, " %s ", flag);
    for (;;) {
        process_result_free(&last);
        last = process_run("/bin/stty", arg, NULL, 0, SECONDS);
        for (char *p = last.out; p && *p; p++)
            if (*p == '\n' || *p == ';') *p = ' ';
        if (last.out && strstr(last.out, word)) return;
        if (now_ns() > end) fail_msg("the terminal is not %s: %s\n%s", flag, last.out, tmux_text());
        nap_ms(20);
    }
}

int tmux_pid(void)
{
    if (TMUX("display-message", "-p", "#{pane_pid}")) fail_msg("tmux: %s", last.err);
    return atoi(last.out);
}

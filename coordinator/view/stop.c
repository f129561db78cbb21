#include "coordinator/view/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* Handlers have no argument. */
static struct {
    _Atomic(const char *) undo[STOP_OWNERS];
    int fd[STOP_OWNERS];
    struct termios own, shells; /* valid while mode is set */
    volatile sig_atomic_t mode;
    _Atomic unsigned count;
    bool watched;
} state;

/* In the background, changing the terminal would stop the process again. */
static bool in_foreground(void)
{
    return tcgetpgrp(STDIN_FILENO) == getpgrp();
}

static void take_back(void)
{
    if (state.mode && in_foreground()) tcsetattr(STDIN_FILENO, TCSANOW, &state.own);
    state.count++;
}

static void on_stop(int signal)
{
    struct sigaction usual = {.sa_handler = SIG_DFL}, ours;
    int saved = errno;
    sigset_t set;

    for (int i = 0; i < STOP_OWNERS; i++) {
        const char *undo = state.undo[i];

        if (undo && write(state.fd[i], undo, strlen(undo)) < 0) errno = 0; /* nothing to be done about it */
    }
    if (state.mode && in_foreground()) tcsetattr(STDIN_FILENO, TCSANOW, &state.shells);
    sigemptyset(&usual.sa_mask);
    sigaction(signal, &usual, &ours);
    sigemptyset(&set);
    sigaddset(&set, signal);
    raise(signal);
    sigprocmask(SIG_UNBLOCK, &set, NULL); /* here it stops; an orphan, of which no shell would take care, does not */
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigaction(signal, &ours, NULL);
    take_back();
    errno = saved;
}

static void on_continue(int signal)
{
    int saved = errno;

    (void)signal;
    take_back();
    errno = saved;
}

void stop_watch(void)
{
    struct sigaction a = {.sa_handler = on_continue, .sa_flags = SA_RESTART}, had;

    if (state.watched) return;
    state.watched = true;
    sigemptyset(&a.sa_mask);
    sigaddset(&a.sa_mask, SIGTSTP);
    sigaddset(&a.sa_mask, SIGCONT); /* one of the two at a time */
    sigaction(SIGCONT, &a, NULL);
    a.sa_handler = on_stop;
    if (!sigaction(SIGTSTP, NULL, &had) && had.sa_handler != SIG_IGN) sigaction(SIGTSTP, &a, NULL);
}

void stop_undo(enum stop_owner who, int fd, const char *sequence)
{
    state.fd[who] = fd;
    state.undo[who] = sequence;
}

void stop_mode(const struct termios *own, const struct termios *shells)
{
    state.mode = 0;
    atomic_signal_fence(memory_order_seq_cst);
    if (!own) return;
    state.own = *own;
    state.shells = *shells;
    atomic_signal_fence(memory_order_seq_cst);
    state.mode = 1;
}

unsigned stop_count(void)
{
    return state.count;
}

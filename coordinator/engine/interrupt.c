#include "coordinator/engine/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static volatile sig_atomic_t noted;
static int wake = -1;

static void handler(int signal)
{
    uint64_t one = 1;
    int saved = errno;

    noted = signal;
    if (wake >= 0 && write(wake, &one, sizeof one) < 0) noted = signal;
    errno = saved;
}

void interrupt_begin(void)
{
    static const int heard[] = {SIGINT,   SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE, SIGCHLD,
                                SIGWINCH, SIGTSTP, SIGCONT, SIGTTIN, SIGTTOU, SIGXFSZ};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof heard / sizeof *heard; i++) sigaddset(&set, heard[i]);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGCHLD, SIG_DFL); /* were it ignored, nobody could tell how a stage ended */
    signal(SIGXFSZ, SIG_IGN); /* a write past the limit fails with EFBIG, of which a message tells */
}

void interrupt_setup(void)
{
    struct sigaction a = {.sa_handler = handler}, hangup;

    if (wake < 0) wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    if (!sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &a, NULL); /* nohup */
    signal(SIGPIPE, SIG_IGN);
}

bool interrupted(void)
{
    return noted != 0;
}

int interrupt_signal(void)
{
    return noted;
}

int interrupt_fd(void)
{
    return wake;
}

void interrupt_clear(void)
{
    uint64_t n;

    noted = 0;
    if (wake >= 0 && read(wake, &n, sizeof n) < 0) noted = 0;
}

/* sluice-node: a machine's share of a model, at work for the coordinator on another one. Started by sluice-link, with which it
 * ends:  sluice-node --beside FD --log LEVEL */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "coordinator/engine/interrupt.h"
#include "coordinator/remote/node.h"
#include "proto/base/log.h"

static int number(const char *text, int most)
{
    char *end;
    long n = strtol(text, &end, 10);

    return *text && !*end && n >= 0 && n <= most ? (int)n : -1;
}

int main(int argc, char **argv)
{
    pid_t parent = getppid();
    struct error e = {0};
    int beside, level;

    interrupt_begin();
    signal(SIGINT, SIG_IGN); /* Ctrl-C is the coordinator's */
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) return 1;
    log_setup("sluice-node", LOG_WARN);
    beside = argc == 5 && !strcmp(argv[1], "--beside") ? number(argv[2], 1 << 20) : -1;
    level = argc == 5 && !strcmp(argv[3], "--log") ? number(argv[4], LOG_DEBUG) : -1;
    if (beside < 0 || level < 0) {
        log_warn("this program is started by sluice-link, for sluice MODEL --hosts a,b,c");
        return 2;
    }
    log_setup("sluice-node", (enum log_level)level);
    return node_run(beside, &e) ? 1 : 0;
}

/* sluice-verify: reads files once, hashes them and counts what is no number. Knows no format and no model: the
 * coordinator says in the job segment which bytes are numbers of which form, and judges what was found. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/shm.h"
#include "reader/verify/run.h"

static int attach(struct shm *s, int argc, char **argv, struct error *e)
{
    long parent = argc == 3 && !strcmp(argv[1], "--parent") ? atol(argv[2]) : 0;
    int rc;

    if (!parent) return error_set(e, EINVAL, "this is a part of sluice and is started by it; run: sluice verify MODEL");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) return error_set(e, ESRCH, "the coordinator is gone");
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if ((rc = shm_attach(s, VERIFY_FD, 0, true, e))) return rc;
    return verify_check(s->base, s->bytes, e);
}

int main(int argc, char **argv)
{
    struct shm s = SHM_NONE;
    struct error e = {0};
    int rc;

    log_setup("sluice-verify", LOG_WARN);
    rc = attach(&s, argc, argv, &e);
    if (!rc) rc = verify_run(s.base, &e);
    if (rc) log_at(LOG_QUIET, "%s", e.text);
    shm_close(&s);
    return rc ? 1 : 0;
}

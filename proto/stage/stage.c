#include "proto/stage/stage.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/sandbox.h"
#include "proto/stage/private.h"

static int hello(struct stage *s, pid_t parent, struct control_message *setup, struct error *e)
{
    struct control_message m = {
        .type = CONTROL_HELLO,
        .hello = {.version = CONTROL_VERSION, .stage = s->me, .pid = (uint64_t)getpid(), .build = SLUICE_VERSION}};
    int rc = control_send(s->control, 0, &m, e);

    if (rc) return rc;
    /* However long it takes: the coordinator may be stopped (Ctrl-Z, a debugger) or wait for its user, and its end is ours. */
    while ((rc = control_receive(s->control, NULL, setup, -1, e)) == -EAGAIN)
        if (getppid() != parent) return error_set(e, ESRCH, "the coordinator is gone");
    if (rc) return rc;
    if (setup->type == CONTROL_ERROR) return error_set(e, EPROTO, "%.900s", setup->error.text);
    if (setup->type == CONTROL_STOP) return -ECANCELED;
    if (setup->type != CONTROL_SETUP)
        return error_set(e, EPROTO, "control: expected a setup, got type %d", (int)setup->type);
    return 0;
}

/* When memory runs out, a stage is the better one to lose: the coordinator starts it again, or says what happened. */
static void offer_to_oom_killer(void)
{
    FILE *f = fopen("/proc/self/oom_score_adj", "we");

    if (!f) return;
    fputs("200", f);
    fclose(f);
}

int stage_open(struct stage *s, enum stage_id me, int argc, char **argv, struct error *e)
{
    struct control_message m;
    struct stage_arguments a;
    int rc;

    memset(s, 0, sizeof *s);
    s->me = me;
    for (size_t i = 0; i < sizeof s->shm / sizeof *s->shm; i++) s->shm[i].fd = -1;
    if ((rc = stage_parse(argc, argv, &a, e))) return rc;
    s->fault = a.fault;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (a.parent && getppid() != a.parent) return error_set(e, ESRCH, "the coordinator is gone");
    offer_to_oom_killer();
    signal(SIGINT, SIG_IGN); /* Ctrl-C reaches the whole group; the coordinator decides */
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if ((rc = control_connect(&s->control, a.address, me, e))) return rc;
    if ((rc = hello(s, getppid(), &m, e))) return rc;
    if ((rc = stage_map(s, &m, e))) return rc;
    if ((rc = stage_heartbeat_start(s, e))) return rc;
    return stage_traces_open(s, e);
}

int stage_receive(struct stage *s, struct control_message *m, int timeout_ms, struct error *e)
{
    int rc = control_receive(s->control, NULL, m, timeout_ms, e);

    if (!rc && m->type == CONTROL_STOP) return -ECANCELED;
    if (rc == -EAGAIN && s->run) {
        int state = epoch_state(s->run);
        if (state) return state;
    }
    return rc;
}

int stage_send(struct stage *s, const struct control_message *m, struct error *e)
{
    return control_send(s->control, 0, m, e);
}

/* What cannot be had is no reason to end: the run goes on, less guarded. */
static void give_up_privileges(const struct stage *s)
{
    enum sandbox what = s->me == STAGE_READER                  ? CONFINE_READ
                        : s->plan->run.backend == BACKEND_CUDA ? CONFINE_DEVICE
                                                               : CONFINE_WORK;
    struct error e = {0};

    if (sandbox(what, &e)) log_debug("%s", e.text);
}

int stage_attached(struct stage *s, const char *description, struct error *e)
{
    struct control_message m = {.type = CONTROL_ATTACHED};

    give_up_privileges(s);
    strncpy(m.attached.text, description, sizeof m.attached.text - 1);
    return control_send(s->control, 0, &m, e);
}

int stage_close(struct stage *s, int rc, const struct error *e)
{
    atomic_store(&s->ending, true);
    if (s->control) stage_traces_end(s);
    if (s->control)
        stage_last_words(s, rc, e);
    else if (rc)
        log_warn("%s", e->text);
    control_close(s->control);
    stage_heartbeat_stop(s);
    stage_unmap(s);
    stage_traces_close(s);
    return rc && rc != -ECANCELED ? 1 : 0;
}

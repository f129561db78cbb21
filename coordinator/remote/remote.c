#include "coordinator/remote/private.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

#define PATIENCE_MS 3000 /* of a job that was told to end */

static int failed(struct remote *p, bool recoverable, struct error *e)
{
    p->failed = true;
    p->recoverable = recoverable;
    e->code = EPIPE;
    return -EPIPE;
}

static const char *name_of(const struct remote *p, int64_t rank)
{
    return rank >= 0 && rank < p->config.ranks ? p->config.host[rank].name : "?";
}

/* ---- an epoch's beginning ---- */

static int listen_at(struct remote *p, const char *name, struct error *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);

    memcpy(a.sun_path + 1, name, n);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->listener < 0 ||
        bind(p->listener, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)) ||
        listen(p->listener, 4))
        return error_set(e, errno, "no socket for sluice-link: %s", error_name(errno));
    return 0;
}

static int begin(void *arg, uint64_t epoch, int run_fd, int link_fd, struct error *e)
{
    struct remote *p = arg;
    const char **host;
    char name[96];
    uint64_t nonce = 0;
    int rc;

    p->epoch = epoch;
    p->run_fd = run_fd;
    p->link_fd = link_fd;
    p->all_ready = p->resting = p->recoverable = p->failed = false;
    p->begun_ns = p->look_ns = clock_ns();
    memset(p->peer, 0, p->config.ranks * sizeof *p->peer);
    if (getrandom(&nonce, sizeof nonce, GRND_NONBLOCK) < 0) nonce = clock_ns();
    snprintf(name, sizeof name, "sluice-link-%ld-%llu-%llx", (long)getpid(), (unsigned long long)epoch,
             (unsigned long long)nonce);
    if ((rc = listen_at(p, name, e))) return rc;
    host = calloc(p->config.ranks, sizeof *host);
    if (!host) return error_set(e, ENOMEM, "out of memory");
    for (uint32_t k = 0; k < p->config.ranks; k++) host[k] = p->config.host[k].name;
    rc = launch_start(&p->launch, name, host, p->config.ranks, (int)log_get_level(), e);
    free(host);
    return rc;
}

/* The link of rank 0, and nobody of another user. */
static int welcome(struct remote *p, struct error *e)
{
    int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), pass[2] = {p->run_fd, p->link_fd}, rc;
    struct ucred who;
    socklen_t bytes = sizeof who;

    if (fd < 0) return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) || who.uid != geteuid()) {
        close(fd);
        return 0;
    }
    if ((rc = frames_open(&p->frames, fd, e))) return rc;
    close(p->listener);
    p->listener = -1;
    if (frames_send(&p->frames, FRAME_SEGMENTS, 0, NULL, 0, pass)) return error_set(e, ENOMEM, "out of memory");
    return 0;
}

/* ---- what others say ---- */

static int meet(struct remote *p, uint32_t k, const struct frame *h, struct error *e)
{
    struct frame_hello hello;
    void *plan;
    uint64_t bytes;
    int rc;

    if (h->bytes != sizeof hello) {
        error_set(e, EPROTO, "machine %s is of another build of sluice: install the same on all", name_of(p, k));
        return failed(p, false, e);
    }
    memcpy(&hello, frame_data(h), sizeof hello);
    hello.build[sizeof hello.build - 1] = 0;
    if (hello.version != FRAMES_VERSION || strcmp(hello.build, SLUICE_VERSION)) {
        error_set(e, EPROTO, "machine %s has sluice %.32s (protocol %u), this one %s (%u): install the same on all",
                  name_of(p, k), hello.build, hello.version, SLUICE_VERSION, FRAMES_VERSION);
        return failed(p, false, e);
    }
    p->peer[k].said_hello = true;
    if ((rc = remote_plan(&plan, &bytes, p, k, &hello, e))) {
        error_prefix(e, "machine %s", name_of(p, k));
        return failed(p, false, e);
    }
    rc = frames_send(&p->frames, FRAME_PLAN, k, plan, bytes, NULL);
    free(plan);
    if (!rc) return 0;
    error_set(e, -rc, "the plan of machine %s is too large to be sent", name_of(p, k));
    return failed(p, false, e);
}

static int take_error(struct remote *p, uint32_t k, const struct frame *h, struct error *e)
{
    struct frame_error x = {.code = EPROTO, .text = "has failed"};

    if (h->bytes == sizeof x) memcpy(&x, frame_data(h), sizeof x);
    x.text[sizeof x.text - 1] = 0;
    error_set(e, (int)x.code, "machine %s (rank %u): %.900s", name_of(p, k), k, x.text);
    return failed(p, x.recoverable, e);
}

static int take_compared(struct remote *p, uint32_t k, const struct frame *h, struct error *e)
{
    const struct frame_error *x = frame_data(h);

    p->peer[k].compared = true;
    if (h->bytes != sizeof *x || !x->code) return 0;
    error_set(e, (int)x->code, "machine %s: %.900s", name_of(p, k), x->text);
    p->failed = true;
    p->recoverable = false;
    return -(int)x->code;
}

static int take_frame(struct remote *p, const struct frame *h, struct error *e)
{
    uint32_t k = h->rank;

    if (!k || k >= p->config.ranks) return 0;
    p->peer[k].heard_ns = clock_ns();
    switch (h->type) {
    case FRAME_HELLO: return meet(p, k, h, e);
    case FRAME_READY: p->peer[k].ready = true; return 0;
    case FRAME_PULSE:
        if (h->bytes == sizeof p->peer[k].pulse) memcpy(&p->peer[k].pulse, frame_data(h), (size_t)h->bytes);
        return 0;
    case FRAME_COMPARED: return take_compared(p, k, h, e);
    case FRAME_ERROR: return take_error(p, k, h, e);
    case FRAME_LOST:
        error_set(e, EPIPE, "machine %s (rank %u): sluice-node has ended without a word", name_of(p, k), k);
        return failed(p, true, e);
    default: return 0;
    }
}

/* ---- watching ---- */

/* Before all are ready nothing is expected soon: files are looked at, caches are made. */
static int watch_pulses(struct remote *p, struct error *e)
{
    uint64_t now = clock_ns(), gap = now - p->look_ns;

    p->look_ns = now;
    if (gap > REMOTE_SILENT_NS / 8) /* we were stopped, or did not listen: whatever was said lies in the socket */
        for (uint32_t k = 1; k < p->config.ranks; k++) p->peer[k].heard_ns = now;
    for (uint32_t k = 1; k < p->config.ranks; k++) {
        const struct peer *x = &p->peer[k];

        if (!p->all_ready || now - x->heard_ns <= REMOTE_SILENT_NS) continue;
        error_set(e, EPIPE, "machine %s (rank %u) has given no sign of life for %.1f s", name_of(p, k), k,
                  (double)(now - x->heard_ns) / 1e9);
        return failed(p, true, e);
    }
    return 0;
}

/* The job has ended, which it does not by itself. A rank that died names its machine. */
static int tell_end(struct remote *p, struct error *e)
{
    char how[192];
    const char *said;

    child_describe(&p->launch.child, how, sizeof how);
    said = launch_words(&p->launch);
    if (p->launch.rank > 0)
        error_set(e, EPIPE, "machine %s: mpirun ended (%s): %.500s", name_of(p, p->launch.rank), how, said);
    else
        error_set(e, EPIPE, "mpirun ended (%s)%s%.500s", how, *said ? ": " : "", said);
    return failed(p, p->all_ready, e);
}

static int look(void *arg, bool *ready, struct error *e)
{
    struct remote *p = arg;
    const struct frame *h;
    bool all = true;
    int rc = 0;

    if (p->failed) return error_set(e, EPIPE, "the machines have stopped");
    launch_listen(&p->launch);
    if (p->listener >= 0 && (rc = welcome(p, e))) return rc;
    while (!rc && (h = frames_next(&p->frames, &rc)))
        if ((rc = take_frame(p, h, e))) return rc;
    if (rc) {
        error_set(e, EPIPE, "sluice-link of this machine sends what is no frame");
        return failed(p, true, e);
    }
    if (child_poll(&p->launch.child)) return tell_end(p, e);
    if (p->frames.fd >= 0 && p->frames.closed) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* mpirun is about to say why */
        launch_listen(&p->launch);
        if (child_poll(&p->launch.child)) return tell_end(p, e);
        error_set(e, EPIPE, "sluice-link of this machine has ended%s%.500s", *p->launch.best ? ": " : "",
                  p->launch.best);
        return failed(p, p->all_ready, e);
    }
    for (uint32_t k = 1; k < p->config.ranks; k++) all = all && p->peer[k].ready;
    p->all_ready = *ready = all;
    return watch_pulses(p, e);
}

static int remote_fd(void *arg)
{
    const struct remote *p = arg;

    return p->frames.fd >= 0 && !p->frames.closed ? p->frames.fd : p->listener;
}

static bool recoverable(void *arg)
{
    return ((const struct remote *)arg)->recoverable;
}

/* ---- orders ---- */

static int tell_all(struct remote *p, enum frame_type type, const void *data, uint64_t bytes)
{
    int rc = 0;

    for (uint32_t k = 1; k < p->config.ranks && !rc; k++) rc = frames_send(&p->frames, type, k, data, bytes, NULL);
    return rc;
}

static int order(void *arg, uint64_t sweep, const struct sweep_position *s, uint32_t n, struct error *e)
{
    struct remote *p = arg;
    uint64_t bytes = sizeof(struct frame_sweep) + n * sizeof *s;
    struct frame_sweep *f = malloc(bytes);
    int rc;

    if (!f) return error_set(e, ENOMEM, "out of memory");
    *f = (struct frame_sweep){.sweep = sweep, .count = n};
    memcpy(f + 1, s, n * sizeof *s);
    rc = tell_all(p, FRAME_SWEEP, f, bytes);
    free(f);
    return rc ? error_set(e, -rc, "a sweep cannot be sent: %s", error_name(-rc)) : 0;
}

static void rest(void *arg, bool rests)
{
    struct remote *p = arg;

    if (rests == p->resting || !p->all_ready) return;
    p->resting = rests;
    tell_all(p, rests ? FRAME_REST : FRAME_WAKE, NULL, 0);
    p->look_ns = 0; /* what was heard before counts no more */
}

static void ask_compare(void *arg)
{
    struct remote *p = arg;

    for (uint32_t k = 1; k < p->config.ranks; k++) p->peer[k].compared = false;
    tell_all(p, FRAME_COMPARE, NULL, 0);
}

static bool compared(void *arg)
{
    const struct remote *p = arg;
    bool all = true;

    for (uint32_t k = 1; k < p->config.ranks; k++) all = all && p->peer[k].compared;
    return all;
}

/* ---- an epoch's end ---- */

static void end(void *arg)
{
    struct remote *p = arg;
    bool polite = p->frames.fd >= 0 && !p->frames.closed && !p->failed && p->all_ready;
    uint64_t limit = clock_ns() + (uint64_t)PATIENCE_MS * 1000000u;

    if (polite) {
        tell_all(p, FRAME_STOP, NULL, 0);
        frames_send(&p->frames, FRAME_STOP, 0, NULL, 0, NULL);
        while (p->frames.first && !p->frames.closed && clock_ns() < limit) {
            frames_flush(&p->frames);
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
    launch_end(&p->launch, polite ? PATIENCE_MS : 0);
    for (uint32_t k = 1; k < p->config.ranks; k++) {
        p->read_bytes += p->peer[k].pulse.read_bytes;
        p->peer[k].pulse = (struct frame_pulse){0};
    }
    frames_close(&p->frames);
    if (p->listener >= 0) close(p->listener);
    p->listener = -1;
}

/* ---- life ---- */

static int copy_config(struct remote *p, const struct remote_config *c)
{
    uint64_t layers = c->whole->spec.layers;
    uint32_t *owner = malloc((layers + 1) * sizeof *owner);
    struct remote_host *host = calloc(c->ranks, sizeof *host);

    p->config = *c;
    p->config.owner = owner;
    p->config.host = host;
    if (!owner || !host) return -ENOMEM;
    memcpy(owner, c->owner, layers * sizeof *owner);
    for (uint32_t k = 0; k < c->ranks; k++) {
        host[k] = c->host[k];
        host[k].name = strdup(c->host[k].name);
        host[k].folder = c->host[k].folder ? strdup(c->host[k].folder) : NULL;
        if (!host[k].name || (c->host[k].folder && !host[k].folder)) return -ENOMEM;
    }
    return 0;
}

int remote_possible(struct error *e)
{
    return launch_possible(e);
}

int remote_open(struct remote **out, const struct remote_config *c, struct error *e)
{
    struct remote *p;
    int rc = launch_possible(e);

    if (rc) return rc;
    p = calloc(1, sizeof *p + c->ranks * sizeof *p->peer);
    if (!p || copy_config(p, c)) {
        remote_close(p);
        return error_set(e, ENOMEM, "out of memory");
    }
    p->settings = *c->settings;
    p->launch = (struct launch)LAUNCH_NONE;
    p->frames = (struct frames){.fd = -1, .passed = {-1, -1}, .closed = true};
    p->frames.last = &p->frames.first;
    p->listener = -1;
    p->engine = (struct engine_peers){.arg = p,
                                      .ranks = c->ranks,
                                      .begin = begin,
                                      .order = order,
                                      .look = look,
                                      .fd = remote_fd,
                                      .rest = rest,
                                      .ask_compare = ask_compare,
                                      .compared = compared,
                                      .recoverable = recoverable,
                                      .end = end};
    if ((rc = remote_folder(p->folder, sizeof p->folder, c->model, e))) {
        remote_close(p);
        return rc;
    }
    *out = p;
    return 0;
}

void remote_close(struct remote *p)
{
    if (!p) return;
    for (uint32_t k = 0; p->config.host && k < p->config.ranks; k++) {
        free((char *)p->config.host[k].name);
        free((char *)p->config.host[k].folder);
    }
    free((void *)p->config.host);
    free((void *)p->config.owner);
    free(p);
}

const struct engine_peers *remote_engine(const struct remote *p)
{
    return &p->engine;
}

uint64_t remote_read_bytes(const struct remote *p)
{
    uint64_t n = p->read_bytes;

    for (uint32_t k = 1; k < p->config.ranks; k++) n += p->peer[k].pulse.read_bytes;
    return n;
}

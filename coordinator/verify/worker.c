/* sluice-verify at work: the job it gets, its process, and the progress line meanwhile. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coordinator/cli/options.h"
#include "coordinator/source/safetensors.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/engine/stages.h"
#include "coordinator/engine/tasks.h"
#include "coordinator/verify/verify.h"
#include "coordinator/view/view.h"
#include "proto/base/clock.h"
#include "proto/base/shm.h"
#include "proto/verify.h"

#define TICK_MS 100

extern char **environ;

/* ---- the job ---- */

static uint32_t form_of(const struct verify *v, size_t i)
{
    const struct verify_tensor *t = &v->tensor[i];
    size_t n = strlen(t->name);

    if (t->dtype != TENSOR_U8) return t->form;
    /* gpt-oss stores MXFP4's scales as plain bytes beside NAME_blocks */
    if (n < 7 || strcmp(t->name + n - 7, "_scales")) return FORM_BYTES;
    for (size_t k = 0; k < v->tensors; k++)
        if (!strncmp(v->tensor[k].name, t->name, n - 7) && !strcmp(v->tensor[k].name + n - 7, "_blocks"))
            return FORM_F8_E8M0;
    return FORM_BYTES;
}

static uint64_t up8(uint64_t x)
{
    return (x + 7) / 8 * 8;
}

static void place(const struct verify *v, struct verify_shm *head)
{
    uint64_t at = up8(sizeof *head);

    head->file_off = at;
    at += v->items * sizeof(struct verify_file);
    head->span_off = at;
    at += v->tensors * sizeof(struct verify_span);
    head->string_off = at;
    for (size_t i = 0; i < v->items; i++) at += strlen(v->item[i].path) + 1;
    head->bytes = at + 1;
}

static void fill_spans(const struct verify *v, struct verify_shm *s, uint32_t item, struct verify_file *f)
{
    size_t i = 0;

    while (i < v->tensors && v->tensor[i].item < item) i++;
    f->span0 = i;
    for (; i < v->tensors && v->tensor[i].item == item; i++, f->spans++)
        verify_spans(s)[i] = (struct verify_span){
            .offset = v->tensor[i].offset, .bytes = v->tensor[i].bytes, .form = form_of(v, i), .first = VERIFY_NONE};
}

static void fill(const struct verify *v, const struct options *o, struct verify_shm *s)
{
    uint64_t at = s->string_off;
    cpu_set_t set;

    s->magic = VERIFY_MAGIC;
    s->version = VERIFY_VERSION;
    s->io = o->io == PLAN_IO_DIRECT     ? VERIFY_IO_DIRECT
            : o->io == PLAN_IO_BUFFERED ? VERIFY_IO_BUFFERED
                                        : VERIFY_IO_AUTO;
    s->file_count = v->items;
    s->span_count = v->tensors;
    s->block_bytes = o->io_block;
    s->depth = (uint32_t)o->io_depth;
    s->threads = sched_getaffinity(0, sizeof set, &set) ? 1 : (uint32_t)CPU_COUNT(&set);
    for (uint32_t i = 0; i < v->items; i++) {
        struct verify_file *f = verify_files(s) + i;

        f->path = at;
        f->bytes = v->item[i].bytes;
        f->mtime_ns = v->item[i].mtime_ns;
        f->inode = v->item[i].inode;
        at += (uint64_t)(stpcpy((char *)s + at, v->item[i].path) - ((char *)s + at)) + 1;
        fill_spans(v, s, i, f);
    }
}

/* ---- its process ---- */

static int start(struct child *c, int fd, struct error *e)
{
    char path[2 * PATH_MAX], parent[24];
    char *argv[] = {(char *)"sluice-verify", (char *)"--parent", parent, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int rc;

    *c = (struct child){.pidfd = -1, .ended = true};
    if ((rc = child_path(path, sizeof path, argv[0], e))) return rc;
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_adddup2(&actions, fd, VERIFY_FD);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", 0, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", 1, 0);
    rc = posix_spawn(&c->pid, path, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (rc) return error_set(e, rc, "cannot start %s: %s%s", path, error_name(rc), rc == EAGAIN ? TASKS_REMEDY : "");
    c->ended = false;
    c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    return 0;
}

static int watch(struct child *c, struct verify_shm *s, uint64_t total, struct view *view, struct error *e)
{
    char how[128];

    while (!child_poll(c)) {
        struct pollfd p[2] = {{.fd = c->pidfd, .events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN}};

        view_progress(view, "verify", atomic_load_explicit(&s->done_bytes, memory_order_relaxed), total);
        poll(p, 2, TICK_MS);
        if (interrupted()) break;
    }
    view_hide(view);
    if (interrupted()) return -ECANCELED;
    if (!c->status) return 0;
    child_describe(c, how, sizeof how);
    return error_set(e, EPIPE, "sluice-verify ended before its work was done: %s", how);
}

/* ---- what it found ---- */

static int note_failure(struct verify *v, const struct verify_item *x, const struct verify_file *f)
{
    if (f->code == ESTALE)
        return verify_find(v, FINDING_FILE, x->name, NULL,
                           "%s changed while it was read: let the copy or download end and start again", x->path);
    return verify_find(v, FINDING_FILE, x->name, NULL, "%s cannot be read: offset %llu: %s", x->path,
                       (unsigned long long)f->offset, error_name(f->code));
}

static int take_results(struct verify *v, struct verify_shm *s, struct error *e)
{
    for (size_t i = 0; i < v->items; i++) {
        const struct verify_file *f = verify_files(s) + i;
        struct verify_item *x = &v->item[i];
        /* acquire: results were written before the state */
        uint32_t state = atomic_load_explicit(&f->state, memory_order_acquire);

        x->read = state == VERIFY_DONE;
        memcpy(x->sha256, f->sha256, sizeof x->sha256);
        memcpy(x->git_sha1, f->git_sha1, sizeof x->git_sha1);
        if (state != VERIFY_DONE && f->code == EAGAIN) /* no fault of the file */
            return error_set(e, EAGAIN, "%s: sluice-verify could not start its threads%s", x->path, TASKS_REMEDY);
        if (state != VERIFY_DONE && note_failure(v, x, f))
            return error_set(e, ENOMEM, "%s: no memory for what was found", v->folder);
    }
    for (size_t i = 0; i < v->tensors; i++) {
        const struct verify_span *n = verify_spans(s) + i;

        v->tensor[i].nan = n->nan;
        v->tensor[i].inf = n->inf;
        v->tensor[i].first = n->first;
    }
    return 0;
}

int verify_read(struct verify *v, const struct options *o, struct view *view, struct error *e)
{
    struct verify_shm head = {0};
    struct child child = {.pidfd = -1, .ended = true};
    struct shm shm = SHM_NONE;
    uint64_t began = clock_ns();
    int rc;

    if (!v->items) return 0;
    place(v, &head);
    if ((rc = shm_create_anonymous(&shm, "sluice-verify", head.bytes, e))) return rc;
    memcpy(shm.base, &head, sizeof head);
    fill(v, o, shm.base);
    rc = start(&child, shm.fd, e);
    if (!rc) rc = watch(&child, shm.base, v->bytes, view, e);
    child_kill(&child, SIGKILL);
    if (child.pid > 0) child_wait(&child, 0, 1000);
    v->read_ns = clock_ns() - began;
    if (!rc) rc = take_results(v, shm.base, e);
    shm_close(&shm);
    return rc;
}

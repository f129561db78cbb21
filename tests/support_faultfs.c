#include "tests/support_faultfs.h"
#include "tests/support_temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define NODES      32
#define READ_BYTES (1u << 20)
#define IN_BYTES   (READ_BYTES + 8192)

struct server {
    int fuse;
    const char *source;
    struct faultfs_control *control;
    char name[NODES][256]; /* node 2 is the first */
    int fd[NODES];
    uint32_t nodes;
    uint8_t *out;
};

static void reply(const struct server *s, uint64_t unique, int code, const void *data, size_t bytes)
{
    struct fuse_out_header h = {.len = (uint32_t)(sizeof h + (code ? 0 : bytes)), .error = -code, .unique = unique};
    struct iovec v[2] = {{&h, sizeof h}, {(void *)data, code ? 0 : bytes}};

    if (writev(s->fuse, v, 2) < 0 && errno != ENOENT) _exit(1); /* ENOENT: who asked has gone */
}

static int attributes(const struct server *s, uint64_t node, struct fuse_attr *a)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", s->source, node >= 2 && node - 2 < s->nodes ? s->name[node - 2] : "");
    if (stat(path, &st)) return errno;
    *a = (struct fuse_attr){.ino = node,
                            .size = (uint64_t)st.st_size,
                            .blocks = (uint64_t)st.st_blocks,
                            .mtime = (uint64_t)st.st_mtim.tv_sec,
                            .mtimensec = (uint32_t)st.st_mtim.tv_nsec,
                            .mode = st.st_mode,
                            .nlink = 1,
                            .blksize = 4096};
    return 0;
}

static void look_up(struct server *s, uint64_t unique, const char *name)
{
    struct fuse_entry_out o = {.entry_valid = 3600, .attr_valid = 3600};
    uint32_t i = 0;
    int code;

    while (i < s->nodes && strcmp(s->name[i], name)) i++;
    if (i == s->nodes) {
        if (i == NODES || strlen(name) >= sizeof s->name[0]) {
            reply(s, unique, ENOENT, NULL, 0);
            return;
        }
        strcpy(s->name[i], name);
        s->fd[i] = -1;
        s->nodes++;
    }
    o.nodeid = i + 2;
    code = attributes(s, o.nodeid, &o.attr);
    reply(s, unique, code, &o, sizeof o);
}

static int node_fd(struct server *s, uint64_t node)
{
    char path[PATH_MAX];

    if (node < 2 || node - 2 >= s->nodes) return -1;
    if (s->fd[node - 2] < 0) {
        snprintf(path, sizeof path, "%s/%s", s->source, s->name[node - 2]);
        s->fd[node - 2] = open(path, O_RDONLY | O_CLOEXEC);
    }
    return s->fd[node - 2];
}

/* true: the read is not answered as it should be. */
static bool fault(struct server *s, uint64_t unique, const struct fuse_read_in *r, uint32_t *bytes)
{
    struct faultfs_control *c = s->control;
    uint64_t at = atomic_load(&c->at);
    bool covers = at >= r->offset && at < r->offset + r->size;

    switch (atomic_load(&c->mode)) {
    case FAULTFS_SHORT:
        if (*bytes > at) *bytes = (uint32_t)at;
        return false;
    case FAULTFS_EIO:
        if (!covers || !atomic_load(&c->times)) return false;
        atomic_fetch_sub(&c->times, 1);
        atomic_fetch_add(&c->met, 1);
        reply(s, unique, EIO, NULL, 0);
        return true;
    case FAULTFS_HANG:
        if (covers) atomic_fetch_add(&c->met, 1);
        return covers;
    default: return false;
    }
}

static void answer(struct server *s, const struct fuse_in_header *h, const void *body)
{
    const struct fuse_read_in *r = body;
    const struct fuse_init_in *init = body;
    struct fuse_attr_out attr = {.attr_valid = 3600};
    struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO};
    struct fuse_init_out hello = {.major = FUSE_KERNEL_VERSION,
                                  .minor = FUSE_KERNEL_MINOR_VERSION,
                                  .max_background = 64,
                                  .congestion_threshold = 64,
                                  .max_write = READ_BYTES,
                                  .max_pages = READ_BYTES / 4096,
                                  .flags = FUSE_ASYNC_READ | FUSE_MAX_PAGES};
    struct fuse_statfs_out fs = {0};
    uint32_t bytes;
    ssize_t n;
    int code;

    switch (h->opcode) {
    case FUSE_INIT:
        hello.flags &= init->flags;
        reply(s, h->unique, 0, &hello, sizeof hello);
        return;
    case FUSE_LOOKUP: look_up(s, h->unique, body); return;
    case FUSE_GETATTR:
        code = attributes(s, h->nodeid, &attr.attr);
        reply(s, h->unique, code, &attr, sizeof attr);
        return;
    case FUSE_OPEN: reply(s, h->unique, node_fd(s, h->nodeid) < 0 ? EACCES : 0, &opened, sizeof opened); return;
    case FUSE_OPENDIR: reply(s, h->unique, 0, &opened, sizeof opened); return;
    case FUSE_READ:
        bytes = r->size < READ_BYTES ? r->size : READ_BYTES;
        if (fault(s, h->unique, r, &bytes)) return;
        n = pread(node_fd(s, h->nodeid), s->out, bytes, (off_t)r->offset);
        reply(s, h->unique, n < 0 ? errno : 0, s->out, n < 0 ? 0 : (size_t)n);
        return;
    case FUSE_STATFS: reply(s, h->unique, 0, &fs, sizeof fs); return;
    case FUSE_READDIR:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH: reply(s, h->unique, 0, NULL, 0); return;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: return; /* nobody waits for an answer */
    default: reply(s, h->unique, ENOSYS, NULL, 0); return;
    }
}

static void serve(int fuse, const char *source, struct faultfs_control *control)
{
    struct server s = {.fuse = fuse, .source = source, .control = control, .out = malloc(READ_BYTES)};
    char *in = malloc(IN_BYTES);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (in && s.out) {
        ssize_t n = read(fuse, in, IN_BYTES);
        const struct fuse_in_header *h = (const void *)in;

        if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) continue;
        if (n < (ssize_t)sizeof *h) break; /* ENODEV: unmounted */
        answer(&s, h, in + sizeof *h);
    }
    _exit(0);
}

static bool refuse(struct faultfs *f, const char *why)
{
    f->why = why;
    if (f->path[0]) rmdir(f->path);
    return false;
}

bool faultfs_mount(struct faultfs *f, const char *source)
{
    static char absolute[PATH_MAX];
    char options[128];
    int fuse;

    *f = (struct faultfs){0};
    if (!realpath(source, absolute)) return refuse(f, "there is no such folder");
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return refuse(f, "no mount name space of its own (needs root)");
    fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse < 0) return refuse(f, "no /dev/fuse");
    if (!temporary_make(f->path, NULL)) {
        f->path[0] = 0;
        return refuse(f, "no temporary folder");
    }
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other", fuse, getuid(),
             getgid());
    if (mount("faultfs", f->path, "fuse.faultfs", MS_NOSUID | MS_NODEV | MS_RDONLY, options))
        return refuse(f, "fuse may not be mounted");
    f->control = mmap(NULL, sizeof *f->control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    f->server = f->control == MAP_FAILED ? -1 : fork();
    if (!f->server) serve(fuse, absolute, f->control);
    close(fuse);
    return f->server > 0 || refuse(f, "no process for it");
}

void faultfs_set(struct faultfs *f, enum faultfs_mode mode, uint64_t at, uint64_t times)
{
    atomic_store(&f->control->mode, FAULTFS_NONE);
    atomic_store(&f->control->at, at);
    atomic_store(&f->control->times, times);
    atomic_store(&f->control->met, 0);
    atomic_store(&f->control->mode, mode);
}

void faultfs_kill(struct faultfs *f)
{
    if (f->server <= 0) return;
    kill(f->server, SIGKILL);
    waitpid(f->server, NULL, 0);
    f->server = 0;
}

void faultfs_unmount(struct faultfs *f)
{
    faultfs_kill(f);
    umount2(f->path, MNT_DETACH);
    rmdir(f->path);
    if (f->control) munmap(f->control, sizeof *f->control);
}

#include "reader/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "proto/base/file.h"
#include "proto/base/log.h"
#include "proto/base/pagecache.h"

#define REVIEW_NS 1000000000u
#define SMALL_BYTES                                                                                                    \
    (UINT64_C(1) << 30) /* of all files together: read in about a second, worth keeping for the next run */

struct one {
    const struct plan_file *plan;
    const char *path;
    int fd[FILES_WAYS]; /* -1: not open */
    enum files_way way;
    bool refused; /* direct reads */
};

struct files {
    struct io_engine *engine;
    uint32_t io; /* enum plan_io */
    bool small;
    bool opened;    /* all that ever will be: the process may open nothing any more */
    uint64_t total; /* bytes of all */
    uint64_t reviewed_ns;
    uint32_t count;
    struct one one[];
};

static int changed(const struct one *o, const char *what, struct error *e)
{
    return error_set(e, ESTALE, "%s: %s since this run was planned; let the copy or download end and start again",
                     o->path, what);
}

static int check_stat(const struct one *o, int fd, struct error *e)
{
    const struct plan_file *p = o->plan;
    struct stat st;
    uint64_t mtime;

    if (fstat(fd, &st)) return error_set(e, errno, "%s: %s", o->path, error_name(errno));
    if (!S_ISREG(st.st_mode)) return changed(o, "was replaced by what is no file", e);
    mtime = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    if ((uint64_t)st.st_size != p->bytes) {
        error_set(e, ESTALE,
                  "%s: has %llu bytes now, had %llu when this run was planned; let the copy or download end and "
                  "start again",
                  o->path, (unsigned long long)st.st_size, (unsigned long long)p->bytes);
        return -ESTALE;
    }
    if ((uint64_t)st.st_ino != p->inode) return changed(o, "was replaced by another file", e);
    if (mtime != p->mtime_ns) return changed(o, "was written to", e);
    return 0;
}

static int open_failed(const struct files *f, const struct one *o, int code, struct error *e)
{
    if (code == EMFILE || code == ENFILE)
        return error_set(e, code, "%s: too many open files (the model has %u); raise the limit (ulimit -n)", o->path,
                         f->count);
    if (code == ENOENT)
        return error_set(e, code, "%s: is gone since this run was planned; put it back and start again", o->path);
    return error_set(e, code, "%s: cannot be opened: %s", o->path, error_name(code));
}

/* One that has become a pipe or a device is not waited for. Reads of a file are to wait, whatever the ring makes of the flag. */
static int open_regular(const char *path, int direct)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | direct);

    if (fd >= 0 && fcntl(fd, F_SETFL, direct)) {
        int code = errno;

        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

int files_fd(struct files *f, uint32_t file, enum files_way way, struct error *e)
{
    static const int advice[FILES_WAYS] = {POSIX_FADV_NORMAL, POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM};
    struct one *o = &f->one[file];
    int fd = o->fd[way], rc;

    if (fd >= 0) return fd;
    if (f->opened)
        return error_set(e, EMFILE, "%s: could not be opened once more at the start; raise the limit (ulimit -n)",
                         o->path);
    fd = open_regular(o->path, way == FILES_DIRECT ? O_DIRECT : 0);
    if (fd < 0 && errno == EINVAL && way == FILES_DIRECT)
        return -EINVAL; /* no error yet: the caller goes another way */
    if (fd < 0) return open_failed(f, o, errno, e);
    if (way == FILES_DIRECT &&
        file_direct_align(fd) > PLAN_PAGE) { /* some would go through the page cache and not say so */
        close(fd);
        return -EINVAL;
    }
    if ((rc = check_stat(o, fd, e))) {
        close(fd);
        return rc;
    }
    posix_fadvise(fd, 0, 0, advice[way]);
    o->fd[way] = fd;
    io_engine_add_file(f->engine, files_number(file, way), fd);
    return fd;
}

/* Chooses between direct and buffered, and opens what was chosen. */
static int choose(struct files *f, uint32_t file, struct error *e)
{
    struct one *o = &f->one[file];
    bool direct = f->io != PLAN_IO_BUFFERED && !o->refused && (!f->opened || o->fd[FILES_DIRECT] >= 0);
    int fd;

    if (direct && f->io == PLAN_IO_AUTO) {
        fd = o->fd[FILES_DIRECT] >= 0 ? o->fd[FILES_DIRECT] : files_fd(f, file, FILES_BUFFERED, e);
        if (fd < 0) return fd;
        direct = !f->small && !pagecache_holds(fd, o->plan->bytes);
    }
    if (f->opened && o->fd[FILES_BUFFERED] < 0) direct = true;
    o->way = direct ? FILES_DIRECT : FILES_BUFFERED;
    fd = files_fd(f, file, o->way, e);
    if (fd == -EINVAL && direct) {
        files_refuse_direct(f, file);
        fd = files_fd(f, file, o->way, e);
    }
    return fd < 0 ? fd : 0;
}

/* What a file may be read by later, too: when the reader works, it can open nothing any more. One that cannot be had leaves
 * the file as it is read now. */
static void open_spare(struct files *f, uint32_t file)
{
    struct error ignored;

    if (f->io == PLAN_IO_DIRECT || (f->io == PLAN_IO_AUTO && !f->small)) files_fd(f, file, FILES_DIRECT, &ignored);
    files_fd(f, file, FILES_BUFFERED, &ignored);
}

/* Rows of the gather table are read through a descriptor of their own. */
static int open_rows(struct files *f, const struct plan_shm *p, struct error *e)
{
    int fd = p->gather.rows ? files_fd(f, p->gather.file, FILES_ROWS, e) : 0;

    if (fd >= 0 && p->beside.rows) fd = files_fd(f, p->beside.file, FILES_ROWS, e);
    return fd < 0 ? fd : 0;
}

/* Two descriptors for each file, and a few. */
static void raise_limit(uint32_t files)
{
    struct rlimit l;
    rlim_t want = (rlim_t)files * 2 + 64;

    if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur >= want) return;
    l.rlim_cur = l.rlim_max < want ? l.rlim_max : want;
    setrlimit(RLIMIT_NOFILE, &l);
}

/* The path of the first file that a program serves; NULL: none is. */
static const char *served(const struct plan_shm *p)
{
    struct statfs s;

    for (uint32_t i = 0; i < p->files.count; i++) {
        const char *path = plan_string(p, plan_files(p)[i].name);

        if (!statfs(path, &s) && s.f_type == FUSE_SUPER_MAGIC) return path;
    }
    return NULL;
}

int files_engine(const struct plan_shm *p, uint32_t *engine, struct error *e)
{
    const char *path;

    *engine = p->run.engine;
    if (*engine != ENGINE_AUTO && *engine != ENGINE_URING) return 0;
    if (!(path = served(p))) return 0;
    if (*engine == ENGINE_URING)
        return error_set(
            e, ENOTSUP,
            "%s: a program serves this file system (FUSE), and io_uring hands out wrong bytes where it answers "
            "with fewer than it was asked for: use --io-engine threads or auto",
            path);
    *engine = ENGINE_THREADS;
    return 0;
}

int files_open(struct files **out, const struct plan_shm *p, struct io_engine *g, struct error *e)
{
    uint32_t count = (uint32_t)p->files.count;
    struct files *f = calloc(1, sizeof *f + count * sizeof *f->one);
    uint64_t total = 0;
    int rc = 0;

    if (!f) return error_set(e, ENOMEM, "no memory for %u files", count);
    f->engine = g;
    f->io = p->run.io;
    f->count = count;
    for (uint32_t i = 0; i < count; i++) {
        f->one[i] =
            (struct one){.plan = &plan_files(p)[i], .path = plan_string(p, plan_files(p)[i].name), .fd = {-1, -1, -1}};
        total += f->one[i].plan->bytes;
    }
    f->total = total;
    f->small = total <= SMALL_BYTES && total <= pagecache_room() / 4;
    raise_limit(count);
    for (uint32_t i = 0; i < count && !rc; i++) rc = choose(f, i, e);
    if (!rc) rc = open_rows(f, p, e);
    if (rc) {
        files_close(f);
        return rc;
    }
    for (uint32_t i = 0; i < count; i++) open_spare(f, i);
    f->opened = true;
    *out = f;
    return 0;
}

void files_close(struct files *f)
{
    if (!f) return;
    for (uint32_t i = 0; i < f->count; i++) {
        for (int w = 0; w < FILES_WAYS; w++) {
            if (f->one[i].fd[w] >= 0) close(f->one[i].fd[w]);
        }
    }
    free(f);
}

bool files_worth_tuning(const struct files *f)
{
    bool direct = false;

    for (uint32_t i = 0; i < f->count; i++) direct |= f->one[i].way == FILES_DIRECT;
    return direct && f->total > SMALL_BYTES;
}

enum files_way files_way(const struct files *f, uint32_t file)
{
    return f->one[file].way;
}

void files_refuse_direct(struct files *f, uint32_t file)
{
    if (!f->one[file].refused)
        log_info("%s: this file system does not take direct reads; they go through the page cache", f->one[file].path);
    f->one[file].refused = true;
    f->one[file].way = FILES_BUFFERED;
}

/* The descriptor shows what became of the bytes, the name shows whether it still leads to them. */
static int check_name(const struct one *o, struct error *e)
{
    struct stat st;

    if (stat(o->path, &st)) {
        if (errno != ENOENT && errno != ENOTDIR) return error_set(e, errno, "%s: %s", o->path, error_name(errno));
        return error_set(e, ENOENT, "%s: is gone since this run was planned; put it back and start again", o->path);
    }
    return (uint64_t)st.st_ino == o->plan->inode ? 0 : changed(o, "was replaced by another file", e);
}

int files_unchanged(struct files *f, uint32_t file, struct error *e)
{
    struct one *o = &f->one[file];
    int rc;

    for (int w = 0; w < FILES_WAYS; w++) {
        if (o->fd[w] >= 0 && (rc = check_stat(o, o->fd[w], e))) return rc;
    }
    return check_name(o, e);
}

int files_review(struct files *f, uint64_t now_ns, struct error *e)
{
    int rc = 0;

    if (!f->reviewed_ns) f->reviewed_ns = now_ns; /* they were just opened */
    if (now_ns - f->reviewed_ns < REVIEW_NS) return 0;
    f->reviewed_ns = now_ns;
    for (uint32_t i = 0; i < f->count && !rc; i++) {
        rc = files_unchanged(f, i, e);
        if (!rc && f->io == PLAN_IO_AUTO) rc = choose(f, i, e);
    }
    return rc;
}

int files_read(const struct files *f, uint32_t file, uint8_t *dest, uint64_t offset, uint64_t bytes, struct error *e)
{
    const struct one *o = &f->one[file];
    int fd = o->fd[FILES_BUFFERED] >= 0 ? o->fd[FILES_BUFFERED] : o->fd[FILES_DIRECT];
    uint64_t room = (bytes + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE, got = 0;

    while (got < bytes) {
        ssize_t n = pread(fd, dest + got, room - got, (off_t)(offset + got));

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(e, errno, "%s: cannot be read: %s", o->path, error_name(errno));
        if (n == 0) return changed(o, "became shorter", e);
        got += (uint64_t)n;
    }
    return 0;
}

int files_written_to(const struct files *f, uint32_t file, struct error *e)
{
    return changed(&f->one[file], "was written to", e);
}

const char *files_path(const struct files *f, uint32_t file)
{
    return f->one[file].path;
}

uint32_t files_ways(const struct files *f)
{
    uint32_t ways = 0;

    for (uint32_t i = 0; i < f->count; i++)
        ways |= f->one[i].way == FILES_BUFFERED ? EPOCH_READS_BUFFERED : EPOCH_READS_DIRECT;
    return ways;
}

const char *files_describe(const struct files *f)
{
    uint32_t ways = files_ways(f);

    if (ways == (EPOCH_READS_DIRECT | EPOCH_READS_BUFFERED)) return "direct and buffered";
    return ways == EPOCH_READS_BUFFERED ? "buffered" : "direct";
}

#include "proto/base/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define NAMES      100 /* of our own that are tried */
#define NAME_BYTES 32
#define BUFFER     (64u << 10)

struct output {
    char *path;
    const char *base; /* in path: the name in the folder */
    FILE *stream;
    int fd, folder;        /* folder -1: not a regular file, written to as it is */
    bool unnamed;          /* made with O_TMPFILE: vanishes by itself */
    char name[NAME_BYTES]; /* the name that it has meanwhile; "": none */
    int failed;            /* errno of the first write that failed */
    bool existed;
    bool (*interrupted)(void);
};

/* ---- the stream ---- */

static int wait_writable(const struct output *o)
{
    struct pollfd p = {.fd = o->fd, .events = POLLOUT};

    return poll(&p, 1, -1) < 0 && errno != EINTR ? errno : 0;
}

static ssize_t write_some(void *cookie, const char *data, size_t bytes)
{
    struct output *o = cookie;
    size_t done = 0;

    while (done < bytes && !o->failed) {
        ssize_t n = write(o->fd, data + done, bytes - done);

        if (n >= 0)
            done += (size_t)n;
        else if (errno == EINTR)
            o->failed = o->interrupted && o->interrupted() ? ECANCELED : 0;
        else
            o->failed = errno == EAGAIN ? wait_writable(o) : errno;
    }
    if (o->failed) errno = o->failed;
    return done == bytes ? (ssize_t)bytes : 0; /* 0 is how a cookie's function says that it failed */
}

static int seek(void *cookie, off64_t *offset, int whence)
{
    struct output *o = cookie;
    off64_t at = o->folder < 0 ? -1 : lseek(o->fd, *offset, whence);

    if (o->folder < 0) errno = ESPIPE;
    if (at < 0) return -1;
    *offset = at;
    return 0;
}

static int start_stream(struct output *o, struct error *e)
{
    o->stream = fopencookie(o, "w", (cookie_io_functions_t){.write = write_some, .seek = seek});
    if (!o->stream) return error_set(e, ENOMEM, "out of memory");
    setvbuf(o->stream, NULL, _IOFBF, BUFFER);
    return 0;
}

FILE *output_file(struct output *o)
{
    return o->stream;
}

bool output_seekable(const struct output *o)
{
    return o->folder >= 0;
}

static int cannot(const struct output *o, int code, struct error *e)
{
    if (code == ECANCELED) return error_set(e, code, "interrupted");
    return error_set(e, code, "cannot write %s: %s%s", o->path, error_name(code),
                     o->existed ? "; what was there before is left as it was" : "");
}

int output_failed(struct output *o, struct error *e)
{
    return o->failed ? cannot(o, o->failed, e) : 0;
}

/* ---- opening ---- */

/* /dev/stdout and the like mean a descriptor of this process, whatever it leads to. */
static int standard_descriptor(const char *path)
{
    static const char *const folder[] = {"/dev/fd/", "/proc/self/fd/"};
    char *end;

    if (!strcmp(path, "/dev/stdout")) return STDOUT_FILENO;
    if (!strcmp(path, "/dev/stderr")) return STDERR_FILENO;
    for (size_t i = 0; i < sizeof folder / sizeof *folder; i++) {
        size_t n = strlen(folder[i]);
        long fd;

        if (strncmp(path, folder[i], n) || path[n] < '0' || path[n] > '9') continue;
        fd = strtol(path + n, &end, 10);
        return *end || fd > 1 << 20 ? -1 : (int)fd;
    }
    return -1;
}

static int open_as_it_is(struct output *o, const struct stat *st, struct error *e)
{
    if (S_ISDIR(st->st_mode)) return error_set(e, EISDIR, "cannot write %s: it is a folder", o->path);
    if (S_ISBLK(st->st_mode)) return error_set(e, EINVAL, "cannot write %s: it is a disk", o->path);
    if (S_ISSOCK(st->st_mode)) return error_set(e, EINVAL, "cannot write %s: it is a socket", o->path);
    while ((o->fd = open(o->path, O_WRONLY | O_CLOEXEC | O_NOCTTY)) < 0) {
        if (errno != EINTR) return cannot(o, errno, e);
        if (o->interrupted && o->interrupted()) return cannot(o, ECANCELED, e);
    }
    return 0;
}

static int random_name(char name[NAME_BYTES])
{
    uint64_t x;

    if (getrandom(&x, sizeof x, 0) != sizeof x) return -EIO;
    snprintf(name, NAME_BYTES, ".sluice-%016llx.new", (unsigned long long)x);
    return 0;
}

/* Under a name that nobody has: an existing file is not opened, and no link followed. */
static int open_named(struct output *o)
{
    for (int i = 0; i < NAMES; i++) {
        if (random_name(o->name)) break;
        o->fd = openat(o->folder, o->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (o->fd >= 0) return 0;
        if (errno != EEXIST) break;
    }
    o->name[0] = 0;
    return -errno;
}

static int open_beside(struct output *o, struct error *e)
{
    char *folder = o->base == o->path ? strdup(".") : strndup(o->path, (size_t)(o->base - o->path));
    int rc = 0;

    if (!folder) return error_set(e, ENOMEM, "out of memory");
    o->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (o->folder < 0)
        rc = error_set(e, errno, "cannot write %s: the folder %s: %s", o->path, folder, error_name(errno));
    free(folder);
    if (rc) return rc;
    /* A name is given by way of /proc. */
    if (!access("/proc/self/fd", X_OK)) o->fd = openat(o->folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    o->unnamed = o->fd >= 0;
    if (!o->unnamed && (rc = open_named(o))) rc = cannot(o, -rc, e);
    return rc;
}

static int check_regular(struct output *o, const struct stat *st, bool link, struct error *e)
{
    if (link)
        return error_set(
            e, ELOOP, "cannot write %s: it is a link, which is neither followed nor replaced: give the name of a file",
            o->path);
    if (st && faccessat(AT_FDCWD, o->path, W_OK, AT_EACCESS))
        return error_set(e, errno, "cannot write %s: %s", o->path, error_name(errno));
    return 0;
}

static int open_path(struct output *o, const struct output_options *options, struct error *e)
{
    int fd = standard_descriptor(o->path), rc;
    bool link, there;
    struct stat st;

    if (fd >= 0) {
        o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return o->fd < 0 ? cannot(o, errno, e) : 0;
    }
    if (!*o->base) return error_set(e, EISDIR, "cannot write %s: a file's name is missing", o->path);
    link = !lstat(o->path, &st) && S_ISLNK(st.st_mode);
    there = !stat(o->path, &st);
    if (options && options->refuse && (rc = options->refuse(options->arg, o->path, there ? &st : NULL, e))) return rc;
    if (there && !S_ISREG(st.st_mode)) return open_as_it_is(o, &st, e);
    if ((rc = check_regular(o, there ? &st : NULL, link, e))) return rc;
    if ((rc = open_beside(o, e))) return rc;
    o->existed = there;
    if (there) fchmod(o->fd, st.st_mode & 0777);
    return 0;
}

static void release(struct output *o)
{
    if (o->stream) fclose(o->stream);
    if (o->name[0]) unlinkat(o->folder, o->name, 0);
    if (o->fd >= 0) close(o->fd);
    if (o->folder >= 0) close(o->folder);
    free(o->path);
    free(o);
}

int output_open(struct output **out, const char *path, const struct output_options *options, struct error *e)
{
    struct output *o = calloc(1, sizeof *o);
    int rc;

    if (!o || !(o->path = strdup(path))) {
        free(o);
        return error_set(e, ENOMEM, "out of memory");
    }
    o->base = strrchr(o->path, '/') ? strrchr(o->path, '/') + 1 : o->path;
    o->fd = o->folder = -1;
    o->interrupted = options ? options->interrupted : NULL;
    rc = open_path(o, options, e);
    if (!rc) rc = start_stream(o, e);
    if (rc)
        release(o);
    else
        *out = o;
    return rc;
}

/* ---- the end ---- */

/* A file that was made without a name gets one of ours. */
static int name_it(struct output *o)
{
    char self[48];

    if (!o->unnamed) return 0;
    snprintf(self, sizeof self, "/proc/self/fd/%d", o->fd);
    for (int i = 0; i < NAMES; i++) {
        if (random_name(o->name)) break;
        if (!linkat(AT_FDCWD, self, o->folder, o->name, AT_SYMLINK_FOLLOW)) return 0;
        if (errno != EEXIST) break;
    }
    o->name[0] = 0;
    return -errno;
}

/* Closed before it is renamed: some file systems say only then that there was no room. */
static int keep(struct output *o)
{
    int rc = o->folder < 0 ? 0 : name_it(o), fd = o->fd;

    if (rc) return rc;
    o->fd = -1;
    if (close(fd)) return -errno;
    if (o->folder < 0) return 0;
    if (renameat(o->folder, o->name, o->folder, o->base)) return -errno;
    o->name[0] = 0;
    return 0;
}

int output_close(struct output *o, bool good, struct error *e)
{
    FILE *f;
    int rc = 0;

    if (!o) return 0;
    f = o->stream;
    o->stream = NULL;
    errno = 0;
    if (fclose(f) && !o->failed) o->failed = errno ? errno : EIO;
    if (good && !o->failed && (rc = keep(o))) o->failed = -rc;
    if (good && o->failed) rc = cannot(o, o->failed, e);
    release(o);
    return rc;
}

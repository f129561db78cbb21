#include "proto/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *kind_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR: return "a folder";
    case S_IFIFO: return "a named pipe";
    case S_IFSOCK: return "a socket";
    case S_IFCHR:
    case S_IFBLK: return "a device";
    default: return "something else";
    }
}

/* A link that leads nowhere; where is what it says. */
static int dangling(const char *path, struct error *e)
{
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof target - 1);

    if (n < 0) return 0;
    target[n] = 0;
    return error_set(e, ENOLINK,
                     "%s: a link to %.300s, which is not there: the download is incomplete, or what it leads to was "
                     "deleted; download it again",
                     path, target);
}

static int failed(const char *path, int code, struct error *e)
{
    int rc;

    if (code == ENOENT && (rc = dangling(path, e))) return rc;
    if (code == EACCES)
        return error_set(e, code,
                         "%s: it may not be read by this user: change its permissions (chmod a+r), also "
                         "of the folders above it (chmod a+x)",
                         path);
    return error_set(e, code, "%s: %s", path, error_name(code));
}

static int check_mode(const char *path, mode_t mode, struct error *e)
{
    if (S_ISREG(mode)) return 0;
    return error_set(e, EINVAL, "%s: not a file but %s: put the file itself there", path, kind_name(mode));
}

int file_check(const char *path, struct stat *st, struct error *e)
{
    struct stat own;

    if (!st) st = &own;
    return stat(path, st) ? failed(path, errno, e) : check_mode(path, st->st_mode, e);
}

int file_open(const char *path, int *fd, struct stat *st, struct error *e)
{
    int rc = file_check(path, st, e);

    if (rc) return rc;
    /* without waiting: it may have been replaced since */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*fd < 0) return failed(path, errno, e);
    rc = fstat(*fd, st) ? failed(path, errno, e) : check_mode(path, st->st_mode, e);
    if (rc) close(*fd);
    return rc;
}

FILE *file_stream(const char *path, struct error *e)
{
    struct stat st;
    int fd;
    FILE *f;

    if (file_open(path, &fd, &st, e)) return NULL;
    f = fdopen(fd, "r");
    if (f) return f;
    error_set(e, errno, "%s: %s", path, error_name(errno));
    close(fd);
    return NULL;
}

FILE *file_named_stream(const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    FILE *f = NULL;

    if (fd < 0 && errno == ENXIO && !stat(path, &st) && S_ISSOCK(st.st_mode)) {
        check_mode(path, st.st_mode, e);
    } else if (fd < 0 || fstat(fd, &st)) {
        failed(path, errno, e);
    } else if (S_ISDIR(st.st_mode)) {
        check_mode(path, st.st_mode, e);
    } else {
        fcntl(fd, F_SETFL, 0); /* reading waits for a writer that is there */
        if (!(f = fdopen(fd, "r"))) failed(path, errno, e);
    }
    if (fd >= 0 && !f) close(fd);
    return f;
}

uint32_t file_direct_align(int fd)
{
    enum {
        WANTED = 0x2000,
        MEMORY_AT = 152,
        OFFSET_AT = 156
    }; /* STATX_DIOALIGN and its fields, which old headers lack */
    uint8_t answer[256] = {0};
    uint32_t told, memory, offset;

    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, WANTED, answer)) return 0;
    memcpy(&told, answer, sizeof told);
    memcpy(&memory, answer + MEMORY_AT, sizeof memory);
    memcpy(&offset, answer + OFFSET_AT, sizeof offset);
    if (!(told & WANTED)) return 0;
    return memory > offset ? memory : offset; /* powers of two; 0 too where they are left out on the way (qemu) */
}

int file_read_at(int fd, void *out, uint64_t bytes, uint64_t offset)
{
    uint64_t done = 0;

    while (done < bytes) {
        ssize_t n = pread(fd, (char *)out + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        if (n == 0) return -EIO;
        done += (uint64_t)n;
    }
    return 0;
}

static int load(char **out, int fd, const char *path, uint64_t bytes, struct error *e)
{
    char *text = malloc(bytes + 1);
    int rc;

    if (!text) return error_set(e, ENOMEM, "%s: no memory for %" PRIu64 " bytes", path, bytes);
    rc = file_read_at(fd, text, bytes, 0);
    if (rc) {
        free(text);
        return error_set(e, -rc, "%s: %s", path, rc == -EIO ? "it cannot be read whole" : error_name(-rc));
    }
    text[bytes] = 0;
    *out = text;
    return 0;
}

int file_load(char **out, uint64_t *bytes, const char *path, uint64_t max_bytes, struct error *e)
{
    struct stat st;
    int fd, rc = file_open(path, &fd, &st, e);

    if (rc) return rc;
    *bytes = (uint64_t)st.st_size;
    if (*bytes > max_bytes)
        rc = error_set(e, EFBIG, "%s: %" PRIu64 " bytes, more than such a file can have: is it the right one?", path,
                       *bytes);
    else
        rc = load(out, fd, path, *bytes, e);
    close(fd);
    return rc;
}

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "coordinator/pack/private.h"
#include "proto/base/file.h"

#define MARKER_BYTES 4096u
#define COPY_BYTES   65536u
#define SPACE_MARGIN (UINT64_C(16) << 20)

char *join(const char *folder, const char *name, const char *suffix)
{
    char *path;

    return asprintf(&path, "%s/%s%s", folder, name, suffix) < 0 ? NULL : path;
}

int make_parents(const char *folder, const char *name, struct error *e)
{
    int rc = 0;

    for (const char *slash = strchr(name, '/'); slash && !rc; slash = strchr(slash + 1, '/')) {
        char *path;

        if (asprintf(&path, "%s/%.*s", folder, (int)(slash - name), name) < 0)
            return error_set(e, ENOMEM, "%s: no memory for a path in it", folder);
        if (mkdir(path, 0777) && errno != EEXIST)
            rc = error_set(e, errno, "%s: cannot make this folder: %s", path, error_name(errno));
        free(path);
    }
    return rc;
}

int open_output(const char *path, int flags, int *fd, struct error *e)
{
    struct stat st;

    *fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | flags, 0666);
    if (*fd < 0 && errno != ELOOP && errno != ENXIO) return error_set(e, errno, "%s: %s", path, error_name(errno));
    if (*fd >= 0 && !fstat(*fd, &st) && S_ISREG(st.st_mode)) return 0;
    if (*fd >= 0) close(*fd);
    *fd = -1;
    return error_set(e, EINVAL, "%s is there and no file: remove it, or give another name for the result", path);
}

int settle_file(int fd, const char *partial, const char *path, struct error *e)
{
    if (fsync(fd)) return error_set(e, errno, "%s: %s", partial, error_name(errno));
    if (rename(partial, path)) return error_set(e, errno, "%s: cannot give it its name: %s", path, error_name(errno));
    return 0;
}

/* ---- copies ---- */

static int copy_bytes(int from, int to, const char *path, struct sha256 *sum, struct error *e)
{
    uint8_t *buffer = malloc(COPY_BYTES);
    uint64_t at = 0;
    ssize_t n = 1;
    int rc = buffer ? 0 : error_set(e, ENOMEM, "%s: no memory to copy it", path);

    while (!rc && n) {
        n = pread(from, buffer, COPY_BYTES, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            rc = error_set(e, errno, "%s: offset %llu: %s", path, (unsigned long long)at, error_name(errno));
            break;
        }
        sha256_feed(sum, buffer, (size_t)n);
        rc = to < 0 ? 0 : write_at(to, buffer, (uint64_t)n, at);
        if (rc) error_set(e, -rc, "%s: cannot copy it: %s", path, error_name(-rc));
        at += (uint64_t)n;
    }
    free(buffer);
    return rc;
}

/* to: NULL for nowhere. */
static int copy_to(const char *from, const char *partial, const char *to, char *sum, const char *want, struct error *e)
{
    uint8_t digest[PACKED_SHA256] = {0};
    struct sha256 s;
    struct stat st;
    int in, out = -1, rc = file_open(from, &in, &st, e);

    if (rc) return rc;
    rc = sha256_begin(&s, e);
    if (!rc && to) rc = open_output(partial, O_CREAT | O_TRUNC, &out, e);
    if (!rc) rc = copy_bytes(in, out, from, &s, e);
    if (!rc) rc = sha256_end(&s, digest, e);
    packed_hex(sum, digest, PACKED_SHA256);
    if (!rc && want && strcmp(sum, want))
        rc = error_set(e, EBADMSG, "%s: it is not what was packed: its SHA-256 is %s, and should be %s", from, sum,
                       want);
    if (!rc && to) rc = settle_file(out, partial, to, e);
    if (rc && out >= 0) unlink(partial);
    if (out >= 0) close(out);
    close(in);
    sha256_free(&s);
    return rc;
}

int copy_file(const char *from_folder, const char *to_folder, const char *name, char *sum, const char *want,
              struct error *e)
{
    char *from = join(from_folder, name, ""), *to = to_folder ? join(to_folder, name, "") : NULL,
         *partial = to_folder ? join(to_folder, name, PACKED_PARTIAL) : NULL;
    int rc = from && (!to_folder || (to && partial)) ? 0 : error_set(e, ENOMEM, "%s: no memory to copy it", name);

    if (!rc && to) rc = make_parents(to_folder, name, e);
    if (!rc) rc = copy_to(from, partial, to, sum, want, e);
    free(from);
    free(to);
    free(partial);
    return rc;
}

/* ---- space ---- */

uint64_t bytes_there(const char *out, const char *name, const char *suffix)
{
    char *path = join(out, name, suffix);
    struct stat st;
    uint64_t bytes = path && !stat(path, &st) ? (uint64_t)st.st_blocks * 512 : 0;

    free(path);
    return bytes;
}

int check_room(const char *out, uint64_t need, const char *what, struct error *e)
{
    struct statvfs fs;
    uint64_t room;

    if (statvfs(out, &fs)) return 0; /* who writes will see */
    need += SPACE_MARGIN;
    room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room >= need) return 0;
    return error_set(e, ENOSPC,
                     "%s: the %s model takes about %.3f GB, and its disk has %.3f GB left: make room, or give a "
                     "folder on another disk",
                     out, what, (double)need / 1e9, (double)room / 1e9);
}

/* ---- where results go ---- */

/* Is path, or a folder that it lies in, the folder at in? */
static int refuse_inside(const char *out, const char *in, struct error *e)
{
    char whole[PATH_MAX], input[PATH_MAX];
    size_t n;

    if (!realpath(in, input) || !realpath(out, whole)) return 0; /* who opens them says so */
    n = strlen(input);
    if (!strcmp(whole, input))
        return error_set(e, EINVAL, "%s is what is read: give another folder for the result", out);
    if (!strncmp(whole, input, n) && whole[n] == '/')
        return error_set(e, EINVAL, "%s lies in %s, which is read: give a folder outside of it for the result", out,
                         in);
    return 0;
}

static bool is_empty(const char *folder)
{
    DIR *d = opendir(folder);
    const struct dirent *x;
    bool empty = true;

    while (d && empty && (x = readdir(d))) empty = !strcmp(x->d_name, ".") || !strcmp(x->d_name, "..");
    if (d) closedir(d);
    return empty;
}

/* A marker that is there must say the same. */
static int compare_marker(const struct place_out *p, const char *text, struct error *e)
{
    char have[MARKER_BYTES + 1] = {0};
    ssize_t n = pread(p->lock, have, MARKER_BYTES, 0);

    if (n == (ssize_t)strlen(text) && !memcmp(have, text, (size_t)n)) return 0;
    if (n == 0)
        return write_at(p->lock, text, strlen(text), 0); /* ended before it was written: nothing else is there */
    return error_set(
        e, EEXIST,
        "%s holds part of another result, or the model has changed since: remove that folder, or give another "
        "one",
        p->folder);
}

static int lock_marker(struct place_out *p, bool fresh, const char *text, struct error *e)
{
    int rc;

    rc = open_output(p->marker, fresh ? O_CREAT : 0, &p->lock, e);
    if (rc == -ENOENT)
        return error_set(e, EEXIST, "%s is there and holds something else: give a new folder for the result",
                         p->folder);
    if (rc) return rc;
    if (flock(p->lock, LOCK_EX | LOCK_NB))
        return error_set(e, EBUSY, "%s: another run writes to this folder: wait for its end", p->folder);
    rc = compare_marker(p, text, e);
    return rc && !e->code ? error_set(e, -rc, "%s: %s", p->marker, error_name(-rc)) : rc;
}

int place_out_open(struct place_out *p, const char *out, const char *in, const char *marker, const char *text,
                   const char *whole, struct error *e)
{
    char *done;
    struct stat st;
    int rc;

    *p = (struct place_out){.folder = out, .lock = -1};
    if (mkdir(out, 0777) && errno != EEXIST)
        return error_set(e, errno, "%s: cannot make this folder: %s", out, error_name(errno));
    if (stat(out, &st) || !S_ISDIR(st.st_mode)) return error_set(e, ENOTDIR, "%s is no folder: give another name", out);
    if ((rc = refuse_inside(out, in, e))) {
        if (is_empty(out)) rmdir(out);
        return rc;
    }
    p->marker = join(out, marker, "");
    done = join(out, whole, "");
    if (!p->marker || !done)
        rc = error_set(e, ENOMEM, "%s: no memory for a path in it", out);
    else if (!access(done, F_OK) && access(p->marker, F_OK))
        rc = error_set(e, EEXIST, "%s: it is there already, and whole: remove it, or give another folder", out);
    else
        rc = lock_marker(p, is_empty(out), text, e);
    free(done);
    if (rc) place_out_close(p, false, NULL);
    return rc;
}

int place_out_close(struct place_out *p, bool done, struct error *e)
{
    int rc = 0;

    if (done && p->marker && unlink(p->marker)) rc = error_set(e, errno, "%s: %s", p->marker, error_name(errno));
    if (p->lock >= 0) close(p->lock);
    free(p->marker);
    p->lock = -1;
    p->marker = NULL;
    return rc;
}

#include "reader/verify/blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/file.h"
#include "proto/base/pagecache.h"

#define SMALL_BYTES (1u << 20) /* a file that is not worth two descriptors */

static uint64_t ns(const struct timespec *t)
{
    return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}

static int compare_stat(const struct stat *st, const struct verify_file *f)
{
    return (uint64_t)st->st_size == f->bytes && ns(&st->st_mtim) == f->mtime_ns && st->st_ino == f->inode ? 0 : ESTALE;
}

int blocks_open(struct blocks *s, const char *path, const struct verify_file *f, enum verify_io io)
{
    struct stat st;
    int rc;

    *s = (struct blocks){.path = path, .bytes = f->bytes, .buffered = -1, .direct = -1, .io = io};
    s->buffered = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (s->buffered < 0) return errno;
    rc = fstat(s->buffered, &st) ? errno : compare_stat(&st, f);
    if (!rc && !S_ISREG(st.st_mode)) rc = EINVAL;
    if (rc) {
        blocks_close(s);
        return rc;
    }
    s->ctime_ns = ns(&st.st_ctim);
    posix_fadvise(s->buffered, 0, 0, POSIX_FADV_SEQUENTIAL);
    if (io == VERIFY_IO_DIRECT || (io == VERIFY_IO_AUTO && f->bytes > SMALL_BYTES))
        s->direct = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_DIRECT);
    if (s->direct >= 0 && file_direct_align(s->direct) > BLOCKS_ALIGN) {
        close(s->direct);
        s->direct = -1;
    }
    return 0;
}

void blocks_close(struct blocks *s)
{
    if (s->buffered >= 0) close(s->buffered);
    if (s->direct >= 0) close(s->direct);
    s->buffered = s->direct = -1;
}

/* least of the room bytes must be there. */
static int read_all(int fd, uint64_t offset, uint8_t *p, uint64_t least, uint64_t room)
{
    uint64_t done = 0;

    while (done < least) {
        ssize_t n = pread(fd, p + done, room - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return ESTALE;
        done += (uint64_t)n;
        if (done < least && done % BLOCKS_ALIGN && room != least)
            return ESTALE; /* direct: cut short by the file's end */
    }
    return 0;
}

int blocks_load(struct blocks *s, uint64_t offset, uint8_t *p, uint64_t bytes)
{
    uint64_t room = (bytes + BLOCKS_ALIGN - 1) / BLOCKS_ALIGN * BLOCKS_ALIGN;
    bool direct = s->direct >= 0 && !atomic_load_explicit(&s->refused, memory_order_relaxed);
    int rc;

    if (direct && s->io == VERIFY_IO_AUTO && pagecache_holds_range(s->buffered, offset, bytes)) direct = false;
    if (!direct) return read_all(s->buffered, offset, p, bytes, bytes);
    rc = read_all(s->direct, offset, p, bytes, room);
    if (rc != EINVAL) return rc;
    atomic_store_explicit(&s->refused, 1, memory_order_relaxed); /* some file systems say so at the first read only */
    return read_all(s->buffered, offset, p, bytes, bytes);
}

int blocks_unchanged(const struct blocks *s, const struct verify_file *f)
{
    struct stat open, named;
    int rc;

    if (fstat(s->buffered, &open) || stat(s->path, &named)) return errno == ENOENT ? ESTALE : errno;
    if (open.st_ino != named.st_ino || open.st_dev != named.st_dev) return ESTALE;
    rc = compare_stat(&open, f);
    return rc || ns(&open.st_ctim) == s->ctime_ns ? rc : EAGAIN;
}

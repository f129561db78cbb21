#include "proto/base/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "proto/base/page.h"

/* Old headers lack them; the numbers are the same on every architecture. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define MIB(x) ((double)(x) / (1 << 20))

uint64_t shm_free_bytes(void)
{
    struct statvfs v;

    if (statvfs("/dev/shm", &v) || !v.f_blocks) return UINT64_MAX;
    return (uint64_t)v.f_bavail * v.f_frsize;
}

/* Addresses at a multiple of a large page, from a reservation that is that much longer, of which the rest is given back. NULL:
 * there are no large pages, or there is no room; then anywhere will do. */
static uint8_t *aligned_room(uint64_t bytes)
{
    const uint64_t large = page_large_bytes(), all = page_up(bytes) + large;
    uint8_t *room, *base, *end;

    if (!large) return NULL;
    room = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return NULL;
    base = room + (large - (uintptr_t)room % large) % large;
    end = base + page_up(bytes);
    if (base > room) munmap(room, (size_t)(base - room));
    if (room + all > end) munmap(end, (size_t)(room + all - end));
    return base;
}

static int map(struct shm *s, const char *label, bool writable, struct error *e)
{
    if (!s->bytes) return 0;
    s->base = aligned_room(s->bytes);
    s->base = mmap(s->base, s->bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                   MAP_SHARED | (s->base ? MAP_FIXED : 0), s->fd, 0);
    if (s->base == MAP_FAILED) {
        s->base = NULL;
        return error_set(e, errno,
                         "cannot map %.1f MiB of shared memory (%s): %s; lower --host-memory or raise the limit on "
                         "address space (ulimit -v)",
                         MIB(s->bytes), label, error_name(errno));
    }
    /* Large pages where the system grants them: fewer TLB misses on a sequential read of gigabytes. */
    madvise(s->base, s->bytes, MADV_HUGEPAGE);
    return 0;
}

static const char *remedy(int code)
{
    switch (code) {
    case EMFILE:
    case ENFILE: return "; raise the limit on open files (ulimit -n)";
    case EFBIG: return "; raise the limit on the size of files (ulimit -f)";
    case EPERM:
    case EACCES:
    case ENOSYS: return "; the container or its filter of system calls (seccomp) forbids it: allow it there";
    default: return "";
    }
}

/* A name nobody else has, for as long as it takes to remove it. */
static int open_nameless(struct error *e)
{
    static _Atomic unsigned serial;
    char name[64];
    int fd;

    snprintf(name, sizeof name, "/sluice-%ld-%u", (long)getpid(), serial++);
    fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(e, errno, "cannot make the shared memory segment %s: %s%s", name, error_name(errno),
                         remedy(errno));
    shm_unlink(name);
    return fd;
}

bool shm_large_pages(void *base, uint64_t base_bytes, uint64_t offset, uint64_t bytes)
{
    const uint64_t large = page_large_bytes();
    uint64_t from = large ? (offset + large - 1) / large * large : 0, end = from;

    for (; large && end < offset + bytes && end + large <= base_bytes; end += large)
        if (madvise((uint8_t *)base + end, page_bytes(), MADV_POPULATE_WRITE))
            break; /* what the rest is gathered around */
    /* In one call: each waits until a thread of the kernel has run on every processor. */
    return end > from && !madvise((uint8_t *)base + from, end - from, MADV_COLLAPSE);
}

void shm_populate(const struct shm *s)
{
    madvise(s->base, s->bytes, MADV_POPULATE_WRITE);
}

int shm_create(struct shm *s, const char *label, uint64_t bytes, struct error *e)
{
    uint64_t room = shm_free_bytes();
    int rc;

    *s = (struct shm){.fd = -1, .bytes = bytes};
    if (bytes > room)
        return error_set(e, ENOSPC,
                         "/dev/shm has %.1f MiB free, %.1f MiB are needed (%s): make it larger (docker run "
                         "--shm-size=1g, or mount -o remount,size=1g /dev/shm), or use a smaller ring (--reader-depth, "
                         "--slot-mib)",
                         MIB(room), MIB(bytes), label);
    rc = open_nameless(e);
    if (rc < 0) return rc;
    s->fd = rc;
    if (ftruncate(s->fd, (off_t)bytes)) {
        rc = error_set(e, errno, "cannot size a segment (%s): %s%s", label, error_name(errno), remedy(errno));
        shm_close(s);
        return rc;
    }
    rc = map(s, label, true, e);
    if (!rc) shm_large_pages(s->base, bytes, 0, bytes);
    if (!rc && bytes && (rc = posix_fallocate(s->fd, 0, (off_t)bytes)))
        rc = error_set(e, rc,
                       "cannot reserve %.1f MiB in /dev/shm (%s): %s; make /dev/shm larger, or use a smaller ring "
                       "(--reader-depth, --slot-mib)",
                       MIB(bytes), label, error_name(rc));
    if (rc) shm_close(s);
    return rc;
}

int shm_create_anonymous(struct shm *s, const char *label, uint64_t bytes, struct error *e)
{
    int rc;

    *s = (struct shm){.bytes = bytes};
    s->fd = memfd_create(label, MFD_CLOEXEC);
    if (s->fd < 0)
        return error_set(e, errno, "cannot make a memory file (%s) with memfd_create: %s%s", label, error_name(errno),
                         remedy(errno));
    if (ftruncate(s->fd, (off_t)bytes))
        rc = error_set(e, errno, "cannot size a memory file (%s): %s%s", label, error_name(errno), remedy(errno));
    else
        rc = map(s, label, true, e);
    if (rc) shm_close(s);
    return rc;
}

int shm_attach(struct shm *s, int fd, uint64_t bytes, bool writable, struct error *e)
{
    struct stat st;

    *s = (struct shm){.fd = -1};
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) || fstat(fd, &st))
        return error_set(e, errno, "shared memory: descriptor %d: %s", fd, error_name(errno));
    s->fd = fd;
    s->bytes = bytes ? bytes : (uint64_t)st.st_size;
    if ((uint64_t)st.st_size < s->bytes)
        return error_set(e, EPROTO, "shared memory: descriptor %d has %lld bytes, not %llu", fd, (long long)st.st_size,
                         (unsigned long long)s->bytes);
    return map(s, "a segment", writable, e);
}

int shm_lock(void *base, uint64_t bytes)
{
    return !base || !mlock2(base, bytes, MLOCK_ONFAULT) ? 0 : -errno;
}

bool shm_swap_exists(void)
{
    FILE *f = fopen("/proc/swaps", "re");
    int lines = 0, c;

    while (f && (c = fgetc(f)) != EOF) lines += c == '\n';
    if (f) fclose(f);
    return lines > 1; /* the first one is a heading */
}

void shm_close(struct shm *s)
{
    if (s->base) munmap(s->base, s->bytes);
    if (s->fd >= 0) close(s->fd);
    *s = (struct shm)SHM_NONE;
}

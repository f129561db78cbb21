#include "proto/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB(x) ((double)(x) / (1 << 20))

uint64_t shm_free_bytes(void)
{
    struct statvfs v;

    if (statvfs("/dev/shm", &v) || !v.f_blocks) return UINT64_MAX;
    return (uint64_t)v.f_bavail * v.f_frsize;
}

static int map(struct shm *s, int fd, bool writable, struct error *e)
{
    if (!s->bytes) return 0;
    s->base = mmap(NULL, s->bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (s->base == MAP_FAILED) {
        s->base = NULL;
        return error_set(e, errno, "cannot map %.1f MiB of shared memory (%s): %s; lower --host-memory or raise the limit on "
                         "address space (ulimit -v)", MIB(s->bytes), s->name, error_name(errno));
    }
    /* Large pages where the system grants them: fewer TLB misses on a sequential read of gigabytes. */
    madvise(s->base, s->bytes, MADV_HUGEPAGE);
    return 0;
}

int shm_create(struct shm *s, const char *name, uint64_t bytes, struct error *e)
{
    int fd, rc;
    uint64_t room = shm_free_bytes();

    *s = (struct shm){.fd = -1, .bytes = bytes};
    snprintf(s->name, sizeof s->name, "%s", name);
    if (bytes > room)
        return error_set(e, ENOSPC, "/dev/shm has %.1f MiB free, a ring of %.1f MiB is needed: make it larger (docker run "
                         "--shm-size=1g, or mount -o remount,size=1g /dev/shm), or use a smaller ring (--reader-depth, "
                         "--slot-mib)", MIB(room), MIB(bytes));
    fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        s->name[0] = 0;
        return error_set(e, errno, "cannot make the shared memory segment %s: %s", name, error_name(errno));
    }
    if (ftruncate(fd, (off_t)bytes)) rc = error_set(e, errno, "cannot size the segment %s: %s", name, error_name(errno));
    else if (bytes && (rc = posix_fallocate(fd, 0, (off_t)bytes)))
        rc = error_set(e, rc, "cannot reserve %.1f MiB in /dev/shm for %s: %s; make /dev/shm larger, or use a smaller ring "
                       "(--reader-depth, --slot-mib)", MIB(bytes), name, error_name(rc));
    else rc = map(s, fd, true, e);
    close(fd);
    if (rc) shm_unlink_name(s);
    return rc;
}

int shm_create_anonymous(struct shm *s, const char *label, uint64_t bytes, struct error *e)
{
    int rc;

    *s = (struct shm){.bytes = bytes};
    s->fd = memfd_create(label, 0);
    if (s->fd < 0) return error_set(e, errno, "cannot make the host cache: %s", error_name(errno));
    if (ftruncate(s->fd, (off_t)bytes)) rc = error_set(e, errno, "cannot size the host cache: %s", error_name(errno));
    else rc = map(s, s->fd, true, e);
    if (rc) shm_close(s);
    return rc;
}

int shm_attach(struct shm *s, const char *name, bool writable, struct error *e)
{
    struct stat st;
    int fd, rc;

    *s = (struct shm){.fd = -1};
    fd = shm_open(name, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
    if (fd < 0) return error_set(e, errno, "cannot open the shared memory segment %.60s: %s", name, error_name(errno));
    if (fstat(fd, &st)) {
        rc = error_set(e, errno, "cannot look at the segment %.60s: %s", name, error_name(errno));
    } else {
        s->bytes = (uint64_t)st.st_size;
        rc = map(s, fd, writable, e);
    }
    close(fd);
    return rc;
}

int shm_attach_fd(struct shm *s, int fd, uint64_t bytes, bool writable, struct error *e)
{
    struct stat st;

    *s = (struct shm){.fd = -1, .bytes = bytes};
    if (fstat(fd, &st)) return error_set(e, errno, "host cache: descriptor %d: %s", fd, error_name(errno));
    if ((uint64_t)st.st_size < bytes) return error_set(e, EPROTO, "host cache: smaller than it should be");
    return map(s, fd, writable, e);
}

void shm_unlink_name(struct shm *s)
{
    if (s->name[0]) shm_unlink(s->name);
    s->name[0] = 0;
}

void shm_close(struct shm *s)
{
    shm_unlink_name(s);
    if (s->base) munmap(s->base, s->bytes);
    if (s->fd >= 0) close(s->fd);
    *s = (struct shm)SHM_NONE;
}

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "coordinator/doctor/doctor.h"
#include "proto/base/error.h"
#include "proto/base/file.h"

#define PAGE          4096u
#define SPINNING_MOST 500e6 /* bytes per second that no single spinning disk reads */

enum kind { LOCAL, MEMORY, NETWORK, FUSE, OVERLAY, SHARED };

static const struct {
    uint32_t magic;
    enum kind kind;
    const char *name;
} systems[] = {
    {EXT4_SUPER_MAGIC, LOCAL, "ext4"},
    {XFS_SUPER_MAGIC, LOCAL, "xfs"},
    {BTRFS_SUPER_MAGIC, LOCAL, "btrfs"},
    {F2FS_SUPER_MAGIC, LOCAL, "f2fs"},
    {0x2fc12fc1, LOCAL, "zfs"},
    {0xca451a4e, LOCAL, "bcachefs"},
    {EXFAT_SUPER_MAGIC, LOCAL, "exfat"},
    {MSDOS_SUPER_MAGIC, LOCAL, "vfat"},
    {0x7366746e, LOCAL, "ntfs3"},
    {SQUASHFS_MAGIC, LOCAL, "squashfs"},
    {ISOFS_SUPER_MAGIC, LOCAL, "iso9660"},
    {TMPFS_MAGIC, MEMORY, "tmpfs"},
    {RAMFS_MAGIC, MEMORY, "ramfs"},
    {HUGETLBFS_MAGIC, MEMORY, "hugetlbfs"},
    {NFS_SUPER_MAGIC, NETWORK, "nfs"},
    {SMB_SUPER_MAGIC, NETWORK, "smb"},
    {CIFS_SUPER_MAGIC, NETWORK, "cifs"},
    {SMB2_SUPER_MAGIC, NETWORK, "smb2"},
    {CEPH_SUPER_MAGIC, NETWORK, "ceph"},
    {0x0bd00bd0, NETWORK, "lustre"},
    {0x47504653, NETWORK, "gpfs"},
    {AFS_SUPER_MAGIC, NETWORK, "afs"},
    {V9FS_MAGIC, SHARED, "9p"},
    {FUSE_SUPER_MAGIC, FUSE, "fuse"},
    {OVERLAYFS_SUPER_MAGIC, OVERLAY, "overlay"},
};

static const char *largest_file(const char *folder, char *path, size_t room, struct stat *best)
{
    DIR *dir = opendir(folder);
    struct dirent *x;
    char one[PATH_MAX];
    struct stat st;

    path[0] = 0;
    best->st_size = 0;
    while (dir && (x = readdir(dir))) {
        if (snprintf(one, sizeof one, "%s/%s", folder, x->d_name) >= (int)sizeof one) continue;
        if (stat(one, &st) || !S_ISREG(st.st_mode) || st.st_size <= best->st_size) continue;
        *best = st;
        snprintf(path, room, "%s", one);
    }
    if (dir) closedir(dir);
    return path;
}

static int try_direct(const char *path)
{
    void *page = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT), rc = 0;

    if (fd < 0) return errno;
    if (file_direct_align(fd) > PAGE)
        rc = EINVAL;
    else if (posix_memalign(&page, PAGE, PAGE))
        rc = ENOMEM;
    else if (pread(fd, page, PAGE, 0) != PAGE)
        rc = errno ? errno : EIO;
    free(page);
    close(fd);
    return rc;
}

bool doctor_try_file(struct doctor_file *out, const char *folder)
{
    char path[PATH_MAX];
    struct stat st = {0};
    struct statfs fs;

    *out = (struct doctor_file){0};
    largest_file(folder, path, sizeof path, &st);
    if (st.st_size < (off_t)PAGE || statfs(path, &fs) || !(out->path = strdup(path))) return false;
    out->bytes = (uint64_t)st.st_size;
    out->magic = (uint64_t)fs.f_type & UINT32_MAX;
    out->major = major(st.st_dev);
    out->minor = minor(st.st_dev);
    errno = 0;
    out->direct_errno = try_direct(path);
    return true;
}

static void add_file_system(struct doctor *d, const struct doctor_file *t)
{
    struct doctor_finding *f = doctor_add(d, "file system", DOCTOR_GOOD);
    char hex[32];
    const char *name = hex;
    enum kind kind = LOCAL;

    snprintf(hex, sizeof hex, "of type 0x%llx", (unsigned long long)t->magic);
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++)
        if (systems[i].magic == t->magic) {
            name = systems[i].name;
            kind = systems[i].kind;
        }
    doctor_say(f, "%s", name);
    if (kind == MEMORY) {
        doctor_say(f, "%s: the weights lie in memory already", name);
        doctor_cost(f,
                    "what is there is not free for a run, and keeping weights in memory again would hold them twice");
        doctor_mend(f, "nothing, where it is meant so");
    } else if (kind == NETWORK) {
        f->verdict = DOCTOR_BETTER;
        doctor_say(f, "%s, over the network", name);
        doctor_cost(f, "every token waits for the network's speed");
        doctor_mend(f, "copy the folder to a local drive");
    } else if (kind == FUSE || kind == SHARED) {
        f->verdict = DOCTOR_BETTER;
        doctor_say(f,
                   kind == FUSE ? "%s: a program serves the reads"
                                : "%s: a folder shared with the host of this virtual machine",
                   name);
        doctor_cost(f, "each read goes through another process and is copied once more");
        doctor_mend(f, "copy the folder to a drive with ext4 or xfs");
    } else if (kind == OVERLAY) {
        doctor_say(f, "%s: a container's layers", name);
    }
}

static void add_direct(struct doctor *d, const struct doctor_file *t)
{
    struct doctor_finding *f = doctor_add(d, "direct reads", t->direct_errno ? DOCTOR_BETTER : DOCTOR_GOOD);

    if (!t->direct_errno) {
        doctor_say(f, "work");
        return;
    }
    doctor_say(f, "do not work here (%s)", error_name(t->direct_errno));
    doctor_cost(f, "reads go through the page cache: one more copy, and memory that others lose");
    doctor_mend(f, "put the folder on ext4, xfs or another file system that takes O_DIRECT");
}

/* A virtual drive calls itself spinning whatever lies below it; one that is this fast is not. */
static bool spins(const struct doctor *d, const char *at, double speed)
{
    char path[128], line[96];

    snprintf(path, sizeof path, "%s/queue/rotational", at);
    if (!doctor_line(d, path, line, sizeof line) || line[0] != '1') return false;
    return speed < SPINNING_MOST;
}

/* "DEVNAME=nvme0n1" */
static void drive_name(const struct doctor *d, const char *at, char *out, size_t room)
{
    char path[1024], line[128];
    FILE *f = NULL;

    out[0] = 0;
    if (snprintf(path, sizeof path, "%s%s/uevent", d->root, at) < (int)sizeof path) f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "DEVNAME=", 8)) snprintf(out, room, "%.*s", (int)strcspn(line + 8, "\n"), line + 8);
    if (f) fclose(f);
}

/* What lies below: a spinning disk, an encrypted one. Block devices alone have an entry there. */
static void add_device(struct doctor *d, const struct doctor_file *t, double speed)
{
    char at[64], path[96], line[96], name[64];
    struct doctor_finding *f;

    snprintf(at, sizeof at, "/sys/dev/block/%u:%u", t->major, t->minor);
    drive_name(d, at, name, sizeof name);
    snprintf(path, sizeof path, "%s/queue/rotational", at);
    if (!doctor_line(d, path, line, sizeof line))
        snprintf(at, sizeof at, "/sys/dev/block/%u:%u/..", t->major, t->minor); /* a partition */
    snprintf(path, sizeof path, "%s/queue/rotational", at);
    if (!doctor_line(d, path, line, sizeof line)) return;
    f = doctor_add(d, "drive", DOCTOR_GOOD);
    doctor_say(f, "%s", name[0] ? name : "unknown");
    if (!strncmp(name, "vd", 2) || !strncmp(name, "xvd", 3)) {
        doctor_say(f, "%s, a virtual drive: what lies below it cannot be seen", name);
    } else if (spins(d, at, speed)) {
        f->verdict = DOCTOR_BETTER;
        doctor_say(f, "%s, a spinning disk", name);
        doctor_cost(f, "a small part of the speed of a solid-state drive");
        doctor_mend(f, "move the folder to an NVMe drive");
    }
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/dm/uuid", t->major, t->minor);
    if (!doctor_line(d, path, line, sizeof line) || strncmp(line, "CRYPT-", 6)) return;
    f = doctor_add(d, "encryption", DOCTOR_BETTER);
    doctor_say(f, "the drive is encrypted");
    doctor_cost(f, "the processor decrypts every byte of every token");
    doctor_mend(f, "weights are no secret: a partition without encryption would do for them");
}

void doctor_storage(struct doctor *d, const struct doctor_file *t, double speed)
{
    add_file_system(d, t);
    add_direct(d, t);
    add_device(d, t, speed);
}

void doctor_disk_speed(struct doctor *d, double disk, double memory)
{
    struct doctor_finding *f;

    if (disk <= 0) {
        doctor_say(doctor_add(d, "disk speed", DOCTOR_GOOD), "not measured: no file of 4 MiB or more lies there");
    } else {
        f = doctor_add(d, "disk speed", disk < 1e9 ? DOCTOR_BETTER : DOCTOR_GOOD);
        doctor_say(f, "%.2f GB/s", disk / 1e9);
        if (disk < 1e9) {
            doctor_cost(f, "%.1f s for each 10 GB that a token reads", 10e9 / disk);
            doctor_mend(f, "a faster drive, or more memory: what is kept there is not read again");
        }
    }
    if (memory > 0) {
        f = doctor_add(d, "memory speed", disk > memory ? DOCTOR_BETTER : DOCTOR_GOOD);
        doctor_say(f, "%.1f GB/s", memory / 1e9);
        if (disk > memory) doctor_cost(f, "slower than the disk: it sets the pace");
    }
}

#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "coordinator/cli/values.h"
#include "coordinator/doctor/doctor.h"
#include "proto/base/error.h"
#include "proto/base/page.h"
#include "proto/base/shm.h"

#define MIB        (UINT64_C(1) << 20)
#define RING_BYTES (32 * MIB)  /* what the host ring holds where nothing else is asked for */
#define LEAST_RUN  (160 * MIB) /* three stages, the coordinator and a small ring */

/* ---- io_uring ---- */

/* Sets a ring up and pins as much memory for it as the reader would; leaves nothing. */
struct doctor_uring doctor_try_uring(void)
{
    struct io_uring_params p = {0};
    struct doctor_uring t = {0};
    struct iovec v = {.iov_len = RING_BYTES};
    long fd = syscall(SYS_io_uring_setup, 8, &p);

    if (fd < 0) {
        t.setup_errno = errno;
        return t;
    }
    v.iov_base = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (v.iov_base == MAP_FAILED || syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &v, 1) < 0)
        t.register_errno = errno;
    close((int)fd);
    if (v.iov_base != MAP_FAILED) munmap(v.iov_base, RING_BYTES);
    return t;
}

void doctor_uring(struct doctor *d, const struct doctor_uring *t, uint64_t memlock)
{
    struct doctor_finding *f = doctor_add(d, "io_uring", t->setup_errno ? DOCTOR_BETTER : DOCTOR_GOOD);
    char line[32], text[32];
    int disabled = doctor_line(d, "/proc/sys/kernel/io_uring_disabled", line, sizeof line) ? atoi(line) : 0;

    if (t->setup_errno) {
        doctor_say(f, "not allowed (%s)", error_name(t->setup_errno));
        doctor_cost(f, "a pool of threads reads instead: more processor time for each read");
        if (disabled)
            doctor_mend(f, "sysctl kernel.io_uring_disabled=0 (it is %d)", disabled);
        else if (t->setup_errno == ENOSYS)
            doctor_mend(f, "a kernel of Linux 5.11 or later, or a sandbox that passes it on");
        else
            doctor_mend(f, "it is a seccomp filter's doing: docker run --security-opt seccomp=unconfined, or a profile "
                           "that allows io_uring_setup, io_uring_enter and io_uring_register");
    } else {
        doctor_say(f, "allowed");
    }
    f = doctor_add(d, "locked memory", t->register_errno ? DOCTOR_BETTER : DOCTOR_GOOD);
    if (memlock == UINT64_MAX)
        snprintf(text, sizeof text, "no limit");
    else
        value_size_text(memlock, text, sizeof text);
    if (t->setup_errno) {
        doctor_say(f, "%s (ulimit -l)", text);
    } else if (t->register_errno) {
        doctor_say(f, "%s (ulimit -l): host slots cannot be registered (%s)", text, error_name(t->register_errno));
        doctor_cost(f, "the kernel pins the slots' pages again at each read: more processor time");
        doctor_mend(f, "ulimit -l unlimited; memlock in /etc/security/limits.conf; docker run --ulimit memlock=-1");
    } else {
        doctor_say(f, "%s (ulimit -l): host slots can be registered", text);
    }
}

/* ---- memory ---- */

static void add_cgroup(struct doctor *d, const struct machine *m)
{
    struct doctor_finding *f;
    char limit[32], left[32];
    bool tight = m->cgroup_free < m->memory_available;

    if (m->cgroup_limit == UINT64_MAX) {
        doctor_say(doctor_add(d, "cgroup", DOCTOR_GOOD), "no limit of memory");
        return;
    }
    value_size_text(m->cgroup_limit, limit, sizeof limit);
    value_size_text(m->cgroup_free, left, sizeof left);
    f = doctor_add(d, "cgroup", m->cgroup_free < LEAST_RUN ? DOCTOR_IN_THE_WAY : tight ? DOCTOR_BETTER : DOCTOR_GOOD);
    doctor_say(f, "%s at most, %s of it free (%s)", limit, left, m->cgroup_file + strlen(d->root));
    if (!tight) return;
    doctor_cost(f, m->cgroup_free < LEAST_RUN ? "too little for any run"
                                              : "fewer weights stay in memory than the machine has room for");
    doctor_mend(f, "raise it: docker run --memory, systemd-run -p MemoryMax=, or that file");
}

static void add_swap(struct doctor *d, const struct machine *m)
{
    uint64_t used = m->swap_total > m->swap_free ? m->swap_total - m->swap_free : 0;
    struct doctor_finding *f;
    char total[32], text[32];

    /* Some idle pages out there are harmless; a tenth of the memory means that it was short. */
    f = doctor_add(d, "swap", used > m->memory_total / 10 ? DOCTOR_BETTER : DOCTOR_GOOD);
    if (!m->swap_total) {
        doctor_say(f, "none");
        return;
    }
    doctor_say(f, "%s, %s of it used", value_size_text(m->swap_total, total, sizeof total),
               value_size_text(used, text, sizeof text));
    if (f->verdict == DOCTOR_GOOD) return;
    doctor_cost(f, "memory is short already: weights kept in memory may be swapped out, and come back slower than from "
                   "their own file");
    doctor_mend(f, "end what takes the memory, or give --host-memory less than is free");
}

void doctor_memory(struct doctor *d, const struct machine *m, uint64_t budget)
{
    struct doctor_finding *f = doctor_add(d, "memory", DOCTOR_GOOD);
    char total[32], left[32], text[32];

    if (m->memory_total == UINT64_MAX) {
        f->verdict = DOCTOR_BETTER;
        doctor_say(f, "/proc/meminfo cannot be read");
        doctor_cost(f, "a run cannot tell what is free");
        doctor_mend(f, "mount /proc, or give --host-memory");
    } else {
        doctor_say(f, "%s, %s free; a run would take at most %s", value_size_text(m->memory_total, total, sizeof total),
                   value_size_text(m->memory_available, left, sizeof left), value_size_text(budget, text, sizeof text));
        if (m->memory_available < LEAST_RUN) {
            f->verdict = DOCTOR_IN_THE_WAY;
            doctor_cost(f, "too little for any run");
            doctor_mend(f, "end what takes the memory");
        } else if (m->memory_available < m->memory_total / 2) {
            f->verdict = DOCTOR_BETTER;
            doctor_cost(f, "others hold the rest: fewer weights stay in memory");
            doctor_mend(f, "end what takes it; each GB that is free is a GB that is not read for every token");
        }
    }
    add_cgroup(d, m);
    add_swap(d, m);
}

void doctor_shm(struct doctor *d, uint64_t free_bytes)
{
    struct doctor_finding *f = doctor_add(d, "/dev/shm", DOCTOR_GOOD);
    char text[32];

    if (free_bytes == UINT64_MAX) {
        f->verdict = DOCTOR_IN_THE_WAY;
        doctor_say(f, "is not there");
        doctor_cost(f, "the rings between the stages have no place");
        doctor_mend(f, "mount -t tmpfs -o size=1g tmpfs /dev/shm");
        return;
    }
    doctor_say(f, "%s free", value_size_text(free_bytes, text, sizeof text));
    if (free_bytes >= 2 * RING_BYTES + RING_BYTES / 2) return;
    f->verdict = free_bytes < 4 * MIB ? DOCTOR_IN_THE_WAY : DOCTOR_BETTER;
    doctor_cost(f, f->verdict == DOCTOR_BETTER ? "smaller rings: fewer reads in flight" : "no ring fits");
    doctor_mend(f, "docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm");
}

void doctor_open_files(struct doctor *d, uint64_t soft, uint64_t hard, uint64_t wanted)
{
    struct doctor_finding *f = doctor_add(d, "open files", hard < wanted ? DOCTOR_IN_THE_WAY : DOCTOR_GOOD);

    if (soft == UINT64_MAX)
        doctor_say(f, "no limit");
    else
        doctor_say(f, "%llu (ulimit -n)%s", (unsigned long long)soft,
                   soft < wanted && hard >= wanted ? ", raised as needed" : "");
    if (hard >= wanted) return;
    doctor_cost(f, "%llu are needed", (unsigned long long)wanted);
    doctor_mend(
        f, "raise the hard limit: ulimit -Hn, nofile in /etc/security/limits.conf, docker run --ulimit nofile=65536");
}

/* The word in brackets of "always [madvise] never". */
static void chosen(const struct doctor *d, const char *path, char *out, size_t room)
{
    char line[128], *from;

    snprintf(out, room, "unknown");
    if (!doctor_line(d, path, line, sizeof line) || !(from = strchr(line, '['))) return;
    from[1 + strcspn(from + 1, "]")] = 0;
    snprintf(out, room, "%.*s", (int)room - 1, from + 1);
}

bool doctor_try_large_pages(void)
{
    struct shm s = SHM_NONE;
    struct error ignored;
    bool given = page_large_bytes() && !shm_create_anonymous(&s, "doctor", 2 * page_large_bytes(), &ignored) &&
                 shm_large_pages(s.base, s.bytes, 0, s.bytes);

    shm_close(&s);
    return given;
}

void doctor_huge_pages(struct doctor *d, bool given)
{
    static const char *const names[2] = {"enabled", "shmem_enabled"};
    char word[2][32], path[64];
    bool off[2];
    struct doctor_finding *f;

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/sys/kernel/mm/transparent_hugepage/%s", names[i]);
        chosen(d, path, word[i], sizeof word[i]);
        off[i] = !strcmp(word[i], "never") || !strcmp(word[i], "deny") || !strcmp(word[i], "unknown");
    }
    off[1] = off[1] && !given; /* since Linux 6.1 a program may ask for them all the same */
    if (page_bytes() > 4096 && !page_large_at(d->root)) {
        f = doctor_add(d, "huge pages", DOCTOR_GOOD);
        doctor_say(f, "not asked for: those of this system are too large, and its usual ones are of %u KiB",
                   (unsigned)(page_bytes() >> 10));
        return;
    }
    f = doctor_add(d, "huge pages", off[0] || off[1] ? DOCTOR_BETTER : DOCTOR_GOOD);
    doctor_say(f, "%s; in shared memory: %s%s", word[0], word[1], given ? ", and given when asked for" : "");
    if (f->verdict == DOCTOR_GOOD) return;
    doctor_cost(f, "%s in pages of %u KiB%s",
                off[0] && off[1] ? "all memory is"
                : off[1]         ? "weights in memory are"
                                 : "compute's memory is",
                (unsigned)(page_bytes() >> 10),
                off[1] ? ": 24 bytes of page tables for each, in three stages together, and more page walks"
                       : ": more page walks");
    doctor_mend(f, "%s%s%s", off[0] ? "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled" : "",
                off[0] && off[1] ? "; " : "",
                off[1] ? "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled" : "");
}

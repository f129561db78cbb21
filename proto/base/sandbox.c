#include "proto/base/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0
#endif
#define SYS_CACHESTAT 451 /* Linux 6.5; the number is the same on every architecture */

/* Waiting and messages first: they are what a stage does all day. */
static const int work_calls[] = {
    SYS_futex,
    SYS_epoll_pwait,
    SYS_ppoll,
    SYS_read,
    SYS_write,
    SYS_sendto,
    SYS_recvfrom,
    SYS_clock_nanosleep,
    SYS_epoll_ctl,
#ifdef SYS_poll
    SYS_poll,
    SYS_epoll_wait,
#endif
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_writev,
    SYS_readv,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_shutdown,
    /* time, and who one is */
    SYS_clock_gettime,
    SYS_gettimeofday,
    SYS_nanosleep,
    SYS_getpid,
    SYS_gettid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_getrandom,
    SYS_uname,
    /* memory; mmap and mprotect are looked at below */
    SYS_munmap,
    SYS_madvise,
    SYS_brk,
    SYS_mremap,
    SYS_mlock,
    SYS_munlock,
    SYS_membarrier,
    /* threads and processors; clone is looked at below */
    SYS_set_robust_list,
    SYS_rseq,
    SYS_sched_yield,
    /* a thread of ZeroMQ's that first runs after the filter is there asks for its priority and sets the same again */
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_sched_setscheduler,
    SYS_sched_setparam,
    SYS_sched_get_priority_min,
    SYS_sched_get_priority_max,
    SYS_sched_getaffinity,
    SYS_sched_setaffinity,
    SYS_getcpu,
    SYS_exit,
    SYS_exit_group,
    /* signals */
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    /* what is open already */
    SYS_close,
    SYS_fstat,
    SYS_lseek,
    SYS_fcntl,
    SYS_pread64,
};
static const int read_calls[] = {
    SYS_io_uring_enter, SYS_io_uring_register, SYS_preadv,  SYS_preadv2,   SYS_newfstatat,
    SYS_statx,          SYS_fadvise64,         SYS_mincore, SYS_CACHESTAT,
};
static const int device_refused[] = {
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_listen,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_setns,
    SYS_unshare,
    SYS_reboot,
    SYS_swapon,
    SYS_kexec_load,
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

struct filter {
    struct sock_filter *at;
    unsigned n, room; /* n: all of them, also those that there is no room for */
};

static void add(struct filter *f, struct sock_filter s)
{
    if (f->n < f->room) f->at[f->n] = s;
    f->n++;
}

#define STATEMENT(code, k)      ((struct sock_filter)BPF_STMT(code, k))
#define JUMP(code, k, yes, no)  ((struct sock_filter)BPF_JUMP(code, k, yes, no))
#define LOAD(field)             STATEMENT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, field)))
#define RETURN(value)           STATEMENT(BPF_RET | BPF_K, value)
#define REFUSE                  (SECCOMP_RET_ERRNO | EPERM)
#define IS(nr, otherwise)       JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(nr), 0, otherwise)
#define HAS_BITS(bits, yes, no) JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), yes, no)

static void answer(struct filter *f, const int *call, size_t n, uint32_t value)
{
    for (size_t i = 0; i < n; i++) {
        add(f, IS(call[i], 1));
        add(f, RETURN(value));
    }
}

/* Calls that are allowed by their arguments; the low half of each says enough. */
static void by_arguments(struct filter *f)
{
    static const int exec_calls[] = {SYS_mmap, SYS_mprotect};

    for (size_t i = 0; i < COUNT(exec_calls); i++) { /* never executable */
        add(f, IS(exec_calls[i], 4));
        add(f, LOAD(args[2]));
        add(f, HAS_BITS(PROT_EXEC, 0, 1));
        add(f, RETURN(REFUSE));
        add(f, RETURN(SECCOMP_RET_ALLOW));
    }
    add(f, IS(SYS_clone, 4)); /* a thread, never a process */
    add(f, LOAD(args[0]));
    add(f, HAS_BITS(CLONE_THREAD, 0, 1));
    add(f, RETURN(SECCOMP_RET_ALLOW));
    add(f, RETURN(REFUSE));
    add(f, IS(SYS_clone3, 1)); /* its flags lie in memory: the C library then uses clone */
    add(f, RETURN(SECCOMP_RET_ERRNO | ENOSYS));
    add(f, IS(SYS_prctl, 4)); /* a thread of ZeroMQ that comes to run late names itself, and must be able to */
    add(f, LOAD(args[0]));
    add(f, IS(PR_SET_NAME, 1));
    add(f, RETURN(SECCOMP_RET_ALLOW));
    add(f, RETURN(REFUSE));
    add(f, IS(SYS_tgkill, 4)); /* abort() */
    add(f, LOAD(args[0]));
    add(f, IS(getpid(), 1));
    add(f, RETURN(SECCOMP_RET_ALLOW));
    add(f, RETURN(REFUSE));
}

static void write_filter(struct filter *f, enum sandbox what)
{
    add(f, LOAD(arch));
    add(f, JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0));
    add(f, RETURN(REFUSE));
    add(f, LOAD(nr));
    if (what == CONFINE_DEVICE) {
        answer(f, device_refused, COUNT(device_refused), REFUSE);
        add(f, RETURN(SECCOMP_RET_ALLOW));
        return;
    }
    answer(f, work_calls, COUNT(work_calls), SECCOMP_RET_ALLOW);
    if (what == CONFINE_READ) answer(f, read_calls, COUNT(read_calls), SECCOMP_RET_ALLOW);
    by_arguments(f);
    add(f, RETURN(REFUSE)); /* numbers of the x32 ABI too: none of them is in the lists */
}

/* SPEC_ALLOW: older kernels slow a filtered process down against speculation, and a stage runs no foreign code. */
static int install(struct sock_filter *filter, unsigned n)
{
    static const unsigned flags[] = {SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG |
                                         SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                                     SECCOMP_FILTER_FLAG_TSYNC};
    struct sock_fprog program = {.len = (unsigned short)n, .filter = filter};
    long rc = -1;

    for (size_t i = 0; i < COUNT(flags) && rc; i++)
        rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags[i], &program);
    return rc > 0 ? -EAGAIN : rc ? -errno : 0; /* above 0: a thread that has a filter of its own */
}

int sandbox_filter(enum sandbox what, struct sock_filter *out, unsigned room)
{
    struct filter f = {.at = out, .room = room};

    if (!ARCH) return -ENOTSUP;
    write_filter(&f, what);
    return f.n <= room ? (int)f.n : -E2BIG;
}

int sandbox(enum sandbox what, struct error *e)
{
    struct sock_filter filter[SANDBOX_FILTER_MOST];
    int n = sandbox_filter(what, filter, SANDBOX_FILTER_MOST), rc;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return error_set(e, errno, "privileges cannot be given up: %s", error_name(errno));
#ifdef SANITIZED
    return error_set(e, ENOTSUP, "no filter of system calls in a build with sanitizers");
#endif
    if (n == -ENOTSUP) return error_set(e, ENOTSUP, "no filter of system calls for this architecture");
    if (n < 0) return error_set(e, E2BIG, "the filter of system calls is too long");
    rc = install(filter, (unsigned)n);
    return rc ? error_set(e, -rc, "system calls are not filtered here: %s", error_name(-rc)) : 0;
}

/* What becomes of every system call in the sandbox: the filter itself, instruction by instruction, so that it needs no kernel
 * that takes it (qemu has none), against a list of calls with their numbers on 64-bit ARM. Those differ from x86's, and calls that
 * take a path but no folder do not exist there: a list that was right on one says little of the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/sandbox.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0
#endif
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

enum { W = 1, R = 2, D = 4, LOOKS = 8 }; /* allowed to work, to the reader, to devices; LOOKS: by its arguments */

struct call {
    const char *name;
    int here, arm; /* numbers; -1: there is none */
    int allowed;
};

#define HERE(name) #name, SYS_##name
static const struct call calls[] = {
    {HERE(futex), 98, W | R | D},
    {HERE(epoll_pwait), 22, W | R | D},
    {HERE(ppoll), 73, W | R | D},
    {HERE(read), 63, W | R | D},
    {HERE(write), 64, W | R | D},
    {HERE(sendto), 206, W | R | D},
    {HERE(recvfrom), 207, W | R | D},
    {HERE(clock_nanosleep), 115, W | R | D},
    {HERE(epoll_ctl), 21, W | R | D},
    {HERE(sendmsg), 211, W | R | D},
    {HERE(recvmsg), 212, W | R | D},
    {HERE(writev), 66, W | R | D},
    {HERE(readv), 65, W | R | D},
    {HERE(getsockopt), 209, W | R | D},
    {HERE(setsockopt), 208, W | R | D},
    {HERE(shutdown), 210, W | R | D},
    {HERE(clock_gettime), 113, W | R | D},
    {HERE(gettimeofday), 169, W | R | D},
    {HERE(nanosleep), 101, W | R | D},
    {HERE(getpid), 172, W | R | D},
    {HERE(gettid), 178, W | R | D},
    {HERE(getppid), 173, W | R | D},
    {HERE(getuid), 174, W | R | D},
    {HERE(geteuid), 175, W | R | D},
    {HERE(getgid), 176, W | R | D},
    {HERE(getegid), 177, W | R | D},
    {HERE(getrusage), 165, W | R | D},
    {HERE(sysinfo), 179, W | R | D},
    {HERE(getrandom), 278, W | R | D},
    {HERE(uname), 160, W | R | D},
    {HERE(munmap), 215, W | R | D},
    {HERE(madvise), 233, W | R | D},
    {HERE(brk), 214, W | R | D},
    {HERE(mremap), 216, W | R | D},
    {HERE(mlock), 228, W | R | D},
    {HERE(munlock), 229, W | R | D},
    {HERE(membarrier), 283, W | R | D},
    {HERE(set_robust_list), 99, W | R | D},
    {HERE(rseq), 293, W | R | D},
    {HERE(sched_yield), 124, W | R | D},
    {HERE(sched_getparam), 121, W | R | D},
    {HERE(sched_getscheduler), 120, W | R | D},
    {HERE(sched_setscheduler), 119, W | R | D},
    {HERE(sched_setparam), 118, W | R | D},
    {HERE(sched_get_priority_min), 126, W | R | D},
    {HERE(sched_get_priority_max), 125, W | R | D},
    {HERE(sched_getaffinity), 123, W | R | D},
    {HERE(sched_setaffinity), 122, W | R | D},
    {HERE(getcpu), 168, W | R | D},
    {HERE(exit), 93, W | R | D},
    {HERE(exit_group), 94, W | R | D},
    {HERE(rt_sigprocmask), 135, W | R | D},
    {HERE(rt_sigaction), 134, W | R | D},
    {HERE(rt_sigreturn), 139, W | R | D},
    {HERE(sigaltstack), 132, W | R | D},
    {HERE(restart_syscall), 128, W | R | D},
    {HERE(close), 57, W | R | D},
    {HERE(fstat), 80, W | R | D},
    {HERE(lseek), 62, W | R | D},
    {HERE(fcntl), 25, W | R | D},
    {HERE(pread64), 67, W | R | D},
    /* by their arguments */
    {HERE(mmap), 222, LOOKS | D},
    {HERE(mprotect), 226, LOOKS | D},
    {HERE(clone), 220, LOOKS | D},
    {HERE(clone3), 435, LOOKS | D},
    {HERE(prctl), 167, LOOKS | D},
    {HERE(tgkill), 131, LOOKS | D},
    /* reads of files */
    {HERE(io_uring_enter), 426, R | D},
    {HERE(io_uring_register), 427, R | D},
    {HERE(preadv), 69, R | D},
    {HERE(preadv2), 286, R | D},
    {HERE(newfstatat), 79, R | D},
    {HERE(statx), 291, R | D},
    {HERE(fadvise64), 223, R | D},
    {HERE(mincore), 232, R | D},
    {HERE(cachestat), 451, R | D},
    /* what leads out */
    {HERE(openat), 56, D},
    {HERE(openat2), 437, D},
    {HERE(socket), 198, D},
    {HERE(socketpair), 199, D},
    {HERE(connect), 203, D},
    {HERE(bind), 200, D},
    {HERE(accept), 202, D},
    {HERE(accept4), 242, D},
    {HERE(kill), 129, D},
    {HERE(tkill), 130, D},
    {HERE(pidfd_open), 434, D},
    {HERE(pidfd_send_signal), 424, D},
    {HERE(unlinkat), 35, D},
    {HERE(mkdirat), 34, D},
    {HERE(ioctl), 29, D},
    {HERE(pwrite64), 68, D},
    {HERE(ftruncate), 46, D},
    {HERE(memfd_create), 279, D},
    {HERE(bpf), 280, D},
    {HERE(perf_event_open), 241, D},
    {HERE(userfaultfd), 282, D},
    {HERE(io_uring_setup), 425, D},
    {HERE(prlimit64), 261, D},
    {HERE(dup3), 24, D},
    {HERE(execve), 221, 0},
    {HERE(execveat), 281, 0},
    {HERE(ptrace), 117, 0},
    {HERE(process_vm_readv), 270, 0},
    {HERE(process_vm_writev), 271, 0},
    {HERE(listen), 201, 0},
    {HERE(init_module), 105, 0},
    {HERE(finit_module), 273, 0},
    {HERE(delete_module), 106, 0},
    {HERE(mount), 40, 0},
    {HERE(umount2), 39, 0},
    {HERE(pivot_root), 41, 0},
    {HERE(chroot), 51, 0},
    {HERE(setns), 268, 0},
    {HERE(unshare), 97, 0},
    {HERE(reboot), 142, 0},
    {HERE(swapon), 224, 0},
    {HERE(kexec_load), 104, 0},
#if defined(__x86_64__)
    /* of x86 alone; what the C library has in their places on ARM is above */
    {HERE(poll), -1, W | R | D},
    {HERE(epoll_wait), -1, W | R | D},
    {HERE(open), -1, D},
    {HERE(stat), -1, D},
    {HERE(unlink), -1, D},
    {HERE(fork), -1, D},
    {HERE(vfork), -1, D},
    {HERE(arch_prctl), -1, D},
#endif
};
#define CALLS (sizeof calls / sizeof *calls)

/* ---- the filter as the kernel runs it ---- */

struct program {
    struct sock_filter at[SANDBOX_FILTER_MOST];
    int n;
};

static struct program program_of(enum sandbox what)
{
    struct program p;

    p.n = sandbox_filter(what, p.at, SANDBOX_FILTER_MOST);
    if (p.n == -ENOTSUP) {
        print_message("skipped: there is no list for this architecture\n");
        skip();
    }
    assert_in_range(p.n, 4, SANDBOX_FILTER_MOST);
    return p;
}

static uint32_t answer_to(const struct program *p, const struct seccomp_data *d)
{
    uint32_t a = 0;

    for (int i = 0; i < p->n; i++) {
        const struct sock_filter *x = &p->at[i];

        switch (x->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(x->k % 4 == 0 && x->k + 4 <= sizeof *d);
            memcpy(&a, (const char *)d + x->k, 4);
            break;
        case BPF_JMP | BPF_JEQ | BPF_K: i += a == x->k ? x->jt : x->jf; break;
        case BPF_JMP | BPF_JSET | BPF_K: i += a & x->k ? x->jt : x->jf; break;
        case BPF_RET | BPF_K: return x->k;
        default: fail_msg("instruction %d is a %#x", i, x->code);
        }
    }
    fail_msg("the filter ends without an answer");
    return 0;
}

static uint32_t answer(const struct program *p, int nr, uint64_t arg0, uint64_t arg2)
{
    const struct seccomp_data d = {.nr = nr, .arch = ARCH, .args = {arg0, 0, arg2}};

    return answer_to(p, &d);
}

#define REFUSED (SECCOMP_RET_ERRNO | EPERM)

static const struct call *of_number(int nr)
{
    for (size_t i = 0; i < CALLS; i++)
        if (calls[i].here == nr) return &calls[i];
    return NULL;
}

/* Every number there may be, in a list or not. */
static void every_call_has_its_answer(enum sandbox what, int bit, bool otherwise)
{
    const struct program p = program_of(what);

    for (int nr = 0; nr < 1024; nr++) {
        const struct call *c = of_number(nr);
        bool allowed = c ? c->allowed & bit : otherwise;

        if (c && bit != D && c->allowed & LOOKS) continue;
        if (answer(&p, nr, 0, 0) != (allowed ? SECCOMP_RET_ALLOW : REFUSED))
            fail_msg("call %d (%s) should be %s", nr, c ? c->name : "not in the list", allowed ? "allowed" : "refused");
    }
}

static void work(void **state)
{
    (void)state;
    every_call_has_its_answer(CONFINE_WORK, W, false);
}
static void reads(void **state)
{
    (void)state;
    every_call_has_its_answer(CONFINE_READ, R, false);
}
static void devices(void **state)
{
    (void)state;
    every_call_has_its_answer(CONFINE_DEVICE, D, true);
}

static void some_are_looked_at(void **state)
{
    const struct program both[] = {program_of(CONFINE_WORK), program_of(CONFINE_READ)};

    (void)state;
    for (int i = 0; i < 2; i++) {
        const struct program *p = &both[i];

        assert_int_equal(answer(p, SYS_mmap, 0, PROT_READ | PROT_WRITE), SECCOMP_RET_ALLOW);
        assert_int_equal(answer(p, SYS_mmap, 0, PROT_READ | PROT_EXEC), REFUSED);
        assert_int_equal(answer(p, SYS_mprotect, 0, PROT_READ), SECCOMP_RET_ALLOW);
        assert_int_equal(answer(p, SYS_mprotect, 0, PROT_EXEC), REFUSED);
        assert_int_equal(answer(p, SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0), SECCOMP_RET_ALLOW);
        assert_int_equal(answer(p, SYS_clone, SIGCHLD, 0), REFUSED);
        assert_int_equal(answer(p, SYS_clone3, 0, 0), SECCOMP_RET_ERRNO | ENOSYS);
        assert_int_equal(answer(p, SYS_prctl, PR_SET_NAME, 0), SECCOMP_RET_ALLOW);
        assert_int_equal(answer(p, SYS_prctl, PR_SET_DUMPABLE, 0), REFUSED);
        assert_int_equal(answer(p, SYS_tgkill, (uint64_t)getpid(), 0), SECCOMP_RET_ALLOW);
        assert_int_equal(answer(p, SYS_tgkill, (uint64_t)getppid(), 0), REFUSED);
    }
}

static void other_architectures_are_refused(void **state)
{
    static const uint32_t other[] = {AUDIT_ARCH_I386, AUDIT_ARCH_ARM,
                                     ARCH == AUDIT_ARCH_X86_64 ? AUDIT_ARCH_AARCH64 : AUDIT_ARCH_X86_64};

    (void)state;
    for (int what = CONFINE_READ; what <= CONFINE_DEVICE; what++) {
        const struct program p = program_of((enum sandbox)what);

        for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
            const struct seccomp_data d = {.nr = SYS_read, .arch = other[i]};

            assert_int_equal(answer_to(&p, &d), REFUSED);
        }
        if (what != CONFINE_DEVICE) /* the x32 ABI's numbers */
            assert_int_equal(answer(&p, SYS_read | 0x40000000, 0, 0), REFUSED);
    }
}

/* ---- numbers on ARM ---- */

/* The number of a call in the kernel's list for architectures without one of their own; -1: it has none. */
static int generic_number(const char *list, const char *name)
{
    static const char *const prefixes[] = {"#define __NR_", "#define __NR3264_"};
    static const char *const other[][2] = {{"newfstatat", "fstatat"}}; /* as it is called there */
    char key[96];

    for (size_t i = 0; i < 2; i++) {
        const char *said = i && !strcmp(name, other[0][0]) ? other[0][1] : name, *at;
        int n = snprintf(key, sizeof key, "%s%s ", prefixes[i], said);

        at = strstr(list, key);
        if (at && at[n] >= '0' && at[n] <= '9') return atoi(at + n);
    }
    return -1;
}

static void numbers_on_arm(void **state)
{
#if defined(__aarch64__)
    (void)state;
    (void)generic_number;
    for (size_t i = 0; i < CALLS; i++) assert_int_equal(calls[i].here, calls[i].arm);
#else
    static const char path[] = "/usr/include/asm-generic/unistd.h";
    FILE *f = fopen(path, "re");
    char *list = calloc(1, 1 << 17);
    size_t n = f && list ? fread(list, 1, (1 << 17) - 1, f) : 0;

    (void)state;
    if (f) fclose(f);
    if (!n) {
        free(list);
        print_message("skipped: there is no %s, which has 64-bit ARM's numbers\n", path);
        skip();
    }
    for (size_t i = 0; i < CALLS; i++) {
        int number = generic_number(list, calls[i].name);

        if (number < 0 && calls[i].here == SYS_cachestat) continue; /* younger than many headers */
        if (number != calls[i].arm) fail_msg("%s is %d there, not %d", calls[i].name, number, calls[i].arm);
    }
    free(list);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work),
        cmocka_unit_test(reads),
        cmocka_unit_test(devices),
        cmocka_unit_test(some_are_looked_at),
        cmocka_unit_test(other_architectures_are_refused),
        cmocka_unit_test(numbers_on_arm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

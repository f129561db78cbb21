/* A system whose memory comes in pages of $LARGER_PAGES bytes, on one whose pages are smaller: sysconf() says so, addresses are
 * multiples of it, lengths are rounded up to it, and whoever asks for what such a system would refuse (an address or an offset
 * that is no multiple) is ended with a word. There is no cachestat(), and direct reads ask for $DIRECT_ALIGN. */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define CACHESTAT   451
#define DIOALIGN    0x2000u
#define STACK_LEAST 131072

static uint64_t page = 4096, small = 4096;
static uint32_t direct_align;
static long (*real_sysconf)(int);
static long (*real_syscall)(long, ...);
static void *(*real_mmap)(void *, size_t, int, int, int, off_t);
static int (*real_munmap)(void *, size_t);
static int (*real_madvise)(void *, size_t, int);
static int (*real_mincore)(void *, size_t, unsigned char *);

__attribute__((constructor)) static void begin(void)
{
    const char *pages = getenv("LARGER_PAGES"), *align = getenv("DIRECT_ALIGN");

    if (real_mmap) return;
    *(void **)&real_sysconf = dlsym(RTLD_NEXT, "sysconf");
    *(void **)&real_syscall = dlsym(RTLD_NEXT, "syscall");
    *(void **)&real_munmap = dlsym(RTLD_NEXT, "munmap");
    *(void **)&real_madvise = dlsym(RTLD_NEXT, "madvise");
    *(void **)&real_mincore = dlsym(RTLD_NEXT, "mincore");
    *(void **)&real_mmap = dlsym(RTLD_NEXT, "mmap");
    small = (uint64_t)real_sysconf(_SC_PAGESIZE);
    page = pages ? strtoull(pages, NULL, 10) : small;
    direct_align = align ? (uint32_t)strtoul(align, NULL, 10) : 0;
}

static uint64_t up(uint64_t bytes)
{
    return (bytes + page - 1) / page * page;
}

static void must(int ok, const char *what, uint64_t value)
{
    char line[128];
    int n;

    if (ok) return;
    n = snprintf(line, sizeof line, "larger_pages: %s at %#llx, pages have %llu bytes\n", what,
                 (unsigned long long)value, (unsigned long long)page);
    if (write(2, line, (size_t)n) < 0) _exit(98);
    _exit(99);
}

long sysconf(int name)
{
    begin();
    if (name == _SC_PAGESIZE) return (long)page;
    if (name == _SC_THREAD_STACK_MIN && page > small) return STACK_LEAST;
    return real_sysconf(name);
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    uint8_t *room, *base;
    void *p;

    begin();
    must(offset % (off_t)page == 0, "mmap of an offset", (uint64_t)offset);
    if (flags & MAP_FIXED) {
        must((uintptr_t)at % page == 0, "mmap", (uintptr_t)at);
        return real_mmap(at, bytes, prot, flags, fd, offset);
    }
    if (!bytes) return real_mmap(at, bytes, prot, flags, fd, offset);
    room = real_mmap(NULL, up(bytes) + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return room;
    base = room + (page - (uintptr_t)room % page) % page;
    p = real_mmap(base, bytes, prot, flags | MAP_FIXED, fd, offset);
    if (p == MAP_FAILED) {
        int code = errno;

        real_munmap(room, up(bytes) + page);
        errno = code;
        return p;
    }
    if (base > room) real_munmap(room, (size_t)(base - room));
    real_munmap(base + up(bytes), (size_t)(room + page - base));
    return p;
}

void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    return mmap(at, bytes, prot, flags, fd, offset);
}

int munmap(void *at, size_t bytes)
{
    begin();
    must((uintptr_t)at % page == 0, "munmap", (uintptr_t)at);
    return real_munmap(at, up(bytes));
}

int madvise(void *at, size_t bytes, int advice)
{
    begin();
    must((uintptr_t)at % page == 0, "madvise", (uintptr_t)at);
    return real_madvise(at, bytes, advice);
}

int mincore(void *at, size_t bytes, unsigned char *in)
{
    begin();
    must((uintptr_t)at % page == 0, "mincore", (uintptr_t)at);
    for (uint64_t i = 0; i < up(bytes) / page; i++) {
        uint64_t from = i * page, n = bytes - from < page ? bytes - from : page;
        unsigned char each[64] = {0};

        if (page / small > sizeof each) return -1;
        if (real_mincore((char *)at + from, n, each)) return -1;
        in[i] = 1;
        for (uint64_t k = 0; k < (n + small - 1) / small; k++) in[i] &= each[k];
    }
    return 0;
}

long syscall(long number, ...)
{
    long a[6], rc;
    va_list ap;

    begin();
    va_start(ap, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(ap, long);
    va_end(ap);
    if (number == CACHESTAT) {
        errno = ENOSYS;
        return -1;
    }
    rc = real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (!rc && number == SYS_statx && direct_align && a[3] == DIOALIGN) {
        uint8_t *answer = (uint8_t *)a[4];
        uint32_t told = DIOALIGN;

        memcpy(answer, &told, sizeof told);
        memcpy(answer + 152, &direct_align, sizeof direct_align);
        memcpy(answer + 156, &direct_align, sizeof direct_align);
    }
    return rc;
}

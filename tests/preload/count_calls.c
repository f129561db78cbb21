/* Loaded before all other libraries (LD_PRELOAD) into stages under test: counts calls of the allocator in the file
 * $COUNT_CALLS/NAME, NAME being the program's, as one uint64_t that others may map or read at any time. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t each);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);

static _Atomic uint64_t early;
static _Atomic uint64_t *calls = &early;

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("COUNT_CALLS");
    char path[512];
    void *p;
    int fd;

    if (!folder) return;
    snprintf(path, sizeof path, "%s/%s", folder, program_invocation_short_name);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(uint64_t))) return;
    p = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED) calls = p;
    close(fd);
}

static void count(void)
{
    atomic_fetch_add_explicit(calls, 1, memory_order_relaxed);
}

void *malloc(size_t n)
{
    count();
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t each)
{
    count();
    return __libc_calloc(n, each);
}

void *realloc(void *p, size_t n)
{
    count();
    return __libc_realloc(p, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
    count();
    *out = __libc_memalign(align, n);
    return *out ? 0 : ENOMEM;
}

void *aligned_alloc(size_t align, size_t n)
{
    count();
    return __libc_memalign(align, n);
}

#include "proto/base/page.h"

#include <stdatomic.h>
#include <stdio.h>

#define LARGE_MOST (UINT64_C(32) << 20)
#define UNKNOWN    UINT64_MAX

/* A large page is what one table of pages covers, whose entries have 8 bytes: a size that is none is another system's (qemu shows
 * that of the machine that it runs on). */
uint64_t page_large_at(const char *root)
{
    const uint64_t table = page_bytes() * page_bytes() / 8;
    unsigned long long bytes = page_bytes() == 4096 ? table : 0; /* where it is not told */
    char path[1024];
    FILE *f = NULL;

    if (snprintf(path, sizeof path, "%s/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", root) < (int)sizeof path)
        f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%llu", &bytes) != 1) bytes = 0;
        fclose(f);
    }
    return bytes == table && table <= LARGE_MOST ? table : 0;
}

uint64_t page_large_bytes(void)
{
    static _Atomic uint64_t known = UNKNOWN;
    uint64_t bytes = atomic_load_explicit(&known, memory_order_relaxed);

    if (bytes == UNKNOWN) {
        bytes = page_large_at("");
        atomic_store_explicit(&known, bytes, memory_order_relaxed);
    }
    return bytes;
}

size_t page_stack_bytes(size_t wanted)
{
    long least = sysconf(_SC_THREAD_STACK_MIN);

    if (least > 0 && wanted < (size_t)least) wanted = (size_t)least;
    return (size_t)page_up(wanted);
}

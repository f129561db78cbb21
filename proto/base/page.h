/* The page size of the system's memory: 4 KiB, or 16 or 64 KiB on some ARM systems. Addresses that mmap(), munmap(), madvise()
 * and mincore() take are multiples of it. What lies in files and slots is laid out in steps of PLAN_PAGE on every machine:
 * direct reads ask for no more (file_direct_align() tells of a file system that does), and a layout is the same everywhere. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

static inline uint64_t page_bytes(void)
{
    const long n = sysconf(_SC_PAGESIZE);

    return n > 0 ? (uint64_t)n : 4096;
}

static inline uint64_t page_up(uint64_t bytes)
{
    return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

/* A large page as the system makes them: 2 MiB beside pages of 4 KiB, 32 MiB beside 16 KiB. 0: none worth asking for, as where
 * they are 512 MiB, beside 64 KiB. Looked up once, so that who has given up opening files may ask again. */
uint64_t page_large_bytes(void);
/* The same, looked up now, with another folder in the place of / (tests). */
uint64_t page_large_at(const char *root);

/* What a thread's stack must have at least to hold so many bytes: the C library refuses sizes below a least one of its own,
 * which is larger on ARM, and those that are no whole pages. */
size_t page_stack_bytes(size_t wanted);

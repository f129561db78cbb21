/* The page size of the system's memory: 4 KiB, or 16 or 64 KiB on some ARM systems. Addresses that mmap(), munmap(), madvise()
 * and mincore() take are multiples of it. What lies in files and slots is laid out in steps of PLAN_PAGE on every machine. */
#pragma once
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

/* Time in nanoseconds on a clock that all processes of the machine share. */
#pragma once
#include <stdint.h>
#include <time.h>

/* Of a time of any clock, of a file's too. */
static inline uint64_t clock_nanoseconds(struct timespec t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return clock_nanoseconds(t);
}

/* A time of clock_ns() as calls take it that wait until then. */
static inline struct timespec clock_time(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

/* What a processor is told between two looks at memory that another one is about to write. */
#pragma once

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* "yield" does nothing on most processors */
#else
    __asm__ volatile("" ::: "memory");
#endif
}

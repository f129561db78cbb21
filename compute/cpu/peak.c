/* What this processor's memory and units can do at most: the peaks that a profile is held against. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "proto/base/clock.h"

#define TASKS      64u
#define FMA_ROUNDS 100000 /* of twelve sums: about half a millisecond */

/* ---- memory ---- */

struct piece {
    const unsigned char *p;
    uint64_t bytes, sum;
};

/* Eight streams walked together, each sent for ahead: of the ways tried the fastest. */
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
uint64_t
cpu_read_once(const unsigned char *from, uint64_t bytes)
{
    typedef uint64_t vec __attribute__((vector_size(64)));
    enum { STREAMS = 8, PIECE = 8192 };
    vec sum[STREAMS] = {0};
    uint64_t total = 0;

    for (uint64_t i = 0; i + STREAMS * PIECE <= bytes; i += STREAMS * PIECE)
        for (uint64_t at = 0; at < PIECE; at += sizeof(vec))
#pragma GCC unroll 8 /* the sums stay in registers */
            for (uint64_t s = 0; s < STREAMS; s++) {
                const unsigned char *p = from + i + s * PIECE + at;

                __builtin_prefetch(p + STREAMS * PIECE, 0, 2);
                sum[s] += *(const vec *)(const void *)p;
            }
    for (int s = 0; s < STREAMS; s++) total += sum[s][0] + sum[s][3] + sum[s][7];
    return total;
}

static void read_task(void *arg, uint32_t worker, uint32_t task)
{
    struct piece *x = (struct piece *)arg + task;

    (void)worker;
    x->sum += cpu_read_once(x->p, x->bytes);
}

/* The more of it the less do caches hold. */
static int read_memory(struct ops *o, uint64_t most, uint64_t limit_ns, uint64_t *bytes, uint64_t *ns, struct error *e)
{
    struct piece piece[TASKS];
    uint64_t each = most / TASKS / 65536 * 65536;
    unsigned char *memory;
    uint64_t start;

    if (!each) return error_set(e, ENOMEM, "too little memory is allowed to measure its speed");
    memory = ops_alloc(o, each * TASKS, e);
    if (!memory) return -ENOMEM;
    memset(memory, 1, each * TASKS);
    for (uint32_t i = 0; i < TASKS; i++) piece[i] = (struct piece){.p = memory + i * each, .bytes = each};
    start = clock_ns();
    do {
        pool_run(o->pool, read_task, piece, TASKS);
        *bytes += each * TASKS;
    } while ((*ns = clock_ns() - start) < limit_ns);
    ops_free(o, memory, each * TASKS);
    return 0;
}

/* ---- multiply-adds ---- */

#if defined(__x86_64__)
/* Twelve sums in registers: enough to hide the latency. */
#define FMA_LOOP(C)                                                                                                    \
    for (int i = 0; i < FMA_ROUNDS; i++)                                                                               \
    __asm__ volatile("vfmadd231ps %12, %13, %0\n\tvfmadd231ps %12, %13, %1\n\tvfmadd231ps %12, %13, %2\n\t"            \
                     "vfmadd231ps %12, %13, %3\n\tvfmadd231ps %12, %13, %4\n\tvfmadd231ps %12, %13, %5\n\t"            \
                     "vfmadd231ps %12, %13, %6\n\tvfmadd231ps %12, %13, %7\n\tvfmadd231ps %12, %13, %8\n\t"            \
                     "vfmadd231ps %12, %13, %9\n\tvfmadd231ps %12, %13, %10\n\tvfmadd231ps %12, %13, %11"              \
                     : "+" C(a[0]), "+" C(a[1]), "+" C(a[2]), "+" C(a[3]), "+" C(a[4]), "+" C(a[5]), "+" C(a[6]),      \
                       "+" C(a[7]), "+" C(a[8]), "+" C(a[9]), "+" C(a[10]), "+" C(a[11])                               \
                     : C(x), C(y))

__attribute__((target("avx512f,fma"))) static uint64_t fma_avx512(void)
{
    typedef float vec __attribute__((vector_size(64)));
    vec x = {1}, y = {2}, a[12] = {0};

    FMA_LOOP("v");
    return UINT64_C(12) * 32 * FMA_ROUNDS;
}

__attribute__((target("avx2,fma"))) static uint64_t fma_avx2(void)
{
    typedef float vec __attribute__((vector_size(32)));
    vec x = {1}, y = {2}, a[12] = {0};

    FMA_LOOP("x");
    return UINT64_C(12) * 16 * FMA_ROUNDS;
}
#elif defined(__aarch64__)
/* Sixteen sums: some processors begin four each cycle, and each takes four cycles. */
static uint64_t fma_neon(void)
{
    uint64_t n = FMA_ROUNDS;

#define FMLA(i) "fmla v" #i ".4s, v16.4s, v17.4s\n\t"
    __asm__ volatile("movi v16.4s, #0\n\tmovi v17.4s, #0\n"
                     "1:\t" FMLA(0) FMLA(1) FMLA(2) FMLA(3) FMLA(4) FMLA(5) FMLA(6) FMLA(7) FMLA(8) FMLA(9) FMLA(10)
                         FMLA(11) FMLA(12) FMLA(13) FMLA(14) FMLA(15) "subs %0, %0, #1\n\tb.ne 1b"
                     : "+r"(n)
                     :
                     : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13",
                       "v14", "v15", "v16", "v17");
#undef FMLA
    return UINT64_C(16) * 8 * FMA_ROUNDS;
}
#endif

uint64_t cpu_fma_once(void)
{
#if defined(__x86_64__)
    if (cpu_variant_kernels(CPU_AVX512)) return fma_avx512();
    if (cpu_variant_kernels(CPU_AVX2)) return fma_avx2();
#elif defined(__aarch64__)
    return fma_neon();
#endif
    return 0;
}

static void fma_task(void *arg, uint32_t worker, uint32_t task)
{
    (void)worker;
    ((uint64_t *)arg)[task] = cpu_fma_once();
}

static void multiply_add(struct ops *o, uint64_t limit_ns, uint64_t *operations, uint64_t *ns)
{
    uint64_t done[TASKS] = {0}, start;

    if (!cpu_fma_once()) return;
    start = clock_ns();
    do {
        pool_run(o->pool, fma_task, done, TASKS);
        for (uint32_t i = 0; i < TASKS; i++) *operations += done[i];
    } while ((*ns = clock_ns() - start) < limit_ns);
}

int ops_peak(struct ops *o, enum ops_peak_kind what, uint64_t most_bytes, uint64_t limit_ns, uint64_t *amount,
             uint64_t *ns, struct error *e)
{
    *amount = *ns = 0;
    if (what == OPS_PEAK_MEMORY) return read_memory(o, most_bytes, limit_ns, amount, ns, e);
    multiply_add(o, limit_ns, amount, ns);
    return 0;
}

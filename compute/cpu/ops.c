/* The cpu backend: opened, closed, its memory, and how work reaches the threads. */
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/neon.h"
#include "proto/base/page.h"

#define ALONE_BELOW 65536u /* multiplications or so that are not worth waking others, some 4 us */
#define HUGE_PAGE   (UINT64_C(2) << 20)
/* A build for comparing takes no better kernels than these (tests/arm.sh). */
#ifndef CPU_MOST
#define CPU_MOST (CPU_VARIANTS - 1)
#endif
#define SMALLEST_EACH (sizeof(float) * MATMUL_WORK_FLOATS)

const struct cpu_kernels *cpu_variant_kernels(enum cpu_variant v)
{
#if defined(__x86_64__)
    unsigned a, b, c = 0, d; /* clang knows no name for f16c */
    const bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
    if (v == CPU_AVX2 && avx2) return &cpu_kernels_avx2;
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (v == CPU_AVX512 && avx512) return &cpu_kernels_avx512;
    if (v == CPU_AVX512_VBMI && avx512 && __builtin_cpu_supports("avx512vbmi")) return &cpu_kernels_avx512_vbmi;
#elif defined(__aarch64__)
    if (v == CPU_NEON) return &cpu_kernels_neon; /* a part of the architecture */
#endif
    return v == CPU_PLAIN ? &cpu_kernels_plain : NULL;
}

/* Units are unpacked with what the kernels use, so that a test of a variant is one of all its code. */
static const struct unit_code *units_of(const struct cpu_kernels *k)
{
    const struct unit_code *best = unit_code();

    if (k == &cpu_kernels_plain) return unit_variant(UNIT_PLAIN);
#if defined(__x86_64__)
    if (k == &cpu_kernels_avx2 && unit_variant(UNIT_AVX2)) return unit_variant(UNIT_AVX2);
#endif
    return best;
}

static void use_kernels(struct ops *o, const struct cpu_kernels *k)
{
    o->units = units_of(k);
    o->kernels = k;
    snprintf(o->description, sizeof o->description, "%s, %u thread%s", k->name, o->threads, o->threads == 1 ? "" : "s");
}

int ops_cpu_force(struct ops *o, enum cpu_variant v)
{
    const struct cpu_kernels *k = cpu_variant_kernels(v);
    if (!k) return -ENOTSUP;
    use_kernels(o, k);
    return 0;
}

static uint64_t mapped_bytes(uint64_t bytes)
{
    return bytes ? cpu_round_up(bytes, page_bytes()) : page_bytes();
}

static void *map_memory(uint64_t bytes, struct error *e)
{
    void *p = mmap(NULL, mapped_bytes(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        error_set(e, errno,
                  "cannot allocate %llu bytes for compute: %s; a smaller --context or --host-memory needs less",
                  (unsigned long long)bytes, error_name(errno));
        return NULL;
    }
    if (bytes >= 4 * HUGE_PAGE)
        madvise(p, mapped_bytes(bytes), MADV_HUGEPAGE); /* fewer page walks; a refusal costs speed only */
    return p;
}

int ops_open(struct ops **out, const struct ops_options *options, struct error *e)
{
    *out = NULL;
    struct ops *o = calloc(1, sizeof *o);
    if (!o) return error_set(e, ENOMEM, "no memory for the cpu backend");
    o->threads = options->threads ? options->threads : 1;
    int err = pool_open(&o->pool, o->threads, e);
    if (err) {
        ops_close(o);
        return err;
    }
    o->scratch_bytes = cpu_round_up(options->scratch_bytes, 64);
    if (o->scratch_bytes < 2 * o->threads * SMALLEST_EACH) o->scratch_bytes = 2 * o->threads * SMALLEST_EACH;
    o->scratch = map_memory(o->scratch_bytes, e);
    if (!o->scratch) {
        ops_close(o);
        return -ENOMEM;
    }
    for (int v = CPU_MOST; v >= CPU_PLAIN; v--)
        if (cpu_variant_kernels((enum cpu_variant)v)) {
            use_kernels(o, cpu_variant_kernels((enum cpu_variant)v));
            break;
        }
    *out = o;
    return 0;
}

int ops_device_facts(struct device_facts *f, uint32_t device, struct error *e)
{
    (void)f;
    (void)device;
    return error_set(e, ENODEV, "the cpu backend has no device of its own");
}

void ops_close(struct ops *o)
{
    if (!o) return;
    pool_close(o->pool);
    if (o->scratch) munmap(o->scratch, mapped_bytes(o->scratch_bytes));
    free(o);
}

const char *ops_describe(const struct ops *o)
{
    return o->description;
}

/* ---- memory ---- */

void *ops_alloc(struct ops *o, uint64_t bytes, struct error *e)
{
    (void)o;
    return map_memory(bytes, e);
}

void ops_free(struct ops *o, void *p, uint64_t bytes)
{
    (void)o;
    if (p) munmap(p, mapped_bytes(bytes));
}

void ops_upload(struct ops *o, void *dst, const void *host_src, uint64_t bytes)
{
    (void)o;
    memcpy(dst, host_src, bytes);
}

void ops_download(struct ops *o, void *host_dst, const void *src, uint64_t bytes)
{
    (void)o;
    memcpy(host_dst, src, bytes);
}

int ops_sync(struct ops *o, struct error *e)
{
    if (!o->error.code) return 0;
    int err = error_set(e, o->error.code, "%s", o->error.text);
    o->error.code = 0;
    return err;
}

/* ---- threads and scratch ---- */

void cpu_run(struct ops *o, pool_fn *fn, void *arg, uint32_t tasks, uint64_t work)
{
    if (work < ALONE_BELOW) {
        for (uint32_t i = 0; i < tasks; i++) fn(arg, 0, i);
        return;
    }
    pool_run(o->pool, fn, arg, tasks);
}

void *cpu_worker_scratch(const struct ops *o, uint32_t worker, uint64_t bytes_each)
{
    return o->scratch + worker * cpu_round_up(bytes_each, 64);
}

void *cpu_shared_scratch(const struct ops *o, uint64_t bytes_each, uint64_t *left)
{
    uint64_t front = o->threads * cpu_round_up(bytes_each, 64);
    *left = front < o->scratch_bytes ? o->scratch_bytes - front : 0;
    return o->scratch + front;
}

/* ---- device memory across processes: none of it ---- */

int ops_export_memory(struct ops *o, void *p, uint8_t handle[OPS_HANDLE_BYTES], struct error *e)
{
    (void)o, (void)p, (void)handle;
    return error_set(e, ENOTSUP, "the cpu backend has no device memory to export");
}

int ops_events_open(struct ops *o, uint32_t entries, uint8_t (*freed_handles)[OPS_HANDLE_BYTES], struct error *e)
{
    (void)o, (void)entries, (void)freed_handles;
    return error_set(e, ENOTSUP, "the cpu backend has no device slots");
}

int ops_events_import(struct ops *o, uint32_t entries, const uint8_t (*ready_handles)[OPS_HANDLE_BYTES],
                      struct error *e)
{
    (void)o, (void)entries, (void)ready_handles;
    return error_set(e, ENOTSUP, "the cpu backend has no device slots");
}

void ops_slot_wait(struct ops *o, uint32_t entry)
{
    (void)o, (void)entry;
}

void ops_slot_release(struct ops *o, uint32_t entry)
{
    (void)o, (void)entry;
}

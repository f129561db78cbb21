/* CUDA on a processor, for tests: see cuda_runtime.h beside it.
 *
 * A thread block's threads are fibers with stacks of their own; a barrier switches to the next fiber until all have
 * arrived. Blocks run one after another. That is slow and faithful: a barrier that not all threads reach stops the test
 * with a message, as it would hang a device. */
#include "cuda_runtime.h"
#include "cublas_v2.h"
#include "streams.h"

#include <fcntl.h>
#include <map>
#include <mutex>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

/* ---- fibers ---- */

namespace {

const size_t STACK = 64 << 10;
const unsigned MOST = 1024;

#if defined(__x86_64__)
/* Saves what a call must preserve, changes stacks. swapcontext() makes two system calls each time. */
extern "C" void emulated_switch(void **save, void *load);
asm(".text\n.globl emulated_switch\n.type emulated_switch,@function\nemulated_switch:\n"
    "endbr64\n push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    " mov %rsp,(%rdi)\n mov %rsi,%rsp\n"
    " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n"
    ".size emulated_switch,.-emulated_switch\n");
#endif

struct fiber {
    char *stack;
    bool alive;
    unsigned long block_barriers, warp_barriers; /* arrived at */
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
};

struct fiber fibers[MOST];
unsigned threads, current;
void (*kernel_body)(void *);
void *kernel_arg;
std::vector<float> shared_memory;
float shuffled[MOST];
unsigned shuffled_words[MOST];

#if defined(__x86_64__)
void *main_sp;
#else
ucontext_t main_context;
#endif

void to_scheduler()
{
#if defined(__x86_64__)
    emulated_switch(&fibers[current].sp, main_sp);
#else
    swapcontext(&fibers[current].context, &main_context);
#endif
    threadIdx = dim3(current, 0, 0);
}

void fiber_main()
{
    kernel_body(kernel_arg);
    fibers[current].alive = false;
    to_scheduler();
    abort();
}

void start_fiber(unsigned i)
{
    fiber &f = fibers[i];

    if (!f.stack) {
        f.stack = (char *)mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (f.stack == MAP_FAILED) abort();
    }
    f.alive = true;
    f.block_barriers = f.warp_barriers = 0;
#if defined(__x86_64__)
    void **top = (void **)(f.stack + STACK);
    *--top = NULL; /* where fiber_main() would return to: keeps the stack aligned as at a call */
    *--top = (void *)fiber_main;
    for (int r = 0; r < 6; r++) *--top = NULL;
    f.sp = top;
#else
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack;
    f.context.uc_stack.ss_size = STACK;
    makecontext(&f.context, fiber_main, 0);
#endif
}

void resume(unsigned i)
{
    current = i;
    threadIdx = dim3(i, 0, 0);
#if defined(__x86_64__)
    emulated_switch(&main_sp, fibers[i].sp);
#else
    swapcontext(&main_context, &fibers[i].context);
#endif
}

void die(const char *what)
{
    fprintf(stderr, "emulated device: %s (block %u %u %u, thread %u)\n", what, blockIdx.x, blockIdx.y, blockIdx.z, current);
    abort();
}

/* May the fiber pass the barrier it waits at? When every living one has arrived there too. */
bool passed(unsigned i, bool warp)
{
    unsigned first = warp ? i / 32 * 32 : 0, last = warp ? first + 32 : threads;

    for (unsigned t = first; t < last && t < threads; t++)
        if (fibers[t].alive && (warp ? fibers[t].warp_barriers < fibers[i].warp_barriers : fibers[t].block_barriers < fibers[i].block_barriers))
            return false;
    return true;
}

void barrier(bool warp)
{
    unsigned me = current;

    (warp ? fibers[me].warp_barriers : fibers[me].block_barriers)++;
    while (!passed(me, warp)) to_scheduler();
}

void run_block()
{
    unsigned alive = threads;
    unsigned long idle = 0;

    for (unsigned i = 0; i < threads; i++) start_fiber(i);
    while (alive) {
        unsigned long before = 0, after = 0;

        for (unsigned i = 0; i < threads; i++) before += fibers[i].block_barriers + fibers[i].warp_barriers;
        for (unsigned i = 0; i < threads; i++) {
            if (!fibers[i].alive) continue;
            resume(i);
            if (!fibers[i].alive) alive--, idle = 0;
        }
        for (unsigned i = 0; i < threads; i++) after += fibers[i].block_barriers + fibers[i].warp_barriers;
        if (after != before) idle = 0;
        else if (alive && ++idle > 4) die("a barrier that some threads never reach");
    }
}

} /* namespace */

float *emulated_shared(void)
{
    return shared_memory.data();
}

void __syncthreads(void)
{
    barrier(false);
}

void __syncwarp(void)
{
    barrier(true);
}

namespace {

/* What the lane of that number in this one's warp hands over; all of them call. */
template <typename T> T shuffle(T *room, unsigned mask, T x, unsigned other)
{
    unsigned me = current;
    T y;

    if (mask != 0xffffffffu) die("a shuffle of part of a warp");
    if (me / 32 * 32 + 32 > threads) die("a shuffle in a warp that is not full");
    room[me] = x;
    barrier(true);
    if (!fibers[other].alive) die("a shuffle with a lane that has ended");
    y = room[other];
    barrier(true);
    return y;
}

} /* namespace */

float __shfl_xor_sync(unsigned mask, float x, int lane)
{
    return shuffle(shuffled, mask, x, current ^ (unsigned)lane);
}

unsigned __shfl_sync(unsigned mask, unsigned x, int lane)
{
    return shuffle(shuffled_words, mask, x, current / 32 * 32 + (unsigned)lane % 32);
}

void emulated_check_aligned(const void *p, size_t bytes)
{
    if ((uintptr_t)p % bytes) die("a misaligned wide load");
}

static void run_grid(const cudaLaunchConfig_t &c, void (*body)(void *), void *arg)
{
    emulated_pause(12);
    threads = c.blockDim.x;
    blockDim = c.blockDim;
    gridDim = c.gridDim;
    kernel_body = body;
    kernel_arg = arg;
    for (unsigned z = 0; z < gridDim.z; z++)
        for (unsigned y = 0; y < gridDim.y; y++)
            for (unsigned x = 0; x < gridDim.x; x++) {
                blockIdx = dim3(x, y, z);
                shared_memory.assign(c.dynamicSmemBytes / 4 + 4, NAN); /* nobody may count on zeros */
                run_block();
            }
}

cudaError_t emulated_run(const cudaLaunchConfig_t *c, void (*body)(void *), std::shared_ptr<void> arg)
{
    cudaLaunchConfig_t config = *c;

    if (c->blockDim.x > MOST || !c->blockDim.x || c->blockDim.y != 1 || c->blockDim.z != 1) return cudaErrorInvalidValue;
    if (!c->gridDim.x || !c->gridDim.y || !c->gridDim.z || c->gridDim.y > 65535 || c->gridDim.z > 65535) return cudaErrorInvalidValue;
    if (c->dynamicSmemBytes > 48 << 10) return cudaErrorInvalidValue;
    return emulated_queue(c->stream, [config, body, arg] { run_grid(config, body, arg.get()); });
}

/* ---- memory ---- */

namespace {

struct allocation {
    int fd;
    size_t bytes;
};
std::map<void *, allocation> allocations;

/* Bytes that all processes of a test hold, as a driver takes them: pages of 2 MiB, which allocations below 1 MiB share in
 * pieces of 512 bytes. Kept in a file that the test names (EMULATED_COUNT): bytes now, and the most there ever were. */
const size_t PAGE = 2 << 20, SHARED_BELOW = 1 << 20, PIECE = 512;
struct counts {
    uint64_t now, peak;
} *counts;
size_t small_bytes, large_bytes, counted;

size_t up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

void open_counts()
{
    const char *path = getenv("EMULATED_COUNT");
    int fd = path && !counts ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0) return;
    counts = static_cast<struct counts *>(mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    close(fd);
    if (counts == MAP_FAILED) abort();
}

void count(size_t bytes, bool taken)
{
    size_t *sum = bytes < SHARED_BELOW ? &small_bytes : &large_bytes, n = up(bytes, bytes < SHARED_BELOW ? PIECE : PAGE), now;
    uint64_t all, peak;

    *sum = taken ? *sum + n : *sum - n;
    now = large_bytes + up(small_bytes, PAGE);
    open_counts();
    if (counts) {
        all = __atomic_add_fetch(&counts->now, now - counted, __ATOMIC_RELAXED);
        peak = __atomic_load_n(&counts->peak, __ATOMIC_RELAXED);
        while (all > peak && !__atomic_compare_exchange_n(&counts->peak, &peak, all, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        }
    }
    counted = now;
}

struct memory_handle {
    int pid, fd;
    size_t bytes;
};

} /* namespace */

cudaError_t emulated_context(void)
{
    static cudaError_t made = cudaErrorUnknown;
    const char *mps = getenv("CUDA_MPS_PIPE_DIRECTORY"), *one = getenv("EMULATED_EXCLUSIVE");
    int fd;

    if (made == cudaSuccess) return made;
    if (mps && getenv("EMULATED_MPS_FAILS")) return cudaErrorUnknown;
    if (one && !mps && ((fd = open(one, O_RDWR | O_CLOEXEC)) < 0 || flock(fd, LOCK_EX | LOCK_NB)))
        return cudaErrorDevicesUnavailable;
    return made = cudaSuccess;
}

/* EMULATED_NO_MEMORY=N: the Nth allocation of a process, and all after it, are refused. */
static bool refused(void)
{
    static int n;
    const char *limit = getenv("EMULATED_NO_MEMORY");

    return limit && ++n >= atoi(limit);
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    if (refused()) return *p = NULL, cudaErrorMemoryAllocation;
    int fd = memfd_create("emulated-device", MFD_CLOEXEC);

    *p = NULL;
    if (fd < 0 || ftruncate(fd, (off_t)bytes)) return cudaErrorMemoryAllocation;
    *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*p == MAP_FAILED) return cudaErrorMemoryAllocation;
    allocations[*p] = allocation{fd, bytes};
    count(bytes, true);
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    auto a = allocations.find(p);

    if (!p) return emulated_context(); /* what makes a context */
    if (a == allocations.end()) return cudaErrorInvalidValue;
    munmap(p, a->second.bytes);
    close(a->second.fd);
    count(a->second.bytes, false);
    allocations.erase(a);
    return cudaSuccess;
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *h, void *p)
{
    auto a = allocations.find(p);
    memory_handle m;

    if (a == allocations.end()) return cudaErrorInvalidValue;
    m = memory_handle{(int)getpid(), a->second.fd, a->second.bytes};
    memset(h, 0, sizeof *h);
    memcpy(h, &m, sizeof m);
    return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void **p, cudaIpcMemHandle_t h, unsigned)
{
    memory_handle m;
    char path[64];
    int fd;

    memcpy(&m, &h, sizeof m);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", m.pid, m.fd);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return cudaErrorInvalidValue;
    *p = mmap(NULL, m.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return *p == MAP_FAILED ? cudaErrorInvalidValue : cudaSuccess;
}

cudaError_t cudaIpcCloseMemHandle(void *) { return cudaSuccess; }

/* Pinned memory, from which copies are made when their turn comes; of other memory they are taken at once. */
static std::map<uintptr_t, size_t> pinned;
static std::mutex pinned_mutex;
static size_t pinned_bytes;

enum how_pinned { NOT_PINNED, ALL_PINNED, ACROSS };

static how_pinned is_pinned(const void *p, size_t bytes)
{
    std::lock_guard<std::mutex> lock(pinned_mutex);
    const uintptr_t begin = (uintptr_t)p, end = begin + bytes;
    auto x = pinned.lower_bound(begin + 1), next = x;

    if (x != pinned.begin() && begin < (--x)->first + x->second) return end <= x->first + x->second ? ALL_PINNED : ACROSS;
    return next != pinned.end() && next->first < end ? ACROSS : NOT_PINNED;
}

static void tell_pinned(char what, size_t bytes)
{
    const char *file = getenv("EMULATED_PINNED");
    char line[48];
    int fd, n = snprintf(line, sizeof line, "%c %zu\n", what, bytes);

    if (!file || (fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC)) < 0) return;
    if (write(fd, line, (size_t)n) != n) abort();
    close(fd);
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned)
{
    *p = refused() ? NULL : malloc(bytes);
    if (!*p) return cudaErrorMemoryAllocation;
    std::lock_guard<std::mutex> lock(pinned_mutex);
    pinned[(uintptr_t)*p] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
    std::lock_guard<std::mutex> lock(pinned_mutex);
    pinned.erase((uintptr_t)p);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned)
{
    const char *most = getenv("EMULATED_PIN_MOST"), *ms = getenv("EMULATED_PIN_MS");

    if (is_pinned(p, bytes) != NOT_PINNED || (uintptr_t)p % 4096 || bytes % 4096) return cudaErrorInvalidValue;
    if (most && pinned_bytes + bytes > strtoull(most, NULL, 10)) return tell_pinned('-', bytes), cudaErrorMemoryAllocation;
    if (ms) usleep((useconds_t)atoi(ms) * 1000);
    std::lock_guard<std::mutex> lock(pinned_mutex);
    pinned[(uintptr_t)p] = bytes;
    pinned_bytes += bytes;
    tell_pinned('+', bytes);
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *p)
{
    std::lock_guard<std::mutex> lock(pinned_mutex);
    auto x = pinned.find((uintptr_t)p);

    if (x == pinned.end()) return cudaErrorInvalidValue;
    pinned_bytes -= x->second;
    pinned.erase(x);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s)
{
    return emulated_queue(s, [=] { memset(p, value, bytes); });
}

cudaError_t cudaMemset2DAsync(void *p, size_t pitch, int value, size_t width, size_t height, cudaStream_t s)
{
    return emulated_queue(s, [=] {
        for (size_t y = 0; y < height; y++) memset((char *)p + y * pitch, value, width);
    });
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s)
{
    const how_pinned how = kind == cudaMemcpyHostToDevice ? is_pinned(src, bytes) : NOT_PINNED;

    if (how == ACROSS) return cudaErrorInvalidValue; /* as the runtime has it of memory that is pinned in part */
    if (kind == cudaMemcpyHostToDevice && how == NOT_PINNED) {
        std::vector<char> taken((const char *)src, (const char *)src + bytes);

        return emulated_queue(s, [=] { emulated_copy(dst, taken.data(), bytes); });
    }
    if (kind == cudaMemcpyDeviceToDevice) return emulated_queue(s, [=] { memcpy(dst, src, bytes); });
    return emulated_queue(s, [=] { emulated_copy(dst, src, bytes); });
}

/* ---- devices ---- */

const char *cudaGetErrorName(cudaError_t e) { return e == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorEmulated"; }
const char *cudaGetErrorString(cudaError_t e) { return e == cudaErrorMemoryAllocation ? "out of memory" : "refused by the emulated device"; }
cudaError_t cudaGetLastError(void) { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *v) { return *v = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *v) { return *v = 13000, cudaSuccess; }
cudaError_t cudaSetDeviceFlags(unsigned) { return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "emulated device");
    p->totalGlobalMem = (size_t)8 << 30;
    p->major = 8;
    p->integrated = getenv("EMULATED_UNIFIED") != NULL;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr a, int)
{
    *value = 1;
    if (a == cudaDevAttrIpcEventSupport) *value = !getenv("EMULATED_NO_SHARING");
    if (a == cudaDevAttrComputeMode)
        *value = getenv("EMULATED_PROHIBITED")  ? cudaComputeModeProhibited
                 : getenv("EMULATED_EXCLUSIVE") ? cudaComputeModeExclusiveProcess
                                                : cudaComputeModeDefault;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *total = (size_t)8 << 30;
    *available = *total;
    for (const auto &a : allocations) *available -= a.second.bytes < *available ? a.second.bytes : *available;
    return cudaSuccess;
}
/* ---- cuBLAS ---- */

struct emulated_cublas {
    cudaStream_t stream;
};

const char *cublasGetStatusName(cublasStatus_t) { return "CUBLAS_STATUS_EMULATED"; }
const char *cublasGetStatusString(cublasStatus_t) { return "refused by the emulated cuBLAS"; }
cublasStatus_t cublasCreate(cublasHandle_t *h) { return *h = new emulated_cublas(), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasDestroy(cublasHandle_t h) { return delete h, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetStream(cublasHandle_t h, cudaStream_t s) { return h->stream = s, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *, size_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetPointerMode(cublasHandle_t, cublasPointerMode_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }

static float element(const void *p, cudaDataType type, size_t i)
{
    uint32_t bits;
    float x;

    if (type == CUDA_R_32F) return ((const float *)p)[i];
    bits = (uint32_t)((const uint16_t *)p)[i] << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void *alpha, const void *a,
                            cudaDataType a_type, int lda, const void *b, cudaDataType b_type, int ldb, const void *beta, void *c,
                            cudaDataType c_type, int ldc, cublasComputeType_t, cublasGemmAlgo_t)
{
    float al = *(const float *)alpha, be = *(const float *)beta;

    if (a_type != b_type || c_type != CUDA_R_32F || (a_type != CUDA_R_32F && a_type != CUDA_R_16BF)) return CUBLAS_STATUS_INVALID_VALUE;
    if (m < 0 || n < 0 || k < 0 || lda < (ta == CUBLAS_OP_N ? m : k) || ldb < (tb == CUBLAS_OP_N ? k : n) || ldc < m)
        return CUBLAS_STATUS_INVALID_VALUE;
    /* It chooses its order of summation by the shapes. */
    const int piece = 8 + (m * 7 + n * 3) % 29;
    return emulated_queue(h->stream, [=] {
        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                float *out = (float *)c + (size_t)j * ldc + i, sum = 0;

                for (int l0 = 0; l0 < k; l0 += piece) {
                    float part = 0;

                    for (int l = l0; l < k && l < l0 + piece; l++)
                        part += element(a, a_type, ta == CUBLAS_OP_N ? (size_t)l * lda + i : (size_t)i * lda + l) *
                                element(b, b_type, tb == CUBLAS_OP_N ? (size_t)j * ldb + l : (size_t)l * ldb + j);
                    sum += part;
                }
                *out = be != 0 ? al * sum + be * *out : al * sum;
            }
    }) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasSgemm(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const float *alpha, const float *a,
                           int lda, const float *b, int ldb, const float *beta, float *c, int ldc)
{
    return cublasGemmEx(h, ta, tb, m, n, k, alpha, a, CUDA_R_32F, lda, b, CUDA_R_32F, ldb, beta, c, CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F,
                        CUBLAS_GEMM_DEFAULT);
}

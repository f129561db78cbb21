/* Enough of CUDA to run this program's CUDA code on a processor, for machines without a GPU: found before the toolkit's
 * header of the same name when the backend is compiled for tests. Kernels run thread by thread as fibers of one process,
 * so that every index, barrier and shuffle is executed as written. Device memory and events are memory files, so that
 * handles open in another process; streams: streams.h. What it cannot show: races within a kernel, real timing, rounding
 * of the device's own exp and its like. See emulated.cpp.
 *
 *   EMULATED_ASYNC=SEED     streams run in threads of their own, late and in pieces
 *   EMULATED_WITHOUT=P-CALL process P (compute, transfer) leaves out a call of the events: record, wait, query; own-record
 *                           and own-wait: of events that no other process has; sync: the wait for a stream
 *   EMULATED_LANE=L         of the shared events, it leaves out those of lane L only, where lanes have rings of 16 entries
 *   EMULATED_LOST=N         the device is lost after N things queued by a process
 *   EMULATED_NO_MEMORY=N    the Nth allocation of a process is refused
 *   EMULATED_PIN_MOST=N     so many bytes of a process can be pinned
 *   EMULATED_PIN_MS=N       pinning takes so long [0]
 *   EMULATED_PINNED=FILE    gets a line "+ BYTES" for each part that is pinned, "- BYTES" for each that is refused
 *   EMULATED_COUNT=FILE     counts what is asked for (emulated.cpp)
 *   EMULATED_DEVICES=N      so many devices [1]; a call by a thread that has chosen another one than its stream's fails
 *   EMULATED_NO_SHARING=1   a driver that shares no events between processes
 *   EMULATED_PROHIBITED=1   compute mode PROHIBITED
 *   EMULATED_EXCLUSIVE=FILE compute mode EXCLUSIVE_PROCESS: who holds the file's lock has the device, unless an MPS daemon runs
 *   EMULATED_MPS_FAILS=1    no context can be made by clients of an MPS daemon
 *   EMULATED_END_MS=N       a context takes so long to end [0]
 *   EMULATED_ENDED=FILE     a byte for each process that ended in order
 *
 * The part for C is the runtime's interface; the part for C++ adds the language. */
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorDevicesUnavailable = 46,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorNotReady = 600,
    cudaErrorNotSupported = 801,
    cudaErrorUnknown = 999
} cudaError_t;

typedef struct emulated_stream *cudaStream_t;
typedef struct emulated_event *cudaEvent_t;
typedef struct {
    char reserved[64];
} cudaIpcMemHandle_t;
typedef struct {
    char reserved[64];
} cudaIpcEventHandle_t;
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaDeviceAttr {
    cudaDevAttrComputeMode = 20,
    cudaDevAttrHostRegisterReadOnlySupported = 113,
    cudaDevAttrIpcEventSupport = 125
};
enum cudaComputeMode {
    cudaComputeModeDefault = 0,
    cudaComputeModeExclusive = 1,
    cudaComputeModeProhibited = 2,
    cudaComputeModeExclusiveProcess = 3
};
enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
typedef enum cudaDataType_t cudaDataType;

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor;
    int integrated;
};
struct cudaFuncAttributes {
    int maxThreadsPerBlock;
};

#define cudaDeviceScheduleBlockingSync 4u
#define cudaStreamNonBlocking          1u
#define cudaEventBlockingSync          1u
#define cudaEventDisableTiming         2u
#define cudaEventInterprocess          4u
#define cudaHostAllocDefault           0u
#define cudaHostRegisterPortable       1u
#define cudaHostRegisterReadOnly       8u
#define cudaIpcMemLazyEnablePeerAccess 1u

#ifdef __cplusplus
extern "C" {
#endif

const char *cudaGetErrorName(cudaError_t e);
const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError(void);
cudaError_t cudaDriverGetVersion(int *v);
cudaError_t cudaRuntimeGetVersion(int *v);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int n);
cudaError_t cudaSetDeviceFlags(unsigned flags);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int n);
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr a, int n);
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags);
cudaError_t cudaHostUnregister(void *p);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s);
cudaError_t cudaMemset2DAsync(void *p, size_t pitch, int value, size_t width, size_t height, cudaStream_t s);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *h, void *p);
cudaError_t cudaIpcOpenMemHandle(void **p, cudaIpcMemHandle_t h, unsigned flags);
cudaError_t cudaIpcCloseMemHandle(void *p);
cudaError_t cudaIpcGetEventHandle(cudaIpcEventHandle_t *h, cudaEvent_t e);
cudaError_t cudaIpcOpenEventHandle(cudaEvent_t *e, cudaIpcEventHandle_t h);

#ifdef __cplusplus
}

/* ---- the language ---- */

#define __global__
#define __device__
#define __host__
#define __shared__      static /* one block runs at a time */
#define __forceinline__ inline
#define __launch_bounds__(...)
#define DYNAMIC_SHARED(name) float *name = emulated_shared()

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;
float *emulated_shared(void);
void __syncthreads(void);
void __syncwarp(void);
float __shfl_xor_sync(unsigned mask, float x, int lane);
unsigned __shfl_sync(unsigned mask, unsigned x, int lane);
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}

/* Checks the alignment that the device would insist on. */
void emulated_check_aligned(const void *p, size_t bytes);
template <typename T> static inline T __ldg(const T *p)
{
    emulated_check_aligned(p, sizeof(T));
    return *p;
}

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

#include <memory>
#include <tuple>

/* Queues body, to be run once for every thread of the grid. */
cudaError_t emulated_run(const cudaLaunchConfig_t *c, void (*body)(void *arg), std::shared_ptr<void> arg);

template <typename... Params, typename... Args>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Params...),
                                             Args &&...args)
{
    struct call {
        void (*kernel)(Params...);
        std::tuple<Params...> args;
        static void run(void *arg)
        {
            call *c = static_cast<call *>(arg);
            std::apply(c->kernel, c->args);
        }
    };

    return emulated_run(config, call::run, std::make_shared<call>(call{kernel, std::tuple<Params...>(args...)}));
}

static inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *)
{
    a->maxThreadsPerBlock = 1024;
    return cudaSuccess;
}
#endif

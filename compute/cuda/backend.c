#include "compute/cuda/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/control.h"

#define CUDA_OLDEST 75 /* the first compute capability that is built for */
#define MIB(x)      ((unsigned long long)((x) >> 20))

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- failures: those of a device that was working are CONTROL_DEVICE_LOST, which a new process and context may mend ---- */

void backend_fail(struct ops *o, int code, const char *what)
{
    if (!o->failed.code) error_set(&o->failed, code, "cuda: %s", what);
}

bool backend_check(struct ops *o, cudaError_t rc, const char *what)
{
    if (rc == cudaSuccess) return true;
    if (!o->failed.code)
        error_set(&o->failed, rc == cudaErrorMemoryAllocation ? ENOMEM : CONTROL_DEVICE_LOST, "cuda: %s: %s (%s)", what,
                  cudaGetErrorString(rc), cudaGetErrorName(rc));
    return false;
}

bool backend_check_cublas(struct ops *o, cublasStatus_t rc, const char *what)
{
    if (rc == CUBLAS_STATUS_SUCCESS) return true;
    if (!o->failed.code)
        error_set(&o->failed, rc == CUBLAS_STATUS_ALLOC_FAILED ? ENOMEM : CONTROL_DEVICE_LOST, "cuda: %s: %s (%s)",
                  what, cublasGetStatusString(rc), cublasGetStatusName(rc));
    return false;
}

void backend_pace(struct ops *o, uint32_t kernels)
{
    o->queued += kernels;
    if (o->queued < CUDA_PACE) return;
    o->queued = 0;
    if (!backend_check(o, cudaEventRecord(o->paced[o->segment & 1], o->stream), "marking queued work")) return;
    o->segment++;
    backend_check(o, cudaEventSynchronize(o->paced[o->segment & 1]), "kernels"); /* the segment before this one */
}

/* ---- scratch ---- */

void backend_scratch_begin(struct ops *o)
{
    o->scratch_used = 0;
}

void *backend_scratch(struct ops *o, uint64_t bytes)
{
    uint64_t at = o->scratch_used, end;

    bytes = (bytes + 255) & ~UINT64_C(255);
    end = at + bytes;
    if (end < at || end > o->scratch_bytes) {
        if (!o->failed.code)
            error_set(&o->failed, ENOMEM, "cuda: an operation wants %llu bytes of scratch, there are %llu",
                      (unsigned long long)end, (unsigned long long)o->scratch_bytes);
        return NULL;
    }
    o->scratch_used = end;
    return o->scratch + at;
}

uint64_t backend_at_once(const struct ops *o, uint64_t each, uint32_t n)
{
    uint64_t most = o->scratch_bytes / each < 65535 ? o->scratch_bytes / each : 65535;

    return most > n ? n : most ? most : 1;
}

/* ---- opening ---- */

/* The oldest driver that runs programs of a CUDA runtime (CUDA toolkit release notes, table 2: minor version compatibility). */
static const char *oldest_driver(int runtime)
{
    if (runtime >= 14000) return "of the same CUDA version";
    return runtime >= 13000 ? "580.65.06 or newer" : runtime >= 12000 ? "525.60.13 or newer" : "450.80.02 or newer";
}

static int no_device(cudaError_t rc, struct error *e)
{
    int driver = 0, runtime = 0;

    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (!driver)
        return error_set(e, ENODEV, "cuda: no NVIDIA driver is loaded on this machine (%s); use --backend cpu",
                         cudaGetErrorString(rc));
    if (rc == cudaErrorInsufficientDriver)
        return error_set(
            e, ENODEV,
            "cuda: the NVIDIA driver serves CUDA up to %d.%d and this build needs %d.%d: install driver %s, "
            "or use --backend cpu",
            driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, oldest_driver(runtime));
    return error_set(e, ENODEV, "cuda: no usable device: %s (%s); see nvidia-smi, or use --backend cpu",
                     cudaGetErrorString(rc), cudaGetErrorName(rc));
}

static int cannot_use(uint32_t device, cudaError_t rc, struct error *e)
{
    if (rc == cudaErrorDevicesUnavailable)
        return error_set(e, EBUSY,
                         "cuda: device %u is taken by another process, or it takes only one (compute mode "
                         "EXCLUSIVE_PROCESS), and sluice has two: sudo nvidia-smi -i %u -c DEFAULT, or --mps on",
                         device, device);
    return error_set(e, rc == cudaErrorMemoryAllocation ? ENOMEM : ENODEV, "cuda: device %u cannot be used: %s (%s)",
                     device, cudaGetErrorString(rc), cudaGetErrorName(rc));
}

/* Device memory and events go from one process to another: not under WSL, nor on some boards whose memory is the
 * processor's. */
static int may_share(const struct ops *o, struct error *e)
{
    int yes = 0;
    cudaError_t rc = cudaDeviceGetAttribute(&yes, cudaDevAttrIpcEventSupport, (int)o->device);

    if (rc == cudaSuccess && !yes)
        return error_set(e, ENOTSUP,
                         "cuda: the driver of %s shares no events between processes (Windows' subsystem for Linux and "
                         "Tegra do not), which the stages need; use --backend cpu",
                         o->description);
    return 0;
}

/* What an administrator has set (nvidia-smi -c). A device for one process serves several as clients of one MPS daemon. */
static int may_use(const struct ops *o, struct error *e)
{
    int mode = cudaComputeModeDefault;
    cudaError_t rc = cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, (int)o->device);

    if (rc == cudaSuccess && mode == cudaComputeModeProhibited)
        return error_set(e, EACCES,
                         "cuda: device %u is set to be used by nobody (compute mode PROHIBITED): sudo nvidia-smi -i %u "
                         "-c DEFAULT, or use --backend cpu",
                         o->device, o->device);
    return 0;
}

static int choose_device(struct ops *o, struct error *e)
{
    struct cudaDeviceProp d;
    int count = 0;
    cudaError_t rc = cudaGetDeviceCount(&count);

    if (rc != cudaSuccess || !count) return no_device(rc != cudaSuccess ? rc : cudaErrorNoDevice, e);
    if (o->device >= (uint32_t)count)
        return error_set(e, ENODEV, "cuda: there is no device %u, this machine has %d; see --device", o->device, count);
    if (may_use(o, e)) return -e->code;
    /* Sleeping waits: the processor's cores belong to the reader. */
    if ((rc = cudaSetDevice((int)o->device)) != cudaSuccess ||
        (rc = cudaSetDeviceFlags(cudaDeviceScheduleBlockingSync)) != cudaSuccess ||
        (rc = cudaGetDeviceProperties(&d, (int)o->device)) != cudaSuccess)
        return cannot_use(o->device, rc, e);
    o->capability = d.major * 10 + d.minor;
    snprintf(o->description, sizeof o->description, "%s, sm_%d, %llu MiB", d.name, o->capability,
             MIB((uint64_t)d.totalGlobalMem));
    if ((rc = backend_probe()) == cudaErrorDevicesUnavailable) return cannot_use(o->device, rc, e);
    if (rc != cudaSuccess)
        return error_set(e, ENOTSUP, "cuda: %s (sm_%d) cannot run this build's kernels: %s; %s", d.name, o->capability,
                         cudaGetErrorString(rc),
                         o->capability < CUDA_OLDEST ? "cards before sm_75 are not supported: use --backend cpu"
                                                     : "build on this machine, or use --backend cpu");
    return may_share(o, e);
}

int ops_device_facts(struct device_facts *f, uint32_t device, struct error *e)
{
    struct ops o = {.device = device};
    struct cudaDeviceProp d;
    size_t available = 0, total = 0;
    int count = 0, rc = choose_device(&o, e);
    cudaError_t error;

    if (rc) return rc;
    if ((error = cudaGetDeviceCount(&count)) != cudaSuccess ||
        (error = cudaGetDeviceProperties(&d, (int)device)) != cudaSuccess ||
        (error = cudaMemGetInfo(&available, &total)) != cudaSuccess)
        return cannot_use(device, error, e);
    *f = (struct device_facts){.device = device,
                               .devices = (uint32_t)count,
                               .capability = (uint32_t)o.capability,
                               .unified = d.integrated,
                               .total_bytes = total,
                               .free_bytes = available};
    snprintf(f->name, sizeof f->name, "%.95s", d.name);
    return 0;
}

static int device_alloc(void **out, uint64_t bytes, const char *what, const char *remedy, struct error *e)
{
    size_t available = 0, total = 0;
    cudaError_t rc = cudaMalloc(out, bytes ? bytes : 256);

    if (rc == cudaSuccess) return 0;
    *out = NULL;
    cudaGetLastError(); /* a refused allocation is no lasting error */
    cudaMemGetInfo(&available, &total);
    return error_set(e, rc == cudaErrorMemoryAllocation ? ENOMEM : EIO,
                     "cuda: %llu MiB of device memory for %s: %s; %llu MiB of %llu MiB are free: %s",
                     MIB(bytes + (1 << 20) - 1), what, cudaGetErrorString(rc), MIB((uint64_t)available),
                     MIB((uint64_t)total), remedy);
}

/* One small product of each kind that there will be: the libraries load a kernel when it is first used, and what that takes
 * is to be taken now. */
static bool first_products(struct ops *o)
{
    static const struct {
        cudaDataType type;
        cublasOperation_t turned;
    } kinds[] = {
        {CUDA_R_32F, CUBLAS_OP_T}, {CUDA_R_32F, CUBLAS_OP_N}, {CUDA_R_16BF, CUBLAS_OP_T}, {CUDA_R_16BF, CUBLAS_OP_N}};
    const size_t most = o->capability >= 80 ? 4 : 2; /* older ones have no bf16 units */
    float *x = (float *)(void *)o->scratch, one = 1, zero = 0;

    if (!backend_check(o, cudaMemsetAsync(x, 0, 3 * 256 * sizeof *x, o->stream), "cudaMemsetAsync")) return false;
    for (size_t i = 0; i < most; i++)
        if (!backend_check_cublas(o,
                                  cublasGemmEx(o->cublas, kinds[i].turned, CUBLAS_OP_N, 16, 16, 16, &one, x,
                                               kinds[i].type, 16, x + 256, kinds[i].type, 16, &zero, x + 512,
                                               CUDA_R_32F, 16, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                                  "the first products of cuBLAS"))
            return false;
    return true;
}

/* cuBLAS gets its workspace from us. Float32 products never use TF32: the default mode keeps to the type's own precision. */
static int open_cublas(struct ops *o, struct error *e)
{
    if (!backend_check_cublas(o, cublasCreate(&o->cublas), "cublasCreate") ||
        !backend_check_cublas(o, cublasSetStream(o->cublas, o->stream), "cublasSetStream") ||
        !backend_check_cublas(o, cublasSetWorkspace(o->cublas, o->workspace, CUDA_WORKSPACE), "cublasSetWorkspace") ||
        !backend_check_cublas(o, cublasSetPointerMode(o->cublas, CUBLAS_POINTER_MODE_HOST), "cublasSetPointerMode") ||
        !backend_check_cublas(o, cublasSetMathMode(o->cublas, CUBLAS_DEFAULT_MATH), "cublasSetMathMode") ||
        !first_products(o))
        return error_set(e, o->failed.code, "%s", o->failed.text);
    return ops_sync(o, e);
}

static int open_staging(struct ops *o, struct error *e)
{
    if (backend_check(o, cudaHostAlloc((void **)&o->staging, CUDA_STAGING + 64, cudaHostAllocDefault),
                      "pinned memory for uploads") &&
        backend_check(o, cudaEventCreateWithFlags(&o->staged[0], cudaEventDisableTiming), "cudaEventCreate") &&
        backend_check(o, cudaEventCreateWithFlags(&o->staged[1], cudaEventDisableTiming), "cudaEventCreate") &&
        backend_check(o, cudaEventCreateWithFlags(&o->paced[0], cudaEventDisableTiming | cudaEventBlockingSync),
                      "cudaEventCreate") &&
        backend_check(o, cudaEventCreateWithFlags(&o->paced[1], cudaEventDisableTiming | cudaEventBlockingSync),
                      "cudaEventCreate")) {
        o->damaged = (uint32_t *)(o->staging + CUDA_STAGING);
        *o->damaged = 0;
        return 0;
    }
    return error_set(e, o->failed.code, "%s", o->failed.text);
}

int ops_open(struct ops **out, const struct ops_options *options, struct error *e)
{
    struct ops *o = calloc(1, sizeof *o);
    cudaError_t made;
    int rc;

    *out = NULL;
    if (!o) return error_set(e, ENOMEM, "cuda: out of memory");
    o->device = options->device;
    o->scratch_bytes = most(options->scratch_bytes, 65536);
    if ((rc = choose_device(o, e))) goto fail;
    if ((made = cudaStreamCreateWithFlags(&o->stream, cudaStreamNonBlocking)) != cudaSuccess) {
        rc = cannot_use(o->device, made, e);
        goto fail;
    }
    if ((rc = device_alloc((void **)&o->scratch, o->scratch_bytes, "scratch", "lower --device-memory or --context", e)))
        goto fail;
    if ((rc = device_alloc(&o->workspace, CUDA_WORKSPACE, "the workspace of cuBLAS", "lower --device-memory", e)))
        goto fail;
    if ((rc = open_staging(o, e)) || (rc = open_cublas(o, e))) goto fail;
    *out = o;
    return 0;
fail:
    ops_close(o);
    return rc;
}

void ops_close(struct ops *o)
{
    if (!o) return;
    if (o->stream) cudaStreamSynchronize(o->stream);
    for (uint32_t i = 0; i < o->entries; i++) {
        if (o->ready && o->ready[i]) cudaEventDestroy(o->ready[i]);
        if (o->freed && o->freed[i]) cudaEventDestroy(o->freed[i]);
    }
    free(o->ready);
    free(o->freed);
    if (o->cublas) cublasDestroy(o->cublas);
    for (int i = 0; i < 2; i++) {
        if (o->staged[i]) cudaEventDestroy(o->staged[i]);
        if (o->paced[i]) cudaEventDestroy(o->paced[i]);
    }
    cudaFreeHost(o->staging);
    cudaFree(o->workspace);
    cudaFree(o->scratch);
    if (o->stream) cudaStreamDestroy(o->stream);
    free(o);
}

const char *ops_describe(const struct ops *o)
{
    return o->description;
}

/* ---- memory ---- */

void *ops_alloc(struct ops *o, uint64_t bytes, struct error *e)
{
    void *p = NULL;
    cudaError_t rc;

    if (device_alloc(&p, bytes, "weights, cache and activations",
                     "lower --device-memory, --context or --transfer-depth", e))
        return NULL;
    rc = cudaMemsetAsync(p, 0, bytes, o->stream);
    if (rc != cudaSuccess || (rc = cudaStreamSynchronize(o->stream)) != cudaSuccess) {
        cudaFree(p);
        error_set(e, EIO, "cuda: clearing %llu MiB: %s (%s)", MIB(bytes), cudaGetErrorString(rc), cudaGetErrorName(rc));
        return NULL;
    }
    o->allocated += bytes;
    return p;
}

void ops_free(struct ops *o, void *p, uint64_t bytes)
{
    if (!p) return;
    o->allocated -= bytes;
    backend_check(o, cudaStreamSynchronize(o->stream), "waiting before cudaFree");
    backend_check(o, cudaFree(p), "cudaFree");
}

/* Room for bytes in the staging area: the half that is left is marked, the one that is entered must have been copied. */
static void *stage(struct ops *o, uint64_t bytes)
{
    const uint64_t half = CUDA_STAGING / 2;
    void *p;

    if (o->staging_used + bytes > half) {
        if (!backend_check(o, cudaEventRecord(o->staged[o->staging_half], o->stream), "marking the staging area"))
            return NULL;
        o->staging_half ^= 1;
        o->staging_used = 0;
        if (!backend_check(o, cudaEventSynchronize(o->staged[o->staging_half]), "waiting for the staging area"))
            return NULL;
    }
    p = o->staging + o->staging_half * half + o->staging_used;
    o->staging_used += (bytes + 63) & ~UINT64_C(63);
    return p;
}

void ops_upload(struct ops *o, void *dst, const void *host_src, uint64_t bytes)
{
    /* Both ways the bytes are taken before this returns, so the caller may change them at once. A copy from pageable
     * memory may wait for all work queued before it; one from the staging area does not. */
    if (!bytes) return;
    if (bytes <= CUDA_STAGING / 4) {
        void *staged = stage(o, bytes);

        if (!staged) return;
        host_src = memcpy(staged, host_src, bytes);
    }
    backend_check(o, cudaMemcpyAsync(dst, host_src, bytes, cudaMemcpyHostToDevice, o->stream), "upload");
}

void ops_download(struct ops *o, void *host_dst, const void *src, uint64_t bytes)
{
    if (!bytes) return;
    if (!backend_check(o, cudaMemcpyAsync(host_dst, src, bytes, cudaMemcpyDeviceToHost, o->stream), "download") ||
        !backend_check(o, cudaStreamSynchronize(o->stream), "kernels before a download"))
        memset(host_dst, 0, bytes); /* never what happened to lie there */
}

int ops_sync(struct ops *o, struct error *e)
{
    backend_check(o, cudaStreamSynchronize(o->stream), "kernels");
    if (*(volatile uint32_t *)o->damaged)
        backend_fail(o, EBADMSG,
                     "units of packed weights do not unpack: they are damaged, `sluice verify` tells of the file");
    if (!o->failed.code) return 0;
    error_set(e, o->failed.code, "%s", o->failed.text);
    return -o->failed.code; /* stays: what was computed since cannot be trusted */
}

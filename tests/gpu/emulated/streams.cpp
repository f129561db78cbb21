/* See streams.h. */
#include "streams.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <errno.h>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <string.h>
#include <sys/mman.h>
#include <thread>
#include <time.h>
#include <unistd.h>

namespace {

const size_t CELLS = 1 << 18;
const uint64_t LANE_ENTRIES = 16; /* the least that a lane's ring has */

struct cell {
    std::atomic<uint64_t> asked, done;
};
struct handle {
    int pid, fd;
    uint64_t index, number;
};

thread_local int chosen;
std::atomic<long> queued;

int number(const char *name, int otherwise)
{
    const char *n = getenv(name);

    return n ? atoi(n) : otherwise;
}

/* A context's end, which a process that is killed does not come to. */
struct process {
    bool used;
    ~process()
    {
        const char *file = getenv("EMULATED_ENDED");
        int fd;

        if (!used) return;
        usleep((useconds_t)number("EMULATED_END_MS", 0) * 1000);
        if (!file || (fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0) return;
        if (write(fd, "x", 1) != 1) abort();
        close(fd);
    }
} process;

/* Each thread has its own numbers, which follow from the seed and the order of streams. */
unsigned chance(void)
{
    static std::atomic<unsigned> order;
    static thread_local uint64_t x = (uint64_t)number("EMULATED_ASYNC", 0) * 1000003u + ++order * 7919u;

    x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(x >> 33);
}

void nap(unsigned us)
{
    struct timespec t = {0, (long)us * 1000};

    while (nanosleep(&t, &t) && errno == EINTR) {
    }
}

struct cell *own_cells, *other_cells; /* this process's events, and those of the one that it shares them with */
int own_fd = -1;

/* A device that was lost stays lost, for both processes that share its events: the last cell says so. */
bool lost(void)
{
    static const int after = number("EMULATED_LOST", 0);
    struct cell *const side[] = {own_cells, other_cells};
    bool yes = after && queued.load() > after;

    if (!after) return false;
    for (struct cell *c : side) yes = yes || (c && c[CELLS - 1].asked);
    for (struct cell *c : side)
        if (yes && c) c[CELLS - 1].asked = 1;
    return yes;
}

bool make_cells(void)
{
    void *p;

    if (own_cells) return true;
    own_fd = memfd_create("emulated-events", MFD_CLOEXEC);
    if (own_fd < 0 || ftruncate(own_fd, (off_t)(CELLS * sizeof(cell)))) return false;
    p = mmap(NULL, CELLS * sizeof(cell), PROT_READ | PROT_WRITE, MAP_SHARED, own_fd, 0);
    own_cells = p == MAP_FAILED ? NULL : (struct cell *)p;
    return own_cells != NULL;
}

} /* namespace */

struct emulated_stream {
    int device;
    bool ending;
    size_t left; /* queued, and the one that runs */
    std::deque<std::function<void()>> work;
    std::mutex mutex;
    std::condition_variable more, idle;
    std::thread thread;
};

struct emulated_event {
    struct cell *cell;
    uint64_t index;
    bool shared;
    uint64_t number; /* among the shared ones of the process that made it: entries of the device rings */
};

bool emulated_async(void)
{
    static const bool yes = getenv("EMULATED_ASYNC") != NULL;

    return yes;
}

bool emulated_without(const char *word)
{
    const char *w = getenv("EMULATED_WITHOUT");
    size_t n;

    if (!w) return false;
    n = strcspn(w, "-");
    if (!w[n]) return false;
    return strstr(program_invocation_short_name, std::string(w, n).c_str()) && !strcmp(w + n + 1, word);
}

/* The same of an event that another process has too, where only those of one lane are meant (EMULATED_LANE). */
static bool without_shared(const char *word, const emulated_event *e)
{
    const char *lane = getenv("EMULATED_LANE");

    return emulated_without(word) && (!lane || (uint64_t)atoi(lane) == e->number / LANE_ENTRIES);
}

static void run_stream(emulated_stream *s)
{
    std::unique_lock<std::mutex> lock(s->mutex);

    for (;;) {
        std::function<void()> work;

        s->more.wait(lock, [s] { return s->ending || !s->work.empty(); });
        if (s->work.empty()) return;
        work = std::move(s->work.front());
        s->work.pop_front();
        lock.unlock();
        if (!lost()) work();
        lock.lock();
        if (!--s->left) s->idle.notify_all();
    }
}

cudaError_t emulated_queue(cudaStream_t s, std::function<void()> work)
{
    if (!s || s->device != chosen) return cudaErrorInvalidDevice;
    queued++;
    if (lost()) return cudaErrorUnknown;
    if (!emulated_async()) return work(), cudaSuccess;
    std::lock_guard<std::mutex> lock(s->mutex);
    s->work.push_back(std::move(work));
    s->left++;
    s->more.notify_one();
    return cudaSuccess;
}

void emulated_pause(unsigned one_in)
{
    if (emulated_async() && !(chance() % one_in)) nap(20 + chance() % 400);
}

void emulated_copy(void *dst, const void *src, size_t bytes)
{
    size_t piece;

    if (emulated_async()) {
        memset(dst, 0xff, bytes);
        nap(20 + chance() % 300);
    }
    for (size_t at = 0; at < bytes; at += piece) {
        piece = emulated_async() ? bytes / 4 + 1 : bytes;
        if (piece > bytes - at) piece = bytes - at;
        memcpy((char *)dst + at, (const char *)src + at, piece);
        emulated_pause(3);
    }
}

/* ---- the runtime's calls ---- */

cudaError_t cudaGetDeviceCount(int *n) { return *n = number("EMULATED_DEVICES", 1), cudaSuccess; }
cudaError_t cudaSetDevice(int n)
{
    if (n < 0 || n >= number("EMULATED_DEVICES", 1)) return cudaErrorInvalidDevice;
    chosen = n;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    cudaError_t rc = emulated_context();

    if (rc != cudaSuccess) return *s = NULL, rc;
    *s = new emulated_stream();
    (*s)->device = chosen;
    process.used = true;
    if (emulated_async()) (*s)->thread = std::thread(run_stream, *s);
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int) { return cudaStreamCreateWithFlags(s, flags); }

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    if (emulated_async()) {
        {
            std::lock_guard<std::mutex> lock(s->mutex);
            s->ending = true;
            s->more.notify_one();
        }
        s->thread.join();
    }
    delete s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (s->device != chosen) return cudaErrorInvalidDevice;
    if (emulated_without("sync")) return cudaSuccess;
    std::unique_lock<std::mutex> lock(s->mutex);
    s->idle.wait(lock, [s] { return !s->left; });
    return lost() ? cudaErrorUnknown : cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    static size_t next, shared;
    const bool is_shared = flags & cudaEventInterprocess;

    if (!make_cells() || next == CELLS - 1) return cudaErrorMemoryAllocation;
    *e = new emulated_event{own_cells + next, next, is_shared, is_shared ? shared++ : 0};
    next++;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    delete e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    struct cell *c = e->cell;
    uint64_t n;

    if (e->shared ? without_shared("record", e) : emulated_without("own-record")) return cudaSuccess;
    n = ++c->asked;
    return emulated_queue(s, [c, n] { c->done = n; });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    struct cell *c = e->cell;
    uint64_t n = c->asked;

    if (without_shared("wait", e)) return cudaSuccess;
    return emulated_queue(s, [c, n] {
        while (c->done < n && !lost()) nap(10);
    });
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    if (lost()) return cudaErrorUnknown;
    return e->cell->done < e->cell->asked && !without_shared("query", e) ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    uint64_t n = e->cell->asked;

    while (e->cell->done < n && !lost() && !emulated_without("own-wait")) nap(10);
    return lost() ? cudaErrorUnknown : cudaSuccess;
}

cudaError_t cudaIpcGetEventHandle(cudaIpcEventHandle_t *h, cudaEvent_t e)
{
    handle x = {(int)getpid(), own_fd, e->index, e->number};

    if (!e->shared) return cudaErrorInvalidValue;
    memset(h, 0, sizeof *h);
    memcpy(h, &x, sizeof x);
    return cudaSuccess;
}

cudaError_t cudaIpcOpenEventHandle(cudaEvent_t *e, cudaIpcEventHandle_t h)
{
    static std::map<int, struct cell *> mapped;
    handle x;
    char path[64];
    void *p;
    int fd;

    memcpy(&x, &h, sizeof x);
    if (x.index >= CELLS - 1) return cudaErrorInvalidValue;
    if (!mapped.count(x.pid)) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", x.pid, x.fd);
        if ((fd = open(path, O_RDWR | O_CLOEXEC)) < 0) return cudaErrorInvalidValue;
        p = mmap(NULL, CELLS * sizeof(cell), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (p == MAP_FAILED) return cudaErrorInvalidValue;
        other_cells = mapped[x.pid] = (struct cell *)p;
    }
    *e = new emulated_event{mapped[x.pid] + x.index, x.index, true, x.number};
    return cudaSuccess;
}

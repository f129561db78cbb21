#include "proto/base/pagecache.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/page.h"

#define PAGE_LEAST    4096u
#define SAMPLES       32u
#define SAMPLE_BYTES  (64u << 10)
#define SYS_CACHESTAT 451 /* Linux 6.5; the number is the same on every architecture */

struct range {
    uint64_t offset, bytes;
};
struct counts {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

static int64_t pages_by_cachestat(int fd, struct range r)
{
    struct counts c = {0};

    return syscall(SYS_CACHESTAT, fd, &r, &c, 0) ? -1 : (int64_t)c.cached;
}

/* The pages that a range lies in, whole. */
static struct range whole_pages(struct range r)
{
    const uint64_t skip = r.offset % page_bytes();

    return (struct range){.offset = r.offset - skip, .bytes = page_up(skip + r.bytes)};
}

static int64_t pages_by_mincore(int fd, struct range r)
{
    unsigned char in[SAMPLE_BYTES / PAGE_LEAST + 2];
    int64_t n = 0;
    void *p;

    r = whole_pages(r);
    p = mmap(NULL, r.bytes, PROT_READ, MAP_SHARED, fd, (off_t)r.offset);
    if (p == MAP_FAILED) return -1;
    if (mincore(p, r.bytes, in)) n = -1;
    for (uint64_t i = 0; n >= 0 && i < r.bytes / page_bytes(); i++) n += in[i] & 1;
    munmap(p, r.bytes);
    return n;
}

static int64_t pages_cached(int fd, struct range r)
{
    int64_t n = pages_by_cachestat(fd, r);

    return n >= 0 ? n : pages_by_mincore(fd, r);
}

bool pagecache_holds_range(int fd, uint64_t offset, uint64_t bytes)
{
    struct range r = {offset, bytes};
    int64_t n = pages_by_cachestat(fd, r);

    if (n < 0) {
        if (r.bytes > SAMPLE_BYTES) r.bytes = SAMPLE_BYTES;
        n = pages_by_mincore(fd, r);
    }
    return n >= 0 && (uint64_t)n >= whole_pages(r).bytes / page_bytes();
}

bool pagecache_holds(int fd, uint64_t bytes)
{
    uint64_t step = bytes > SAMPLES * SAMPLE_BYTES ? bytes / SAMPLES / page_bytes() * page_bytes() : SAMPLE_BYTES;
    uint64_t seen = 0, held = 0;

    for (uint64_t at = 0; at < bytes; at += step) {
        struct range r = {.offset = at, .bytes = bytes - at < SAMPLE_BYTES ? bytes - at : SAMPLE_BYTES};
        int64_t n = pages_cached(fd, r);

        if (n < 0) return false;
        seen += whole_pages(r).bytes / page_bytes();
        held += (uint64_t)n;
    }
    return seen && held >= seen - seen / 32;
}

/* ---- room ---- */

static uint64_t read_number(const char *path)
{
    unsigned long long v = 0;
    FILE *f = fopen(path, "re");

    if (!f) return UINT64_MAX;
    if (fscanf(f, "%llu", &v) != 1) v = UINT64_MAX; /* "max" */
    fclose(f);
    return v;
}

/* Of cgroup v2's memory.max, where this process has one: what is not yet taken by anonymous memory is room. */
static uint64_t cgroup_room(void)
{
    char line[512], path[640];
    uint64_t limit = UINT64_MAX, used;
    FILE *f = fopen("/proc/self/cgroup", "re");

    if (!f) return UINT64_MAX;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::", 3)) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", line + 3);
        limit = read_number(path);
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.current", line + 3);
        used = read_number(path);
        if (limit != UINT64_MAX && used != UINT64_MAX) limit = used < limit ? limit - used : 0;
    }
    fclose(f);
    return limit;
}

uint64_t pagecache_room(void)
{
    char line[128];
    unsigned long long kib = 0;
    uint64_t room, group = cgroup_room();
    FILE *f = fopen("/proc/meminfo", "re");

    if (!f) return 0;
    while (fgets(line, sizeof line, f) && sscanf(line, "MemAvailable: %llu kB", &kib) != 1) {
    }
    fclose(f);
    room = (uint64_t)kib << 10;
    return group < room ? group : room;
}

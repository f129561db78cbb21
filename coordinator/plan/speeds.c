#include "coordinator/plan/speeds.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/clock.h"

#define PROBE_BYTES  (UINT64_C(256) << 20)
#define PROBE_BLOCK  (UINT64_C(4) << 20)
#define PROBE_NS     UINT64_C(300000000)
#define MEMORY_BYTES (UINT64_C(64) << 20)

static bool cache_file(char *path, size_t room, bool make)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    size_t n;

    if (base && *base) snprintf(path, room, "%s/sluice", base);
    else if (home && *home) snprintf(path, room, "%s/.cache/sluice", home);
    else return false;
    for (char *p = path + 1; make && *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        mkdir(path, 0700);
        *p = '/';
    }
    if (make) mkdir(path, 0700);
    n = strlen(path);
    snprintf(path + n, room - n, "/speeds.json");
    return true;
}

static json_t *load(void)
{
    char path[512];
    json_t *o = cache_file(path, sizeof path, false) ? json_load_file(path, 0, NULL) : NULL;

    if (json_is_object(o)) return o;
    json_decref(o);
    return json_object();
}

static void store(json_t *o)
{
    char path[512], next[560];

    if (!cache_file(path, sizeof path, true)) return;
    snprintf(next, sizeof next, "%s.%ld", path, (long)getpid());
    if (json_dump_file(o, next, JSON_INDENT(1)) || rename(next, path)) unlink(next);
}

/* File systems are told apart by their device number. */
static void disk_key(const char *path, char *key, size_t room)
{
    struct stat st;

    snprintf(key, room, "disk-%llx", stat(path, &st) ? 0ull : (unsigned long long)st.st_dev);
}

void speeds_cached(struct speeds *s, const char *path)
{
    char key[40];
    json_t *o = load(), *disk, *memory;

    disk_key(path, key, sizeof key);
    disk = json_object_get(o, key);
    memory = json_object_get(o, "memory");
    *s = (struct speeds){.disk = 1.5e9, .memory = 15e9, .link = 12e9, .device_memory = 400e9, .flops = 100e9};
    s->disk_measured = json_is_number(disk) && json_number_value(disk) > 1e5;
    s->memory_measured = json_is_number(memory) && json_number_value(memory) > 1e7;
    if (s->disk_measured) s->disk = json_number_value(disk);
    if (s->memory_measured) s->memory = json_number_value(memory);
    json_decref(o);
}

void speeds_remember_disk(const char *path, double bytes_per_second)
{
    char key[40];
    json_t *o = load();

    disk_key(path, key, sizeof key);
    if (bytes_per_second > 1e5) {
        json_object_set_new(o, key, json_real(bytes_per_second));
        store(o);
    }
    json_decref(o);
}

void speeds_remember_memory(double bytes_per_second)
{
    json_t *o = load();

    if (bytes_per_second > 1e7) {
        json_object_set_new(o, "memory", json_real(bytes_per_second));
        store(o);
    }
    json_decref(o);
}

/* Kept apart from the speed: what another version of this program wrote of one is no reason to lose the other. */
static void reading_key(const char *path, char *key, size_t room)
{
    char disk[40];

    disk_key(path, disk, sizeof disk);
    snprintf(key, room, "read-%s", disk);
}

bool speeds_reading(const char *path, uint64_t *block_bytes, uint32_t *depth)
{
    char key[48];
    json_t *o = load(), *x;
    json_int_t block, in_flight;

    reading_key(path, key, sizeof key);
    x = json_object_get(o, key);
    block = json_integer_value(json_object_get(x, "block"));
    in_flight = json_integer_value(json_object_get(x, "depth"));
    json_decref(o);
    /* anybody may have written to that file */
    if (block < 4096 || block % 4096 || block > (64 << 20) || in_flight < 1 || in_flight > 256) return false;
    *block_bytes = (uint64_t)block;
    *depth = (uint32_t)in_flight;
    return true;
}

void speeds_remember_reading(const char *path, uint64_t block_bytes, uint32_t depth, double bytes_per_second)
{
    char key[48];
    json_t *o = load();

    reading_key(path, key, sizeof key);
    json_object_set_new(o, key, json_pack("{s:I,s:I}", "block", (json_int_t)block_bytes, "depth", (json_int_t)depth));
    store(o);
    json_decref(o);
    speeds_remember_disk(path, bytes_per_second);
}

/* The largest file of the folder, which is where the weights are. */
static int open_largest(const char *folder)
{
    char best[600] = "", path[600];
    off_t most = 0;
    struct dirent *d;
    struct stat st;
    DIR *dir = opendir(folder);
    int fd;

    while (dir && (d = readdir(dir))) {
        snprintf(path, sizeof path, "%s/%.255s", folder, d->d_name);
        if (stat(path, &st) || !S_ISREG(st.st_mode) || st.st_size <= most) continue;
        if (st.st_blocks < st.st_size / 512 / 2) continue; /* holes are read from no disk */
        most = st.st_size;
        memcpy(best, path, sizeof best);
    }
    if (dir) closedir(dir);
    if (most < (off_t)PROBE_BLOCK) return -1;
    fd = open(best, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd >= 0 && !fstat(fd, &st) && (uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size / 10 * 9) { /* holes are read at no disk's speed */
        close(fd);
        return -1;
    }
    return fd;
}

/* One reader in large blocks: a lower bound of what many reads in flight reach. */
static double probe_disk(const char *folder)
{
    int fd = open_largest(folder);
    void *p = NULL;
    uint64_t t0 = clock_ns(), bytes = 0;
    ssize_t n = 1;

    if (fd < 0 || posix_memalign(&p, 4096, PROBE_BLOCK)) {
        if (fd >= 0) close(fd);
        return 0;
    }
    while (n > 0 && bytes < PROBE_BYTES && clock_ns() - t0 < PROBE_NS) {
        n = pread(fd, p, PROBE_BLOCK, (off_t)bytes);
        if (n > 0) bytes += (uint64_t)n;
    }
    t0 = clock_ns() - t0;
    free(p);
    close(fd);
    return bytes >= 4 * PROBE_BLOCK ? (double)bytes / ((double)t0 / 1e9) : 0;
}

static double probe_memory(void)
{
    uint64_t *p = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    volatile uint64_t sink;
    uint64_t t0, t, best = UINT64_MAX, sum = 0;

    if (p == MAP_FAILED) return 0;
    for (int round = 0; round < 3; round++) {
        t0 = clock_ns();
        for (uint64_t i = 0; i < MEMORY_BYTES / 8; i += 8) sum += p[i] + p[i + 4];
        t = clock_ns() - t0;
        if (t < best) best = t;
    }
    sink = sum;
    (void)sink;
    munmap(p, MEMORY_BYTES);
    return (double)MEMORY_BYTES / ((double)best / 1e9);
}

void speeds_measure(struct speeds *s, const char *path)
{
    double x;

    speeds_cached(s, path);
    if (!s->disk_measured && (x = probe_disk(path)) > 0) {
        speeds_remember_disk(path, x);
        s->disk = x;
        s->disk_measured = true;
    }
    if (!s->memory_measured && (x = probe_memory()) > 0) {
        speeds_remember_memory(x);
        s->memory = x;
        s->memory_measured = true;
    }
}

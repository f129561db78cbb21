#include "coordinator/plan/calibrate.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/plan/machine.h"
#include "coordinator/text/json.h"
#include "coordinator/plan/calibrate_median.h"
#include "coordinator/plan/stored.h"
#include "coordinator/plan/unpack.h"
#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "proto/base/output.h"
#include "proto/base/pagecache.h"
#include "proto/plan.h"

#define PROBE_BYTES   (UINT64_C(256) << 20)
#define PROBE_BLOCK   (UINT64_C(4) << 20)
#define PROBE_NS      UINT64_C(300000000)
#define MEMORY_BYTES  (UINT64_C(64) << 20) /* for each thread, at most and at least: a core's own caches hold less */
#define MEMORY_LEAST  (UINT64_C(4) << 20)
#define PROBE_THREADS 16u
#define KERNEL_SHARE  0.9 /* of plain reading, what the kernels of few tokens reach */
#define DEVICE_SHARE  0.8 /* the same of a device */
#define MPS_GAIN      1.05
#define KEPT          5u                   /* measurements of a lane */
#define CACHE_BYTES   (UINT64_C(4) << 20)  /* what it is at most */
#define SMALL_BYTES   UINT64_C(1000000000) /* of weights */
#define LEAST         1e5
#define MOST          1e16

static bool cache_file(char *path, size_t room, bool make)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    size_t n;

    if (base && *base)
        snprintf(path, room, "%s/sluice", base);
    else if (home && *home)
        snprintf(path, room, "%s/.cache/sluice", home);
    else
        return false;
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
    struct error ignored;
    uint64_t bytes;
    char *text = NULL;
    json_t *o = NULL;

    if (cache_file(path, sizeof path, false) && !file_load(&text, &bytes, path, CACHE_BYTES, &ignored))
        json_read_text(&o, text, bytes, path, 0, &ignored);
    free(text);
    if (json_is_object(o)) return o;
    json_decref(o);
    return json_object();
}

static void store(json_t *o)
{
    struct output *out;
    char path[512];
    struct stat st;

    if (!cache_file(path, sizeof path, true)) return;
    if (!lstat(path, &st) && !S_ISREG(st.st_mode)) return; /* somebody's way to say that nothing shall be kept */
    if (output_open(&out, path, NULL, NULL)) return;
    output_close(out, !json_dumpf(o, output_file(out), JSON_INDENT(1)), NULL);
}

/* ---- lanes ---- */

static uint32_t device_of(const struct plan_shm *p)
{
    return p ? p->run.device : 0;
}

/* Stored forms have kernels of their own; the one that most of the weights have decides. */
static const char *main_form(const struct plan_shm *p)
{
    double weights[FORMS] = {0};
    uint32_t most = FORM_BF16;

    for (uint64_t i = 0; p && i < p->matrices.count; i++) {
        const struct plan_matrix *m = &plan_matrices(p)[i];

        if (m->form < FORMS) weights[m->unit_rows ? FORM_B223 : m->form] += (double)plan_matrix_elements(m);
    }
    for (uint32_t i = 0; i < FORMS; i++)
        if (weights[i] > weights[most]) most = i;
    return form_name(most);
}

/* Bytes of the packed matrices as they are stored, of those that they unpack to; 0: none is packed. */
static double packed_ratio(const struct plan_shm *p)
{
    double stored = 0, raw = 0;

    for (uint64_t i = 0; p && i < p->matrices.count; i++) {
        const struct plan_matrix *m = &plan_matrices(p)[i];

        if (!m->unit_rows) continue;
        stored += (double)(plan_units(p)[m->unit0 + plan_matrix_units(m)] - plan_units(p)[m->unit0]);
        raw += (double)m->rows * (double)m->row_bytes;
    }
    return raw > 0 ? stored / raw : 0;
}

/* Tokens of small models go at speeds of their own: what is handed over counts as much as bytes do. */
static const char *size_of(const struct plan_shm *p)
{
    uint64_t bytes = 0;

    for (uint64_t i = 0; p && i < p->matrices.count; i++)
        bytes += plan_matrices(p)[i].rows * plan_matrices(p)[i].row_bytes;
    return p && bytes < SMALL_BYTES ? "-small" : "";
}

static uint32_t threads_of(const struct plan_shm *p)
{
    struct machine m;

    if (p && p->run.threads) return p->run.threads;
    machine_look(&m);
    return m.cpus_big ? m.cpus_big : 1;
}

/* File systems are told apart by their device number. */
static void disk_key(const char *path, char *key, size_t room)
{
    struct stat st;

    snprintf(key, room, "disk-%llx", !path || stat(path, &st) ? 0ull : (unsigned long long)st.st_dev);
}

static void lane_key(enum calibration_lane lane, const char *path, const struct plan_shm *p, char *key, size_t room)
{
    switch (lane) {
    case SPEEDS_DISK: disk_key(path, key, room); return;
    case SPEEDS_PAGE_CACHE: snprintf(key, room, "page-cache"); return;
    case SPEEDS_FILL: snprintf(key, room, "fill"); return;
    case SPEEDS_MEMORY: snprintf(key, room, "memory-%s-%u%s", main_form(p), threads_of(p), size_of(p)); return;
    case SPEEDS_FLOPS: snprintf(key, room, "flops-%s-%u%s", main_form(p), threads_of(p), size_of(p)); return;
    case SPEEDS_LINK: snprintf(key, room, "link-gpu%u", device_of(p)); return;
    case SPEEDS_LINK_MPS: snprintf(key, room, "link-mps-gpu%u", device_of(p)); return;
    case SPEEDS_DEVICE_MEMORY: snprintf(key, room, "memory-gpu%u-%s%s", device_of(p), main_form(p), size_of(p)); return;
    case SPEEDS_DEVICE_FLOPS: snprintf(key, room, "flops-gpu%u-%s%s", device_of(p), main_form(p), size_of(p)); return;
    }
}

static bool is_speed(double per_second)
{
    return per_second > LEAST && per_second < MOST;
}

/* The median of what is kept there; anybody may have written to that file. 0: nothing that could be a speed. */
static double kept(const json_t *file, const char *key)
{
    const json_t *list = json_object_get(file, key);
    size_t n = json_is_array(list) ? json_array_size(list) : 1;
    uint32_t seen = 0;
    double x[KEPT];

    for (size_t i = n > KEPT ? n - KEPT : 0; i < n; i++) {
        double v = json_number_value(json_is_array(list) ? json_array_get(list, i) : list);

        if (is_speed(v)) x[seen++] = v;
    }
    return median(x, seen);
}

/* One more measurement, and the oldest goes. A single number is how it was kept once. */
static void keep(const char *key, double per_second)
{
    json_t *file, *list;

    if (!is_speed(per_second)) return;
    file = load();
    list = json_object_get(file, key);
    if (json_is_array(list))
        json_incref(list);
    else {
        list = json_array();
        if (kept(file, key) > 0) json_array_append_new(list, json_real(kept(file, key)));
    }
    json_array_append_new(list, json_real(per_second));
    while (json_array_size(list) > KEPT) json_array_remove(list, 0);
    json_object_set_new(file, key, list);
    store(file);
    json_decref(file);
}

static void keep_probe(const char *key, double per_second)
{
    char probe[80];
    json_t *file;

    if (!is_speed(per_second)) return;
    snprintf(probe, sizeof probe, "probe-%s", key);
    file = load();
    json_object_set_new(file, probe, json_real(per_second));
    store(file);
    json_decref(file);
}

/* false: as it was assumed. */
static bool known(const json_t *file, const char *key, double *per_second)
{
    char probe[80];
    double x = kept(file, key);

    snprintf(probe, sizeof probe, "probe-%s", key);
    if (!(x > 0)) x = kept(file, probe);
    if (x > 0) *per_second = x;
    return x > 0;
}

static bool in_page_cache(const struct plan_shm *p)
{
    if (!p || !p->files.count || p->run.io == PLAN_IO_DIRECT) return false;
    for (uint64_t i = 0; i < p->files.count; i++) {
        int fd = open(plan_string(p, plan_files(p)[i].name), O_RDONLY | O_CLOEXEC | O_NOCTTY);
        bool held = fd >= 0 && pagecache_holds(fd, plan_files(p)[i].bytes);

        if (fd >= 0) close(fd);
        if (!held) return false;
    }
    return true;
}

/* A packed plan that no run has measured: its bytes come from memory as others do, and are unpacked then. The keys of both
 * differ in the form only. */
static void assume_unpacking(struct calibration *s, const json_t *file, const struct plan_shm *p)
{
    double ratio = packed_ratio(p), threads = threads_of(p);
    char key[64];

    if (!(ratio > 0)) return;
    s->unpack = unpack_speed();
    if (!s->flops_measured) {
        snprintf(key, sizeof key, "flops-BF16-%u%s", threads_of(p), size_of(p));
        known(file, key, &s->flops);
    }
    if (s->memory_measured) return;
    snprintf(key, sizeof key, "memory-BF16-%u%s", threads_of(p), size_of(p));
    known(file, key, &s->memory);
    if (s->unpack > 0) s->memory = 1 / (1 / s->memory + 1 / (ratio * s->unpack * threads));
}

/* What a probe says of a device's memory is said of all forms. */
static void load_device(struct calibration *s, const json_t *file, const struct plan_shm *p)
{
    char key[64];

    lane_key(SPEEDS_LINK, NULL, p, key, sizeof key);
    s->link_measured = known(file, key, &s->link);
    snprintf(key, sizeof key, "memory-gpu%u", device_of(p));
    s->device_memory_measured = known(file, key, &s->device_memory);
    lane_key(SPEEDS_DEVICE_MEMORY, NULL, p, key, sizeof key);
    s->device_memory_measured = known(file, key, &s->device_memory) || s->device_memory_measured;
    lane_key(SPEEDS_DEVICE_FLOPS, NULL, p, key, sizeof key);
    known(file, key, &s->device_flops);
}

void calibration_load(struct calibration *s, const char *path, const struct plan_shm *p)
{
    char key[64];
    json_t *file = load();

    *s = (struct calibration){
        .disk = 1.5e9, .link = 12e9, .device_memory = 400e9, .device_flops = 5e12, .flops = 50e9 * threads_of(p)};
    s->memory = plan_stored_speed(p, threads_of(p), 15e9);
    s->page_cache = in_page_cache(p);
    if (s->page_cache) s->disk = 4e9;
    lane_key(s->page_cache ? SPEEDS_PAGE_CACHE : SPEEDS_DISK, path, p, key, sizeof key);
    s->disk_measured = known(file, key, &s->disk);
    lane_key(SPEEDS_FILL, path, p, key, sizeof key);
    known(file, key, &s->fill);
    lane_key(SPEEDS_MEMORY, path, p, key, sizeof key);
    s->memory_measured = known(file, key, &s->memory);
    lane_key(SPEEDS_FLOPS, path, p, key, sizeof key);
    s->flops_measured = known(file, key, &s->flops);
    assume_unpacking(s, file, p);
    load_device(s, file, p);
    json_decref(file);
}

/* ---- devices ---- */

bool calibration_knows_device(uint32_t device)
{
    const struct plan_shm p = {.run.device = device};
    struct calibration s = {0};
    json_t *file = load();
    char key[64];

    lane_key(SPEEDS_LINK, NULL, &p, key, sizeof key);
    s.link_measured = known(file, key, &s.link);
    snprintf(key, sizeof key, "memory-gpu%u", device);
    s.device_memory_measured = known(file, key, &s.device_memory);
    json_decref(file);
    return s.link_measured && s.device_memory_measured;
}

void calibration_keep_device(uint32_t device, double link, double memory)
{
    char key[64];

    snprintf(key, sizeof key, "link-gpu%u", device);
    keep_probe(key, link);
    snprintf(key, sizeof key, "memory-gpu%u", device);
    keep_probe(key, DEVICE_SHARE * memory);
}

bool calibration_mps_pays(uint32_t device)
{
    const struct plan_shm p = {.run.device = device};
    json_t *file = load();
    double with, without;
    char key[64];

    lane_key(SPEEDS_LINK, NULL, &p, key, sizeof key);
    without = kept(file, key); /* of runs: a probe has no company */
    lane_key(SPEEDS_LINK_MPS, NULL, &p, key, sizeof key);
    with = kept(file, key);
    json_decref(file);
    return without > 0 && with > MPS_GAIN * without;
}

void calibration_keep(enum calibration_lane lane, const char *path, const struct plan_shm *p, double per_second)
{
    char key[64];

    lane_key(lane, path, p, key, sizeof key);
    keep(key, per_second);
}

/* ---- ways of reading ---- */

/* Kept apart from the speed: what another version of this program wrote of one is no reason to lose the other. */
static void reading_key(const char *path, char *key, size_t room)
{
    char disk[40];

    disk_key(path, disk, sizeof disk);
    snprintf(key, room, "read-%s", disk);
}

bool calibration_reading(const char *path, uint64_t *block_bytes, uint32_t *depth)
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

void calibration_keep_reading(const char *path, uint64_t block_bytes, uint32_t depth, double bytes_per_second)
{
    char key[48];
    json_t *o = load();

    reading_key(path, key, sizeof key);
    json_object_set_new(o, key, json_pack("{s:I,s:I}", "block", (json_int_t)block_bytes, "depth", (json_int_t)depth));
    store(o);
    json_decref(o);
    disk_key(path, key, sizeof key);
    keep_probe(key, bytes_per_second);
}

/* ---- probes ---- */

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
    if (fd >= 0 && !fstat(fd, &st) &&
        (uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size / 10 * 9) { /* holes are read at no disk's speed */
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

struct sum_job {
    const uint64_t *p;
    uint64_t bytes, sum;
};

static void *sum_up(void *arg)
{
    struct sum_job *j = arg;

    for (uint64_t i = 0; i < j->bytes / 8; i += 8) j->sum += j->p[i] + j->p[i + 4];
    return NULL;
}

/* All threads read, each its own part of so many bytes; the best of three rounds. */
static double probe_memory(uint32_t threads, uint64_t room)
{
    pthread_t thread[PROBE_THREADS];
    struct sum_job job[PROBE_THREADS];
    uint32_t n = threads < PROBE_THREADS ? threads : PROBE_THREADS, started;
    uint64_t each = room / n < MEMORY_BYTES ? room / n / 4096 * 4096 : MEMORY_BYTES, t0, t, best = UINT64_MAX, *p;

    if (each < MEMORY_LEAST) return 0;
    p = mmap(NULL, n * each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) return 0;
    for (int round = 0; round < 3; round++) {
        t0 = clock_ns();
        for (started = 0; started < n; started++) {
            job[started] = (struct sum_job){.p = p + started * each / 8, .bytes = each};
            if (pthread_create(&thread[started], NULL, sum_up, &job[started])) break;
        }
        for (uint32_t i = 0; i < started; i++) pthread_join(thread[i], NULL);
        t = clock_ns() - t0;
        if (started == n && t < best) best = t;
    }
    munmap(p, n * each);
    return best < UINT64_MAX ? (double)(n * each) / ((double)best / 1e9) : 0;
}

void calibration_measure_memory(struct calibration *s, const struct plan_shm *p, uint64_t budget)
{
    uint64_t held = machine_own_look().now, room = budget > held ? budget - held : 0;
    char key[64];
    double x;

    room -= room / 8; /* stacks, tables of pages, what is allocated on the way */
    if (s->memory_measured || s->unpack > 0 || !((x = KERNEL_SHARE * probe_memory(threads_of(p), room)) > 0)) return;
    x = plan_stored_speed(p, threads_of(p), x);
    lane_key(SPEEDS_MEMORY, NULL, p, key, sizeof key);
    keep_probe(key, x);
    s->memory = x;
    s->memory_measured = true;
}

void calibration_measure(struct calibration *s, const char *path, const struct plan_shm *p, uint64_t budget)
{
    char key[64];
    double x;

    calibration_load(s, path, p);
    if (!s->disk_measured && !s->page_cache && (x = probe_disk(path)) > 0) {
        disk_key(path, key, sizeof key);
        keep_probe(key, x);
        s->disk = x;
        s->disk_measured = true;
    }
    calibration_measure_memory(s, p, budget);
}

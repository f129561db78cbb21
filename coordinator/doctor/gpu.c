#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/doctor/doctor.h"
#include "proto/stage/device_facts.h"
#include "proto/stage/device_speeds.h"

#define DEVICES "/sys/bus/pci/devices"

struct link {
    double speed, most; /* GT/s */
    int width, widest;
};

static bool read_file(const struct doctor *d, const char *device, const char *name, char *out, size_t room)
{
    char path[512];

    return snprintf(path, sizeof path, DEVICES "/%s/%s", device, name) < (int)sizeof path &&
           doctor_line(d, path, out, room);
}

static struct link read_link(const struct doctor *d, const char *device)
{
    struct link l = {0};
    char line[64];

    if (read_file(d, device, "current_link_speed", line, sizeof line)) l.speed = atof(line);
    if (read_file(d, device, "max_link_speed", line, sizeof line)) l.most = atof(line);
    if (read_file(d, device, "current_link_width", line, sizeof line)) l.width = atoi(line);
    if (read_file(d, device, "max_link_width", line, sizeof line)) l.widest = atoi(line);
    return l;
}

/* PCI Express base specification: the generation by its transfer rate. */
static int generation(double speed)
{
    static const double rate[] = {2.5, 5, 8, 16, 32, 64};
    int g = 0;

    while (g < 6 && rate[g] <= speed + 0.1) g++;
    return g;
}

/* Bytes per second that the encoding leaves: 8b/10b up to the second generation, 128b/130b after it. */
static double link_bytes(double speed, int width)
{
    return speed * 1e9 / 8 * width * (speed > 5.1 ? 128.0 / 130 : 0.8);
}

static void add_link(struct doctor *d, const char *device)
{
    struct link l = read_link(d, device);
    struct doctor_finding *f;

    if (l.width <= 0 || l.speed <= 0) return; /* no PCI Express: NVLink to the processor, or a virtual device */
    f = doctor_add(d, "GPU link", l.width < l.widest ? DOCTOR_BETTER : DOCTOR_GOOD);
    doctor_say(f, "PCIe %d x%d (%.1f GB/s at most)%s", generation(l.speed), l.width, link_bytes(l.speed, l.width) / 1e9,
               l.speed < l.most ? "; its rate rises under load" : "");
    if (l.speed < l.most)
        doctor_say(f, "PCIe %d x%d while idle, PCIe %d under load (%.1f GB/s at most)", generation(l.speed), l.width,
                   generation(l.most), link_bytes(l.most, l.width) / 1e9);
    if (f->verdict == DOCTOR_GOOD) return;
    doctor_cost(f, "the device could use x%d: %.0f%% of its link is lost", l.widest,
                100.0 * (l.widest - l.width) / l.widest);
    doctor_mend(f, "another slot, or another card in its place; some boards share lanes with an M.2 slot");
}

/* "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb..." -> 550.54.14 */
static bool driver_version(const struct doctor *d, char *out, size_t room)
{
    char line[256];

    if (!doctor_line(d, "/proc/driver/nvidia/version", line, sizeof line)) return false;
    for (const char *p = line; *p; p++) {
        size_t n = strspn(p, "0123456789.");

        if (p != line && p[-1] == ' ' && n >= 3 && memchr(p, '.', n) && (p[n] == ' ' || !p[n])) {
            snprintf(out, room, "%.*s", (int)n, p);
            return true;
        }
    }
    snprintf(out, room, "unknown");
    return true;
}

static void device_name(const struct doctor *d, const char *device, char *out, size_t room)
{
    char path[512], line[160], id[16] = "";
    FILE *f = NULL;

    read_file(d, device, "device", id, sizeof id);
    snprintf(out, room, "NVIDIA device %s", id);
    if (snprintf(path, sizeof path, "%s/proc/driver/nvidia/gpus/%s/information", d->root, device) < (int)sizeof path)
        f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "Model:", 6)) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(out, room, "%s", line + 6 + strspn(line + 6, " \t"));
    }
    if (f) fclose(f);
}

static bool is_gpu(const struct doctor *d, const char *device)
{
    char vendor[16], class[16];

    return read_file(d, device, "vendor", vendor, sizeof vendor) &&
           read_file(d, device, "class", class, sizeof class) && !strncmp(vendor, "0x10de", 6) &&
           !strncmp(class, "0x03", 4);
}

static bool exists(const struct doctor *d, const char *path)
{
    char full[1024];

    return snprintf(full, sizeof full, "%s%s", d->root, path) < (int)sizeof full && !access(full, F_OK);
}

static bool in_container(const struct doctor *d)
{
    return exists(d, "/.dockerenv") || exists(d, "/run/.containerenv");
}

static void add_device(struct doctor *d, const char *device, bool driver, const char *version)
{
    struct doctor_finding *f = doctor_add(d, "GPU", driver ? DOCTOR_GOOD : DOCTOR_BETTER);
    char name[128], path[512];

    device_name(d, device, name, sizeof name);
    snprintf(path, sizeof path, "%s/dev/nvidiactl", d->root);
    doctor_say(f, "%s at %s, %s%s", name, device, driver ? "driver " : "no NVIDIA driver", driver ? version : "");
    if (!driver) {
        doctor_cost(f, "the cpu computes; the GPU is idle");
        doctor_mend(f,
                    in_container(d)
                        ? "install NVIDIA's driver on the machine itself; then docker run --gpus all, with the NVIDIA "
                          "container toolkit"
                        : "install NVIDIA's driver");
    } else if (access(path, R_OK | W_OK)) {
        f->verdict = DOCTOR_BETTER;
        doctor_cost(f, "/dev/nvidiactl cannot be opened: the cpu computes");
        doctor_mend(f,
                    in_container(d)
                        ? "docker run --gpus all, with the NVIDIA container toolkit"
                        : "nvidia-modprobe makes it where it is missing; else join the group that owns /dev/nvidia*");
    }
    add_link(d, device);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* A Jetson's GPU is on no PCI bus: the board says what it is. */
static bool add_tegra(struct doctor *d)
{
    static const char *const devices[] = {"/dev/nvhost-gpu", "/dev/nvgpu/igpu0"};
    char path[512], model[128];

    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        snprintf(path, sizeof path, "%s%s", d->root, devices[i]);
        if (access(path, F_OK)) continue;
        if (!doctor_line(d, "/proc/device-tree/model", model, sizeof model)) snprintf(model, sizeof model, "Tegra");
        doctor_say(doctor_add(d, "GPU", DOCTOR_GOOD), "%s, in the processor's own memory", model);
        return true;
    }
    return false;
}

/* Windows' subsystem for Linux: a GPU is reached through Windows' own driver, which shares no memory between processes. */
static bool under_windows(const struct doctor *d)
{
    char line[256];

    return doctor_line(d, "/proc/sys/kernel/osrelease", line, sizeof line) &&
           (strstr(line, "microsoft") || strstr(line, "Microsoft"));
}

static void add_windows(struct doctor *d)
{
    struct doctor_finding *f = doctor_add(d, "GPU", exists(d, "/dev/dxg") ? DOCTOR_BETTER : DOCTOR_GOOD);

    doctor_say(f, "Windows' subsystem for Linux%s", f->verdict == DOCTOR_GOOD ? ", and no GPU" : " with a GPU");
    if (f->verdict == DOCTOR_GOOD) return;
    doctor_cost(f, "the cpu computes: its driver shares no device memory between processes, which the stages need");
    doctor_mend(f, "Linux on the bare machine");
}

static void add_mps(struct doctor *d, bool installed)
{
    bool serves = exists(d, "/tmp/nvidia-mps/control") || (!d->root[0] && getenv("CUDA_MPS_PIPE_DIRECTORY"));
    struct doctor_finding *f = doctor_add(d, "MPS", installed || serves ? DOCTOR_GOOD : DOCTOR_BETTER);

    doctor_say(f, serves      ? "a daemon of this machine runs: the stages are its clients"
                  : installed ? "can be started for a run: --mps on tries it, and auto does as that was found to pay"
                              : "nvidia-cuda-mps-control is not on the PATH");
    if (installed || serves) return;
    doctor_cost(f, "copies and kernels of two processes may take turns on the device instead of overlapping");
    doctor_mend(f, "it comes with NVIDIA's driver%s",
                in_container(d) ? "; a container has it with NVIDIA_DRIVER_CAPABILITIES=compute,utility" : "");
}

void doctor_device(struct doctor *d, const struct device_facts *facts, const struct device_speeds *speeds,
                   const char *words)
{
    struct doctor_finding *f = doctor_add(d, "CUDA", facts ? DOCTOR_GOOD : DOCTOR_BETTER);
    char speed[96] = "";

    if (!facts) {
        doctor_say(f, "%.255s", words);
        doctor_cost(f, "the cpu computes; the GPU is idle");
        if (strstr(words, "this build needs"))
            doctor_mend(f, "a newer driver of NVIDIA's, or a build with an older CUDA");
        if (strstr(words, "compute mode")) doctor_mend(f, "sudo nvidia-smi -c DEFAULT");
        if (strstr(words, "no NVIDIA driver"))
            doctor_mend(f, "%s",
                        in_container(d) ? "docker run --gpus all, with the NVIDIA container toolkit"
                                        : "install NVIDIA's driver; nvidia-smi shows whether it works");
        if (strstr(words, "kernels")) doctor_mend(f, "make on this machine, so that it is built for this card");
        return;
    }
    if (speeds->link && speeds->memory)
        snprintf(speed, sizeof speed, "; link %.1f GB/s, its memory %.0f GB/s", (double)speeds->link / 1e9,
                 (double)speeds->memory / 1e9);
    doctor_say(f, "device %u of %u: %s, %.2f of %.2f GB free%s", facts->device, facts->devices, facts->name,
               (double)facts->free_bytes / 1e9, (double)facts->total_bytes / 1e9, speed);
    if (facts->unified) {
        f = doctor_add(d, "GPU memory", DOCTOR_GOOD);
        doctor_say(
            f, "this machine's own: what is free is divided, a quarter to the processes (--host-memory) and the rest "
               "to the GPU (--device-memory)");
    }
    if (!speeds->exclusive) return;
    f = doctor_add(d, "compute mode", DOCTOR_BETTER);
    doctor_say(f, "EXCLUSIVE_PROCESS: the device serves one process at a time");
    doctor_cost(f, "sluice has two on it, so that runs fail unless an MPS daemon stands between");
    doctor_mend(f, "sudo nvidia-smi -i %u -c DEFAULT, or --mps on", facts->device);
}

void doctor_gpu(struct doctor *d, bool mps, bool cuda_stages)
{
    char path[1024], version[64] = "";
    bool driver = driver_version(d, version, sizeof version);
    struct dirent **list = NULL;
    struct doctor_finding *f;
    int n, found = 0;

    if (under_windows(d)) {
        add_windows(d);
        return;
    }
    snprintf(path, sizeof path, "%s" DEVICES, d->root);
    n = scandir(path, &list, NULL, by_name);
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.' && is_gpu(d, list[i]->d_name)) {
            add_device(d, list[i]->d_name, driver, version);
            found++;
        }
        free(list[i]);
    }
    free(list);
    if (!found && add_tegra(d)) found++;
    if (!found) {
        f = doctor_add(d, "GPU", DOCTOR_GOOD);
        doctor_say(f, driver ? "driver %s, and no device to be seen" : "none: the cpu computes", version);
        if (!driver) return;
        f->verdict = DOCTOR_BETTER;
        doctor_cost(f, "the cpu computes");
        doctor_mend(f, in_container(d) ? "docker run --gpus all, with the NVIDIA container toolkit"
                                       : "see nvidia-smi and dmesg: a driver that does not fit the kernel or the card");
        return;
    }
    f = doctor_add(d, "cuda stages", cuda_stages ? DOCTOR_GOOD : DOCTOR_BETTER);
    doctor_say(f, cuda_stages ? "built" : "not built");
    if (!cuda_stages) {
        doctor_cost(f, "the GPU cannot be used by this build");
        doctor_mend(f, "build where nvcc is (the CUDA toolkit): make CUDA=yes");
    }
    if (!driver) return;
    add_mps(d, mps);
}

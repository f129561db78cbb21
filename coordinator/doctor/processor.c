#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/doctor/doctor.h"

static bool has(const char *flags, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = flags; (p = strstr(p, word)); p += n)
        if ((p == flags || p[-1] == ' ') && (!p[n] || p[n] == ' ')) return true;
    return false;
}

/* As compute/cpu/ops.c asks for them. */
const char *doctor_kernels(const char *flags)
{
    if (has(flags, "asimd")) return "neon";
    bool avx2 = has(flags, "avx2") && has(flags, "fma") && has(flags, "f16c");
    bool avx512 = has(flags, "avx512f") && has(flags, "avx512bw") && has(flags, "avx512dq") && has(flags, "avx512vl");

    if (avx2 && avx512 && has(flags, "avx512vbmi")) return "avx512 vbmi";
    return avx2 && avx512 ? "avx512" : avx2 ? "avx2" : "plain";
}

/* The first line of /proc/cpuinfo that begins with the key, from its value on. */
static void cpuinfo(const struct doctor *d, const char *key, char *out, size_t room)
{
    char path[1024], line[4096];
    size_t n = strlen(key);
    FILE *f = NULL;

    out[0] = 0;
    if (snprintf(path, sizeof path, "%s/proc/cpuinfo", d->root) < (int)sizeof path) f = fopen(path, "re");
    while (f && !out[0] && fgets(line, sizeof line, f)) {
        char *value = strchr(line, ':');

        if (strncmp(line, key, n) || (line[n] != '\t' && line[n] != ' ' && line[n] != ':') || !value) continue;
        value += 1 + strspn(value + 1, " ");
        value[strcspn(value, "\n")] = 0;
        snprintf(out, room, "%.*s", (int)room - 1, value);
    }
    if (f) fclose(f);
}

void doctor_processor(struct doctor *d, const struct machine *m)
{
    char model[160], flags[4096], governor[32];
    const char *kernels;
    struct doctor_finding *f;

    doctor_arm_cores(d, model, sizeof model); /* some of them have a model name too, the same for all */
    if (!model[0]) cpuinfo(d, "model name", model, sizeof model);
    cpuinfo(d, "flags", flags, sizeof flags);
    if (!flags[0]) cpuinfo(d, "Features", flags, sizeof flags);
    kernels = doctor_kernels(flags);
    f = doctor_add(d, "processor", strcmp(kernels, "plain") ? DOCTOR_GOOD : DOCTOR_BETTER);
    doctor_say(f, "%s; the cpu backend uses its %s kernels", model[0] ? model : "unknown", kernels);
    if (f->verdict == DOCTOR_BETTER) {
        doctor_cost(f, "without AVX2, FMA and F16C the kernels are plain C, one number at a time");
        doctor_mend(f, "a virtual machine may hide them: pass the host's processor through (qemu -cpu host)");
    }
    f = doctor_add(d, "cores", m->cpus < m->cpus_online ? DOCTOR_BETTER : DOCTOR_GOOD);
    if (m->cpus_big >= m->cpus)
        doctor_say(f, "%u of %u may be used; --threads auto takes %u", m->cpus, m->cpus_online, m->cpus_big);
    else
        doctor_say(f, "%u of %u may be used; %u of these are big ones: --threads auto takes them", m->cpus,
                   m->cpus_online, m->cpus_big);
    if (f->verdict == DOCTOR_BETTER) {
        doctor_cost(f, "prompts are read with these alone");
        doctor_mend(f, "taskset, or the cgroup's cpu.max and cpuset (docker run --cpus, --cpuset-cpus)");
    }
    if (!doctor_line(d, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor, sizeof governor)) return;
    f = doctor_add(d, "governor", strcmp(governor, "powersave") ? DOCTOR_GOOD : DOCTOR_BETTER);
    doctor_say(f, "%s", governor);
    if (f->verdict == DOCTOR_GOOD) return;
    doctor_cost(f, "cores that wait for the disk between tiles may clock down and be slow to come back");
    doctor_mend(f, "cpupower frequency-set -g performance, while a run is under way");
}

void doctor_unpacking(struct doctor *d, double bytes_per_second, const char *code, uint32_t threads, double disk)
{
    /* a packed model's disk must bring 2 bytes where 3 are unpacked */
    bool slow = bytes_per_second > 0 && disk > 0 && bytes_per_second * threads < 1.5 * disk;
    struct doctor_finding *f;

    if (!(bytes_per_second > 0)) return;
    f = doctor_add(d, "unpacking", slow ? DOCTOR_BETTER : DOCTOR_GOOD);
    doctor_say(f, "%.1f GB/s a thread of what `sluice pack` has packed (%s)", bytes_per_second / 1e9, code);
    if (!slow) return;
    doctor_cost(f, "%u thread%s unpack more slowly than the disk would bring a packed model", threads,
                threads == 1 ? "" : "s");
    doctor_mend(f, "leave models as they are on this machine, or give a run more threads");
}

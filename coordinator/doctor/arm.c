/* ARM processors by the numbers that they call themselves: /proc/cpuinfo has no names for them, and may have cores of several
 * kinds. The numbers are the main identification register's (MIDR_EL1) of ARM's architecture manual, as the designers' own
 * manuals and Linux's arch/arm64/include/asm/cputype.h give them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/doctor/doctor.h"

#define KINDS 8u /* of cores in one machine; more are not told apart */

struct core {
    unsigned implementer, part;
};

static const struct {
    struct core core;
    const char *name;
} known[] = {
    {{0x41, 0xd03}, "Cortex-A53"},
    {{0x41, 0xd04}, "Cortex-A35"},
    {{0x41, 0xd05}, "Cortex-A55"},
    {{0x41, 0xd06}, "Cortex-A65"},
    {{0x41, 0xd07}, "Cortex-A57"},
    {{0x41, 0xd08}, "Cortex-A72"},
    {{0x41, 0xd09}, "Cortex-A73"},
    {{0x41, 0xd0a}, "Cortex-A75"},
    {{0x41, 0xd0b}, "Cortex-A76"},
    {{0x41, 0xd0c}, "Neoverse-N1"},
    {{0x41, 0xd0d}, "Cortex-A77"},
    {{0x41, 0xd0e}, "Cortex-A76AE"},
    {{0x41, 0xd40}, "Neoverse-V1"},
    {{0x41, 0xd41}, "Cortex-A78"},
    {{0x41, 0xd42}, "Cortex-A78AE"},
    {{0x41, 0xd44}, "Cortex-X1"},
    {{0x41, 0xd46}, "Cortex-A510"},
    {{0x41, 0xd47}, "Cortex-A710"},
    {{0x41, 0xd48}, "Cortex-X2"},
    {{0x41, 0xd49}, "Neoverse-N2"},
    {{0x41, 0xd4a}, "Neoverse-E1"},
    {{0x41, 0xd4b}, "Cortex-A78C"},
    {{0x41, 0xd4c}, "Cortex-X1C"},
    {{0x41, 0xd4d}, "Cortex-A715"},
    {{0x41, 0xd4e}, "Cortex-X3"},
    {{0x41, 0xd4f}, "Neoverse-V2"},
    {{0x41, 0xd80}, "Cortex-A520"},
    {{0x41, 0xd81}, "Cortex-A720"},
    {{0x41, 0xd82}, "Cortex-X4"},
    {{0x41, 0xd83}, "Neoverse-V3AE"},
    {{0x41, 0xd84}, "Neoverse-V3"},
    {{0x41, 0xd85}, "Cortex-X925"},
    {{0x41, 0xd87}, "Cortex-A725"},
    {{0x41, 0xd8e}, "Neoverse-N3"},
    {{0x43, 0x0af}, "ThunderX2"},
    {{0x46, 0x001}, "A64FX"},
    {{0x48, 0xd01}, "Kunpeng-920"},
    {{0x4e, 0x003}, "NVIDIA Denver 2"},
    {{0x4e, 0x004}, "NVIDIA Carmel"},
    {{0x51, 0x001}, "Qualcomm Oryon"},
    {{0x61, 0x022}, "Apple M1 (Icestorm)"},
    {{0x61, 0x023}, "Apple M1 (Firestorm)"},
    {{0x61, 0x024}, "Apple M1 Pro (Icestorm)"},
    {{0x61, 0x025}, "Apple M1 Pro (Firestorm)"},
    {{0x61, 0x028}, "Apple M1 Max (Icestorm)"},
    {{0x61, 0x029}, "Apple M1 Max (Firestorm)"},
    {{0x61, 0x032}, "Apple M2 (Blizzard)"},
    {{0x61, 0x033}, "Apple M2 (Avalanche)"},
    {{0x61, 0x034}, "Apple M2 Pro (Blizzard)"},
    {{0x61, 0x035}, "Apple M2 Pro (Avalanche)"},
    {{0x61, 0x038}, "Apple M2 Max (Blizzard)"},
    {{0x61, 0x039}, "Apple M2 Max (Avalanche)"},
    {{0x6d, 0xd49}, "Azure Cobalt 100"},
    {{0xc0, 0xac3}, "Ampere-1"},
    {{0xc0, 0xac4}, "Ampere-1a"},
};

static void name_of(struct core c, char *out, size_t room)
{
    snprintf(out, room, "implementer %#x, part %#x", c.implementer, c.part);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].core.implementer == c.implementer && known[i].core.part == c.part)
            snprintf(out, room, "%s", known[i].name);
}

/* The number behind a key's colon. */
static bool number_of(const char *line, const char *key, unsigned *out)
{
    const char *value = strchr(line, ':');

    if (strncmp(line, key, strlen(key)) || !value) return false;
    *out = (unsigned)strtoul(value + 1, NULL, 0);
    return true;
}

static void count_core(struct core kind[KINDS], unsigned count[KINDS], struct core c)
{
    for (unsigned i = 0; i < KINDS; i++) {
        if (count[i] && (kind[i].implementer != c.implementer || kind[i].part != c.part)) continue;
        kind[i] = c;
        count[i]++;
        return;
    }
}

void doctor_arm_cores(const struct doctor *d, char *out, size_t room)
{
    char path[1024], line[4096], name[64];
    struct core kind[KINDS] = {{0}}, c = {0};
    unsigned count[KINDS] = {0};
    size_t n = 0;
    FILE *f = NULL;

    out[0] = 0;
    if (snprintf(path, sizeof path, "%s/proc/cpuinfo", d->root) < (int)sizeof path) f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        number_of(line, "CPU implementer", &c.implementer);
        if (number_of(line, "CPU part", &c.part)) count_core(kind, count, c);
    }
    if (f) fclose(f);
    for (unsigned i = 0; i < KINDS && count[i] && n < room; i++) {
        name_of(kind[i], name, sizeof name);
        if (!i && !count[1])
            n += (size_t)snprintf(out, room, "%s", name);
        else
            n += (size_t)snprintf(out + n, room - n, "%s%u x %s", i ? ", " : "", count[i], name);
    }
}

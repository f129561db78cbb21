#include "proto/base/cores.h"

#include <stdio.h>

/* 1024 is the fastest there is; 0: it is not told. */
static unsigned capacity_of(const char *root, int cpu)
{
    char path[1024];
    unsigned capacity = 0;
    FILE *f = NULL;

    if (snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/cpu_capacity", root, cpu) < (int)sizeof path)
        f = fopen(path, "re");
    if (!f) return 0;
    if (fscanf(f, "%u", &capacity) != 1) capacity = 0;
    fclose(f);
    return capacity;
}

void cores_keep_big(cpu_set_t *set, const char *root)
{
    unsigned capacity[CPU_SETSIZE] = {0}, most = 0;

    for (int c = 0; c < CPU_SETSIZE; c++) {
        if (!CPU_ISSET(c, set)) continue;
        capacity[c] = capacity_of(root, c);
        if (!capacity[c]) return;
        if (capacity[c] > most) most = capacity[c];
    }
    for (int c = 0; c < CPU_SETSIZE; c++)
        if (CPU_ISSET(c, set) && capacity[c] < most - most / 2) CPU_CLR((size_t)c, set);
}

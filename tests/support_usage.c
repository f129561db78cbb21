#include "tests/support_usage.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static double entries(pid_t pid, const char *kind)
{
    char path[64];
    double n = 0;
    DIR *d;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, kind);
    assert_non_null(d = opendir(path));
    for (struct dirent *x; (x = readdir(d));) n += x->d_name[0] != '.';
    closedir(d);
    return n;
}

double usage_descriptors(pid_t pid)
{
    return entries(pid, "fd");
}

double usage_threads(pid_t pid)
{
    return entries(pid, "task");
}

static double read_kib(pid_t pid, const char *file, const char *format)
{
    unsigned long kib, sum = 0;
    char path[64], line[256];
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    assert_non_null(f = fopen(path, "re"));
    while (fgets(line, sizeof line, f))
        if (sscanf(line, format, &kib) == 1) sum += kib;
    fclose(f);
    return (double)sum;
}

double usage_kib(pid_t pid)
{
    return read_kib(pid, "smaps_rollup", "Rss: %lu kB");
}

double usage_peak_kib(pid_t pid)
{
    return read_kib(pid, "status", "VmHWM: %lu kB");
}

/* Preloaded into the coordinator of an emulated run: the files by which it knows a driver are there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

int access(const char *path, int mode);

int access(const char *path, int mode)
{
    static int (*real)(const char *, int);

    if (!strcmp(path, "/proc/driver/nvidia/version") || !strcmp(path, "/dev/nvidia0")) return 0;
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "access");
    return real(path, mode);
}

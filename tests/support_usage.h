/* What a running process takes of the machine. Each fails the test where the process is gone. */
#pragma once
#include <sys/types.h>

/* KiB of memory in use: anonymous, of files and shared. Counted page by page: VmRSS of status is only near it. */
double usage_kib(pid_t pid);
/* The most that it had in its life, as the kernel keeps it (VmHWM). */
double usage_peak_kib(pid_t pid);
double usage_descriptors(pid_t pid);
double usage_threads(pid_t pid);

/* A running sluice as its murderer sees it: its stages by name, and what is left when it is gone. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VICTIM_STAGES 3
extern const char *const victim_stage[VICTIM_STAGES]; /* "reader", "transfer", "compute" */

/* Process of that stage under this coordinator; 0: there is none (yet). */
pid_t victim_find(pid_t coordinator, int stage);
/* The one that was started last, where there are several. */
pid_t victim_last(pid_t coordinator, int stage);
/* The first, waiting for it; 0 after the limit. */
pid_t victim_wait(pid_t coordinator, int stage, int limit_ms);
bool victim_gone(pid_t pid); /* ended; a zombie that nobody has waited for counts as gone */

/* What this run has left after limit_ms at most: processes of its group or among pid[n], names in /dev/shm, sockets and their files.
 * true: something, named in text. */
bool victim_leftovers(pid_t coordinator, const pid_t *pid, int n, int limit_ms, char *text, size_t room);

void nap_ms(int ms);
uint64_t now_ns(void);

/* Shared memory of one run. Named segments (POSIX, mode 0600) exist by name only until all stages are attached; the host
 * cache is an anonymous memory file inherited by the stages, so that it is not bound by the size of /dev/shm.
 *
 * Space is reserved when a segment is made: a full /dev/shm is an error here, and never a SIGBUS later. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/error.h"

struct shm {
    char name[64]; /* "" for an anonymous one */
    void *base;
    uint64_t bytes;
    int fd; /* of an anonymous one, else -1 */
};

#define SHM_NONE {.fd = -1}

/* Creates, reserves and maps read-write; zeroed. -ENOSPC with the remedy where /dev/shm is too small. */
int shm_create(struct shm *s, const char *name, uint64_t bytes, struct error *e);
/* An anonymous file that children inherit (not close-on-exec); memory is taken as it is written. */
int shm_create_anonymous(struct shm *s, const char *label, uint64_t bytes, struct error *e);
/* Maps what another process made; its size is taken from the segment itself. */
int shm_attach(struct shm *s, const char *name, bool writable, struct error *e);
int shm_attach_fd(struct shm *s, int fd, uint64_t bytes, bool writable, struct error *e);

void shm_unlink_name(struct shm *s); /* forgets the name, keeps the mapping; harmless twice */
void shm_close(struct shm *s);       /* unmaps, and unlinks if this process created it and did not yet */

uint64_t shm_free_bytes(void); /* free in /dev/shm; UINT64_MAX where that cannot be told */

/* Shared memory of one run. Segments are POSIX shared memory (shm_open, mode 0600), of which the name is removed in the same
 * breath: the stages inherit the descriptors, so that not even kill -9 of everything leaves a name behind. The host cache
 * is an anonymous memory file, so that it is not bound by the size of /dev/shm.
 *
 * Space is reserved when a segment is made: a full /dev/shm is an error here, and never a SIGBUS later. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"

struct shm {
    void *base;
    uint64_t bytes;
    int fd; /* close-on-exec; -1 where there is none */
};

#define SHM_NONE                                                                                                       \
    {                                                                                                                  \
        .fd = -1                                                                                                       \
    }

/* Creates, reserves and maps read-write; zeroed. label goes into messages. -ENOSPC with the remedy where /dev/shm is too
 * small. */
int shm_create(struct shm *s, const char *label, uint64_t bytes, struct error *e);
/* The same without a file system behind it: memory is taken as it is written, nothing is reserved. */
int shm_create_anonymous(struct shm *s, const char *label, uint64_t bytes, struct error *e);
/* Maps a segment that another process made, and takes over its descriptor. bytes 0: all of it. */
int shm_attach(struct shm *s, int fd, uint64_t bytes, bool writable, struct error *e);
void shm_close(struct shm *s);

/* Disks take a read of megabytes whole where it lands in few pieces of memory: large pages more than double what some of
 * them give. shm_create() asks for them; this does for [offset, offset + bytes) of a segment made by shm_create_anonymous(),
 * before it is written, in whole large pages that begin inside. Whether they are granted is the system's choice; false: not
 * all were, or there was no whole one (page.h says how large they are). A call costs a wait for every processor,
 * milliseconds where these compute, however many bytes it is for: ask for many at once. */
bool shm_large_pages(void *base, uint64_t base_bytes, uint64_t offset, uint64_t bytes);

/* Maps every page of a small segment now instead of at its first use; an older kernel does not, and nothing is lost. */
void shm_populate(const struct shm *s);

/* Keeps memory out of swap, page by page as it is first touched, in whichever process is asked. NULL: nothing. -ENOMEM,
 * -EPERM: the limit on locked memory (ulimit -l) does not allow it. */
int shm_lock(void *base, uint64_t bytes);
bool shm_swap_exists(void); /* does this system have swap at all? */

uint64_t shm_free_bytes(void); /* free in /dev/shm; UINT64_MAX where that cannot be told */

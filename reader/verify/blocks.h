/* One file, read in blocks from several threads at once: what the page cache holds is read from there, the rest past
 * it (O_DIRECT) where the file system allows that. */
#pragma once
#include <stdint.h>
#include "proto/verify.h"

#define BLOCKS_ALIGN 4096u /* of offsets, lengths and memory of direct reads */

struct blocks {
    const char *path;
    uint64_t bytes;
    uint64_t ctime_ns;        /* when it was opened */
    int buffered, direct;     /* descriptors; -1: there is none */
    _Atomic uint32_t refused; /* direct reads were refused once */
    enum verify_io io;
};

/* 0, or a positive errno as struct verify_file has it; ESTALE: not the file that f names, or not of its size or time. */
int blocks_open(struct blocks *s, const char *path, const struct verify_file *f, enum verify_io io);
void blocks_close(struct blocks *s);

/* Reads [offset, offset + bytes) (which the file has) to p; offset and p are aligned to BLOCKS_ALIGN, and p has room for
 * bytes rounded up to it. From any thread. 0 or a positive errno; ESTALE: the file is shorter now. */
int blocks_load(struct blocks *s, uint64_t offset, uint8_t *p, uint64_t bytes);

/* Is it still the file that f describes, under its name too? 0, ESTALE, or another positive errno. EAGAIN: only its inode was
 * touched since it was opened (chmod does that, and whoever writes and puts the time back): what was read may not be what is
 * there, so it is to be opened and read again. */
int blocks_unchanged(const struct blocks *s, const struct verify_file *f);

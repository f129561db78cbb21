/* Files that others wrote, opened for reading without ever waiting for anybody.
 *
 * Under any name of a model folder may lie a pipe, a device, a socket, a folder or a link to nothing. Opening a pipe
 * waits for a writer, and opening a device may have effects: what is no regular file is refused before it is opened, and
 * looked at again afterwards.
 *
 * Every message names the path, what lies there and what to do. -ENOENT: no such name. -ENOLINK: a link whose target is
 * not there; that is not the same, since somebody meant a file to be there. -EINVAL: not a regular file. -EACCES. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include "proto/base/error.h"

/* Would file_open() take it? st (or NULL) gets what lies there, behind links. */
int file_check(const char *path, struct stat *st, struct error *e);
/* The caller closes *fd. */
int file_open(const char *path, int *fd, struct stat *st, struct error *e);
/* The same for fread() and getline(); NULL with the error in e, which may not be NULL. */
FILE *file_stream(const char *path, struct error *e);

/* Of a file that a person names, a pipe or a device may serve too: file_stream() for these as well. Still nobody is waited
 * for: a pipe that has no writer is at its end. */
FILE *file_named_stream(const char *path, struct error *e);

/* What direct reads (O_DIRECT) of this file ask for: offsets, lengths and memory at multiples of it. 0: its file system does not
 * say (before Linux 6.1 none does), and what becomes of such a read is seen when it is made. */
uint32_t file_direct_align(int fd);

/* bytes at offset: 0, -errno, or -EIO where the file ends before. */
int file_read_at(int fd, void *out, uint64_t bytes, uint64_t offset);
/* All of it, one 0 after its bytes; *out belongs to the caller. -EFBIG where it has more than max_bytes. */
int file_load(char **out, uint64_t *bytes, const char *path, uint64_t max_bytes, struct error *e);

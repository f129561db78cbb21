/* git LFS keeps a large file outside of a repository and a small text in its place. A folder that was cloned without it
 * holds such texts where weights should be.
 * Format: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"

#define LFS_POINTER_BYTES 1024u /* no pointer is longer */

struct lfs_pointer {
    char sha256[65]; /* of the file that is meant; "": not named */
    uint64_t bytes;
};

/* Is this text, the whole of a file, such a pointer? */
bool lfs_pointer_parse(struct lfs_pointer *p, const char *text, size_t bytes);
/* The same of a file; false where it cannot be read. */
bool lfs_pointer_read(struct lfs_pointer *p, const char *path);
/* The message: what is there instead, and what to do. -ENODATA. */
int lfs_pointer_error(struct error *e, const char *path, const struct lfs_pointer *p);

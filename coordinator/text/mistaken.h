/* What lies in the place of a file that never arrived: a git LFS pointer, a page or a message of the server, zeros that a
 * download reserved, nothing at all; or a file of another format under the name of this one. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"

#define MISTAKEN_HEAD_BYTES 1024u /* of a file that have to be looked at */

/* head: the first bytes of the file at path, which has file_bytes. Says what it is and what to do: -ENODATA for a
 * git LFS pointer, -EINVAL for the others, 0 where nothing of that is so. */
int mistaken_look(const char *path, const char *head, size_t head_bytes, uint64_t file_bytes, struct error *e);
/* The same of the file at path, which is opened as file_open() does: its errors too. */
int mistaken_file(const char *path, struct error *e);

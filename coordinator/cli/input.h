/* Text from standard input or from a file that a person names: a regular file, or a pipe or device, which may take its
 * time and may have been set not to block. Once interrupt_setup() was called, Ctrl-C and its kin end the waiting
 * (-ECANCELED). */
#pragma once
#include <stddef.h>
#include <sys/types.h>
#include "coordinator/cli/options.h"
#include "coordinator/source/inputs.h"
#include "proto/base/error.h"

/* The most that is of use, so that what never ends, or is the wrong file, is no reason to run out of memory. */
struct input_limit {
    size_t bytes;
    char why[200]; /* ends the message: "NAME is longer than N bytes: why" */
};
struct input_limit input_limit_json(void); /* of files of messages and the like */

/* All of it, with a NUL behind; *text is malloc'ed. path NULL or "-": standard input. -E2BIG: longer than the limit, which
 * is told of a regular file before it is read. */
int input_read(const char *path, const struct input_limit *limit, char **text, size_t *bytes, struct error *e);
/* -E2BIG and the message. */
int input_too_long(const char *name, const struct input_limit *limit, struct error *e);
const char *input_name(const char *path); /* for messages: the path, or "standard input" */
/* The file descriptor of what input_read() would read; close() it where it is not STDIN_FILENO. */
int input_open(const char *path, struct error *e);
/* What there is, up to room bytes; 0 at the end, -errno. */
ssize_t input_some(int fd, void *out, size_t room);

/* All that a command with these options reads, so that none of its outputs replaces it. */
struct inputs input_all(const struct options *o);

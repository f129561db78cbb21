/* Text from standard input or from a file that a person names: a regular file, or a pipe or device, which may take its
 * time and may have been set not to block. Once interrupt_setup() was called, Ctrl-C and its kin end the waiting
 * (-ECANCELED). */
#pragma once
#include <stddef.h>
#include <sys/types.h>
#include "coordinator/cli/options.h"
#include "coordinator/source/inputs.h"
#include "proto/base/error.h"

/* All of it, with a NUL behind; *text is malloc'ed. path NULL or "-": standard input. */
int input_read(const char *path, char **text, size_t *bytes, struct error *e);
/* What there is, up to room bytes; 0 at the end, -errno. */
ssize_t input_some(int fd, void *out, size_t room);

/* All that a command with these options reads, so that none of its outputs replaces it. */
struct inputs input_all(const struct options *o);

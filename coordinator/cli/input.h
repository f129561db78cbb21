/* Whole files and standard input, for commands that take a text. */
#pragma once
#include <stddef.h>
#include "coordinator/cli/options.h"
#include "coordinator/source/inputs.h"
#include "proto/base/error.h"

/* path NULL or "-": standard input. *text is the caller's to free, has *bytes bytes and a NUL after them. The message
 * names the file. */
int input_read(const char *path, char **text, size_t *bytes, struct error *e);

/* All that a command with these options reads, so that none of its outputs replaces it. */
struct inputs input_all(const struct options *o);

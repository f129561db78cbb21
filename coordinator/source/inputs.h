/* What a command reads, so that none of its outputs replaces it: the files of the model, and others that it was given. They
 * are told by their inodes, so also under the name of a link, and in a folder that has several names. */
#pragma once
#include <sys/stat.h>
#include "proto/base/error.h"
#include "proto/base/output.h"

#define INPUTS_FILES 4

struct inputs {
    const char *model;              /* a folder or a file; NULL: none */
    const char *file[INPUTS_FILES]; /* others, NULL: none */
};

/* For output_options.refuse, with a struct inputs. In a model's folder may be written what a model does not consist of; a
 * file that is part of it is refused, and a new one that would become part of it by its name. */
int inputs_refuse(void *inputs, const char *path, const struct stat *st, struct error *e);
/* in must outlive the opening. Ctrl-C ends a wait. */
struct output_options inputs_options(struct inputs *in);

/* The keys of --api-key and --api-key-file: one a line there, empty lines and those that begin with # are none. */
#pragma once
#include <stddef.h>
#include "coordinator/cli/options.h"
#include "proto/base/error.h"

struct keys {
    char **key;
    size_t count;
};

int keys_read(struct keys *k, const struct options *o, struct error *e);
void keys_free(struct keys *k);

/* From what a user gives to the folder that holds the model:
 *
 *   a folder                         itself
 *   models--ORG--NAME of a hub cache its snapshot: the one that refs/main names, else the only one
 *   config.json, an index            its folder
 *   one of the safetensors files     its folder, where the model's tensors are taken from that file
 *
 * Anything else is told what it is (explain.h). Whether a model lies in the folder is not asked here: a tokenizer or a
 * template alone is enough for some commands. */
#pragma once
#include "proto/base/error.h"

struct place {
    char *folder;
    char *name; /* for people: "ORG/NAME" of a cache, else the last part of the path */
};

/* -ENOENT, -ENOTDIR, -EINVAL. */
int place_find(struct place *p, const char *path, struct error *e);
void place_free(struct place *p);

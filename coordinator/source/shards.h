/* Which safetensors files of a folder are the model's where no index says so: what their names tell.
 *
 *   NAME-00001-of-00005.safetensors   a set, numbered from 1 (or 0); all of it must be there
 *   consolidated*.safetensors         Mistral's own, beside others of the same weights: only where there are no others
 *   anything else                     all of them together; not adapters
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "proto/base/error.h"

struct shards {
    char **name; /* sorted */
    size_t count;
};

/* Names of files of the folder, or none. -ENOENT with the name of the first that is missing of a set, or -EINVAL where
 * there are two sets. */
int shards_find(struct shards *s, const char *folder, struct error *e);
void shards_free(struct shards *s);
/* "NAME-00002-of-00005.safetensors": 2 and 5, and the bytes of NAME. false: not of that kind. */
bool shards_parse(const char *name, unsigned *number, unsigned *of, size_t *stem_bytes);

/* Which block size and depth the model's own files are read fastest with: a few settings by turns, a quarter of a second in
 * all. A larger one has to be faster by a margin, since a disk's speed is never the same twice. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"
#include "reader/probe.h"

struct tune_result {
    uint64_t block_bytes, bytes_per_second;
    uint32_t depth; /* 0: nothing could be read */
};

int tune(struct probe *p, struct tune_result *out, struct error *e);

/* Counts NaN and infinity in a file's spans while its bytes pass, in order and in blocks of any size.
 *
 * Spans may begin at odd offsets and blocks of a form may be cut by the borders of what is read: both are how safetensors files are. */
#pragma once
#include <stdint.h>
#include "proto/verify.h"

struct counter {
    struct verify_span *span;
    uint64_t spans, current;
    uint8_t carry[FORM_BLOCK_MOST]; /* the beginning of a block that the last piece cut */
    uint32_t carried;
};

/* Zeroes the spans' counts. */
void counter_begin(struct counter *c, struct verify_span *span, uint64_t spans);
/* The file's bytes [offset, offset + bytes); offset is where the last call ended. */
void counter_feed(struct counter *c, uint64_t offset, const uint8_t *p, uint64_t bytes);

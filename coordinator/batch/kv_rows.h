/* Rows of the KV cache, given out in blocks that sequences can share.
 *
 *   free  --kv_rows_take()-->  held by 1  --kv_rows_share()-->  held by n  --kv_rows_release()-->  n - 1 ... --> free
 *
 * A block is KV_BLOCK consecutive rows (the last one of the cache perhaps fewer). Rows that several sequences see are
 * written once: each row is empty, in the sweep under way, or written, and whoever finds one in the sweep waits for the next
 *
 *   empty  --kv_rows_begin()-->  in the sweep  --kv_rows_end(done)-->  written     (not done: empty)
 *   any    --kv_rows_forget(), or its block was given back-->  empty
 *
 * Which row holds which token is the business of sequence.h; keys and values lie in compute, and nothing here touches
 * them. Single-threaded. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/plan/plan.h" /* KV_BLOCK */
#include "proto/base/error.h"

#define KV_NONE UINT32_MAX

struct kv_rows;

int kv_rows_open(struct kv_rows **out, uint32_t rows, struct error *e);
void kv_rows_close(struct kv_rows *k); /* whoever still holds blocks must not use them any more */

/* A free block, now held once; KV_NONE where there is none. The one that follows `after` where that is free, so that a
 * sequence's rows are consecutive; after KV_NONE: where the most free blocks follow. */
uint32_t kv_rows_take(struct kv_rows *k, uint32_t after);
void kv_rows_share(struct kv_rows *k, uint32_t block);
void kv_rows_release(struct kv_rows *k, uint32_t block);

uint32_t kv_rows_first(const struct kv_rows *k, uint32_t block); /* its first row */
uint32_t kv_rows_size(const struct kv_rows *k, uint32_t block);  /* rows in it */
uint32_t kv_rows_block(const struct kv_rows *k, uint32_t row);   /* the block that a row is in */
uint32_t kv_rows_holders(const struct kv_rows *k, uint32_t block);
uint32_t kv_rows_free(const struct kv_rows *k); /* rows in free blocks */

enum kv_row_state { KV_ROW_EMPTY, KV_ROW_IN_SWEEP, KV_ROW_WRITTEN };
enum kv_row_state kv_rows_state(const struct kv_rows *k, uint32_t row);
void kv_rows_begin(struct kv_rows *k, uint32_t row);
void kv_rows_end(struct kv_rows *k, uint32_t row, bool done);
void kv_rows_forget(struct kv_rows *k);               /* the cache was lost: all rows are empty */
uint32_t kv_rows_generation(const struct kv_rows *k); /* how often that was */

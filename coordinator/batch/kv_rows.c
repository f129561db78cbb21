#include "coordinator/batch/kv_rows.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct kv_rows {
    uint32_t rows, blocks, free_rows, generation;
    uint8_t *state;     /* [rows] enum kv_row_state */
    uint32_t holders[]; /* [blocks] */
};

int kv_rows_open(struct kv_rows **out, uint32_t rows, struct error *e)
{
    uint32_t blocks = rows / KV_BLOCK + (rows % KV_BLOCK != 0);
    struct kv_rows *k = calloc(1, sizeof *k + blocks * sizeof *k->holders);

    if (k) k->state = calloc(rows ? rows : 1, 1);
    if (!k || !k->state) {
        free(k);
        return error_set(e, ENOMEM, "no memory for the tables of %u cache rows", rows);
    }
    k->rows = k->free_rows = rows;
    k->blocks = blocks;
    *out = k;
    return 0;
}

void kv_rows_close(struct kv_rows *k)
{
    if (k) free(k->state);
    free(k);
}

/* The first block of the longest stretch of free ones. */
static uint32_t longest_free(const struct kv_rows *k)
{
    uint32_t best = KV_NONE, best_length = 0, length;

    for (uint32_t i = 0; i < k->blocks; i += length + 1) {
        for (length = 0; i + length < k->blocks && !k->holders[i + length];) length++;
        if (length > best_length) {
            best = i;
            best_length = length;
        }
    }
    return best;
}

uint32_t kv_rows_take(struct kv_rows *k, uint32_t after)
{
    uint32_t block = after != KV_NONE && after + 1 < k->blocks && !k->holders[after + 1] ? after + 1 : longest_free(k);

    if (block == KV_NONE) return KV_NONE;
    k->holders[block] = 1;
    k->free_rows -= kv_rows_size(k, block);
    return block;
}

void kv_rows_share(struct kv_rows *k, uint32_t block)
{
    assert(block < k->blocks && k->holders[block]);
    k->holders[block]++;
}

void kv_rows_release(struct kv_rows *k, uint32_t block)
{
    assert(block < k->blocks && k->holders[block]);
    if (--k->holders[block]) return;
    k->free_rows += kv_rows_size(k, block);
    memset(k->state + kv_rows_first(k, block), KV_ROW_EMPTY, kv_rows_size(k, block));
}

uint32_t kv_rows_first(const struct kv_rows *k, uint32_t block)
{
    (void)k;
    return block * KV_BLOCK;
}

uint32_t kv_rows_size(const struct kv_rows *k, uint32_t block)
{
    return k->rows - block * KV_BLOCK < KV_BLOCK ? k->rows - block * KV_BLOCK : KV_BLOCK;
}

uint32_t kv_rows_block(const struct kv_rows *k, uint32_t row)
{
    (void)k;
    return row / KV_BLOCK;
}

uint32_t kv_rows_holders(const struct kv_rows *k, uint32_t block)
{
    return k->holders[block];
}

uint32_t kv_rows_free(const struct kv_rows *k)
{
    return k->free_rows;
}

enum kv_row_state kv_rows_state(const struct kv_rows *k, uint32_t row)
{
    return (enum kv_row_state)k->state[row];
}

void kv_rows_begin(struct kv_rows *k, uint32_t row)
{
    k->state[row] = KV_ROW_IN_SWEEP;
}

void kv_rows_end(struct kv_rows *k, uint32_t row, bool done)
{
    k->state[row] = done ? KV_ROW_WRITTEN : KV_ROW_EMPTY;
}

void kv_rows_forget(struct kv_rows *k)
{
    memset(k->state, KV_ROW_EMPTY, k->rows);
    k->generation++;
}

uint32_t kv_rows_generation(const struct kv_rows *k)
{
    return k->generation;
}

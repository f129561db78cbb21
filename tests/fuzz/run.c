/* A epoch segment: bytes laid over a good one of small rings, in pieces of (where: two bytes, how many: one byte, bytes). What is
 * believed is used as the stages use it: rings of both kinds and lanes, and the requests. */
#include "proto/epoch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ring.h"
#include "proto/rows.h"
#include "tests/fuzz/fuzz.h"

static uint64_t touched;

static void use_ring(struct epoch_shm *r, int device, enum lane_id lane)
{
    struct ring ring;
    struct ring_entry *x;
    struct error e;

    ring_attach(&ring, r, device, lane, STAGE_READER);
    ring_check(ring.shm, &e);
    for (int i = 0; i < 3; i++) {
        if ((x = ring_reserve(&ring))) {
            x->tile = 1;
            ring_publish(&ring);
        }
        if ((x = ring_peek(&ring))) touched += x->tile;
        if ((x = ring_take(&ring))) touched += x->offset;
        if (x) ring_release(&ring);
    }
}

static void use(struct epoch_shm *r)
{
    uint32_t tile = 0;
    bool last;

    for (int device = 0; device < 2; device++)
        for (int lane = 0; lane < LANES; lane++) use_ring(r, device, (enum lane_id)lane);
    request_push(r, tile);
    request_pop(r, &tile);
    rows_list(r, 0, &tile, 1);
    if (rows_at(r, 0, &tile)) touched += tile;
    while (rows_next(r, &tile, &last)) touched += tile;
    touched += (uint64_t)epoch_state(r);
    epoch_fail(r, STAGE_COMPUTE);
    epoch_stop(r);
}

static void run(const uint8_t *data, size_t bytes)
{
    struct plan_run settings = {.entries = {4, 2, 4}, .max_positions = 5};
    uint64_t size = epoch_bytes(&settings);
    struct epoch_shm *r = aligned_alloc(64, (size + 63) / 64 * 64);
    struct error e = {0};

    if (!r) return;
    memset(r, 0, size);
    epoch_init(r, &settings, 3);
    for (size_t i = 0; i + 3 < bytes;) {
        uint16_t where;
        uint64_t at;
        size_t n = data[i + 2] % 16u + 1u;

        memcpy(&where, data + i, 2);
        /* The header and the rings; the requests between them are data. */
        at = where % 1024u < 768 ? where % 1024u : size - 2048 + where % 2048u;
        for (size_t k = 0; k < n && i + 3 + k < bytes && at + k < size; k++) ((uint8_t *)r)[at + k] = data[i + 3 + k];
        i += 3 + n;
    }
    if (!epoch_check(r, size, &e))
        use(r);
    else if (strlen(e.text) < 10)
        fuzz_fail("an error without a message");
    free(r);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    uint8_t seed[3 + 8] = {0};

    emit(arg, seed, 0);
    for (unsigned where = 0; where < 160; where += 4) {
        seed[0] = (uint8_t)where;
        seed[2] = 7;
        seed[3] = 64;
        emit(arg, seed, sizeof seed);
    }
}

const struct fuzz_target fuzz_run = {"run", run, seeds, -1};

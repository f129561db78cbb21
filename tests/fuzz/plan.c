/* A plan segment. First byte: below TEST_PLANS the rest is a list of changes to that plan, 10 bytes each (where, a multiple
 * of two: two bytes; xor or set: the low bit; the value: eight bytes); else the rest is the segment itself. A plan that is
 * believed is walked as the stages walk it. */
#include <stdlib.h>
#include <string.h>

#include "proto/plan.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support_walk.h"

#define CHANGE 10u

static void check(const struct plan_shm *p, uint64_t bytes)
{
    struct error e = {0};

    if (!plan_check(p, bytes, &e))
        plan_walk(p);
    else if (strlen(e.text) < 10)
        fuzz_fail("an error without a message");
}

/* Larger plans are hit in the header and in their first tables mostly: a place is 16 bits of words. */
static void change(uint8_t *plan, uint64_t bytes, const uint8_t *c)
{
    uint16_t where;
    uint64_t at, value, old;
    size_t size;

    memcpy(&where, c, 2);
    memcpy(&value, c + 2, 8);
    size = where & 2 ? 8 : 4;
    at = (uint64_t)(where >> 2) * 4;
    if (at + size > bytes) at %= bytes - 8;
    memcpy(&old, plan + at, size);
    if (where & 1) value ^= old;
    memcpy(plan + at, &value, size);
}

static void run(const uint8_t *data, size_t bytes)
{
    static struct plan_shm *plan[TEST_PLANS];
    static uint64_t plan_bytes[TEST_PLANS];
    uint8_t *own;
    unsigned which;

    if (!bytes) return;
    which = *data++;
    bytes--;
    if (which < TEST_PLANS) {
        if (!plan[which]) plan[which] = test_plan(which, &plan_bytes[which]);
        own = malloc(plan_bytes[which]);
        if (!own) return;
        memcpy(own, plan[which], plan_bytes[which]);
        for (size_t i = 0; i + CHANGE <= bytes && i < 16 * CHANGE; i += CHANGE)
            change(own, plan_bytes[which], data + i);
        check((const struct plan_shm *)(const void *)own, plan_bytes[which]);
    } else {
        own = malloc(bytes ? bytes : 1); /* aligned, and exactly so much */
        if (!own) return;
        memcpy(own, data, bytes);
        check((const struct plan_shm *)(const void *)own, bytes);
    }
    free(own);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    uint8_t seed[1 + CHANGE];

    for (uint8_t which = 0; which < TEST_PLANS; which++) {
        uint64_t bytes;
        struct plan_shm *p = test_plan(which, &bytes);
        uint8_t *whole = malloc(bytes + 1);

        emit(arg, &which, 1);
        for (unsigned at = 0; at < sizeof *p / 4; at += 3) { /* a change at every third word of the header */
            uint16_t where = (uint16_t)(at << 2 | 1);

            memset(seed, 0, sizeof seed);
            seed[0] = which;
            memcpy(seed + 1, &where, 2);
            seed[3] = 1;
            emit(arg, seed, sizeof seed);
        }
        if (!whole) abort();
        whole[0] = 'p';
        memcpy(whole + 1, p, bytes);
        emit(arg, whole, bytes + 1);
        free(whole);
        free(p);
    }
}

const struct fuzz_target fuzz_plan = {"plan", run, seeds, -1};

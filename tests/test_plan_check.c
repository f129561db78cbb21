/* plan_check() against plans that somebody has tampered with: each is refused, or walking it as the stages do stays
 * inside of what they have mapped and allocated. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/plan.h"
#include "tests/support_walk.h"

/* splitmix64: the same numbers everywhere */
static uint64_t random_state;
static uint64_t random64(void)
{
    uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---- tampering ---- */

static uint64_t odd_value(uint64_t now)
{
    static const uint64_t values[] = {0,
                                      1,
                                      2,
                                      3,
                                      16,
                                      4095,
                                      4096,
                                      4097,
                                      UINT16_MAX,
                                      UINT32_MAX,
                                      UINT32_MAX - 1,
                                      UINT32_MAX / 2,
                                      UINT64_MAX,
                                      UINT64_MAX - 1,
                                      UINT64_C(1) << 63,
                                      UINT64_C(1) << 32,
                                      UINT64_C(0xfffffffffffff000)};
    uint64_t r = random64();

    switch (r % 4) {
    case 0: return values[(r >> 8) % (sizeof values / sizeof *values)];
    case 1: return now + 1 + (r >> 8) % 3;
    case 2: return now - 1 - (r >> 8) % 3;
    default: return now ^ (UINT64_C(1) << ((r >> 8) % 64));
    }
}

/* One word of the image, of 2, 4 or 8 bytes, gets another value; mostly in the header and the small tables. */
static void tamper(struct plan_shm *p, const struct plan_shm *good, uint64_t bytes)
{
    uint64_t size = UINT64_C(2) << (random64() % 3), r = random64(), at, value = 0;

    if (r % 4 == 0)
        at = (r >> 8) % sizeof *p;
    else if (r % 4 == 1 && good->ops.count)
        at = good->ops.offset + (r >> 8) % (good->ops.count * sizeof(struct plan_op));
    else
        at = (r >> 8) % bytes;
    at = at / size * size;
    if (at + size > bytes) return;
    memcpy(&value, (char *)p + at, size);
    value = odd_value(value);
    memcpy((char *)p + at, &value, size);
}

static void tamper_many(size_t shape, int rounds)
{
    uint64_t bytes, passed = 0;
    struct plan_shm *good = test_plan(shape, &bytes), *bad = malloc(bytes);

    assert_non_null(bad);
    plan_walk(good);
    for (int i = 0; i < rounds; i++) {
        struct error e = {0};
        int rc;

        memcpy(bad, good, bytes);
        for (uint64_t n = 1 + random64() % 3; n; n--) tamper(bad, good, bytes);
        rc = plan_check(bad, bytes, &e);
        if (rc) {
            assert_int_equal(rc, -EPROTO);
            assert_true(strlen(e.text) > 10);
            continue;
        }
        passed++;
        plan_walk(bad);
    }
    print_message("shape %zu: %d tampered plans, %llu of them harmless\n", shape, rounds, (unsigned long long)passed);
    assert_true(passed < (uint64_t)rounds);
    free(bad);
    free(good);
}

static void test_tampered(void **state)
{
    (void)state;
    random_state = 20250710;
    for (size_t i = 0; i < TEST_PLANS; i++) tamper_many(i, 20000);
}

static void test_truncated(void **state)
{
    uint64_t bytes;
    struct plan_shm *p = test_plan(0, &bytes);
    struct error e;

    (void)state;
    for (uint64_t n = 0; n < bytes; n += n < sizeof *p ? 1 : 997) {
        struct plan_shm *cut = malloc(n ? n : 1); /* exactly so much, for the address sanitizer */

        memcpy(cut, p, n);
        assert_int_equal(plan_check(cut, n, &e), -EPROTO);
        free(cut);
    }
    free(p);
}

/* What was found to matter, one by one. */
static void expect_refused(struct plan_shm *p, const char *text)
{
    struct error e = {0};

    assert_int_equal(plan_check(p, p->bytes, &e), -EPROTO);
    if (!strstr(e.text, text)) fail_msg("\"%s\" does not say \"%s\"", e.text, text);
}

static void test_named_faults(void **state)
{
    uint64_t bytes;
    struct plan_shm *p = test_plan(2, &bytes);
    struct plan_tile *tiles = (void *)((char *)p + p->tiles.offset);
    struct plan_part *parts = (void *)((char *)p + p->parts.offset);
    char *strings = (char *)p + p->strings.offset;

    (void)state;
#define FAULT(lvalue, value, text)                                                                                     \
    do {                                                                                                               \
        __typeof__(lvalue) keep = lvalue;                                                                              \
        lvalue = value;                                                                                                \
        expect_refused(p, text);                                                                                       \
        lvalue = keep;                                                                                                 \
    } while (0)
    FAULT(p->magic, 0, "not a plan segment");
    FAULT(p->version, 77, "one build");
    FAULT(p->bytes, bytes / 2, "outside");
    FAULT(p->tiles.offset, 1, "tiles");
    FAULT(strings[p->strings.count - 1], 'x', "do not end");
    FAULT(p->run.slot_bytes, 8192, "slots have 8192");
    FAULT(p->run.slot_bytes, 8191, "slots of 8191");
    FAULT(p->run.entries[1], 17, "ring entries");
    FAULT(p->run.transfer_slots[0], 2, "device slots");
    FAULT(p->run.max_logits, p->run.max_positions + 1, "logits");
    FAULT(p->run.expert_cache_bytes, p->run.host_cache_bytes + 4096, "host cache");
    FAULT(tiles[0].tier_off, 1, "tier");
    FAULT(tiles[1].tier_off, 0, "tier");
    FAULT(tiles[0].tier, TIER_DEVICE, "tier");
    FAULT(tiles[0].flags, 0, "tier");
    FAULT(tiles[0].span, 0, "bytes");
    FAULT(tiles[0].bytes, 1, "parts of");
    FAULT(tiles[1].part0, 0, "expected next");
    FAULT(parts[0].file_off, parts[0].file_off + 4096, "not its rows");
    FAULT(parts[0].slot_off, parts[0].slot_off + 1, "aligned");
    FAULT(parts[0].role, PART_VECTOR, "part 0");
    FAULT(parts[0].rows, 0, "rows");
    FAULT(p->spec.sweep_tiles, p->spec.sweep_tiles - 1, "tiles");
#undef FAULT
    plan_walk(p);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named_faults),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_tampered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Which experts stay in the host cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "reader/cache.h"

#define TILES 1000u

/* One request that is answered and released at once; true: a hit. */
static bool ask(struct cache *c, uint32_t tile, uint64_t *seq)
{
    enum cache_answer a;
    uint64_t offset;

    cache_count(c, tile);
    a = cache_find(c, tile, *seq, &offset);
    if (a != CACHE_PASS) cache_show(c, tile, *seq);
    ++*seq;
    return a == CACHE_HIT;
}

static struct cache *make(uint32_t places)
{
    struct cache *c = NULL;

    assert_int_equal(cache_open(&c, TILES, 4096, 8192, places * 4096ull + 4095, NULL), 0);
    assert_int_equal(cache_places(c), places < TILES ? places : TILES);
    return c;
}

static void places_are_apart(void **state)
{
    struct cache *c = make(100);
    bool taken[100] = {false};

    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        uint64_t offset = 0;

        assert_int_equal(cache_find(c, i * 7, 0, &offset), CACHE_FILL);
        cache_show(c, i * 7, i);
        assert_true(offset >= 8192 && offset % 4096 == 0 && offset < 8192 + 100 * 4096);
        assert_false(taken[(offset - 8192) / 4096]);
        taken[(offset - 8192) / 4096] = true;
        assert_int_equal(cache_find(c, i * 7, 0, &offset), CACHE_HIT);
    }
    cache_close(c);
}

static void shown_tiles_are_not_thrown_out(void **state)
{
    struct cache *c = make(4);
    uint64_t offset;

    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(cache_find(c, i, 0, &offset), CACHE_FILL);
        cache_show(c, i, i);
    }
    cache_count(c, 9);
    cache_count(c, 9);
    assert_int_equal(cache_find(c, 9, 0, &offset), CACHE_PASS); /* nothing was released */
    assert_int_equal(cache_find(c, 9, 2, &offset), CACHE_FILL); /* entries 0 and 1 were */
    cache_show(c, 9, 4);
    assert_int_equal(cache_find(c, 2, 2, &offset), CACHE_HIT);
    assert_int_equal(cache_find(c, 3, 2, &offset), CACHE_HIT);
    cache_close(c);
}

static void an_empty_cache_passes_everything(void **state)
{
    struct cache *c = make(0);
    uint64_t seq = 0;

    (void)state;
    for (uint32_t i = 0; i < 3000; i++) assert_false(ask(c, i % 10, &seq));
    cache_close(c);
    assert_int_equal(cache_open(&c, 0, 0, 0, 0, NULL), 0);
    cache_close(c);
}

/* Going round all tiles defeats a cache of the last ones used; here half of them stay. */
static void going_round_keeps_a_part(void **state)
{
    struct cache *c = make(TILES / 2);
    uint64_t seq = 0, hits = 0;

    (void)state;
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < TILES; i++) hits += ask(c, i, &seq);
    }
    assert_true(hits > 19 * TILES / 2 * 95 / 100);
    cache_close(c);
}

/* Some tiles are asked for ten times as often: they are found; then the fashion changes, and so does the cache. */
static void hot_tiles_stay_and_fade(void **state)
{
    struct cache *c = make(100);
    uint64_t seq = 0;

    (void)state;
    srandom(3);
    for (uint32_t phase = 0; phase < 3; phase++) {
        uint64_t hot = 0, hits = 0;

        for (uint32_t i = 0; i < 60000; i++) {
            bool is_hot = random() % 2;
            uint32_t tile = is_hot ? phase * 100 + (uint32_t)random() % 80 : (uint32_t)random() % TILES;
            bool hit = ask(c, tile, &seq);

            if (i >= 40000 && is_hot) hot++, hits += hit;
        }
        assert_true(hits > hot * 90 / 100);
    }
    cache_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_apart),
        cmocka_unit_test(shown_tiles_are_not_thrown_out),
        cmocka_unit_test(an_empty_cache_passes_everything),
        cmocka_unit_test(going_round_keeps_a_part),
        cmocka_unit_test(hot_tiles_stay_and_fade),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

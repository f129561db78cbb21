/* The checksum of bytes: the same however they are cut, another for any change of one word, for words that change places, and
 * for changes that would cancel out in a plain sum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/checksum.h"

#define BYTES 4096u

static void fill(uint8_t *p, size_t n)
{
    uint32_t x = 12345;

    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (uint8_t)(x >> 24);
    }
}

static uint64_t sum(const void *p, size_t n)
{
    struct checksum c;

    checksum_begin(&c);
    checksum_feed(&c, p, n);
    return checksum_end(&c);
}

static void cut_anywhere(void **state)
{
    uint8_t p[BYTES];

    (void)state;
    fill(p, sizeof p);
    for (size_t n = 0; n <= 200; n++) {
        for (size_t a = 0; a <= n; a += 1 + n / 40) {
            struct checksum c;

            checksum_begin(&c);
            checksum_feed(&c, p, a);
            checksum_feed(&c, p + a, (n - a) / 3);
            checksum_feed(&c, p + a + (n - a) / 3, n - a - (n - a) / 3);
            assert_true(checksum_end(&c) == sum(p, n));
        }
    }
}

static void each_bit_counts(void **state)
{
    uint8_t p[BYTES];
    uint64_t was;

    (void)state;
    fill(p, sizeof p);
    for (size_t n = 1; n <= 1025; n += 128) {
        was = sum(p, n);
        for (size_t i = 0; i < n; i++) {
            for (int bit = 0; bit < 8; bit++) {
                p[i] ^= (uint8_t)(1 << bit);
                assert_true(sum(p, n) != was);
                p[i] ^= (uint8_t)(1 << bit);
            }
        }
    }
}

static void length_counts(void **state)
{
    uint8_t p[300] = {0};

    (void)state;
    for (size_t n = 0; n < sizeof p; n++)
        for (size_t m = 0; m < n; m++) assert_true(sum(p, n) != sum(p, m));
}

/* Pairs of words of one lane and of two: swapped, the same bit turned in both, one more here and one less there. */
static void pairs_do_not_cancel(void **state)
{
    uint64_t w[BYTES / 8], x;
    uint64_t was;

    (void)state;
    fill((uint8_t *)w, sizeof w);
    was = sum(w, sizeof w);
    for (size_t i = 0; i < 64; i++) {
        for (size_t j = i + 1; j < 64; j++) {
            x = w[i], w[i] = w[j], w[j] = x;
            assert_true(sum(w, sizeof w) != was);
            x = w[i], w[i] = w[j], w[j] = x;
            for (int bit = 0; bit < 64; bit += 21) {
                w[i] ^= UINT64_C(1) << bit, w[j] ^= UINT64_C(1) << bit;
                assert_true(sum(w, sizeof w) != was);
                w[i] ^= UINT64_C(1) << bit, w[j] ^= UINT64_C(1) << bit;
            }
            w[i]++, w[j]--;
            assert_true(sum(w, sizeof w) != was);
            w[i]--, w[j]++;
        }
    }
    assert_true(sum(w, sizeof w) == was);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(each_bit_counts),
        cmocka_unit_test(length_counts),
        cmocka_unit_test(pairs_do_not_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

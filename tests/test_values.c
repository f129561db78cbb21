/* What flags and files are given as: sizes, numbers, lists of numbers, dates; and how sizes are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/cli/options.h"
#include "coordinator/cli/values.h"

static struct error e;

static void sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"1", 1},
        {"512B", 512},
        {"1500M", 1500000000},
        {"4G", 4000000000},
        {"4g", 4000000000},
        {"4GB", 4000000000},
        {"1.5GiB", 1610612736},
        {"1.5Gi", 1610612736},
        {"64Ki", 65536},
        {"64KiB", 65536},
        {"2k", 2000},
        {"2K", 2000},
        {"1T", 1000000000000},
        {"1Ti", 1099511627776},
        {".5k", 500},
        {"1.k", 1000},
        {"0.0001k", 0},
        {"1.00000000000000000000000001k", 1000},
        {"18446744073709551615", UINT64_MAX},
        {"16777215Ti", UINT64_C(16777215) << 40},
    };
    static const char *const bad[] = {"",   "G",   ".",     ".G",  "-1",   "+1",  " 1",   "1 ",    "1 G",
                                      "1X", "1GG", "1Gib ", "1iB", "0x10", "1e9", "1,5G", "1.2.3", "1Bi"};
    static const char *const large[] = {"18446744073709551616", "99999999999999999999999", "16777216Ti", "18446745T"};
    uint64_t v;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(value_size(good[i].text, &v), 0);
        if (v != good[i].bytes) fail_msg("%s is %llu", good[i].text, (unsigned long long)v);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (value_size(bad[i], &v) != -EINVAL) fail_msg("'%s' was taken", bad[i]);
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        if (value_size(large[i], &v) != -ERANGE) fail_msg("'%s' was taken", large[i]);
}

static void size_texts(void **state)
{
    char text[32];

    (void)state;
    assert_string_equal(value_size_text(0, text, sizeof text), "0 bytes");
    assert_string_equal(value_size_text(999, text, sizeof text), "999 bytes");
    assert_string_equal(value_size_text(1500, text, sizeof text), "1.50 kB");
    assert_string_equal(value_size_text(999999, text, sizeof text), "1.00 MB");
    assert_string_equal(value_size_text(15 * UINT64_C(1000000000), text, sizeof text), "15.0 GB");
    assert_string_equal(value_size_text(UINT64_MAX, text, sizeof text), "18.4 EB");
}

static void numbers(void **state)
{
    uint64_t u;
    int64_t i;
    double d;

    (void)state;
    assert_int_equal(value_unsigned("18446744073709551615", &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(value_unsigned("0xff", &u), 0);
    assert_int_equal(u, 255);
    assert_int_equal(value_unsigned("18446744073709551616", &u), -ERANGE);
    assert_int_equal(value_unsigned("-1", &u), -EINVAL);
    assert_int_equal(value_unsigned("0x", &u), -EINVAL);
    assert_int_equal(value_unsigned("1x", &u), -EINVAL);
    assert_int_equal(value_integer("-12", &i), 0);
    assert_int_equal(i, -12);
    assert_int_equal(value_integer("9223372036854775808", &i), -ERANGE);
    assert_int_equal(value_integer("--1", &i), -EINVAL);
    assert_int_equal(value_real("0.75", &d), 0);
    assert_true(d == 0.75);
    assert_int_equal(value_real("1e-3", &d), 0);
    assert_true(d == 1e-3);
    assert_int_equal(value_real("nan", &d), -EINVAL);
    assert_int_equal(value_real("inf", &d), -EINVAL);
    assert_int_equal(value_real("0x1p3", &d), -EINVAL);
    assert_int_equal(value_real("1e999", &d), -ERANGE);
    assert_int_equal(value_real("", &d), -EINVAL);
}

static void lists_of_numbers(void **state)
{
    const char text[] = " 1 5,9\n4294967295\t0 ";
    uint32_t *v = NULL;
    size_t n;

    (void)state;
    assert_int_equal(value_numbers(text, sizeof text - 1, &v, &n, &e), 0);
    assert_int_equal(n, 5);
    assert_true(v[0] == 1 && v[1] == 5 && v[2] == 9 && v[3] == UINT32_MAX && v[4] == 0);
    free(v);
    assert_int_equal(value_numbers("", 0, &v, &n, &e), 0);
    assert_true(!v && !n);
    assert_int_equal(value_numbers("1 4294967296", 12, &v, &n, &e), -ERANGE);
    assert_non_null(strstr(e.text, "byte 2"));
    assert_int_equal(value_numbers("12 x3", 5, &v, &n, &e), -EINVAL);
    assert_non_null(strstr(e.text, "'x3' at byte 3"));
    assert_int_equal(value_numbers("1 -2", 4, &v, &n, &e), -EINVAL);
    assert_null(v);
}

static void many_numbers(void **state)
{
    size_t bytes = 2 * 100000, n;
    char *text = malloc(bytes);
    uint32_t *v = NULL;

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < bytes; i += 2) memcpy(text + i, "7 ", 2);
    assert_int_equal(value_numbers(text, bytes, &v, &n, &e), 0);
    assert_int_equal(n, 100000);
    assert_int_equal(v[99999], 7);
    free(v);
    free(text);
}

static void dates(void **state)
{
    static const char *const bad[] = {"",
                                      "2025",
                                      "2025-07-10",
                                      "2025-07-10T12:00",
                                      "2025-7-10T12:00:00",
                                      "2025-13-10T12:00:00",
                                      "2025-02-29T12:00:00",
                                      "2025-07-10T24:00:00",
                                      "2025-07-10T12:60:00",
                                      "2025-07-10T12:00:00Z",
                                      "2025-07-10x12:00:00"};
    struct tm t;

    (void)state;
    assert_int_equal(value_date("2025-07-10T12:34:56", &t), 0);
    assert_int_equal(t.tm_year, 125);
    assert_int_equal(t.tm_mon, 6);
    assert_int_equal(t.tm_mday, 10);
    assert_int_equal(t.tm_hour * 10000 + t.tm_min * 100 + t.tm_sec, 123456);
    assert_int_equal(t.tm_wday, 4);
    assert_int_equal(t.tm_yday, 190);
    assert_int_equal(value_date("2024-02-29 00:00:00", &t), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (value_date(bad[i], &t) != -EINVAL) fail_msg("'%s' was taken", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),        cmocka_unit_test(size_texts),
        cmocka_unit_test(numbers),      cmocka_unit_test(lists_of_numbers),
        cmocka_unit_test(many_numbers), cmocka_unit_test(dates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

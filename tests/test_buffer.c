/* The growing string that answers, prompts and files are gathered in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/text/buffer.h"

/* Bytes go in at the end, in the middle and by ones, and are taken away at the front; as a plain array would have it. */
static void test_like_an_array(void **state)
{
    struct buffer b = {0};
    struct error e;
    char plain[8192];
    size_t n = 0;

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        char piece[32];
        size_t bytes = i * 7 % sizeof piece;

        for (size_t k = 0; k < bytes; k++) piece[k] = (char)(i + k);
        assert_int_equal(buffer_put(&b, piece, bytes, &e), 0);
        memcpy(plain + n, piece, bytes);
        n += bytes;
        buffer_append_byte(&b, (char)i);
        plain[n++] = (char)i;
        if (i % 5 == 0) {
            size_t at = n / 3;

            buffer_insert(&b, at, "\0in", 3);
            memmove(plain + at + 3, plain + at, n - at);
            memcpy(plain + at, "\0in", 3);
            n += 3;
        }
        if (i % 9 == 0) {
            buffer_drop(&b, n / 4);
            memmove(plain, plain + n / 4, n - n / 4);
            n -= n / 4;
        }
        assert_true(n + 40 < sizeof plain);
        assert_int_equal(b.bytes, n);
        assert_memory_equal(b.data, plain, n);
        assert_true(b.bytes <= b.capacity);
    }
    assert_false(b.failed);
    buffer_free(&b);
    assert_null(b.data);
    assert_int_equal(b.bytes, 0);
}

/* The NUL is behind the bytes and not one of them, for an empty buffer and for one that is exactly full too. */
static void test_terminated(void **state)
{
    struct buffer b = {0};
    struct error e;

    (void)state;
    assert_int_equal(buffer_terminate(&b, &e), 0);
    assert_int_equal(b.bytes, 0);
    assert_string_equal(b.data, "");
    while (b.bytes < 1000) {
        buffer_append_byte(&b, 'x');
        assert_int_equal(buffer_terminate(&b, &e), 0);
        assert_int_equal(strlen(b.data), b.bytes);
    }
    buffer_free(&b);
}

#ifdef __SANITIZE_ADDRESS__
const char *__asan_default_options(void); /* its own name */
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1"; /* as malloc does, in place of ending the program */
}
#endif

/* More than there is; the compiler is not to know, it would refuse. */
static volatile size_t beyond = (size_t)1 << 62, all_but = SIZE_MAX - 4;

/* What cannot be had is reported, and what was there stays; asked again for less, it goes on. */
static void test_no_memory(void **state)
{
    struct buffer b = {0};
    struct error e = {0};

    (void)state;
    assert_int_equal(buffer_put(&b, "kept", 4, &e), 0);
    assert_int_equal(buffer_put(&b, "", all_but, &e), -ENOMEM);
    assert_string_equal(e.text, "out of memory");
    assert_int_equal(buffer_put(&b, "", beyond, &e), -ENOMEM);
    assert_int_equal(b.bytes, 4);
    assert_memory_equal(b.data, "kept", 4);
    assert_int_equal(buffer_put(&b, " too", 4, &e), 0);
    assert_int_equal(buffer_put(&b, NULL, 0, &e), 0);
    assert_int_equal(buffer_terminate(&b, &e), 0);
    assert_string_equal(b.data, "kept too");
    buffer_free(&b);
}

/* Who does not look each time is told at the end. */
static void test_failure_remembered(void **state)
{
    struct buffer b = {0};

    (void)state;
    buffer_append_text(&b, "before");
    assert_false(buffer_reserve(&b, beyond));
    for (int i = 0; i < 100; i++) buffer_append_text(&b, "after");
    assert_true(b.failed);
    assert_true(b.bytes <= b.capacity);
    buffer_free(&b);
    assert_false(b.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_like_an_array), cmocka_unit_test(test_terminated),
                                       cmocka_unit_test(test_no_memory), cmocka_unit_test(test_failure_remembered)};

    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}

/* SHA-256 against the checksums' library, for every length up to a few blocks and however the bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/sha.h>
#include <string.h>

#include "proto/base/sha256.h"

static void like_the_library(void **state)
{
    uint8_t p[4096], want[32], got[32];
    char hex[65];

    (void)state;
    for (size_t i = 0; i < sizeof p; i++) p[i] = (uint8_t)(i * i * 31 + i);
    for (size_t n = 0; n <= sizeof p; n += n < 300 ? 1 : 379) {
        SHA256(p, n, want);
        for (size_t cut = 0; cut <= n; cut += 1 + n / 7) {
            struct sha256 s;

            sha256_begin(&s);
            sha256_feed(&s, p, cut);
            sha256_feed(&s, p + cut, (n - cut) / 2);
            sha256_feed(&s, p + cut + (n - cut) / 2, n - cut - (n - cut) / 2);
            sha256_end(&s, got);
            assert_memory_equal(got, want, 32);
        }
    }
    SHA256((const uint8_t *)"abc", 3, want);
    assert_string_equal(sha256_hex(hex, want, 32), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(like_the_library)};

    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("sha256", tests, NULL, NULL);
}

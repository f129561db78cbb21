/* Units: every weight comes back with its bits, from every variant of the decoder, out of every encoder's same bytes; sizes are
 * what was promised; what is damaged is refused or decodes to something, but never reaches beyond its bytes.
 *
 *   build/tests/test_unit odd_sizes N             so many units of any size and kind (make test-units)
 *   build/tests/test_unit damage_stays_inside N   so many damaged ones */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/unit/unit.h"
#include "tests/support_units.h"

struct sample {
    uint8_t *weights, *stored, *out;
    uint32_t rows, cols;
    uint64_t bytes; /* stored */
};

static struct sample encoded(uint32_t rows, uint32_t cols, enum weights_kind kind, uint64_t seed)
{
    struct sample s = {.rows = rows, .cols = cols};
    uint64_t n = (uint64_t)rows * cols, chunks = (n + UNIT_CHUNK - 1) / UNIT_CHUNK;
    uint8_t *other;

    s.weights = malloc(2 * n);
    s.stored = malloc(unit_stored_most(rows, cols));
    other = malloc(unit_stored_most(rows, cols));
    s.out = malloc(unit_chunk_bytes(chunks) + 64);
    assert_non_null(s.weights);
    assert_non_null(s.stored);
    assert_non_null(other);
    assert_non_null(s.out);
    weights_fill(s.weights, n, cols, kind, seed);
    s.bytes = unit_encode(unit_variant(UNIT_PLAIN), s.stored, s.weights, rows, cols);
    assert_in_range(s.bytes, UNIT_HEADER, unit_stored_most(rows, cols));
    assert_int_equal(s.bytes % UNIT_ALIGN, 0);
    for (int v = UNIT_AVX2; v < UNIT_VARIANTS; v++) {
        const struct unit_code *code = unit_variant((enum unit_variant)v);

        if (!code) continue;
        assert_int_equal(unit_encode(code, other, s.weights, rows, cols), s.bytes);
        assert_memory_equal(other, s.stored, s.bytes);
    }
    free(other);
    return s;
}

static void release(struct sample *s)
{
    free(s->weights);
    free(s->stored);
    free(s->out);
}

/* Whole, and from any chunk to any other; nothing is written behind the groups. */
static void comes_back(const struct sample *s)
{
    uint64_t n = (uint64_t)s->rows * s->cols, groups = (n + UNIT_GROUP - 1) / UNIT_GROUP;
    struct error e = {0};
    struct unit u;
    uint8_t *alone = malloc(s->bytes); /* its end is the end of what can be read */

    assert_non_null(alone);
    memcpy(alone, s->stored, s->bytes);
    assert_int_equal(unit_open(&u, alone, s->bytes, &e), 0);
    assert_int_equal(unit_check(&u, &e), 0);
    assert_int_equal(u.rows, s->rows);
    assert_int_equal(u.cols, s->cols);
    for (int v = 0; v < UNIT_VARIANTS; v++) {
        const struct unit_code *code = unit_variant((enum unit_variant)v);

        if (!code) continue;
        memset(s->out, 0xa5, groups * 2 * UNIT_GROUP + 64);
        assert_int_equal(code->decode(&u, 0, u.chunks, s->out), 0);
        assert_memory_equal(s->out, s->weights, 2 * n);
        for (unsigned i = 0; i < 64; i++) assert_int_equal(s->out[groups * 2 * UNIT_GROUP + i], 0xa5);
        for (uint32_t first = 0; first < u.chunks; first += 1 + u.chunks / 3) {
            uint64_t skip = (uint64_t)first * UNIT_CHUNK, rest = n - skip;
            uint32_t chunks = u.chunks - first > 2 ? 2 : u.chunks - first;

            if (rest > (uint64_t)chunks * UNIT_CHUNK) rest = (uint64_t)chunks * UNIT_CHUNK;
            assert_int_equal(code->decode(&u, first, chunks, s->out), 0);
            assert_memory_equal(s->out, s->weights + 2 * skip, 2 * rest);
        }
        assert_int_not_equal(code->decode(&u, u.chunks, 1, s->out), 0);
        assert_int_not_equal(code->decode(&u, 0, UINT32_MAX, s->out), 0);
    }
    free(alone);
}

static void all_patterns(void **state)
{
    (void)state;
    for (int kind = 0; kind < WEIGHTS_KINDS; kind++) {
        struct sample s = encoded(16, 4096, (enum weights_kind)kind, 7);

        comes_back(&s);
        release(&s);
    }
}

/* Every exponent as the commonest and as the rarest one. */
static void all_exponents(void **state)
{
    (void)state;
    for (unsigned common = 0; common < 256; common++) {
        uint8_t weights[2 * 1024], stored[4096], out[2 * 4096];
        struct error e = {0};
        struct unit u;

        for (unsigned i = 0; i < 1024; i++) {
            unsigned exponent = i % 4 ? common : i / 4, w = exponent << 7 | (i * 37 & 0x7f) | (i & 1) << 15;

            weights[2 * i] = (uint8_t)w;
            weights[2 * i + 1] = (uint8_t)(w >> 8);
        }
        assert_in_range(unit_encode(unit_code(), stored, weights, 4, 256), UNIT_HEADER, sizeof stored);
        assert_int_equal(unit_open(&u, stored, sizeof stored, &e), 0);
        for (int v = 0; v < UNIT_VARIANTS; v++) {
            if (!unit_variant((enum unit_variant)v)) continue;
            assert_int_equal(unit_variant((enum unit_variant)v)->decode(&u, 0, 1, out), 0);
            assert_memory_equal(out, weights, sizeof weights);
        }
    }
}

static unsigned wanted; /* units; 0: as many as take a second */

static void odd_sizes(void **state)
{
    uint64_t x = 12345;

    (void)state;
    for (unsigned i = 0; i < (wanted ? wanted : 3000); i++) {
        struct sample s;
        uint32_t rows, cols;

        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        rows = 1 + (uint32_t)(x >> 33) % 24;
        cols = 1 + (uint32_t)(x >> 43) % (i % 50 ? 300 : 3000);
        s = encoded(rows, cols, (enum weights_kind)(i % WEIGHTS_KINDS), i);
        comes_back(&s);
        release(&s);
    }
}

static void ratios(void **state)
{
    static const struct {
        enum weights_kind kind;
        double most;
    } cases[] = {{WEIGHTS_GAUSSIAN, 0.673}, {WEIGHTS_SCALED, 0.69}, {WEIGHTS_RANDOM, 1.001}, {WEIGHTS_ODD, 0.68}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sample s = encoded(32, 4096, cases[i].kind, 3);
        double ratio = (double)s.bytes / (2.0 * s.rows * s.cols);

        print_message("kind %d: %.4f of the bytes\n", cases[i].kind, ratio);
        assert_true(ratio <= cases[i].most);
        release(&s);
    }
}

static void headers_are_checked(void **state)
{
    struct sample s = encoded(8, 512, WEIGHTS_GAUSSIAN, 5);
    struct error e = {0};
    struct unit u;

    (void)state;
    for (uint64_t n = 0; n < s.bytes; n += 1 + n / 8) {
        assert_int_equal(unit_open(&u, s.stored, n, &e), -EBADMSG);
        assert_true(strlen(e.text) > 10);
    }
    for (unsigned bit = 0; bit < 8 * UNIT_HEADER; bit++) {
        s.stored[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(unit_open(&u, s.stored, s.bytes, &e), -EBADMSG);
        s.stored[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(unit_open(&u, s.stored, s.bytes, &e), 0);
    for (uint64_t at = UNIT_HEADER; at < s.bytes; at += 97) {
        s.stored[at] ^= 4;
        assert_int_equal(unit_check(&u, &e), -EBADMSG);
        s.stored[at] ^= 4;
    }
    assert_int_equal(unit_check(&u, &e), 0);
    assert_int_equal(unit_stored_most(0, 4), 0);
    assert_int_equal(unit_stored_most(1u << 20, 1u << 20), 0);
    release(&s);
}

/* Whatever stands behind the header: nothing but the unit is read, nothing but whole groups are written (the sanitizers
 * and the guard bytes see to it), and all variants agree on what comes out. */
static void damage_stays_inside(void **state)
{
    uint64_t x = 99;

    (void)state;
    for (unsigned round = 0; round < (wanted ? wanted : 400); round++) {
        struct sample s = encoded(1 + round % 20, 700, round % 5 ? WEIGHTS_GAUSSIAN : WEIGHTS_ODD, round);
        uint64_t groups = ((uint64_t)s.rows * s.cols + UNIT_GROUP - 1) / UNIT_GROUP;
        uint8_t *alone = malloc(s.bytes), *first = malloc(groups * 2 * UNIT_GROUP);
        int rc = 1;
        struct error e = {0};
        struct unit u;

        assert_non_null(alone);
        assert_non_null(first);
        memcpy(alone, s.stored, s.bytes);
        assert_int_equal(unit_open(&u, alone, s.bytes, &e), 0);
        for (unsigned k = 0; k < 1 + round % 200; k++) {
            uint64_t from = round % 2 ? UNIT_HEADER : u.planes; /* planes and directory are what leads astray */

            x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
            if (from < s.bytes) alone[from + (x >> 24) % (s.bytes - from)] = (uint8_t)(x >> 56);
        }
        for (int v = 0; v < UNIT_VARIANTS; v++) {
            const struct unit_code *code = unit_variant((enum unit_variant)v);
            int now;

            if (!code) continue;
            memset(s.out, 0, groups * 2 * UNIT_GROUP);
            memset(s.out + groups * 2 * UNIT_GROUP, 0xa5, 64);
            now = code->decode(&u, 0, u.chunks, s.out);
            if (rc > 0) {
                rc = now;
                memcpy(first, s.out, groups * 2 * UNIT_GROUP);
            }
            assert_int_equal(now, rc);
            if (!rc) assert_memory_equal(first, s.out, groups * 2 * UNIT_GROUP);
            for (unsigned i = 0; i < 64; i++) assert_int_equal(s.out[groups * 2 * UNIT_GROUP + i], 0xa5);
        }
        free(alone);
        free(first);
        release(&s);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_patterns), cmocka_unit_test(all_exponents),       cmocka_unit_test(odd_sizes),
        cmocka_unit_test(ratios),       cmocka_unit_test(headers_are_checked), cmocka_unit_test(damage_stays_inside),
    };

    if (argc > 1) cmocka_set_test_filter(argv[1]);
    if (argc > 2) wanted = (unsigned)atoi(argv[2]);
    return cmocka_run_group_tests_name("unit", tests, NULL, NULL);
}

/* The fuzz targets without a fuzzer: what once failed, the seeds, and mutations of them that are the same everywhere. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/json.h"

#define MUTATIONS 2000 /* of each target */

/* splitmix64: the same numbers everywhere */
static uint64_t random64(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

struct corpus {
    uint8_t **data;
    size_t *bytes, count;
};

static void keep(void *arg, const void *data, size_t bytes)
{
    struct corpus *c = arg;

    c->data = realloc(c->data, (c->count + 1) * sizeof *c->data);
    c->bytes = realloc(c->bytes, (c->count + 1) * sizeof *c->bytes);
    assert_true(c->data && c->bytes);
    c->data[c->count] = malloc(bytes ? bytes : 1);
    assert_non_null(c->data[c->count]);
    if (bytes) memcpy(c->data[c->count], data, bytes);
    c->bytes[c->count++] = bytes;
}

/* The bytes in memory of exactly that size, so that the address sanitizer sees a read beyond them. */
static void run_exactly(const struct fuzz_target *t, const uint8_t *data, size_t bytes)
{
    uint8_t *own = malloc(bytes ? bytes : 1);

    assert_non_null(own);
    if (bytes) memcpy(own, data, bytes);
    t->run(own, bytes);
    free(own);
}

static void replay(const struct fuzz_target *t)
{
    char pattern[128];
    glob_t g;

    snprintf(pattern, sizeof pattern, "tests/data/fuzz/%s/*", t->name);
    if (glob(pattern, 0, NULL, &g)) return;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        size_t bytes;
        char *data = fuzz_read(g.gl_pathv[i], &bytes);

        run_exactly(t, (const uint8_t *)data, bytes);
        free(data);
    }
    print_message("%s: %zu cases\n", t->name, g.gl_pathc);
    globfree(&g);
}

/* Bits, bytes, numbers, pieces doubled, cut out, or taken from another seed. data has room for twice bytes and 64. */
static size_t mutate(uint8_t *data, size_t bytes, const struct corpus *c, uint64_t *state)
{
    static const char *const words[] = {
        "-1", "0", "1e400", "4294967296", "9223372036854775807", "null", "[]", "{}", "\"\"", "\\u0000", "\xff", "%"};
    size_t at = bytes ? random64(state) % bytes : 0, n = 1 + random64(state) % 32;

    if (n > bytes - at) n = bytes - at;
    switch (random64(state) % 6) {
    case 0:
        if (bytes) data[at] ^= (uint8_t)(1u << random64(state) % 8);
        return bytes;
    case 1:
        if (bytes) data[at] = (uint8_t)random64(state);
        return bytes;
    case 2: memmove(data + at, data + at + n, bytes - at - n); return bytes - n;
    case 3: memmove(data + at + n, data + at, bytes - at); return bytes + n;
    case 4: {
        const char *w = words[random64(state) % (sizeof words / sizeof *words)];

        memmove(data + at + strlen(w), data + at, bytes - at);
        memcpy(data + at, w, strlen(w));
        return bytes + strlen(w);
    }
    default: {
        size_t other = random64(state) % c->count, from = c->bytes[other] ? random64(state) % c->bytes[other] : 0;

        if (n > c->bytes[other] - from) n = c->bytes[other] - from;
        memcpy(data + at, c->data[other] + from, n);
        return bytes;
    }
    }
}

static void run_target(void **state)
{
    const struct fuzz_target *t = *state;
    struct corpus c = {0};
    uint64_t random = 20250710;

    replay(t);
    t->seeds(keep, &c);
    assert_true(c.count > 0);
    for (size_t i = 0; i < c.count; i++) run_exactly(t, c.data[i], c.bytes[i]);
    for (int i = 0; i < MUTATIONS; i++) {
        size_t from = random64(&random) % c.count, n = c.bytes[from];
        uint8_t *data = malloc(2 * n + 1024);

        assert_non_null(data);
        if (n) memcpy(data, c.data[from], n);
        if (t->json < 0 || i % 2) {
            for (uint64_t k = 1 + random64(&random) % 4; k; k--) n = mutate(data, n, &c, &random);
        } else if (n > (size_t)t->json) {
            size_t changed = fuzz_json_mutate(data + t->json, n - (size_t)t->json, n + 1024, random64(&random));

            if (changed) n = changed + (size_t)t->json;
        }
        run_exactly(t, data, n);
        free(data);
    }
    for (size_t i = 0; i < c.count; i++) free(c.data[i]);
    free(c.data);
    free(c.bytes);
}

int main(void)
{
    struct CMUnitTest tests[32];
    size_t n = 0;

    for (; fuzz_targets[n]; n++) {
        assert_true(n < sizeof tests / sizeof *tests);
        tests[n] = (struct CMUnitTest){.name = fuzz_targets[n]->name,
                                       .test_func = run_target,
                                       .initial_state = (void *)(uintptr_t)fuzz_targets[n]};
    }
    return _cmocka_run_group_tests("fuzz cases", tests, n, NULL, NULL);
}

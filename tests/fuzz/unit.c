/* A unit. Its header's own checksum is made right, or nothing would get past it. */
#include "proto/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/checksum.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support_units.h"

#define CHUNKS_MOST 16u

static void mend(uint8_t *p)
{
    struct checksum c;
    uint64_t sum;

    checksum_begin(&c);
    checksum_feed(&c, p, offsetof(struct unit_header, sum));
    sum = checksum_end(&c);
    memcpy(p + offsetof(struct unit_header, sum), &sum, sizeof sum);
}

static void decode_by(const struct unit *u, enum unit_variant v, uint8_t *out)
{
    const struct unit_code *code = unit_variant(v);
    uint32_t n = u->chunks < CHUNKS_MOST ? u->chunks : CHUNKS_MOST;

    if (!code) return;
    (void)code->decode(u, 0, n, out);
    (void)code->decode(u, u->chunks - n, n, out);
}

static void run(const uint8_t *data, size_t bytes)
{
    uint8_t *own = malloc(bytes + 1), *out = malloc(unit_chunk_bytes(CHUNKS_MOST));
    struct error e = {0};
    struct unit u;

    if (!own || !out) abort();
    memcpy(own, data, bytes);
    if (bytes >= UNIT_HEADER) mend(own);
    if (unit_open(&u, own, bytes, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("an error without a message");
    } else {
        if (u.stored > bytes || u.weights != u.rows * u.cols) fuzz_fail("a unit that is larger than its bytes");
        (void)unit_check(&u, &e);
        for (int v = 0; v < UNIT_VARIANTS; v++) decode_by(&u, (enum unit_variant)v, out);
    }
    free(own);
    free(out);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const uint32_t shapes[][2] = {{1, 64}, {3, 100}, {4, 300}, {2, 4096}};

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int kind = 0; kind < WEIGHTS_KINDS; kind++) {
            uint64_t n = (uint64_t)shapes[i][0] * shapes[i][1];
            uint8_t *weights = malloc(2 * n), *stored = malloc(unit_stored_most(shapes[i][0], shapes[i][1]));

            if (!weights || !stored) abort();
            weights_fill(weights, n, shapes[i][1], (enum weights_kind)kind, i);
            emit(arg, stored, unit_encode(unit_code(), stored, weights, shapes[i][0], shapes[i][1]));
            free(weights);
            free(stored);
        }
}

const struct fuzz_target fuzz_unit = {"unit", run, seeds, -1};

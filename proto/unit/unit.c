#include "proto/unit/unit.h"

#include <errno.h>
#include <string.h>
#include "proto/base/checksum.h"
#include "proto/unit/code.h"

#define PAYS(stored, raw) ((stored)*100 < (raw)*97) /* else raw */

static uint64_t round_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) / to * to;
}

static uint64_t sum_of(const void *p, uint64_t bytes)
{
    struct checksum c;

    checksum_begin(&c);
    checksum_feed(&c, p, bytes);
    return checksum_end(&c);
}

uint64_t unit_stored_most(uint64_t rows, uint64_t cols)
{
    if (!rows || !cols || rows > UNIT_WEIGHTS || cols > UNIT_WEIGHTS / rows) return 0;
    return round_up(UNIT_HEADER + 2 * rows * cols, UNIT_ALIGN);
}

uint64_t unit_header_sum(const struct unit_header *h)
{
    return sum_of(h, offsetof(struct unit_header, sum));
}

/* ---- variants ---- */

const struct unit_code *unit_variant(enum unit_variant v)
{
#if defined(__x86_64__)
    /* these two have the instructions that scatter bits, and take hundreds of steps for them */
    const bool slow = __builtin_cpu_is("znver1") || __builtin_cpu_is("znver2");
    const bool avx2 =
        !slow && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");

    if (v == UNIT_AVX2 && avx2) return &unit_code_avx2;
    if (v == UNIT_AVX512 && avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
        return &unit_code_avx512;
#elif defined(__aarch64__)
    if (v == UNIT_NEON) return &unit_code_neon; /* a part of the architecture */
#endif
    return v == UNIT_PLAIN ? &unit_code_plain : NULL;
}

const struct unit_code *unit_code(void)
{
    for (int v = UNIT_VARIANTS - 1; v > UNIT_PLAIN; v--)
        if (unit_variant((enum unit_variant)v)) return unit_variant((enum unit_variant)v);
    return &unit_code_plain;
}

/* ---- opening ---- */

static void lay_out(struct unit *u)
{
    const uint64_t groups = ((uint64_t)u->weights + UNIT_GROUP - 1) / UNIT_GROUP;

    u->chunks = (uint32_t)(((uint64_t)u->weights + UNIT_CHUNK - 1) / UNIT_CHUNK);
    u->planes = UNIT_HEADER + groups * UNIT_GROUP;
    u->directory = u->planes + groups * 16;
    u->bits = u->directory + u->chunks * sizeof(struct unit_chunk);
}

uint64_t unit_stored_least(uint64_t rows, uint64_t cols)
{
    struct unit u = {.weights = (uint32_t)(rows * cols)};

    lay_out(&u);
    return round_up(u.bits, UNIT_ALIGN);
}

int unit_open(struct unit *u, const void *bytes, uint64_t readable, struct error *e)
{
    struct unit_header h;
    uint64_t most, least;

    if (readable < UNIT_HEADER) return error_set(e, EBADMSG, "%llu bytes are no unit", (unsigned long long)readable);
    memcpy(&h, bytes, sizeof h);
    if (h.magic != UNIT_MAGIC || unit_header_sum(&h) != h.sum)
        return error_set(e, EBADMSG, "no unit begins here, or its header is damaged");
    if (h.version != UNIT_VERSION || h.mode >= UNIT_MODES || h.zero || h.zero_too)
        return error_set(e, EBADMSG, "a unit of version %u, mode %u, which this program does not know", h.version,
                         h.mode);
    most = unit_stored_most(h.rows, h.cols);
    *u = (struct unit){.bytes = bytes,
                       .readable = readable,
                       .rows = h.rows,
                       .cols = h.cols,
                       .stored = h.stored,
                       .mode = h.mode,
                       .weights = most ? h.rows * h.cols : 0,
                       .stored_sum = h.stored_sum,
                       .raw_sum = h.raw_sum};
    memcpy(u->table, h.table, sizeof u->table);
    lay_out(u);
    least = h.mode == UNIT_RAW ? most : u->bits;
    if (!most || h.stored % UNIT_ALIGN || h.stored < least || h.stored > most || h.stored > readable)
        return error_set(e, EBADMSG, "a unit of %u x %u weights in %u bytes, %llu are there", h.rows, h.cols, h.stored,
                         (unsigned long long)readable);
    return 0;
}

int unit_check(const struct unit *u, struct error *e)
{
    if (sum_of(u->bytes + UNIT_HEADER, u->stored - UNIT_HEADER) != u->stored_sum)
        return error_set(e, EBADMSG, "the unit is damaged: its checksum is not the one that was written with it");
    return 0;
}

/* ---- encoding ---- */

uint32_t unit_commonest(uint8_t table[UNIT_CODES], const uint32_t count[256])
{
    uint8_t list[256]; /* those that occur, the smallest first */
    uint32_t n = 0, found = 0;

    for (unsigned x = 0; x < 256; x++)
        if (count[x]) list[n++] = (uint8_t)x;
    for (; n && found < UNIT_CODES; found++, n--) {
        uint32_t best = 0;

        for (uint32_t i = 1; i < n; i++)
            if (count[list[i]] > count[list[best]]) best = i;
        table[found] = list[best];
        memmove(list + best, list + best + 1, n - best - 1);
    }
    return found;
}

static void rank_exponents(struct unit_ranks *r, uint8_t table[UNIT_TABLE], const uint32_t count[256])
{
    const uint32_t n = unit_commonest(r->exponent, count);

    memset(r->code, UNIT_TABLE - 1, sizeof r->code);
    memset(table, 0, UNIT_TABLE);
    for (uint32_t i = 0; i < n; i++) {
        table[unit_slots[i]] = r->exponent[i];
        r->code[r->exponent[i]] = unit_slots[i];
    }
    for (uint32_t i = n; i < UNIT_CODES; i++) r->exponent[i] = r->exponent[0];
}

static void close_header(uint8_t *out, struct unit_header *h)
{
    h->stored_sum = sum_of(out + UNIT_HEADER, h->stored - UNIT_HEADER);
    h->sum = unit_header_sum(h);
    memcpy(out, h, sizeof *h);
}

/* Appends a chunk's bits at *at; false: it would no longer pay. */
static bool append_chunk(uint8_t *out, uint64_t *at, uint64_t limit, const struct unit_work *w)
{
    const uint64_t second = (2 * (uint64_t)w->second_count + 63) / 64 * 8,
                   third = (3 * (uint64_t)w->third_count + 7) / 8,
                   end = round_up(*at + second + third + w->byte_count, 8);

    if (end > limit) return false;
    memset(out + *at, 0, end - *at);
    memcpy(out + *at, w->second_words, second);
    memcpy(out + *at + second, w->third_words, third);
    memcpy(out + *at + second + third, w->bytes, w->byte_count);
    *at = end;
    return true;
}

/* Bytes of the unit; 0: it does not pay. */
static uint64_t encode(const struct unit_code *code, uint8_t *out, const uint8_t *weights, struct unit_header *h,
                       uint64_t limit)
{
    struct unit u = {.weights = h->rows * h->cols};
    struct unit_work w;
    struct unit_ranks ranks;
    uint32_t count[256] = {0};
    uint64_t at;

    lay_out(&u);
    at = u.bits;
    if (!PAYS(at, 2 * (uint64_t)u.weights)) return 0;
    code->count(count, weights, u.weights);
    rank_exponents(&ranks, h->table, count);
    for (uint32_t i = 0; i < u.chunks; i++) {
        const uint32_t first = i * UNIT_CHUNK, n = u.weights - first < UNIT_CHUNK ? u.weights - first : UNIT_CHUNK;
        struct unit_chunk d = {.at = (uint32_t)((at - u.bits) / 8)};

        w.low = out + UNIT_HEADER + first;
        w.planes = out + u.planes + (uint64_t)first / UNIT_GROUP * 16;
        code->chunk(&w, weights + 2 * (uint64_t)first, n, &ranks);
        d.second = (uint16_t)w.second_count;
        d.third = (uint16_t)w.third_count;
        memcpy(out + u.directory + i * sizeof d, &d, sizeof d);
        if (!append_chunk(out, &at, limit, &w)) return 0;
    }
    h->stored = (uint32_t)round_up(at, UNIT_ALIGN);
    if (h->stored > limit || !PAYS((uint64_t)h->stored, 2 * (uint64_t)u.weights)) return 0;
    memset(out + at, 0, h->stored - at);
    return h->stored;
}

/* Does what was encoded give the weights again? A chunk at a time. */
static bool gives_back(const struct unit_code *code, const uint8_t *out, uint64_t stored, const uint8_t *weights)
{
    uint8_t chunk[UNIT_CHUNK * 2];
    struct unit u;

    if (unit_open(&u, out, stored, NULL)) return false;
    for (uint32_t i = 0; i < u.chunks; i++) {
        const uint32_t n = u.weights - i * UNIT_CHUNK < UNIT_CHUNK ? u.weights - i * UNIT_CHUNK : UNIT_CHUNK;

        if (code->decode(&u, i, 1, chunk) || memcmp(chunk, weights + 2 * (uint64_t)i * UNIT_CHUNK, 2 * (uint64_t)n))
            return false;
    }
    return true;
}

uint64_t unit_encode(const struct unit_code *code, void *out, const void *weights, uint32_t rows, uint32_t cols)
{
    const uint64_t most = unit_stored_most(rows, cols), raw = 2 * (uint64_t)rows * cols;
    struct unit_header h = {
        .magic = UNIT_MAGIC, .version = UNIT_VERSION, .mode = UNIT_B223, .rows = rows, .cols = cols};

    if (!most) return 0;
    h.raw_sum = sum_of(weights, raw);
    if (encode(code, out, weights, &h, most)) {
        close_header(out, &h);
        if (gives_back(code, out, h.stored, weights)) return h.stored;
    }
    h.mode = UNIT_RAW;
    h.stored = (uint32_t)most;
    memset(h.table, 0, sizeof h.table);
    memcpy((uint8_t *)out + UNIT_HEADER, weights, raw);
    memset((uint8_t *)out + UNIT_HEADER + raw, 0, most - UNIT_HEADER - raw);
    close_header(out, &h);
    return h.stored;
}

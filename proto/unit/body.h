/* Decoding and encoding of chunks, written once. The including file gives, for its instruction set:
 *
 *   decode_groups(place, groups, table, out)   groups of weights, from where a chunk's streams begin (planes.h has one for
 *                                              processors that scatter bits)
 *   EXTRACT(bits, mask)   those at the ones of mask, in turn, as low bits
 *   read_group(low, exponent, b, weights, ranks)   64 weights to signs and mantissas, exponents in their places, four planes
 *                                                  of codes: load_ranks() has them as GROUP_RANKS */
#pragma once
#include <errno.h>
#include "proto/unit/code.h"

/* A chunk's bits, from a copy with room behind it where the end of what can be read is near. */
static int decode_chunk(const struct unit *u, uint32_t chunk, GROUP_TABLE table, uint8_t *out)
{
    const uint32_t groups = (u->weights + UNIT_GROUP - 1) / UNIT_GROUP, first = chunk * (UNIT_CHUNK / UNIT_GROUP),
                   n = groups - first < UNIT_CHUNK / UNIT_GROUP ? groups - first : UNIT_CHUNK / UNIT_GROUP;
    uint8_t tail[CHUNK_BITS_MOST];
    const uint8_t *bits;
    struct unit_chunk d;

    memcpy(&d, u->bytes + u->directory + chunk * sizeof d, sizeof d);
    const uint64_t at = u->bits + (uint64_t)d.at * 8, third = ((uint64_t)d.second * 2 + 63) / 64 * 8,
                   last = third + ((uint64_t)d.third * 3 + 7) / 8;
    if (at > u->stored || d.second > UNIT_CHUNK || d.third > d.second || at + last > u->stored) return -EBADMSG;
    bits = u->bytes + at;
    if (u->readable - at < CHUNK_BITS_MOST) {
        memcpy(tail, bits, u->readable - at);
        memset(tail + (u->readable - at), 0, CHUNK_BITS_MOST - (u->readable - at));
        bits = tail;
    }
    decode_groups((struct chunk_place){.low = u->bytes + UNIT_HEADER + (uint64_t)first * UNIT_GROUP,
                                       .planes = u->bytes + u->planes + first * UINT64_C(16),
                                       .second = bits,
                                       .third = bits + third,
                                       .bytes = bits + last},
                  n, table, out);
    return 0;
}

static int decode_raw(const struct unit *u, uint32_t chunk, uint32_t chunks, uint8_t *out)
{
    const uint64_t first = (uint64_t)chunk * UNIT_CHUNK, end = first + (uint64_t)chunks * UNIT_CHUNK,
                   n = (end < u->weights ? end : u->weights) - first;

    memcpy(out, u->bytes + UNIT_HEADER + 2 * first, 2 * n);
    return 0;
}

static int decode(const struct unit *u, uint32_t chunk, uint32_t chunks, void *out)
{
    uint8_t *to = out;

    if (chunk > u->chunks || chunks > u->chunks - chunk) return -EINVAL;
    if (u->mode == UNIT_RAW) return decode_raw(u, chunk, chunks, to);
    const GROUP_TABLE table = load_table(u->table);
    for (uint32_t i = 0; i < chunks; i++, to += unit_chunk_bytes(1))
        if (decode_chunk(u, chunk + i, table, to)) return -EBADMSG;
    return 0;
}

/* ---- encoding ---- */

/* The places of the first n weights of a group. */
static uint64_t places_of(uint32_t n)
{
    uint64_t places = 0;

    for (uint32_t w = 0; w < n; w++) places |= UINT64_C(1) << place_of(w);
    return places;
}

/* What goes on from two planes to the next level: n bits of each. */
static inline void put_second(struct unit_bits *to, const uint64_t b[4], uint64_t e1, uint64_t e2, uint32_t n)
{
    const uint64_t x = EXTRACT(b[0] | e2, e1), y = EXTRACT(b[1] | e2, e1);

    if (__builtin_expect(n <= 32, 1)) {
        bits_put(to, x | y << n, 2 * n);
    } else {
        bits_put(to, x, n);
        bits_put(to, y, n);
    }
}

static inline void put_third(struct unit_bits *to, const uint64_t b[4], uint64_t e2, uint32_t n)
{
    const uint64_t x = EXTRACT(b[0], e2), y = EXTRACT(b[1], e2), z = EXTRACT(b[2], e2);

    if (__builtin_expect(n <= 21, 1)) {
        bits_put(to, x | y << n | z << 2 * n, 3 * n);
    } else {
        bits_put(to, x, n);
        bits_put(to, y, n);
        bits_put(to, z, n);
    }
}

static void encode_chunk(struct unit_work *w, const uint8_t *weights, uint32_t count, const struct unit_ranks *r)
{
    const GROUP_RANKS ranks = load_ranks(r);
    struct unit_bits second = {.at = (uint8_t *)w->second_words}, third = {.at = (uint8_t *)w->third_words};

    w->second_count = w->third_count = w->byte_count = 0;
    for (uint32_t g = 0; g * UNIT_GROUP < count; g++, weights += 2 * UNIT_GROUP) {
        const uint32_t n = count - g * UNIT_GROUP;
        uint8_t exponent[UNIT_GROUP], last[2 * UNIT_GROUP];
        uint64_t b[4];

        if (n < UNIT_GROUP) {
            const uint64_t places = places_of(n);

            memset(last, 0, sizeof last);
            memcpy(last, weights, 2 * n);
            read_group(w->low + g * UNIT_GROUP, exponent, b, last, ranks);
            for (unsigned i = 0; i < 4; i++) b[i] &= places;
        } else {
            read_group(w->low + g * UNIT_GROUP, exponent, b, weights, ranks);
        }
        const uint64_t e2 = b[3], e1 = b[2] | e2, e3 = b[0] & b[1] & b[2] & b[3], m0 = b[0] | e1, m1 = b[1] | e1;
        const uint32_t seconds = (uint32_t)__builtin_popcountll(e1), thirds = (uint32_t)__builtin_popcountll(e2);

        memcpy(w->planes + 16 * g, &m0, 8);
        memcpy(w->planes + 16 * g + 8, &m1, 8);
        put_second(&second, b, e1, e2, seconds);
        put_third(&third, b, e2, thirds);
        for (uint64_t x = e3; x; x &= x - 1) w->bytes[w->byte_count++] = exponent[__builtin_ctzll(x)];
        w->second_count += seconds;
        w->third_count += thirds;
    }
    bits_end(&second);
    bits_end(&third);
}

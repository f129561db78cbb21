/* Groups by their bit planes, which the codes of the upper levels are scattered into. The including file gives:
 *
 *   DEPOSIT(bits, mask)   the low bits, in turn, at the ones of mask
 *   write_group(out, low, table, b)   64 weights from signs and mantissas, exponents and four planes of their codes */
#pragma once
#include "proto/unit/code.h"

static void decode_groups(struct chunk_place c, uint32_t groups, GROUP_TABLE table, uint8_t *out)
{
    for (uint32_t g = 0; g < groups; g++, out += 2 * UNIT_GROUP) {
        uint64_t m0, m1, b[4];

        send_for_next(&c, g);
        memcpy(&m0, c.planes + 16 * g, 8);
        memcpy(&m1, c.planes + 16 * g + 8, 8);
        const uint64_t e1 = m0 & m1;
        const unsigned n = (unsigned)__builtin_popcountll(e1);
        uint64_t low = bits_peek(c.second, c.second_at), high = low >> n % 64;
        if (__builtin_expect(2 * n > PEEKED, 0)) {
            low = bits_get(c.second, c.second_at);
            high = bits_get(c.second, c.second_at + n);
        }
        const uint64_t d0 = DEPOSIT(low, e1), d1 = DEPOSIT(high, e1), e2 = d0 & d1;
        const unsigned k = (unsigned)__builtin_popcountll(e2);
        uint64_t third[3];
        third[0] = bits_peek(c.third, c.third_at);
        third[1] = third[0] >> k % 64;
        third[2] = third[1] >> k % 64;
        if (__builtin_expect(3 * k > PEEKED, 0))
            for (unsigned i = 0; i < 3; i++) third[i] = bits_get(c.third, c.third_at + i * k);
        const uint64_t f0 = DEPOSIT(third[0], e2), f1 = DEPOSIT(third[1], e2), f2 = DEPOSIT(third[2], e2),
                       e3 = f0 & f1 & f2;
        c.second_at += 2 * n;
        c.third_at += 3 * k;
        /* where a plane goes on to the next level, both of its bits are ones */
        b[0] = (m0 ^ e1) | (d0 ^ e2) | f0;
        b[1] = (m1 ^ e1) | (d1 ^ e2) | f1;
        b[2] = (e1 ^ e2) | f2;
        b[3] = e2;
        write_group(out, c.low + UNIT_GROUP * g, table, b);
        if (__builtin_expect(e3 != 0, 0)) fix_group(out, e3, &c.bytes);
    }
}

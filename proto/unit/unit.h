/* Units: rows of a BF16 matrix in fewer bytes, and the same bits again ("B223").
 *
 * Sign and mantissa of trained weights are noise; their exponents are not: a few values are most of them. In a unit the
 * exponents are ranked by how often they occur in it, and written in three levels of bit planes: 2 bits (3 commonest, or
 * escape), 2 more (next 3, or escape), 3 more (next 7, or escape), then the byte itself. Of weights as they are trained
 * about 28, 4 and 0.06 of a hundred reach the second, the third level and the byte.
 *
 *   offset  content, little-endian
 *   0       struct unit_header
 *   64      signs and mantissas: 64 bytes for each group
 *   ..      planes: for each group the 64 first bits of its codes, then the 64 second ones
 *   ..      directory: struct unit_chunk for each chunk
 *   ..      for each chunk, beginning at a multiple of 8 bytes: the second level (for each group its first bits, then its
 *           second ones), from a multiple of 8 bytes on the third (likewise, three), from the next byte on the bytes
 *   ..      zeros, to a multiple of 64 bytes
 *
 * A group is 64 weights, a chunk 64 groups; the last ones are filled up with weights of sign and mantissa 0 and code 0.
 * Within a group, weight w has byte and bit 16 (w / 8) + w % 8, from the 33rd on 16 (w / 8 - 4) + 8 + w % 8: so that
 * interleaving the halves of 16-byte lanes gives weights in their order. Where a position lies follows from counts of bits
 * alone, and every chunk can be decoded without those before it.
 *
 * Where all this saves less than 3 of a hundred bytes, the unit is raw: header, then the weights.
 *
 * Encoding is a function of the weights: same rows, same bytes, whatever the processor. A unit is untrusted: unit_open()
 * checks its header, decoding checks its directory, and whatever the other bytes are, nothing is read beyond what the caller
 * said can be read and nothing is written but whole groups of what was asked for. What the bytes are checked against are
 * the header's checksums (proto/base/checksum.h). */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"

#define UNIT_MAGIC   0x33323242u /* "B223" */
#define UNIT_VERSION 1u
#define UNIT_HEADER  64u
#define UNIT_ALIGN   64u                 /* lengths of units are multiples of it */
#define UNIT_GROUP   64u                 /* weights */
#define UNIT_CHUNK   4096u               /* weights */
#define UNIT_WEIGHTS (UINT32_C(1) << 28) /* at most, of a unit */
#define UNIT_TABLE   16u

enum unit_mode { UNIT_RAW, UNIT_B223, UNIT_MODES };

struct unit_header {
    uint32_t magic;
    uint8_t version, mode; /* enum unit_mode */
    uint16_t zero;
    uint32_t rows, cols;
    uint32_t stored; /* bytes, with the header */
    uint32_t zero_too;
    uint64_t stored_sum;       /* of the bytes behind the header */
    uint8_t table[UNIT_TABLE]; /* exponents by their codes: 0-2 first level, 4-6 second, 8-14 third; the others are 0 */
    uint64_t raw_sum;          /* of the weights, as they were */
    uint64_t sum;              /* of the header before this */
};
static_assert(sizeof(struct unit_header) == UNIT_HEADER, "unit_header");

struct unit_chunk {
    uint32_t at;            /* of its bits, in units of 8 bytes behind the directory */
    uint16_t second, third; /* weights that have a second, a third level */
};
static_assert(sizeof(struct unit_chunk) == 8, "unit_chunk");

/* An opened unit: the caller's bytes, looked at. */
struct unit {
    const uint8_t *bytes;
    uint64_t readable; /* from bytes on, at least stored */
    uint32_t rows, cols, stored, mode;
    uint32_t weights, chunks;         /* of the whole unit; the last chunk may be short */
    uint64_t planes, directory, bits; /* offsets */
    uint64_t stored_sum, raw_sum;
    uint8_t table[UNIT_TABLE];
};

/* The most bytes that rows x cols may take as a unit. 0: no unit can be so large. */
uint64_t unit_stored_most(uint64_t rows, uint64_t cols);
/* What a unit that is not raw takes at least: its header, codes, planes and directory. */
uint64_t unit_stored_least(uint64_t rows, uint64_t cols);
/* What belongs into h->sum when all before it is set. */
uint64_t unit_header_sum(const struct unit_header *h);
/* Bytes that decoding chunks writes at most: whole groups. */
static inline uint64_t unit_chunk_bytes(uint64_t chunks)
{
    return chunks * UNIT_CHUNK * 2;
}

/* readable: bytes that may be read from bytes on; those behind the unit are not looked at but may be loaded. -EBADMSG and
 * what is wrong with the header, without the name of a file. */
int unit_open(struct unit *u, const void *bytes, uint64_t readable, struct error *e);
/* The bytes behind the header are what was written: 0 or -EBADMSG. */
int unit_check(const struct unit *u, struct error *e);

/* ---- decoding and encoding, for a kind of processor ---- */

enum unit_variant { UNIT_PLAIN, UNIT_AVX2, UNIT_AVX512, UNIT_VARIANTS }; /* the better, the higher */

/* Scratch of encoding, and the codes that a unit's exponents get. */
struct unit_work;
struct unit_ranks;

struct unit_code {
    const char *name;
    /* Chunks [chunk, chunk + chunks) of a unit to BF16 weights; out has unit_chunk_bytes(chunks), or, where the last chunk
     * of the unit is among them, what its whole groups take. 0, or -EBADMSG: the directory leads out of the unit. */
    int (*decode)(const struct unit *u, uint32_t chunk, uint32_t chunks, void *out);
    /* Adds how often each exponent occurs in n weights. */
    void (*count)(uint32_t count[256], const uint8_t *weights, uint64_t n);
    /* The planes of count weights (a chunk, or less) into work. */
    void (*chunk)(struct unit_work *w, const uint8_t *weights, uint32_t count, const struct unit_ranks *r);
};

/* NULL: this machine cannot run it, or it would be slower than what lies below. */
const struct unit_code *unit_variant(enum unit_variant v);
/* The best one of this machine. */
const struct unit_code *unit_code(void);

/* rows x cols weights (2 bytes each, at any address) to out, which has unit_stored_most() bytes. Returns the bytes written, a
 * multiple of UNIT_ALIGN; what was written has been decoded again and compared, and where it differed (a fault of the
 * machine) or does not pay, is raw. */
uint64_t unit_encode(const struct unit_code *code, void *out, const void *weights, uint32_t rows, uint32_t cols);

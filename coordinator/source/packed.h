/* A packed folder: what `sluice pack` makes of a folder of safetensors files, and `sluice unpack` makes the same files of.
 *
 *   sluice-pack.json     which files it has, and their sums; written last, so without it the folder is no whole one
 *   NAME.packed          in the place of each safetensors file NAME
 *   all other files      as they were (config, tokenizer, templates, the index)
 *
 * A packed file, little-endian:
 *
 *   0        struct packed_head
 *   ..       the header of the safetensors file, as it was: its length and its text
 *   ..       struct packed_segment, in the order of the original file, without a gap between them
 *   ..       the stored bytes of each unit, 4 bytes each, in order
 *   ..       zeros up to front_bytes, a multiple of 4096
 *   ..       segments, each from a multiple of 64 on: bytes as they were, or the units of a BF16 matrix (proto/unit/unit.h),
 *            unit_rows rows each, the last one what is left
 *
 * Tensors keep the offsets of the original file, so everybody names and finds them as ever; packed_find() says where
 * such an offset's bytes lie now. Nothing of the front is believed before it is checked. */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"

#define PACKED_INDEX      "sluice-pack.json"
#define PACKED_SUFFIX     ".packed"
#define PACKED_PARTIAL    ".partial"                   /* behind the suffix, while it is written */
#define PACKED_MAGIC      UINT64_C(0x64656b6361706c73) /* "slpacked" */
#define PACKED_VERSION    1u
#define PACKED_ALIGN      64u
#define PACKED_SHA256     32u /* bytes */
#define PACKED_PAGE       4096u
#define PACKED_FRONT_MOST (UINT64_C(1) << 30)

struct packed_head {
    uint64_t magic;
    uint32_t version, zero;
    uint64_t front_bytes, stored_bytes; /* of everything before the segments; of the file */
    uint64_t header_bytes;              /* of the safetensors header, its length included */
    uint64_t raw_bytes;                 /* of the original file */
    uint64_t segments, units;
    uint8_t raw_sha256[PACKED_SHA256]; /* of the original file */
    uint64_t zeros[3];
    uint64_t sum; /* of the front, this being 0 (proto/base/checksum.h) */
};
static_assert(sizeof(struct packed_head) == 128, "packed_head");

struct packed_segment {
    uint64_t raw_off, raw_bytes, stored_off;
    uint64_t unit0;                 /* of the file's units */
    uint32_t rows, cols, unit_rows; /* unit_rows 0: bytes as they were, and rows, cols, unit0 0 */
    uint32_t zero;
};
static_assert(sizeof(struct packed_segment) == 48, "packed_segment");

/* A front, read and checked. */
struct packed {
    struct packed_head head;
    const uint8_t *header;                /* [header_bytes], in front */
    const struct packed_segment *segment; /* [segments], in front */
    uint64_t *unit;                       /* [units + segments + 1] see packed_unit() */
    uint8_t *front;
};

/* -EINVAL, -EBADMSG with the file's name; st_bytes: its size as it is. Where the file does not begin with the magic: 0
 * and *out NULL. */
int packed_read(struct packed **out, const char *path, int fd, uint64_t st_bytes, struct error *e);
void packed_close(struct packed *p);

/* Units of a segment, and the offset of the first byte of one; of the one behind the last: the end of the last one. */
uint64_t packed_units(const struct packed_segment *s);
uint64_t packed_unit(const struct packed *p, const struct packed_segment *s, uint64_t unit);
/* The segment that has the byte of the original file at raw_off; NULL: it is of the header, or behind the end. */
const struct packed_segment *packed_find(const struct packed *p, uint64_t raw_off);

/* For who writes: bytes of a front; segments and lengths[units] into it, sums included, out has those bytes. */
uint64_t packed_front_bytes(uint64_t header_bytes, uint64_t segments, uint64_t units);
void packed_front(uint8_t *out, struct packed_head *head, const uint8_t *header, const struct packed_segment *segments,
                  const uint32_t *lengths);

/* ---- the index ---- */

struct packed_file {
    char *name; /* of the original file, in the folder */
    uint64_t raw_bytes, stored_bytes, front_sum;
    char sha256[2 * PACKED_SHA256 + 1]; /* of the original file; of a file that was copied: its own */
};

struct packed_index {
    struct packed_file *file;
    size_t files;
    struct packed_file *copied; /* stored_bytes and sums 0 */
    size_t copies;
};

/* 2 n digits, lower case, and a 0; returns out. */
char *packed_hex(char *out, const uint8_t *bytes, size_t n);

/* Has the folder an index? */
bool packed_folder(const char *folder);
/* What is wrong with a folder that has packed files and no index; 0: it has none. */
int packed_folder_check(const char *folder, struct error *e);
int packed_index_read(struct packed_index *x, const char *folder, struct error *e);
void packed_index_free(struct packed_index *x);
const struct packed_file *packed_index_find(const struct packed_index *x, const char *name);

/* The job segment of `sluice verify`: what the coordinator wants checked, and what sluice-verify found.
 *
 *   coordinator   fills files, spans and strings, starts sluice-verify with the segment's descriptor, shows done_bytes
 *   sluice-verify reads each file once; writes each file's digests and state, each span's counts, done_bytes
 *
 *   WAITING --taken by a lane--> READING --all bytes seen--> DONE
 *                                        --cannot be read--> FAILED (code and offset say what and where)
 *
 * A file's results hold once its state is DONE or FAILED (release by sluice-verify, acquire by the coordinator). Spans of
 * a file follow each other by offset, none overlaps another. Neither side believes the other's offsets unchecked. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/form.h"

#define VERIFY_MAGIC   UINT64_C(0x6669726576636c73) /* "slcverif" */
#define VERIFY_VERSION 3u
#define VERIFY_NONE    UINT64_MAX
#define VERIFY_FD      200 /* the segment's number in sluice-verify */

enum verify_state { VERIFY_WAITING, VERIFY_READING, VERIFY_DONE, VERIFY_FAILED };
enum verify_io { VERIFY_IO_AUTO, VERIFY_IO_DIRECT, VERIFY_IO_BUFFERED }; /* auto: direct where it is not cached */

struct verify_span {
    uint64_t offset, bytes; /* in the file; whole blocks of form */
    uint64_t nan, inf;      /* how many */
    uint64_t first;         /* offset in the file of the first of either, VERIFY_NONE: there is none */
    uint32_t form, pad;     /* enum form; BYTES: nothing in it can be a NaN or an infinity */
};
_Static_assert(sizeof(struct verify_span) == 48, "verify_span");

struct verify_file {
    uint64_t path;                   /* offset of a string in the segment */
    uint64_t bytes, mtime_ns, inode; /* as the coordinator saw them */
    uint64_t span0, spans;           /* its spans */
    uint64_t offset;                 /* FAILED: where */
    _Atomic uint32_t state;          /* enum verify_state */
    int32_t code;                    /* FAILED: a positive errno; ESTALE: it changed while it was read */
    uint8_t sha256[32];
    uint8_t git_sha1[20]; /* what git calls a blob of these bytes */
    uint32_t pad;
};
_Static_assert(sizeof(struct verify_file) == 120, "verify_file");

struct verify_shm {
    uint64_t magic;
    uint32_t version, io; /* enum verify_io */
    uint64_t bytes;       /* of the segment */
    uint64_t file_count, span_count, file_off, span_off, string_off;
    uint64_t block_bytes; /* of one read; 0: choose */
    uint32_t threads;     /* processors to use */
    uint32_t depth;       /* reads under way; 0: choose */
    _Alignas(64) _Atomic uint64_t done_bytes;
};

static inline struct verify_file *verify_files(struct verify_shm *s)
{
    return (struct verify_file *)(void *)((char *)s + s->file_off);
}
static inline struct verify_span *verify_spans(struct verify_shm *s)
{
    return (struct verify_span *)(void *)((char *)s + s->span_off);
}

/* Everything lies inside of the segment, spans inside of their files and in order. 0, or -EPROTO. */
int verify_check(struct verify_shm *s, uint64_t map_bytes, struct error *e);

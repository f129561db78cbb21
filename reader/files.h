/* The plan's files, opened for reading: checked against what was planned, direct or buffered by what is best for each.
 *
 * A file is read direct (O_DIRECT: no copy, no page cache) or buffered:
 *   io direct, buffered   as told; direct falls back where the file system refuses it, at open or at the first read
 *   io auto               buffered where the file lies in the page cache already, or where all files together are so
 *                         small that the next run should find them there; else direct. Looked at again now and then.
 * Rows of the gather table are always read buffered, through a descriptor of their own (FILES_ROWS, no read-ahead). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/epoch.h"
#include "proto/plan.h"
#include "reader/engine.h"

enum files_way { FILES_DIRECT, FILES_BUFFERED, FILES_ROWS, FILES_WAYS };

/* Number under which a descriptor is added to the engine. */
static inline uint32_t files_number(uint32_t file, enum files_way way)
{
    return file * FILES_WAYS + (uint32_t)way;
}

struct files;

/* How the plan's files are to be read: enum plan_engine as the plan says it, but threads for auto where one of them lies on
 * a file system that a program serves (FUSE: sshfs, rclone, ...). When such a program answers a read with fewer bytes than
 * it was asked for, io_uring (seen on Linux 6.18) reports all of them as read, with the wrong ones in between; pread reports
 * the fewer. So io_uring that was asked for by name is refused there. */
int files_engine(const struct plan_shm *p, uint32_t *engine, struct error *e);

/* Opens every file, in every way that may come to be wanted: later on nothing is opened. p: checked, outlives *out, as does the engine (opened for files_number(count, 0) files). Errors:
 * missing, not readable, changed since it was planned (size, time, inode), too many for the limit on descriptors. */
int files_open(struct files **out, const struct plan_shm *p, struct io_engine *g, struct error *e);
void files_close(struct files *f); /* NULL is allowed */

/* How tiles of a file are read now. */
enum files_way files_way(const struct files *f, uint32_t file);
/* Its descriptor. -errno where that way was not to be had when all were opened. */
int files_fd(struct files *f, uint32_t file, enum files_way way, struct error *e);
/* A direct read of this file was refused (EINVAL): buffered from now on. */
void files_refuse_direct(struct files *f, uint32_t file);

/* As often as one likes: at most once a second, sees whether a file was changed, replaced
 * or deleted since it was planned (an error), and
 * whether the page cache holds other files than before. */
int files_review(struct files *f, uint64_t now_ns, struct error *e);
/* Is this file still what was planned? 0, or the error that says what changed. */
int files_unchanged(struct files *f, uint32_t file, struct error *e);

/* Bytes [offset, offset + bytes) of a file, which has them, to dest; offset and dest are multiples of PLAN_PAGE, and dest has
 * room for whole pages. Waits, past the engine, from any thread. */
int files_read(const struct files *f, uint32_t file, uint8_t *dest, uint64_t offset, uint64_t bytes, struct error *e);
/* -ESTALE and the words for a file whose bytes are not those that were read before. */
int files_written_to(const struct files *f, uint32_t file, struct error *e);

/* Are there direct reads of so much that it matters how they are made? */
bool files_worth_tuning(const struct files *f);

const char *files_path(const struct files *f, uint32_t file);
/* What they are read by now: EPOCH_READS_* bits; and in words. */
uint32_t files_ways(const struct files *f);
const char *files_describe(const struct files *f);

/* A run as a Chrome trace (a JSON array of events; chrome://tracing, Perfetto, `sluice trace`), written as it happens.
 *
 *   process    track                          events, one after the other
 *   sweeps     one                            "sweep": from its order to its logits; its guesses are among its positions
 *              another                        "draft": seeking the guesses of the sweep that begins next
 *   reader     each entry of the host ring    "read" FREE to READY, "ready" until taken, "hand over" until freed
 *   transfer   each entry of the device ring  "copy", "ready", "compute"
 *   compute    sweep tiles; requests; rows    "compute", pinned tiles that need no slot too
 *
 * Times are microseconds since the file was opened. One event a line, which is what trace_read.c relies on. The file has its
 * name once it is complete. */
#pragma once
#include <stdint.h>
#include "proto/control.h"
#include "proto/base/error.h"
#include "proto/base/output.h"

enum trace_process { TRACE_SWEEPS = 1, TRACE_READER, TRACE_TRANSFER, TRACE_COMPUTE, TRACE_PROCESSES };
#define TRACE_REQUESTS                                                                                                 \
    1000000u /* tracks of lane 0 are numbered from 0, of lane 1 from here on, of lane 2 from twice this on */

struct trace_writer;

/* keep: what it must not replace; NULL: nothing. */
int trace_open(struct trace_writer **out, const char *path, const struct output_options *keep, struct error *e);
void trace_write(struct trace_writer *t, const struct trace_record *r, uint32_t n); /* t may be NULL */
void trace_sweep(struct trace_writer *t, uint64_t start_ns, uint64_t end_ns, uint32_t positions);
void trace_draft(struct trace_writer *t, uint64_t start_ns, uint64_t end_ns, uint32_t guesses);
/* -errno where anything could not be written: the text names the file, and what had its name before still has it. */
int trace_close(struct trace_writer *t, struct error *e);

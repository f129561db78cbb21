/* What people see while it works: one live line on stderr when that is a terminal, and nothing else.
 *
 *   prompt 512/2048  layer 37/80  1.83 GB/s  0.12 tok/s  ETA 0:41
 *   token 17  layer 37/80  1.83 GB/s  0.52 tok/s  ETA 0:12  4.3 a sweep (3.9 expected)
 *
 * When the answer goes to the same terminal, the line stands below it (live.h). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "coordinator/batch/observer.h"
#include "proto/base/error.h"
#include "proto/base/output.h"

struct view;

/* quiet: never a line. trace: path of a trace to write, or NULL; keep: what it must not replace. */
int view_open(struct view **out, bool quiet, const char *trace, const struct output_options *keep, struct error *e);
int view_close(struct view *v, struct error *e); /* writes the trace's end; -errno where it could not be written */

void view_total(struct view *v, uint64_t prompt, uint64_t answer); /* tokens expected, for the ETA */
/* Shows what a batch does: its observer (coordinator/batch/observer.h). */
struct batch_observer view_observer(struct view *v);
/* The line of a command that has no batch: bytes done of total, speed, what is left. As often as one likes. */
void view_progress(struct view *v, const char *what, uint64_t done, uint64_t total);
/* Text of the answer: written to stdout at once. -errno where stdout cannot be written to. */
int view_text(struct view *v, const char *text, size_t bytes, struct error *e);
/* A person's input that the terminal has shown: the text goes on behind it. */
void view_echoed(struct view *v, const char *text, size_t bytes);
void view_hide(struct view *v);      /* takes the line away: the text is at an end, for now */
void view_interrupt(struct view *v); /* and begins a new line: something else is going to be printed */

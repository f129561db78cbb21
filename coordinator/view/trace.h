/* Slots' ways as a Chrome trace (JSON array of complete events; chrome://tracing, Perfetto), written as they come. */
#pragma once
#include <stdint.h>
#include "proto/control.h"
#include "proto/error.h"

struct trace_writer;

int trace_open(struct trace_writer **out, const char *path, struct error *e);
void trace_write(struct trace_writer *t, const struct trace_record *r, uint32_t n); /* t may be NULL */
/* -errno where anything could not be written: the text names the file. */
int trace_close(struct trace_writer *t, struct error *e);

/* Answers as OpenAI's API words them: events of a stream, and whole bodies. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/text/buffer.h"

struct choice;
struct job;

/* Of a stream: a piece of text; the choice's last event; how far the prompt is. The first one of a choice goes before. */
void reply_piece(struct choice *c, bool thinking, const char *text, size_t bytes);
void reply_call(struct choice *c, uint32_t call);
void reply_finish(struct choice *c);
void reply_progress(struct job *j);
/* All choices have ended: the rest of the stream, or the body of the whole answer; the job is done. */
void reply_end(struct job *j);

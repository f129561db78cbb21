/* Answers as an API words them: events of a stream, and whole bodies.
 *
 *   reply_openai.c      chat and text completions, of OpenAI        reply_responses.c   its /v1/responses
 *   reply_messages.c    Anthropic's /v1/messages
 *
 * All of it is called by the thread that computes. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/serve/fault.h"
#include "coordinator/text/buffer.h"

struct choice;
struct job;

/* Of a stream: a piece of text; a call of a tool; the choice's last event; how far the prompt is. The first one of a choice
 * goes before. */
void reply_piece(struct choice *c, bool thinking, const char *text, size_t bytes);
void reply_call(struct choice *c, uint32_t call);
void reply_finish(struct choice *c);
void reply_progress(struct job *j);
/* All choices have ended: the rest of the stream, or the body of the whole answer; the job is done. */
void reply_end(struct job *j);
/* The event that ends a stream which has failed; any thread, with the job's lock. */
void reply_fault(struct job *j, struct buffer *b, const struct fault *f);

/* ---- for reply_*.c ---- */

struct reply_style {
    void (*piece)(struct choice *c, bool thinking, const char *text, size_t bytes);
    void (*call)(struct choice *c, uint32_t call);
    void (*finish)(struct choice *c);
    void (*progress)(struct job *j); /* NULL: it has no event for that */
    void (*end)(struct job *j);
    void (*whole)(struct job *j, struct buffer *b);
    void (*fault)(struct job *j, struct buffer *b, const struct fault *f);
};
extern const struct reply_style reply_openai, reply_responses, reply_messages;

void reply_say(struct job *j, struct buffer *b); /* appends to what is said, and empties the buffer */

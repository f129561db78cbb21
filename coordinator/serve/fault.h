/* Why a request is refused: an HTTP status, and the error as OpenAI's API words it.
 *
 *   {"error":{"message":...,"type":...,"param":...,"code":...}}
 *
 * An error that is known before the first byte of the answer is the answer's status; later it is an event of the stream. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/text/buffer.h"

struct fault {
    int status;       /* 0: none */
    const char *type; /* static */
    const char *code; /* static, NULL: none */
    char param[64];   /* the parameter that is to blame; empty: none */
    char text[512];
    uint32_t retry_after;            /* seconds; 0: not told */
    bool typed;                      /* as Anthropic words it: {"type":"error","error":{...}} */
    uint32_t prompt_tokens, context; /* of a prompt that is too long; 0: no matter */
};

/* param and code may be NULL. Returns -1, for `return fault_set(...)`. */
int fault_set(struct fault *f, int status, const char *param, const char *code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* {"error":{...}} */
void fault_write(struct buffer *b, const struct fault *f);

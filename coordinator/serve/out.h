/* JSON text, written piece by piece into a buffer (coordinator/text/buffer.h remembers a failed allocation). */
#pragma once
#include <stddef.h>
#include "coordinator/text/buffer.h"

/* A string with its quotes. What is no UTF-8 becomes U+FFFD. */
void out_string(struct buffer *b, const char *text, size_t bytes);
void out_format(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A number of JSON: an infinity is written as -9999 or 9999, as OpenAI's API does for logarithms. */
void out_real(struct buffer *b, double x);

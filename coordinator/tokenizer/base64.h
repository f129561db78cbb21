/* Base64 as RFC 4648 writes it. */
#pragma once
#include "coordinator/text/buffer.h"

/* Appends the bytes that s[0..bytes) stands for; false if it is not base64 (or no memory: out->failed). */
bool base64_decode(struct buffer *out, const char *s, size_t bytes);

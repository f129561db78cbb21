/* Values as people write them: sizes, numbers, lists, dates. No locale has a say. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include "proto/base/error.h"

/* Each takes the whole text or nothing. -EINVAL: not of that form; -ERANGE: too large to be held. */
int value_integer(const char *text, int64_t *out);
int value_unsigned(const char *text, uint64_t *out); /* decimal, or hexadecimal after 0x */
int value_real(const char *text, double *out);       /* finite */

/* Bytes: a decimal number, perhaps with a fraction, then B, k, M, G, T (powers of 1000) or Ki, Mi, Gi, Ti (of 1024), in
 * either case and with or without a B. A fraction of a byte is dropped. */
int value_size(const char *text, uint64_t *out);

/* YYYY-MM-DDTHH:MM:SS (or a space for the T). Fills tm_wday and tm_yday too. */
int value_date(const char *text, struct tm *out);

/* Non-negative numbers separated by white space or commas, perhaps none. *out is the caller's to free (NULL for none).
 * -EINVAL, -ERANGE name the word and its offset. */
int value_numbers(const char *text, size_t bytes, uint32_t **out, size_t *count, struct error *e);

/* The size as people read it, "1.50 GB", "812 bytes" (SI). */
const char *value_size_text(uint64_t bytes, char *out, size_t room);

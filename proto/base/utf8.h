/* UTF-8: checking and walking.
 *
 * Text is checked once where it enters (utf8_valid_bytes) and trusted afterwards: utf8_decode reads valid text only. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the longest valid prefix of text[0..bytes): equal to `bytes` if all is valid (Unicode 15, table 3-7). */
size_t utf8_valid_bytes(const char *text, size_t bytes);

/* How many bytes the broken sequence at text[0..bytes) spans that one U+FFFD stands for (its "maximal subpart", at least 1).
 * *incomplete is set where the sequence is cut off by the end of the text and could still become a character. */
size_t utf8_broken_bytes(const char *text, size_t bytes, bool *incomplete);

/* The code point at text, its length in *bytes. text must be valid and not at its end. */
uint32_t utf8_decode(const char *text, size_t *bytes);

/* Writes the code point and returns the number of bytes, 1 to 4. */
size_t utf8_encode(uint32_t c, char out[4]);

/* Bytes of the character that starts with this byte. */
static inline size_t utf8_char_bytes(char lead)
{
    unsigned char b = (unsigned char)lead;
    return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

/* Start of the character that ends before s + at (at > 0). */
size_t utf8_previous(const char *s, size_t at);

/* Names from files and folders may hold what a terminal would obey: control characters become question marks. */
static inline void utf8_no_controls(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 127) *s = '?';
}

/* What others wrote, on its way to a person's screen: answers, templates' errors, names of files and tensors, log lines.
 *
 * Every such text passes through printable_copy() where it leaves: log_at() for the lines of the stages and the
 * coordinator, the streams of coordinator/view/terminal.h for all that the coordinator prints. What a terminal would
 * obey becomes U+FFFD:
 *   - C0 controls but newline and tab (a carriage return too: with it a line could write over its own beginning), DEL,
 *     C1 controls, whether as characters (C2 80 to C2 9F) or as bytes that are no UTF-8
 *   - embeddings, overrides and isolates of bidirectional text (U+202A to 202E, U+2066 to 206F), with which a name looks
 *     like another one; marks that order nothing but themselves (U+200E, U+200F, U+061C) are text in Arabic and Hebrew */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Bytes of what a terminal would obey at text (bytes > 0), 0: a character that may be shown is there. */
size_t printable_refused(const char *text, size_t bytes);

/* As much of text as out[room] holds, in whole characters; *used bytes of it are done with. more: what comes behind
 * text may complete a character that is cut by its end, which is then left; else that is refused too. Returns the bytes
 * in out. */
size_t printable_copy(char *out, size_t room, const char *text, size_t bytes, bool more, size_t *used);

/* One line into out[room], with a NUL behind it: newlines and tabs become spaces as well, the rest is cut off. */
void printable_line(char *out, size_t room, const char *text);

#define PRINTABLE_INSTEAD "\xEF\xBF\xBD"
#define PRINTABLE_GROWTH  3 /* bytes of out for one of text, at most */

/* What standard output or error can show. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

bool terminal_is(int fd);
/* Columns of the terminal, at least 20; otherwise where fd is none. */
int terminal_columns(int fd, int otherwise);
/* A terminal that understands escape sequences (TERM is set, and not "dumb"). */
bool terminal_escapes(int fd);
/* And whose user wants colours and the like (no-color.org). */
bool terminal_color(int fd);

/* Text that others wrote (a model, a folder) goes to f, valid UTF-8 in whole characters. shown: f is a terminal, and each
 * control character that it would obey becomes U+FFFD: all of C0 but newline and tab, DEL, and C1. Anything else gets the
 * bytes as they are. False: errno says why. */
bool terminal_put(FILE *f, bool shown, const char *text, size_t bytes);
/* Bytes of such a control character at text, 0: none. C1 controls are two bytes in UTF-8. */
size_t terminal_control(const char *text, size_t bytes);

#define TERMINAL_BOLD  "\033[1m"
#define TERMINAL_DIM   "\033[2m"
#define TERMINAL_PLAIN "\033[0m"

/* Standard output and standard error: what they can show, and the one way in which text reaches them.
 *
 * After terminal_streams() all that is printed to stdout and stderr passes through two streams of this file:
 *   - what a terminal would obey is taken out (proto/base/printable.h): of stdout where it is a terminal, anything else
 *     gets the bytes as they are; of stderr always, since logs are shown later
 *   - a descriptor that was set not to block (by a shell, an editor, ssh: whoever shares it) is waited for; only after
 *     Ctrl-C and its kin nobody waits for a reader that takes no more (a pager, a stopped terminal): errno is EINTR then
 * The program's own escape sequences go past the filter, by terminal_raw(). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Once, at the program's start. -ENOMEM: nothing has changed. */
int terminal_streams(void);
/* The program's own sequence to stdout or stderr, behind what was printed there before; any other as it is. */
void terminal_raw(FILE *f, const char *sequence);
/* All bytes to a descriptor, as the streams write them. 0, or -errno (and errno). */
int terminal_write(int fd, const char *text, size_t bytes);
/* A stream without a filter, with a buffer, for a library that speaks to the terminal itself. NULL: no memory. */
FILE *terminal_unfiltered(int fd);

bool terminal_is(int fd);
/* Do both lead to the same terminal? */
bool terminal_same(int a, int b);
/* Columns to lay text out in, at least 20; otherwise where fd is no terminal. */
int terminal_columns(int fd, int otherwise);
/* What the terminal has; 80 and 24 where it does not know, as on a serial line. */
void terminal_size(int fd, int *columns, int *rows);
/* A terminal that understands escape sequences (TERM is set, and not "dumb"). */
bool terminal_escapes(int fd);
/* And whose user wants colours and the like (no-color.org). */
bool terminal_color(int fd);

#define TERMINAL_BOLD   "\033[1m"
#define TERMINAL_DIM    "\033[2m"
#define TERMINAL_RED    "\033[31m"
#define TERMINAL_GREEN  "\033[32m"
#define TERMINAL_YELLOW "\033[33m"
#define TERMINAL_PLAIN  "\033[0m"

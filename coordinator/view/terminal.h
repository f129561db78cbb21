/* What standard output or error can show. */
#pragma once
#include <stdbool.h>

bool terminal_is(int fd);
/* Columns of the terminal, at least 20; otherwise where fd is none. */
int terminal_columns(int fd, int otherwise);
/* A terminal that understands escape sequences (TERM is set, and not "dumb"). */
bool terminal_escapes(int fd);
/* And whose user wants colours and the like (no-color.org). */
bool terminal_color(int fd);

#define TERMINAL_BOLD  "\033[1m"
#define TERMINAL_DIM   "\033[2m"
#define TERMINAL_PLAIN "\033[0m"

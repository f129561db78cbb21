/* The option table told in three ways. None of them fails but by its stream; main looks at that once, at the end. */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include "coordinator/cli/options.h"

/* COMMAND_NONE: the program. No line is longer than columns (40 at least). */
void help_print(FILE *out, enum option_command c, int columns, bool color);
/* The man page sluice(1), in the man macros of roff. */
void manual_print(FILE *out);
/* shell: "bash", "zsh" or "fish". */
void completion_print(FILE *out, const char *shell);

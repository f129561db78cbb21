/* Folders that a test makes and takes away again; tests/run.sh gives each program a place of its own for them (TMPDIR) and
 * looks whether it is empty afterwards. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define TEMPORARY_BYTES 96

/* A fresh one in $TMPDIR, or in base where that is not NULL. */
bool temporary_make(char path[TEMPORARY_BYTES], const char *base);
/* With all that is in it. */
void temporary_remove(const char *path);

/* What a folder or a file is that is no model folder, in one line, and what to do with it.
 *
 * Each kind is a row of a table in explain.c. A kind that sluice learns to open is taken out of that table: what it is is
 * then seen before anybody asks here. */
#pragma once
#include <stdbool.h>
#include "proto/base/error.h"

/* A folder without config.json. -ENOENT where it is nothing that is known: then the message says what a model folder is. */
int explain_folder(const char *folder, struct error *e);
/* The same where it is a kind that is known; false: nothing is said. */
bool explain_known(const char *folder, struct error *e);
/* A folder with config.json and without weights that can be used. -ENOENT. */
int explain_weights(const char *folder, struct error *e);
/* A file that was given in the place of a folder, and is nothing of one. -ENOTDIR. */
int explain_file(const char *path, struct error *e);
/* A path where nothing is: a model's name on the hub, an address, a slip. -ENOENT. */
int explain_nothing(const char *path, struct error *e);

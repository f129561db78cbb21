/* A file that is written as a result: whole, or not at all.
 *
 *   output_open()   a file without a name in the same folder (or with one that nobody else has)
 *   output_file()   written to, as a stream
 *   output_close()  good: gets its name, in place of what had it before; else it goes away, and what had it stays as it was
 *
 * So a full disk, a limit on file sizes or an end by a signal leaves the old file, and a file that is read meanwhile keeps its
 * bytes. What is no regular file (a terminal, a pipe, /dev/null, /dev/stdout) is written to as it is. A link to a regular
 * file, or to nothing, is refused: neither is it followed, nor replaced. So is a file that may not be written to.
 *
 * Who opens says which files must not be replaced, because they are being read. */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include "proto/base/error.h"

struct output;

struct output_options {
    /* 0, or -errno and why this file must not be written. st: what lies there; NULL: nothing does. NULL: any may be. */
    int (*refuse)(void *arg, const char *path, const struct stat *st, struct error *e);
    void *arg;
    bool (*interrupted)(void); /* a write that waits for a pipe's reader is given up; NULL: never */
};

/* o may be NULL, else it is copied. Waits for the reader of a named pipe. -ECANCELED: interrupted. */
int output_open(struct output **out, const char *path, const struct output_options *o, struct error *e);
FILE *output_file(struct output *o);
bool output_seekable(const struct output *o); /* may the stream go back? */
/* Has a write failed? 0, or -errno and e: for who writes much, to stop early. */
int output_failed(struct output *o, struct error *e);
/* All that was written is kept if good, else nothing is. Frees o, which may be NULL. -errno: it could not be kept. */
int output_close(struct output *o, bool good, struct error *e);

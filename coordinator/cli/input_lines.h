/* A text that is read line by line, so that no more of it is in memory than a line and what came with it. */
#pragma once
#include <stddef.h>
#include "coordinator/cli/input.h"

struct input_lines {
    int fd;
    const char *name;         /* for messages */
    struct input_limit limit; /* of a line */
    char *data; /* bytes [at, end) are read and not yet given out; the line that was given out is before them */
    size_t room, at, end;
};

/* path as of input_read(); it must outlive the lines. */
int input_lines_open(struct input_lines *l, const char *path, const struct input_limit *limit, struct error *e);
void input_lines_close(struct input_lines *l);
/* The next line with its newline, which the last one may lack; valid until the next call. -ENODATA at the end, -ECANCELED
 * after a signal, -E2BIG: longer than the limit. */
int input_lines_next(struct input_lines *l, const char **line, size_t *bytes, struct error *e);

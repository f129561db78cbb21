/* The two files of a batch. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "coordinator/cli/options.h"
#include "coordinator/serve/ask.h"
#include "coordinator/text/buffer.h"
#include "proto/base/error.h"

/* A request of the input. Empty lines are none. */
struct batch_line {
    uint64_t number; /* of its line, from 1 */
    char *id;        /* its custom_id; NULL: it has none */
    const char *url; /* static: one of those that are known */
    json_t *body;    /* NULL: it is no request, and fault says why */
    struct fault fault;
};
void batch_line_free(struct batch_line *l);

/* What is read: in order, each line by itself, so that its length is no matter. */
struct batch_input {
    FILE *file;
    const char *path;
    char *text;
    size_t room;
    uint64_t number;
};
int batch_input_open(struct batch_input *in, const char *path, struct error *e);
void batch_input_close(struct batch_input *in);
/* 1, 0 at the end, or -errno. */
int batch_input_next(struct batch_input *in, struct batch_line *out, struct error *e);

/* What a file asks for, before anything of it is tokenized. */
struct batch_extent {
    uint64_t requests;
    uint64_t
        tokens; /* that the longest of them may take, prompt and answer: a guess from its bytes, more likely too high */
};
/* All lines are looked at before anything starts; -EINVAL with both lines where two have the same id. max_tokens: of an
 * answer, where a request says nothing. */
int batch_input_check(struct batch_extent *out, const char *path, uint32_t max_tokens, struct error *e);

/* Where results go, appended. */
struct batch_output {
    int fd;
    const char *path;
    json_t *done; /* custom ids, and the numbers of lines without one ("#7"), whose results are there */
};
/* resume: goes on with a file that is there; a last line that was torn is cut off, results of failures of this side are
 * dropped from the set, so that they are tried again. Without it a file that is not empty is refused. So is what is read. */
int batch_output_open(struct batch_output *out, const struct options *o, struct error *e);
int batch_output_close(struct batch_output *out, struct error *e);
bool batch_output_has(const struct batch_output *out, const struct batch_line *l);
/* One line: the answer's body, or a refusal of that status; status 0: no request at all. */
int batch_output_write(struct batch_output *out, const struct batch_line *l, int status, const char *request_id,
                       const char *body, size_t bytes, struct error *e);

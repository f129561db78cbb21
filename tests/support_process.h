/* Runs the built program as a user would: arguments in, exit status and both outputs back. */
#pragma once
#include <stddef.h>
#include <sys/types.h>

struct process_result {
    int status;      /* exit status; 128 + N after signal N, as a shell says it */
    char *out, *err; /* NUL-terminated; process_result_free() */
    size_t out_bytes, err_bytes;
};

/* The folder of the binaries: SLUICE_BUILD, or the parent of the folder that this test lies in. */
const char *process_build(void);

/* A program under process_build() or anywhere from / on, with text on its standard input (NULL: empty). It is killed, with its children, after
 * seconds; status is then 137. Fails the test where it cannot be started. */
struct process_result process_run(const char *program, const char *const *arg, const char *text, size_t bytes,
                                  int seconds);
void process_result_free(struct process_result *r);

/* In two steps, so that something can be done to it meanwhile. */
struct process {
    pid_t pid;
    int in, out, err; /* in: -1 once closed */
};
struct process process_start(const char *program, const char *const *arg);
struct process_result process_finish(struct process *p, const char *text, size_t bytes, int seconds);

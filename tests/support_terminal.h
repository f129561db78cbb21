/* The built program in a terminal of its own: a test types, and reads what is shown. */
#pragma once
#include <stddef.h>
#include <sys/types.h>

struct terminal {
    pid_t pid;
    int fd;
    char *text;         /* all that was shown, escape sequences and \r taken out; NUL-terminated */
    size_t bytes, seen; /* seen: where the next wait begins to look */
    char *raw;          /* with them */
    size_t raw_bytes;
    int escape; /* state of taking out sequences */
};

/* A program under process_build(), in 80 x 24. env: NAME=VALUE, ends with NULL; TERM is xterm unless it says otherwise. */
struct terminal terminal_start(const char *program, const char *const *arg, const char *const *env);
void terminal_type(struct terminal *t, const char *keys);
/* Waits until what was shown after the last wait holds text; fails the test after 20 seconds. */
void terminal_wait(struct terminal *t, const char *text);
/* Reads for a while what comes; what was shown since the last wait. */
const char *terminal_peek(struct terminal *t, int milliseconds);
/* Waits for the end; exit status, 128 + N after signal N. Frees. */
int terminal_end(struct terminal *t);
/* A child of the program whose name begins so, once it is there; 0: none came in 20 seconds. */
pid_t terminal_child(const struct terminal *t, const char *name);

/* What went wrong, told once, at the place where it is known.
 *
 * Functions that can fail return 0 or -errno and fill a struct error for the person who will read it:
 * what happened, where (file, tensor, offset), and what to do. Only main.c of a process prints and exits. */
#pragma once
#include <stdarg.h>

#define ERROR_TEXT_BYTES 1024

#ifdef __cplusplus
extern "C" {
#endif

struct error {
    int code;                    /* a positive errno, 0 while all is well */
    char text[ERROR_TEXT_BYTES]; /* one message, no newline at its end */
};

/* Fills *e (which may be NULL) and returns -code, so that `return error_set(e, EINVAL, "...")` is one line. */
int error_set(struct error *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before a message that is already there; returns -e->code. */
int error_prefix(struct error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A name for an errno, "no space left on device" and so on. Thread-safe. */
const char *error_name(int code);

#ifdef __cplusplus
}
#endif

/* A model folder whose files are memory: each is a symbolic link to a descriptor of this process, so that a target opens
 * paths as users do and nothing is written to a disk. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "tests/fuzz/fuzz.h"
#include "tests/support_temporary.h"

struct fuzz_folder {
    char path[TEMPORARY_BYTES];
    int fd[8];
    int files;
};

/* A folder with these files (NULL ends the list; a name may lead through folders of its own), empty. Removed when the
 * process ends in order. */
void fuzz_folder_make(struct fuzz_folder *f, const char *const *name);
/* File number i becomes these bytes and a hole of tail bytes behind them. */
void fuzz_folder_fill(struct fuzz_folder *f, int i, const void *data, size_t bytes, uint64_t tail);

/* The whole of a file of the repository, with a NUL behind it; malloc'ed. Aborts where there is none. */
char *fuzz_read(const char *path, size_t *bytes);
/* Paths that match, sorted; calls each. */
void fuzz_glob(const char *pattern, void (*each)(void *arg, const char *path), void *arg);

/* Where seeds go, and the bytes that each begins with. */
struct fuzz_sink {
    fuzz_emit *emit;
    void *arg;
    char head[8];
    size_t head_bytes;
};

void fuzz_seed(struct fuzz_sink *s, const void *data, size_t bytes);
/* The whole of a file; for fuzz_glob(). */
void fuzz_seed_file(void *sink, const char *path);

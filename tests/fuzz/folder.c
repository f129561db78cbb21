#include "tests/fuzz/folder.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/support_temporary.h"

static char made[32][TEMPORARY_BYTES]; /* folders to remove */
static int made_count;

static void remove_made(void)
{
    for (int i = 0; i < made_count; i++) temporary_remove(made[i]);
}

/* The folders that a path leads through. */
static void make_parents(char *path)
{
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        mkdir(path, 0700);
        *p = '/';
    }
}

void fuzz_folder_make(struct fuzz_folder *f, const char *const *name)
{
    char link[256], to[64];

    if (!temporary_make(f->path, NULL)) fuzz_fail("cannot make a temporary folder");
    if (!made_count) atexit(remove_made);
    if (made_count == 32) fuzz_fail("too many folders");
    snprintf(made[made_count++], sizeof *made, "%s", f->path);
    for (f->files = 0; name[f->files]; f->files++) {
        f->fd[f->files] = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(to, sizeof to, "/proc/self/fd/%d", f->fd[f->files]);
        snprintf(link, sizeof link, "%s/%s", f->path, name[f->files]);
        make_parents(link);
        if (f->fd[f->files] < 0 || symlink(to, link)) fuzz_fail("cannot make a file in a folder");
    }
}

void fuzz_folder_fill(struct fuzz_folder *f, int i, const void *data, size_t bytes, uint64_t tail)
{
    if (ftruncate(f->fd[i], 0) || pwrite(f->fd[i], data, bytes, 0) != (ssize_t)bytes ||
        ftruncate(f->fd[i], (off_t)(bytes + tail)))
        fuzz_fail("cannot write to a memory file");
}

char *fuzz_read(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    char *text = NULL;

    if (!f || fstat(fileno(f), &st) || !(text = calloc(1, (size_t)st.st_size + 1)) ||
        fread(text, 1, (size_t)st.st_size, f) != (size_t)st.st_size) {
        fprintf(stderr, "%s: ", path);
        fuzz_fail("is needed for seeds; run this in the folder of the sources");
    }
    fclose(f);
    *bytes = (size_t)st.st_size;
    return text;
}

void fuzz_glob(const char *pattern, void (*each)(void *arg, const char *path), void *arg)
{
    glob_t g;

    if (glob(pattern, 0, NULL, &g)) {
        fprintf(stderr, "%s: ", pattern);
        fuzz_fail("nothing matches; run this in the folder of the sources");
    }
    for (size_t i = 0; i < g.gl_pathc; i++) each(arg, g.gl_pathv[i]);
    globfree(&g);
}

void fuzz_seed(struct fuzz_sink *s, const void *data, size_t bytes)
{
    char *seed = malloc(s->head_bytes + bytes + 1);

    if (!seed) fuzz_fail("no memory for a seed");
    memcpy(seed, s->head, s->head_bytes);
    memcpy(seed + s->head_bytes, data, bytes);
    s->emit(s->arg, seed, s->head_bytes + bytes);
    free(seed);
}

void fuzz_seed_file(void *sink, const char *path)
{
    size_t bytes;
    char *text = fuzz_read(path, &bytes);

    fuzz_seed(sink, text, bytes);
    free(text);
}

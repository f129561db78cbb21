/* A list of tensors in the place of their files' headers, so that a folder can be planned before it is downloaded.
 *
 *   # comment
 *   model.embed_tokens.weight <tab> BF16 <tab> 128256x8192
 *   model-00001-of-00002.safetensors <tab> model.embed_tokens.weight <tab> BF16 <tab> 128256x8192 <tab> anything more
 *
 * A line is name, dtype as safetensors calls it, and shape; the file may stand before them. Tensors of a file follow each
 * other in the order of the list. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/source/tensors.h"
#include "proto/base/file.h"

#define FIELDS   4
#define DIMS_MAX 16u

struct list {
    struct tensors *t;
    const char *path;
    unsigned long line;
    struct error *e;
};

static int fault(const struct list *l, const char *what, const char *word)
{
    return error_set(l->e, EINVAL,
                     "%s: line %lu: %s%s%.100s: a line is name, dtype (BF16) and shape (4096x1024), separated by tabs",
                     l->path, l->line, what, *word ? ": " : "", word);
}

/* "4096x1024": rows before columns. Of a scalar it is empty. */
static int read_shape(const struct list *l, const char *text, uint64_t *shape, uint32_t *dims)
{
    const char *p = text;

    *dims = 0;
    if (!*text) return 0;
    while (*dims < DIMS_MAX) {
        char *end;

        if (!isdigit((unsigned char)*p)) break;
        errno = 0;
        shape[(*dims)++] = strtoull(p, &end, 10);
        if (errno) break;
        if (!*end) return 0;
        if (*end != 'x') break;
        p = end + 1;
    }
    return fault(l, "no shape", text);
}

/* The files of a list are few, and a file's tensors stand together. */
static int file_idx(const struct list *l, const char *name, uint32_t *idx)
{
    char inner[TENSORS_NAME_BYTES];
    struct tensors *t = l->t;

    if (!tensors_inner_name(inner, name)) return fault(l, "its file is no path inside of the folder", name);
    for (uint32_t i = t->file_count; i-- > 0;)
        if (!strcmp(t->files[i].name, inner)) {
            *idx = i;
            return 0;
        }
    return tensors_add_file(t, inner, idx, l->e);
}

static int add(const struct list *l, char *const *field, int n)
{
    bool file = n > 3 && tensor_dtype_of(field[1]) == TENSOR_DTYPES;
    struct tensor x = {.name = field[file], .dtype = TENSOR_DTYPES};
    uint64_t shape[DIMS_MAX];
    int rc;

    if (n < 3 || !*x.name) return fault(l, "too few words", field[0]);
    x.dtype = tensor_dtype_of(field[file + 1]);
    if (x.dtype == TENSOR_DTYPES) return fault(l, "no dtype of safetensors", field[file + 1]);
    x.shape = shape;
    if ((rc = read_shape(l, field[file + 2], shape, &x.dims))) return rc;
    if (tensor_shape_bytes(x.dtype, shape, x.dims, &x.bytes)) return fault(l, "a shape out of range", field[file + 2]);
    if ((rc = file_idx(l, file ? field[0] : TENSORS_SINGLE_NAME, &x.file))) return rc;
    x.offset = l->t->files[x.file].info.bytes;
    if (__builtin_add_overflow(x.offset, x.bytes, &l->t->files[x.file].info.bytes))
        return fault(l, "a shape out of range", field[file + 2]);
    rc = tensors_add(l->t, &x, NULL);
    if (rc == -EEXIST) return fault(l, "a tensor that was there already", x.name);
    return rc ? error_set(l->e, -rc, "%s: no memory for it", l->path) : 0;
}

static int read_line(const struct list *l, char *line)
{
    char *field[FIELDS] = {0}, *p = line;
    int n = 0;

    line[strcspn(line, "\r\n")] = 0;
    if (!*line || *line == '#') return 0;
    while (n < FIELDS && p) {
        field[n++] = p;
        p = strchr(p, '\t');
        if (p) *p++ = 0;
    }
    return add(l, field, n);
}

int tensors_read_list(struct tensors *t, const char *path, struct error *e)
{
    struct list l = {.t = t, .path = path, .e = e};
    FILE *f = file_stream(path, e);
    char *line = NULL;
    size_t room = 0;
    int rc = 0;

    if (!f) return -e->code;
    while (!rc && getline(&line, &room, f) >= 0) {
        l.line++;
        rc = read_line(&l, line);
    }
    if (!rc && ferror(f)) rc = error_set(e, EIO, "%s: cannot be read", path);
    if (!rc && !t->count) rc = error_set(e, EINVAL, "%s: no tensors are listed in it", path);
    free(line);
    fclose(f);
    t->source = TENSORS_LIST;
    return rc;
}

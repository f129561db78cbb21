#include "coordinator/source/gguf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "coordinator/source/gguf_header.h"
#include "proto/base/file.h"

#define SUFFIX     ".gguf"
#define SET_SUFFIX "-00001-of-00001" SUFFIX /* its length: numbers have five digits */

/* ---- names ---- */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct gguf_value *)a)->key, ((const struct gguf_value *)b)->key);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct gguf_tensor *)a)->name, ((const struct gguf_tensor *)b)->name);
}

size_t gguf_sort_values(struct gguf_value *v, size_t n)
{
    if (n) qsort(v, n, sizeof *v, by_key);
    for (size_t i = 1; i < n; i++)
        if (!by_key(&v[i - 1], &v[i])) return i;
    return SIZE_MAX;
}

size_t gguf_sort_tensors(struct gguf_tensor *t, size_t n)
{
    if (n) qsort(t, n, sizeof *t, by_name);
    for (size_t i = 1; i < n; i++)
        if (!by_name(&t[i - 1], &t[i])) return i;
    return SIZE_MAX;
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    struct gguf_value want = {.key = key};

    return g->value_count ? bsearch(&want, g->values, g->value_count, sizeof want, by_key) : NULL;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name)
{
    struct gguf_tensor want = {.name = name};

    return g->tensor_count ? bsearch(&want, g->tensors, g->tensor_count, sizeof want, by_name) : NULL;
}

/* ---- files of a set ---- */

bool gguf_is(const char *path)
{
    char magic[4];
    struct stat st;
    struct error e;
    int fd;
    bool is;

    if (file_open(path, &fd, &st, &e)) return false;
    is = st.st_size >= (off_t)sizeof magic && !file_read_at(fd, magic, sizeof magic, 0) && !memcmp(magic, "GGUF", 4);
    close(fd);
    return is;
}

static int no_memory(const char *path, struct error *e)
{
    return error_set(e, ENOMEM, "%s: no memory for its description", path);
}

static int add_file(struct gguf *g, const char *path, struct error *e)
{
    struct gguf_file *files = reallocarray(g->files, g->file_count + 1, sizeof *files), *f;
    const char *slash = strrchr(path, '/');

    if (!files) return no_memory(path, e);
    g->files = files;
    f = &g->files[g->file_count];
    *f = (struct gguf_file){.name = strdup(slash ? slash + 1 : path), .path = strdup(path)};
    g->file_count++;
    return f->name && f->path ? 0 : no_memory(path, e);
}

/* "DIR/NAME-00002-of-00005.gguf": 2 and 5, and the bytes before "-00002". */
static bool parse_name(const char *path, unsigned *number, unsigned *of, size_t *stem)
{
    size_t n = strlen(path), suffix = strlen(SET_SUFFIX);
    int end = 0;

    if (n <= suffix) return false;
    *stem = n - suffix;
    return sscanf(path + *stem, "-%5u-of-%5u" SUFFIX "%n", number, of, &end) == 2 && (size_t)end == suffix;
}

/* What a file says of its place in a set; *count 1: it is alone. */
static int read_split(const struct gguf *g, uint64_t *no, uint64_t *count, struct error *e)
{
    int rc = gguf_u64(g, "split.count", count, e);

    if (rc == -ENOENT) {
        *no = 0;
        *count = 1;
        return 0;
    }
    if (!rc && !*count) *count = 1;
    if (!rc) rc = gguf_u64(g, "split.no", no, e);
    if (rc == -ENOENT || (!rc && (*no >= *count || *count > GGUF_FILES_MAX)))
        rc = gguf_fault(g, e, "split.count",
                        "%" PRIu64 " files, of which this were number %" PRIu64
                        ": the file is damaged, download it again",
                        *count, rc ? 0 : *no + 1);
    return rc;
}

static int take_tensors(struct gguf *g, struct gguf_header *h, uint32_t file, struct error *e)
{
    struct gguf_tensor *all = reallocarray(g->tensors, g->tensor_count + h->tensor_count + 1, sizeof *all);

    if (!all) return no_memory(g->files[file].path, e);
    g->tensors = all;
    for (size_t i = 0; i < h->tensor_count; i++) {
        all[g->tensor_count] = h->tensors[i];
        all[g->tensor_count++].file = file;
    }
    return 0;
}

/* The file's header becomes the set's: with its values where it is the first. */
static int read_first(struct gguf *g, struct error *e)
{
    struct gguf_header h;
    int rc = gguf_header_read(&h, &g->files[0], e);

    if (rc) return rc;
    g->version = h.version;
    g->values = h.values;
    g->value_count = h.value_count;
    h.values = NULL;
    rc = take_tensors(g, &h, 0, e);
    gguf_header_free(&h);
    return rc;
}

/* File number i of the set: what is wrong with it stays its fault. */
static int read_further(struct gguf *g, uint32_t i, uint64_t count, struct error *e)
{
    struct gguf own = {.files = &g->files[i], .file_count = 1};
    uint64_t no = 0, of = 0;
    struct gguf_header h;
    struct error why;
    int rc = gguf_header_read(&h, &g->files[i], &why);

    own.values = h.values;
    own.value_count = h.value_count;
    if (!rc) rc = read_split(&own, &no, &of, &why);
    if (!rc && (of != count || no != i))
        rc = error_set(&why, EINVAL,
                       "%s: it says that it is file %" PRIu64 " of %" PRIu64 ", and stands for file %u of %" PRIu64
                       ": files of two downloads are mixed, or were renamed",
                       g->files[i].path, no + 1, of, i + 1, count);
    if (!rc)
        rc = take_tensors(g, &h, i, e);
    else if (rc == -ENOMEM)
        error_set(e, ENOMEM, "%s", why.text);
    else {
        g->complete = false;
        g->files[i].absent = rc == -ENOENT || rc == -ENOLINK;
        g->files[i].fault = strdup(why.text);
        rc = g->files[i].fault ? 0 : no_memory(g->files[i].path, e);
    }
    gguf_header_free(&h);
    return rc;
}

static int check_sum(const struct gguf *g, struct error *e)
{
    uint64_t want = 0;
    int rc = gguf_u64(g, "split.tensors.count", &want, e);

    if (rc == -ENOENT) return 0;
    if (!rc && g->complete && want != g->tensor_count)
        rc = gguf_fault(g, e, "split.tensors.count",
                        "%" PRIu64 ", and the files of the set have %zu: files of two downloads are "
                        "mixed, download them again",
                        want, g->tensor_count);
    return rc;
}

static int read_set(struct gguf *g, size_t stem, uint64_t count, struct error *e)
{
    char *path;

    for (uint32_t i = 1; i < count; i++) {
        int rc;

        if (asprintf(&path, "%.*s-%05u-of-%05u" SUFFIX, (int)stem, g->files[0].path, i + 1, (unsigned)count) < 0)
            return no_memory(g->files[0].path, e);
        rc = add_file(g, path, e);
        free(path);
        if (!rc) rc = read_further(g, i, count, e);
        if (rc) return rc;
    }
    return check_sum(g, e);
}

static int sort_all(struct gguf *g, struct error *e)
{
    size_t i = gguf_sort_tensors(g->tensors, g->tensor_count);

    if (i == SIZE_MAX) return 0;
    return error_set(e, EINVAL, "%s: tensor %.200s is in %s too: files of two downloads are mixed, download them again",
                     g->files[g->tensors[i].file].path, g->tensors[i].name, g->files[g->tensors[i - 1].file].name);
}

/* One file, and where it says so the set that it is the first of. */
static int open_first(struct gguf *g, struct error *e)
{
    uint64_t no = 0, count = 1;
    unsigned number, of;
    size_t stem;
    int rc = read_first(g, e);

    g->complete = true;
    if (!rc) rc = read_split(g, &no, &count, e);
    if (rc || count == 1) return rc;
    if (!parse_name(g->files[0].path, &number, &of, &stem) || of != count || number != no + 1)
        return error_set(e, EINVAL,
                         "%s: file %" PRIu64 " of a set of %" PRIu64
                         ", and its name does not say so: give it the name that it had, as in NAME-%05u-of-%05u" SUFFIX
                         ", beside the others",
                         g->files[0].path, no + 1, count, (unsigned)no + 1, (unsigned)count);
    return read_set(g, stem, count, e);
}

/* The first of the set that path is one of, by its name: the caller's. */
static char *first_of(const char *path)
{
    unsigned number, of;
    size_t stem;
    char *first;

    if (!parse_name(path, &number, &of, &stem) || number < 2 || number > of) return strdup(path);
    return asprintf(&first, "%.*s-%05u-of-%05u" SUFFIX, (int)stem, path, 1u, of) < 0 ? NULL : first;
}

int gguf_open(struct gguf **out, const char *path, struct error *e)
{
    struct gguf *g = calloc(1, sizeof *g);
    char *first = first_of(path);
    struct error unread;
    int rc;

    *out = NULL;
    if (!e) e = &unread;
    e->code = 0;
    rc = !g || !first ? no_memory(path, e) : add_file(g, first, e);
    if (!rc) rc = open_first(g, e);
    if (rc == -ENOENT && strcmp(first, path))
        rc = error_set(e, ENOENT,
                       "%s: one file of a set, whose first, %s, is not there and has all that is said of the model: "
                       "download that too",
                       path, first);
    if (!rc) rc = sort_all(g, e);
    free(first);
    if (rc)
        gguf_close(g);
    else
        *out = g;
    return rc;
}

void gguf_close(struct gguf *g)
{
    if (!g) return;
    for (size_t i = 0; i < g->value_count; i++) free((void *)(uintptr_t)g->values[i].string_at);
    for (uint32_t i = 0; i < g->file_count; i++) {
        free(g->files[i].name);
        free(g->files[i].path);
        free(g->files[i].fault);
        free(g->files[i].header);
    }
    free(g->values);
    free(g->tensors);
    free(g->files);
    free(g);
}

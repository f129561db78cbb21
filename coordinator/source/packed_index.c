/* sluice-pack.json. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "coordinator/source/packed.h"
#include "coordinator/source/tensors.h"
#include "coordinator/text/json.h"

#define INDEX_BYTES_MAX (UINT64_C(64) << 20)
#define FILES_MOST      100000u

bool packed_folder(const char *folder)
{
    char path[4096];
    struct stat st;

    return snprintf(path, sizeof path, "%s/" PACKED_INDEX, folder) < (int)sizeof path && !lstat(path, &st);
}

int packed_folder_check(const char *folder, struct error *e)
{
    DIR *d = packed_folder(folder) ? NULL : opendir(folder);
    const struct dirent *x;
    int rc = 0;

    while (d && !rc && (x = readdir(d))) {
        if (tensors_name_ends(x->d_name, PACKED_SUFFIX PACKED_PARTIAL) ||
            !strcmp(x->d_name, PACKED_INDEX PACKED_PARTIAL))
            rc = error_set(e, EINVAL,
                           "%s: packing it did not come to its end: run the same `sluice pack` again, it goes on",
                           folder);
        else if (tensors_name_ends(x->d_name, PACKED_SUFFIX))
            rc = error_set(e, EINVAL,
                           "%s: %s is a packed file, and " PACKED_INDEX " is not there: copy the whole folder", folder,
                           x->d_name);
    }
    if (d) closedir(d);
    return rc;
}

struct reading {
    const char *path;
    struct error *e;
};

static int fault(const struct reading *r, const char *what)
{
    return error_set(r->e, EINVAL, "%s: %s: copy or pack the folder again", r->path, what);
}

static bool read_number(json_t *o, const char *key, uint64_t *out)
{
    int64_t v;

    if (!json_whole(json_object_get(o, key), &v) || v < 0) return false;
    *out = (uint64_t)v;
    return true;
}

static bool read_hex(json_t *o, const char *key, char *out, size_t digits)
{
    const char *s = json_string_value(json_object_get(o, key));

    if (!s || strlen(s) != digits || strspn(s, "0123456789abcdef") != digits) return false;
    memcpy(out, s, digits + 1);
    return true;
}

static int read_file(const struct reading *r, json_t *o, bool copied, struct packed_file *f)
{
    const char *name = json_string_value(json_object_get(o, "name"));
    char inner[TENSORS_NAME_BYTES], sum[17];

    if (!name || !tensors_inner_name(inner, name) || strcmp(inner, name))
        return fault(r, "it names a file that is not inside of the folder");
    if (!read_hex(o, "sha256", f->sha256, 64) || !read_number(o, "bytes", &f->raw_bytes) ||
        (!copied && (!read_hex(o, "front", sum, 16) || !read_number(o, "stored_bytes", &f->stored_bytes))))
        return fault(r, "a file in it has no sizes or sums");
    if (!copied) f->front_sum = strtoull(sum, NULL, 16);
    f->name = strdup(name);
    return f->name ? 0 : error_set(r->e, ENOMEM, "%s: no memory for it", r->path);
}

static int read_list(const struct reading *r, json_t *list, bool copied, struct packed_file **out, size_t *n)
{
    size_t count = json_array_size(list);
    int rc = 0;

    if (!json_is_array(list) || count > FILES_MOST) return fault(r, "it has no list of files");
    *out = calloc(count + 1, sizeof **out);
    if (!*out) return error_set(r->e, ENOMEM, "%s: no memory for it", r->path);
    for (*n = 0; *n < count && !rc;) {
        rc = read_file(r, json_array_get(list, *n), copied, &(*out)[*n]);
        if (!rc) ++*n;
    }
    return rc;
}

int packed_index_read(struct packed_index *x, const char *folder, struct error *e)
{
    char path[4096];
    struct reading r = {path, e};
    json_t *root = NULL;
    const char *format;
    int rc;

    *x = (struct packed_index){0};
    snprintf(path, sizeof path, "%s/" PACKED_INDEX, folder);
    rc = json_read_file(&root, path, INDEX_BYTES_MAX, e);
    if (rc) return rc;
    format = json_string_value(json_object_get(root, "format"));
    if (!format || strcmp(format, "sluice-pack 1")) rc = fault(&r, "its format is none that is known here");
    if (!rc) rc = read_list(&r, json_object_get(root, "files"), false, &x->file, &x->files);
    if (!rc) rc = read_list(&r, json_object_get(root, "copied"), true, &x->copied, &x->copies);
    json_decref(root);
    if (rc) packed_index_free(x);
    return rc;
}

static void free_list(struct packed_file *list, size_t n)
{
    for (size_t i = 0; i < n; i++) free(list[i].name);
    free(list);
}

void packed_index_free(struct packed_index *x)
{
    free_list(x->file, x->files);
    free_list(x->copied, x->copies);
    *x = (struct packed_index){0};
}

const struct packed_file *packed_index_find(const struct packed_index *x, const char *name)
{
    for (size_t i = 0; i < x->files; i++)
        if (!strcmp(x->file[i].name, name)) return &x->file[i];
    return NULL;
}

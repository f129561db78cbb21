#include "coordinator/source/place.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "coordinator/source/explain.h"
#include "coordinator/source/tensors.h"
#include "proto/base/file.h"

#define REF_BYTES_MAX 4096

static int no_memory(const char *path, struct error *e)
{
    return error_set(e, ENOMEM, "%s: out of memory", path);
}

static bool is_there(const char *folder, const char *name, bool as_folder)
{
    struct stat st;
    char *path;
    bool there;

    if (asprintf(&path, "%s/%s", folder, name) < 0) return false;
    there = as_folder ? !stat(path, &st) && S_ISDIR(st.st_mode) : !lstat(path, &st);
    free(path);
    return there;
}

/* ---- the hub's cache ---- */

/* The snapshot that refs/main names, which the hub's programs take; NULL: none that is there. */
static char *main_snapshot(const char *root)
{
    char *path, *text = NULL, *folder = NULL;
    uint64_t bytes = 0;

    if (asprintf(&path, "%s/refs/main", root) < 0) return NULL;
    if (!file_load(&text, &bytes, path, REF_BYTES_MAX, NULL)) text[strcspn(text, "\r\n \t")] = 0;
    free(path);
    if (text && *text && *text != '.' && !strchr(text, '/') && asprintf(&folder, "%s/snapshots/%s", root, text) < 0)
        folder = NULL;
    free(text);
    if (folder && is_there(folder, ".", true)) return folder;
    free(folder);
    return NULL;
}

/* How many snapshots there are, and one of them; *name is the caller's. */
static size_t count_snapshots(const char *root, char **name)
{
    size_t n = 0;
    char *path;
    struct dirent *x;
    DIR *d;

    *name = NULL;
    if (asprintf(&path, "%s/snapshots", root) < 0) return 0;
    d = opendir(path);
    while (d && (x = readdir(d))) {
        if (*x->d_name == '.' || !is_there(path, x->d_name, true)) continue;
        n++;
        if (!*name || strcmp(x->d_name, *name) < 0) {
            free(*name);
            *name = strdup(x->d_name);
        }
    }
    if (d) closedir(d);
    free(path);
    return n;
}

static int find_snapshot(struct place *p, const char *root, struct error *e)
{
    char *one;
    size_t n;
    int rc = 0;

    if ((p->folder = main_snapshot(root))) return 0;
    n = count_snapshots(root, &one);
    if (!n)
        rc = error_set(e, ENOENT, "%s: a cache without a snapshot: nothing of the model was downloaded yet", root);
    else if (n > 1)
        rc =
            error_set(e, EINVAL,
                      "%s: a cache of %zu snapshots, and refs/main names none of them: give one, as in %s/snapshots/%s",
                      root, n, root, one ? one : "");
    else if (!one || asprintf(&p->folder, "%s/snapshots/%s", root, one) < 0)
        rc = no_memory(root, e);
    free(one);
    return rc;
}

/* The last part of a path, its own or that of the folder above it, or above that; the caller's. */
static char *part_of(const char *path, int above)
{
    size_t n = strlen(path), from;

    for (;; above--) {
        while (n > 1 && path[n - 1] == '/') n--;
        for (from = n; from > 0 && path[from - 1] != '/';) from--;
        if (!above || !from) break;
        n = from;
    }
    return above ? strdup("") : strndup(path + from, n - from);
}

/* "ORG/NAME" of "models--ORG--NAME"; else as it is. */
static void plain_name(char *name)
{
    char *cut;

    if (strncmp(name, "models--", 8)) return;
    memmove(name, name + 8, strlen(name + 8) + 1);
    if (!(cut = strstr(name, "--"))) return;
    *cut = '/';
    memmove(cut + 1, cut + 2, strlen(cut + 2) + 1);
}

static int take_name(struct place *p, const char *path, struct error *e)
{
    char *real = realpath(path, NULL), *above = real ? part_of(real, 1) : NULL;
    bool snapshot = above && !strcmp(above, "snapshots");

    p->name = part_of(path, 0);
    if (real && (snapshot || (p->name && (!strcmp(p->name, ".") || !strcmp(p->name, ".."))))) {
        free(p->name);
        p->name = part_of(real, snapshot ? 2 : 0);
    }
    free(real);
    free(above);
    if (!p->name) return no_memory(path, e);
    plain_name(p->name);
    return 0;
}

/* ---- paths ---- */

static int take_folder(struct place *p, const char *path, struct error *e)
{
    bool cache = !is_there(path, "config.json", false) && is_there(path, "snapshots", true);
    int rc = 0;

    if (cache)
        rc = find_snapshot(p, path, e);
    else
        p->folder = strdup(path);
    if (!rc && !p->folder) rc = no_memory(path, e);
    return rc ? rc : take_name(p, p->folder, e);
}

/* Does the folder's model take tensors from that file? */
static bool is_of_the_model(const char *folder, const char *name)
{
    struct tensors_options o = {.allow_missing = true};
    struct tensors *t;
    bool is = false;

    if (tensors_open(&t, folder, &o, NULL)) return !strcmp(name, TENSORS_SINGLE_NAME);
    for (uint32_t i = 0; i < t->file_count && !is; i++) is = !strcmp(t->files[i].name, name);
    tensors_close(t);
    return is;
}

static int take_file(struct place *p, const char *path, struct error *e)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *folder = slash == path ? strdup("/") : slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    bool weights = tensors_name_ends(name, ".safetensors");
    int rc;

    if (!folder) return no_memory(path, e);
    if (!strcmp(name, "config.json") || !strcmp(name, TENSORS_INDEX_NAME) ||
        (weights && is_there(folder, "config.json", false) && is_of_the_model(folder, name)))
        rc = take_folder(p, folder, e);
    else if (weights && is_there(folder, "config.json", false))
        rc = error_set(e, EINVAL,
                       "%s: the model in its folder takes no tensor from it: give the folder, %s, for that model", path,
                       folder);
    else if (weights)
        rc = explain_folder(folder, e);
    else
        rc = explain_file(path, e);
    free(folder);
    return rc;
}

int place_find(struct place *p, const char *path, struct error *e)
{
    struct stat st;
    int rc;

    *p = (struct place){0};
    if (stat(path, &st)) {
        if (errno == ENOENT || errno == ENOTDIR) return explain_nothing(path, e);
        return error_set(e, errno, "%s: %s: give the path of a model folder", path, error_name(errno));
    }
    if (S_ISDIR(st.st_mode))
        rc = take_folder(p, path, e);
    else if (S_ISREG(st.st_mode))
        rc = take_file(p, path, e);
    else
        rc = file_check(path, NULL, e);
    if (rc) place_free(p);
    return rc;
}

void place_free(struct place *p)
{
    free(p->folder);
    free(p->name);
    *p = (struct place){0};
}

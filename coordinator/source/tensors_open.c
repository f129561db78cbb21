/* Which of the ways of tensors.h a folder is of. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "coordinator/source/explain.h"
#include "coordinator/source/shards.h"
#include "coordinator/source/tensors.h"

/* Is there such a name? A link that leads nowhere is one: a file was meant to be there. */
static bool exists(const char *folder, const char *name)
{
    char path[4096];
    struct stat st;

    return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && !lstat(path, &st);
}

/* Nothing is known of the weights but what config.json says, and perhaps how many bytes they have. */
static int assume_all(struct tensors *t, uint64_t stated, struct error *e)
{
    uint32_t idx = 0;

    t->assumed = true;
    t->source = TENSORS_CONFIG;
    t->stated_bytes = stated;
    return t->file_count ? 0 : tensors_add_file(t, TENSORS_SINGLE_NAME, &idx, e);
}

/* Without an index nobody says which copy of a tensor counts. */
static int refuse_copies(const struct tensors *t, struct error *e)
{
    for (size_t i = 0; i < t->copy_count; i++) {
        const struct tensor *x = &t->at[t->copies[i].tensor];

        return error_set(e, EINVAL,
                         "%s: tensor %.200s is in %s already, and no %s says which counts: download it, or move the "
                         "file away that does not belong to the model",
                         tensors_path(t, x), x->name, t->files[t->copies[i].file].name, TENSORS_INDEX_NAME);
    }
    return 0;
}

/* Files by their names alone. */
static int open_files(struct tensors *t, char *const *name, size_t n, const struct tensors_options *o, struct error *e)
{
    uint64_t bytes, stated = 0;
    bool absent = false;
    uint32_t idx;

    for (size_t i = 0; i < n; i++) {
        int rc = tensors_add_file(t, name[i], &idx, e);

        if (!rc) rc = tensors_look(t, idx, &bytes, e);
        if (rc) return rc;
        absent |= t->files[idx].absent;
        stated += bytes;
    }
    if (absent && o->allow_missing) return assume_all(t, stated, e);
    for (idx = 0; idx < t->file_count; idx++) {
        int rc = t->files[idx].absent ? error_set(e, ENODATA, "%s", t->files[idx].fault)
                                      : tensors_read_file(t, idx, NULL, NULL, e);

        if (rc) rc = tensors_file_fault(t, idx, o, e);
        if (rc) return rc;
    }
    return refuse_copies(t, e);
}

/* Those of the index of a packed folder are the model's. */
static int open_packed(struct tensors *t, const struct tensors_options *o, struct error *e)
{
    char **name = calloc(t->packed_index.files + 1, sizeof *name);
    int rc;

    if (!name) return error_set(e, ENOMEM, "%s: no memory", t->folder);
    for (size_t i = 0; i < t->packed_index.files; i++) name[i] = t->packed_index.file[i].name;
    rc = open_files(t, name, t->packed_index.files, o, e);
    free(name);
    return rc;
}

static int open_shards(struct tensors *t, const struct tensors_options *o, struct error *e)
{
    struct shards s;
    int rc = shards_find(&s, t->folder, e);

    if (rc == -ENOENT && o->allow_missing) {
        e->code = 0;
        return assume_all(t, 0, e);
    }
    if (rc) return rc;
    if (s.count)
        rc = open_files(t, s.name, s.count, o, e);
    else
        rc = o->allow_missing ? assume_all(t, 0, e) : explain_weights(t->folder, e);
    shards_free(&s);
    return rc;
}

static int open_named(struct tensors *t, const char *name, const struct tensors_options *o, struct error *e)
{
    char *single = (char *)(uintptr_t)TENSORS_SINGLE_NAME, *path = NULL;
    int rc;

    if (!name) return t->packed ? open_packed(t, o, e) : open_shards(t, o, e);
    if (!strcmp(name, TENSORS_SINGLE_NAME)) return open_files(t, &single, 1, o, e);
    if (asprintf(&path, "%s/%s", t->folder, name) < 0) return error_set(e, ENOMEM, "%s: no memory", t->folder);
    rc = !strcmp(name, TENSORS_LIST_NAME) ? tensors_read_list(t, path, e) : tensors_read_index(t, path, o, e);
    free(path);
    return rc;
}

static int make(struct tensors **out, const char *folder, const char *name, const struct tensors_options *o,
                struct error *e)
{
    struct tensors *t = calloc(1, sizeof *t);
    int rc;

    *out = NULL;
    if (!t || !(t->folder = strdup(folder))) {
        free(t);
        return error_set(e, ENOMEM, "%s: no memory for its tensors", folder);
    }
    t->packed = packed_folder(folder);
    rc = t->packed ? packed_index_read(&t->packed_index, folder, e) : packed_folder_check(folder, e);
    if (!rc) rc = open_named(t, name, o, e);
    if (rc)
        tensors_close(t);
    else
        *out = t;
    return rc;
}

int tensors_open(struct tensors **out, const char *folder, const struct tensors_options *o, struct error *e)
{
    static const struct tensors_options plain = {0};
    const char *name = exists(folder, TENSORS_SINGLE_NAME)  ? TENSORS_SINGLE_NAME
                       : exists(folder, TENSORS_INDEX_NAME) ? TENSORS_INDEX_NAME
                                                            : NULL;
    struct error unread;
    int rc;

    if (!o) o = &plain;
    if (!e) e = &unread;
    e->code = 0;
    rc = make(out, folder, name, o, e);
    /* where weights are missing, a list says more than what would be assumed */
    if (rc || !(*out)->assumed || !exists(folder, TENSORS_LIST_NAME)) return rc;
    tensors_close(*out);
    return make(out, folder, TENSORS_LIST_NAME, o, e);
}

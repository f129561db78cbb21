#include "coordinator/source/gguf_source.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "coordinator/source/gguf_text.h"
#include "coordinator/source/place.h"

#define SUFFIX ".gguf"

/* ---- which file ---- */

/* The model files of a folder; one of a set stands for all of it. */
struct found {
    char *first; /* by name */
    size_t count;
    bool weights, config; /* safetensors files are there, config.json is */
};

/* Of a set, only its first; not what only sees or hears beside a model. */
static bool is_model_file(const char *name)
{
    unsigned number = 1, of;
    size_t n = strlen(name);
    const char *end = n > strlen("-00001-of-00001" SUFFIX) ? name + n - strlen("-00001-of-00001" SUFFIX) : "";

    if (!tensors_name_ends(name, SUFFIX) || !strncmp(name, "mmproj", 6)) return false;
    return sscanf(end, "-%5u-of-%5u" SUFFIX, &number, &of) != 2 || number == 1;
}

static int look_into(struct found *f, const char *folder)
{
    DIR *d = opendir(folder);
    const struct dirent *x;
    int rc = 0;

    *f = (struct found){0};
    while (d && !rc && (x = readdir(d))) {
        f->weights |= tensors_name_ends(x->d_name, ".safetensors");
        f->config |= !strcmp(x->d_name, "config.json");
        if (*x->d_name == '.' || !is_model_file(x->d_name)) continue;
        f->count++;
        if (f->first && strcmp(x->d_name, f->first) > 0) continue;
        free(f->first);
        if (!(f->first = strdup(x->d_name))) rc = -ENOMEM;
    }
    if (d) closedir(d);
    return rc;
}

/* The only one of a folder: *path, the caller's; NULL where the folder is not of this kind. */
static int find_in(const char *folder, char **path, struct error *e)
{
    struct found f;
    int rc = look_into(&f, folder);

    *path = NULL;
    if (!rc && f.count && !(f.config && f.weights)) {
        if (f.count > 1)
            rc = error_set(e, EINVAL, "%s: %zu models in GGUF files lie there: give one of them, as in %s/%s", folder,
                           f.count, folder, f.first);
        else if (asprintf(path, "%s/%s", folder, f.first) < 0)
            rc = -ENOMEM;
    }
    free(f.first);
    return rc == -ENOMEM ? error_set(e, ENOMEM, "%s: no memory for its files", folder) : rc;
}

/* path, or the one in it; *file NULL: it is of another kind. */
static int find_file(const char *path, char **file, char **name, struct error *e)
{
    struct error unread;
    struct stat st;
    struct place p;
    int rc;

    *file = *name = NULL;
    if (stat(path, &st)) return 0;
    if (S_ISDIR(st.st_mode)) {
        if (place_find(&p, path, &unread)) return 0;
        rc = find_in(p.folder, file, e);
        if (*file) *name = strdup(p.name);
        place_free(&p);
        return rc;
    }
    if (!S_ISREG(st.st_mode) || (!tensors_name_ends(path, SUFFIX) && !gguf_is(path))) return 0;
    *file = strdup(path);
    return *file ? 0 : error_set(e, ENOMEM, "%s: no memory to open it", path);
}

/* For people: the file's name, or of one that has none, what it says of itself. */
static char *name_of(const struct gguf *g)
{
    const char *file = g->files[0].name, *own;
    size_t n = strlen(file), bytes;
    struct error unread = {0};

    if (tensors_name_ends(file, SUFFIX)) return strndup(file, n - strlen(SUFFIX));
    return strdup(!gguf_string(g, "general.name", &own, &bytes, &unread) && bytes ? own : file);
}

static int open_gguf(struct source *s, const char *path, bool *mine, struct error *e)
{
    struct gguf *g = NULL;
    char *file, *name;
    int rc = find_file(path, &file, &name, e);

    if (!rc && file) {
        *mine = true;
        rc = gguf_open(&g, file, e);
    }
    s->own = g;
    if (g) {
        s->path = strdup(g->files[0].path);
        s->name = name ? name : name_of(g);
        name = NULL;
        if (!s->path || !s->name) rc = error_set(e, ENOMEM, "%s: no memory to open it", path);
    }
    free(name);
    free(file);
    return rc;
}

static void close_gguf(struct source *s)
{
    gguf_close(s->own);
}

static const struct gguf *own_gguf(const struct source *s)
{
    return s->own;
}

/* ---- what it gives ---- */

static int no_config(const struct source *s, struct config **out, struct error *e)
{
    *out = NULL;
    return error_set(e, ENOTSUP, "%s: a GGUF file, which has no config.json", s->path);
}

static int raw_tensors(const struct source *s, const struct tensors_options *o, struct tensors **out, struct error *e)
{
    const struct gguf *g = s->own;
    int rc = gguf_tensors_begin(out, g, o, e);

    for (size_t i = 0; i < g->tensor_count && !rc; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        uint64_t shape[GGUF_DIMS];
        struct tensor x = gguf_tensor_plain(t, shape);

        if (!gguf_tensor_is_there(g, t) && !o->allow_missing) continue; /* its file's fault says so */
        if (tensors_add(*out, &x, NULL)) rc = error_set(e, ENOMEM, "%s: no memory for its tensors", s->path);
    }
    if (!rc) return 0;
    tensors_close(*out);
    *out = NULL;
    return rc;
}

static int own_tokenizer(const struct source *s, struct tokenizer **out, struct error *e)
{
    return gguf_tokenizer(out, s->own, s->split, e);
}

static int own_template(const struct source *s, const char *name, struct template **out, struct error *e)
{
    return gguf_template(out, s->own, name, e);
}

static int own_generation(const struct source *s, const struct config *c, struct model_generation *g, struct error *e)
{
    (void)c;
    return gguf_generation(g, s->own, e);
}

static uint64_t text_bytes(const struct source *s)
{
    return gguf_text_bytes(s->own);
}

const struct source_ops source_gguf_ops = {
    .kind = "GGUF",
    .open = open_gguf,
    .close = close_gguf,
    .config = no_config,
    .tensors = raw_tensors,
    .tokenizer = own_tokenizer,
    .template = own_template,
    .generation = own_generation,
    .text_bytes = text_bytes,
    .gguf = own_gguf,
};

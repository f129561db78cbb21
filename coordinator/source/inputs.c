#include "coordinator/source/inputs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "coordinator/engine/interrupt.h"

#define DEPTH 3 /* folders in a model's folder: an index may name files there */

struct target {
    const char *path; /* of the output */
    const struct stat *st;
    struct error *e;
};

/* What the files of published models are called: weights, their indices, configurations, tokenizers, templates, code. */
static bool is_part(const char *name)
{
    static const char *const whole[] = {
        /* read by sluice, or by others who take the folder for a model */
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
        "vocab.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.json", "tekken.json", "params.json",
        "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json", "adapter_config.json",
        "quantize_config.json", "quant_config.json", "hf_quant_config.json", "configuration.json", "dtypes.json",
        "tensors.tsv", "sluice-pack.json",
        /* published checksums (verify/published.c) */
        "sha256sums", "sha256sums.txt", "sha256sum", "sha256sum.txt", "checksums.sha256", "checksums.txt",
        "sha256.txt"};
    static const char *const ends[] = {".safetensors", ".index.json", ".gguf", ".jinja", ".tiktoken", ".model",
                                       ".py",          ".pt",         ".pth",  ".ckpt",  ".packed"};
    static const char *const begins[] = {"pytorch_model", "consolidated", "model-",
                                         "LICENSE",       "README",       "adapter_model"};
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!strcasecmp(name, whole[i])) return true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i])) return true;
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (!strncmp(name, begins[i], strlen(begins[i]))) return true;
    return false;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

static int refused(const struct target *t, const char *what, const char *name)
{
    if (!strcmp(t->path, name)) return error_set(t->e, EINVAL, "%s is %s: give the output another name", t->path, what);
    return error_set(t->e, EINVAL, "%s is the same file as %s, which is %s: give the output another name", t->path,
                     name, what);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Does the output lie in this folder, under a name that makes it part of the model? */
static int check_new(const struct target *t, const char *folder)
{
    const char *base = base_name(t->path);
    char *dir = base == t->path ? strdup(".") : strndup(t->path, (size_t)(base - t->path));
    struct stat a, b;
    bool inside = dir && !stat(dir, &a) && !stat(folder, &b) && same(&a, &b);

    free(dir);
    if (!inside || !is_part(base)) return 0;
    return error_set(t->e, EINVAL, "%s would become part of the model in %s by its name: give the output another one",
                     t->path, folder);
}

static int check_folder(const struct target *t, const char *folder, int depth);

static int check_entry(const struct target *t, const char *folder, const char *name, int depth)
{
    char path[PATH_MAX];
    struct stat st;

    if (name[0] == '.' || (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) return 0;
    if (stat(path, &st)) return 0;
    if (S_ISDIR(st.st_mode)) return depth ? check_folder(t, path, depth - 1) : 0;
    return t->st && is_part(name) && same(&st, t->st) ? refused(t, "a file of the model", path) : 0;
}

static int check_folder(const struct target *t, const char *folder, int depth)
{
    DIR *d = opendir(folder);
    const struct dirent *x;
    int rc = t->st ? 0 : check_new(t, folder);

    /* a folder that cannot be read is none that a model is read from */
    while (d && !rc && (x = readdir(d))) {
        bool maybe_folder = x->d_type == DT_DIR || x->d_type == DT_LNK || x->d_type == DT_UNKNOWN;

        if (maybe_folder || is_part(x->d_name)) rc = check_entry(t, folder, x->d_name, depth);
    }
    if (d) closedir(d);
    return rc;
}

static int check_file(const struct target *t, const char *path, const char *what)
{
    struct stat st;

    return path && t->st && !stat(path, &st) && S_ISREG(st.st_mode) && same(&st, t->st) ? refused(t, what, path) : 0;
}

/* A model that is a file may be one of a set: those beside it are looked at too. */
static int check_beside(const struct target *t, const char *model)
{
    const char *base = base_name(model);
    char *folder = base == model ? strdup(".") : strndup(model, (size_t)(base - model));
    int rc = folder ? check_folder(t, folder, 0) : error_set(t->e, ENOMEM, "out of memory");

    free(folder);
    return rc;
}

int inputs_refuse(void *inputs, const char *path, const struct stat *st, struct error *e)
{
    const struct inputs *in = inputs;
    struct target t = {.path = path, .st = st, .e = e};
    struct stat model;
    int rc = 0;

    if (st && !S_ISREG(st->st_mode)) return 0;
    for (size_t i = 0; i < INPUTS_FILES && !rc; i++) rc = check_file(&t, in->file[i], "read by this command");
    if (rc || !in->model || stat(in->model, &model)) return rc;
    if (S_ISDIR(model.st_mode)) return check_folder(&t, in->model, DEPTH);
    if ((rc = check_file(&t, in->model, "the model"))) return rc;
    return check_beside(&t, in->model);
}

struct output_options inputs_options(struct inputs *in)
{
    return (struct output_options){.refuse = inputs_refuse, .arg = in, .interrupted = interrupted};
}

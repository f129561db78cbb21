#include "coordinator/source/explain.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "coordinator/source/config.h"
#include "coordinator/text/mistaken.h"
#include "coordinator/source/tensors.h"
#include "proto/base/file.h"

#define JSON_BYTES_MAX (UINT64_C(4) << 20)

/* ---- what is in a folder ---- */

struct listing {
    const char *folder;
    char **name;
    size_t count;
};

static int by_string(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void listing_free(struct listing *l)
{
    for (size_t i = 0; i < l->count; i++) free(l->name[i]);
    free(l->name);
}

static int listing_read(struct listing *l, const char *folder, struct error *e)
{
    DIR *d = opendir(folder);
    struct dirent *x;
    int rc = 0;

    *l = (struct listing){.folder = folder};
    if (!d) return error_set(e, errno, "%s: %s", folder, error_name(errno));
    while (!rc && (x = readdir(d))) {
        char **grown;

        if (!strcmp(x->d_name, ".") || !strcmp(x->d_name, "..")) continue;
        if ((grown = reallocarray(l->name, l->count + 1, sizeof *grown))) l->name = grown;
        if (!grown || !(l->name[l->count] = strdup(x->d_name)))
            rc = error_set(e, ENOMEM, "%s: no memory for its files", folder);
        else
            l->count++;
    }
    closedir(d);
    if (l->count) qsort(l->name, l->count, sizeof *l->name, by_string);
    if (rc) listing_free(l);
    return rc;
}

/* The first name that begins and ends so; NULL: there is none. */
static const char *listed(const struct listing *l, const char *begin, const char *end)
{
    size_t n = strlen(begin);

    for (size_t i = 0; i < l->count; i++)
        if (!strncmp(l->name[i], begin, n) && strlen(l->name[i]) >= n + strlen(end) &&
            tensors_name_ends(l->name[i], end))
            return l->name[i];
    return NULL;
}

/* A string of a JSON file of the folder; "": there is none. */
static void json_text(const struct listing *l, const char *file, const char *key, char *out, size_t room)
{
    const char *s;
    json_t *o = NULL;
    char *path;

    out[0] = 0;
    if (asprintf(&path, "%s/%s", l->folder, file) < 0) return;
    if (!json_read_file(&o, path, JSON_BYTES_MAX, NULL) && (s = json_string_value(json_object_get(o, key))))
        snprintf(out, room, "%s", s);
    json_decref(o);
    free(path);
}

/* ---- folders of other kinds ---- */

/* Says what it is and returns true, or returns false. */
typedef bool explain_fn(const struct listing *l, struct error *e);

static bool is_adapter(const struct listing *l, struct error *e)
{
    char base[200];

    if (!listed(l, "adapter_config.json", "") && !listed(l, "adapter_model.", "")) return false;
    json_text(l, "adapter_config.json", "base_model_name_or_path", base, sizeof base);
    error_set(e, ENOENT,
              "%s: an adapter (LoRA), not a model, and adapters are not supported: merge it into its model%s%s first "
              "(peft's merge_and_unload), or take that model alone",
              l->folder, *base ? " " : "", base);
    return true;
}

static bool is_native(const struct listing *l, struct error *e)
{
    const char *pth = listed(l, "consolidated.", ".pth"), *name = listed(l, "consolidated", ".safetensors");

    if (!pth && !(name && listed(l, "params.json", ""))) return false;
    error_set(e, ENOENT,
              "%s: %s is in the naming of %s own code, which is not supported: take the folder in Hugging Face's, with "
              "config.json%s",
              l->folder, name ? name : pth, name ? "Mistral's" : "Meta's",
              name ? " and model*.safetensors (often in the same repository)" : "");
    return true;
}

static bool is_pipeline(const struct listing *l, struct error *e)
{
    if (!listed(l, "model_index.json", "")) return false;
    error_set(e, ENOENT, "%s: a diffusion pipeline, which makes pictures: sluice runs language models", l->folder);
    return true;
}

static bool is_cache(const struct listing *l, struct error *e)
{
    size_t n = 0;
    const char *first = NULL;

    for (size_t i = 0; i < l->count; i++) {
        if (strncmp(l->name[i], "models--", 8)) continue;
        if (!first) first = l->name[i];
        n++;
    }
    if (!n) return false;
    error_set(e, ENOENT, "%s: a cache of %zu model%s: give one of them, as in %s/%s", l->folder, n, n > 1 ? "s" : "",
              l->folder, first);
    return true;
}

static bool is_parent(const struct listing *l, struct error *e)
{
    const char *first = NULL, *second = NULL;

    for (size_t i = 0; i < l->count; i++) {
        struct stat st;
        char *path;
        bool there;

        if (*l->name[i] == '.' || asprintf(&path, "%s/%s/config.json", l->folder, l->name[i]) < 0) continue;
        there = !stat(path, &st) && S_ISREG(st.st_mode);
        free(path);
        if (!there) continue;
        if (first) second = l->name[i];
        if (!first) first = l->name[i];
    }
    if (!first) return false;
    error_set(e, ENOENT, "%s: no config.json: the model%s in %s below it: give %s/%s", l->folder,
              second ? "s lie" : " lies", second ? "folders" : "a folder", l->folder, first);
    return true;
}

/* Repositories of GGUF files often have a folder for each type. */
static bool is_gguf_parent(const struct listing *l, struct error *e)
{
    for (size_t i = 0; i < l->count; i++) {
        struct listing below;
        const char *name;
        char *path;

        if (*l->name[i] == '.' || asprintf(&path, "%s/%s", l->folder, l->name[i]) < 0) continue;
        if (listing_read(&below, path, NULL)) {
            free(path);
            continue;
        }
        if ((name = listed(&below, "", ".gguf")))
            error_set(e, ENOENT, "%s: GGUF files lie in folders below it: give one of them, as in %s/%s", l->folder,
                      path, name);
        listing_free(&below);
        free(path);
        if (name) return true;
    }
    return false;
}

/* A download that was not ended: its half files have names of their own. */
static bool is_unfinished(const struct listing *l, struct error *e)
{
    static const char *const ends[] = {".incomplete", ".part", ".crdownload", ".aria2", ".download"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *name = listed(l, "", ends[i]);

        if (!name) continue;
        error_set(e, ENOENT, "%s: %s is half a download: let it end, or start it again", l->folder, name);
        return true;
    }
    return false;
}

static bool is_other_weights(const struct listing *l, struct error *e)
{
    static const struct {
        const char *begin, *end, *what;
    } kinds[] = {
        {"pytorch_model", ".bin", "which is a program and not data"},
        {"pytorch_model", ".bin.index.json", "which is a program and not data"},
        {"", ".pth", "which is a program and not data"},
        {"", ".pt", "which is a program and not data"},
        {"", ".bin", "which may be a program and is not supported"},
        {"tf_model", ".h5", "TensorFlow's"},
        {"flax_model", ".msgpack", "Flax's"},
        {"", ".onnx", "ONNX"},
        {"", ".onnx_data", "ONNX"},
        {"weights", ".npz", "an early mlx"},
        {"", ".ckpt", "which is a program and not data"},
        {"", ".mlpackage", "Core ML's"},
        {"", ".engine", "TensorRT's"},
        {"", ".xml", "OpenVINO's"},
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const char *name = listed(l, kinds[i].begin, kinds[i].end);

        if (!name) continue;
        error_set(e, ENOENT, "%s: of weights only %s is there, %s: take or convert to safetensors", l->folder, name,
                  kinds[i].what);
        return true;
    }
    return false;
}

static bool has_no_config(const struct listing *l, struct error *e)
{
    const char *name = listed(l, "", ".safetensors");

    if (!name) return false;
    error_set(e, ENOENT, "%s/config.json: no such file, though %s is there: download it too, from where that comes",
              l->folder, name);
    return true;
}

static bool is_empty(const struct listing *l, struct error *e)
{
    for (size_t i = 0; i < l->count; i++)
        if (*l->name[i] != '.') return false;
    error_set(e, ENOENT, "%s: the folder is empty: %s", l->folder,
              listed(l, ".git", "")     ? "git cloned it without its files, check a branch out"
              : listed(l, ".cache", "") ? "a download was begun and not ended, start it again"
                                        : "a model folder holds config.json and safetensors files");
    return true;
}

static int explain(const char *folder, explain_fn *const *kind, struct error *e)
{
    struct listing l;
    int rc = listing_read(&l, folder, e);
    bool told = false;

    if (rc) return rc;
    for (; *kind && !told; kind++) told = (*kind)(&l, e);
    listing_free(&l);
    return told ? -ENOENT : 0;
}

bool explain_known(const char *folder, struct error *e)
{
    static explain_fn *const kinds[] = {is_adapter,       is_native,      is_pipeline,   is_cache,
                                        is_parent,        is_gguf_parent, has_no_config, is_unfinished,
                                        is_other_weights, is_empty,       NULL};
    struct stat st;
    char *config;
    bool model;

    if (asprintf(&config, "%s/config.json", folder) < 0) return false;
    model = !lstat(config, &st);
    free(config);
    return !model && explain(folder, kinds, e);
}

int explain_folder(const char *folder, struct error *e)
{
    if (explain_known(folder, e)) return -e->code;
    return error_set(
        e, ENOENT,
        "%s/config.json: no such file: a model folder holds config.json beside its safetensors files, or one model in "
        "GGUF files",
        folder);
}

int explain_weights(const char *folder, struct error *e)
{
    static explain_fn *const kinds[] = {is_adapter, is_native, is_unfinished, is_other_weights, NULL};
    int rc = explain(folder, kinds, e);

    if (rc) return rc;
    return error_set(e, ENOENT,
                     "%s: no weights: neither %s nor %s nor other safetensors files are there, download them", folder,
                     TENSORS_SINGLE_NAME, TENSORS_INDEX_NAME);
}

/* ---- files ---- */

int explain_file(const char *path, struct error *e)
{
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path) : 1, rc = mistaken_file(path, e);
    const char *folder = slash ? path : ".";
    struct stat st;
    char *config;
    bool beside;

    if (rc) return rc;
    if (asprintf(&config, "%.*s/config.json", n, folder) < 0) return error_set(e, ENOMEM, "out of memory");
    beside = !stat(config, &st);
    free(config);
    return error_set(e, ENOTDIR, "%s: not a folder: give the folder that holds config.json%s%.*s", path,
                     beside ? ", " : "", beside ? n : 0, folder);
}

/* ---- nothing ---- */

/* ORG/NAME as the hub has them; *out points into path, and *bytes is its length. */
static bool is_hub_name(const char *path, const char **out, size_t *bytes)
{
    static const char *const hosts[] = {
        "https://huggingface.co/", "http://huggingface.co/", "huggingface.co/", "https://hf.co/", "hf.co/", "hf://"};
    size_t slashes = 0, n = 0;
    bool address = false;

    for (size_t i = 0; i < sizeof hosts / sizeof *hosts && !address; i++)
        if (!strncmp(path, hosts[i], strlen(hosts[i]))) {
            path += strlen(hosts[i]);
            address = true;
        }
    if (address && !strncmp(path, "models/", 7)) path += 7;
    while (path[n] && (isalnum((unsigned char)path[n]) || strchr("._-/", path[n]))) {
        if (path[n] == '/' && (!n || path[n - 1] == '/' || path[n - 1] == '.')) return false;
        if (path[n] == '/' && slashes++) break; /* .../tree/main of an address */
        n++;
    }
    if ((path[n] && !(address && strchr("/?#", path[n]))) || !slashes || path[0] == '.' || path[n - 1] == '/')
        return false;
    *out = path;
    *bytes = n;
    return true;
}

/* Where the hub's own programs keep what they download, as their documentation has it; false: nowhere. */
static bool cache_folder(char *out, size_t room)
{
    static const struct {
        const char *variable, *below;
    } places[] = {{"HF_HUB_CACHE", ""},
                  {"HF_HOME", "/hub"},
                  {"XDG_CACHE_HOME", "/huggingface/hub"},
                  {"HOME", "/.cache/huggingface/hub"}};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *base = getenv(places[i].variable);

        if (base && *base) return snprintf(out, room, "%s%s", base, places[i].below) < (int)room;
    }
    return false;
}

/* The cache's folder of ORG/NAME, where it is there. */
static bool find_cached(const char *name, size_t bytes, char *out, size_t room)
{
    size_t n;
    struct stat st;

    if (!cache_folder(out, room)) return false;
    n = strlen(out);
    n += (size_t)snprintf(out + n, room - n, "/models--");
    for (size_t i = 0; i < bytes && n + 3 < room; i++) {
        out[n++] = name[i] == '/' ? '-' : name[i];
        if (name[i] == '/') out[n++] = '-';
    }
    if (n >= room - 1) return false;
    out[n] = 0;
    return !stat(out, &st) && S_ISDIR(st.st_mode);
}

/* Is the first part of the path a folder here? Then the path is one that was misspelt. */
static bool begins_here(const char *path)
{
    size_t n = strcspn(path, "/");
    struct stat st;
    char *first = strndup(path, n);
    bool here = first && n && !stat(first, &st);

    free(first);
    return here;
}

int explain_nothing(const char *path, struct error *e)
{
    const char *name = NULL;
    size_t bytes = 0;
    char cached[4096];
    struct stat st;
    int rc;

    if (!lstat(path, &st) && S_ISLNK(st.st_mode) && (rc = file_check(path, NULL, e))) return rc;
    if (begins_here(path) || !is_hub_name(path, &name, &bytes))
        return error_set(e, ENOENT, "%s: %s: give the path of a model folder", path, error_name(ENOENT));
    if (find_cached(name, bytes, cached, sizeof cached))
        return error_set(e, ENOENT, "%s: no such folder here, but that model is in the hub's cache: give %s", path,
                         cached);
    return error_set(
        e, ENOENT,
        "%s: no such folder; it reads like a model's name on the hub: download that first (hf download %.*s "
        "--local-dir %.*s), then give the folder",
        path, (int)bytes, name, (int)(bytes - strcspn(name, "/") - 1), name + strcspn(name, "/") + 1);
}

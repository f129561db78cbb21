/* What lies in the place of a folder or a file. First byte: 'h' the head of a file, 'n' names (of shards, of files in an
 * index, of models on the hub), 'r' refs/main of a hub cache, 'a' adapter_config.json of a folder without a model. */
#include "coordinator/source/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/source/explain.h"
#include "coordinator/text/mistaken.h"
#include "coordinator/source/shards.h"
#include "coordinator/source/tensors.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

static void check_error(int rc, const struct error *e)
{
    if (!rc) return;
    if (strlen(e->text) < 10) fuzz_fail("an error without a message");
}

static void head(const uint8_t *data, size_t bytes)
{
    struct error e = {0};
    char *copy = malloc(bytes + 1);
    int rc;

    if (!copy) return;
    memcpy(copy, data, bytes); /* of just that length, so that reads behind it are seen */
    rc = mistaken_look("file", copy, bytes, bytes, &e);
    check_error(rc, &e);
    for (const char *p = e.text; rc && *p; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p >= 127) fuzz_fail("a message with what a terminal obeys");
    free(copy);
}

static void names(const uint8_t *data, size_t bytes)
{
    char inner[TENSORS_NAME_BYTES], again[TENSORS_NAME_BYTES], *name = strndup((const char *)data, bytes);
    struct error e = {0};
    unsigned number, of;
    size_t stem;

    if (!name) return;
    if (tensors_inner_name(inner, name)) {
        if (*inner == '/' || !strcmp(inner, "..") || !strncmp(inner, "../", 3) || strstr(inner, "/../") ||
            tensors_name_ends(inner, "/.."))
            fuzz_fail("a name that leads out of the folder");
        if (!tensors_inner_name(again, inner) || strcmp(again, inner)) fuzz_fail("a name that is not settled");
    }
    if (shards_parse(name, &number, &of, &stem) && (number > of || stem >= strlen(name))) fuzz_fail("an odd shard");
    check_error(explain_nothing(name, &e), &e);
    free(name);
}

static void refs(const uint8_t *data, size_t bytes)
{
    static const char *const files[] = {"refs/main", "snapshots/0123/config.json", "snapshots/4567/config.json", NULL};
    static struct fuzz_folder folder;
    struct error e = {0};
    struct place p;

    if (!folder.files) fuzz_folder_make(&folder, files);
    fuzz_folder_fill(&folder, 0, data, bytes, 0);
    if (place_find(&p, folder.path, &e)) {
        check_error(-1, &e);
        return;
    }
    if (!tensors_name_ends(p.folder, "/snapshots/0123") && !tensors_name_ends(p.folder, "/snapshots/4567"))
        fuzz_fail("a snapshot outside of the cache");
    place_free(&p);
}

static void adapter(const uint8_t *data, size_t bytes)
{
    static const char *const files[] = {"adapter_config.json", NULL};
    static struct fuzz_folder folder;
    struct error e = {0};

    if (!folder.files) fuzz_folder_make(&folder, files);
    fuzz_folder_fill(&folder, 0, data, bytes, 0);
    if (explain_folder(folder.path, &e) >= 0) fuzz_fail("an adapter is a model");
    check_error(-1, &e);
}

static void run(const uint8_t *data, size_t bytes)
{
    if (!bytes) return;
    switch (*data) {
    case 'h': head(data + 1, bytes - 1); break;
    case 'n': names(data + 1, bytes - 1); break;
    case 'r': refs(data + 1, bytes - 1); break;
    case 'a': adapter(data + 1, bytes - 1); break;
    default: break;
    }
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const texts[] = {"h<!doctype html><html>",
                                        "h\xef\xbb\xbf <?xml version=\"1.0\"?><Error>",
                                        "h{\"error\":\"Repository not found\"}",
                                        "hversion https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
                                        "hGGUF\3",
                                        "hPK\3\4",
                                        "nmodel-00001-of-00002.safetensors",
                                        "n./sub//model-00001-of-00002.safetensors",
                                        "n../../etc/passwd",
                                        "nQwen/Qwen3-8B",
                                        "nhttps://huggingface.co/Qwen/Qwen3-8B/tree/main",
                                        "r0123\n",
                                        "r4567",
                                        "r../../etc",
                                        "a{\"base_model_name_or_path\":\"o/n\"}"};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) emit(arg, texts[i], strlen(texts[i]));
}

const struct fuzz_target fuzz_place = {"place", run, seeds, -1};

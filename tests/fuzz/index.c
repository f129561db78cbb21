/* model.safetensors.index.json beside two small shards. First byte: 'a' a folder without its shards may be planned too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/source/tensors.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

static void shard(struct fuzz_folder *f, int i, const char *text)
{
    char file[512];
    uint64_t n = strlen(text);

    memcpy(file, &n, 8);
    memcpy(file + 8, text, n);
    fuzz_folder_fill(f, i, file, n + 8, 64);
}

/* A part of the path is "..". */
static int leaves(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")); at += 2)
        if ((at == path || at[-1] == '/') && (!at[2] || at[2] == '/')) return 1;
    return 0;
}

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"model.safetensors.index.json", "a.safetensors", "b.safetensors", NULL};
    static struct fuzz_folder folder;
    struct tensors_options o = {.allow_missing = bytes && *data == 'a'};
    struct tensors *t = NULL;
    struct error e = {0};

    if (!bytes) return;
    if (!folder.files) {
        fuzz_folder_make(&folder, names);
        shard(&folder, 1,
              "{\"x\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},\"y\":{\"dtype\":\"BF16\",\"shape\":["
              "8],\"data_offsets\":[16,32]}}");
        shard(&folder, 2, "{\"z\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}");
    }
    fuzz_folder_fill(&folder, 0, data + 1, bytes - 1, 0);
    if (tensors_open(&t, folder.path, &o, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("an error without a message");
        return;
    }
    for (size_t i = 0; i < t->count; i++)
        if (t->at[i].file >= t->file_count || tensors_find(t, t->at[i].name) != &t->at[i])
            fuzz_fail("a tensor that is not found again");
    for (uint32_t i = 0; i < t->file_count; i++)
        if (t->files[i].name[0] == '/' || leaves(t->files[i].name)) fuzz_fail("a shard outside of the folder");
    tensors_close(t);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const texts[] = {
        "n{\"metadata\":{\"total_size\":33},\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"a.safetensors\",\"z\":\"b."
        "safetensors\"}}",
        "a{\"metadata\":{},\"weight_map\":{\"model.embed_tokens.weight\":\"model-00001-of-00002.safetensors\",\"lm_"
        "head.weight\":"
        "\"model-00002-of-00002.safetensors\"}}",
        "a{\"weight_map\":{\"x\":\"../a.safetensors\"}}",
        "n{\"weight_map\":{\"z\":\"a.safetensors\"}}",
        "n{}",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) emit(arg, texts[i], strlen(texts[i]));
}

const struct fuzz_target fuzz_index = {"index", run, seeds, 1};

/* generation_config.json, beside a config.json that names nothing. */
#include "coordinator/source/generation.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"generation_config.json", NULL};
    static struct fuzz_folder folder;
    struct model_generation g;
    struct error e = {0};
    json_t *empty = json_object();
    struct config c = {.root = empty, .text = empty, .path = (char *)"config.json"};

    if (!folder.files) fuzz_folder_make(&folder, names);
    fuzz_folder_fill(&folder, 0, data, bytes, 0);
    if (generation_read(&g, folder.path, &c, &e) && strlen(e.text) < 10) fuzz_fail("an error without a message");
    if (g.eos_count > bytes) fuzz_fail("more ends than the file has bytes");
    generation_free(&g);
    json_decref(empty);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const texts[] = {
        "{\"bos_token_id\":1,\"eos_token_id\":[2,32000],\"pad_token_id\":0,\"do_sample\":true,\"temperature\":0.6,"
        "\"top_k\":20,\"top_p\":0.95,"
        "\"min_p\":0.05,\"repetition_penalty\":1.05,\"transformers_version\":\"4.51.0\"}",
        "{\"eos_token_id\":2}",
        "{\"top_k\":1e300,\"temperature\":null}",
    };
    size_t bytes;
    char *text = fuzz_read("tests/data/demo-model/generation_config.json", &bytes);

    emit(arg, text, bytes);
    free(text);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) emit(arg, texts[i], strlen(texts[i]));
}

const struct fuzz_target fuzz_generation = {"generation", run, seeds, 0};

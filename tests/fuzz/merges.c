/* vocab.json, a NUL, and merges.txt. First byte: 'q' Qwen2's class, else GPT-2's. */
#include <string.h>

#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/text.h"

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"vocab.json", "merges.txt", "config.json", NULL};
    static const char text[] = "ab  b\xC3\xA4 12 it's <|endoftext|>x\n\n\xF0\x9F\xA6\x8A aaaaab";
    static const char *const configs[] = {"{\"model_type\":\"gpt2\"}", "{\"model_type\":\"qwen2\"}"};
    static struct fuzz_folder folder;
    const uint8_t *nul;
    const char *config;

    if (!bytes) return;
    if (!folder.files) fuzz_folder_make(&folder, names);
    config = configs[*data == 'q'];
    data++;
    bytes--;
    nul = bytes ? memchr(data, 0, bytes) : NULL;
    fuzz_folder_fill(&folder, 0, data, nul ? (size_t)(nul - data) : bytes, 0);
    fuzz_folder_fill(&folder, 1, nul ? nul + 1 : data, nul ? bytes - (size_t)(nul + 1 - data) : 0, 0);
    fuzz_folder_fill(&folder, 2, config, strlen(config), 0);
    fuzz_text(folder.path, text, sizeof text - 1);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char first[] = "g{\"a\":0,\"b\":1,\"ab\":2,\"\xC4\xA0\":3,\"\xC4\xA0"
                                "ab\":4,\"<|endoftext|>\":5}\0#version: 0.2\na b\n\xC4\xA0 ab\n";
    static const char second[] = "q{\"a\":0,\"b\":1,\"aa\":7,\"1\":3}\0a a\r\n\r\n";

    emit(arg, first, sizeof first - 1);
    emit(arg, second, sizeof second - 1);
    emit(arg, "q", 1);
}

const struct fuzz_target fuzz_merges = {"merges", run, seeds, 1};

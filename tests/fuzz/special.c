/* tokenizer_config.json, a NUL, special_tokens_map.json, a NUL, added_tokens.json, beside a small tokenizer.json (where the
 * first byte is 'm', beside a tokenizer.model). */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/text.h"

static const char tokenizer[] =
    "{\"added_tokens\":[{\"id\":5,\"content\":\"<s>\",\"special\":true},{\"id\":6,\"content\":\" x\",\"lstrip\":true}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{"
    "\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\xC4\xA0\":3,\"s\":4},\"merges\":[\"a b\"]}}";

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const json[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                       "tokenizer.json", NULL},
                             *const model[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                               "tokenizer.model", NULL};
    static const char text[] = "ab <s> <t><u>  x ab<|x|>\n<t> ba";
    static struct fuzz_folder folder[2];
    struct fuzz_folder *f;

    if (!bytes) return;
    if (!folder[0].files) {
        size_t n;
        char *pieces = fuzz_read("tests/data/tokenizers-more/spm-unigram/tokenizer.model", &n);

        fuzz_folder_make(&folder[0], json);
        fuzz_folder_make(&folder[1], model);
        fuzz_folder_fill(&folder[0], 3, tokenizer, sizeof tokenizer - 1, 0);
        fuzz_folder_fill(&folder[1], 3, pieces, n, 0);
        free(pieces);
    }
    f = &folder[*data == 'm'];
    data++;
    bytes--;
    for (int i = 0; i < 3; i++) {
        const uint8_t *nul = bytes && i < 2 ? memchr(data, 0, bytes) : NULL;
        size_t n = nul ? (size_t)(nul - data) : bytes;

        fuzz_folder_fill(f, i, n ? (const char *)data : "{}", n ? n : 2, 0);
        data += nul ? n + 1 : n;
        bytes -= nul ? n + 1 : n;
    }
    fuzz_text(f->path, text, sizeof text - 1);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char all[] = "j{\"added_tokens_decoder\":{\"5\":{\"content\":\"<s>\",\"rstrip\":true},\"7\":{"
                              "\"content\":\"<t>\",\"special\":true}},"
                              "\"eos_token\":\"<u>\",\"image_token\":{\"content\":\"ab\",\"lstrip\":true},\"additional_"
                              "special_tokens\":[\"<|x|>\"]}";
    static const char legacy[] =
        "j{\"eos_token\":\"<s>\",\"extra_special_tokens\":{\"a_token\":\"<t>\"}}\0{\"eos_token\":{\"content\":\"<u>\"},"
        "\"additional_special_tokens\":[\"<|x|>\"],\"b_token\":\"a\"}\0{\"<t>\":7,\"<u>\":9,\"b\":8}";

    static const char model[] = "m{}\0{\"pad_token\":\"<t>\"}\0{\"<u>\":430}";

    emit(arg, all, sizeof all - 1);
    emit(arg, legacy, sizeof legacy - 1);
    emit(arg, model, sizeof model - 1);
    emit(arg, "j", 1);
}

const struct fuzz_target fuzz_special = {"special", run, seeds, 1};

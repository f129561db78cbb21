/* tekken.json, a NUL, and the text to encode (without them: a text of its own). */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/text.h"

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"tekken.json", NULL};
    static const char usual[] = "ab  b\xC3\xA4 12 it's [INST]x</s>\n\n\xF0\x9F\xA6\x8A aaaaab";
    static struct fuzz_folder folder;

    if (!folder.files) fuzz_folder_make(&folder, names);
    fuzz_text_behind(&folder, data, bytes, usual);
}

/* A file needs all bytes before anything else is looked at. */
static size_t all_bytes(char *out, size_t room)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;

    for (unsigned b = 0; b < 256; b++)
        n += (size_t)snprintf(out + n, room - n, "%s{\"rank\":%u,\"token_bytes\":\"%c%c==\",\"token_str\":null}",
                              b ? "," : "", b, digits[b >> 2], digits[(b & 3) << 4]);
    return n;
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char config[] = "{\"config\":{\"pattern\":\"[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|\\\\s+\","
                                 "\"num_vocab_tokens\":260,\"default_vocab_size\":%u,\"default_num_special_tokens\":"
                                 "%u,\"version\":\"v3\"},\"vocab\":[",
                      special[] = "],\"special_tokens\":[{\"rank\":0,\"token_str\":\"<unk>\",\"is_control\":true},"
                                  "{\"rank\":1,\"token_str\":\"<s>\",\"is_control\":true},{\"rank\":2,\"token_str\":"
                                  "\"</s>\",\"is_control\":true},{\"rank\":3,\"token_str\":\"[INST]\"}]}";
    static const char no_bytes[] = "{\"config\":{\"pattern\":\"a\"},\"vocab\":[{}],\"special_tokens\":[]}",
                      no_pattern[] = "{\"config\":{\"pattern\":\"(\"},\"vocab\":[{\"token_bytes\":\"YQ==\"}],"
                                     "\"special_tokens\":[{\"rank\":-1,\"token_str\":\"\"}]}";
    static const unsigned sizes[][2] = {{270, 8}, {262, 4}, {4, 4}};
    static char seed[32768];

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = (size_t)snprintf(seed, sizeof seed, config, sizes[i][0], sizes[i][1]);

        n += all_bytes(seed + n, sizeof seed - n);
        n += (size_t)snprintf(seed + n, sizeof seed - n,
                              ",{\"rank\":256,\"token_bytes\":\"YWI=\",\"token_str\":\"ab\"}");
        n += (size_t)snprintf(seed + n, sizeof seed - n, "%s", special);
        emit(arg, seed, n);
        memcpy(seed + n + 1, "ab[INST] a</s>", 14);
        seed[n] = 0;
        emit(arg, seed, n + 15);
    }
    emit(arg, no_bytes, sizeof no_bytes - 1);
    emit(arg, no_pattern, sizeof no_pattern - 1);
}

const struct fuzz_target fuzz_tekken = {"tekken", run, seeds, 0};

/* libFuzzer's side of one target, compiled once for each with -DFUZZ_TARGET=fuzz_NAME. With --seeds FOLDER it writes the
 * target's seeds there and ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/json.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t most, unsigned seed);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void write_seed(void *folder, const void *data, size_t bytes)
{
    static int serial;
    char path[4096];
    FILE *f;

    snprintf(path, sizeof path, "%s/seed-%04d", (const char *)folder, serial++);
    f = fopen(path, "wb");
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f)) fuzz_fail("cannot write a seed");
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    if (*argc < 3 || strcmp((*argv)[1], "--seeds")) return 0;
    FUZZ_TARGET.seeds(write_seed, (*argv)[2]);
    exit(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    FUZZ_TARGET.run(data, bytes);
    return 0;
}

/* Every other mutation of a JSON target stays JSON. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t most, unsigned seed)
{
    int at = FUZZ_TARGET.json;

    if (at >= 0 && bytes > (size_t)at && seed % 2) {
        size_t n = fuzz_json_mutate(data + at, bytes - (size_t)at, most - (size_t)at, seed);

        if (n) return n + (size_t)at;
    }
    return LLVMFuzzerMutate(data, bytes, most);
}

/* Any text as JSON: what jansson takes is taken and gives the same values, and what was read comes back from being written. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/json.h"
#include "coordinator/text/json_cursor.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

static int depth(const json_t *v)
{
    const char *key;
    int most = 0, d;
    json_t *x;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)v, key, x) if ((d = depth(x) + 1) > most) most = d;
    json_array_foreach(v, i, x) if ((d = depth(x) + 1) > most) most = d;
    return most;
}

static char *print(const json_t *v, size_t *bytes)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, bytes);

    if (!f || json_print(f, v) || fclose(f)) fuzz_fail("a value that cannot be written");
    return text;
}

static void check_print(const json_t *v)
{
    struct error e;
    size_t first_bytes, second_bytes;
    char *first = print(v, &first_bytes), *second;
    json_t *again;

    if (json_read_text(&again, first, first_bytes, "printed", JSON_READ_ANY | JSON_READ_UNIQUE | JSON_READ_PAIRS, &e))
        fuzz_fail(e.text);
    second = print(again, &second_bytes);
    if (first_bytes != second_bytes || memcmp(first, second, first_bytes))
        fuzz_fail("written and read, it is another value");
    json_decref(again);
    free(first);
    free(second);
}

static void run(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data;
    bool comparable = !bytes || !memchr(text, 0, bytes); /* jansson takes a NUL for the end of the text */
    json_t *theirs = comparable ? json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL, *ours,
           *strict;
    struct error e = {0}, strict_e = {0};
    int rc = json_read_text(&ours, text, bytes, "text", JSON_READ_ANY, &e);
    int strict_rc = json_read_text(&strict, text, bytes, "text", JSON_READ_UNIQUE | JSON_READ_PAIRS, &strict_e);

    if (rc && (strlen(e.text) < 10 || e.code != -rc)) fuzz_fail("an error without a message");
    if (rc && theirs && depth(theirs) <= JSON_DEPTH_MAX) fuzz_fail("refused, though it is JSON");
    if (rc && !strict_rc) fuzz_fail("taken only where more is asked");
    if (!rc && theirs && !json_equal(ours, theirs)) fuzz_fail("another value than jansson's");
    if (!rc && !strict_rc && theirs && !json_equal(ours, strict)) fuzz_fail("two values of one text");
    if (!rc) check_print(ours);
    json_decref(ours);
    json_decref(strict);
    json_decref(theirs);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const texts[] = {
        "{\"a\":[1,-2,3.5,1e30,1E-7,NaN,Infinity,-Infinity,1e400,-0,-0.0],\"b\":{\"c\":null,\"d\":true,\"e\":false}}",
        "{\"n\":1000000000000000019884624838656,\"m\":-9223372036854775809,\"o\":9223372036854775807,\"n\":2}",
        "[\"\\ud83e\\udd8a\\ud800x\\udc00\\u0000\\u00e4\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"\xC3\xA4\xF0\x9F\xA6\x8A\"]",
        "\xEF\xBB\xBF {\"x\":[[[[[]]]],{}]} \n",
        "\"text\"",
        "-Infinity",
        "{\"a\\u0000b\":1}",
    };
    struct fuzz_sink s = {emit, arg, {0}, 0};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) emit(arg, texts[i], strlen(texts[i]));
    fuzz_glob("tests/data/models/llama*/config.json", fuzz_seed_file, &s);
    fuzz_glob("tests/data/demo-model/*.json", fuzz_seed_file, &s);
}

const struct fuzz_target fuzz_document = {"document", run, seeds, 0};

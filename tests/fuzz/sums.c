/* Sums that lie beside a model's files, and the manifest of an earlier `sluice verify`. First byte: 'm' the rest is the
 * manifest; 'l' SHA256SUMS, 's' model.safetensors.sha256, 'd' what the hub's downloader notes of model.safetensors; 'n' it
 * is a file's name, and a manifest that names it so is believed when it is read again. */
#include "coordinator/verify/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/verify/published.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

enum { MANIFEST, LIST, SUM, METADATA, FILES };

static struct fuzz_folder folder;

static void make_folder(void)
{
    static const char *const names[FILES + 1] = {
        [MANIFEST] = "MANIFEST",
        [LIST] = "SHA256SUMS",
        [SUM] = "model.safetensors.sha256",
        [METADATA] = ".cache/huggingface/download/model.safetensors.metadata",
    };

    fuzz_folder_make(&folder, names);
}

static char *path_of(const char *name)
{
    char *path;

    if (asprintf(&path, "%s/%s", folder.path, name) < 0) fuzz_fail("no memory for a path");
    return path;
}

static void add_item(struct verify *v, const char *name)
{
    struct verify_item *x = &v->item[v->items++];

    *x =
        (struct verify_item){.name = strdup(name), .path = path_of(name), .bytes = 1234, .weights = true, .read = true};
    if (!x->name) fuzz_fail("no memory for a name");
    for (uint8_t i = 0; i < sizeof x->sha256; i++) x->sha256[i] = (uint8_t)(7 * i);
    for (uint8_t i = 0; i < sizeof x->git_sha1; i++) x->git_sha1[i] = (uint8_t)(11 * i);
}

static void check_findings(const struct verify *v)
{
    for (size_t i = 0; i < v->findings; i++)
        if (strlen(v->finding[i].text) < 10) fuzz_fail("a finding without words");
    for (size_t i = 0; i < v->items; i++)
        for (size_t k = 0; k < v->item[i].sums; k++) {
            const struct verify_sum *s = &v->item[i].sum[k];

            if (strspn(s->hex, "0123456789abcdef") != (s->git ? 40 : 64)) fuzz_fail("a sum of another length");
            if (s->compared == !*s->source) fuzz_fail("a sum that nobody has published");
        }
}

static void compare(struct verify *v, const char *path)
{
    struct error e = {0};

    if (manifest_compare(v, path, &e) && strlen(e.text) < 10) fuzz_fail("an error without a message");
}

/* What was written is found again, whatever a file is called. */
static void write_and_read(const uint8_t *data, size_t bytes)
{
    struct verify v = {.folder = folder.path, .item = calloc(1, sizeof *v.item)};
    char name[256], *path = path_of("WRITTEN");
    FILE *f;

    snprintf(name, sizeof name, "%.*s", (int)bytes, (const char *)data);
    if (!v.item) fuzz_fail("no memory for an item");
    if (*name && *name != '.' && !strchr(name, '/')) { /* what a file of a model may be called */
        add_item(&v, name);
        f = fopen(path, "we");
        if (!f) fuzz_fail("no manifest can be written");
        manifest_write(&v, f);
        if (fclose(f)) fuzz_fail("the manifest is not written");
        compare(&v, path);
        if (v.findings || v.notes) fuzz_fail("a manifest that does not agree with what it was made of");
    }
    free(path);
    verify_free(&v);
}

static void run(const uint8_t *data, size_t bytes)
{
    struct verify v = {.folder = folder.path};
    int i;

    if (!folder.files) make_folder();
    if (!bytes) return;
    if (*data == 'n') {
        write_and_read(data + 1, bytes - 1);
        return;
    }
    i = *data == 'm' ? MANIFEST : *data == 's' ? SUM : *data == 'd' ? METADATA : LIST;
    if (!(v.item = calloc(2, sizeof *v.item))) fuzz_fail("no memory for items");
    add_item(&v, "model.safetensors");
    add_item(&v, "config.json");
    fuzz_folder_fill(&folder, i, data + 1, bytes - 1, 0);
    if (i == MANIFEST) {
        char *path = path_of("MANIFEST");

        compare(&v, path);
        free(path);
    } else if (verify_published(&v, NULL) || verify_judge(&v, NULL)) {
        fuzz_fail("no memory for sums");
    }
    check_findings(&v);
    fuzz_folder_fill(&folder, i, "", 0, 0); /* the next input is of another file perhaps */
    verify_free(&v);
}

/* The sums that add_item() gives, as they are written. */
#define SHA "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9"
#define GIT "000b16212c37424d58636e79848f9aa5b0bbc6d1"
#define BAD "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const texts[] = {
        "m# sluice verify: 2 files\n# 1234 bytes: model.safetensors\n" SHA
        "  model.safetensors\n# 99 bytes: config.json\n" BAD "  config.json\n",
        "m" BAD "  model.safetensors\r\n" SHA " *gone.safetensors\n\\" SHA "  a\\nb\\\\c\n",
        "m# 18446744073709551615 bytes: config.json\n" SHA "  config.json\n# 1 bytes:\n",
        "l" SHA "  model.safetensors\n" BAD " *./config.json\n",
        "lSHA256 (model.safetensors) = " SHA "\nSHA256 (config.json) = " BAD "\nSHA256 () = " SHA "\n",
        "l\\" SHA "  two\\nlines\n" SHA "\tconfig.json\nrubbish\n",
        "s" SHA "\n",
        "s" BAD "  -\n",
        "s" SHA "  model.safetensors",
        "d4b8a1f0c\n" BAD "\n1736500000.0\n",
        "d4b8a1f0c\n" GIT "\n1736500000.0\n",
        "d\n\n",
        "nmodel-00001-of-00002.safetensors",
        "ntwo\nlines\\ and *a\r star",
        "n *star",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) emit(arg, texts[i], strlen(texts[i]));
}

const struct fuzz_target fuzz_sums = {"sums", run, seeds, -1};

/* tensors.tsv of a folder without weights. First byte: which reference model's config.json lies beside it, whose family
 * then asks for its tensors; one beyond them all: none does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/arch/model.h"
#include "coordinator/source/tensors.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

#define MODELS_MOST 256

static char *config[MODELS_MOST]; /* paths, by number */
static unsigned configs;

static void count_config(void *arg, const char *path)
{
    (void)arg;
    if (configs == MODELS_MOST || !(config[configs++] = strdup(path))) fuzz_fail("too many reference models");
}

static void find_configs(void)
{
    if (!configs) fuzz_glob("tests/data/models/*/config.json", count_config, NULL);
}

/* Everything lies in a file of the folder, and no tensor over another. */
static void check(const struct tensors *t)
{
    char inner[TENSORS_NAME_BYTES];

    for (size_t i = 0; i < t->count; i++) {
        const struct tensor *x = &t->at[i];
        uint64_t bytes, end;

        if (x->file >= t->file_count || tensors_find(t, x->name) != x) fuzz_fail("a tensor that is not found again");
        if (tensor_shape_bytes(x->dtype, x->shape, x->dims, &bytes) || bytes != x->bytes)
            fuzz_fail("a shape that does not fit its bytes");
        if (__builtin_add_overflow(x->offset, x->bytes, &end) || end > t->files[x->file].info.bytes)
            fuzz_fail("a tensor lies outside of its file");
        for (size_t k = i; k-- > 0;) { /* the one before it in the same file */
            if (t->at[k].file != x->file) continue;
            if (t->at[k].offset + t->at[k].bytes > x->offset) fuzz_fail("a tensor lies over another");
            break;
        }
    }
    for (uint32_t i = 0; i < t->file_count; i++)
        if (!tensors_inner_name(inner, t->files[i].name)) fuzz_fail("a file outside of the folder");
}

static void open_list(const char *path)
{
    struct tensors *t;
    struct error e = {0};

    if (tensors_open(&t, path, &(struct tensors_options){.allow_missing = true}, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("an error without a message");
        return;
    }
    check(t);
    tensors_close(t);
}

static void open_model(const char *path)
{
    struct model_options o = {.allow_missing_weights = true};
    struct model *m;
    struct error e = {0};

    if (!model_open(&m, path, &o, &e))
        model_close(m);
    else if (strlen(e.text) < 10)
        fuzz_fail("an error without a message");
}

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"tensors.tsv", "config.json", NULL};
    static struct fuzz_folder folder;
    static unsigned lies; /* the config.json there, plus one */

    if (!bytes) return;
    if (!folder.files) {
        find_configs();
        fuzz_folder_make(&folder, names);
    }
    fuzz_folder_fill(&folder, 0, data + 1, bytes - 1, 0);
    open_list(folder.path);
    if (*data >= configs) return;
    if (lies != *data + 1u) {
        size_t n;
        char *text = fuzz_read(config[*data], &n);

        fuzz_folder_fill(&folder, 1, text, n, 0);
        free(text);
        lies = *data + 1u;
    }
    open_model(folder.path);
}

/* Its list stands beside a config.json. */
static void seed_list(void *arg, const char *path)
{
    struct fuzz_sink *s = arg;
    char list[256];

    snprintf(list, sizeof list, "%.*stensors.tsv", (int)(strrchr(path, '/') + 1 - path), path);
    fuzz_seed_file(s, list);
    s->head[0]++;
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const texts[] = {
        "\xff# a comment\nx\tBF16\t4x8\nmodel-00001-of-00002.safetensors\ty\tF32\t3\tanything more\tand more\n",
        "\xff"
        "a.safetensors\tx\tI64\t1\r\n\r\nb.safetensors\ty\tU8\t0x0\na.safetensors\tz\tF8_E4M3\t2x3x4x5",
        "\xffx\tBF16\t18446744073709551615\n",
        "\xff../a.safetensors\tx\tBF16\t1\n",
        "\xffx\tBF16\t1\nx\tBF16\t1\n",
        "\xffx\tF4\t1x\n",
    };
    struct fuzz_sink s = {emit, arg, {0}, 1};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) emit(arg, texts[i], strlen(texts[i]));
    fuzz_glob("tests/data/models/*/config.json", seed_list, &s);
}

const struct fuzz_target fuzz_tensors_list = {"tensors_list", run, seeds, -1};

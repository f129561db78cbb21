/* A safetensors file. First byte: 'h' the length before the header is made to fit what follows, else the rest is the file as
 * it is; then four bytes, little-endian: how many bytes of data follow the header. */
#include "coordinator/source/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

struct seen {
    uint64_t file_bytes, tensors;
};

static int visit(void *arg, const struct tensor *t, struct error *e)
{
    struct seen *s = arg;
    uint64_t bytes;

    (void)e;
    s->tensors++;
    if (strlen(t->name) > s->file_bytes) fuzz_fail("a name is longer than its file");
    if (t->offset > s->file_bytes || t->bytes > s->file_bytes - t->offset)
        fuzz_fail("a tensor lies outside of its file");
    if (!t->dtype_text != (t->dtype < TENSOR_DTYPES)) fuzz_fail("a type that is known and not known");
    if (!t->dtype_text && (tensor_shape_bytes(t->dtype, t->shape, t->dims, &bytes) || bytes != t->bytes))
        fuzz_fail("a shape that does not fit its bytes");
    return 0;
}

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"model.safetensors", NULL};
    static struct fuzz_folder folder;
    static char path[TEMPORARY_BYTES + 32];
    struct safetensors_file info;
    struct seen s = {0};
    struct error e = {0};
    uint32_t tail;
    uint64_t header;
    uint8_t *file;

    if (bytes < 5) return;
    if (!folder.files) {
        fuzz_folder_make(&folder, names);
        snprintf(path, sizeof path, "%s/%s", folder.path, names[0]);
    }
    memcpy(&tail, data + 1, 4);
    header = bytes - 5;
    file = malloc(header + 8);
    if (!file) return;
    memcpy(file, &header, 8);
    memcpy(file + 8, data + 5, header);
    if (*data == 'h')
        fuzz_folder_fill(&folder, 0, file, header + 8, tail);
    else
        fuzz_folder_fill(&folder, 0, file + 8, header, tail);
    s.file_bytes = (*data == 'h' ? 8 : 0) + header + tail;
    if (safetensors_read(path, 0, &info, visit, &s, &e) && strlen(e.text) < 10) fuzz_fail("an error without a message");
    free(file);
}

struct text {
    char *at;
    size_t bytes;
};

/* The header of the file that tests/mkmodel.c would write for a list, of all its tensors together. */
static void header_of(struct text *t, const char *list)
{
    FILE *f = open_memstream(&t->at, &t->bytes);
    uint64_t offset = 0;
    char name[256], dtype[32], shape[128], commas[160];

    fprintf(f, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (const char *line = list; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        uint64_t n = 1, bytes;
        size_t k = 0;

        shape[0] = 0; /* a scalar has none */
        if (sscanf(line, "%*[^\t]\t%255[^\t]\t%31[^\t]\t%127[0-9x]", name, dtype, shape) < 2) continue;
        for (char *d = shape; *d;) {
            n *= strtoull(d, &d, 10);
            if (*d == 'x') d++;
        }
        for (const char *d = shape; *d && k < sizeof commas - 1; d++) commas[k++] = *d == 'x' ? ',' : *d;
        commas[k] = 0;
        bytes = n * (!strcmp(dtype, "F32") ? 4 : dtype[0] == 'B' || !strcmp(dtype, "F16") ? 2 : 1);
        fprintf(f, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}", name, dtype, commas,
                (unsigned long long)offset, (unsigned long long)(offset + bytes));
        offset += bytes;
    }
    fprintf(f, "}");
    fclose(f);
}

static void seed_list(void *arg, const char *path)
{
    size_t bytes;
    char *list = fuzz_read(path, &bytes);
    struct text header = {0};

    if (bytes > 1500) list[1500] = 0; /* short ones are as good, and mutate better */
    header_of(&header, list);
    fuzz_seed(arg, header.at, header.bytes);
    free(header.at);
    free(list);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char small[] = "h\x10\0\0\0{\"a\":{\"dtype\":\"BF16\",\"shape\":[2,4],\"data_offsets\":[0,16]}}";
    static const char raw[] = "r\0\0\0\0\x02\0\0\0\0\0\0\0{}";
    struct fuzz_sink s = {emit, arg, {'h', 0, 0, 0, 4}, 5}; /* 64 MiB of data */

    emit(arg, small, sizeof small - 1);
    emit(arg, raw, sizeof raw - 1);
    fuzz_glob("tests/data/models/*/tensors.tsv", seed_list, &s);
}

const struct fuzz_target fuzz_safetensors = {"safetensors", run, seeds, 5};

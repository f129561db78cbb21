/* How fast a tokenizer is: tokenizer_bench FOLDER FILE prints MB/s (10^6 bytes) of encoding and of decoding FILE, the best of
 * three rounds each, on one core, and how long the folder took to open. */
#include "coordinator/tokenizer/detokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 3

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static char *read_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    if (f && fseek(f, 0, SEEK_END) == 0) {
        long end = ftell(f);
        rewind(f);
        text = end >= 0 ? malloc((size_t)end + 1) : NULL;
        *bytes = text ? fread(text, 1, (size_t)end, f) : 0;
    }
    if (f) fclose(f);
    return text;
}

static double encode(const struct tokenizer *t, const char *text, size_t bytes, struct token_ids *ids, struct error *e)
{
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        ids->count = 0;
        double start = seconds();
        if (tokenizer_encode(t, text, bytes, false, ids, e) != 0) return -1;
        double speed = (double)bytes / (seconds() - start) / 1e6;
        best = speed > best ? speed : best;
    }
    return best;
}

static double decode(const struct tokenizer *t, const struct token_ids *ids, struct error *e)
{
    struct detokenizer *d;
    double best = 0;
    if (detokenizer_open(&d, t, false, e) != 0) return -1;
    for (int i = 0; i < ROUNDS; i++) {
        size_t total = 0, bytes = 0;
        const char *text;
        double start = seconds();
        for (size_t k = 0; k < ids->count; k++, total += bytes) {
            if (detokenizer_push(d, ids->id[k], &text, &bytes, e) != 0) return -1;
        }
        detokenizer_finish(d, &text, &bytes);
        double speed = (double)(total + bytes) / (seconds() - start) / 1e6;
        best = speed > best ? speed : best;
    }
    detokenizer_close(d);
    return best;
}

int main(int argc, char **argv)
{
    struct error e = {0};
    struct tokenizer *t;
    struct token_ids ids = {0};
    size_t bytes = 0;
    char *text = argc == 3 ? read_file(argv[2], &bytes) : NULL;
    if (!text) {
        fprintf(stderr, argc == 3 ? "%s cannot be read\n" : "usage: tokenizer_bench FOLDER FILE\n", argv[argc - 1]);
        return 2;
    }
    double start = seconds();
    int rc = tokenizer_open(&t, argv[1], &e);
    double open = seconds() - start;
    double encoded = rc == 0 ? encode(t, text, bytes, &ids, &e) : -1, decoded = encoded < 0 ? -1 : decode(t, &ids, &e);
    if (decoded < 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    printf("open %.3f s, encode %.1f MB/s, decode %.1f MB/s, %zu bytes in %zu tokens\n", open, encoded, decoded, bytes,
           ids.count);
    token_ids_free(&ids);
    tokenizer_close(t);
    free(text);
    return 0;
}

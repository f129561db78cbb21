/* The job segment of sluice-verify: a good one with changes, ten bytes each (where: two bytes, in words of four; the
 * value: eight bytes). What is believed is walked as the worker walks it. */
#include <stdlib.h>
#include <string.h>

#include "proto/verify.h"
#include "tests/fuzz/fuzz.h"

#define CHANGE 10u

static uint64_t touched;

struct job {
    struct verify_shm head;
    struct verify_file file[2];
    struct verify_span span[5];
    char strings[64];
};

static void make(struct job *j)
{
    static const char strings[] = "/models/a.safetensors\0/models/b.safetensors";

    memset(j, 0, sizeof *j);
    j->head = (struct verify_shm){.magic = VERIFY_MAGIC,
                                  .version = VERIFY_VERSION,
                                  .bytes = sizeof *j,
                                  .file_count = 2,
                                  .span_count = 5,
                                  .file_off = offsetof(struct job, file),
                                  .span_off = offsetof(struct job, span),
                                  .string_off = offsetof(struct job, strings),
                                  .threads = 2};
    memcpy(j->strings, strings, sizeof strings);
    for (unsigned i = 0; i < 2; i++)
        j->file[i] =
            (struct verify_file){.path = j->head.string_off + 22 * i, .bytes = 4096, .span0 = 3 * i, .spans = 3 - i};
    for (unsigned i = 0; i < 5; i++)
        j->span[i] = (struct verify_span){.offset = 64 + i % 3 * 1024, .bytes = 1024, .form = i, .first = VERIFY_NONE};
}

static void walk(struct verify_shm *s)
{
    for (uint64_t i = 0; i < s->file_count; i++) {
        const struct verify_file *f = verify_files(s) + i;

        touched += strlen((const char *)s + f->path);
        for (uint64_t k = 0; k < f->spans; k++) {
            const struct verify_span *x = verify_spans(s) + f->span0 + k;

            if (x->offset + x->bytes < x->bytes || x->offset + x->bytes > f->bytes)
                fuzz_fail("a span outside of its file");
            touched += x->bytes / form_info(x->form)->bytes;
        }
    }
}

static void run(const uint8_t *data, size_t bytes)
{
    struct job *j = aligned_alloc(_Alignof(struct job), sizeof *j);
    struct error e = {0};

    if (!j) return;
    make(j);
    for (size_t i = 0; i + CHANGE <= bytes; i += CHANGE) {
        uint16_t where;

        memcpy(&where, data + i, 2);
        memcpy((uint8_t *)j + where % (sizeof *j / 4 - 1) * 4, data + i + 2, 8);
    }
    if (!verify_check(&j->head, sizeof *j, &e))
        walk(&j->head);
    else if (strlen(e.text) < 10)
        fuzz_fail("an error without a message");
    free(j);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    uint8_t seed[CHANGE] = {0};

    emit(arg, seed, 0);
    for (uint16_t where = 0; where < sizeof(struct job) / 4; where += 2) {
        memcpy(seed, &where, 2);
        seed[2] = 64;
        emit(arg, seed, sizeof seed);
    }
}

const struct fuzz_target fuzz_job = {"job", run, seeds, -1};

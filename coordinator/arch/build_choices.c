/* Tables of whole numbers that the program holds itself, read when it is made. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/arch/build_private.h"

/* Where the bytes of a tensor lie in its file; a packed one has moved them. */
static bool find_bytes(const struct build *b, const struct tensor *t, uint64_t *off)
{
    const struct packed *p = b->t->files[t->file].packed;
    const struct packed_segment *s;

    *off = t->offset;
    if (!p) return true;
    s = packed_find(p, t->offset);
    if (!s || s->unit_rows || s->raw_bytes - (t->offset - s->raw_off) < t->bytes) return false;
    *off = s->stored_off + (t->offset - s->raw_off);
    return true;
}

static int read_all(const char *path, void *to, uint64_t bytes, uint64_t off)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    ssize_t n;

    if (fd < 0) return -errno;
    for (uint64_t done = 0; done < bytes && !rc; done += n > 0 ? (uint64_t)n : 0) {
        n = pread(fd, (char *)to + done, bytes - done, (off_t)(off + done));
        if (n < 0 && errno != EINTR) rc = -errno;
        if (!n) rc = -ENODATA;
    }
    close(fd);
    return rc;
}

static uint8_t *tensor_bytes(struct build *b, const struct tensor *t)
{
    const char *path = tensors_path(b->t, t);
    uint8_t *raw = malloc(t->bytes);
    uint64_t off;
    int rc;

    if (!raw) {
        b->p->failed = true;
        return NULL;
    }
    rc = find_bytes(b, t, &off) ? read_all(path, raw, t->bytes, off) : -ENODATA;
    if (!rc) return raw;
    build_fault(b, "%s: tensor %s cannot be read: %s", path, tensor_stored_name(t),
                rc == -ENODATA ? "the file is too short for it, download it again" : strerror(-rc));
    free(raw);
    return NULL;
}

static int64_t whole_number(const uint8_t *raw, uint32_t dtype, uint64_t i)
{
    int64_t wide;
    int32_t narrow;

    if (dtype == TENSOR_I64) {
        memcpy(&wide, raw + i * sizeof wide, sizeof wide);
        return wide;
    }
    memcpy(&narrow, raw + i * sizeof narrow, sizeof narrow);
    return narrow;
}

static void read_numbers(struct build *b, const struct tensor *t, float *out, uint64_t n, uint32_t top, uint32_t below)
{
    uint8_t *raw = tensor_bytes(b, t);

    for (uint64_t i = 0; raw && i < n && build_ok(b); i++) {
        int64_t x = whole_number(raw, t->dtype, i);

        if (x < 0 || x >= below)
            build_fault(
                b, "%s: tensor %s: row %llu has %lld, which is none of %u: the file is damaged, or of another model",
                tensors_path(b->t, t), tensor_stored_name(t), (unsigned long long)(i / top), (long long)x, below);
        out[i] = (float)x;
    }
    free(raw);
}

uint64_t build_choices(struct build *b, const char *name, uint32_t rows, uint32_t top, uint32_t below)
{
    uint64_t shape[2] = {rows, top}, n = (uint64_t)rows * top, at = 0;
    bool there = !b->t->assumed && b->t->source == TENSORS_FILES;
    char full[BUILD_NAME_BYTES];
    const struct tensor *t = build_tensor(b, build_full_name(b, full, name), TENSOR_I64, shape, 2);
    float *out;

    if (!t) return 0;
    if (t->dims != 2 || t->shape[0] != rows || t->shape[1] != top) build_shape_fault(b, t, shape, 2);
    if (build_ok(b) && t->dtype != TENSOR_I64 && t->dtype != TENSOR_I32)
        build_fault(b, "%s: tensor %s is stored as %s: whole numbers of 32 or 64 bits are needed",
                    tensors_path(b->t, t), tensor_stored_name(t), tensor_stored_as(t));
    if (!build_ok(b)) return 0;
    out = malloc(n * sizeof *out);
    if (!out) {
        b->p->failed = true;
        return 0;
    }
    for (uint64_t i = 0; i < n && !there; i++) out[i] = (float)(i % below);
    if (there) read_numbers(b, t, out, n, top, below);
    if (build_ok(b)) at = program_numbers(b->p, out, n);
    free(out);
    return at;
}

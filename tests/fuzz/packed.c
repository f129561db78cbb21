/* The front of a packed file, made consistent in its size and its sum (or nothing would get past these), and the index of a
 * packed folder: 'f' or 'i', then the bytes. */
#include "coordinator/source/packed.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/checksum.h"
#include "proto/unit/unit.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

static const char *const names[] = {"model.safetensors.packed", PACKED_INDEX, NULL};
static struct fuzz_folder folder;

/* The sum as it must be, of as many bytes as the front claims and the file has. */
static void mend(uint8_t *p, size_t bytes)
{
    struct packed_head h;
    struct checksum c;

    if (bytes < sizeof h) return;
    memcpy(&h, p, sizeof h);
    h.sum = 0;
    if (h.front_bytes > bytes || h.front_bytes < sizeof h) return;
    checksum_begin(&c);
    checksum_feed(&c, &h, sizeof h);
    checksum_feed(&c, p + sizeof h, h.front_bytes - sizeof h);
    h.sum = checksum_end(&c);
    memcpy(p, &h, sizeof h);
}

static void look_at_segment(const struct packed *p, const struct packed_segment *s)
{
    uint64_t end = s->stored_off + s->raw_bytes;

    if (packed_find(p, s->raw_off) != s || packed_find(p, s->raw_off + s->raw_bytes - 1) != s)
        fuzz_fail("a segment that is not found by its bytes");
    if (s->unit_rows) {
        for (uint64_t i = 0; i < packed_units(s); i++)
            if (packed_unit(p, s, i) + UNIT_HEADER > packed_unit(p, s, i + 1)) fuzz_fail("a unit that has no room");
        end = packed_unit(p, s, packed_units(s));
        if (packed_unit(p, s, 0) != s->stored_off) fuzz_fail("units that begin elsewhere than their segment");
    }
    if (end > p->head.stored_bytes) fuzz_fail("a segment that lies outside of its file");
}

static void read_front(const uint8_t *data, size_t bytes)
{
    uint8_t *own = malloc(bytes + 1);
    struct error e = {0};
    struct packed *p = NULL;
    struct packed_head h = {0};
    uint64_t tail = 0;
    char path[TEMPORARY_BYTES + 64];
    int fd;

    if (!own) return;
    memcpy(own, data, bytes);
    mend(own, bytes);
    if (bytes >= sizeof h) memcpy(&h, own, sizeof h);
    if (h.stored_bytes > bytes && h.stored_bytes < UINT64_C(1) << 40) tail = h.stored_bytes - bytes;
    fuzz_folder_fill(&folder, 0, own, bytes, tail);
    snprintf(path, sizeof path, "%s/%s", folder.path, names[0]);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) abort();
    if (packed_read(&p, path, fd, bytes + tail, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("an error without a message");
    } else if (p) {
        for (uint64_t i = 0; i < p->head.segments; i++) look_at_segment(p, &p->segment[i]);
        if (packed_find(p, p->head.raw_bytes) || packed_find(p, 0)) fuzz_fail("bytes that are of no segment are found");
    }
    packed_close(p);
    close(fd);
    free(own);
}

static void read_index(const uint8_t *data, size_t bytes)
{
    struct packed_index x;
    struct error e = {0};

    fuzz_folder_fill(&folder, 1, data, bytes, 0);
    if (packed_index_read(&x, folder.path, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("an error without a message");
        return;
    }
    for (size_t i = 0; i < x.files; i++) {
        if (*x.file[i].name == '/' || !strncmp(x.file[i].name, "..", 2))
            fuzz_fail("a name that leads out of the folder");
        if (!packed_index_find(&x, x.file[i].name)) fuzz_fail("a file that is not found by its name");
    }
    packed_index_free(&x);
}

static void run(const uint8_t *data, size_t bytes)
{
    if (!bytes) return;
    if (!folder.files) fuzz_folder_make(&folder, names);
    if (*data == 'f')
        read_front(data + 1, bytes - 1);
    else
        read_index(data + 1, bytes - 1);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char header[] = "\x02\0\0\0\0\0\0\0{}",
                      index[] =
                          "i{\"format\": \"sluice-pack 1\", \"files\": [{\"name\": \"a/model.safetensors\", \"bytes\": "
                          "4096, \"sha256\": "
                          "\"0000000000000000000000000000000000000000000000000000000000000000\", \"stored_bytes\": "
                          "100, \"front\": \"0123456789abcdef\"}], \"copied\": []}";
    struct packed_segment s[] = {
        {.raw_off = 10, .raw_bytes = 100, .stored_off = 4096},
        {.raw_off = 110, .raw_bytes = 5 * 64 * 2, .stored_off = 4224, .rows = 5, .cols = 64, .unit_rows = 2},
        {.raw_off = 750, .raw_bytes = 7, .stored_off = 4608}};
    const uint32_t lengths[] = {128, 128, 128};
    struct packed_head h = {.magic = PACKED_MAGIC,
                            .version = PACKED_VERSION,
                            .front_bytes = packed_front_bytes(10, 3, 3),
                            .stored_bytes = 4615,
                            .header_bytes = 10,
                            .raw_bytes = 757,
                            .segments = 3,
                            .units = 3};
    uint8_t *out = calloc(1, 1 + h.front_bytes);

    if (!out) abort();
    *out = 'f';
    packed_front(out + 1, &h, (const uint8_t *)header, s, lengths);
    emit(arg, out, 1 + h.front_bytes);
    emit(arg, index, sizeof index - 1);
    free(out);
}

const struct fuzz_target fuzz_packed = {"packed", run, seeds, -1};

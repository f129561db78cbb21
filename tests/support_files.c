#include "tests/support_files.h"
#include "tests/support_temporary.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UP(x) (((x) + PLAN_PAGE - 1) & ~(uint64_t)(PLAN_PAGE - 1))

static void need(bool ok, const char *what)
{
    if (ok) return;
    perror(what);
    abort();
}

uint8_t content_byte(uint32_t file, uint64_t offset)
{
    uint64_t x = (offset / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15) + file * UINT64_C(0xbf58476d1ce4e5b9);

    x ^= x >> 29;
    return (uint8_t)(x >> (offset % 8 * 8));
}

static void write_file(const char *name, uint32_t number, uint64_t bytes)
{
    uint8_t *data = malloc(bytes + 1);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);

    need(data && fd >= 0, name);
    for (uint64_t i = 0; i < bytes; i++) data[i] = content_byte(number, i);
    need(write(fd, data, bytes) == (ssize_t)bytes, name);
    close(fd);
    free(data);
}

void folder_make(struct folder *d, const char *base, uint32_t files, const uint64_t *bytes)
{
    need(temporary_make(d->path, base), d->path);
    d->files = files;
    for (uint32_t i = 0; i < files; i++) {
        snprintf(d->name[i], sizeof d->name[i], "%s/%u.bin", d->path, i);
        write_file(d->name[i], i, bytes[i]);
    }
}

void folder_remove(struct folder *d)
{
    temporary_remove(d->path);
}

void builder_init(struct builder *b, const struct folder *d, uint64_t slot_bytes)
{
    struct stat st;

    memset(b, 0, sizeof *b);
    b->head.run = (struct plan_run){.slot_bytes = slot_bytes,
                                    .row_slot_bytes = slot_bytes,
                                    .reader_slots = {2, 2, 2},
                                    .entries = {4, 4, 4},
                                    .io_depth = 8,
                                    .max_positions = 512};
    b->head.spec.embed_matrix = PLAN_NONE;
    b->files = d->files;
    for (uint32_t i = 0; i < d->files; i++) {
        need(!stat(d->name[i], &st), d->name[i]);
        b->file[i] =
            (struct plan_file){.name = i * sizeof d->name[0],
                               .bytes = (uint64_t)st.st_size,
                               .inode = (uint64_t)st.st_ino,
                               .mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec};
    }
    b->head.strings.offset = (uint64_t)(uintptr_t)d->name; /* until it is finished */
}

void builder_tile(struct builder *b, uint16_t tier, uint16_t flags)
{
    need(b->tiles < TILES_MAX, "too many tiles");
    b->tile[b->tiles++] = (struct plan_tile){.part0 = b->parts, .tier = tier, .flags = flags, .tier_off = b->home_end};
}

static void add_part(struct builder *b, uint32_t file, uint64_t offset, uint64_t bytes, uint64_t slot_off)
{
    struct plan_tile *t = &b->tile[b->tiles - 1];

    need(b->parts < PARTS_MAX && UP(slot_off + bytes) <= b->head.run.slot_bytes &&
             offset + bytes <= b->file[file].bytes,
         "part does not fit");
    b->part[b->parts++] =
        (struct plan_part){.file = file, .file_off = offset, .bytes = bytes, .slot_off = (uint32_t)slot_off};
    t->parts++;
    t->bytes += bytes;
    t->span = (uint32_t)UP(slot_off + bytes);
    if (t->tier == TIER_HOST) b->home_end = t->tier_off + t->span;
}

void builder_part(struct builder *b, uint32_t file, uint64_t offset, uint64_t bytes)
{
    add_part(b, file, offset, bytes, b->tile[b->tiles - 1].span + offset % PLAN_PAGE);
}

void builder_touching_part(struct builder *b, uint64_t bytes)
{
    const struct plan_part *p = &b->part[b->parts - 1];

    add_part(b, p->file, p->file_off + p->bytes, bytes, p->slot_off + p->bytes);
}

void builder_embedding(struct builder *b, uint32_t file, uint64_t offset, uint64_t rows, uint64_t row_bytes)
{
    need(offset + rows * row_bytes <= b->file[file].bytes, "embedding does not fit");
    b->matrix = (struct plan_matrix){.rows = rows,
                                     .cols = row_bytes / 2,
                                     .row_bytes = row_bytes,
                                     .file = file,
                                     .file_off = offset,
                                     .scale_file = PLAN_NONE,
                                     .form = FORM_BF16};
    b->head.spec.embed_matrix = 0;
    b->head.gather = (struct plan_gather){.file_off = offset, .rows = rows, .row_bytes = row_bytes, .file = file};
}

static struct plan_table put(uint8_t *image, uint64_t *at, const void *data, uint64_t count, uint64_t each)
{
    struct plan_table t = {.offset = *at, .count = count};

    memcpy(image + *at, data, count * each);
    *at += (count * each + 63) & ~UINT64_C(63);
    return t;
}

struct plan_shm *builder_finish(struct builder *b)
{
    uint64_t name_bytes = b->files * sizeof((struct folder *)0)->name[0], at = UP(sizeof b->head);
    uint8_t *image =
        calloc(1, at + sizeof b->file + sizeof b->part + sizeof b->tile + sizeof b->matrix + name_bytes + 4096);
    struct plan_shm *p = (struct plan_shm *)(void *)image;

    need(image, "plan");
    *p = b->head;
    p->files = put(image, &at, b->file, b->files, sizeof *b->file);
    p->matrices = put(image, &at, &b->matrix, 1, sizeof b->matrix);
    p->parts = put(image, &at, b->part, b->parts, sizeof *b->part);
    p->tiles = put(image, &at, b->tile, b->tiles, sizeof *b->tile);
    p->strings = put(image, &at, (const void *)(uintptr_t)b->head.strings.offset, name_bytes, 1);
    p->run.host_cache_bytes = b->home_end + p->run.expert_cache_bytes;
    p->bytes = at;
    return p;
}

uint8_t *pages_make(uint64_t bytes)
{
    uint8_t *m = bytes ? aligned_alloc(PLAN_PAGE, UP(bytes)) : NULL;

    need(m || !bytes, "memory");
    if (m) memset(m, 0, UP(bytes));
    return m;
}

struct epoch_shm *run_make(const struct plan_shm *p)
{
    struct epoch_shm *r = (struct epoch_shm *)(void *)pages_make(epoch_bytes(&p->run));

    epoch_init(r, &p->run, 1);
    return r;
}

uint64_t tile_wrong_bytes(const struct plan_shm *p, const struct plan_tile *t, const uint8_t *base)
{
    uint64_t wrong = 0;

    for (uint32_t i = 0; i < t->parts; i++) {
        const struct plan_part *x = &plan_parts(p)[t->part0 + i];

        for (uint64_t k = 0; k < x->bytes; k++)
            wrong += base[x->slot_off + k] != content_byte(x->file, x->file_off + k);
    }
    return wrong;
}

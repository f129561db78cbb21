/* A model folder's worth of bytes for tests of the reader: files of known content, and a plan made by hand over them. */
#pragma once
#include <stdint.h>
#include "proto/plan.h"
#include "proto/epoch.h"
#include "tests/support_temporary.h"

#define FILES_MAX 256
#define TILES_MAX 512
#define PARTS_MAX 4096

/* The byte at an offset of file number n; no period that a page or a block could hide. */
uint8_t content_byte(uint32_t file, uint64_t offset);

struct folder {
    char path[TEMPORARY_BYTES];
    uint32_t files;
    char name[FILES_MAX][TEMPORARY_BYTES + 16];
};

/* A folder under base (NULL: the temporary folder) with files of these sizes. Aborts the test where it cannot. */
void folder_make(struct folder *d, const char *base, uint32_t files, const uint64_t *bytes);
void folder_remove(struct folder *d);

/* A plan, its tiles in the order of their making: sweep tiles, resident tiles, expert tiles. Not one that plan_check()
 * would pass: it has no operations. */
struct builder {
    struct plan_shm head;
    struct plan_file file[FILES_MAX];
    struct plan_matrix matrix;
    struct plan_part part[PARTS_MAX];
    struct plan_tile tile[TILES_MAX];
    uint32_t files, parts, tiles;
    uint64_t home_end; /* in the host cache */
};

void builder_init(struct builder *b, const struct folder *d, uint64_t slot_bytes);
/* A new tile; then its parts, each on pages of its own, or (touching) right behind the one before in file and slot. */
void builder_tile(struct builder *b, uint16_t tier, uint16_t flags);
void builder_part(struct builder *b, uint32_t file, uint64_t offset, uint64_t bytes);
void builder_touching_part(struct builder *b, uint64_t bytes);
void builder_embedding(struct builder *b, uint32_t file, uint64_t offset, uint64_t rows, uint64_t row_bytes);
/* malloc'ed image. */
struct plan_shm *builder_finish(struct builder *b);

/* A epoch segment for a plan; free() it. */
struct epoch_shm *run_make(const struct plan_shm *p);
/* Page-aligned zeroed memory; free() it. NULL for no bytes. */
uint8_t *pages_make(uint64_t bytes);

/* Number of payload bytes of a tile that are not what the files hold. */
uint64_t tile_wrong_bytes(const struct plan_shm *p, const struct plan_tile *t, const uint8_t *base);

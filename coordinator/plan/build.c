/* A program, its tiles and its settings as one image. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/plan/placement.h"
#include "coordinator/plan/plan.h"
#include "coordinator/plan/tiling.h"
#include "proto/base/log.h"

#define TABLE_ALIGN 64u

static uint64_t align(uint64_t x)
{
    return (x + TABLE_ALIGN - 1) / TABLE_ALIGN * TABLE_ALIGN;
}

/* The program's own tables stay where they are; those of the tiles come behind. */
static uint64_t image_bytes(const struct plan_shm *program, const struct tiling *c)
{
    return align(program->bytes) + align(c->parts.count * c->parts.size) + align(c->tiles.count * c->tiles.size) +
           align(c->expert_tiles.count * c->expert_tiles.size);
}

static void append(struct plan_shm *image, struct plan_table *to, const struct program_table *from)
{
    *to = (struct plan_table){.offset = image->bytes, .count = from->count};
    if (from->count) memcpy((char *)image + to->offset, from->data, from->count * from->size);
    image->bytes = align(image->bytes + from->count * from->size);
}

static struct plan_gather table_of(const struct plan_matrix *m)
{
    return (struct plan_gather){.file_off = m->file_off,
                                .rows = m->rows,
                                .row_bytes = m->row_bytes,
                                .file = m->file,
                                .unit_rows = m->unit_rows,
                                .unit0 = m->unit_rows ? m->unit0 : 0};
}

static struct plan_shm *assemble(const struct plan_shm *program, const struct tiling *c, const struct plan_run *r,
                                 struct error *e)
{
    uint64_t bytes = image_bytes(program, c);
    struct plan_shm *image = calloc(1, bytes);
    uint32_t beside;

    if (!image) {
        error_set(e, ENOMEM, "no memory for a plan of %llu bytes", (unsigned long long)bytes);
        return NULL;
    }
    memcpy(image, program, program->bytes);
    image->bytes = align(program->bytes);
    append(image, &image->parts, &c->parts);
    append(image, &image->tiles, &c->tiles);
    append(image, &image->expert_tiles, &c->expert_tiles);
    image->spec.sweep_tiles = c->sweep_count;
    image->spec.resident_tiles = c->resident_count;
    image->spec.demand_tiles = c->expert_count;
    image->run = *r;
    image->gather = table_of(&plan_matrices(image)[image->spec.embed_matrix]);
    beside = plan_beside_matrix(image);
    if (beside != PLAN_NONE) image->beside = table_of(&plan_matrices(image)[beside]);
    return image;
}

static int build(struct plan_shm **out, uint64_t *bytes, const struct plan_shm *program, const struct plan_settings *s,
                 struct error *e)
{
    struct plan_run run;
    struct tiling cut = {0};
    struct plan_shm *image = NULL;
    int rc = program_check(program, program->bytes, e);

    *out = NULL;
    if (!rc) rc = placement_settle(&run, program, s, e);
    if (!rc) rc = tiling_cut(&cut, program, run.slot_bytes, e);
    if (!rc) rc = placement_pin(&cut, &run, program, s, image_bytes(program, &cut), e);
    if (!rc) {
        image = assemble(program, &cut, &run, e);
        if (!image) rc = -ENOMEM;
    }
    tiling_free(&cut);
    if (!rc) rc = plan_check(image, image->bytes, e);
    if (rc) {
        free(image);
        return rc;
    }
    *bytes = image->bytes;
    *out = image;
    return 0;
}

void plan_settings_to_processor(struct plan_settings *s)
{
    s->backend = BACKEND_CPU;
    if (s->host_alone) s->host_memory = s->host_alone;
    s->host_alone = 0;
    s->device_unified = false;
}

int plan_build(struct plan_shm **out, uint64_t *bytes, const struct plan_shm *program, const struct plan_settings *s,
               struct error *e)
{
    struct plan_settings processor = *s;
    struct error why;
    int rc;

    rc = build(out, bytes, program, s, &why);

    if (rc == -ENOMEM && s->backend == BACKEND_CUDA && s->backend_auto && !s->device_memory_given) {
        plan_settings_to_processor(&processor);
        rc = build(out, bytes, program, &processor, e);
        if (!rc) log_info("the processor computes: %s", why.text);
        return rc;
    }
    if (rc) *e = why;
    return rc;
}

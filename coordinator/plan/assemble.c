#include "coordinator/plan/assemble.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/plan/placement.h"
#include "coordinator/plan/plan.h"
#include "proto/base/log.h"

#define TABLES 13

/* Where each table comes from and where its place is noted. */
static void list_tables(const struct program *p, const struct tiling *c, struct plan_shm *out,
                        const struct program_table *from[TABLES], struct plan_table *to[TABLES])
{
    const struct program_table *f[TABLES] = {&p->files,   &p->matrices, &p->vectors, &p->buffers, &p->ops,
                                             &c->parts,   &c->tiles,    &p->experts, &p->ropes,   &p->caches,
                                             &p->states,  &p->constants, &p->strings};
    struct plan_table *t[TABLES] = {&out->files,   &out->matrices,  &out->vectors, &out->buffers, &out->ops,
                                    &out->parts,   &out->tiles,     &out->experts, &out->ropes,   &out->caches,
                                    &out->states,  &out->constants, &out->strings};

    memcpy(from, f, sizeof f);
    memcpy(to, t, sizeof t);
}

static uint64_t align64(uint64_t x)
{
    return (x + 63) / 64 * 64;
}

/* Places the tables; returns the bytes of all. */
static uint64_t place_tables(const struct program *p, const struct tiling *c, struct plan_shm *head)
{
    const struct program_table *from[TABLES];
    struct plan_table *to[TABLES];
    uint64_t at = align64(sizeof *head);

    list_tables(p, c, head, from, to);
    for (int i = 0; i < TABLES; i++) {
        to[i]->offset = at;
        to[i]->count = from[i]->count;
        at = align64(at + from[i]->count * from[i]->size);
    }
    return at;
}

uint64_t assemble_bytes(const struct program *p, const struct tiling *c)
{
    struct plan_shm head;

    return place_tables(p, c, &head);
}

struct plan_shm *assemble(const struct program *p, const struct tiling *c, const struct plan_run *r, struct error *e)
{
    uint64_t bytes = assemble_bytes(p, c);
    struct plan_shm *out = calloc(1, bytes);
    const struct program_table *from[TABLES];
    struct plan_table *to[TABLES];

    if (!out) {
        error_set(e, ENOMEM, "no memory for a plan of %llu bytes", (unsigned long long)bytes);
        return NULL;
    }
    place_tables(p, c, out);
    list_tables(p, c, out, from, to);
    for (int i = 0; i < TABLES; i++)
        if (from[i]->count) memcpy((char *)out + to[i]->offset, from[i]->data, from[i]->count * from[i]->size);
    out->magic = PLAN_MAGIC;
    out->version = PLAN_VERSION;
    out->bytes = bytes;
    out->spec = p->spec;
    out->run = *r;
    return out;
}

static int build(struct plan_shm **out, uint64_t *bytes, struct program *p, const struct plan_settings *s, struct error *e)
{
    struct plan_run run;
    struct tiling cut = {0};
    struct plan_shm *image = NULL;
    int rc = program_done(p, e);

    *out = NULL;
    if (!rc) rc = tiling_check(p, e);
    if (!rc) rc = placement_settle(&run, p, s, e);
    if (!rc) rc = tiling_program(&cut, p, run.slot_bytes, e);
    if (!rc) rc = placement_pin(&cut, &run, p, s, assemble_bytes(p, &cut), e);
    if (!rc) {
        image = assemble(p, &cut, &run, e);
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

int plan_build(struct plan_shm **out, uint64_t *bytes, struct program *p, const struct plan_settings *s, struct error *e)
{
    struct plan_settings processor = *s;
    struct error why;
    int rc = build(out, bytes, p, s, &why);

    if (rc == -ENOMEM && s->backend == BACKEND_CUDA && s->backend_auto && !s->device_memory_given) {
        processor.backend = BACKEND_CPU;
        rc = build(out, bytes, p, &processor, e);
        if (!rc) log_info("the processor computes: %s", why.text);
        return rc;
    }
    if (rc) *e = why;
    return rc;
}

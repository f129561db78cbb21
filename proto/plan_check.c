#include "proto/check.h"

#include <errno.h>
#include <string.h>

/* What the stages allocate from this must not overflow. */
static int check_sizes(const struct plan_shm *p, struct error *e)
{
    uint64_t kv = 0, state = 0, width = 0;

    for (uint64_t i = 0; i < p->buffers.count; i++) width += plan_buffers(p)[i];
    for (uint64_t i = 0; i < p->ropes.count; i++) width += plan_ropes(p)[i].dim;
    for (uint64_t i = 0; i < p->caches.count; i++)
        kv += (uint64_t)plan_caches(p)[i].k_width + plan_caches(p)[i].v_width;
    for (uint64_t i = 0; i < p->states.count; i++) state += plan_states(p)[i].floats;
    if (!check_fits(0, kv, 4ull * p->run.kv_rows, CHECK_BYTES) ||
        !check_fits(0, state, 4ull * plan_states_kept(&p->run), CHECK_BYTES) ||
        !check_fits(0, width, 4ull * p->run.max_positions, CHECK_BYTES))
        CHECK_FAIL("%u cached positions, %u in a sweep and %u sequences need more memory than there is", p->run.kv_rows,
                   p->run.max_positions, p->run.sequences);
    return 0;
}

static bool is_table(const struct plan_gather *t, const struct plan_matrix *m)
{
    return t->file == m->file && t->file_off == m->file_off && t->rows == m->rows && t->row_bytes == m->row_bytes &&
           t->unit_rows == m->unit_rows && t->unit0 == (m->unit_rows ? m->unit0 : 0);
}

/* The tables that rows are read from are the embedding and what stands beside it; the program's check has seen what those
 * are. */
static int check_gather(const struct plan_shm *p, struct error *e)
{
    uint32_t beside = plan_beside_matrix(p);
    const struct plan_gather *t = &p->gather, none = {0};

    if (!is_table(t, &plan_matrices(p)[p->spec.embed_matrix]))
        CHECK_FAIL("rows are not gathered from the embedding, matrix %u", p->spec.embed_matrix);
    if (beside == PLAN_NONE ? memcmp(&p->beside, &none, sizeof none) != 0
                            : !is_table(&p->beside, &plan_matrices(p)[beside]))
        CHECK_FAIL("rows beside the embedding's are not gathered from matrix %u", beside);
    if (plan_row_stride(p) > p->run.row_slot_bytes || t->rows > UINT32_MAX / 2)
        CHECK_FAIL("%llu rows of %llu bytes, slots for rows have %llu", ULL(t->rows), ULL(plan_row_stride(p)),
                   ULL(p->run.row_slot_bytes));
    return 0;
}

int plan_check(const struct plan_shm *p, uint64_t map_bytes, struct error *e)
{
    int rc = program_check(p, map_bytes, e);

    if (!rc) rc = check_config(&p->run, e);
    if (!rc) rc = check_sizes(p, e);
    if (!rc) rc = check_gather(p, e);
    if (!rc) rc = check_tiles(p, e);
    return rc;
}

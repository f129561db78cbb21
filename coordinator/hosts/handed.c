#include "coordinator/hosts/handed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/hosts/extents.h"

static void mark(const struct handed *l, uint8_t *map, const struct extent *x, int value)
{
    uint8_t *at = map + l->start[x->view.buf] + x->view.col;

    for (uint64_t i = 0; i < x->count; i++) memset(at + i * x->stride, value, x->width);
}

/* From the end: what an operation reads is wanted before it, what it writes is not. */
static int find_wanted(struct handed *l, const bool *cut)
{
    uint64_t columns = l->start[l->plan->buffers.count];

    for (uint64_t i = l->plan->ops.count; i-- > 0;) {
        struct extents x;

        extents_of(&x, l->plan, &plan_ops(l->plan)[i]);
        for (uint32_t k = 0; k < x.writes; k++) mark(l, l->wanted, &x.write[k], 0);
        for (uint32_t k = 0; k < x.reads; k++) mark(l, l->wanted, &x.read[k], 1);
        if (!cut[i]) continue;
        if (!(l->at[i] = malloc(columns))) return -ENOMEM;
        memcpy(l->at[i], l->wanted, columns);
    }
    return 0;
}

int handed_open(struct handed *l, const struct plan_shm *p, const bool *cut, struct error *e)
{
    uint64_t columns = 0, buffers = p->buffers.count;

    *l = (struct handed){
        .plan = p, .start = calloc(buffers + 1, sizeof *l->start), .at = calloc(p->ops.count + 1, sizeof *l->at)};
    for (uint64_t b = 0; l->start && b < buffers; b++) l->start[b + 1] = columns += plan_buffers(p)[b];
    l->written = calloc(columns + 1, 1);
    l->wanted = calloc(columns + 1, 1);
    if (!l->start || !l->at || !l->written || !l->wanted || find_wanted(l, cut))
        return error_set(e, ENOMEM, "no memory to find out what machines hand on");
    return 0;
}

void handed_close(struct handed *l)
{
    for (uint64_t i = 0; l->at && i < l->plan->ops.count; i++) free(l->at[i]);
    free(l->start);
    free(l->at);
    free(l->written);
    free(l->wanted);
    *l = (struct handed){.plan = l->plan};
}

int handed_each(struct handed *l, uint64_t op, int (*piece)(void *arg, struct plan_view x, uint32_t width), void *arg)
{
    int rc = 0;

    for (; l->next < op; l->next++) {
        struct extents x;

        extents_of(&x, l->plan, &plan_ops(l->plan)[l->next]);
        for (uint32_t k = 0; k < x.writes; k++) mark(l, l->written, &x.write[k], 1);
    }
    for (uint64_t b = 0; b < l->plan->buffers.count && !rc; b++) {
        uint64_t n = plan_buffers(l->plan)[b], from = 0;
        const uint8_t *wanted = l->at[op] + l->start[b], *written = l->written + l->start[b];

        for (uint64_t c = 0; c <= n && !rc; c++) {
            if (c < n && wanted[c] && written[c]) continue;
            if (c > from)
                rc = piece(arg, (struct plan_view){.buf = (uint16_t)b, .col = (uint32_t)from}, (uint32_t)(c - from));
            from = c + 1;
        }
    }
    return rc;
}

#include "coordinator/engine/embedding.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rows.h"

int embedding_open(struct embedding *g, const struct plan_shm *plan, struct error *e)
{
    uint32_t n = plan->run.max_positions, capacity = rows_capacity(n);

    *g = (struct embedding){.plan = plan, .mask = capacity - 1};
    g->last = calloc(plan->gather.rows + 1, sizeof *g->last);
    g->row = calloc(capacity, sizeof *g->row);
    g->batch = calloc(n, sizeof *g->batch);
    g->order = calloc(n, sizeof *g->order);
    if (g->last && g->row && g->batch && g->order) return 0;
    embedding_close(g);
    return error_set(e, ENOMEM, "no memory for the orders of sweeps of %u positions", n);
}

void embedding_close(struct embedding *g)
{
    free(g->last);
    free(g->row);
    free(g->batch);
    free(g->order);
    *g = (struct embedding){0};
}

void embedding_begin(struct embedding *g, struct epoch_shm *run)
{
    g->run = run;
    g->keep = g->first = g->end = 0;
}

/* The number of a row in the next sweep; one that has none gets the next one and joins the batch. What `last` says may be of
 * a sweep or an epoch long ago: it is believed only where the row of that number is this one. */
static uint64_t number_of(struct embedding *g, uint32_t row)
{
    uint32_t age = (uint32_t)g->end - g->last[row];

    if (age && age <= g->end - g->first && g->row[(g->end - age) & g->mask] == row) return g->end - age;
    g->last[row] = (uint32_t)g->end;
    g->row[g->end & g->mask] = row;
    g->batch[g->count++] = row;
    return g->end++;
}

/* The batch goes to the reader. */
static int list(struct embedding *g, struct error *e)
{
    uint32_t n = g->count;

    g->count = 0;
    if (!n || !rows_list(g->run, g->keep, g->batch, n)) return 0;
    g->end -= n;
    return error_set(e, EPROTO, "%u rows of the embedding are more than the list of %u takes now", n, g->mask + 1);
}

void embedding_announce(struct embedding *g, const uint32_t *token, uint32_t n)
{
    uint32_t most = g->plan->run.max_positions;
    struct error ignored;

    if (!g->run || !plan_embeds(g->plan)) return;
    for (uint32_t i = 0; i < n && g->end - g->first < most && token[i] < g->plan->gather.rows; i++)
        number_of(g, token[i]);
    list(g, &ignored);
}

int embedding_order(struct embedding *g, const struct sweep_position *s, uint32_t n, struct control_message *m,
                    struct error *e)
{
    int rc;

    if (!n || n > g->plan->run.max_positions)
        return error_set(e, EINVAL, "a sweep of %u positions, the plan allows %u", n, g->plan->run.max_positions);
    for (uint32_t i = 0; i < n; i++) {
        if (s[i].token >= g->plan->gather.rows)
            return error_set(e, EINVAL, "token %u is outside of the vocabulary", s[i].token);
    }
    m->sweep.count = n;
    m->sweep.position = g->order;
    memcpy(g->order, s, n * sizeof *s);
    if (!plan_embeds(g->plan)) return 0; /* another machine looks up the rows */
    for (uint32_t i = 0; i < n; i++) {
        g->order[i].gather = (uint32_t)(number_of(g, s[i].token) - g->first);
    }
    if ((rc = list(g, e))) return rc;
    m->sweep.first_row = g->first;
    m->sweep.rows = (uint32_t)(g->end - g->first);
    return 0;
}

void embedding_started(struct embedding *g)
{
    g->first = g->end;
}

void embedding_swept(struct embedding *g)
{
    g->keep = g->first;
}

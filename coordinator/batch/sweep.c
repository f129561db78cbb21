#include "coordinator/batch/sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A guess whose way from the root leads through more pieces of the cache is not worth the steps that it costs. */
#define TURNS_MOST 8u

int sweep_open(struct sweep *s, uint32_t most, uint32_t most_rows, struct error *e)
{
    *s = (struct sweep){.most = most, .most_rows = most_rows};
    s->position = calloc(most, sizeof *s->position);
    s->span = calloc(most, sizeof *s->span);
    s->row = calloc(most_rows, sizeof *s->row);
    if (s->position && s->span && s->row) return 0;
    sweep_close(s);
    return error_set(e, ENOMEM, "no memory for sweeps of %u positions", most);
}

void sweep_close(struct sweep *s)
{
    free(s->position);
    free(s->span);
    free(s->row);
    free(s->spare);
    *s = (struct sweep){0};
}

int sweep_spare(struct sweep *s, struct kv_rows *k, uint32_t rows, struct error *e)
{
    uint32_t block = KV_NONE;

    if (!rows) return 0;
    if (!(s->spare = calloc(rows, sizeof *s->spare))) return error_set(e, ENOMEM, "no memory for %u guesses", rows);
    while (s->spares < rows) {
        if ((block = kv_rows_take(k, block)) == KV_NONE)
            return error_set(e, ENOMEM, "the KV cache has no room for %u guesses", rows);
        for (uint32_t i = 0; i < kv_rows_size(k, block) && s->spares < rows; i++)
            s->spare[s->spares++] = kv_rows_first(k, block) + i;
    }
    return 0;
}

static struct sweep_position position_of(const struct sequence *q, uint32_t i)
{
    return (struct sweep_position){.token = sequence_tokens(q)[i],
                                   .sequence = sequence_number(q),
                                   .position = i,
                                   .row = sequence_row(q, i),
                                   .parent = i ? sequence_row(q, i - 1) : ROW_NONE};
}

/* As many of the positions as there is room for, up to most, and as many rows of logits. False: not one. */
static bool add(struct sweep *s, struct sequence *q, struct sequence_work w, uint32_t most)
{
    uint32_t n = 0;

    if (most > s->most - s->positions) most = s->most - s->positions;
    if (most > w.count) most = w.count;
    for (; n < most; n++) {
        struct sweep_position *p = &s->position[s->positions];
        bool wanted = sequence_wants(q, w.from + n);

        if (wanted && s->rows == s->most_rows) break;
        *p = position_of(q, w.from + n);
        if (wanted) {
            p->flags = POSITION_LOGITS;
            s->row[s->rows++] = (struct sweep_row){.sequence = q,
                                                   .position = w.from + n,
                                                   .root = w.decode,
                                                   .at = s->positions,
                                                   .row = p->row,
                                                   .parent = SWEEP_NONE,
                                                   .kin = SWEEP_NONE,
                                                   .next = SWEEP_NONE};
        }
        s->positions++;
    }
    if (!n) return false;
    sequence_sweep_begin(q, w.from, n);
    s->span[s->spans++] = (struct sweep_span){q, w.from, n};
    if (w.decode) s->decodes += n;
    return true;
}

static void empty(struct sweep *s)
{
    s->positions = s->spans = s->rows = s->decodes = s->guesses = s->spared = 0;
}

void sweep_build(struct sweep *s, struct sequence *const *list, uint32_t n, uint32_t *turn)
{
    uint32_t readers = 0, first = n ? *turn % n : 0, next = first + 1;
    bool waits = false; /* somebody: comes first in the next sweep */

    empty(s);
    for (uint32_t i = 0; i < n; i++) {
        struct sequence *q = list[(first + i) % n];
        struct sequence_work w = sequence_work(q);

        if (w.count > 1 && !w.decode) readers++;
        if ((w.count != 1 && !w.decode) || !w.count || add(s, q, w, w.count) || waits) continue;
        waits = true;
        next = first + i;
    }
    for (uint32_t i = 0; i < n && readers; i++) {
        struct sequence *q = list[(first + i) % n];
        struct sequence_work w = sequence_work(q);

        if (w.count <= 1 || w.decode) continue;
        if (!add(s, q, w, (s->most - s->positions + readers - 1) / readers) && !waits) {
            waits = true;
            next = first + i;
        }
        readers--;
    }
    *turn = n ? next % n : 0;
}

bool sweep_guess(struct sweep *s, uint32_t parent, uint32_t token, uint32_t *row)
{
    struct sweep_row *p = &s->row[parent], *g = &s->row[s->rows];
    uint32_t position = p->position + 1;
    bool own = (p->own || p->root) && !p->heir;

    if (s->chains && !own) return false;
    if (s->positions == s->most || s->rows == s->most_rows || (!own && s->spared == s->spares)) return false;
    *g = (struct sweep_row){.sequence = p->sequence,
                            .position = position,
                            .parent = parent,
                            .token = token,
                            .at = s->positions,
                            .own = own,
                            .kin = SWEEP_NONE,
                            .next = p->kin,
                            .row = own ? sequence_row_ahead(p->sequence, position) : s->spare[s->spared]};
    g->turns = p->turns + (g->row != p->row + 1);
    if (g->turns > TURNS_MOST) return false;
    if (s->chains && p->root) s->position[p->at].flags |= POSITION_KEEP;
    if (own)
        p->heir = true;
    else
        s->spared++;
    s->position[s->positions++] = (struct sweep_position){.token = token,
                                                          .sequence = sequence_number(p->sequence),
                                                          .position = position,
                                                          .row = g->row,
                                                          .parent = p->row,
                                                          .flags = POSITION_LOGITS};
    s->guesses++;
    s->decodes++;
    *row = p->kin = s->rows++;
    return true;
}

uint32_t sweep_child(const struct sweep *s, uint32_t parent, uint32_t token)
{
    uint32_t i = s->row[parent].kin;

    while (i != SWEEP_NONE && s->row[i].token != token) i = s->row[i].next;
    return i;
}

void sweep_replay(struct sweep *s, const struct sequence *q, uint32_t from, uint32_t count)
{
    empty(s);
    for (uint32_t i = 0; i < count && i < s->most; i++) s->position[s->positions++] = position_of(q, from + i);
}

void sweep_end(struct sweep *s, bool done)
{
    for (uint32_t i = 0; i < s->spans; i++)
        sequence_sweep_end(s->span[i].sequence, s->span[i].from, s->span[i].count, done);
    s->spans = 0;
}

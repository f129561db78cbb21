#include "coordinator/batch/sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
    *s = (struct sweep){0};
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
            s->row[s->rows++] = (struct sweep_row){q, w.from + n};
        }
        s->positions++;
    }
    if (!n) return false;
    sequence_sweep_begin(q, w.from, n);
    s->span[s->spans++] = (struct sweep_span){q, w.from, n};
    if (w.decode) s->decodes++;
    return true;
}

void sweep_build(struct sweep *s, struct sequence *const *list, uint32_t n, uint32_t *turn)
{
    uint32_t readers = 0, first = n ? *turn % n : 0, next = first + 1;
    bool waits = false; /* somebody: comes first in the next sweep */

    s->positions = s->spans = s->rows = s->decodes = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct sequence *q = list[(first + i) % n];
        struct sequence_work w = sequence_work(q);

        if (w.count > 1) readers++;
        if (w.count != 1 || add(s, q, w, 1) || waits) continue;
        waits = true;
        next = first + i;
    }
    for (uint32_t i = 0; i < n && readers; i++) {
        struct sequence *q = list[(first + i) % n];
        struct sequence_work w = sequence_work(q);

        if (w.count <= 1) continue;
        if (!add(s, q, w, (s->most - s->positions + readers - 1) / readers) && !waits) {
            waits = true;
            next = first + i;
        }
        readers--;
    }
    *turn = n ? next % n : 0;
}

void sweep_replay(struct sweep *s, const struct sequence *q, uint32_t from, uint32_t count)
{
    s->positions = s->spans = s->rows = s->decodes = 0;
    for (uint32_t i = 0; i < count && i < s->most; i++) s->position[s->positions++] = position_of(q, from + i);
}

void sweep_end(struct sweep *s, bool done)
{
    for (uint32_t i = 0; i < s->spans; i++)
        sequence_sweep_end(s->span[i].sequence, s->span[i].from, s->span[i].count, done);
    s->spans = 0;
}

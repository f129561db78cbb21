#include "compute/positions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void cut_host(struct positions *p)
{
    const struct footprint_positions *f = &p->footprint;
    uint8_t *host = p->host;

    p->rows = (struct kv_row *)(void *)(host + f->rows);
    p->runs = (struct ops_run *)(void *)(host + f->runs);
    p->token = (uint32_t *)(void *)(host + f->token);
    p->row = (uint32_t *)(void *)(host + f->row);
    p->position = (uint32_t *)(void *)(host + f->position);
    p->first = (uint32_t *)(void *)(host + f->first);
    p->select = (uint32_t *)(void *)(host + f->select);
    p->gather = (uint32_t *)(void *)(host + f->gather);
    p->from = (uint32_t *)(void *)(host + f->from);
    p->to = (uint32_t *)(void *)(host + f->to);
    if (!p->plan->states.count) return;
    p->state_of_row = (uint32_t *)(void *)(host + f->state_of_row);
    p->row_of_state = (uint32_t *)(void *)(host + f->row_of_state);
    p->state_used = (uint64_t *)(void *)(host + f->state_used);
    p->state_sequence = (uint32_t *)(void *)(host + f->state_sequence);
    memset(p->state_of_row, 0xff, p->plan->run.kv_rows * sizeof *p->state_of_row);
    memset(p->row_of_state, 0xff, plan_states_kept(&p->plan->run) * sizeof *p->row_of_state);
}

static void cut_device(struct positions *p)
{
    const struct footprint_positions *f = &p->footprint;

    p->d_row = (uint32_t *)(void *)(p->device + f->d_row);
    p->d_position = (uint32_t *)(void *)(p->device + f->d_position);
    p->d_first = (uint32_t *)(void *)(p->device + f->d_first);
    p->d_select = (uint32_t *)(void *)(p->device + f->d_select);
    p->d_gather = (uint32_t *)(void *)(p->device + f->d_gather);
    p->d_runs = (struct ops_run *)(void *)(p->device + f->d_runs);
}

int positions_open(struct positions *p, const struct plan_shm *plan, struct ops *ops, struct error *e)
{
    *p = (struct positions){.plan = plan, .ops = ops};
    footprint_positions(&p->footprint, plan, &plan->run);
    p->host = calloc(1, p->footprint.host_bytes);
    if (!p->host)
        return error_set(e, ENOMEM,
                         "no memory for the tables of %u positions and %u cache rows; lower --context or --chunk",
                         plan->run.max_positions, plan->run.kv_rows);
    cut_host(p);
    p->device = ops_alloc(ops, p->footprint.device_bytes, e);
    if (!p->device) return error_prefix(e, "tables of %u positions", plan->run.max_positions);
    cut_device(p);
    return 0;
}

void positions_close(struct positions *p)
{
    free(p->host);
    if (p->ops) ops_free(p->ops, p->device, p->footprint.device_bytes);
    *p = (struct positions){0};
}

/* Is the row still in the run that it was written to? */
static bool in_run(const struct positions *p, uint32_t row)
{
    const struct kv_row *r = &p->rows[row];

    return r->written && row - r->run < p->rows[r->run].length;
}

/* The row begins a run of its own, or goes on with its parent's where it lies behind it. */
static void write_row(struct positions *p, const struct sweep_position *s)
{
    struct kv_row *row = &p->rows[s->row];
    bool follows = s->parent != ROW_NONE && s->parent + 1 == s->row;

    if (in_run(p, s->row)) p->rows[row->run].length = s->row - row->run; /* what came behind it is lost */
    *row = (struct kv_row){.parent = s->parent, .position = s->position, .run = s->row, .written = ++p->writes};
    if (s->parent != ROW_NONE) row->parent_written = p->rows[s->parent].written;
    if (follows && in_run(p, s->parent)) row->run = p->rows[s->parent].run;
    p->rows[row->run].length = s->row - row->run + 1;
}

/* One position's fields, and its position in the chain of rows. */
static int link_row(struct positions *p, const struct sweep_position *s, struct error *e)
{
    const struct kv_row *parent = NULL;

    if (s->token >= p->plan->spec.vocab) return error_set(e, EPROTO, "token %u is outside of the vocabulary", s->token);
    if (s->row >= p->plan->run.kv_rows) return error_set(e, EPROTO, "cache row %u is outside of the cache", s->row);
    if (s->parent != ROW_NONE) {
        if (s->parent >= p->plan->run.kv_rows || s->parent == s->row)
            return error_set(e, EPROTO, "parent row %u", s->parent);
        parent = &p->rows[s->parent];
        if (!parent->written) return error_set(e, EPROTO, "parent row %u was never written", s->parent);
    }
    if (s->position != (parent ? parent->position + 1 : 0))
        return error_set(e, EPROTO, "position %u does not follow its parent", s->position);
    write_row(p, s);
    return 0;
}

static int push_run(struct positions *p, uint64_t at, struct ops_run run, struct error *e)
{
    if (at == p->footprint.runs_most)
        return error_set(e, EPROTO, "the cache rows of this sweep lie in more than %llu pieces",
                         (unsigned long long)at);
    p->runs[at] = run;
    return 0;
}

/* The runs of one position, from its first ancestor to itself. Appended from *count on. written: the write of row that
 * is meant. All rows of the sweep are written by now, so that none of them is taken for what another one has put
 * there. */
static int list_runs(struct positions *p, uint32_t row, uint64_t written, uint64_t *count, struct error *e)
{
    uint64_t start = *count, at = start;
    int rc;

    while (row != ROW_NONE) {
        uint32_t head = p->rows[row].run;

        if (p->rows[row].written != written || !in_run(p, row))
            return error_set(e, EPROTO, "cache row %u, or one before it, was overwritten while it was still in use",
                             row);
        if ((rc = push_run(p, at, (struct ops_run){head, row - head + 1}, e))) return rc;
        at++;
        row = p->rows[head].parent;
        written = p->rows[head].parent_written;
    }
    for (uint64_t i = start, j = at - 1; i < j; i++, j--) {
        struct ops_run t = p->runs[i];
        p->runs[i] = p->runs[j];
        p->runs[j] = t;
    }
    *count = at;
    return 0;
}

/* Position i's parent as one of this sweep, whose first write of a row has the number `before` + 1; UINT32_MAX: it is
 * older. */
static uint32_t parent_here(const struct positions *p, uint32_t parent, uint64_t before)
{
    uint64_t written = p->rows[parent].written;

    return written > before ? (uint32_t)(written - before - 1) : UINT32_MAX;
}

/* Which positions leave their parent's state to a later one, or as it is to be kept: to[i], true or false until it gets
 * its slot. What this sweep continues is marked as used, so that it is not given away by it. */
static void mark_states(struct positions *p, const struct sweep_position *s, uint64_t before, uint64_t used)
{
    for (uint32_t i = 0; i < p->n; i++) p->from[i] = p->to[i] = false; /* from[i]: a later one's parent is position i */
    for (uint32_t i = p->n; i-- > 0;) {
        uint32_t here = s[i].parent == ROW_NONE ? UINT32_MAX : parent_here(p, s[i].parent, before), slot;

        if (here != UINT32_MAX) {
            p->to[i] = p->from[here] || (s[here].flags & POSITION_KEEP);
            p->from[here] = true;
        } else if (s[i].parent != ROW_NONE && (slot = p->state_of_row[s[i].parent]) != UINT32_MAX) {
            p->to[i] = p->state_used[slot] == used;
            p->state_used[slot] = used;
        }
    }
}

/* One of the same sequence, else a free one, else the one not used for longest, never one of this sweep; UINT32_MAX:
 * there is none. So a sequence that goes on from one state, and from a copy of it, has two slots and takes nobody
 * else's. */
static uint32_t take_slot(const struct positions *p, uint32_t sequence, uint64_t used)
{
    uint32_t unused = UINT32_MAX, oldest = UINT32_MAX;

    for (uint32_t j = 0; j < plan_states_kept(&p->plan->run); j++) {
        bool empty = p->row_of_state[j] == ROW_NONE;

        if (empty && unused == UINT32_MAX) unused = j;
        if (empty || p->state_used[j] == used) continue;
        if (p->state_sequence[j] == sequence) return j;
        if (oldest == UINT32_MAX || p->state_used[j] < p->state_used[oldest]) oldest = j;
    }
    return unused != UINT32_MAX ? unused : oldest;
}

/* A slot for the state after each row: its parent's, if nobody later in this sweep needs that, else another one. */
static int place_states(struct positions *p, const struct sweep_position *s, uint64_t before, uint64_t sweep,
                        struct error *e)
{
    mark_states(p, s, before, sweep + 1);
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t parent = s[i].parent, slot = UINT32_MAX;
        bool wanted = p->to[i];

        p->from[i] = UINT32_MAX;
        if (parent != ROW_NONE) {
            p->from[i] = p->state_of_row[parent];
            if (p->from[i] == UINT32_MAX) return error_set(e, EPROTO, "the state after cache row %u is gone", parent);
            if (!wanted) slot = p->from[i];
        }
        if (p->state_of_row[s[i].row] != UINT32_MAX) p->row_of_state[p->state_of_row[s[i].row]] = ROW_NONE;
        if (slot == UINT32_MAX && (slot = take_slot(p, s[i].sequence, sweep + 1)) == UINT32_MAX)
            return error_set(e, ENOSPC, "%u recurrent states are kept, this sweep needs more",
                             plan_states_kept(&p->plan->run));
        if (p->row_of_state[slot] != ROW_NONE) p->state_of_row[p->row_of_state[slot]] = UINT32_MAX;
        p->row_of_state[slot] = s[i].row;
        p->state_of_row[s[i].row] = slot;
        p->state_used[slot] = sweep + 1;
        p->state_sequence[slot] = s[i].sequence;
        p->to[i] = slot;
    }
    return 0;
}

int positions_set(struct positions *p, const struct sweep_position *s, uint32_t n, uint64_t sweep, struct error *e)
{
    uint64_t runs = 0, before = p->writes;
    int rc;

    if (!n || n > p->plan->run.max_positions)
        return error_set(e, EPROTO, "a sweep of %u positions, the plan allows %u", n, p->plan->run.max_positions);
    p->n = n;
    p->logits = 0;
    p->max_position = 0;
    for (uint32_t i = 0; i < n; i++)
        if ((rc = link_row(p, &s[i], e))) return rc;
    for (uint32_t i = 0; i < n; i++) {
        p->token[i] = s[i].token;
        p->gather[i] = s[i].gather;
        p->row[i] = s[i].row;
        p->position[i] = s[i].position;
        if (s[i].position > p->max_position) p->max_position = s[i].position;
        if (s[i].flags & POSITION_LOGITS) p->select[p->logits++] = i;
        p->first[i] = (uint32_t)runs;
        if ((rc = list_runs(p, s[i].row, before + 1 + i, &runs, e))) return rc;
    }
    p->first[n] = (uint32_t)runs;
    if (p->logits > p->plan->run.max_logits)
        return error_set(e, EPROTO, "%u positions want logits, the plan allows %u", p->logits, p->plan->run.max_logits);
    if (p->state_of_row && (rc = place_states(p, s, before, sweep, e))) return rc;
    ops_upload(p->ops, p->d_row, p->row, n * 4);
    ops_upload(p->ops, p->d_position, p->position, n * 4);
    ops_upload(p->ops, p->d_gather, p->gather, n * 4);
    ops_upload(p->ops, p->d_first, p->first, (n + 1) * 4ull);
    ops_upload(p->ops, p->d_runs, p->runs, runs * sizeof *p->runs);
    if (p->logits) ops_upload(p->ops, p->d_select, p->select, p->logits * 4ull);
    return 0;
}

struct ops_rows positions_rows(const struct positions *p)
{
    return (struct ops_rows){.row = p->d_row,
                             .position = p->d_position,
                             .first = p->d_first,
                             .runs = p->d_runs,
                             .n = p->n,
                             .max_position = p->max_position};
}

#include "coordinator/grammar/mask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/program.h"

#define MASKS 24 /* kept: some 20 KB each for 150,000 tokens */

struct mask {
    uint32_t state; /* GRAMMAR_NONE: free */
    uint64_t used;  /* when, by the clock of calls */
    uint64_t *bits;
};

struct grammar_masks {
    const struct grammar_vocabulary *v;
    uint32_t *end;
    size_t ends, words;
    struct mask mask[MASKS];
    uint64_t clock, work;
};

int grammar_masks_open(struct grammar_masks **out, const struct grammar_vocabulary *v, const uint32_t *ends, size_t n,
                       struct error *e)
{
    struct grammar_masks *m = calloc(1, sizeof *m);

    if (m) {
        m->v = v;
        m->words = ((size_t)v->vocab + 63) / 64;
        m->end = malloc((n + 1) * sizeof *m->end);
        grammar_masks_forget(m);
    }
    if (!m || !m->end) {
        grammar_masks_close(m);
        return error_set(e, ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < n; i++)
        if (ends[i] < v->vocab) m->end[m->ends++] = ends[i];
    *out = m;
    return 0;
}

void grammar_masks_close(struct grammar_masks *m)
{
    if (!m) return;
    for (int i = 0; i < MASKS; i++) free(m->mask[i].bits);
    free(m->end);
    free(m);
}

void grammar_masks_forget(struct grammar_masks *m)
{
    for (int i = 0; i < MASKS; i++) m->mask[i].state = GRAMMAR_NONE;
}

bool grammar_is_end(const struct grammar_masks *m, uint32_t token)
{
    for (size_t i = 0; i < m->ends; i++)
        if (m->end[i] == token) return true;
    return false;
}

uint64_t grammar_masks_work(const struct grammar_masks *m)
{
    return m->work;
}

static void allow(uint64_t *bits, uint32_t token)
{
    bits[token / 64] |= UINT64_C(1) << token % 64;
}

/* In most of its steps a walk stays in one state, so that its known steps are looked up once. */
static int walk(struct grammar_masks *m, struct grammar_states *s, uint32_t state, uint64_t *bits)
{
    const struct grammar_vocabulary *v = m->v;
    const uint32_t *steps[257], *last = grammar_known_steps(s, state);
    uint32_t at[257], last_state = state; /* the state before each byte of the way down */
    uint64_t work = 0;
    int rc = 0;

    grammar_begin_work(s);
    at[0] = state;
    steps[0] = last;
    if (!last) return -ENOMEM;
    for (size_t i = 0; i < v->nodes;) {
        const struct vocabulary_node *n = &v->node[i];
        uint32_t to = steps[n->depth][n->byte];

        work++;
        if (!to) to = grammar_step(s, at[n->depth], n->byte, &rc) + 1;
        if (rc) break;
        if (--to == GRAMMAR_DEAD) {
            i = n->end;
            continue;
        }
        if (to != last_state) {
            if (!(last = grammar_known_steps(s, to))) return -ENOMEM;
            last_state = to;
        }
        at[n->depth + 1] = to;
        steps[n->depth + 1] = last;
        if (n->token != GRAMMAR_NONE) allow(bits, n->token);
        for (uint32_t t = n->token; n->more && (t = v->next[t]) != GRAMMAR_NONE;) allow(bits, t);
        i++;
    }
    m->work += work;
    return rc;
}

/* The least recently used one. */
static struct mask *oldest(struct grammar_masks *m)
{
    struct mask *x = &m->mask[0];

    for (int i = 0; i < MASKS; i++) {
        if (m->mask[i].state == GRAMMAR_NONE) return &m->mask[i];
        if (m->mask[i].used < x->used) x = &m->mask[i];
    }
    return x;
}

int grammar_mask(struct grammar_masks *m, struct grammar_states *s, uint32_t state, const uint64_t **bits,
                 struct error *e)
{
    struct mask *x;
    int rc;

    m->clock++;
    for (int i = 0; i < MASKS; i++)
        if (m->mask[i].state == state) {
            m->mask[i].used = m->clock;
            *bits = m->mask[i].bits;
            return 0;
        }
    x = oldest(m);
    x->state = GRAMMAR_NONE;
    if (!x->bits && !(x->bits = malloc((m->words + 1) * sizeof *x->bits))) return error_set(e, ENOMEM, "out of memory");
    memset(x->bits, 0, m->words * sizeof *x->bits);
    if ((rc = walk(m, s, state, x->bits))) return grammar_step_error(rc, e);
    for (size_t i = 0; i < m->ends; i++) {
        x->bits[m->end[i] / 64] &= ~(UINT64_C(1) << m->end[i] % 64);
        if (grammar_may_end(s, state)) allow(x->bits, m->end[i]);
    }
    x->state = state;
    x->used = m->clock;
    *bits = x->bits;
    return 0;
}

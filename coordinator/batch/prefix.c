#include "coordinator/batch/prefix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEAST 16u /* tokens that are worth to be shared: their block is held for them */

struct prefixes {
    struct scheduler *scheduler;
    bool recurrent;
    struct sequence **kept; /* the least recently used first */
    uint32_t count, most;
};

int prefixes_open(struct prefixes **out, struct scheduler *s, bool recurrent, uint32_t most, struct error *e)
{
    struct prefixes *p = calloc(1, sizeof *p);

    if (p) *p = (struct prefixes){.scheduler = s, .recurrent = recurrent, .most = most};
    if (p) p->kept = calloc(most ? most : 1, sizeof(*p->kept));
    if (!p || !p->kept) {
        free(p);
        return error_set(e, ENOMEM, "out of memory");
    }
    *out = p;
    return 0;
}

static struct sequence *take(struct prefixes *p, uint32_t i)
{
    struct sequence *q = p->kept[i];

    memmove(&p->kept[i], &p->kept[i + 1], (p->count - i - 1) * sizeof(*p->kept));
    p->count--;
    return q;
}

void prefixes_close(struct prefixes *p)
{
    if (!p) return;
    while (p->count) sequence_close(take(p, p->count - 1));
    free(p->kept);
    free(p);
}

/* How many tokens both begin with, of those that q's rows hold. */
static uint32_t common(const struct sequence *q, const uint32_t *token, uint32_t tokens)
{
    const uint32_t *had = sequence_tokens(q);
    uint32_t most = sequence_computed(q) < tokens ? sequence_computed(q) : tokens, n = 0;

    while (n < most && had[n] == token[n]) n++;
    return n;
}

void prefixes_keep(struct prefixes *p, struct sequence *q)
{
    if (!p->recurrent && p->most) sequence_trim(q);
    if (p->recurrent || !p->most || sequence_computed(q) < LEAST) {
        sequence_close(q);
        return;
    }
    /* one that begins with all of another makes it superfluous */
    for (uint32_t i = p->count; i-- > 0;) {
        struct sequence *x = p->kept[i];
        uint32_t n = common(x, sequence_tokens(q), sequence_computed(q));

        if (n == sequence_computed(x)) sequence_close(take(p, i));
    }
    if (p->count == p->most) sequence_close(take(p, 0));
    p->kept[p->count++] = q;
}

/* Where the most can be shared; NULL: nowhere. *same: so many tokens. */
static struct sequence *find(struct prefixes *p, const struct prefix_ask *a, uint32_t *same)
{
    struct sequence *best = NULL;
    uint32_t at = 0, got;

    *same = LEAST - 1;
    for (uint32_t i = 0; i < a->lives && !p->recurrent; i++)
        if (a->live[i] && (got = common(a->live[i], a->token, a->tokens)) > *same) {
            best = a->live[i];
            *same = got;
        }
    for (uint32_t i = 0; i < p->count; i++)
        if ((got = common(p->kept[i], a->token, a->tokens)) > *same) {
            best = p->kept[i];
            *same = got;
            at = i + 1;
        }
    if (!at) return best;
    best = take(p, at - 1);
    return p->kept[p->count++] = best; /* used just now */
}

/* A fork has the first tokens of both; its last one is computed again where its logits are wanted. */
static int fork_of(struct sequence **out, struct sequence *q, uint32_t same, uint32_t tokens, uint32_t limit,
                   struct error *e)
{
    uint32_t n = same < tokens ? same : tokens - 1;
    int rc;

    if (n + 1 > sequence_count(q) || n + 1 > limit) n--;
    if ((rc = sequence_fork(out, q, n + 1, limit, e))) return rc;
    if ((rc = sequence_truncate(*out, n, e))) {
        sequence_close(*out);
        *out = NULL;
    }
    return rc;
}

/* The cache was lost since: it holds nothing of it any more. */
static void drop_lost(struct prefixes *p, const struct sequence *best, const struct sequence *fork)
{
    if (best && !sequence_computed(fork) && p->count && p->kept[p->count - 1] == best)
        sequence_close(take(p, p->count - 1));
}

int prefixes_sequence(struct prefixes *p, struct sequence **out, const struct prefix_ask *a, struct error *e)
{
    struct sequence *q = NULL, *best;
    uint32_t same = 0, had;
    int rc;

    do {
        best = a->alone || !a->tokens ? NULL : find(p, a, &same);
        rc = best ? fork_of(&q, best, same, a->tokens, a->limit, e) : scheduler_sequence(p->scheduler, &q, a->limit, e);
        if (!rc) drop_lost(p, best, q);
        had = p->count;
        /* a fork begins in a block of its own, and so may need one more than a sequence that shares nothing */
        if (rc == -ENOSPC && best && !had) rc = scheduler_sequence(p->scheduler, &q, a->limit, e);
        if (rc == -ENOSPC && had) sequence_close(take(p, 0));
    } while (rc == -ENOSPC && had);
    if (rc) return rc;
    had = sequence_count(q);
    if ((rc = sequence_append(q, a->token + had, a->tokens - had, e)))
        sequence_close(q);
    else
        *out = q;
    return rc;
}

uint32_t prefixes_kept(const struct prefixes *p)
{
    return p->count;
}

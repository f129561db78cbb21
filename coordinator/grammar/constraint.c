#include "coordinator/grammar/constraint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/mask.h"
#include "coordinator/text/buffer.h"

struct constraint {
    const struct grammar_vocabulary *v;
    struct grammar_states *states;
    struct grammar_masks *masks;
    /* the way so far: state[i] is before token[i]; those before `first` are forgotten */
    uint32_t *token, *state;
    size_t tokens, first, token_room, state_room;
    uint64_t *ends; /* a mask of them alone */
    struct error error;
};

void constraint_close(struct constraint *c)
{
    if (!c) return;
    grammar_states_close(c->states);
    grammar_masks_close(c->masks);
    free(c->token);
    free(c->state);
    free(c->ends);
    free(c);
}

/* From the beginning again. */
static int begin(struct constraint *c, struct error *e)
{
    uint32_t *more = array_grow(c->state, sizeof *more, &c->state_room, 1);

    if (!more) return error_set(e, ENOMEM, "out of memory");
    c->state = more;
    c->tokens = c->first = 0;
    return grammar_start(c->states, &c->state[0], e);
}

static int follow(struct constraint *c, uint32_t token, struct error *e)
{
    uint32_t *tokens = array_grow(c->token, sizeof *tokens, &c->token_room, c->tokens + 1), *states;
    uint32_t state = c->state[c->tokens];
    int rc = 0;

    if (tokens) c->token = tokens;
    states = array_grow(c->state, sizeof *states, &c->state_room, c->tokens + 2);
    if (states) c->state = states;
    if (!tokens || !states) return error_set(e, ENOMEM, "out of memory");
    if (token >= c->v->vocab || grammar_is_end(c->masks, token))
        state = GRAMMAR_DEAD;
    else
        rc = grammar_advance(c->states, &state, c->v->bytes + c->v->text[token],
                             c->v->text[token + 1] - c->v->text[token], e);
    if (rc) return rc;
    c->token[c->tokens++] = token;
    c->state[c->tokens] = state;
    return 0;
}

/* The table of states is full: all but where we are is forgotten. */
static int forget(struct constraint *c, struct error *e)
{
    int rc = grammar_states_keep(c->states, &c->state[c->tokens], e);

    grammar_masks_forget(c->masks);
    c->first = c->tokens;
    if (!rc) *e = (struct error){0}; /* no error any more */
    return rc;
}

/* -ENOSPC, even with a table that holds as good as nothing. */
static int too_many(struct error *e)
{
    return error_set(e, E2BIG,
                     "the schema leaves too many ways open at once: make its alternatives differ in what comes "
                     "first");
}

/* Goes on from what the tokens have in common with the last ones. */
static int go(struct constraint *c, const uint32_t *made, uint32_t n, struct error *e)
{
    size_t same = 0;
    int rc = 0;

    while (same < n && same < c->tokens && c->token[same] == made[same]) same++;
    c->tokens = same;
    if (same < c->first) rc = begin(c, e);
    while (c->tokens < n && !rc) {
        rc = follow(c, made[c->tokens], e);
        if (rc == -ENOSPC && !(rc = forget(c, e))) rc = follow(c, made[c->tokens], e);
    }
    return rc == -ENOSPC ? too_many(e) : rc;
}

static int mask(struct constraint *c, const uint64_t **bits, struct error *e)
{
    int rc = grammar_mask(c->masks, c->states, c->state[c->tokens], bits, e);

    if (rc == -ENOSPC && !(rc = forget(c, e))) rc = grammar_mask(c->masks, c->states, c->state[c->tokens], bits, e);
    return rc == -ENOSPC ? too_many(e) : rc;
}

static bool none(const struct constraint *c, const uint64_t *bits)
{
    for (size_t i = 0; i < ((size_t)c->v->vocab + 63) / 64; i++)
        if (bits[i]) return false;
    return true;
}

int constraint_mask(void *arg, const uint32_t *made, uint32_t n, const uint64_t **bits, struct error *e)
{
    struct constraint *c = arg;
    int rc = c->error.code ? -c->error.code : go(c, made, n, &c->error);

    (void)e;
    if (!rc) rc = mask(c, bits, &c->error);
    if (!rc && none(c, *bits))
        rc = error_set(&c->error, EINVAL, "no token of the vocabulary goes on with what the form of the answer allows");
    if (rc) *bits = c->ends;
    return 0;
}

bool constraint_complete(struct constraint *c, const uint32_t *made, uint32_t n)
{
    return !c->error.code && !go(c, made, n, &c->error) && grammar_complete(c->states, c->state[n]);
}

const struct error *constraint_error(const struct constraint *c)
{
    return &c->error;
}

int constraint_open(struct constraint **out, const struct grammar *g, const struct grammar_vocabulary *v,
                    const uint32_t *ends, size_t n, struct error *e)
{
    struct constraint *c = calloc(1, sizeof *c);
    const uint64_t *bits;
    int rc = 0;

    if (c) {
        c->v = v;
        c->ends = calloc((size_t)v->vocab / 64 + 1, sizeof *c->ends);
    }
    if (!c || !c->ends) rc = error_set(e, ENOMEM, "out of memory");
    for (size_t i = 0; i < n && !rc; i++)
        if (ends[i] < v->vocab) c->ends[ends[i] / 64] |= UINT64_C(1) << ends[i] % 64;
    if (!rc && none(c, c->ends))
        rc = error_set(e, EINVAL, "the model has no token that ends an answer, which an answer of a given form needs");
    if (!rc) rc = grammar_states_open(&c->states, g, e);
    if (!rc) rc = grammar_masks_open(&c->masks, v, ends, n, e);
    if (!rc) rc = begin(c, e);
    if (!rc) {
        constraint_mask(c, NULL, 0, &bits, e);
        if (c->error.code) rc = error_set(e, c->error.code, "%s", c->error.text);
    }
    if (rc)
        constraint_close(c);
    else
        *out = c;
    return rc;
}

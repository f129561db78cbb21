#include "coordinator/batch/sequence.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Positions below fixed are seen by other sequences too, or were: their rows keep what they hold. Rows of a fork's first
 * positions lie in blocks that were lent to it; all further positions take rows of own blocks, one after the other. */
struct sequence {
    struct kv_rows *rows;
    uint32_t *token, *row; /* [limit]; row: of the positions below placed */
    uint32_t number, count, computed, fixed, placed, limit, vocab;
    uint32_t generation;           /* of the cache that holds what is computed */
    uint32_t *own, owns, own_used; /* blocks; rows of them that are given to positions, from the first on */
    uint32_t *lent, lents;         /* blocks that were shared with it */
    bool recurrent;
    /* what is wanted */
    struct sequence_want want;
    uint32_t prompt, made;
    size_t rows_given; /* of want.positions */
    enum sequence_end end;
};

/* ---- rows ---- */

static uint32_t own_capacity(const struct sequence *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->owns; i++) n += kv_rows_size(s->rows, s->own[i]);
    return n;
}

/* Blocks until there are rows for so many positions beside those that are used up; none where that cannot be. */
static int reserve(struct sequence *s, uint32_t positions, struct error *e)
{
    uint32_t had = s->owns, spare = own_capacity(s) - s->own_used, rows = spare, block = 0, *more;

    while (rows < positions) {
        uint32_t after = s->owns ? s->own[s->owns - 1] : s->lents ? s->lent[s->lents - 1] : KV_NONE;

        if ((block = kv_rows_take(s->rows, after)) == KV_NONE) break;
        if (!(more = realloc(s->own, (s->owns + 1) * sizeof *more))) {
            kv_rows_release(s->rows, block);
            break;
        }
        s->own = more;
        s->own[s->owns++] = block;
        rows += kv_rows_size(s->rows, block);
    }
    if (rows >= positions) return 0;
    while (s->owns > had) kv_rows_release(s->rows, s->own[--s->owns]);
    if (block != KV_NONE) return error_set(e, ENOMEM, "out of memory");
    return error_set(e, ENOSPC, "the KV cache has room for %u more tokens, and %u are needed",
                     kv_rows_free(s->rows) + spare, positions);
}

/* The k-th row of the own blocks. */
static uint32_t own_row(const struct sequence *s, uint32_t k)
{
    uint32_t i = 0;

    while (k >= kv_rows_size(s->rows, s->own[i])) k -= kv_rows_size(s->rows, s->own[i++]);
    return kv_rows_first(s->rows, s->own[i]) + k;
}

static void place(struct sequence *s, uint32_t to)
{
    for (; s->placed < to; s->placed++) s->row[s->placed] = own_row(s, s->own_used++);
}

/* ---- its life ---- */

static int make(struct sequence **out, struct kv_rows *rows, uint32_t limit, uint32_t vocab, bool recurrent,
                struct error *e)
{
    struct sequence *s = calloc(1, sizeof *s);

    if (s) {
        s->token = calloc(limit ? limit : 1, sizeof *s->token);
        s->row = calloc(limit ? limit : 1, sizeof *s->row);
    }
    if (!s || !s->token || !s->row) {
        sequence_close(s);
        return error_set(e, ENOMEM, "no memory for a sequence of %u tokens", limit);
    }
    s->rows = rows;
    s->generation = kv_rows_generation(rows);
    s->limit = limit;
    s->vocab = vocab;
    s->recurrent = recurrent;
    s->end = SEQUENCE_STOP;
    *out = s;
    return 0;
}

int sequence_open(struct sequence **out, struct kv_rows *rows, uint32_t limit, uint32_t vocab, bool recurrent,
                  struct error *e)
{
    struct sequence *s = NULL;
    int rc = make(&s, rows, limit, vocab, recurrent, e);

    if (rc) return rc;
    if ((rc = reserve(s, limit, e))) {
        sequence_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void sequence_close(struct sequence *s)
{
    if (!s) return;
    for (uint32_t i = 0; i < s->owns; i++) kv_rows_release(s->rows, s->own[i]);
    for (uint32_t i = 0; i < s->lents; i++) kv_rows_release(s->rows, s->lent[i]);
    free(s->own);
    free(s->lent);
    free(s->token);
    free(s->row);
    free(s);
}

/* Holds the blocks of the first n positions of from, each once. */
static int share_rows(struct sequence *s, struct sequence *from, uint32_t n, struct error *e)
{
    s->lent = n ? malloc((from->owns + from->lents) * sizeof *s->lent) : NULL;
    if (n && !s->lent) return error_set(e, ENOMEM, "out of memory");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t block = kv_rows_block(from->rows, from->row[i]);
        bool known = s->lents && s->lent[s->lents - 1] == block;

        for (uint32_t j = 0; j + 1 < s->lents && !known; j++) known = s->lent[j] == block;
        if (!known) {
            kv_rows_share(s->rows, block);
            s->lent[s->lents++] = block;
        }
        s->row[i] = from->row[i];
    }
    s->placed = s->computed = s->fixed = n;
    if (from->fixed < n) from->fixed = n;
    return 0;
}

int sequence_fork(struct sequence **out, struct sequence *s, uint32_t n, uint32_t limit, struct error *e)
{
    /* not the last token: its logits are wanted, so its row is written again */
    bool lost = s->recurrent || s->generation != kv_rows_generation(s->rows);
    uint32_t shared = lost || !n ? 0 : n - 1 < s->computed ? n - 1 : s->computed;
    struct sequence *f;
    int rc;

    if (n > s->count || n > limit)
        return error_set(e, EINVAL, "a fork of %u tokens, of %u, in room for %u", n, s->count, limit);
    if ((rc = make(&f, s->rows, limit, s->vocab, s->recurrent, e))) return rc;
    memcpy(f->token, s->token, n * sizeof *f->token);
    f->count = n;
    if ((rc = share_rows(f, s, shared, e)) || (rc = reserve(f, limit - shared, e))) {
        sequence_close(f);
        return rc;
    }
    *out = f;
    return 0;
}

int sequence_append(struct sequence *s, const uint32_t *token, size_t n, struct error *e)
{
    if (n > s->limit - s->count)
        return error_set(e, E2BIG, "%zu tokens do not fit the context of %u: shorten the prompt", s->count + n,
                         s->limit);
    for (size_t i = 0; i < n; i++)
        if (token[i] >= s->vocab)
            return error_set(
                e, EINVAL,
                "token %u is outside of the model's vocabulary of %u: tokenizer and model do not belong together",
                token[i], s->vocab);
    memcpy(s->token + s->count, token, n * sizeof *token);
    s->count += (uint32_t)n;
    return 0;
}

int sequence_truncate(struct sequence *s, uint32_t n, struct error *e)
{
    int rc;

    if (n >= s->count) return 0;
    if (n < s->fixed) { /* what others see is not written again: positions from n on take new rows */
        if ((rc = reserve(s, s->limit - n, e))) return rc;
        s->placed = s->fixed = n;
    }
    s->count = n;
    if (s->computed > n) s->computed = s->recurrent ? 0 : n;
    return 0;
}

void sequence_trim(struct sequence *s)
{
    uint32_t rows = 0, used = 0, *less;

    if (s->generation != kv_rows_generation(s->rows)) s->computed = 0;
    s->count = s->computed;
    s->end = SEQUENCE_STOP;
    while (rows < s->own_used) rows += kv_rows_size(s->rows, s->own[used++]);
    while (s->owns > used) kv_rows_release(s->rows, s->own[--s->owns]);
    s->limit = s->placed > s->count ? s->placed : s->count;
    if (s->limit && (less = realloc(s->token, s->limit * sizeof *less))) s->token = less;
    if (s->limit && (less = realloc(s->row, s->limit * sizeof *less))) s->row = less;
}

void sequence_ask(struct sequence *s, const struct sequence_want *w)
{
    s->want = *w;
    s->prompt = s->count;
    s->made = 0;
    s->rows_given = 0;
    s->end = w->positions          ? (w->position_count ? SEQUENCE_RUNS : SEQUENCE_LOGITS)
             : s->count < s->limit ? SEQUENCE_RUNS
                                   : SEQUENCE_CONTEXT;
}

/* ---- looking ---- */

const uint32_t *sequence_tokens(const struct sequence *s)
{
    return s->token;
}

uint32_t sequence_count(const struct sequence *s)
{
    return s->count;
}

uint32_t sequence_limit(const struct sequence *s)
{
    return s->limit;
}

uint32_t sequence_computed(const struct sequence *s)
{
    return s->computed;
}

uint32_t sequence_prompt(const struct sequence *s)
{
    return s->prompt;
}

uint32_t sequence_made(const struct sequence *s)
{
    return s->made;
}

enum sequence_end sequence_ended(const struct sequence *s)
{
    return s->end;
}

uint32_t sequence_number(const struct sequence *s)
{
    return s->number;
}

/* ---- work ---- */

void sequence_name(struct sequence *s, uint32_t number)
{
    s->number = number;
}

/* Logits of a row that the cache holds already are wanted: it is computed once more. */
static void look_back(struct sequence *s, uint32_t to)
{
    const struct sequence_want *w = &s->want;
    uint32_t next = w->positions ? w->positions[s->rows_given] : to - 1;

    if (s->computed > next) s->computed = s->recurrent ? 0 : next;
}

struct sequence_work sequence_work(struct sequence *s)
{
    const struct sequence_want *w = &s->want;
    uint32_t to, end;

    if (s->end != SEQUENCE_RUNS || !s->count) return (struct sequence_work){0};
    if (s->generation != kv_rows_generation(s->rows)) s->computed = 0;
    s->generation = kv_rows_generation(s->rows);
    to = w->positions ? w->positions[w->position_count - 1] + 1 : s->count;
    look_back(s, to);
    place(s, to);
    /* of rows that others compute too, those that are there, and as far as nobody is at it just now */
    while (s->computed + 1 < to && s->computed < s->fixed && !sequence_wants(s, s->computed) &&
           kv_rows_state(s->rows, s->row[s->computed]) == KV_ROW_WRITTEN)
        s->computed++;
    for (end = s->computed; end < to && kv_rows_state(s->rows, s->row[end]) != KV_ROW_IN_SWEEP;) end++;
    return (struct sequence_work){s->computed, end - s->computed,
                                  !w->positions && s->computed >= s->prompt && s->count > s->prompt};
}

void sequence_sweep_begin(struct sequence *s, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count; i++) kv_rows_begin(s->rows, s->row[i]);
}

void sequence_sweep_end(struct sequence *s, uint32_t from, uint32_t count, bool done)
{
    for (uint32_t i = from; i < from + count; i++) kv_rows_end(s->rows, s->row[i], done);
    if (done) s->computed = from + count;
}

uint32_t sequence_row(const struct sequence *s, uint32_t position)
{
    assert(position < s->placed);
    return s->row[position];
}

bool sequence_wants(const struct sequence *s, uint32_t position)
{
    const struct sequence_want *w = &s->want;
    size_t lo = s->rows_given, hi = w->position_count;

    if (!w->positions) return position + 1 == s->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (w->positions[mid] < position)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < w->position_count && w->positions[lo] == position;
}

void sequence_forget(struct sequence *s)
{
    s->computed = 0;
}

uint32_t sequence_ahead(const struct sequence *s)
{
    const struct sequence_want *w = &s->want;
    uint64_t room = s->limit - s->count, left = w->max_tokens ? w->max_tokens - s->made : UINT64_MAX;

    if (w->positions || s->end != SEQUENCE_RUNS) return 0;
    if (room > left) room = left;
    return room ? (uint32_t)room - 1 : 0;
}

uint32_t sequence_row_ahead(struct sequence *s, uint32_t position)
{
    assert(position >= s->count && position < s->limit);
    place(s, position + 1);
    return s->row[position];
}

void sequence_accept(struct sequence *s, uint32_t position)
{
    assert(position == s->computed && position < s->count);
    kv_rows_end(s->rows, s->row[position], true);
    s->computed = position + 1;
}

const struct sampler_settings *sequence_sampling(const struct sequence *s)
{
    return &s->want.sampling;
}

static int choose(struct sequence *s, struct sampler *sampler, const float *logits, struct error *e)
{
    const struct sequence_want *w = &s->want;
    enum sequence_end end = SEQUENCE_RUNS;
    struct sampler_settings sampling = w->sampling;
    uint32_t token;
    int rc = 0;

    if (w->listener.choose_from) logits = w->listener.choose_from(w->listener.arg, logits);
    if (w->mask) rc = w->mask(w->mask_arg, s->token + s->prompt, s->made, &sampling.allow, e);
    if (!rc) rc = sampler_choose(sampler, &sampling, logits, s->token, s->count, 0, s->count, &token, e);
    if (rc) return rc;
    s->token[s->count++] = token;
    s->made++;
    for (size_t i = 0; i < w->eos_count; i++)
        if (token == w->eos[i]) end = SEQUENCE_TOKEN;
    if (end == SEQUENCE_RUNS && w->max_tokens && s->made >= w->max_tokens) end = SEQUENCE_LENGTH;
    if (end == SEQUENCE_RUNS && s->count >= s->limit) end = SEQUENCE_CONTEXT;
    s->end = end;
    if (!w->listener.token) return 0;
    rc = w->listener.token(w->listener.arg, token, &end, e);
    s->end = end;
    return rc;
}

int sequence_take(struct sequence *s, struct sampler *sampler, uint32_t position, const float *logits, struct error *e)
{
    const struct sequence_want *w = &s->want;

    if (!w->positions) return choose(s, sampler, logits, e);
    if (++s->rows_given == w->position_count) s->end = SEQUENCE_LOGITS;
    return w->listener.logits(w->listener.arg, position, logits, e);
}

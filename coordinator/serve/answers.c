#include "coordinator/serve/answers.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/buffer.h"
#include "coordinator/tokenizer/detokenizer.h"

#define TRIES 8 /* ends of tokens before the place where texts part: beyond a shared beginning of what follows */

struct record {
    char *text;
    size_t prompt_bytes, bytes; /* of the text: the prompt's, and with the answer */
    uint32_t *id;               /* [prompts + count] */
    size_t *end;                /* [count] of the text, where each token of the answer ends */
    size_t prompts, count;
};

struct answers {
    struct answers_config config;
    const char **added; /* texts of tokens that are cut out of a text before all else */
    size_t addeds;
    pthread_mutex_t lock;
    struct record *kept; /* [most], the least recently used first */
    size_t count, bytes;
};

static int find_added(struct answers *a, struct error *e)
{
    const struct tokenizer *t = a->config.tokenizer;
    size_t vocab = tokenizer_vocab_size(t), n = 0;

    for (size_t i = 0; i < vocab; i++) n += tokenizer_is_added(t, (uint32_t)i);
    if (!(a->added = calloc(n + 1, sizeof *a->added))) return error_set(e, ENOMEM, "out of memory");
    for (size_t i = 0; i < vocab; i++) {
        const char *text = tokenizer_is_added(t, (uint32_t)i) ? tokenizer_token_text(t, (uint32_t)i) : NULL;

        if (text && *text) a->added[a->addeds++] = text;
    }
    return 0;
}

int answers_open(struct answers **out, const struct answers_config *c, struct error *e)
{
    struct answers *a = calloc(1, sizeof *a);
    int rc;

    if (!a) return error_set(e, ENOMEM, "out of memory");
    a->config = *c;
    pthread_mutex_init(&a->lock, NULL);
    a->kept = calloc(c->most + 1, sizeof *a->kept);
    rc = a->kept ? find_added(a, e) : error_set(e, ENOMEM, "out of memory");
    if (rc)
        answers_close(a);
    else
        *out = a;
    return rc;
}

static void record_free(struct record *r)
{
    free(r->text);
    free(r->id);
    free(r->end);
    *r = (struct record){0};
}

static size_t size_of(const struct record *r)
{
    return r->bytes + (r->prompts + r->count) * sizeof *r->id + r->count * sizeof *r->end;
}

static struct record take(struct answers *a, size_t i)
{
    struct record r = a->kept[i];

    a->count--;
    a->bytes -= size_of(&r);
    memmove(&a->kept[i], &a->kept[i + 1], (a->count - i) * sizeof *a->kept);
    return r;
}

static void put(struct answers *a, const struct record *r)
{
    a->kept[a->count++] = *r;
    a->bytes += size_of(r);
}

void answers_close(struct answers *a)
{
    if (!a) return;
    for (size_t i = 0; i < a->count; i++) record_free(&a->kept[i]);
    pthread_mutex_destroy(&a->lock);
    free(a->kept);
    free(a->added);
    free(a);
}

/* ---- keeping ---- */

/* The text of the answer's tokens as they stand behind the prompt: its last token comes first and is left out. Up to the first
 * special one. */
static int spell(const struct answers *a, struct record *r, struct buffer *text, struct error *e)
{
    const struct tokenizer *t = a->config.tokenizer;
    size_t prompts = r->prompts, bytes, n = 0;
    struct detokenizer *d;
    const char *piece;
    int rc = detokenizer_open(&d, t, false, e);

    if (rc) return rc;
    rc = detokenizer_push(d, r->id[prompts - 1], &piece, &bytes, e);
    for (; !rc && n < r->count && !tokenizer_is_special(t, r->id[prompts + n]); n++) {
        if ((rc = detokenizer_push(d, r->id[prompts + n], &piece, &bytes, e))) break;
        buffer_append(text, piece, bytes);
        r->end[n] = text->bytes;
    }
    r->count = n;
    if (!rc && !(rc = detokenizer_finish(d, &piece, &bytes))) buffer_append(text, piece, bytes);
    if (!rc && n) r->end[n - 1] = text->bytes;
    detokenizer_close(d);
    return rc || text->failed ? -ENOMEM : 0;
}

static bool same_text(const struct record *r, const struct record *s)
{
    return r->bytes == s->bytes && r->prompt_bytes == s->prompt_bytes && !memcmp(r->text, s->text, r->bytes);
}

static void keep(struct answers *a, struct record *r)
{
    struct record old;

    pthread_mutex_lock(&a->lock);
    for (size_t i = a->count; i-- > 0;)
        if (same_text(&a->kept[i], r)) {
            old = take(a, i);
            record_free(&old);
        }
    while (a->count && (a->count >= a->config.most || a->bytes + size_of(r) > a->config.bytes)) {
        old = take(a, 0);
        record_free(&old);
    }
    put(a, r);
    pthread_mutex_unlock(&a->lock);
}

void answers_keep(struct answers *a, const char *text, size_t bytes, const uint32_t *prompt, size_t prompts,
                  const uint32_t *made, size_t count)
{
    struct record r = {.prompt_bytes = bytes, .prompts = prompts, .count = count};
    struct buffer all = {0};
    struct error e = {0};
    bool good;

    if (!prompts || !count) return;
    r.id = malloc((prompts + count) * sizeof *r.id);
    r.end = malloc(count * sizeof *r.end);
    buffer_append(&all, text, bytes);
    good = r.id && r.end && !all.failed;
    if (good) {
        memcpy(r.id, prompt, prompts * sizeof *r.id);
        memcpy(r.id + prompts, made, count * sizeof *r.id);
        good = !spell(a, &r, &all, &e) && r.count && all.bytes > bytes;
    }
    r.text = all.data;
    r.bytes = all.bytes;
    if (good && size_of(&r) <= a->config.bytes)
        keep(a, &r);
    else
        record_free(&r);
}

/* ---- matching ---- */

static bool added_at(const struct answers *a, const char *text, size_t bytes)
{
    for (size_t i = 0; i < a->addeds; i++) {
        size_t n = strlen(a->added[i]);

        if (n <= bytes && !memcmp(text, a->added[i], n)) return true;
    }
    return false;
}

/* How many tokens of the answer the text goes on from: all of them; or such as end where the text does, or where a token follows
 * that is cut out of every text: there the tokenizer's own tokens end too. */
static size_t answered(const struct answers *a, const struct record *r, const char *text, size_t bytes)
{
    size_t n = r->count, same = r->prompt_bytes, tries = 0;

    if (bytes < r->prompt_bytes || memcmp(text, r->text, r->prompt_bytes)) return 0;
    while (same < bytes && same < r->bytes && text[same] == r->text[same]) same++;
    if (same == r->bytes) return n;
    while (n && r->end[n - 1] > same) n--;
    while (n > 1 && r->end[n - 2] == r->end[n - 1]) n--; /* not behind the first bytes of a character */
    for (; n && tries < TRIES; n--, tries++)
        if (r->end[n - 1] == bytes || added_at(a, text + r->end[n - 1], bytes - r->end[n - 1])) return n;
    return 0;
}

/* The tokens that the text takes over; *from: where it goes on. */
static int take_over(struct answers *a, const char *text, size_t bytes, struct token_ids *ids, size_t *from,
                     struct error *e)
{
    size_t best = 0, at = 0, tokens = 0, n;
    struct record r;
    int rc = 0;

    *from = 0;
    pthread_mutex_lock(&a->lock);
    for (size_t i = a->count; i-- > 0;)
        if ((n = answered(a, &a->kept[i], text, bytes)) && a->kept[i].end[n - 1] > best) {
            best = a->kept[i].end[n - 1];
            at = i;
            tokens = n;
        }
    if (best) {
        r = take(a, at);
        put(a, &r); /* used just now */
        for (size_t i = 0; i < r.prompts + tokens && !rc; i++) rc = token_ids_push(ids, r.id[i]);
        *from = best;
    }
    pthread_mutex_unlock(&a->lock);
    return rc ? error_set(e, ENOMEM, "out of memory") : 0;
}

static int decode(const struct tokenizer *t, const struct token_ids *ids, struct buffer *out, struct error *e)
{
    return detokenizer_all(t, ids->id, ids->count, false, out, e) || out->failed ? error_set(e, ENOMEM, "out of memory")
                                                                                 : 0;
}

static int say_the_same(const struct tokenizer *t, const struct token_ids *x, const struct token_ids *y, bool *same,
                        struct error *e)
{
    struct buffer a = {0}, b = {0};
    int rc = decode(t, x, &a, e);

    if (!rc) rc = decode(t, y, &b, e);
    *same = !rc && a.bytes == b.bytes && (!a.bytes || !memcmp(a.data, b.data, a.bytes));
    buffer_free(&a);
    buffer_free(&b);
    return rc;
}

int answers_match(struct answers *a, const char *text, size_t bytes, struct token_ids *ids, struct error *e)
{
    const struct tokenizer *t = a->config.tokenizer;
    struct token_ids said = {0}, own = *ids;
    bool same = false;
    size_t from;
    int rc = take_over(a, text, bytes, &said, &from, e);

    /* a text that does not become tokens by itself was cut at a bad place: not there */
    if (!rc && from && (rc = tokenizer_encode(t, text + from, bytes - from, false, &said, e)) == -EILSEQ) {
        token_ids_free(&said);
        *e = (struct error){0};
        return 0;
    }
    if (!rc && from) rc = say_the_same(t, &said, &own, &same, e);
    if (same) {
        *ids = said;
        said = own;
    }
    token_ids_free(&said);
    return rc;
}

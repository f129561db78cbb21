#include "coordinator/grammar/vocabulary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/program.h"
#include "coordinator/tokenizer/token_bytes.h"

#define TOKEN_BYTES_MAX 256

void grammar_vocabulary_close(struct grammar_vocabulary *v)
{
    if (!v) return;
    free(v->node);
    free(v->next);
    free(v->text);
    free(v->bytes);
    free(v);
}

static size_t length(const struct grammar_vocabulary *v, uint32_t token)
{
    return v->text[token + 1] - v->text[token];
}

static int by_bytes(const void *a, const void *b, void *arg)
{
    const struct grammar_vocabulary *v = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    size_t m = length(v, x), n = length(v, y);
    int rc = memcmp(v->bytes + v->text[x], v->bytes + v->text[y], m < n ? m : n);

    if (!rc) rc = (m > n) - (m < n);
    return rc ? rc : (x > y) - (x < y);
}

/* Closes nodes until `depth` are open. */
static void close_to(struct grammar_vocabulary *v, const uint32_t *open, size_t *opens, size_t depth)
{
    while (*opens > depth) v->node[open[--*opens]].end = (uint32_t)v->nodes;
}

/* Sorted tokens, one after the other: what a token shares with the one before is there already. */
static void plant(struct grammar_vocabulary *v, const uint32_t *sorted, size_t n)
{
    uint32_t open[TOKEN_BYTES_MAX], last = GRAMMAR_NONE;
    size_t opens = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t token = sorted[i];
        const char *text = v->bytes + v->text[token];
        size_t bytes = length(v, token), same = 0;

        while (same < bytes && same < opens && v->node[open[same]].byte == (uint8_t)text[same]) same++;
        if (same == bytes && same == opens && last != GRAMMAR_NONE) {
            v->next[last] = token;
            v->node[open[opens - 1]].more = true;
        } else {
            close_to(v, open, &opens, same);
            for (; opens < bytes; opens++) {
                open[opens] = (uint32_t)v->nodes;
                v->node[v->nodes++] =
                    (struct vocabulary_node){(uint8_t)text[opens], (uint8_t)opens, false, 0, GRAMMAR_NONE};
            }
            if (opens) v->node[open[opens - 1]].token = token;
        }
        last = token;
    }
    close_to(v, open, &opens, 0);
}

static int build(struct grammar_vocabulary *v, struct error *e)
{
    uint32_t *sorted = malloc((v->vocab + 1) * sizeof *sorted);
    struct vocabulary_node *less;
    size_t n = 0;

    v->node = malloc((v->text[v->vocab] + 1) * sizeof *v->node);
    v->next = malloc((v->vocab + 1) * sizeof *v->next);
    if (!sorted || !v->node || !v->next) {
        free(sorted);
        return error_set(e, ENOMEM, "no memory for the tokens' bytes");
    }
    for (uint32_t i = 0; i < v->vocab; i++) {
        v->next[i] = GRAMMAR_NONE;
        if (length(v, i) && length(v, i) <= TOKEN_BYTES_MAX) sorted[n++] = i;
    }
    qsort_r(sorted, n, sizeof *sorted, by_bytes, v);
    plant(v, sorted, n);
    free(sorted);
    if ((less = realloc(v->node, (v->nodes + 1) * sizeof *less))) v->node = less;
    return 0;
}

/* One with room for so many tokens, and none in it. */
static struct grammar_vocabulary *make(uint32_t vocab)
{
    struct grammar_vocabulary *v = calloc(1, sizeof *v);

    if (!v) return NULL;
    v->vocab = vocab;
    if ((v->text = calloc((size_t)vocab + 1, sizeof *v->text))) return v;
    free(v);
    return NULL;
}

static int finish(struct grammar_vocabulary **out, struct grammar_vocabulary *v, struct buffer *text, struct error *e)
{
    int rc = 0;

    if (text->failed) {
        buffer_free(text);
        rc = error_set(e, ENOMEM, "no memory for the tokens' bytes");
    } else {
        v->bytes = text->data;
        rc = build(v, e);
    }
    if (rc)
        grammar_vocabulary_close(v);
    else
        *out = v;
    return rc;
}

int grammar_vocabulary_open(struct grammar_vocabulary **out, const struct tokenizer *t, uint32_t vocab, struct error *e)
{
    struct grammar_vocabulary *v = make(vocab);
    struct buffer text = {0};

    if (!v) return error_set(e, ENOMEM, "no memory for the tokens' bytes");
    for (uint32_t i = 0; i < vocab; i++) {
        if (tokenizer_is_special(t, i)) buffer_append_byte(&text, (char)GRAMMAR_SPECIAL);
        (void)tokenizer_token_bytes(t, i, &text); /* rows without a token have no bytes */
        v->text[i + 1] = text.bytes;
    }
    return finish(out, v, &text, e);
}

int grammar_vocabulary_list(struct grammar_vocabulary **out, const char *const *list, const size_t *bytes, uint32_t n,
                            struct error *e)
{
    struct grammar_vocabulary *v = make(n);
    struct buffer text = {0};

    if (!v) return error_set(e, ENOMEM, "no memory for the tokens' bytes");
    for (uint32_t i = 0; i < n; i++) {
        buffer_append(&text, list[i], bytes[i]);
        v->text[i + 1] = text.bytes;
    }
    return finish(out, v, &text, e);
}

#include "coordinator/grammar/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/buffer.h"

/* ---- sets ---- */

void grammar_set_add(struct grammar_set *s, unsigned from, unsigned to)
{
    for (unsigned b = from; b <= to; b++) s->word[b >> 6] |= UINT64_C(1) << (b & 63);
}

static size_t set_hash(const struct grammar_set *s)
{
    uint64_t h = 0;

    for (int i = 0; i < 4; i++) {
        h = (h ^ s->word[i]) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    return (size_t)h;
}

static bool index_sets(struct grammar *g)
{
    size_t slots = g->slots ? 2 * g->slots : 64;
    uint32_t *slot = calloc(slots, sizeof *slot);

    if (!slot) return false;
    free(g->slot);
    g->slot = slot;
    g->slots = slots;
    for (size_t i = 0; i < g->sets; i++) {
        size_t at = set_hash(&g->set[i]) & (slots - 1);

        while (slot[at]) at = (at + 1) & (slots - 1);
        slot[at] = (uint32_t)i + 1;
    }
    return true;
}

/* The set's number: equal sets have one. */
static uint32_t intern(struct grammar *g, const struct grammar_set *s)
{
    struct grammar_set *more;
    size_t at;

    if (2 * g->sets >= g->slots && !index_sets(g)) goto full;
    for (at = set_hash(s) & (g->slots - 1); g->slot[at]; at = (at + 1) & (g->slots - 1))
        if (!memcmp(&g->set[g->slot[at] - 1], s, sizeof *s)) return g->slot[at] - 1;
    if (!(more = array_grow(g->set, sizeof *more, &g->set_room, g->sets + 1))) goto full;
    g->set = more;
    g->set[g->sets++] = *s;
    g->slot[at] = (uint32_t)g->sets;
    return (uint32_t)g->sets - 1;
full:
    g->failed = ENOMEM;
    return 0;
}

/* ---- nodes ---- */

static uint32_t add(struct grammar *g, struct grammar_node n)
{
    struct grammar_node *more;

    if (g->failed) return 0;
    if (g->nodes == GRAMMAR_NODES_MAX) {
        g->failed = E2BIG;
        return 0;
    }
    if (!(more = array_grow(g->node, sizeof *more, &g->node_room, g->nodes + 1))) {
        g->failed = ENOMEM;
        return 0;
    }
    g->node = more;
    g->node[g->nodes++] = n;
    return (uint32_t)g->nodes - 1;
}

uint32_t grammar_bytes(struct grammar *g, const struct grammar_set *set, uint32_t next)
{
    return add(g, (struct grammar_node){.op = GRAMMAR_BYTES, .a = intern(g, set), .next = next});
}

uint32_t grammar_range(struct grammar *g, unsigned from, unsigned to, uint32_t next)
{
    struct grammar_set s = {0};

    grammar_set_add(&s, from, to);
    return grammar_bytes(g, &s, next);
}

uint32_t grammar_text(struct grammar *g, const char *text, size_t bytes, uint32_t next)
{
    while (bytes-- > 0 && !g->failed) next = grammar_range(g, (uint8_t)text[bytes], (uint8_t)text[bytes], next);
    return next;
}

uint32_t grammar_later(struct grammar *g)
{
    return add(g, (struct grammar_node){.op = GRAMMAR_SPLIT});
}

void grammar_set_later(struct grammar *g, uint32_t node, const uint32_t *to, size_t n)
{
    uint32_t *more;

    if (g->failed) return;
    if (g->edges + n > 4 * GRAMMAR_NODES_MAX) {
        g->failed = E2BIG;
        return;
    }
    if (!(more = array_grow(g->edge, sizeof *more, &g->edge_room, g->edges + n + 1))) {
        g->failed = ENOMEM;
        return;
    }
    g->edge = more;
    if (n) memcpy(g->edge + g->edges, to, n * sizeof *to);
    g->node[node].a = (uint32_t)g->edges;
    g->node[node].b = (uint32_t)n;
    g->edges += n;
}

uint32_t grammar_split(struct grammar *g, const uint32_t *to, size_t n)
{
    uint32_t node;

    if (n == 1) return to[0];
    node = grammar_later(g);
    grammar_set_later(g, node, to, n);
    return node;
}

uint32_t grammar_either(struct grammar *g, uint32_t one, uint32_t other)
{
    return grammar_split(g, (uint32_t[]){one, other}, 2);
}

uint32_t grammar_call(struct grammar *g, uint32_t rule, uint32_t next)
{
    return add(g, (struct grammar_node){.op = GRAMMAR_CALL, .a = rule, .next = next});
}

uint32_t grammar_return(struct grammar *g)
{
    return add(g, (struct grammar_node){.op = GRAMMAR_RETURN});
}

uint32_t grammar_rule(struct grammar *g)
{
    uint32_t *more;

    if (g->failed) return 0;
    if (!(more = array_grow(g->rule, sizeof *more, &g->rule_room, g->rules + 1))) {
        g->failed = ENOMEM;
        return 0;
    }
    g->rule = more;
    g->rule[g->rules++] = GRAMMAR_NONE;
    return (uint32_t)g->rules - 1;
}

uint32_t grammar_loop(struct grammar *g, uint32_t least, uint32_t most, uint32_t next)
{
    struct grammar_loop *more = array_grow(g->loop, sizeof *more, &g->loop_room, g->loops + 1);

    if (!more) {
        g->failed = ENOMEM;
        return 0;
    }
    g->loop = more;
    g->loop[g->loops++] = (struct grammar_loop){least, most};
    return add(g,
               (struct grammar_node){.op = GRAMMAR_LOOP, .a = GRAMMAR_NONE, .b = (uint32_t)g->loops - 1, .next = next});
}

void grammar_set_body(struct grammar *g, uint32_t loop, uint32_t body)
{
    if (!g->failed) g->node[loop].a = body;
}

/* ---- words ---- */

static int by_text(const void *a, const void *b)
{
    const struct grammar_word *x = a, *y = b;
    int rc = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);

    return rc ? rc : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Sorted words that are equal up to `at`: what they have in common, then a way for each byte that follows. */
static uint32_t branch(struct grammar *g, const struct grammar_word *word, size_t n, size_t at, uint32_t next)
{
    size_t same = at, ways = 0, end;
    uint32_t *to;
    uint32_t node;

    while (same < word[0].bytes && word[0].text[same] == word[n - 1].text[same]) same++;
    if (same == word[0].bytes && n == 1) return grammar_text(g, word[0].text + at, same - at, next);
    if (!(to = malloc(257 * sizeof *to))) {
        g->failed = ENOMEM;
        return 0;
    }
    for (size_t i = 0; i < n && !g->failed; i = end) {
        end = i + 1;
        if (word[i].bytes == same) {
            to[ways++] = next;
            continue;
        }
        while (end < n && word[end].text[same] == word[i].text[same]) end++;
        to[ways++] = branch(g, word + i, end - i, same, next);
    }
    node = grammar_split(g, to, ways);
    free(to);
    return grammar_text(g, word[0].text + at, same - at, node);
}

uint32_t grammar_words(struct grammar *g, struct grammar_word *word, size_t n, uint32_t next)
{
    size_t kept = 0;

    qsort(word, n, sizeof *word, by_text);
    for (size_t i = 0; i < n; i++)
        if (!kept || by_text(&word[kept - 1], &word[i])) word[kept++] = word[i];
    return kept ? branch(g, word, kept, 0, next) : grammar_split(g, NULL, 0);
}

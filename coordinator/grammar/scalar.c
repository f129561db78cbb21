/* Strings and numbers, byte by byte. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/build.h"

uint32_t grammar_space(struct grammar *g, uint32_t next)
{
    return grammar_either(g, grammar_range(g, ' ', ' ', next), next);
}

/* ---- characters of a string (RFC 8259, RFC 3629) ----
 *
 * A machine whose states are places within a character; bytes that are not named have no way. */

enum {
    CHAR_START, /* between characters */
    CHAR_1,     /* so many further bytes of UTF-8 */
    CHAR_2,
    CHAR_3,
    CHAR_E0, /* the second bytes that are not any */
    CHAR_ED,
    CHAR_F0,
    CHAR_F4,
    CHAR_ESCAPE, /* after a backslash */
    CHAR_U,      /* after \u */
    CHAR_HEX_3,  /* so many further digits */
    CHAR_HEX_2,
    CHAR_HEX_1,
    CHAR_D,      /* after \ud: no second half may come first */
    CHAR_HIGH_2, /* in a first half */
    CHAR_HIGH_1,
    CHAR_PAIR,   /* after a first half: \ */
    CHAR_PAIR_U, /* u */
    CHAR_PAIR_D, /* d */
    CHAR_PAIR_C, /* c to f */
    CHARS
};

static const struct {
    uint8_t from, to, state, next;
    bool one_way; /* also where everything has one spelling */
} ways[] = {
    {0x20, 0x21, CHAR_START, CHAR_START, true},  {0x23, 0x5B, CHAR_START, CHAR_START, true},
    {0x5D, 0x7F, CHAR_START, CHAR_START, true},  {0xC2, 0xDF, CHAR_START, CHAR_1, true},
    {0xE0, 0xE0, CHAR_START, CHAR_E0, true},     {0xE1, 0xEC, CHAR_START, CHAR_2, true},
    {0xED, 0xED, CHAR_START, CHAR_ED, true},     {0xEE, 0xEF, CHAR_START, CHAR_2, true},
    {0xF0, 0xF0, CHAR_START, CHAR_F0, true},     {0xF1, 0xF3, CHAR_START, CHAR_3, true},
    {0xF4, 0xF4, CHAR_START, CHAR_F4, true},     {0x80, 0xBF, CHAR_1, CHAR_START, true},
    {0x80, 0xBF, CHAR_2, CHAR_1, true},          {0x80, 0xBF, CHAR_3, CHAR_2, true},
    {0xA0, 0xBF, CHAR_E0, CHAR_1, true},         {0x80, 0x9F, CHAR_ED, CHAR_1, true},
    {0x90, 0xBF, CHAR_F0, CHAR_2, true},         {0x80, 0x8F, CHAR_F4, CHAR_2, true},
    {'\\', '\\', CHAR_START, CHAR_ESCAPE, true}, {'"', '"', CHAR_ESCAPE, CHAR_START, true},
    {'\\', '\\', CHAR_ESCAPE, CHAR_START, true}, {'b', 'b', CHAR_ESCAPE, CHAR_START, true},
    {'f', 'f', CHAR_ESCAPE, CHAR_START, true},   {'n', 'n', CHAR_ESCAPE, CHAR_START, true},
    {'r', 'r', CHAR_ESCAPE, CHAR_START, true},   {'t', 't', CHAR_ESCAPE, CHAR_START, true},
    {'/', '/', CHAR_ESCAPE, CHAR_START, false},  {'u', 'u', CHAR_ESCAPE, CHAR_U, false},
    {'0', '9', CHAR_U, CHAR_HEX_3, false},       {'a', 'c', CHAR_U, CHAR_HEX_3, false},
    {'A', 'C', CHAR_U, CHAR_HEX_3, false},       {'e', 'f', CHAR_U, CHAR_HEX_3, false},
    {'E', 'F', CHAR_U, CHAR_HEX_3, false},       {'d', 'd', CHAR_U, CHAR_D, false},
    {'D', 'D', CHAR_U, CHAR_D, false},           {'0', '7', CHAR_D, CHAR_HEX_2, false},
    {'8', '9', CHAR_D, CHAR_HIGH_2, false},      {'a', 'b', CHAR_D, CHAR_HIGH_2, false},
    {'A', 'B', CHAR_D, CHAR_HIGH_2, false},      {'0', '9', CHAR_HEX_3, CHAR_HEX_2, false},
    {'a', 'f', CHAR_HEX_3, CHAR_HEX_2, false},   {'A', 'F', CHAR_HEX_3, CHAR_HEX_2, false},
    {'0', '9', CHAR_HEX_2, CHAR_HEX_1, false},   {'a', 'f', CHAR_HEX_2, CHAR_HEX_1, false},
    {'A', 'F', CHAR_HEX_2, CHAR_HEX_1, false},   {'0', '9', CHAR_HEX_1, CHAR_START, false},
    {'a', 'f', CHAR_HEX_1, CHAR_START, false},   {'A', 'F', CHAR_HEX_1, CHAR_START, false},
    {'0', '9', CHAR_HIGH_2, CHAR_HIGH_1, false}, {'a', 'f', CHAR_HIGH_2, CHAR_HIGH_1, false},
    {'A', 'F', CHAR_HIGH_2, CHAR_HIGH_1, false}, {'0', '9', CHAR_HIGH_1, CHAR_PAIR, false},
    {'a', 'f', CHAR_HIGH_1, CHAR_PAIR, false},   {'A', 'F', CHAR_HIGH_1, CHAR_PAIR, false},
    {'\\', '\\', CHAR_PAIR, CHAR_PAIR_U, false}, {'u', 'u', CHAR_PAIR_U, CHAR_PAIR_D, false},
    {'d', 'd', CHAR_PAIR_D, CHAR_PAIR_C, false}, {'D', 'D', CHAR_PAIR_D, CHAR_PAIR_C, false},
    {'c', 'f', CHAR_PAIR_C, CHAR_HEX_2, false},  {'C', 'F', CHAR_PAIR_C, CHAR_HEX_2, false},
};
#define WAYS (sizeof ways / sizeof *ways)

/* The ways of one state to the nodes of others, bytes of `but` left out. */
static uint32_t char_ways(struct grammar *g, unsigned state, bool one_way, const struct grammar_set *but,
                          const uint32_t node[CHARS])
{
    struct grammar_set set[CHARS] = {0};
    uint32_t to[CHARS];
    size_t n = 0;

    for (size_t i = 0; i < WAYS; i++)
        if (ways[i].state == state && (ways[i].one_way || !one_way))
            grammar_set_add(&set[ways[i].next], ways[i].from, ways[i].to);
    for (unsigned k = 0; k < CHARS; k++) {
        for (int w = 0; but && w < 4; w++) set[k].word[w] &= ~but->word[w];
        if (set[k].word[0] | set[k].word[1] | set[k].word[2] | set[k].word[3])
            to[n++] = grammar_bytes(g, &set[k], node[k]);
    }
    return grammar_split(g, to, n);
}

/* Nodes of all states within a character, which goes on with `next` when it is over. */
static void char_nodes(struct grammar *g, bool one_way, uint32_t next, uint32_t node[CHARS])
{
    /* each leads only to those before it in this list */
    static const uint8_t order[] = {CHAR_1,      CHAR_2,      CHAR_3,      CHAR_E0,    CHAR_ED,
                                    CHAR_F0,     CHAR_F4,     CHAR_HEX_1,  CHAR_HEX_2, CHAR_HEX_3,
                                    CHAR_PAIR_C, CHAR_PAIR_D, CHAR_PAIR_U, CHAR_PAIR,  CHAR_HIGH_1,
                                    CHAR_HIGH_2, CHAR_D,      CHAR_U,      CHAR_ESCAPE};
    size_t n = sizeof order;

    node[CHAR_START] = next;
    for (size_t i = 0; i < n; i++)
        if (!one_way || order[i] <= CHAR_ESCAPE) node[order[i]] = char_ways(g, order[i], one_way, NULL, node);
}

uint32_t grammar_string(struct grammar *g, uint32_t least, uint32_t most, uint32_t next)
{
    uint32_t node[CHARS], loop = grammar_loop(g, least, most, grammar_range(g, '"', '"', next));

    char_nodes(g, false, loop, node);
    grammar_set_body(g, loop, char_ways(g, CHAR_START, false, NULL, node));
    return grammar_range(g, '"', '"', loop);
}

/* ---- names but for some ---- */

struct other_names {
    struct grammar *g;
    uint32_t node[CHARS]; /* of a name that differs already; [CHAR_START]: with its end */
    uint32_t quote;
};

static unsigned char_state(unsigned state, uint8_t byte)
{
    for (size_t i = 0; i < WAYS; i++)
        if (ways[i].one_way && ways[i].state == state && byte >= ways[i].from && byte <= ways[i].to)
            return ways[i].next;
    return CHARS;
}

/* Sorted names that are equal up to `at`, where a character is in `state`. */
static uint32_t differ(struct other_names *o, const struct grammar_word *word, size_t n, size_t at, unsigned state)
{
    uint32_t *to = malloc(258 * sizeof *to), node;
    struct grammar_set taken = {0};
    size_t ways_out = 0, end;
    bool is_name = false;

    if (!to) {
        o->g->failed = ENOMEM;
        return 0;
    }
    for (size_t i = 0; i < n && !o->g->failed; i = end) {
        uint8_t byte;

        end = i + 1;
        if (word[i].bytes == at) {
            is_name = true;
            continue;
        }
        byte = (uint8_t)word[i].text[at];
        while (end < n && (uint8_t)word[end].text[at] == byte) end++;
        grammar_set_add(&taken, byte, byte);
        to[ways_out++] = grammar_range(o->g, byte, byte, differ(o, word + i, end - i, at + 1, char_state(state, byte)));
    }
    to[ways_out++] = char_ways(o->g, state, true, &taken, o->node);
    if (state == CHAR_START && !is_name) to[ways_out++] = o->quote;
    node = grammar_split(o->g, to, ways_out);
    free(to);
    return node;
}

static int by_text(const void *a, const void *b)
{
    const struct grammar_word *x = a, *y = b;
    int rc = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);

    return rc ? rc : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* One that the one spelling cannot have needs no care. */
static bool can_be_spelled(const char *text, size_t bytes)
{
    unsigned state = CHAR_START;

    for (size_t i = 0; i < bytes && state != CHARS; i++) state = char_state(state, (uint8_t)text[i]);
    return state == CHAR_START;
}

uint32_t grammar_other_name(struct grammar *g, const char **name, const size_t *bytes, size_t n, uint32_t next)
{
    struct other_names o = {.g = g, .quote = grammar_range(g, '"', '"', next)};
    struct grammar_word *word = calloc(n + 1, sizeof *word);
    struct buffer text = {0};
    uint32_t rest = grammar_later(g), start = 0;
    size_t words = 0, *at = calloc(n + 1, sizeof *at);

    char_nodes(g, true, rest, o.node);
    grammar_set_later(g, rest, (uint32_t[]){char_ways(g, CHAR_START, true, NULL, o.node), o.quote}, 2);
    for (size_t i = 0; i < n && word && at; i++) {
        at[i] = text.bytes;
        grammar_spell(&text, name[i], bytes[i], false);
    }
    if (!word || !at || text.failed) g->failed = ENOMEM;
    for (size_t i = 0; i < n && !g->failed; i++) {
        size_t end = i + 1 < n ? at[i + 1] : text.bytes;

        if (end == at[i] || can_be_spelled(text.data + at[i], end - at[i]))
            word[words++] = (struct grammar_word){text.bytes ? text.data + at[i] : "", end - at[i]};
    }
    if (!g->failed) {
        qsort(word, words, sizeof *word, by_text);
        start = differ(&o, word, words, 0, CHAR_START);
    }
    free(word);
    free(at);
    buffer_free(&text);
    return grammar_range(g, '"', '"', start);
}

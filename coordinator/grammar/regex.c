/* Regular expressions of a schema's pattern (ECMA 262, as far as they are regular): the characters between the quotes of a
 * JSON string. Read into a tree of parts, then written as nodes from behind. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/grammar/build.h"
#include "coordinator/text/utf8.h"

#define GROUPS_MAX  64
#define REPEATS_MAX 10000
#define LAST_CHAR   0x10FFFFu

struct range {
    uint32_t from, to;
};

enum part_kind { PART_SET, PART_SEQUENCE, PART_EITHER, PART_REPEAT };

/* Parts of parts are a list, the last one first. */
struct part {
    uint8_t kind;
    uint32_t child, sibling; /* GRAMMAR_NONE: none */
    uint32_t least, most;    /* REPEAT; SET: its ranges [least, most) */
};

struct regex {
    const char *s;
    size_t bytes, at;
    struct part *part;
    struct range *range;
    size_t parts, ranges, part_room, range_room;
    unsigned groups;
    const char *why; /* the first reason why not */
    struct grammar *g;
};

static const char no_memory[] = "finds no memory";

static void refuse(struct regex *r, const char *why)
{
    if (!r->why) r->why = why;
}

static bool end(const struct regex *r)
{
    return r->why || r->at >= r->bytes;
}

static char peek(const struct regex *r)
{
    return r->at < r->bytes ? r->s[r->at] : 0;
}

static bool take(struct regex *r, const char *text)
{
    size_t n = strlen(text);

    if (r->why || r->bytes - r->at < n || memcmp(r->s + r->at, text, n)) return false;
    r->at += n;
    return true;
}

static uint32_t add_part(struct regex *r, struct part p)
{
    struct part *more = array_grow(r->part, sizeof *more, &r->part_room, r->parts + 1);

    if (!more || r->parts > GRAMMAR_NODES_MAX) {
        refuse(r, more ? "is too long" : no_memory);
        return 0;
    }
    r->part = more;
    r->part[r->parts++] = p;
    return (uint32_t)r->parts - 1;
}

static void add_range(struct regex *r, uint32_t from, uint32_t to)
{
    struct range *more = array_grow(r->range, sizeof *more, &r->range_room, r->ranges + 1);

    if (!more) {
        refuse(r, no_memory);
        return;
    }
    r->range = more;
    r->range[r->ranges++] = (struct range){from, to};
}

/* ---- sets of characters ---- */

static int by_from(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    return (x->from > y->from) - (x->from < y->from);
}

/* Ranges from `first` on, sorted and joined, or all that they are not. */
static void tidy(struct regex *r, size_t first, bool invert)
{
    size_t n = r->ranges - first, kept = 0;
    uint32_t next = 0;

    if (r->why) return;
    qsort(r->range + first, n, sizeof *r->range, by_from);
    for (size_t i = 0; i < n; i++) {
        struct range x = r->range[first + i], *last = kept ? &r->range[first + kept - 1] : NULL;

        if (last && x.from <= last->to + 1)
            last->to = x.to > last->to ? x.to : last->to;
        else
            r->range[first + kept++] = x;
    }
    r->ranges = first + kept;
    if (!invert) return;
    for (size_t i = 0; i < kept && !r->why; i++) { /* the gaps go behind, then to the front */
        struct range x = r->range[first + i];

        if (x.from > next) add_range(r, next, x.from - 1);
        next = x.to + 1;
    }
    if (next <= LAST_CHAR) add_range(r, next, LAST_CHAR);
    if (r->why) return;
    memmove(r->range + first, r->range + first + kept, (r->ranges - first - kept) * sizeof *r->range);
    r->ranges -= kept;
}

static uint32_t set_part(struct regex *r, size_t first)
{
    return add_part(r, (struct part){PART_SET, GRAMMAR_NONE, GRAMMAR_NONE, (uint32_t)first, (uint32_t)r->ranges});
}

/* \d and the like; false: it is no class. */
static bool add_class(struct regex *r, char c)
{
    static const struct {
        char name;
        uint32_t range[12][2];
    } classes[] = {
        {'d', {{'0', '9'}}},
        {'w', {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
        {'s', {{9, 13}, {32, 32}}},
        {'D', {{0, '0' - 1}, {'9' + 1, LAST_CHAR}}},
        {'W', {{0, '0' - 1}, {'9' + 1, 'A' - 1}, {'Z' + 1, '_' - 1}, {'_' + 1, 'a' - 1}, {'z' + 1, LAST_CHAR}}},
        /* without ECMA's white space beyond ASCII */
        {'S',
         {{0, 8},
          {14, 31},
          {33, 0x9F},
          {0xA1, 0x167F},
          {0x1681, 0x1FFF},
          {0x200B, 0x2027},
          {0x202A, 0x202E},
          {0x2030, 0x205E},
          {0x2060, 0x2FFF},
          {0x3001, 0xFEFE},
          {0xFF00, LAST_CHAR}}},
    };

    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (classes[i].name != c) continue;
        for (int k = 0; k < 12 && classes[i].range[k][1]; k++)
            add_range(r, classes[i].range[k][0], classes[i].range[k][1]);
        return true;
    }
    return false;
}

static uint32_t hex(struct regex *r, size_t digits)
{
    uint32_t v = 0;

    for (size_t i = 0; i < digits && !r->why; i++, r->at++) {
        char c = peek(r);
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;

        if (d < 0) refuse(r, "has an escape of a character that is not complete");
        v = v * 16 + (uint32_t)(d < 0 ? 0 : d);
    }
    if (v >= 0xD800 && v <= 0xDFFF) refuse(r, "has half a surrogate pair, which is not supported");
    return v;
}

/* What stands behind a backslash, a single character. */
static uint32_t escaped(struct regex *r, bool in_class)
{
    char c = peek(r);

    if (end(r)) {
        refuse(r, "ends with a backslash");
        return 0;
    }
    r->at++;
    switch (c) {
    case 't': return '\t';
    case 'n': return '\n';
    case 'r': return '\r';
    case 'f': return '\f';
    case 'v': return '\v';
    case '0': return 0;
    case 'x': return hex(r, 2);
    case 'u': return hex(r, 4);
    case 'b':
        if (in_class) return '\b';
        break;
    default: break;
    }
    if ((uint8_t)c < 0x80 && c && !strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", c))
        return (uint8_t)c;
    refuse(r, "has an escape that is not supported (word borders, references, Unicode classes and the like)");
    return 0;
}

static uint32_t character(struct regex *r)
{
    size_t n, left = r->bytes - r->at;
    uint32_t c;

    if (end(r)) return 0;
    n = utf8_char_bytes(r->s[r->at]);
    if (utf8_valid_bytes(r->s + r->at, n < left ? n : left) != n) {
        refuse(r, "is not UTF-8");
        return 0;
    }
    c = utf8_decode(r->s + r->at, &n);
    r->at += n;
    return c;
}

/* One end of a range in [ ], or a class: then true. */
static bool class_item(struct regex *r, uint32_t *c)
{
    if (!take(r, "\\")) {
        *c = character(r);
        return false;
    }
    if (add_class(r, peek(r))) {
        r->at++;
        return true;
    }
    *c = escaped(r, true);
    return false;
}

static uint32_t brackets(struct regex *r)
{
    size_t first = r->ranges;
    bool invert = take(r, "^");

    if (peek(r) == ']') refuse(r, "has an empty class, which is not supported");
    while (!end(r) && peek(r) != ']') {
        uint32_t from, to;

        if (class_item(r, &from)) continue;
        to = from;
        if (peek(r) == '-' && r->at + 1 < r->bytes && r->s[r->at + 1] != ']') {
            r->at++;
            if (class_item(r, &to)) refuse(r, "has a class as the end of a range");
        }
        if (to < from) refuse(r, "has a range whose end is before its beginning");
        add_range(r, from, to);
    }
    if (!take(r, "]")) refuse(r, "has a [ without its ]");
    tidy(r, first, invert);
    return set_part(r, first);
}

/* ---- the tree ---- */

static uint32_t either(struct regex *r, bool outermost);

static uint32_t group(struct regex *r)
{
    uint32_t p;

    if (!take(r, "?:") && peek(r) == '?') {
        bool name = take(r, "?<") && peek(r) != '=' && peek(r) != '!';

        while (name && !end(r) && peek(r) != '>') r->at++;
        if (!name || !take(r, ">")) refuse(r, "looks around or has flags, which is not supported");
    }
    if (++r->groups > GROUPS_MAX) refuse(r, "has groups nested too deep");
    p = r->why ? 0 : either(r, false);
    r->groups--;
    if (!take(r, ")")) refuse(r, "has a ( without its )");
    return p;
}

static uint32_t atom(struct regex *r)
{
    size_t first = r->ranges;
    uint32_t c;

    switch (peek(r)) {
    case '(': r->at++; return group(r);
    case '[': r->at++; return brackets(r);
    case '.':
        r->at++;
        add_range(r, '\n', '\n');
        add_range(r, '\r', '\r');
        add_range(r, 0x2028, 0x2029);
        tidy(r, first, true);
        return set_part(r, first);
    case '\\':
        r->at++;
        if (add_class(r, peek(r))) {
            r->at++;
        } else {
            c = escaped(r, false);
            add_range(r, c, c);
        }
        return set_part(r, first);
    case '*':
    case '+':
    case '?': refuse(r, "repeats nothing"); return 0;
    case '^':
    case '$': refuse(r, "has ^ or $ inside, which is not supported"); return 0;
    default:
        c = character(r);
        add_range(r, c, c);
        return set_part(r, first);
    }
}

static bool number(struct regex *r, uint32_t *out)
{
    size_t from = r->at;

    for (*out = 0; peek(r) >= '0' && peek(r) <= '9'; r->at++)
        *out = *out > REPEATS_MAX ? *out : *out * 10 + (uint32_t)(peek(r) - '0');
    return r->at > from;
}

/* {2}, {2,}, {2,5}; false, and nothing taken: it is none of these. */
static bool braces(struct regex *r, uint32_t *least, uint32_t *most)
{
    size_t from = r->at;

    r->at++;
    if (number(r, least)) {
        *most = *least;
        if (take(r, ",") && !number(r, most)) *most = GRAMMAR_ENDLESS;
        if (take(r, "}")) {
            if (*least > REPEATS_MAX || (*most != GRAMMAR_ENDLESS && *most > REPEATS_MAX))
                refuse(r, "repeats more than 10000 times");
            if (*most < *least) refuse(r, "repeats from more to fewer times");
            return true;
        }
    }
    r->at = from;
    return false;
}

static bool repeats(struct regex *r, uint32_t *least, uint32_t *most)
{
    *least = 0;
    *most = GRAMMAR_ENDLESS;
    if (end(r)) return false;
    if (take(r, "*")) return true;
    if (take(r, "+")) {
        *least = 1;
        return true;
    }
    if (take(r, "?")) {
        *most = 1;
        return true;
    }
    return peek(r) == '{' && braces(r, least, most);
}

static uint32_t repeated(struct regex *r)
{
    uint32_t p = atom(r), least, most;

    if (repeats(r, &least, &most)) {
        (void)take(r, "?"); /* as few as possible is the same set of texts */
        p = add_part(r, (struct part){PART_REPEAT, p, GRAMMAR_NONE, least, most});
        if (!end(r) && repeats(r, &least, &most)) refuse(r, "repeats what repeats");
    }
    return p;
}

static void prepend(struct regex *r, uint32_t *list, uint32_t p)
{
    if (r->why) return;
    r->part[p].sibling = *list;
    *list = p;
}

static uint32_t anything(struct regex *r)
{
    size_t first = r->ranges;

    add_range(r, 0, LAST_CHAR);
    return add_part(r, (struct part){PART_REPEAT, set_part(r, first), GRAMMAR_NONE, 0, GRAMMAR_ENDLESS});
}

/* Parts one after the other; of the outermost, without ^ or $ anything may stand before or behind. */
static uint32_t sequence(struct regex *r, bool outermost)
{
    uint32_t list = GRAMMAR_NONE;
    bool open = false;

    if (outermost && !take(r, "^")) prepend(r, &list, anything(r));
    while (!end(r) && peek(r) != '|' && peek(r) != ')') {
        if (outermost && peek(r) == '$' && (r->at + 1 == r->bytes || r->s[r->at + 1] == '|')) {
            r->at++;
            open = true;
            break;
        }
        prepend(r, &list, repeated(r));
    }
    if (outermost && !open) prepend(r, &list, anything(r));
    return add_part(r, (struct part){PART_SEQUENCE, list, GRAMMAR_NONE, 0, 0});
}

static uint32_t either(struct regex *r, bool outermost)
{
    uint32_t list = GRAMMAR_NONE;

    do prepend(r, &list, sequence(r, outermost));
    while (!r->why && take(r, "|"));
    return add_part(r, (struct part){PART_EITHER, list, GRAMMAR_NONE, 0, 0});
}

/* ---- as nodes ---- */

struct ways {
    uint32_t *to;
    size_t n, room;
    struct grammar *g;
    uint32_t next;
};

static void add_way(struct ways *w, uint32_t node)
{
    uint32_t *more = array_grow(w->to, sizeof *more, &w->room, w->n + 1);

    if (!more) {
        w->g->failed = ENOMEM;
        return;
    }
    w->to = more;
    w->to[w->n++] = node;
}

/* Characters that take n bytes each: cut until every byte is a range of its own. */
static void add_utf8(struct ways *w, uint32_t from, uint32_t to, unsigned n)
{
    char low[4], high[4];
    uint32_t node = w->next;

    if (from > to || w->g->failed) return;
    for (unsigned i = 1; i < n; i++) {
        uint32_t m = (1u << 6 * i) - 1;

        if ((from & ~m) == (to & ~m)) continue;
        if (from & m) {
            add_utf8(w, from, from | m, n);
            add_utf8(w, (from | m) + 1, to, n);
            return;
        }
        if ((to & m) != m) {
            add_utf8(w, from, (to & ~m) - 1, n);
            add_utf8(w, to & ~m, to, n);
            return;
        }
    }
    utf8_encode(from, low);
    utf8_encode(to, high);
    for (unsigned i = n; i-- > 0;) node = grammar_range(w->g, (uint8_t)low[i], (uint8_t)high[i], node);
    add_way(w, node);
}

/* What cannot stand in a string as it is. */
static void add_escape(struct ways *w, uint8_t c)
{
    struct buffer text = {0};

    grammar_spell(&text, (const char *)&c, 1, false);
    if (text.failed)
        w->g->failed = ENOMEM;
    else
        add_way(w, grammar_text(w->g, text.data, text.bytes, w->next));
    buffer_free(&text);
}

static uint32_t least_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t most_of(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static uint32_t write_set(struct regex *r, const struct part *p, uint32_t next)
{
    static const struct {
        uint32_t from, to;
        unsigned bytes;
    } areas[] = {{0x80, 0x7FF, 2}, {0x800, 0xD7FF, 3}, {0xE000, 0xFFFF, 3}, {0x10000, LAST_CHAR, 4}};
    struct ways w = {.g = r->g, .next = next};
    struct grammar_set plain = {0};
    bool any = false;
    uint32_t node;

    for (uint32_t i = p->least; i < p->most && !r->g->failed; i++) {
        struct range x = r->range[i];

        for (uint32_t c = x.from; c <= x.to && c < 0x80; c++) {
            if (c < 0x20 || c == '"' || c == '\\') {
                add_escape(&w, (uint8_t)c);
            } else {
                grammar_set_add(&plain, c, c);
                any = true;
            }
        }
        for (size_t k = 0; k < sizeof areas / sizeof *areas; k++)
            add_utf8(&w, most_of(x.from, areas[k].from), least_of(x.to, areas[k].to), areas[k].bytes);
    }
    if (any) add_way(&w, grammar_bytes(r->g, &plain, next));
    node = grammar_split(r->g, w.to, w.n);
    free(w.to);
    return node;
}

static uint32_t write_part(struct regex *r, uint32_t index, uint32_t next);

static uint32_t write_repeat(struct regex *r, const struct part *p, uint32_t next)
{
    struct grammar *g = r->g;
    uint32_t at = next;

    if (p->most == GRAMMAR_ENDLESS) {
        at = grammar_later(g);
        grammar_set_later(g, at, (uint32_t[]){write_part(r, p->child, at), next}, 2);
    } else {
        for (uint32_t i = p->least; i < p->most && !g->failed; i++)
            at = grammar_either(g, write_part(r, p->child, at), next);
    }
    for (uint32_t i = 0; i < p->least && !g->failed; i++) at = write_part(r, p->child, at);
    return at;
}

static uint32_t write_part(struct regex *r, uint32_t index, uint32_t next)
{
    const struct part *p = &r->part[index];
    struct ways w = {.g = r->g, .next = next};
    uint32_t node = next;

    if (r->g->failed) return 0;
    switch (p->kind) {
    case PART_SET: return write_set(r, p, next);
    case PART_REPEAT: return write_repeat(r, p, next);
    case PART_SEQUENCE:
        for (uint32_t i = p->child; i != GRAMMAR_NONE && !r->g->failed; i = r->part[i].sibling)
            node = write_part(r, i, node);
        return node;
    default:
        for (uint32_t i = p->child; i != GRAMMAR_NONE && !r->g->failed; i = r->part[i].sibling)
            add_way(&w, write_part(r, i, next));
        node = grammar_split(r->g, w.to, w.n);
        free(w.to);
        return node;
    }
}

const char *grammar_pattern(struct grammar *g, const char *pattern, size_t bytes, uint32_t next, uint32_t *out)
{
    struct regex r = {.s = pattern, .bytes = bytes, .g = g};
    uint32_t root;

    root = either(&r, true);
    if (!r.why && r.at < r.bytes) refuse(&r, "has a ) without its (");
    if (!r.why) *out = write_part(&r, root, next);
    free(r.part);
    free(r.range);
    return r.why;
}

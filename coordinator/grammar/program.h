/* The inside of a grammar: rules over bytes, that call each other.
 *
 *   rule: value  --BYTES {--> --SPLIT--> ... --CALL value--> ... --BYTES }--> RETURN
 *
 * A node is one step; whoever stands on it has a counter and the frames of who called. Nodes are made from behind: each
 * names what comes after it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"

#define GRAMMAR_NODES_MAX 262144u /* a program is at most a few MiB */
#define GRAMMAR_DEPTH_MAX 128u    /* frames: calls in calls */
#define GRAMMAR_NONE      UINT32_MAX
#define GRAMMAR_SPECIAL   0xFF /* no byte of UTF-8: begins the spelling of a special token */
#define GRAMMAR_ENDLESS   UINT32_MAX

enum grammar_op {
    GRAMMAR_BYTES, /* a byte of a set, then next */
    GRAMMAR_SPLIT, /* any of the nodes edge[a .. a + b) */
    GRAMMAR_CALL,  /* rule a, then next */
    GRAMMAR_LOOP,  /* body a at most `most` times, at least `least` times, then next; counted by the caller's counter */
    GRAMMAR_RETURN, /* the rule is over */
};

struct grammar_node {
    uint8_t op;
    uint16_t
        height; /* frames that the shortest way to the end of the rule takes at least; UINT16_MAX: there is no way */
    uint32_t a, b;
    uint32_t next;
};

struct grammar_loop {
    uint32_t least, most; /* GRAMMAR_ENDLESS: no limit */
};

struct grammar_set {
    uint64_t word[4]; /* a bit for each byte */
};

struct grammar {
    struct grammar_node *node;
    struct grammar_set *set;
    struct grammar_loop *loop;
    uint32_t *edge, *rule; /* rule: its first node */
    size_t nodes, sets, loops, edges, rules;
    size_t node_room, set_room, loop_room, edge_room, rule_room;
    uint32_t *slot; /* of sets, by their hash: index + 1 */
    size_t slots;
    uint32_t start; /* node */
    int failed;     /* the first error of making nodes: ENOMEM, or E2BIG: too many */
};

static inline bool grammar_set_has(const struct grammar_set *s, uint8_t byte)
{
    return s->word[byte >> 6] >> (byte & 63) & 1;
}
void grammar_set_add(struct grammar_set *s, unsigned from, unsigned to); /* both included */

/* Each makes a node and gives its number. After a failure, which g->failed keeps, they give any number. */
uint32_t grammar_bytes(struct grammar *g, const struct grammar_set *set, uint32_t next);
uint32_t grammar_range(struct grammar *g, unsigned from, unsigned to, uint32_t next);
uint32_t grammar_text(struct grammar *g, const char *text, size_t bytes, uint32_t next); /* each byte of a text */
uint32_t grammar_split(struct grammar *g, const uint32_t *to, size_t n);
uint32_t grammar_either(struct grammar *g, uint32_t one, uint32_t other);
uint32_t grammar_call(struct grammar *g, uint32_t rule, uint32_t next);
uint32_t grammar_return(struct grammar *g);
uint32_t grammar_rule(struct grammar *g); /* a rule without a beginning yet: g->rule[] */
/* A split whose ways are told later, for what comes round again. */
uint32_t grammar_later(struct grammar *g);
void grammar_set_later(struct grammar *g, uint32_t node, const uint32_t *to, size_t n);
/* body is told later, since it leads back to the loop. */
uint32_t grammar_loop(struct grammar *g, uint32_t least, uint32_t most, uint32_t next);
void grammar_set_body(struct grammar *g, uint32_t loop, uint32_t body);
/* Any of these texts, and nothing twice. They share what they begin with; *sorted* is sorted here. */
struct grammar_word {
    const char *text;
    size_t bytes;
};
uint32_t grammar_words(struct grammar *g, struct grammar_word *word, size_t n, uint32_t next);

/* The program is whole: finds the heights, and refuses what calls itself without a byte in between, or has no end.
 * -EINVAL with name in the message. */
int grammar_finish(struct grammar *g, const char *name, struct error *e);

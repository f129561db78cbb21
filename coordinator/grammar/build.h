/* Between the files that make a grammar out of a schema. */
#pragma once
#include <jansson.h>
#include "coordinator/grammar/grammar.h"
#include "coordinator/grammar/program.h"
#include "coordinator/text/buffer.h"

#define GRAMMAR_SCHEMA_DEPTH 64     /* of schemas in schemas */
#define GRAMMAR_MERGES_MAX   500000 /* members copied for allOf and the like */

struct grammar_rule_of {
    const json_t *schema;
    uint32_t rule;
};

struct grammar_builder {
    struct grammar *g;
    const json_t *root; /* where $ref begins */
    struct buffer path; /* of what is being read, for messages */
    json_t *kept;       /* schemas that were made by merging */
    struct grammar_rule_of *known;
    size_t knowns, known_slots;            /* a hash table */
    uint32_t value, string, object, array; /* rules of anything; GRAMMAR_NONE: not made yet */
    unsigned depth, merges;
    struct error *e;
};

/* Each gives the first node of something that goes on with next. */
uint32_t grammar_space(struct grammar *g, uint32_t next); /* perhaps one space */
uint32_t grammar_string(struct grammar *g, uint32_t least, uint32_t most, uint32_t next);
/* The name of a property that is none of these, in the one spelling that has only the escapes that must be. */
uint32_t grammar_other_name(struct grammar *g, const char **name, const size_t *bytes, size_t n, uint32_t next);
uint32_t grammar_number(struct grammar *g, uint32_t next);
uint32_t grammar_integer(struct grammar *g, int64_t from, int64_t to, uint32_t next);
/* A number's bounds: whole, and whether the bound itself is out. */
struct grammar_bounds {
    bool has_least, has_most, above_least, below_most;
    int64_t least, most;
};
uint32_t grammar_bounded(struct grammar *g, const struct grammar_bounds *x, uint32_t next);
uint32_t grammar_any(struct grammar_builder *b); /* the rule of any value */
uint32_t grammar_any_string(struct grammar_builder *b);
uint32_t grammar_any_object(struct grammar_builder *b);
uint32_t grammar_any_array(struct grammar_builder *b);
/* Characters of a string by a regular expression, between its quotes. NULL or why it is not supported. */
const char *grammar_pattern(struct grammar *g, const char *pattern, size_t bytes, uint32_t next, uint32_t *out);

/* A text as a JSON string in the one spelling, with quotes; without where quotes is false. */
void grammar_spell(struct buffer *out, const char *text, size_t bytes, bool quotes);
/* A value in the one spelling. 0 or -EINVAL: one that cannot be written. */
int grammar_spell_value(struct buffer *out, const json_t *v, unsigned depth);

/* The rule of a schema, which lies at b->path. 0 or -errno with the message. */
int grammar_schema(struct grammar_builder *b, const json_t *schema, uint32_t *rule);
int grammar_object_schema(struct grammar_builder *b, const json_t *schema, uint32_t *start);
int grammar_array_schema(struct grammar_builder *b, const json_t *schema, uint32_t *start);
int grammar_number_schema(struct grammar_builder *b, const json_t *schema, bool integer, uint32_t *start);
int grammar_string_schema(struct grammar_builder *b, const json_t *schema, uint32_t *start);
/* A count of a schema: fallback where it is not there. */
int grammar_count(struct grammar_builder *b, const json_t *schema, const char *key, uint32_t fallback, uint32_t *out);
/* "path.key is not supported", or another reason. */
int grammar_refuse(struct grammar_builder *b, const char *key, const char *why);

int grammar_follow(struct grammar_builder *b, const json_t *ref, const json_t **out); /* what a $ref leads to */
/* What a schema says, with its $ref and allOf worked in. *out is borrowed: the schema itself, or one that the builder keeps. */
int grammar_flatten(struct grammar_builder *b, const json_t *schema, const json_t **out);
/* What both say. */
int grammar_merge(struct grammar_builder *b, const json_t *one, const json_t *other, const json_t **out);
/* Is there a keyword that restricts? */
bool grammar_restricts(const json_t *schema, const char *but_not, const char *nor);
bool grammar_describes(const char *key); /* a keyword that does not */
/* Goes to a member; the path is cut back to what is returned. */
size_t grammar_path_enter(struct grammar_builder *b, const char *key);
size_t grammar_path_index(struct grammar_builder *b, const char *key, size_t index);
void grammar_path_leave(struct grammar_builder *b, size_t at);

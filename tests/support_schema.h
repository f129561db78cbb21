/* Schemas and values by chance, for tests of grammars. */
#pragma once
#include <jansson.h>
#include <stdint.h>

struct chance {
    uint64_t state; /* not 0 */
};
uint32_t chance_below(struct chance *c, uint32_t n); /* 0 .. n - 1 */

/* A schema of what a grammar supports, and small enough that a walk without aim through it ends. The caller's. */
json_t *schema_by_chance(struct chance *c);
/* A value that is valid by such a schema, in the order that a grammar has; NULL: none was found. */
json_t *value_by_chance(struct chance *c, const json_t *schema);

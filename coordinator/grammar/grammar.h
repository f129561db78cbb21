/* The form of an answer: text that a JSON schema allows, byte by byte, so that a sampler can be told which tokens may follow.
 *
 *   grammar (here)         what is allowed, compiled once, never changes: threads may share it
 *   states.h               where a text stands in it
 *   vocabulary.h, mask.h   which tokens of a vocabulary may follow
 *   constraint.h           all of it for one answer, as the batch's sequences ask for it
 *
 * A keyword of a schema is honoured or refused by name; what only describes (title, default, examples ...) is passed. What is
 * made is always valid JSON and valid by the schema, though not everything that is valid can be made:
 *   - space: none, but one optional space after { [ : , and before } ] and at the very beginning
 *   - properties come in the order of the schema, as in OpenAI's structured outputs; optional ones may be left out.
 *     Without additionalProperties an object has its own properties only, or, if it names none, any; those that are
 *     additional come last and their names are spelled in one way. Names that are known are spelled in one way too, as
 *     are values of enum and const; all other strings may have every escape. Half surrogate pairs are none.
 *   - integers are those of 64 bits; numbers have at most 19 digits before and 20 behind the point, exponents to 279, and no
 *     exponent where there are bounds. Bounds of numbers must be whole
 *   - oneOf is anyOf: whoever writes it says that its alternatives exclude each other
 *   - allOf is merged, and what cannot be merged without loss is refused
 *   - pattern: regular expressions without looking around, backward references, word borders and Unicode classes; \d \w \s are
 *     ASCII's. Not beside minLength and maxLength
 *   - format: date, time, date-time, uuid, ipv4, email, each a part of what the format allows
 *   - without type it follows from the other keywords; values are nested at most about 100 deep */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "proto/base/error.h"

struct grammar;

struct grammar_form;

/* One of these: text as it is, the text of a special token, perhaps a space, any text up to the first `until` and this too, a
 * form that may be left out, a value by a schema. */
struct grammar_piece {
    const char *text;
    const char *special;
    bool space;
    const char *until;
    bool until_special; /* it is the text of a special token */
    const struct grammar_form *perhaps;
    const json_t *schema;
    const json_t *root; /* where its $ref begin; NULL: the schema */
    const char *name;   /* of the schema, for messages: "tools[0].function.parameters" */
};

struct grammar_form { /* its pieces, one after the other */
    const struct grammar_piece *piece;
    size_t pieces;
};

struct grammar_config {
    const struct grammar_form *form; /* any one of them */
    size_t forms;
    /* Where not NULL: one or more of the forms, at most `most`, with this text between them. */
    const char *separator;
    unsigned most;
    struct grammar_form before, behind; /* of all of it */
    /* Any text that ends with this, where it stands first, goes before: a thought and its end. NULL: none. */
    const char *lead;
    bool lead_special; /* it is a special token's */
};

/* -EINVAL: a message that begins with the schema's name and says what in it is not supported, or cannot be satisfied. Memory
 * and time are bounded whatever the schema is. */
int grammar_open(struct grammar **out, const struct grammar_config *c, struct error *e);
int grammar_open_schema(struct grammar **out, const json_t *schema, const char *name, struct error *e);
void grammar_close(struct grammar *g);

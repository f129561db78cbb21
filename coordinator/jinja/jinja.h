/* Jinja for chat templates: parse once, render many times, within limits.
 *
 * What is here is the environment that transformers gives a chat template: Jinja2's sandboxed immutable
 * environment with trim_blocks, lstrip_blocks and loop controls, its own tojson, raise_exception, strftime_now and
 * {% generation %} blocks.  Source of the semantics: Jinja2 3.1 and transformers 5 (utils/chat_template_utils.py).
 * What differs: arithmetic has 64 bits (an overflow is an error, not a larger number), though larger integers are kept,
 * written and compared; filters that make lazy
 * generators work at once; a filter or test that is not known is an error where it is reached; import, include and
 * extends are errors, since a model folder has no loader; the rarer filters pprint, random, striptags, urlize, wordwrap,
 * xmlattr and filesizeformat are not there.
 *
 * Templates are untrusted.  Parsing and rendering are bounded in steps, bytes and depth; values live in one arena
 * that is freed at the end whatever happened.  Only these functions cross the border of the interpreter; inside,
 * an error leaves by longjmp to here. */
#pragma once
#include "proto/base/error.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct jinja; /* a parsed template; immutable, so several threads may render from it */

struct jinja_limits {
    uint64_t steps;    /* nodes evaluated, elements and (by 64) bytes looked at */
    size_t held_bytes; /* all values of one rendering, the text included */
    size_t text_bytes; /* the text */
    unsigned depth;    /* nested evaluations: calls of calls, values in values */
};

/* A second or so at worst, and far above what any published template needs for a conversation of a million tokens. */
struct jinja_limits jinja_limits_default(void);

/* Parses UTF-8 source[bytes].  -EINVAL with the line in the text for a template that Jinja would not take, -E2BIG
 * for one past the limits.  The caller frees *out with jinja_free(). */
int jinja_parse(struct jinja **out, const char *source, size_t bytes, struct error *e);
void jinja_free(struct jinja *t);

/* Renders with the members of the object vars as variables.  now is what strftime_now() says.  *text is the
 * caller's to free, has *bytes bytes of UTF-8 and a NUL after them.
 * -EINVAL where the template fails or refuses (raise_exception); the text begins with the line.  -E2BIG past a
 * limit, -ENOMEM.  limits may be NULL for the default. */
int jinja_render(const struct jinja *t, const json_t *vars, const struct tm *now, const struct jinja_limits *limits,
                 char **text, size_t *bytes, struct error *e);

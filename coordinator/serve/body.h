/* A request's body: JSON of bounded depth, and its fields by name and type.
 *
 * A field that is null or not there leaves what it was to fill. A wrong type or a value out of bounds is a 400 that names it. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/serve/fault.h"

#define BODY_DEPTH_MAX 64

/* What can be told before anything is parsed: that there is something, and how deep it is nested. 0 or -1. */
int body_check(const char *text, size_t bytes, struct fault *f);
/* An object; *out is the caller's. Checked first. 0 or -1. */
int body_read(json_t **out, const char *text, size_t bytes, struct fault *f);

/* Bytes that its values may come to, whatever it says: a bound, from its text alone. */
size_t body_weight(const char *text, size_t bytes);

/* NULL: not there, or null. */
json_t *body_field(const json_t *o, const char *name);
int body_real(const json_t *o, const char *name, double least, double most, double *out, struct fault *f);
int body_whole(const json_t *o, const char *name, int64_t least, int64_t most, int64_t *out, struct fault *f);
int body_bool(const json_t *o, const char *name, bool *out, struct fault *f);
int body_text(const json_t *o, const char *name, const char **out, struct fault *f); /* the value's own */
/* Every key that is not null must be among names (ended by NULL): what is not known is refused, not ignored. */
int body_known(const json_t *o, const char *const *names, struct fault *f);
/* The same of an object within the parameter that is named; what is no object is refused too. NULL is nothing. */
int body_part_known(const json_t *o, const char *param, const char *const *names, struct fault *f);

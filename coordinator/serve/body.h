/* A request's body: JSON of bounded depth, and its fields by name and type.
 *
 * A field that is null or not there leaves what it was to fill. A wrong type or a value out of bounds is a 400 that names it. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/serve/fault.h"

#define BODY_DEPTH_MAX 64

/* An object; *out is the caller's. The depth is looked at before anything is parsed. 0 or -1. */
int body_read(json_t **out, const char *text, size_t bytes, struct fault *f);

/* NULL: not there, or null. */
json_t *body_field(const json_t *o, const char *name);
int body_real(const json_t *o, const char *name, double least, double most, double *out, struct fault *f);
int body_whole(const json_t *o, const char *name, int64_t least, int64_t most, int64_t *out, struct fault *f);
int body_bool(const json_t *o, const char *name, bool *out, struct fault *f);
int body_text(const json_t *o, const char *name, const char **out, struct fault *f); /* the value's own */
/* Every key that is not null must be among names (ended by NULL): what is not known is refused, not ignored. */
int body_known(const json_t *o, const char *const *names, struct fault *f);

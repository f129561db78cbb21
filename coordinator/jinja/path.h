/* Attribute paths of filters: "function.name", "items.0", 1. */
#pragma once
#include "coordinator/jinja/value.h"

struct jpath {
    struct jval *parts;
    size_t n; /* 0: the element itself */
};

struct jpath jpath_of(struct jinja_run *r, struct jval attribute);
/* missing, unless J_MISSING, stands in wherever something undefined is met. */
struct jval jpath_get(struct jinja_run *r, const struct jpath *path, struct jval v, struct jval missing);
struct jval jpath_fold(struct jinja_run *r, struct jval v, bool fold); /* fold: strings in lower case */
struct jval jpath_key(struct jinja_run *r, const struct jpath *path, struct jval v, bool fold);

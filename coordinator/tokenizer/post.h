/* The post-processors of tokenizer.json: what stands around the ids of one text. */
#pragma once
#include "coordinator/tokenizer/tokenizer.h"

#include <jansson.h>

struct postprocessor {
    struct token_ids prefix, suffix;
};

/* o: the JSON of a post-processor, NULL or null for none. */
int postprocessor_read(struct postprocessor *p, const json_t *o, struct error *e);
void postprocessor_free(struct postprocessor *p);

/* Answers of a given form: response_format, as grammars (coordinator/grammar/) over the model's vocabulary. */
#pragma once
#include <jansson.h>
#include "coordinator/grammar/constraint.h"
#include "coordinator/serve/facts.h"
#include "coordinator/serve/fault.h"

struct forms;

/* The vocabulary is read when it is wanted first: it takes a while, and memory. */
int forms_open(struct forms **out, const struct tokenizer *t, uint32_t vocab, struct error *e);
void forms_close(struct forms *f);
/* From any thread; NULL: there is no memory. */
const struct grammar_vocabulary *forms_vocabulary(struct forms *f);

/* Can an answer begin in this form? 0 or -1; param: what is to blame. */
int forms_try(const struct grammar *g, const struct facts *x, const char *param, struct fault *f);
/* What response_format asks for; *out NULL: any text. lead: the tag that closes a thought which the prompt leaves open, NULL:
 * none. It is tried whether an answer can begin. 0 or -1. */
int forms_read(struct grammar **out, const struct facts *x, const json_t *body, const char *lead, struct fault *f);

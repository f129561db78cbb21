/* What the user wants continued: from -p, a file, or standard input; wrapped by the chat template where asked. */
#pragma once
#include <stddef.h>
#include "coordinator/batch/instance.h"
#include "coordinator/cli/input.h"
#include "coordinator/cli/options.h"

/* The longest text that so many positions can hold; 0: those that the model has, or --context. And no more than a sixteenth of
 * the memory. */
struct input_limit prompt_limit(const struct instance *i, uint32_t positions);
uint64_t prompt_memory(const struct instance *i); /* that sixteenth, in bytes */
/* malloc'ed, NUL-terminated for convenience; bytes without the NUL. */
int prompt_read(const struct instance *i, char **text, size_t *bytes, struct error *e);
/* Of a file and of standard input, without the newline that ends the last line: `echo x | sluice run` is `-p x`. */
void prompt_trim(const struct options *o, char *text, size_t *bytes);
/* The tokens the model is given: the text itself with the tokenizer's beginning, or the rendered chat. */
int prompt_encode(const struct instance *i, const char *text, size_t bytes, struct token_ids *out, struct error *e);

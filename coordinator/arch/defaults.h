/* What a config may leave out, because the class of its architecture has it anyway: the configuration_*.py of transformers,
 * or of the model's own code. Published folders, and those that a library has saved again, leave out much of it.
 *
 * tests/data/defaults.tsv has the classes' own defaults, all of them; tests/test_defaults.c holds these against it. */
#pragma once
#include <jansson.h>
#include <stdbool.h>

/* The defaults of this model_type as an object that belongs to the caller: of each key that is silent in a config, its value.
 * Keys that are not there mean none (null). NULL: no such class is known here, or no memory; *known says which. */
json_t *defaults_of(const char *model_type, bool *known);

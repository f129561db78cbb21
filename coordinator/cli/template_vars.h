/* The variables a chat template is given: messages, tools, add_generation_prompt, and those of --tools and --var. */
#pragma once
#include "coordinator/cli/options.h"
#include "coordinator/text/json.h"

/* *vars: a new reference. messages stays the caller's. --var values are JSON where they are JSON, else text. With
 * --think off enable_thinking becomes false. */
int template_vars(const struct options *o, json_t *messages, bool generation_prompt, json_t **vars, struct error *e);
/* Adds what the command line gives (--tools, --var, --think off) to an object of variables, in place of what it has. */
int template_vars_given(const struct options *o, json_t *vars, struct error *e);

/* sluice run --prompts FILE: many answers in the same sweeps. */
#pragma once
#include "coordinator/batch/instance.h"
#include "coordinator/view/view.h"

/* The instance is loaded, and started here, with as many sequences as there are prompts, up to --parallel or what the
 * memory has room for. Answers are printed in the order of the prompts, each as soon as those before it are. */
int run_prompts(struct instance *i, struct view *v, uint64_t start_ns, struct error *e);

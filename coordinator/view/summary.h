/* What a run did, for --json and for --verbose. */
#pragma once
#include <jansson.h>
#include "coordinator/batch/generate.h"

struct summary_input {
    const struct instance *instance;
    uint64_t start_ns, end_ns; /* of the whole command */
    uint64_t prompt_tokens;
    const struct generate_result *result;
    const char *text; /* the answer */
    size_t text_bytes;
};

/* Keys as README.md lists them, SI units; to stdout. */
int summary_print_json(const struct summary_input *x, struct error *e);
void summary_print(const struct summary_input *x); /* one paragraph to stderr */

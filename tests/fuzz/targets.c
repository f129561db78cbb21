#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>

const struct fuzz_target *const fuzz_targets[] = {
    &fuzz_safetensors, &fuzz_index, &fuzz_config, &fuzz_generation, &fuzz_tokenizer, &fuzz_pieces, &fuzz_template,
    &fuzz_control,     &fuzz_plan,  &fuzz_run,    &fuzz_options,    &fuzz_trace,     NULL,
};

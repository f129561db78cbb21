#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>

const struct fuzz_target *const fuzz_targets[] = {
    &fuzz_document,     &fuzz_special,     &fuzz_merges,     &fuzz_tekken,    &fuzz_safetensors, &fuzz_index,
    &fuzz_tensors_list, &fuzz_config,      &fuzz_generation, &fuzz_tokenizer, &fuzz_pieces,      &fuzz_template,
    &fuzz_messages,     &fuzz_sums,        &fuzz_control,    &fuzz_plan,      &fuzz_run,         &fuzz_job,
    &fuzz_options,      &fuzz_calibration, &fuzz_trace,      &fuzz_place,     &fuzz_gguf,        &fuzz_gguf_text,
    &fuzz_unit,         &fuzz_packed,      &fuzz_schema,     &fuzz_tools,     &fuzz_request,     NULL,
};
